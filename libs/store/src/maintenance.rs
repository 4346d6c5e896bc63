//! Windows of maintenance: within one no bid is sent and no run is leased, on any replica.

use std::time::Duration;

use chrono::{DateTime, Utc};
use uuid::Uuid;

use crate::{Error, Store, Tx, effects::millis};

/// Windows listed at most.
const LISTED: i64 = 100;

/// One window.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Window {
    /// Its id.
    pub id: Uuid,
    /// `config` or `operator`.
    pub source: String,
    /// From then on.
    pub starts_at: DateTime<Utc>,
    /// Until then.
    pub ends_at: DateTime<Utc>,
    /// Why, if somebody said.
    pub reason: String,
}

/// The window that is on and lasts longest, if one is.
///
/// # Errors
/// When the query fails.
pub async fn current(tx: &mut Tx) -> Result<Option<Window>, Error> {
    let window = sqlx::query_as!(
        Window,
        "-- maintenance::current
        SELECT id, source, starts_at, ends_at, reason
        FROM scheduler.maintenance
        WHERE ends_at > now() AND starts_at <= now()
        ORDER BY ends_at DESC
        LIMIT 1",
    )
    .fetch_optional(tx.connection())
    .await?;
    Ok(window)
}

/// Those that are on or to come, the soonest first.
///
/// # Errors
/// When the query fails.
pub async fn list(store: &Store) -> Result<Vec<Window>, Error> {
    let windows = sqlx::query_as!(
        Window,
        "-- maintenance::list
        SELECT id, source, starts_at, ends_at, reason
        FROM scheduler.maintenance
        WHERE ends_at > now()
        ORDER BY starts_at, id
        LIMIT $1",
        LISTED,
    )
    .fetch_all(&store.pool)
    .await?;
    Ok(windows)
}

/// Begins an operator's window now. One that is on lasts that long from now instead, be that longer or shorter.
///
/// # Errors
/// When a statement fails.
pub async fn begin(tx: &mut Tx, lasts: Duration, reason: &str) -> Result<Window, Error> {
    // Two who begin at once get one window.
    sqlx::query!("-- maintenance::begin, lock\nSELECT pg_advisory_xact_lock(6004511021)")
        .fetch_one(tx.connection())
        .await?;
    let on = sqlx::query_as!(
        Window,
        "-- maintenance::begin, on
        UPDATE scheduler.maintenance
        SET ends_at = now() + $1 * INTERVAL '1 millisecond', reason = COALESCE(NULLIF($2, ''), reason)
        WHERE source = 'operator' AND ends_at > now() AND starts_at <= now()
        RETURNING id, source, starts_at, ends_at, reason",
        millis(lasts),
        reason,
    )
    .fetch_optional(tx.connection())
    .await?;
    if let Some(window) = on {
        return Ok(window);
    }
    let window = sqlx::query_as!(
        Window,
        "-- maintenance::begin
        INSERT INTO scheduler.maintenance (id, source, starts_at, ends_at, reason)
        VALUES ($1, 'operator', now(), now() + $2 * INTERVAL '1 millisecond', $3)
        RETURNING id, source, starts_at, ends_at, reason",
        Uuid::now_v7(),
        millis(lasts),
        reason,
    )
    .fetch_one(tx.connection())
    .await?;
    Ok(window)
}

/// Ends whatever window is on, a configured one too. Answers how many were.
///
/// # Errors
/// When the update fails.
pub async fn end(tx: &mut Tx) -> Result<u64, Error> {
    let ended = sqlx::query!(
        "-- maintenance::end
        UPDATE scheduler.maintenance SET ends_at = now() WHERE ends_at > now() AND starts_at <= now()",
    )
    .execute(tx.connection())
    .await?;
    Ok(ended.rows_affected())
}

/// Plans the configured windows, known ones by their start; those to come that are configured no more are dropped, and
/// what was over a month ago is forgotten.
///
/// # Errors
/// When a statement fails.
pub async fn plan(tx: &mut Tx, windows: &[(DateTime<Utc>, DateTime<Utc>)]) -> Result<(), Error> {
    let (starts, ends): (Vec<_>, Vec<_>) = windows.iter().copied().unzip();
    sqlx::query!(
        "-- maintenance::plan, drop
        DELETE FROM scheduler.maintenance
        WHERE source = 'config' AND starts_at > now() AND NOT starts_at = ANY($1::TIMESTAMPTZ[])
           OR ends_at < now() - INTERVAL '30 days'",
        &starts,
    )
    .execute(tx.connection())
    .await?;
    sqlx::query!(
        "-- maintenance::plan
        INSERT INTO scheduler.maintenance AS known (id, source, starts_at, ends_at)
        SELECT gen_random_uuid(), 'config', planned.starts_at, planned.ends_at
        FROM UNNEST($1::TIMESTAMPTZ[], $2::TIMESTAMPTZ[]) AS planned (starts_at, ends_at)
        WHERE planned.ends_at > now()
        ON CONFLICT (starts_at) WHERE source = 'config' DO UPDATE
        SET ends_at = excluded.ends_at
        WHERE known.starts_at > now() AND known.ends_at <> excluded.ends_at",
        &starts,
        &ends,
    )
    .execute(tx.connection())
    .await?;
    Ok(())
}
