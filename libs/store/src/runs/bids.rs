//! Runs that write a bid: they end by themselves when nobody needs the bid any more.

use uuid::Uuid;

use crate::{Error, Store, Tx};

/// Runs of bids that are not written although they were to be by now, at most 100.
///
/// # Errors
/// When the query fails.
pub async fn overdue_bids(store: &Store) -> Result<Vec<Uuid>, Error> {
    // Each part reads an index of open runs alone.
    let overdue = sqlx::query_scalar!(
        r#"-- runs::overdue_bids
        SELECT id AS "id!" FROM scheduler.runs
        WHERE state IN ('queued', 'retrying') AND kind = 'propose' AND deadline <= now()
        UNION ALL
        SELECT id FROM scheduler.runs
        WHERE state = 'leased' AND kind = 'propose' AND deadline <= now()
        LIMIT 100"#,
    )
    .fetch_all(&store.pool)
    .await?;
    Ok(overdue)
}

/// Calls off the bids an agent is writing. Their executors learn it by their next heartbeat.
///
/// # Errors
/// When the update fails.
pub async fn cancel_bids_of_agent(tx: &mut Tx, agent: &str, reason: &str) -> Result<(), Error> {
    sqlx::query!(
        "-- runs::cancel_bids_of_agent
        UPDATE scheduler.runs
        SET state = 'cancelled', error = $2, lease_until = NULL, lease_token = NULL, wait_until = NULL,
            finished_at = now(), updated_at = now(), updated_by = $3
        WHERE agent = $1 AND kind = 'propose' AND state IN ('queued', 'leased', 'retrying', 'waiting', 'parked')",
        agent,
        reason,
        tx.name,
    )
    .execute(tx.connection())
    .await?;
    Ok(())
}
