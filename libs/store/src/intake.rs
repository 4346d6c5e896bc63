//! The inbox from the scheduler's side: claiming rows, and saying what became of them.

use std::time::Duration;

use bytes::Bytes;
use chrono::{DateTime, Utc};
use uuid::Uuid;

use crate::{Error, Store, Tx, tx::exactly_one};

/// A claimed row, locked until its transaction ends.
#[derive(Clone)]
pub struct Claimed {
    /// Its id.
    pub id: Uuid,
    /// Whose door it came through.
    pub agent: String,
    /// The signed bytes.
    pub body: Bytes,
    /// Older than the replay window when it came: a hint for a read only.
    pub stale: bool,
    /// W3C trace context.
    pub traceparent: Option<String>,
    /// It never came through the door: a read told of it.
    pub told_by_read: bool,
    /// When it was stored.
    pub received_at: DateTime<Utc>,
    /// Failures so far.
    pub attempts: i32,
    /// Seconds since it was stored, by Postgres' clock.
    pub age_secs: f64,
}

impl std::fmt::Debug for Claimed {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter
            .debug_struct("Claimed")
            .field("id", &self.id)
            .field("agent", &self.agent)
            .field("bytes", &self.body.len())
            .finish_non_exhaustive()
    }
}

/// A row as operators see it.
#[derive(Debug, Clone)]
pub struct Row {
    /// Its id.
    pub id: Uuid,
    /// Whose.
    pub agent: String,
    /// The sender's id of the delivery.
    pub delivery_id: Option<String>,
    /// What it was, once read.
    pub event: Option<String>,
    /// What became of it.
    pub outcome: Option<String>,
    /// Failures so far.
    pub attempts: i32,
    /// Given up, and why.
    pub dead_reason: Option<String>,
    /// When it was stored.
    pub received_at: DateTime<Utc>,
    /// When it was acted on.
    pub processed_at: Option<DateTime<Utc>>,
    /// Older than the replay window when it came.
    pub stale: bool,
    /// webhook, reconcile or replay.
    pub source: String,
}

/// Which rows to list; empty fields match all.
#[derive(Debug, Clone, Default)]
pub struct Filter {
    /// Of this agent.
    pub agent: Option<String>,
    /// Only those not acted on yet.
    pub unprocessed_only: bool,
    /// Stored before this one (the last of the page before).
    pub before: Option<Uuid>,
}

/// Claims the due row that waits longest; rows other transactions hold are passed over.
///
/// # Errors
/// When the query fails.
pub async fn claim(tx: &mut Tx) -> Result<Option<Claimed>, Error> {
    let row = sqlx::query!(
        r#"-- intake::claim
        SELECT id, agent, body, stale, traceparent, received_at, attempts, source = 'reconcile' AS "told_by_read!",
               EXTRACT(EPOCH FROM now() - received_at)::FLOAT8 AS "age_secs!"
        FROM ingress.inbox
        WHERE processed_at IS NULL AND dead_reason IS NULL AND next_attempt_at <= now()
        ORDER BY next_attempt_at
        LIMIT 1
        FOR UPDATE SKIP LOCKED"#,
    )
    .fetch_optional(tx.connection())
    .await?;
    Ok(row.map(|row| Claimed {
        id: row.id,
        agent: row.agent,
        body: Bytes::from(row.body),
        stale: row.stale,
        told_by_read: row.told_by_read,
        traceparent: row.traceparent,
        received_at: row.received_at,
        attempts: row.attempts,
        age_secs: row.age_secs,
    }))
}

/// Marks a claimed row as acted on, in the transaction that acts.
///
/// # Errors
/// [`Error::Stale`] when it was processed before.
pub async fn finish(tx: &mut Tx, id: Uuid, event: &str, outcome: &str) -> Result<(), Error> {
    let done = sqlx::query!(
        "-- intake::finish
        UPDATE ingress.inbox
        SET event = $2, outcome = $3, processed_at = now()
        WHERE id = $1 AND processed_at IS NULL",
        id,
        event,
        outcome,
    )
    .execute(tx.connection())
    .await?;
    exactly_one("inbox row", done.rows_affected())
}

/// Notes a failure: tried again after `pause`, or with a `dead` reason never again by itself.
///
/// # Errors
/// When the update fails. A row somebody else finished meanwhile is left alone.
pub async fn fail(tx: &mut Tx, id: Uuid, pause: Duration, dead: Option<&str>) -> Result<(), Error> {
    sqlx::query!(
        "-- intake::fail
        UPDATE ingress.inbox
        SET attempts = attempts + 1, next_attempt_at = now() + make_interval(secs => $2), dead_reason = $3
        WHERE id = $1 AND processed_at IS NULL AND dead_reason IS NULL",
        id,
        pause.as_secs_f64(),
        dead,
    )
    .execute(tx.connection())
    .await?;
    Ok(())
}

/// Puts a row back to be processed again from the beginning, whatever became of it. Its failures are forgotten.
///
/// # Errors
/// [`Error::NotFound`] when there is none.
pub async fn replay(tx: &mut Tx, id: Uuid) -> Result<(), Error> {
    let put_back = sqlx::query!(
        "-- intake::replay
        UPDATE ingress.inbox
        SET processed_at = NULL, outcome = NULL, dead_reason = NULL, attempts = 0, next_attempt_at = now()
        WHERE id = $1",
        id,
    )
    .execute(tx.connection())
    .await?;
    exactly_one("inbox row", put_back.rows_affected()).map_err(|_| unknown(id))
}

/// Gives a dead row up for good: it counts as processed.
///
/// # Errors
/// [`Error::Stale`] when it is not dead.
pub async fn drop_dead(tx: &mut Tx, id: Uuid, reason: &str) -> Result<(), Error> {
    let dropped = sqlx::query!(
        "-- intake::drop_dead
        UPDATE ingress.inbox
        SET processed_at = now(), outcome = 'dropped: ' || $2, dead_reason = NULL
        WHERE id = $1 AND dead_reason IS NOT NULL",
        id,
        reason,
    )
    .execute(tx.connection())
    .await?;
    exactly_one("dead inbox row", dropped.rows_affected())
}

/// Rows, newest first.
///
/// # Errors
/// When the query fails.
pub async fn list(store: &Store, filter: &Filter, limit: i64) -> Result<Vec<Row>, Error> {
    let rows = sqlx::query_as!(
        Row,
        "-- intake::list
        SELECT id, agent, delivery_id, event, outcome, attempts, dead_reason, received_at, processed_at, stale, source
        FROM ingress.inbox
        WHERE ($1::text IS NULL OR agent = $1)
          AND (NOT $2::bool OR processed_at IS NULL)
          AND ($3::uuid IS NULL OR id < $3)
        ORDER BY id DESC
        LIMIT $4",
        filter.agent,
        filter.unprocessed_only,
        filter.before,
        limit,
    )
    .fetch_all(&store.pool)
    .await?;
    Ok(rows)
}

/// One row and its body.
///
/// # Errors
/// [`Error::NotFound`] when there is none.
pub async fn get(store: &Store, id: Uuid) -> Result<(Row, Bytes), Error> {
    let row = sqlx::query!(
        "-- intake::get
        SELECT id, agent, delivery_id, event, outcome, attempts, dead_reason, received_at, processed_at, stale, source,
               body
        FROM ingress.inbox
        WHERE id = $1",
        id,
    )
    .fetch_optional(&store.pool)
    .await?
    .ok_or_else(|| unknown(id))?;
    let shown = Row {
        id: row.id,
        agent: row.agent,
        delivery_id: row.delivery_id,
        event: row.event,
        outcome: row.outcome,
        attempts: row.attempts,
        dead_reason: row.dead_reason,
        received_at: row.received_at,
        processed_at: row.processed_at,
        stale: row.stale,
        source: row.source,
    };
    Ok((shown, Bytes::from(row.body)))
}

fn unknown(id: Uuid) -> Error {
    Error::NotFound {
        what: "inbox row",
        key: id.to_string(),
    }
}

/// Under which name a test webhook came in at an agent's door since `since`, once it was looked at: `test`, or a name that
/// is not known.
///
/// # Errors
/// When the query fails.
pub async fn test_since(store: &Store, agent: &str, since: DateTime<Utc>) -> Result<Option<String>, Error> {
    let event = sqlx::query_scalar!(
        r#"-- intake::test_since
        SELECT COALESCE(event, '') AS "event!"
        FROM ingress.inbox
        WHERE agent = $1 AND received_at >= $2 AND source = 'webhook' AND outcome IN ('test', 'unknown_event')
        ORDER BY outcome, received_at
        LIMIT 1"#,
        agent,
        since,
    )
    .fetch_optional(&store.pool)
    .await?;
    Ok(event)
}
