//! Reading runs.

use chrono::{DateTime, Utc};
use domain::run::{self, Kind, State};
use serde_json::Value;
use uuid::Uuid;

use super::Run;
use crate::{Error, Store, Tx};

/// Which runs to list; empty fields match all.
#[derive(Debug, Clone, Default)]
pub struct Filter {
    /// Of this agent.
    pub agent: Option<String>,
    /// In this state.
    pub state: Option<String>,
    /// Of this contract.
    pub contract_id: Option<Uuid>,
    /// Queued before this run (the last of the page before).
    pub before: Option<Uuid>,
}

struct Row {
    id: Uuid,
    agent: String,
    kind: String,
    contract_id: Option<Uuid>,
    gig_id: Option<Uuid>,
    version: String,
    revision_no: i32,
    state: String,
    attempt: i32,
    failures: i32,
    lost_leases: i32,
    hand_backs: i32,
    postponed: i32,
    max_attempts: i32,
    deadline: Option<DateTime<Utc>>,
    timeout_secs: i32,
    budget_micro: i64,
    lease_until: Option<DateTime<Utc>>,
    lease_token: Option<Uuid>,
    executor_id: Option<String>,
    request: Option<String>,
    result: Option<Value>,
    checkpoint: Option<Value>,
    error: Option<String>,
    traceparent: Option<String>,
    created_at: DateTime<Utc>,
    started_at: Option<DateTime<Utc>>,
    finished_at: Option<DateTime<Utc>>,
}

impl TryFrom<Row> for Run {
    type Error = Error;

    fn try_from(row: Row) -> Result<Self, Error> {
        let count = |number: i32| u32::try_from(number).unwrap_or(0);
        let kind = Kind::from_name(&row.kind).ok_or_else(|| Error::Corrupt {
            what: "run",
            key: row.id.to_string(),
            why: format!("kind {:?} is not known to this release", row.kind),
        })?;
        Ok(Self {
            id: row.id,
            agent: row.agent,
            kind,
            contract_id: row.contract_id,
            gig_id: row.gig_id,
            version: row.version,
            revision_no: row.revision_no,
            machine: run::Run {
                state: State::from_name(&row.state),
                attempt: count(row.attempt),
                failures: count(row.failures),
                lost_leases: count(row.lost_leases),
                hand_backs: count(row.hand_backs),
                postponed: count(row.postponed),
            },
            max_attempts: row.max_attempts,
            deadline: row.deadline,
            timeout_secs: row.timeout_secs,
            budget_micro: row.budget_micro,
            lease_until: row.lease_until,
            lease_token: row.lease_token,
            executor_id: row.executor_id,
            request: row.request,
            result: row.result,
            checkpoint: row.checkpoint,
            error: row.error,
            traceparent: row.traceparent,
            created_at: row.created_at,
            started_at: row.started_at,
            finished_at: row.finished_at,
        })
    }
}

/// One run, locked for the rest of the transaction.
///
/// # Errors
/// [`Error::NotFound`] when there is none.
pub async fn lock(tx: &mut Tx, id: Uuid) -> Result<Run, Error> {
    let row = sqlx::query_as!(
        Row,
        "-- runs::lock
        SELECT id, agent, kind, contract_id, gig_id, version, revision_no, state, attempt, failures, lost_leases,
               hand_backs, postponed, max_attempts, deadline, timeout_secs, budget_micro, lease_until, lease_token,
               executor_id, request, result, checkpoint, error, traceparent, created_at, started_at, finished_at
        FROM scheduler.runs WHERE id = $1 FOR UPDATE",
        id,
    )
    .fetch_optional(tx.connection())
    .await?;
    row.ok_or_else(|| Error::NotFound {
        what: "run",
        key: id.to_string(),
    })?
    .try_into()
}

/// One run.
///
/// # Errors
/// [`Error::NotFound`] when there is none.
pub async fn get(store: &Store, id: Uuid) -> Result<Run, Error> {
    let row = sqlx::query_as!(
        Row,
        "-- runs::get
        SELECT id, agent, kind, contract_id, gig_id, version, revision_no, state, attempt, failures, lost_leases,
               hand_backs, postponed, max_attempts, deadline, timeout_secs, budget_micro, lease_until, lease_token,
               executor_id, request, result, checkpoint, error, traceparent, created_at, started_at, finished_at
        FROM scheduler.runs WHERE id = $1",
        id,
    )
    .fetch_optional(&store.pool)
    .await?;
    row.ok_or_else(|| Error::NotFound {
        what: "run",
        key: id.to_string(),
    })?
    .try_into()
}

/// Runs, newest first.
///
/// # Errors
/// When the query fails.
pub async fn list(store: &Store, filter: &Filter, limit: i64) -> Result<Vec<Run>, Error> {
    let rows = sqlx::query_as!(
        Row,
        "-- runs::list
        SELECT id, agent, kind, contract_id, gig_id, version, revision_no, state, attempt, failures, lost_leases,
               hand_backs, postponed, max_attempts, deadline, timeout_secs, budget_micro, lease_until, lease_token,
               executor_id, request, result, checkpoint, error, traceparent, created_at, started_at, finished_at
        FROM scheduler.runs
        WHERE ($1::text IS NULL OR agent = $1)
          AND ($2::text IS NULL OR state = $2)
          AND ($3::uuid IS NULL OR contract_id = $3)
          AND ($4::uuid IS NULL OR id < $4)
        ORDER BY id DESC
        LIMIT $5",
        filter.agent,
        filter.state,
        filter.contract_id,
        filter.before,
        limit,
    )
    .fetch_all(&store.pool)
    .await?;
    rows.into_iter().map(TryInto::try_into).collect()
}

/// The newest run that does or changes a contract's work.
///
/// # Errors
/// When the query fails.
pub async fn last_work(tx: &mut Tx, contract: Uuid) -> Result<Option<Uuid>, Error> {
    let last = sqlx::query_scalar!(
        "-- runs::last_work
        SELECT id FROM scheduler.runs
        WHERE contract_id = $1 AND kind IN ('work', 'revise')
        ORDER BY id DESC
        LIMIT 1",
        contract,
    )
    .fetch_optional(tx.connection())
    .await?;
    Ok(last)
}

/// Which of these runs are called off, each with its last attempt.
///
/// # Errors
/// When the query fails.
pub async fn cancelled_among(store: &Store, ids: &[Uuid]) -> Result<Vec<(Uuid, u32)>, Error> {
    let cancelled = sqlx::query!(
        "-- runs::cancelled_among
        SELECT id, attempt FROM scheduler.runs WHERE id = ANY($1) AND state = 'cancelled'",
        ids,
    )
    .fetch_all(&store.pool)
    .await?;
    let with_attempt = |attempt: i32| u32::try_from(attempt).unwrap_or(0);
    Ok(cancelled
        .into_iter()
        .map(|row| (row.id, with_attempt(row.attempt)))
        .collect())
}

/// Since when the oldest run that could be leased waits.
///
/// # Errors
/// When the query fails.
pub async fn oldest_queued(store: &Store) -> Result<Option<DateTime<Utc>>, Error> {
    let oldest = sqlx::query_scalar!(
        "-- runs::oldest_queued
        SELECT MIN(not_before) FROM scheduler.runs WHERE state IN ('queued', 'retrying') AND not_before <= now()",
    )
    .fetch_one(&store.pool)
    .await?;
    Ok(oldest)
}
