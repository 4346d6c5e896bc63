//! The outbox: effects on the outside, each kept once per natural key and moved only along `domain::effect`.

use std::time::Duration;

use chrono::{DateTime, Utc};
use domain::effect::{self, Command, Kind, State};
use domain::money::MicroUsdc;
use serde_json::Value;
use uuid::Uuid;

use crate::{Error, Tx, tx::exactly_one};

mod claim;
mod read;
mod wish;

pub use claim::{Due, begin, begin_verifying, begin_verifying_all, due, expire_leases, overdue, still_leased};
pub use read::{About, Filter, REFUSED_BY_HAND, about, get, get_locked, list, refused_because};
pub use wish::{insert, revive};

/// An effect to be kept.
#[derive(Debug, Clone)]
pub struct NewEffect {
    /// Whose.
    pub agent: String,
    /// What.
    pub kind: Kind,
    /// From `domain::effect::key`.
    pub natural_key: String,
    /// Why a human has to release it first.
    pub held: Option<String>,
    /// It waits for this effect to be done.
    pub after: Option<Uuid>,
    /// What the courier needs to send it.
    pub payload: Value,
    /// The gig it is about.
    pub gig_id: Option<Uuid>,
    /// The contract it is about.
    pub contract_id: Option<Uuid>,
    /// The run that asked for it.
    pub run_id: Option<Uuid>,
    /// What it is expected to bring: ranks it among its kind.
    pub worth: MicroUsdc,
    /// Not before this much time has passed.
    pub pause: Duration,
    /// The trace it belongs to.
    pub traceparent: Option<String>,
}

/// One effect as kept.
#[derive(Debug, Clone)]
pub struct Effect {
    /// Its id; also the marker in delivery notes.
    pub id: Uuid,
    /// Whose.
    pub agent: String,
    /// What; `None` for a kind of a newer release.
    pub kind: Option<Kind>,
    /// The word in the store.
    pub kind_name: String,
    /// Kept once per agent and kind.
    pub natural_key: String,
    /// Where it stands.
    pub state: State,
    /// Its predecessor.
    pub after: Option<Uuid>,
    /// What the courier needs.
    pub payload: Value,
    /// The gig it is about.
    pub gig_id: Option<Uuid>,
    /// The contract it is about.
    pub contract_id: Option<Uuid>,
    /// The run that asked for it.
    pub run_id: Option<Uuid>,
    /// Not sent or verified before.
    pub not_before: DateTime<Utc>,
    /// Times it was tried; without those nobody was there for.
    pub attempts: i32,
    /// Since when nobody is there to do it.
    pub away_since: Option<DateTime<Utc>>,
    /// The courier's fencing token while sending.
    pub lease_token: Option<Uuid>,
    /// When its last byte may have left.
    pub maybe_sent_at: Option<DateTime<Utc>>,
    /// Agreeing reads that did not find it.
    pub absent_reads: i32,
    /// Payload hash and the platform's answer.
    pub proof: Option<Value>,
    /// The last failure.
    pub error: Option<String>,
    /// Given up, and why.
    pub dead_reason: Option<String>,
    /// The trace it belongs to.
    pub traceparent: Option<String>,
    /// When it was wished for.
    pub created_at: DateTime<Utc>,
    /// When it last moved.
    pub updated_at: DateTime<Utc>,
}

/// What a failure says of the attempt that [`begin`] counted.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Attempt {
    /// It was one.
    #[default]
    Counts,
    /// It was none: the effect is held.
    Held,
    /// It was none: nobody was there.
    Away,
}

/// What is kept beside a move.
#[derive(Debug, Clone, Default)]
pub struct Note {
    /// Payload hash and answer, when done.
    pub proof: Option<Value>,
    /// What went wrong, when not.
    pub error: Option<String>,
    /// Pause before it is sent or verified (again).
    pub pause: Duration,
    /// Whether the attempt counts.
    pub attempt: Attempt,
}

/// Moves an effect along the machine. While it is being sent only the courier with its token may move it.
/// Done releases the successors; refused and cancelled cancel them.
///
/// # Errors
/// [`Error::Stale`] when the machine or the token does not allow the move.
pub async fn advance(
    tx: &mut Tx,
    id: Uuid,
    token: Option<Uuid>,
    command: Command,
    note: &Note,
) -> Result<State, Error> {
    moved(tx, id, token, command, note, None).await
}

/// As [`advance`], for what a read said that was made for `effect` as it was taken to be verified: it says nothing of a
/// later send, and counts nothing that another read of the same send counted already.
///
/// # Errors
/// [`Error::Stale`] when the effect was sent again since, or another read was counted.
pub async fn advance_read(tx: &mut Tx, effect: &Effect, command: Command, note: &Note) -> Result<State, Error> {
    let read_for = (effect.maybe_sent_at, effect.absent_reads);
    moved(tx, effect.id, None, command, note, Some(read_for)).await
}

async fn moved(
    tx: &mut Tx,
    id: Uuid,
    token: Option<Uuid>,
    command: Command,
    note: &Note,
    read_for: Option<(Option<DateTime<Utc>>, i32)>,
) -> Result<State, Error> {
    let row = sqlx::query!(
        "-- effects::advance
        SELECT kind, state, absent_reads, maybe_sent_at, lease_token
        FROM scheduler.effects WHERE id = $1 FOR UPDATE",
        id,
    )
    .fetch_optional(tx.connection())
    .await?
    .ok_or_else(|| Error::NotFound {
        what: "effect",
        key: id.to_string(),
    })?;
    let stale = Error::Stale { what: "effect" };
    let kind = Kind::from_name(&row.kind).ok_or(Error::Corrupt {
        what: "effect",
        key: id.to_string(),
        why: format!("kind {:?} is not known to this release", row.kind),
    })?;
    let state = State::from_name(&row.state);
    if state == State::Sending && row.lease_token != token {
        return Err(stale);
    }
    let reads = u32::try_from(row.absent_reads).unwrap_or(0);
    let Ok((next, reads)) = effect::apply(kind, &state, reads, command) else {
        return Err(stale);
    };
    let maybe_sent = command == Command::MaybeDone;
    let (sent_at, reads_before) = read_for.unwrap_or((row.maybe_sent_at, row.absent_reads));
    let moved = sqlx::query!(
        "-- effects::advance
        UPDATE scheduler.effects
        SET state = $3, absent_reads = $4, lease_until = NULL, lease_token = NULL,
            proof = COALESCE($5, proof), error = $6,
            not_before = now() + $7 * INTERVAL '1 millisecond',
            maybe_sent_at = CASE WHEN $8 THEN now() ELSE maybe_sent_at END,
            attempts = CASE WHEN $10 THEN 0 WHEN $11 THEN GREATEST(attempts - 1, 0) ELSE attempts END,
            away_since = CASE WHEN $12 THEN COALESCE(away_since, now()) END,
            dead_reason = CASE WHEN $10 THEN NULL ELSE dead_reason END,
            updated_at = now(), updated_by = $9
        WHERE id = $1 AND state = $2 AND maybe_sent_at IS NOT DISTINCT FROM $13 AND absent_reads = $14",
        id,
        row.state,
        next.name(),
        i32::try_from(reads).unwrap_or(i32::MAX),
        note.proof,
        note.error,
        millis(note.pause),
        maybe_sent,
        tx.name,
        command == Command::OperatorRetry,
        note.attempt != Attempt::Counts,
        note.attempt == Attempt::Away,
        sent_at,
        reads_before,
    )
    .execute(tx.connection())
    .await?
    .rows_affected();
    exactly_one("effect", moved)?;
    match next {
        State::Done => release_successors(tx, id).await?,
        State::Pending if command == Command::OperatorRetry => wish::revive_successors(tx, id).await?,
        State::Refused | State::Cancelled => cancel_successors(tx, id).await?,
        _ => {}
    }
    Ok(next)
}

async fn release_successors(tx: &mut Tx, id: Uuid) -> Result<(), Error> {
    sqlx::query!(
        "-- effects::release_successors
        UPDATE scheduler.effects SET state = 'pending', not_before = now(), updated_at = now(), updated_by = $2
        WHERE after_id = $1 AND state = 'blocked'",
        id,
        tx.name,
    )
    .execute(tx.connection())
    .await?;
    Ok(())
}

async fn cancel_successors(tx: &mut Tx, id: Uuid) -> Result<(), Error> {
    sqlx::query!(
        "-- effects::cancel_successors
        WITH RECURSIVE later AS (
            SELECT id FROM scheduler.effects WHERE after_id = $1
            UNION
            SELECT e.id FROM scheduler.effects e JOIN later ON e.after_id = later.id
        )
        UPDATE scheduler.effects e
        SET state = 'cancelled', error = 'its predecessor did not happen', updated_at = now(), updated_by = $2
        FROM later
        WHERE e.id = later.id AND e.state = 'blocked'",
        id,
        tx.name,
    )
    .execute(tx.connection())
    .await?;
    end_notices(tx).await
}

/// Ends the notices about what was held back and waits for nobody any more.
async fn end_notices(tx: &mut Tx) -> Result<(), Error> {
    sqlx::query!(
        "-- effects::end_notices
        UPDATE scheduler.notices n
        SET resolved_at = now()
        WHERE n.kind = 'secret_held_back' AND n.resolved_at IS NULL AND EXISTS (
            SELECT FROM scheduler.effects e
            WHERE e.id = CASE WHEN n.kind = 'secret_held_back' THEN n.key::UUID END AND e.state NOT IN ('held', 'blocked')
        )",
    )
    .execute(tx.connection())
    .await?;
    Ok(())
}

/// Whether the last delivery somebody wished for on a contract was called off.
///
/// # Errors
/// When the query fails.
pub async fn delivery_is_off(tx: &mut Tx, contract: Uuid) -> Result<bool, Error> {
    let state = sqlx::query_scalar!(
        "-- effects::delivery_is_off
        SELECT state FROM scheduler.effects WHERE contract_id = $1 AND kind = 'deliver'
        ORDER BY created_at DESC, id DESC LIMIT 1",
        contract,
    )
    .fetch_optional(tx.connection())
    .await?;
    Ok(state.as_deref() == Some(State::Cancelled.name()))
}

/// Calls off what was not sent yet for a contract; settlements and reads stay. Answers how many.
///
/// # Errors
/// When the update fails.
pub async fn cancel_unsent_of_contract(tx: &mut Tx, contract: Uuid, reason: &str) -> Result<u64, Error> {
    let cancelled = sqlx::query!(
        "-- effects::cancel_unsent_of_contract
        UPDATE scheduler.effects
        SET state = 'cancelled', error = $2, updated_at = now(), updated_by = $3
        WHERE contract_id = $1 AND state IN ('blocked', 'held', 'pending') AND kind IN ('upload', 'deliver', 'message')",
        contract,
        reason,
        tx.name,
    )
    .execute(tx.connection())
    .await?;
    end_notices(tx).await?;
    Ok(cancelled.rows_affected())
}

/// Calls off what an agent has not sent yet, of these kinds or of all; settlements and reads stay, since contracts that
/// are over are still booked. Answers how many.
///
/// # Errors
/// When the update fails.
pub async fn cancel_unsent_of_agent(tx: &mut Tx, agent: &str, only: &[Kind], reason: &str) -> Result<u64, Error> {
    let kinds: Vec<String> = only.iter().map(|kind| kind.name().to_owned()).collect();
    let cancelled = sqlx::query!(
        "-- effects::cancel_unsent_of_agent
        UPDATE scheduler.effects
        SET state = 'cancelled', error = $2, updated_at = now(), updated_by = $3
        WHERE agent = $1 AND state IN ('blocked', 'held', 'pending')
          AND kind IN ('propose', 'upload', 'deliver', 'message') AND (cardinality($4::TEXT[]) = 0 OR kind = ANY($4))",
        agent,
        reason,
        tx.name,
        &kinds,
    )
    .execute(tx.connection())
    .await?;
    end_notices(tx).await?;
    Ok(cancelled.rows_affected())
}

/// Gives an effect up: it becomes a dead letter, listed until a human retries or drops it.
///
/// # Errors
/// When the update fails.
pub async fn give_up(tx: &mut Tx, id: Uuid, reason: &str) -> Result<(), Error> {
    let dead = sqlx::query!(
        "-- effects::give_up
        UPDATE scheduler.effects SET dead_reason = $2, updated_at = now(), updated_by = $3
        WHERE id = $1 AND state IN ('pending', 'unknown', 'refused') AND dead_reason IS NULL",
        id,
        reason,
        tx.name,
    )
    .execute(tx.connection())
    .await?;
    exactly_one("effect", dead.rows_affected())
}

/// Puts off the next look at an effect that waits to be verified, as `effect` did when it was taken.
///
/// # Errors
/// [`Error::Stale`] when it was sent again since, or a read was counted.
pub async fn put_off(tx: &mut Tx, effect: &Effect, pause: Duration, error: &str) -> Result<(), Error> {
    let put_off = sqlx::query!(
        "-- effects::put_off
        UPDATE scheduler.effects
        SET not_before = now() + $2 * INTERVAL '1 millisecond', error = $3,
            away_since = COALESCE(away_since, now()), updated_at = now(), updated_by = $4
        WHERE id = $1 AND state = 'unknown' AND maybe_sent_at IS NOT DISTINCT FROM $5 AND absent_reads = $6",
        effect.id,
        millis(pause),
        error,
        tx.name,
        effect.maybe_sent_at,
        effect.absent_reads,
    )
    .execute(tx.connection())
    .await?;
    exactly_one("effect", put_off.rows_affected())
}

pub(crate) fn millis(duration: Duration) -> f64 {
    duration.as_secs_f64() * 1000.0
}
