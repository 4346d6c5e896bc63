//! Executors as their sessions know them, whichever replica holds the session.

use chrono::{DateTime, Utc};

use crate::{Error, Store, Tx, tx::exactly_one};

/// Executors listed at most.
const LISTED: i64 = 1_000;

/// What an executor says of itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Executor {
    /// Unique per process start.
    pub id: String,
    /// Room for runs, in all.
    pub slots: i32,
    /// What isolation its host gives.
    pub isolation: String,
    /// Its release.
    pub version: String,
}

/// One that was here.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Known {
    /// What it said of itself.
    pub executor: Executor,
    /// Runs it holds.
    pub runs: i64,
    /// The longest any of them may still take, seconds.
    pub longest_secs: i64,
    /// It takes no more work.
    pub draining: bool,
    /// When it came.
    pub came_at: DateTime<Utc>,
    /// When it was last heard of.
    pub seen_at: DateTime<Utc>,
    /// Nothing was heard of it for longer than a session is silent.
    pub gone: bool,
}

/// It is there. Answers whether it shall take no more work.
///
/// # Errors
/// When the row cannot be written.
pub async fn seen(tx: &mut Tx, executor: &Executor) -> Result<bool, Error> {
    let draining = sqlx::query_scalar!(
        "-- executors::seen
        INSERT INTO scheduler.executors AS e (id, slots, isolation, version) VALUES ($1, $2, $3, $4)
        ON CONFLICT (id) DO UPDATE SET seen_at = now()
        RETURNING draining",
        executor.id,
        executor.slots,
        executor.isolation,
        executor.version,
    )
    .fetch_one(tx.connection())
    .await?;
    Ok(draining)
}

/// It shall take no more work, for good: a new start has a new id.
///
/// # Errors
/// [`Error::Stale`] when there is no such executor.
pub async fn drain(tx: &mut Tx, id: &str) -> Result<(), Error> {
    let drained = sqlx::query!(
        "-- executors::drain
        UPDATE scheduler.executors SET draining = TRUE WHERE id = $1",
        id,
    )
    .execute(tx.connection())
    .await?;
    exactly_one("executor", drained.rows_affected())
}

/// Runs that could have begun half a minute ago while no executor is there that takes work.
///
/// # Errors
/// When the query fails.
pub async fn starved_runs(tx: &mut Tx) -> Result<i64, Error> {
    let starved = sqlx::query_scalar!(
        r#"-- executors::starved_runs
        SELECT count(*) AS "starved!"
        FROM scheduler.runs AS r
        JOIN scheduler.agents AS a ON a.name = r.agent
        WHERE r.state IN ('queued', 'retrying') AND r.not_before < now() - INTERVAL '30 seconds' AND NOT a.paused
          AND NOT EXISTS (
              SELECT FROM scheduler.executors WHERE NOT draining AND seen_at > now() - INTERVAL '30 seconds')"#,
    )
    .fetch_one(tx.connection())
    .await?;
    Ok(starved)
}

/// Those heard of in the last day, the newest first.
///
/// # Errors
/// When the query fails.
pub async fn list(store: &Store) -> Result<Vec<Known>, Error> {
    let rows = sqlx::query!(
        r#"-- executors::list
        SELECT e.id, e.slots, e.isolation, e.version, e.draining, e.came_at, e.seen_at,
               e.seen_at < now() - INTERVAL '30 seconds' AS "gone!",
               count(r.id) AS "runs!",
               COALESCE(max(GREATEST(0, r.timeout_secs - EXTRACT(EPOCH FROM now() - r.updated_at)))::BIGINT, 0)
                   AS "longest_secs!"
        FROM scheduler.executors AS e
        LEFT JOIN scheduler.runs AS r ON r.state = 'leased' AND r.executor_id = e.id
        WHERE e.seen_at > now() - INTERVAL '1 day'
        GROUP BY e.id
        ORDER BY e.came_at DESC
        LIMIT $1"#,
        LISTED,
    )
    .fetch_all(&store.pool)
    .await?;
    let known = rows.into_iter().map(|row| Known {
        executor: Executor {
            id: row.id,
            slots: row.slots,
            isolation: row.isolation,
            version: row.version,
        },
        runs: row.runs,
        longest_secs: row.longest_secs,
        draining: row.draining,
        came_at: row.came_at,
        seen_at: row.seen_at,
        gone: row.gone,
    });
    Ok(known.collect())
}

/// Forgets those nothing was heard of for a month.
///
/// # Errors
/// When the rows cannot be removed.
pub async fn forget(tx: &mut Tx) -> Result<u64, Error> {
    let forgotten = sqlx::query!(
        "-- executors::forget
        DELETE FROM scheduler.executors WHERE seen_at < now() - INTERVAL '30 days'",
    )
    .execute(tx.connection())
    .await?;
    Ok(forgotten.rows_affected())
}
