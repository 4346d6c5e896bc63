//! Rows by the beginning of their id.

use uuid::Uuid;

use crate::{Error, Store};

/// Rows that have ids of ours.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Table {
    /// Contracts.
    Contracts,
    /// Gigs.
    Gigs,
    /// Runs.
    Runs,
    /// Effects.
    Effects,
    /// Effects a human decides about, or decided against.
    Decisions,
    /// Webhooks.
    Inbox,
    /// Notices.
    Notices,
}

impl Table {
    /// One of its rows, for people.
    #[must_use]
    pub fn one(self) -> &'static str {
        match self {
            Self::Contracts => "contract",
            Self::Gigs => "gig",
            Self::Runs => "run",
            Self::Effects => "effect",
            Self::Decisions => "thing to decide about",
            Self::Inbox => "webhook",
            Self::Notices => "notice",
        }
    }
}

/// Ids from `first` to `last`, in order, at most `limit`. Reads no more of the primary key than that.
///
/// # Errors
/// When the query fails.
pub async fn between(store: &Store, table: Table, first: Uuid, last: Uuid, limit: i64) -> Result<Vec<Uuid>, Error> {
    macro_rules! ids {
        ($query:literal) => {
            sqlx::query_scalar!($query, first, last, limit)
                .fetch_all(&store.pool)
                .await?
        };
    }
    Ok(match table {
        Table::Contracts => ids!(
            "-- ids::contracts
            SELECT id FROM scheduler.contracts WHERE id BETWEEN $1 AND $2 ORDER BY id LIMIT $3"
        ),
        Table::Gigs => ids!(
            "-- ids::gigs
            SELECT id FROM scheduler.gigs WHERE id BETWEEN $1 AND $2 ORDER BY id LIMIT $3"
        ),
        Table::Runs => ids!(
            "-- ids::runs
            SELECT id FROM scheduler.runs WHERE id BETWEEN $1 AND $2 ORDER BY id LIMIT $3"
        ),
        Table::Effects => ids!(
            "-- ids::effects
            SELECT id FROM scheduler.effects WHERE id BETWEEN $1 AND $2 ORDER BY id LIMIT $3"
        ),
        Table::Decisions => ids!(
            "-- ids::decisions
            SELECT id FROM scheduler.effects
            WHERE id BETWEEN $1 AND $2 AND state IN ('held', 'cancelled') ORDER BY id LIMIT $3"
        ),
        Table::Inbox => ids!(
            "-- ids::inbox
            SELECT id FROM ingress.inbox WHERE id BETWEEN $1 AND $2 ORDER BY id LIMIT $3"
        ),
        Table::Notices => ids!(
            "-- ids::notices
            SELECT id FROM scheduler.notices WHERE id BETWEEN $1 AND $2 ORDER BY id LIMIT $3"
        ),
    })
}
