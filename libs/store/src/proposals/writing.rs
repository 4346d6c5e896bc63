//! Bids the agents write themselves: how many they were asked for, and keeping what came of it.

use domain::money::MicroUsdc;
use uuid::Uuid;

use crate::{Error, Tx, tx::exactly_one};

/// How often an agent was asked for a bid today (UTC).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Asked {
    /// It has not answered yet.
    pub open: u32,
    /// In all, whatever came of it.
    pub today: u32,
}

/// A bid as it is to go out, or to be looked at.
#[derive(Debug, Clone)]
pub struct Written {
    /// The price.
    pub amount: MicroUsdc,
    /// What it says.
    pub cover_letter: String,
    /// Hours named in it.
    pub estimated_hours: u32,
    /// Why it waits, if it does.
    pub reason: Option<String>,
}

/// How often this agent was asked for a bid today. `waits` is the reason of proposals whose bid is being written.
///
/// # Errors
/// When the query fails.
pub async fn asked(tx: &mut Tx, agent: &str, waits: &str) -> Result<Asked, Error> {
    let row = sqlx::query!(
        r#"-- proposals::asked
        SELECT count(*) FILTER (WHERE p.state = 'considered' AND p.reason = $2) AS "open!", count(*) AS "today!"
        FROM scheduler.proposals AS p
        WHERE p.agent = $1 AND p.created_at >= date_trunc('day', now(), 'UTC')
          AND EXISTS (SELECT FROM scheduler.runs AS r WHERE r.gig_id = p.gig_id AND r.kind = 'propose')"#,
        agent,
        waits,
    )
    .fetch_one(tx.connection())
    .await?;
    Ok(Asked {
        open: u32::try_from(row.open).unwrap_or(u32::MAX),
        today: u32::try_from(row.today).unwrap_or(u32::MAX),
    })
}

/// Keeps the bid of a proposal that waited for it.
///
/// # Errors
/// [`Error::Stale`] when the proposal is no longer considered.
pub async fn write(tx: &mut Tx, id: Uuid, written: &Written) -> Result<(), Error> {
    let kept = sqlx::query!(
        "-- proposals::write
        UPDATE scheduler.proposals
        SET amount_micro = $2, cover_letter = $3, estimated_hours = $4, reason = $5, updated_at = now(), updated_by = $6
        WHERE id = $1 AND state = 'considered'",
        id,
        written.amount.0,
        written.cover_letter,
        i32::try_from(written.estimated_hours).unwrap_or(i32::MAX),
        written.reason,
        tx.name,
    )
    .execute(tx.connection())
    .await?;
    exactly_one("proposal", kept.rows_affected())
}
