//! What runs said on their way, bounded per run.

use chrono::{DateTime, Utc};
use uuid::Uuid;

use crate::{Error, Store, Tx};

/// Lines kept per run; what comes after is counted in the executor's log only.
const KEPT_PER_RUN: i64 = 2_000;

/// One line.
#[derive(Debug, Clone)]
pub struct Line {
    /// When it was said.
    pub at: DateTime<Utc>,
    /// In which attempt.
    pub attempt: i32,
    /// progress, message, checkpoint, log, output, outcome.
    pub kind: String,
    /// The text, at most 16 KiB.
    pub body: String,
    /// Rises from line to line.
    pub seq: i64,
}

/// Keeps one line of an attempt. A repeat of the same number is ignored. Answers whether it was new.
///
/// # Errors
/// When the insert fails.
pub async fn append(tx: &mut Tx, run: Uuid, attempt: i32, seq: i64, kind: &str, body: &str) -> Result<bool, Error> {
    // Each attempt counts from one: the attempt is part of the number.
    let seq = i64::from(attempt) * 1_000_000 + seq.clamp(0, 999_999);
    let body: String = body.chars().take(16 * 1024).collect();
    let added = sqlx::query!(
        "-- run_events::append
        INSERT INTO scheduler.run_events (run_id, seq, attempt, kind, body)
        SELECT $1, $2, $3, $4, $5
        WHERE $4 IN ('message', 'checkpoint', 'outcome')
           OR (SELECT COUNT(*) FROM scheduler.run_events WHERE run_id = $1) < $6
        ON CONFLICT (run_id, seq) DO NOTHING",
        run,
        seq,
        attempt,
        kind,
        body,
        KEPT_PER_RUN,
    )
    .execute(tx.connection())
    .await?;
    Ok(added.rows_affected() > 0)
}

/// The end of what an attempt printed, as far as it was told on the way: at most the last ten pieces.
///
/// # Errors
/// When the query fails.
pub async fn printed(tx: &mut Tx, run: Uuid, attempt: i32) -> Result<String, Error> {
    let mut pieces = sqlx::query_scalar!(
        "-- run_events::printed
        SELECT body FROM scheduler.run_events
        WHERE run_id = $1 AND attempt = $2 AND kind = 'output'
        ORDER BY seq DESC
        LIMIT 10",
        run,
        attempt,
    )
    .fetch_all(tx.connection())
    .await?;
    pieces.reverse();
    Ok(pieces.concat())
}

/// Lines of a run after this one, oldest first.
///
/// # Errors
/// When the query fails.
pub async fn list(store: &Store, run: Uuid, after: i64, limit: i64) -> Result<Vec<Line>, Error> {
    let lines = sqlx::query_as!(
        Line,
        "-- run_events::list
        SELECT at, attempt, kind, body, seq FROM scheduler.run_events WHERE run_id = $1 AND seq > $2
        ORDER BY seq LIMIT $3",
        run,
        after,
        limit,
    )
    .fetch_all(&store.pool)
    .await?;
    Ok(lines)
}
