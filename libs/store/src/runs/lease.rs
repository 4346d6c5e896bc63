//! Leases of runs: given, renewed and ended by Postgres' clock.

use std::time::Duration;

use chrono::{DateTime, Utc};
use domain::leasing::{self, Candidate, Claim, Group};
use domain::run::{Kind, MAX_LOST_LEASES};
use uuid::Uuid;

use super::{Run, read};
use crate::{Error, Tx, effects::millis};

/// Runs that wait, looked at for one executor: each of them could begin by itself, so the first always fits somewhere.
const MOST_LOOKED_AT: i64 = 500;

/// A run whose executor died.
#[derive(Debug, Clone)]
pub struct Expired {
    /// Which.
    pub id: Uuid,
    /// Whose.
    pub agent: String,
    /// It was to write a bid.
    pub is_bid: bool,
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
/// nobody here understands, nothing of it runs. A drained executor gets nothing, nobody does in a window of maintenance,
/// and nothing of a paused agent is leased. Leasers go one after the other, so that caps hold across replicas.
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
    let waiting = candidates(tx, executor, room, caps).await?;
    let ids = leasing::choose(&waiting, room.free);
    let taken = sqlx::query_scalar!(
        "-- runs::lease_next
        WITH next AS (
            SELECT r.id FROM scheduler.runs AS r WHERE r.id = ANY($1) FOR UPDATE SKIP LOCKED
        )
        UPDATE scheduler.runs r
        SET state = 'leased', attempt = r.attempt + 1, executor_id = $2, lease_token = gen_random_uuid(),
            lease_until = now() + $3 * INTERVAL '1 millisecond',
            started_at = COALESCE(r.started_at, now()), updated_at = now(), updated_by = $4
        FROM next
        WHERE r.id = next.id AND r.state IN ('queued', 'retrying')
        RETURNING r.id",
        &ids,
        executor,
        millis(lease),
        tx.name,
    )
    .fetch_all(tx.connection())
    .await?;
    let mut leased = Vec::with_capacity(taken.len());
    for id in taken {
        leased.push(read::lock(tx, id).await?);
    }
    Ok(leased)
}

/// What waits and could run on this executor, the most important first, with what it counts against.
async fn candidates(tx: &mut Tx, executor: &str, room: Room, caps: &Caps) -> Result<Vec<Candidate<Uuid>>, Error> {
    let (below, most): (Vec<i64>, Vec<i32>) = caps.classes.iter().copied().unzip();
    let rows = sqlx::query!(
        r#"-- runs::lease_candidates
        WITH known AS (
            SELECT r.id, r.state, r.agent, r.priority,
                   COALESCE((a.spec #>> '{limits,slots}')::INT, 1) AS slots,
                   (a.spec #>> '{limits,runs}')::INT AS agent_cap,
                   CASE WHEN $3 > 0 THEN g.client_name END AS client,
                   (SELECT min(c.nth) FROM unnest($4::BIGINT[]) WITH ORDINALITY AS c (below, nth)
                    WHERE k.amount_micro < c.below) AS class,
                   20 * ln(1 + GREATEST(COALESCE(k.amount_micro, 0), 0) / 1e6)
                     -- Far behind the comma it no longer matters, and further on exp() is an error.
                     + 300 * exp(-LEAST(50, GREATEST(0, COALESCE(
                           EXTRACT(EPOCH FROM r.deadline - now())::FLOAT8 - r.timeout_secs, 604800)) / 21600))
                     + 15 * EXTRACT(EPOCH FROM now() - r.not_before)::FLOAT8 / 60 AS weight
            FROM scheduler.runs AS r
            JOIN scheduler.agents AS a ON a.name = r.agent
            LEFT JOIN scheduler.contracts AS k ON k.id = r.contract_id
            LEFT JOIN scheduler.gigs AS g ON g.id = COALESCE(k.gig_id, r.gig_id)
            WHERE r.state = 'leased'
               OR r.state IN ('queued', 'retrying') AND r.not_before <= now() AND NOT a.paused
                  AND NOT (a.winding_down AND r.kind = 'propose')
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
                   count(*) FILTER (WHERE state = 'leased') OVER (PARTITION BY agent) AS of_agent,
                   count(*) FILTER (WHERE state = 'leased') OVER (PARTITION BY client) AS of_client,
                   count(*) FILTER (WHERE state = 'leased') OVER (PARTITION BY class) AS of_class
            FROM known
        )
        SELECT id, agent, slots AS "slots!", agent_cap, client, class,
               of_agent AS "of_agent!", of_client AS "of_client!", of_class AS "of_class!",
               ($5::INT[])[class] AS class_cap
        FROM counted
        WHERE state <> 'leased' AND slots <= $2
          AND NOT EXISTS (SELECT FROM scheduler.executors AS e WHERE e.id = $1 AND e.draining)
          AND (agent_cap IS NULL OR of_agent < agent_cap)
          AND (client IS NULL OR of_client < $3)
          AND (class IS NULL OR of_class < ($5::INT[])[class])
        ORDER BY priority DESC, weight DESC, id
        LIMIT $6"#,
        executor,
        i32::try_from(room.slots).unwrap_or(i32::MAX),
        caps.per_client,
        &below,
        &most,
        MOST_LOOKED_AT,
    )
    .fetch_all(tx.connection())
    .await?;
    let candidates = rows.into_iter().map(|row| {
        let agent = row.agent_cap.map(|most| (Group::Agent(row.agent), most, row.of_agent));
        let client = row
            .client
            .map(|name| (Group::Client(name), caps.per_client, row.of_client));
        let class = row.class.zip(row.class_cap);
        let class = class.map(|(class, most)| (Group::Class(class), most, row.of_class));
        let claims = [agent, client, class].into_iter().flatten();
        Candidate {
            id: row.id,
            slots: row.slots.into(),
            claims: claims
                .map(|(group, most, leased)| Claim {
                    group,
                    most: most.into(),
                    leased,
                })
                .collect(),
        }
    });
    Ok(candidates.collect())
}

/// One look at small indexes, before leasers queue up for nothing. In a window of maintenance nothing is leased.
async fn anything_queued(tx: &mut Tx) -> Result<bool, Error> {
    let queued = sqlx::query_scalar!(
        r#"-- runs::anything_queued
        SELECT EXISTS (
            SELECT FROM scheduler.runs WHERE state IN ('queued', 'retrying') AND not_before <= now()
        ) AND NOT EXISTS (
            SELECT FROM scheduler.maintenance WHERE ends_at > now() AND starts_at <= now()
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

/// A lease that was renewed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Renewed {
    /// The run.
    pub id: Uuid,
    /// Its agent is paused at once: it shall stop, and come back later.
    pub pause: bool,
}

/// Renews the leases a heartbeat names, all in one statement. Answers those that were still held; the others are lost.
///
/// # Errors
/// When the update fails.
pub async fn renew(tx: &mut Tx, held: &[(Uuid, Uuid)], lease: Duration) -> Result<Vec<Renewed>, Error> {
    let (ids, tokens): (Vec<Uuid>, Vec<Uuid>) = held.iter().copied().unzip();
    let renewed = sqlx::query_as!(
        Renewed,
        r#"-- runs::renew
        UPDATE scheduler.runs r
        SET lease_until = now() + $3 * INTERVAL '1 millisecond'
        FROM (SELECT id, token FROM UNNEST($1::uuid[], $2::uuid[]) AS held (id, token) ORDER BY id) held
        WHERE r.id = held.id AND r.lease_token = held.token AND r.state = 'leased'
        RETURNING r.id,
            (SELECT a.paused AND a.paused_now FROM scheduler.agents AS a WHERE a.name = r.agent) AS "pause!""#,
        &ids,
        &tokens,
        millis(lease),
    )
    .fetch_all(tx.connection())
    .await?;
    Ok(renewed)
}

/// Starts a run that was put off, or waits, no later than one attempt before its deadline. Answers the deadline when it
/// asked for more than that leaves.
///
/// # Errors
/// When the update fails.
pub async fn bring_forward(tx: &mut Tx, id: Uuid) -> Result<Option<DateTime<Utc>>, Error> {
    let deadline = sqlx::query_scalar!(
        r#"-- runs::bring_forward
        WITH late AS (
            SELECT id, deadline, deadline - timeout_secs * INTERVAL '1 second' AS latest
            FROM scheduler.runs
            WHERE id = $1 AND state IN ('retrying', 'waiting') AND deadline > now()
              AND not_before > deadline - timeout_secs * INTERVAL '1 second'
        )
        -- Once it is too late for a whole attempt the agent's wish stands: it would only be woken again and again.
        UPDATE scheduler.runs r
        SET not_before = CASE WHEN latest > now() THEN latest ELSE not_before END,
            wait_until = CASE WHEN latest > now() AND wait_until IS NOT NULL THEN latest ELSE wait_until END
        FROM late
        WHERE r.id = late.id AND r.state IN ('retrying', 'waiting')
        RETURNING late.deadline AS "deadline!""#,
        id,
    )
    .fetch_optional(tx.connection())
    .await?;
    Ok(deadline)
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
        RETURNING r.id, r.agent, r.state, r.kind",
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
            is_bid: row.kind == Kind::Propose.name(),
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
