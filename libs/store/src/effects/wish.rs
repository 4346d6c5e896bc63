//! Wishing for an effect: for the first time, anew, or once more.

use domain::effect::State;
use uuid::Uuid;

use super::{NewEffect, millis};
use crate::{Error, Tx, tx::exactly_one};

/// Keeps an effect, once: a repeat answers the id of the first. Blocked while its predecessor is not done.
///
/// One that was called off was never sent, so a new wish takes its row over with what it is about now: the natural key
/// still stands for one effect, which still happens once at most.
///
/// # Errors
/// When the insert fails.
pub async fn insert(tx: &mut Tx, new: &NewEffect) -> Result<Uuid, Error> {
    let state = if new.held.is_some() {
        State::Held
    } else if new.after.is_some() {
        State::Blocked
    } else {
        State::Pending
    };
    let inserted = sqlx::query_scalar!(
        "-- effects::insert
        INSERT INTO scheduler.effects AS known
            (id, agent, kind, natural_key, state, after_id, priority, payload, gig_id, contract_id, run_id, not_before,
             error, traceparent, updated_by)
        VALUES ($1, $2, $3, $4,
            CASE WHEN $5 = 'blocked' AND EXISTS (SELECT FROM scheduler.effects p WHERE p.id = $6 AND p.state = 'done')
                 THEN 'pending' ELSE $5 END,
            $6, $7, $8, $9, $10, $11, now() + $12 * INTERVAL '1 millisecond', $13, $14, $15)
        ON CONFLICT (agent, kind, natural_key) DO UPDATE
        SET state = excluded.state, after_id = excluded.after_id, priority = excluded.priority,
            payload = excluded.payload, gig_id = excluded.gig_id, contract_id = excluded.contract_id,
            run_id = excluded.run_id, not_before = excluded.not_before, attempts = 0, away_since = NULL,
            maybe_sent_at = NULL, absent_reads = 0, proof = NULL, error = excluded.error, dead_reason = NULL,
            traceparent = excluded.traceparent, created_at = now(), updated_at = now(), updated_by = excluded.updated_by
        WHERE known.state = 'cancelled'
           OR known.kind = 'upload' AND known.state = 'refused' AND known.run_id IS DISTINCT FROM excluded.run_id
        RETURNING id",
        Uuid::now_v7(),
        new.agent,
        new.kind.name(),
        new.natural_key,
        state.name(),
        new.after,
        new.kind.priority(new.worth),
        new.payload,
        new.gig_id,
        new.contract_id,
        new.run_id,
        millis(new.pause),
        new.held.as_deref(),
        new.traceparent,
        tx.name,
    )
    .fetch_optional(tx.connection())
    .await?;
    if let Some(id) = inserted {
        return Ok(id);
    }
    let existing = sqlx::query_scalar!(
        "-- effects::insert
        SELECT id FROM scheduler.effects WHERE agent = $1 AND kind = $2 AND natural_key = $3",
        new.agent,
        new.kind.name(),
        new.natural_key,
    )
    .fetch_one(tx.connection())
    .await?;
    Ok(existing)
}

/// A dead letter lives again: pending and unknown ones go on where they were.
///
/// # Errors
/// [`Error::Stale`] when it is not dead.
pub async fn revive(tx: &mut Tx, id: Uuid) -> Result<(), Error> {
    let row = sqlx::query!(
        "-- effects::revive
        UPDATE scheduler.effects
        SET dead_reason = NULL, attempts = 0, away_since = NULL, not_before = now(), updated_at = now(),
            updated_by = $2,
            state = CASE WHEN state = 'refused' THEN 'pending' ELSE state END
        WHERE id = $1 AND dead_reason IS NOT NULL AND state IN ('pending', 'unknown', 'refused')",
        id,
        tx.name,
    )
    .execute(tx.connection())
    .await?;
    exactly_one("effect", row.rows_affected())?;
    revive_successors(tx, id).await
}

/// What was called off because this one did not happen waits for it again.
pub(super) async fn revive_successors(tx: &mut Tx, id: Uuid) -> Result<(), Error> {
    sqlx::query!(
        "-- effects::revive_successors
        WITH RECURSIVE later AS (
            SELECT id FROM scheduler.effects WHERE after_id = $1
            UNION
            SELECT e.id FROM scheduler.effects e JOIN later ON e.after_id = later.id
        )
        UPDATE scheduler.effects e
        SET state = 'blocked', error = NULL, updated_at = now(), updated_by = $2
        FROM later
        WHERE e.id = later.id AND e.state = 'cancelled' AND e.error = 'its predecessor did not happen'",
        id,
        tx.name,
    )
    .execute(tx.connection())
    .await?;
    Ok(())
}
