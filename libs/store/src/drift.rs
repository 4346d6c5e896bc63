//! What the platform says that this release does not know, counted over restarts and replicas.

use chrono::{DateTime, Utc};

use crate::{Error, Store, Tx};

/// Rows kept; a new name beyond them is not, which the counters of each process still show.
const MOST: i64 = 2_000;
/// A name not seen for this many days is forgotten.
const KEPT_DAYS: i32 = 400;

/// One unknown thing.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Drift {
    /// `field`, `event`, `status`, `value`, `item`, `code` or `header`.
    pub what: String,
    /// Where it was: `gig`, `contract`, `webhook`, or the name of a call.
    pub place: String,
    /// Its name.
    pub name: String,
    /// How often.
    pub seen: i64,
    /// For the first time.
    pub first_at: DateTime<Utc>,
    /// For the last time.
    pub last_at: DateTime<Utc>,
}

/// Adds sights of one thing. Answers whether it was never seen before.
///
/// # Errors
/// When a statement fails.
pub async fn add(tx: &mut Tx, what: &str, place: &str, name: &str, sights: i64) -> Result<bool, Error> {
    let fresh = sqlx::query_scalar!(
        r#"-- drift::add
        INSERT INTO scheduler.api_drift (what, place, name, seen)
        SELECT $1, $2, $3, $4
        WHERE EXISTS (SELECT FROM scheduler.api_drift WHERE what = $1 AND place = $2 AND name = $3)
            OR (SELECT count(*) FROM scheduler.api_drift) < $5
        ON CONFLICT (what, place, name) DO UPDATE
        SET seen = api_drift.seen + excluded.seen, last_at = now()
        RETURNING (xmax = 0) AS "fresh!""#,
        what,
        place,
        name,
        sights,
        MOST,
    )
    .fetch_optional(tx.connection())
    .await?;
    Ok(fresh.unwrap_or(false))
}

/// Forgets what was not seen for long.
///
/// # Errors
/// When the statement fails.
pub async fn forget(tx: &mut Tx) -> Result<(), Error> {
    sqlx::query!(
        "-- drift::forget
        DELETE FROM scheduler.api_drift WHERE last_at < now() - make_interval(days => $1)",
        KEPT_DAYS,
    )
    .execute(tx.connection())
    .await?;
    Ok(())
}

/// Everything unknown, the latest first.
///
/// # Errors
/// When the query fails.
pub async fn list(store: &Store) -> Result<Vec<Drift>, Error> {
    let rows = sqlx::query_as!(
        Drift,
        "-- drift::list
        SELECT what, place, name, seen, first_at, last_at FROM scheduler.api_drift
        ORDER BY last_at DESC, what, place, name LIMIT $1",
        MOST,
    )
    .fetch_all(&store.pool)
    .await?;
    Ok(rows)
}

/// Names seen for the first time since the last time a duty was done without an error, or ever where it never was: at
/// most `most` of them.
///
/// # Errors
/// When the query fails.
pub async fn new_since_duty(store: &Store, duty: &str, key: &str, most: i64) -> Result<Vec<Drift>, Error> {
    let rows = sqlx::query_as!(
        Drift,
        "-- drift::new_since_duty
        SELECT what, place, name, seen, first_at, last_at FROM scheduler.api_drift
        WHERE first_at > COALESCE(
            (SELECT last_done_at FROM scheduler.duties WHERE duty = $1 AND key = $2), '-infinity')
        ORDER BY what, place, name LIMIT $3",
        duty,
        key,
        most,
    )
    .fetch_all(&store.pool)
    .await?;
    Ok(rows)
}
