//! Runs: attempts at jobs, under leases with fencing tokens, moved only along `domain::run`.

use std::time::Duration;

use chrono::{DateTime, Utc};
use domain::run::{self, Command, Kind, Policy, State};
use serde_json::Value;
use uuid::Uuid;

use crate::{Error, Tx, effects::millis, tx::exactly_one};

mod bids;
mod lease;
mod read;

pub use bids::{cancel_bids_of_agent, overdue_bids};
pub use lease::{Caps, Expired, Renewed, Room, bring_forward, expire_leases, held_by, lease_next, renew, wake_waiting};
pub use read::{Filter, cancelled_among, get, last_work, list, lock, oldest_queued};

/// A job to be queued.
#[derive(Debug, Clone)]
pub struct NewRun {
    /// Whose.
    pub agent: String,
    /// What for.
    pub kind: Kind,
    /// The contract it works on.
    pub contract_id: Option<Uuid>,
    /// The gig it is about.
    pub gig_id: Option<Uuid>,
    /// (kind, subject, revision or message): queued once.
    pub natural_key: String,
    /// SHA-256 of the bundle.
    pub version: String,
    /// The revision it delivers.
    pub revision_no: i32,
    /// Higher goes first.
    pub priority: i32,
    /// Failed attempts before it is parked.
    pub max_attempts: i32,
    /// When it has to be done.
    pub deadline: Option<DateTime<Utc>>,
    /// Wall clock of one attempt.
    pub timeout: Duration,
    /// What it may spend on model calls, micro US dollars.
    pub budget_micro: i64,
    /// What the client asked for, for revise and reply.
    pub request: Option<String>,
    /// The trace it belongs to.
    pub traceparent: Option<String>,
}

/// One run as kept.
#[derive(Debug, Clone)]
pub struct Run {
    /// Its id.
    pub id: Uuid,
    /// Whose.
    pub agent: String,
    /// What for.
    pub kind: Kind,
    /// The contract it works on.
    pub contract_id: Option<Uuid>,
    /// The gig it is about.
    pub gig_id: Option<Uuid>,
    /// SHA-256 of the bundle.
    pub version: String,
    /// The revision it delivers.
    pub revision_no: i32,
    /// Where it stands, with its counters.
    pub machine: run::Run,
    /// Failed attempts before it is parked.
    pub max_attempts: i32,
    /// When it has to be done.
    pub deadline: Option<DateTime<Utc>>,
    /// Wall clock of one attempt, seconds.
    pub timeout_secs: i32,
    /// What it may spend on model calls, micro US dollars.
    pub budget_micro: i64,
    /// Lease end, while leased.
    pub lease_until: Option<DateTime<Utc>>,
    /// Fencing token, while leased.
    pub lease_token: Option<Uuid>,
    /// Who has it, while leased; who had it last, after.
    pub executor_id: Option<String>,
    /// What the client asked for.
    pub request: Option<String>,
    /// The result event, once succeeded.
    pub result: Option<Value>,
    /// The last checkpoint.
    pub checkpoint: Option<Value>,
    /// Why the last attempt failed.
    pub error: Option<String>,
    /// The trace it belongs to.
    pub traceparent: Option<String>,
    /// When it was queued.
    pub created_at: DateTime<Utc>,
    /// When the first attempt began.
    pub started_at: Option<DateTime<Utc>>,
    /// When it ended.
    pub finished_at: Option<DateTime<Utc>>,
}

/// What is kept beside a move.
#[derive(Debug, Clone, Default)]
pub struct Note {
    /// The result event.
    pub result: Option<Value>,
    /// Why it failed, parked or was cancelled.
    pub error: Option<String>,
}

/// Queues a job, once: a repeat answers the id of the first.
///
/// # Errors
/// When the insert fails.
pub async fn insert(tx: &mut Tx, new: &NewRun) -> Result<Uuid, Error> {
    let inserted = sqlx::query_scalar!(
        "-- runs::insert
        INSERT INTO scheduler.runs
            (id, agent, kind, contract_id, gig_id, natural_key, version, revision_no, state, priority, max_attempts,
             deadline, timeout_secs, budget_micro, request, traceparent, updated_by)
        VALUES ($1, $2, $3, $4, $5, $6, $7, $8, 'queued', $9, $10, $11, $12, $13, $14, $15, $16)
        ON CONFLICT (natural_key) DO NOTHING
        RETURNING id",
        Uuid::now_v7(),
        new.agent,
        new.kind.name(),
        new.contract_id,
        new.gig_id,
        new.natural_key,
        new.version,
        new.revision_no,
        new.priority,
        new.max_attempts,
        new.deadline,
        i32::try_from(new.timeout.as_secs()).unwrap_or(i32::MAX),
        new.budget_micro,
        new.request,
        new.traceparent,
        tx.name,
    )
    .fetch_optional(tx.connection())
    .await?;
    if let Some(id) = inserted {
        return Ok(id);
    }
    let existing = sqlx::query_scalar!(
        "-- runs::insert
        SELECT id FROM scheduler.runs WHERE natural_key = $1",
        new.natural_key,
    )
    .fetch_one(tx.connection())
    .await?;
    Ok(existing)
}

/// Moves a run along the machine. While it is leased only the holder of its token may move it; pass `None` for
/// moves that override the lease (cancel).
///
/// # Errors
/// [`Error::Stale`] when the machine or the token does not allow the move.
pub async fn advance(
    tx: &mut Tx,
    id: Uuid,
    token: Option<Uuid>,
    command: &Command,
    policy: &Policy,
    note: &Note,
) -> Result<run::Step, Error> {
    let stale = || Error::Stale { what: "run" };
    let current = read::lock(tx, id).await?;
    let overrides = matches!(command, Command::Cancel | Command::OperatorRetry | Command::WakeUp);
    if current.machine.state == State::Leased && !overrides && current.lease_token != token {
        return Err(stale());
    }
    let policy = Policy {
        max_attempts: u32::try_from(current.max_attempts).unwrap_or(1),
        ..*policy
    };
    let step = run::apply(&current.machine, command, &policy).map_err(|_| stale())?;
    let closed = matches!(step.run.state, State::Succeeded | State::Cancelled | State::Parked);
    let moved = sqlx::query!(
        "-- runs::advance
        UPDATE scheduler.runs
        SET state = $3, attempt = $4, failures = $5, lost_leases = $6, hand_backs = $7, postponed = $13,
            not_before = now() + $8 * INTERVAL '1 millisecond',
            wait_until = CASE WHEN $3 = 'waiting' THEN now() + $8 * INTERVAL '1 millisecond' END,
            lease_until = NULL, lease_token = NULL,
            result = COALESCE($9, result), error = $10,
            finished_at = CASE WHEN $11 THEN now() END,
            updated_at = now(), updated_by = $12
        WHERE id = $1 AND state = $2",
        id,
        current.machine.state.name(),
        step.run.state.name(),
        count(step.run.attempt),
        count(step.run.failures),
        count(step.run.lost_leases),
        count(step.run.hand_backs),
        millis(step.pause),
        note.result,
        note.error,
        closed,
        tx.name,
        count(step.run.postponed),
    )
    .execute(tx.connection())
    .await?;
    exactly_one("run", moved.rows_affected())?;
    Ok(step)
}

/// Gives a queued run another version of its agent.
///
/// # Errors
/// [`Error::Stale`] when it is not queued.
pub async fn rebind(tx: &mut Tx, id: Uuid, version: &str, timeout: Duration) -> Result<(), Error> {
    let bound = sqlx::query!(
        "-- runs::rebind
        UPDATE scheduler.runs
        SET version = $2, timeout_secs = $3, updated_at = now(), updated_by = $4
        WHERE id = $1 AND state = 'queued'",
        id,
        version,
        i32::try_from(timeout.as_secs()).unwrap_or(i32::MAX),
        tx.name,
    )
    .execute(tx.connection())
    .await?;
    exactly_one("run", bound.rows_affected())
}

/// Whose run it is.
///
/// # Errors
/// [`Error::NotFound`] when there is no such run.
pub async fn agent_of(tx: &mut Tx, id: Uuid) -> Result<String, Error> {
    let agent = sqlx::query_scalar!(
        "-- runs::agent_of
        SELECT agent FROM scheduler.runs WHERE id = $1",
        id,
    )
    .fetch_optional(tx.connection())
    .await?;
    agent.ok_or_else(|| Error::NotFound {
        what: "run",
        key: id.to_string(),
    })
}

/// The contract a run works on, if it works on one.
///
/// # Errors
/// [`Error::NotFound`] when there is no such run.
pub async fn contract_of(tx: &mut Tx, id: Uuid) -> Result<Option<Uuid>, Error> {
    let contract = sqlx::query_scalar!(
        "-- runs::contract_of
        SELECT contract_id FROM scheduler.runs WHERE id = $1",
        id,
    )
    .fetch_optional(tx.connection())
    .await?;
    contract.ok_or_else(|| Error::NotFound {
        what: "run",
        key: id.to_string(),
    })
}

/// Calls off the open runs of a contract. Their executors learn it by their next heartbeat. Answers how many.
///
/// # Errors
/// When the update fails.
pub async fn cancel_of_contract(tx: &mut Tx, contract: Uuid, reason: &str) -> Result<u64, Error> {
    let cancelled = sqlx::query!(
        "-- runs::cancel_of_contract
        UPDATE scheduler.runs
        SET state = 'cancelled', error = $2, lease_until = NULL, lease_token = NULL, finished_at = now(),
            updated_at = now(), updated_by = $3
        WHERE contract_id = $1 AND state IN ('queued', 'leased', 'retrying', 'waiting', 'parked')",
        contract,
        reason,
        tx.name,
    )
    .execute(tx.connection())
    .await?;
    Ok(cancelled.rows_affected())
}

/// Keeps the last checkpoint of a leased run.
///
/// # Errors
/// [`Error::Stale`] when the lease is lost.
pub async fn save_checkpoint(tx: &mut Tx, id: Uuid, token: Uuid, checkpoint: &Value) -> Result<(), Error> {
    let saved = sqlx::query!(
        "-- runs::save_checkpoint
        UPDATE scheduler.runs SET checkpoint = $3, updated_at = now(), updated_by = $4
        WHERE id = $1 AND state = 'leased' AND lease_token = $2",
        id,
        token,
        checkpoint,
        tx.name,
    )
    .execute(tx.connection())
    .await?;
    exactly_one("run", saved.rows_affected())
}

/// A run as long as this token holds its lease; locked.
///
/// # Errors
/// [`Error::Stale`] when the lease is lost.
pub async fn held(tx: &mut Tx, id: Uuid, token: Uuid) -> Result<Run, Error> {
    let run = read::lock(tx, id).await?;
    if run.machine.state == State::Leased && run.lease_token == Some(token) {
        Ok(run)
    } else {
        Err(Error::Stale { what: "run" })
    }
}

/// Whether the attempt with this token was completed already.
///
/// # Errors
/// When the query fails.
pub async fn completed_by(tx: &mut Tx, id: Uuid, token: Uuid) -> Result<bool, Error> {
    let completed = sqlx::query_scalar!(
        "-- runs::completed_by
        SELECT EXISTS (SELECT FROM scheduler.runs WHERE id = $1 AND completed_token = $2) AS \"completed!\"",
        id,
        token,
    )
    .fetch_one(tx.connection())
    .await?;
    Ok(completed)
}

/// Notes which attempt was completed.
///
/// # Errors
/// When the update fails.
pub async fn note_completion(tx: &mut Tx, id: Uuid, token: Uuid) -> Result<(), Error> {
    sqlx::query!(
        "-- runs::note_completion
        UPDATE scheduler.runs SET completed_token = $2 WHERE id = $1",
        id,
        token,
    )
    .execute(tx.connection())
    .await?;
    Ok(())
}

/// Messages to the client one run wished for so far.
///
/// # Errors
/// When the query fails.
pub async fn messages_of(tx: &mut Tx, id: Uuid) -> Result<i64, Error> {
    let wished = sqlx::query_scalar!(
        "-- runs::messages_of
        SELECT COUNT(*) AS \"wished!\" FROM scheduler.effects WHERE run_id = $1 AND kind = 'message'",
        id,
    )
    .fetch_one(tx.connection())
    .await?;
    Ok(wished)
}

fn count(number: u32) -> i32 {
    i32::try_from(number).unwrap_or(i32::MAX)
}
