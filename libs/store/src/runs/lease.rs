//! Leases of runs: given, renewed and ended by Postgres' clock.

use std::time::Duration;

use domain::run::MAX_LOST_LEASES;
use uuid::Uuid;

use super::{Run, read};
use crate::{Error, Tx, effects::millis};

/// A run whose executor died.
#[derive(Debug, Clone)]
pub struct Expired {
    /// Which.
    pub id: Uuid,
    /// Whose.
    pub agent: String,
    /// It lost too many leases and waits for a human now.
    pub parked: bool,
}

/// Leases the most important queued runs to an executor, at most `limit`. Runs of one contract never overlap: one is
/// leased at a time, the most important first; an index sees to it when two leasers look at once, and the slower one is
/// rolled back and looks again. While the platform says of a contract what nobody here understands, nothing of it runs.
///
/// # Errors
/// When the query fails.
pub async fn lease_next(tx: &mut Tx, executor: &str, limit: i64, lease: Duration) -> Result<Vec<Run>, Error> {
    let ids = sqlx::query_scalar!(
        "-- runs::lease_next
        WITH next AS (
            SELECT r.id FROM scheduler.runs r
            JOIN scheduler.agents a ON a.name = r.agent
            WHERE r.state IN ('queued', 'retrying') AND r.not_before <= now() AND NOT a.paused
              AND NOT EXISTS (
                  SELECT FROM scheduler.runs o
                  WHERE o.contract_id = r.contract_id AND o.id <> r.id
                    AND (o.state = 'leased'
                         OR o.state IN ('queued', 'retrying') AND o.not_before <= now()
                            AND (o.priority, r.not_before, r.id) > (r.priority, o.not_before, o.id)))
              AND NOT EXISTS (
                  SELECT FROM scheduler.contracts c
                  WHERE c.id = r.contract_id
                    AND c.state NOT IN ('accepted', 'funded', 'delivered', 'revision_requested', 'disputed', 'approved',
                                        'cancelled'))
            ORDER BY r.priority DESC, r.not_before, r.id
            LIMIT $1
            FOR UPDATE OF r SKIP LOCKED
        )
        UPDATE scheduler.runs r
        SET state = 'leased', attempt = r.attempt + 1, executor_id = $2, lease_token = gen_random_uuid(),
            lease_until = now() + $3 * INTERVAL '1 millisecond',
            started_at = COALESCE(r.started_at, now()), updated_at = now(), updated_by = $4
        FROM next
        WHERE r.id = next.id AND r.state IN ('queued', 'retrying')
        RETURNING r.id",
        limit,
        executor,
        millis(lease),
        tx.name,
    )
    .fetch_all(tx.connection())
    .await?;
    let mut leased = Vec::with_capacity(ids.len());
    for id in ids {
        leased.push(read::lock(tx, id).await?);
    }
    Ok(leased)
}

/// Runs an executor holds, or will once its assignments arrive.
///
/// # Errors
/// When the query fails.
pub async fn held_by(tx: &mut Tx, executor: &str) -> Result<i64, Error> {
    let held = sqlx::query_scalar!(
        r#"-- runs::held_by
        SELECT count(*) AS "held!" FROM scheduler.runs WHERE state = 'leased' AND executor_id = $1"#,
        executor,
    )
    .fetch_one(tx.connection())
    .await?;
    Ok(held)
}

/// Renews the leases a heartbeat names, all in one statement. Answers those that were still held; the others are lost.
///
/// # Errors
/// When the update fails.
pub async fn renew(tx: &mut Tx, held: &[(Uuid, Uuid)], lease: Duration) -> Result<Vec<Uuid>, Error> {
    let (ids, tokens): (Vec<Uuid>, Vec<Uuid>) = held.iter().copied().unzip();
    let renewed = sqlx::query_scalar!(
        "-- runs::renew
        UPDATE scheduler.runs r
        SET lease_until = now() + $3 * INTERVAL '1 millisecond'
        FROM (SELECT id, token FROM UNNEST($1::uuid[], $2::uuid[]) AS held (id, token) ORDER BY id) held
        WHERE r.id = held.id AND r.lease_token = held.token AND r.state = 'leased'
        RETURNING r.id",
        &ids,
        &tokens,
        millis(lease),
    )
    .fetch_all(tx.connection())
    .await?;
    Ok(renewed)
}

/// Takes runs back whose lease ended, at most 200.
///
/// # Errors
/// When the update fails.
pub async fn expire_leases(tx: &mut Tx) -> Result<Vec<Expired>, Error> {
    let rows = sqlx::query!(
        "-- runs::expire_leases
        WITH gone AS (
            SELECT id FROM scheduler.runs
            WHERE state = 'leased' AND lease_until < now()
            ORDER BY lease_until
            LIMIT 200
            FOR UPDATE SKIP LOCKED
        )
        UPDATE scheduler.runs r
        SET state = CASE WHEN r.lost_leases + 1 > $1 THEN 'parked' ELSE 'queued' END,
            lost_leases = r.lost_leases + 1, lease_until = NULL, lease_token = NULL, not_before = now(),
            error = 'the executor stopped answering', updated_at = now(), updated_by = $2
        FROM gone
        WHERE r.id = gone.id AND r.state = 'leased'
        RETURNING r.id, r.agent, r.state",
        i32::try_from(MAX_LOST_LEASES).unwrap_or(i32::MAX),
        tx.name,
    )
    .fetch_all(tx.connection())
    .await?;
    Ok(rows
        .into_iter()
        .map(|row| Expired {
            id: row.id,
            agent: row.agent,
            parked: row.state == "parked",
        })
        .collect())
}

/// Queues waiting runs whose wait is over. Answers how many.
///
/// # Errors
/// When the update fails.
pub async fn wake_waiting(tx: &mut Tx) -> Result<u64, Error> {
    let woken = sqlx::query!(
        "-- runs::wake_waiting
        WITH due AS (
            SELECT id FROM scheduler.runs
            WHERE state = 'waiting' AND wait_until <= now()
            LIMIT 200
            FOR UPDATE SKIP LOCKED
        )
        UPDATE scheduler.runs r
        SET state = 'queued', wait_until = NULL, not_before = now(), updated_at = now(), updated_by = $1
        FROM due
        WHERE r.id = due.id AND r.state = 'waiting'",
        tx.name,
    )
    .execute(tx.connection())
    .await?;
    Ok(woken.rows_affected())
}
