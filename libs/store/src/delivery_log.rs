//! How far the marketplace's own log of webhooks was compared with the inbox, and how the door fares.

use chrono::{DateTime, Utc};

use crate::{Error, Store, Tx};

/// Where an agent's comparison stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Standing {
    /// What was logged before this is in the inbox.
    pub safe_at: DateTime<Utc>,
    /// Webhooks of the last comparison that had not got through.
    pub failing: i32,
}

/// What one comparison found.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Compared {
    /// Taken from the log.
    pub healed: u32,
    /// Had not got through.
    pub failing: u32,
}

/// Where the comparison stands; `None` before the first.
///
/// # Errors
/// When the query fails.
pub async fn standing(store: &Store, agent: &str) -> Result<Option<Standing>, Error> {
    let standing = sqlx::query_as!(
        Standing,
        "-- delivery_log::standing
        SELECT safe_at, failing FROM scheduler.delivery_log WHERE agent = $1",
        agent,
    )
    .fetch_optional(&store.pool)
    .await?;
    Ok(standing)
}

/// Keeps what a comparison found; the safe time never goes back.
///
/// # Errors
/// When the insert fails.
pub async fn keep(tx: &mut Tx, agent: &str, safe_at: DateTime<Utc>, compared: Compared) -> Result<(), Error> {
    sqlx::query!(
        "-- delivery_log::keep
        INSERT INTO scheduler.delivery_log AS known (agent, safe_at, healed, failing)
        VALUES ($1, $2, $3, $4)
        ON CONFLICT (agent) DO UPDATE
        SET safe_at = GREATEST(known.safe_at, excluded.safe_at), healed = known.healed + excluded.healed,
            failing = excluded.failing, looked_at = now()",
        agent,
        safe_at,
        i64::from(compared.healed),
        i32::try_from(compared.failing).unwrap_or(i32::MAX),
    )
    .execute(tx.connection())
    .await?;
    Ok(())
}

/// Whether the marketplace sends nothing: gigs were seen by reads in the last 24 hours, no webhook came, and the door
/// is older than that.
///
/// # Errors
/// When the query fails.
pub async fn is_silent(store: &Store, agent: &str) -> Result<bool, Error> {
    let silent = sqlx::query_scalar!(
        r#"-- delivery_log::is_silent
        SELECT EXISTS (SELECT FROM ingress.doors
                       WHERE agent = $1 AND closed_at IS NULL AND created_at < now() - INTERVAL '24 hours')
           AND EXISTS (SELECT FROM scheduler.gigs
                       WHERE agent = $1 AND first_seen_at > now() - INTERVAL '24 hours')
           AND NOT EXISTS (SELECT FROM ingress.inbox
                           WHERE agent = $1 AND source = 'webhook' AND received_at > now() - INTERVAL '24 hours')
           AS "silent!""#,
        agent,
    )
    .fetch_one(&store.pool)
    .await?;
    Ok(silent)
}
