//! The request budget of one marketplace key, shared by all replicas: a window of 60 seconds by Postgres' clock.
//!
//! Each grant is a row with the next number. Grant `n` may be given when grant `n - limit` is older than 60 seconds or
//! was given back, so the check costs one look-up whatever the limit, and no 60 seconds ever hold more than `limit`.

use std::collections::BTreeMap;
use std::time::Duration;

use chrono::{DateTime, Utc};
use domain::breaker::Admission;
use domain::effect::{Class, Kind};

use crate::{Error, Store, Tx, effects::millis, tx::exactly_one};

mod breaker;

pub use breaker::record;

/// The window of the platform's limit.
const WINDOW: Duration = Duration::from_secs(60);
/// Between two searches while something more important is due.
const SEARCH_YIELDS: Duration = Duration::from_secs(5);
/// Old grants are swept away each time this many were given.
const SWEEP_EVERY: i64 = 256;

/// Permission for one request, to be begun within a second.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Grant {
    /// The budget it was taken from.
    pub key: String,
    /// Its number.
    pub seq: i64,
    /// It is the one call that shows whether the platform works again.
    pub probe: bool,
}

/// The answer to asking for a grant.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Answer {
    /// Go.
    Granted(Grant),
    /// The breaker lets one call through to see whether the platform works again. What was asked for would change
    /// something there, so a read is made under this grant instead, or it is given back.
    Probe(Grant),
    /// Not before this much time has passed.
    Wait(Duration),
    /// The platform keeps failing: not before this much time has passed.
    Failing(Duration),
    /// A human is wanted first.
    Stopped(String),
}

/// What one key may do.
#[derive(Debug, Clone, Copy)]
pub struct Limit<'a> {
    /// The platform, as the breaker of all keys is named: `@` and its host.
    pub host: &'a str,
    /// How long a probe may be on its way.
    pub probe_lease: Duration,
    /// Requests in any 60 seconds, as configured; what the platform's headers say may only lower it.
    pub per_minute: u32,
    /// Thousandths of it that only uploads, messages and deliveries may use.
    pub reserve_permille: u32,
}

/// How a budget is used, for people.
#[derive(Debug, Clone)]
pub struct Usage {
    /// The key's name.
    pub key: String,
    /// What the platform's headers said, if they lowered the limit.
    pub learned_limit: Option<i32>,
    /// Grants of the last 60 seconds.
    pub used: i64,
    /// No request before this.
    pub blocked_until: Option<DateTime<Utc>>,
    /// Stopped until a human says otherwise.
    pub stopped_reason: Option<String>,
    /// What the breaker does: `open`, `probing`, `recovering`; nothing when it is closed.
    pub breaker: Option<&'static str>,
    /// Of the grants of the last 60 seconds, how many of each class.
    pub classes: BTreeMap<String, i64>,
}

/// Asks for one grant.
///
/// # Errors
/// When a query fails.
pub async fn take(tx: &mut Tx, key: &str, class: Class, limit: Limit<'_>) -> Result<Answer, Error> {
    sqlx::query!(
        "-- budget::take
        INSERT INTO scheduler.api_budget (key) VALUES ($1) ON CONFLICT (key) DO NOTHING",
        key,
    )
    .execute(tx.connection())
    .await?;
    let budget = sqlx::query!(
        "-- budget::take
        SELECT next_seq, learned_limit, stopped_reason FROM scheduler.api_budget WHERE key = $1 FOR UPDATE",
        key,
    )
    .fetch_one(tx.connection())
    .await?;
    if let Some(reason) = budget.stopped_reason {
        return Ok(Answer::Stopped(reason));
    }
    let learned = budget
        .learned_limit
        .and_then(|limit| u32::try_from(limit).ok())
        .unwrap_or(u32::MAX);
    let full = limit.per_minute.min(learned).max(1);
    let usable = if class.may_use_reserve() {
        full
    } else {
        unreserved(full, limit.reserve_permille)
    };
    // Asked after the lock is held, so that the clock is not older than the last grant.
    let wait = sqlx::query_scalar!(
        "-- budget::take
        WITH ready AS (
            SELECT GREATEST(
                b.blocked_until,
                CASE WHEN $4 THEN b.last_paced_at + $5 * INTERVAL '1 millisecond' END,
                (SELECT MAX(g.granted_at) FROM scheduler.api_grants g WHERE g.key = $1 AND g.seq IN ($2, $3))
                    + $6 * INTERVAL '1 millisecond'
            ) AS at
            FROM scheduler.api_budget b WHERE b.key = $1
        )
        SELECT CASE WHEN at > clock_timestamp() THEN EXTRACT(EPOCH FROM at - clock_timestamp())::float8 END AS wait
        FROM ready",
        key,
        budget.next_seq - i64::from(full),
        budget.next_seq - i64::from(usable),
        class.is_paced(),
        millis(WINDOW) / f64::from(full),
        millis(WINDOW),
    )
    .fetch_one(tx.connection())
    .await?;
    if let Some(seconds) = wait {
        return Ok(Answer::Wait(Duration::from_secs_f64(seconds.clamp(0.001, 3600.0))));
    }
    if class == Class::Upload
        && let Some(wait) = uploads_wait(tx, key, budget.next_seq, full).await?
    {
        return Ok(Answer::Wait(wait));
    }
    if class == Class::Search
        && let Some(wait) = search_yields(tx, key, budget.next_seq, full).await?
    {
        return Ok(Answer::Wait(wait));
    }
    let (admission, is_open) = breaker::admit(tx, key, limit).await?;
    if let Admission::Wait(wait) = admission {
        return Ok(if is_open {
            Answer::Failing(wait)
        } else {
            Answer::Wait(wait)
        });
    }
    let grant = grant(tx, key, budget.next_seq, class, admission == Admission::Probe).await?;
    Ok(match admission {
        Admission::Probe if !class.is_read() => Answer::Probe(grant),
        _ => Answer::Granted(grant),
    })
}

/// While something more important is due, one search after another lets it go first. How long until the next search.
async fn search_yields(tx: &mut Tx, key: &str, next_seq: i64, full: u32) -> Result<Option<Duration>, Error> {
    let seconds = sqlx::query_scalar!(
        "-- budget::search_yields
        SELECT EXTRACT(EPOCH FROM MAX(granted_at) + $4 * INTERVAL '1 millisecond' - clock_timestamp())::float8 AS wait
        FROM scheduler.api_grants
        WHERE key = $1 AND class = 'search' AND seq >= $2 AND granted_at > clock_timestamp() - $4 * INTERVAL '1 millisecond'
          AND EXISTS (
              SELECT FROM scheduler.effects
              WHERE agent = $1 AND state = 'pending' AND kind <> $3 AND dead_reason IS NULL AND not_before <= now())",
        key,
        next_seq - i64::from(full),
        Kind::Settle.name(),
        millis(SEARCH_YIELDS),
    )
    .fetch_one(tx.connection())
    .await?;
    Ok(seconds.map(|seconds| Duration::from_secs_f64(seconds.clamp(0.001, 60.0))))
}

/// The platform takes a third as many uploads as other requests. How long until one more may go out.
async fn uploads_wait(tx: &mut Tx, key: &str, next_seq: i64, full: u32) -> Result<Option<Duration>, Error> {
    let seconds = sqlx::query_scalar!(
        "-- budget::uploads_wait
        SELECT EXTRACT(EPOCH FROM granted_at + $4 * INTERVAL '1 millisecond' - clock_timestamp())::float8 AS wait
        FROM scheduler.api_grants
        WHERE key = $1 AND class = 'upload' AND seq >= $2
          AND granted_at > clock_timestamp() - $4 * INTERVAL '1 millisecond'
        ORDER BY seq DESC OFFSET $3 LIMIT 1",
        key,
        next_seq - i64::from(full),
        i64::from((full / 3).max(1)) - 1,
        millis(WINDOW),
    )
    .fetch_optional(tx.connection())
    .await?;
    Ok(seconds
        .flatten()
        .map(|seconds| Duration::from_secs_f64(seconds.clamp(0.001, 60.0))))
}

fn unreserved(full: u32, reserve_permille: u32) -> u32 {
    let reserved = full.saturating_mul(reserve_permille.min(900)).div_ceil(1000);
    full.saturating_sub(reserved).max(1)
}

async fn grant(tx: &mut Tx, key: &str, seq: i64, class: Class, probe: bool) -> Result<Grant, Error> {
    sqlx::query!(
        "-- budget::grant
        INSERT INTO scheduler.api_grants (key, seq, granted_at, class) VALUES ($1, $2, clock_timestamp(), $3)",
        key,
        seq,
        class.name(),
    )
    .execute(tx.connection())
    .await?;
    let counted = sqlx::query!(
        "-- budget::grant
        UPDATE scheduler.api_budget
        SET next_seq = $2 + 1, last_paced_at = CASE WHEN $3 THEN clock_timestamp() ELSE last_paced_at END
        WHERE key = $1 AND next_seq = $2",
        key,
        seq,
        class.is_paced(),
    )
    .execute(tx.connection())
    .await?;
    exactly_one("request budget", counted.rows_affected())?;
    if seq % SWEEP_EVERY == 0 {
        sqlx::query!(
            "-- budget::grant
            DELETE FROM scheduler.api_grants WHERE key = $1 AND granted_at < clock_timestamp() - INTERVAL '10 minutes'",
            key,
        )
        .execute(tx.connection())
        .await?;
    }
    Ok(Grant {
        key: key.to_owned(),
        seq,
        probe,
    })
}

/// Gives a grant back that was not begun in time: nothing was sent. `host` as in [`Limit`].
///
/// # Errors
/// When the update fails.
pub async fn give_back(tx: &mut Tx, grant: &Grant, host: &str) -> Result<(), Error> {
    sqlx::query!(
        "-- budget::give_back
        UPDATE scheduler.api_grants SET granted_at = '-infinity' WHERE key = $1 AND seq = $2",
        grant.key,
        grant.seq,
    )
    .execute(tx.connection())
    .await?;
    if grant.probe {
        breaker::give_back(tx, &grant.key, host).await?;
    }
    Ok(())
}

/// The platform said "too many": nobody asks again before this much time has passed.
///
/// # Errors
/// When the update fails.
pub async fn block(tx: &mut Tx, key: &str, pause: Duration) -> Result<(), Error> {
    sqlx::query!(
        "-- budget::block
        UPDATE scheduler.api_budget
        SET blocked_until = GREATEST(blocked_until, clock_timestamp() + $2 * INTERVAL '1 millisecond')
        WHERE key = $1",
        key,
        millis(pause),
    )
    .execute(tx.connection())
    .await?;
    Ok(())
}

/// No request goes out any more until [`resume`]: the key was refused.
/// Answers true when it was not stopped before. A refusal heard within `call` of [`resume`] may be of a call made before,
/// with another key: it stops nothing, and calls wait for a moment instead.
///
/// # Errors
/// When the update fails.
pub async fn stop(tx: &mut Tx, key: &str, reason: &str, call: Duration) -> Result<bool, Error> {
    let stopped = sqlx::query!(
        "-- budget::stop
        UPDATE scheduler.api_budget SET stopped_reason = $2
        WHERE key = $1 AND stopped_reason IS NULL
          AND (resumed_at IS NULL OR resumed_at < clock_timestamp() - $3 * INTERVAL '1 millisecond')",
        key,
        reason,
        millis(call),
    )
    .execute(tx.connection())
    .await?;
    if stopped.rows_affected() == 0 {
        block(tx, key, call / 4).await?;
    }
    Ok(stopped.rows_affected() > 0)
}

/// Lets requests out again. The patience of what waited for that begins anew.
///
/// # Errors
/// When the update fails.
pub async fn resume(tx: &mut Tx, key: &str) -> Result<(), Error> {
    sqlx::query!(
        "-- budget::resume
        UPDATE scheduler.api_budget
        SET stopped_reason = NULL, resumed_at = clock_timestamp(), blocked_until = '-infinity', failures = 0, openings = 0, open_until = NULL,
            probe_until = NULL, gap_ms = 0
        WHERE key = $1",
        key,
    )
    .execute(tx.connection())
    .await?;
    sqlx::query!(
        "-- budget::resume
        UPDATE scheduler.effects SET away_since = NULL, not_before = GREATEST(not_before, now())
        WHERE agent = $1 AND state IN ('pending', 'unknown')",
        key,
    )
    .execute(tx.connection())
    .await?;
    Ok(())
}

/// Remembers the limit the platform's headers name, less a margin of two. It never raises the configured one.
///
/// # Errors
/// When the update fails.
pub async fn learn_limit(tx: &mut Tx, key: &str, limit: u32) -> Result<(), Error> {
    let kept = i32::try_from(limit.saturating_sub(2).max(1)).unwrap_or(i32::MAX);
    sqlx::query!(
        "-- budget::learn_limit
        UPDATE scheduler.api_budget SET learned_limit = $2 WHERE key = $1 AND learned_limit IS DISTINCT FROM $2",
        key,
        kept,
    )
    .execute(tx.connection())
    .await?;
    Ok(())
}

/// How each budget is used now. A row whose key begins with `@` stands for the platform: all keys together.
///
/// # Errors
/// When the query fails.
pub async fn usage(store: &Store) -> Result<Vec<Usage>, Error> {
    let rows = sqlx::query!(
        "-- budget::usage
        SELECT b.key, b.learned_limit, b.stopped_reason,
               CASE WHEN b.blocked_until > clock_timestamp() THEN b.blocked_until END AS blocked_until,
               b.open_until, b.gap_ms, clock_timestamp() AS \"now!\",
               (SELECT jsonb_object_agg(g.class, g.used) FROM (
                    SELECT class, COUNT(*) AS used FROM scheduler.api_grants
                    WHERE key = b.key AND seq >= b.next_seq - 10000
                      AND granted_at > clock_timestamp() - INTERVAL '60 seconds'
                    GROUP BY class) g) AS classes
        FROM scheduler.api_budget b
        ORDER BY b.key
        LIMIT 500",
    )
    .fetch_all(&store.pool)
    .await?;
    let usage = rows.into_iter().map(|row| {
        let classes: BTreeMap<String, i64> = row
            .classes
            .and_then(|classes| serde_json::from_value(classes).ok())
            .unwrap_or_default();
        Usage {
            breaker: breaker::word(row.open_until, row.gap_ms, row.now),
            key: row.key,
            learned_limit: row.learned_limit,
            used: classes.values().sum(),
            blocked_until: row.blocked_until.max(row.open_until.filter(|until| *until > row.now)),
            stopped_reason: row.stopped_reason,
            classes,
        }
    });
    Ok(usage.collect())
}
