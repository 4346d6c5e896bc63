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

/// How many runs may be leased at once, besides what each agent's file says. Zero: as many as there is room for.
#[derive(Debug, Clone, Default)]
pub struct Caps {
    /// Runs for one client.
    pub per_client: i32,
    /// For contracts worth less than each of these, micro-USDC, rising: so many runs of that class.
    pub classes: Vec<(i64, i32)>,
}

/// What an executor has room for, in slots.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Room {
    /// In all.
    pub slots: i64,
    /// Free.
    pub free: i64,
}

/// Leases the most important queued runs to an executor, as many as it has room for.
///
/// What is most important: the run's priority first; then what pays more, what is due sooner, and what waits longer,
/// added up so that waiting wins in the end: a minute of it counts as much as everything else together may in half an
/// hour. A run that does not fit holds back those behind it, so that light ones never starve a heavy one; one too heavy
/// for this executor is left to others.
///
/// Runs of one contract never overlap: one is leased at a time, the most important first; an index sees to it when two
/// leasers look at once, and the slower one is rolled back and looks again. While the platform says of a contract what
/// nobody here understands, nothing of it runs. A drained executor gets nothing. Leasers go one after the other, so that caps hold across replicas.
///
/// # Errors
/// When the query fails.
pub async fn lease_next(
    tx: &mut Tx,
    executor: &str,
    room: Room,
    caps: &Caps,
    lease: Duration,
) -> Result<Vec<Run>, Error> {
    if !anything_queued(tx).await? {
        return Ok(Vec::new());
    }
    sqlx::query!("-- runs::lease_next\nSELECT pg_advisory_xact_lock(6004511020)")
        .fetch_one(tx.connection())
        .await?;
    let (below, most): (Vec<i64>, Vec<i32>) = caps.classes.iter().copied().unzip();
    let ids = sqlx::query_scalar!(
        "-- runs::lease_next
        WITH known AS (
            SELECT r.id, r.state, r.agent, r.priority, r.not_before,
                   COALESCE((a.spec #>> '{limits,slots}')::INT, 1) AS slots,
                   (a.spec #>> '{limits,runs}')::INT AS agent_cap,
                   g.client_name AS client,
                   (SELECT min(c.nth) FROM unnest($6::BIGINT[]) WITH ORDINALITY AS c (below, nth)
                    WHERE k.amount_micro < c.below) AS class,
                   20 * ln(1 + GREATEST(COALESCE(k.amount_micro, 0), 0) / 1e6)
                     + 300 * exp(-GREATEST(0, COALESCE(
                           EXTRACT(EPOCH FROM r.deadline - now())::FLOAT8 - r.timeout_secs, 604800)) / 21600)
                     + 15 * EXTRACT(EPOCH FROM now() - r.not_before)::FLOAT8 / 60 AS weight
            FROM scheduler.runs AS r
            JOIN scheduler.agents AS a ON a.name = r.agent
            LEFT JOIN scheduler.contracts AS k ON k.id = r.contract_id
            LEFT JOIN scheduler.gigs AS g ON g.id = COALESCE(k.gig_id, r.gig_id)
            WHERE r.state = 'leased'
               OR r.state IN ('queued', 'retrying') AND r.not_before <= now() AND NOT a.paused
                  AND (k.id IS NULL OR k.state IN ('accepted', 'funded', 'delivered', 'revision_requested', 'disputed',
                                                   'approved', 'cancelled'))
                  AND NOT EXISTS (
                      SELECT FROM scheduler.runs o
                      WHERE o.contract_id = r.contract_id AND o.id <> r.id
                        AND (o.state = 'leased'
                             OR o.state IN ('queued', 'retrying') AND o.not_before <= now()
                                AND (o.priority, r.not_before, r.id) > (r.priority, o.not_before, o.id)))
        ), counted AS (
            SELECT *,
                   count(*) OVER (PARTITION BY agent ORDER BY state = 'leased' DESC, priority DESC, weight DESC, id) AS of_agent,
                   count(*) OVER (PARTITION BY client ORDER BY state = 'leased' DESC, priority DESC, weight DESC, id) AS of_client,
                   count(*) OVER (PARTITION BY class ORDER BY state = 'leased' DESC, priority DESC, weight DESC, id) AS of_class
            FROM known
        ), fitting AS (
            SELECT id, sum(slots) OVER (ORDER BY priority DESC, weight DESC, id) AS used
            FROM counted
            WHERE state <> 'leased' AND slots <= $4
              AND NOT EXISTS (SELECT FROM scheduler.executors AS e WHERE e.id = $2 AND e.draining)
              AND (agent_cap IS NULL OR of_agent <= agent_cap)
              AND ($5 = 0 OR client IS NULL OR of_client <= $5)
              AND (class IS NULL OR of_class <= ($7::INT[])[class])
        ), next AS (
            SELECT r.id FROM scheduler.runs AS r
            WHERE r.id IN (SELECT id FROM fitting WHERE used <= $1)
            FOR UPDATE SKIP LOCKED
        )
        UPDATE scheduler.runs r
        SET state = 'leased', attempt = r.attempt + 1, executor_id = $2, lease_token = gen_random_uuid(),
            lease_until = now() + $3 * INTERVAL '1 millisecond',
            started_at = COALESCE(r.started_at, now()), updated_at = now(), updated_by = $8
        FROM next
        WHERE r.id = next.id AND r.state IN ('queued', 'retrying')
        RETURNING r.id",
        room.free,
        executor,
        millis(lease),
        i32::try_from(room.slots).unwrap_or(i32::MAX),
        caps.per_client,
        &below,
        &most,
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

/// One look at a small index, before leasers queue up for nothing.
async fn anything_queued(tx: &mut Tx) -> Result<bool, Error> {
    let queued = sqlx::query_scalar!(
        r#"-- runs::anything_queued
        SELECT EXISTS (
            SELECT FROM scheduler.runs WHERE state IN ('queued', 'retrying') AND not_before <= now()
        ) AS "queued!""#,
    )
    .fetch_one(tx.connection())
    .await?;
    Ok(queued)
}

/// Slots of an executor that are taken, or will be once its assignments arrive.
///
/// # Errors
/// When the query fails.
pub async fn held_by(tx: &mut Tx, executor: &str) -> Result<i64, Error> {
    let held = sqlx::query_scalar!(
        r#"-- runs::held_by
        SELECT COALESCE(sum(COALESCE((a.spec #>> '{limits,slots}')::INT, 1)), 0) AS "held!"
        FROM scheduler.runs AS r
        JOIN scheduler.agents AS a ON a.name = r.agent
        WHERE r.state = 'leased' AND r.executor_id = $1"#,
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
