//! The breakers' rows: one per key, one for the platform as a whole. The rule is `domain::breaker`.

use std::time::Duration;

use chrono::{DateTime, Utc};
use domain::breaker::{Admission, Breaker, Change, Outcome, Policy, Recent};

use super::Limit;
use crate::{Error, Tx, tx::exactly_one};

/// Failures are counted over this.
const SHARE_OF: Duration = Duration::from_secs(60);

struct Row {
    breaker: Breaker,
    next_seq: i64,
    window_at: Option<DateTime<Utc>>,
    window_seq: i64,
    window_failed: i32,
    now: DateTime<Utc>,
}

/// Whether a call may begin, by the key's breaker and the platform's, both counted if so; and whether one of them is
/// open. The key's row is locked by the caller.
pub(super) async fn admit(tx: &mut Tx, key: &str, limit: Limit<'_>) -> Result<(Admission, bool), Error> {
    let mut decided = Admission::Go;
    let mut counted = Vec::new();
    for name in [key, limit.host] {
        let Some(row) = troubled(tx, name).await? else { continue };
        match row.breaker.admit(row.now) {
            wait @ Admission::Wait(_) => return Ok((wait, row.breaker.open_until.is_some())),
            Admission::Probe => decided = Admission::Probe,
            Admission::Go => {}
        }
        counted.push((name, row));
    }
    for (name, mut row) in counted {
        row.breaker.begin(row.now, limit.probe_lease);
        save(tx, name, &row).await?;
    }
    Ok((decided, decided == Admission::Probe))
}

/// A breaker that is not calm, locked. Most are calm, and then nothing is locked.
async fn troubled(tx: &mut Tx, key: &str) -> Result<Option<Row>, Error> {
    let is_calm = sqlx::query_scalar!(
        "-- budget::breaker
        SELECT NOT EXISTS (
            SELECT FROM scheduler.api_budget
            WHERE key = $1 AND (failures > 0 OR open_until IS NOT NULL OR gap_ms > 0)) AS \"calm!\"",
        key,
    )
    .fetch_one(tx.connection())
    .await?;
    if is_calm {
        return Ok(None);
    }
    lock(tx, key).await.map(Some)
}

async fn lock(tx: &mut Tx, key: &str) -> Result<Row, Error> {
    let row = sqlx::query!(
        "-- budget::breaker
        SELECT next_seq, failures, openings, open_until, probe_until, gap_ms, last_begun_at, window_at, window_seq,
               window_failed
        FROM scheduler.api_budget WHERE key = $1 FOR UPDATE",
        key,
    )
    .fetch_one(tx.connection())
    .await?;
    // Asked after the lock is held, so that it is not older than what others saved.
    let now = sqlx::query_scalar!("-- budget::breaker\nSELECT clock_timestamp() AS \"now!\"")
        .fetch_one(tx.connection())
        .await?;
    let count = |value: i32| u32::try_from(value).unwrap_or(0);
    Ok(Row {
        breaker: Breaker {
            failures: count(row.failures),
            openings: count(row.openings),
            open_until: row.open_until,
            probe_until: row.probe_until,
            gap: Duration::from_millis(u64::from(count(row.gap_ms))),
            last_begun: row.last_begun_at,
        },
        next_seq: row.next_seq,
        window_at: row.window_at,
        window_seq: row.window_seq,
        window_failed: row.window_failed,
        now,
    })
}

async fn save(tx: &mut Tx, key: &str, row: &Row) -> Result<(), Error> {
    let count = |value: u32| i32::try_from(value).unwrap_or(i32::MAX);
    let breaker = &row.breaker;
    let saved = sqlx::query!(
        "-- budget::breaker
        UPDATE scheduler.api_budget
        SET failures = $2, openings = $3, open_until = $4, probe_until = $5, gap_ms = $6, last_begun_at = $7,
            window_at = $8, window_seq = $9, window_failed = $10
        WHERE key = $1",
        key,
        count(breaker.failures),
        count(breaker.openings),
        breaker.open_until,
        breaker.probe_until,
        i32::try_from(breaker.gap.as_millis()).unwrap_or(i32::MAX),
        breaker.last_begun,
        row.window_at,
        row.window_seq,
        row.window_failed,
    )
    .execute(tx.connection())
    .await?;
    exactly_one("breaker", saved.rows_affected())
}

/// Takes the outcome of a call into the key's breaker and the platform's. Answers what changed for each.
///
/// The share of failing calls counts for the key only: its grants are numbered.
///
/// # Errors
/// When a query fails.
pub async fn record(
    tx: &mut Tx,
    key: &str,
    host: &str,
    outcome: Outcome,
    policy: &Policy,
) -> Result<(Change, Change), Error> {
    if outcome != Outcome::Works {
        sqlx::query!(
            "-- budget::breaker
            INSERT INTO scheduler.api_budget (key) VALUES ($1), ($2) ON CONFLICT (key) DO NOTHING",
            key,
            host,
        )
        .execute(tx.connection())
        .await?;
    }
    let mut changes = [Change::None, Change::None];
    for (change, name) in changes.iter_mut().zip([key, host]) {
        let row = match outcome {
            Outcome::Works => troubled(tx, name).await?,
            Outcome::Fails | Outcome::Down => Some(lock(tx, name).await?),
        };
        let Some(mut row) = row else { continue };
        let recent = match outcome {
            Outcome::Works => Recent::default(),
            Outcome::Fails | Outcome::Down => count_failure(&mut row),
        };
        *change = row.breaker.record(outcome, recent, row.now, policy);
        if *change == Change::Opened {
            row.window_at = None;
        }
        save(tx, name, &row).await?;
    }
    let [of_key, of_host] = changes;
    Ok((of_key, of_host))
}

/// The platform's own row has no grants, so there its share means nothing.
fn count_failure(row: &mut Row) -> Recent {
    let is_recent = row
        .window_at
        .is_some_and(|at| (row.now - at).to_std().is_ok_and(|age| age < SHARE_OF));
    if !is_recent {
        row.window_at = Some(row.now);
        row.window_seq = row.next_seq - 1;
        row.window_failed = 0;
    }
    row.window_failed = row.window_failed.saturating_add(1);
    Recent {
        calls: u32::try_from(row.next_seq - row.window_seq).unwrap_or(0),
        failed: u32::try_from(row.window_failed).unwrap_or(0),
    }
}

/// A probe that was not made: another call may be. Locked in the order of [`admit`].
pub(super) async fn give_back(tx: &mut Tx, key: &str, host: &str) -> Result<(), Error> {
    for name in [key, host] {
        let Some(mut row) = troubled(tx, name).await? else {
            continue;
        };
        row.breaker.give_back();
        save(tx, name, &row).await?;
    }
    Ok(())
}

/// What the breaker does, in a word; nothing when it is closed.
pub(super) fn word(open_until: Option<DateTime<Utc>>, gap_ms: i32, now: DateTime<Utc>) -> Option<&'static str> {
    let breaker = Breaker {
        open_until,
        gap: Duration::from_millis(u64::try_from(gap_ms).unwrap_or(0)),
        ..Breaker::default()
    };
    breaker.word(now)
}
