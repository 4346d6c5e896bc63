//! Agents that stop: for a while because their work fails, or for good.

use domain::agent_file::Mode;

use super::{lock, set_mode};
use crate::{Error, Store, Tx, notices};

/// Kind of the notice that an agent's bidding was paused. That it was resolved is when counting began anew.
pub const PAUSED: &str = "bidding_paused";

/// What is left of an agent outside.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Open {
    /// Contracts that are not closed.
    pub contracts: i64,
    /// Bids that clients may still accept.
    pub bids: i64,
}

/// Sends no more bids of an agent whose last `runs` jobs were all parked, none done between them, since that was last
/// looked into: its mode becomes `shadow`. Answers the mode it had, if it was changed.
///
/// # Errors
/// [`Error::NotFound`] when there is no such agent.
pub async fn pause_if_failing(tx: &mut Tx, name: &str, runs: u32) -> Result<Option<Mode>, Error> {
    // Those who park at the same time count one after the other.
    let agent = lock(tx, name).await?;
    if runs == 0 || !matches!(agent.mode, Mode::Ask | Mode::Auto) {
        return Ok(None);
    }
    let parked = sqlx::query_scalar!(
        r#"-- agents::pause_if_failing
        SELECT COUNT(*) FILTER (WHERE state = 'parked') AS "parked!"
        FROM (
            SELECT state FROM scheduler.runs
            WHERE agent = $1 AND kind IN ('work', 'revise') AND state IN ('succeeded', 'parked')
              AND updated_at > COALESCE(
                  (SELECT MAX(resolved_at) FROM scheduler.notices WHERE kind = $3 AND key = $1), '-infinity')
            ORDER BY updated_at DESC
            LIMIT $2
        ) AS last"#,
        name,
        i64::from(runs),
        PAUSED,
    )
    .fetch_one(tx.connection())
    .await?;
    if parked < i64::from(runs) {
        return Ok(None);
    }
    set_mode(tx, name, Mode::Shadow).await?;
    Ok(Some(agent.mode))
}

/// What an agent has open.
///
/// # Errors
/// When the query fails.
pub async fn open(tx: &mut Tx, name: &str) -> Result<Open, Error> {
    let open = sqlx::query_as!(
        Open,
        r#"-- agents::open
        SELECT (SELECT COUNT(*) FROM scheduler.contracts WHERE agent = $1 AND closed_at IS NULL) AS "contracts!",
               (SELECT COUNT(*) FROM scheduler.proposals WHERE agent = $1 AND state = 'submitted') AS "bids!""#,
        name,
    )
    .fetch_one(tx.connection())
    .await?;
    Ok(open)
}

/// Takes an agent out: no bids, no key, no duties, a closed door. Its history stays.
///
/// # Errors
/// [`Error::NotFound`] when there is no such agent.
pub async fn leave(tx: &mut Tx, name: &str) -> Result<(), Error> {
    set_mode(tx, name, Mode::Off).await?;
    sqlx::query!(
        "-- agents::leave
        UPDATE scheduler.agents SET api_key_sealed = NULL, updated_at = now(), updated_by = $2 WHERE name = $1",
        name,
        tx.name,
    )
    .execute(tx.connection())
    .await?;
    sqlx::query!(
        "-- agents::leave, duties
        DELETE FROM scheduler.duties WHERE key = $1 AND $1 <> ''",
        name,
    )
    .execute(tx.connection())
    .await?;
    notices::resolve(tx, PAUSED, name).await?;
    match crate::doors::close(tx, name).await {
        Ok(()) | Err(Error::Stale { .. }) => Ok(()),
        Err(error) => Err(error),
    }
}

/// Whether an agent left: its door was closed.
///
/// # Errors
/// When the query fails.
pub async fn has_left(store: &Store, name: &str) -> Result<bool, Error> {
    let left = sqlx::query_scalar!(
        r#"-- agents::has_left
        SELECT EXISTS (SELECT FROM ingress.doors WHERE agent = $1 AND closed_at IS NOT NULL) AS "left!""#,
        name,
    )
    .fetch_one(&store.pool)
    .await?;
    Ok(left)
}
