//! Proposals: what was decided about each gig, and what became of it. Moved only along `domain::proposal`.

use std::collections::HashSet;

use chrono::{DateTime, Utc};
use domain::{bidding::Load, money::MicroUsdc, proposal::State};
use serde_json::Value;
use uuid::Uuid;

use crate::{Error, Store, Tx, tx::exactly_one};

mod writing;

pub use writing::{Asked, Written, asked, write};

/// A decision about a gig.
#[derive(Debug, Clone)]
pub struct NewProposal {
    /// The gig; one proposal each.
    pub gig_id: Uuid,
    /// Whose.
    pub agent: String,
    /// Considered, skipped, or (for one found on the marketplace) submitted and later.
    pub state: State,
    /// Thousandths, where it got that far.
    pub score_permille: Option<u32>,
    /// Each part of the score.
    pub score_parts: Value,
    /// Why it was skipped, or why it waits.
    pub reason: Option<String>,
    /// The price.
    pub amount: Option<MicroUsdc>,
    /// What it says.
    pub cover_letter: Option<String>,
    /// Hours named in it.
    pub estimated_hours: Option<u32>,
    /// The marketplace's id, where known.
    pub external_id: Option<String>,
}

/// One proposal.
#[derive(Debug, Clone)]
pub struct Proposal {
    /// Ours.
    pub id: Uuid,
    /// Its gig.
    pub gig_id: Uuid,
    /// The marketplace's id of the gig.
    pub gig_external_id: String,
    /// Whose.
    pub agent: String,
    /// Where it stands.
    pub state: State,
    /// Thousandths, where it got that far.
    pub score_permille: Option<i32>,
    /// Why it was skipped, or why it waits.
    pub reason: Option<String>,
    /// The price.
    pub amount_micro: Option<i64>,
    /// What it says.
    pub cover_letter: Option<String>,
    /// Hours named in it.
    pub estimated_hours: Option<i32>,
    /// The marketplace's id.
    pub external_id: Option<String>,
    /// When it was decided.
    pub created_at: DateTime<Utc>,
}

struct Row {
    id: Uuid,
    gig_id: Uuid,
    gig_external_id: String,
    agent: String,
    state: String,
    score_permille: Option<i32>,
    reason: Option<String>,
    amount_micro: Option<i64>,
    cover_letter: Option<String>,
    estimated_hours: Option<i32>,
    external_id: Option<String>,
    created_at: DateTime<Utc>,
}

impl From<Row> for Proposal {
    fn from(row: Row) -> Self {
        Self {
            id: row.id,
            gig_id: row.gig_id,
            gig_external_id: row.gig_external_id,
            agent: row.agent,
            state: State::from_name(&row.state),
            score_permille: row.score_permille,
            reason: row.reason,
            amount_micro: row.amount_micro,
            cover_letter: row.cover_letter,
            estimated_hours: row.estimated_hours,
            external_id: row.external_id,
            created_at: row.created_at,
        }
    }
}

/// Keeps a decision, once per gig; `None` when there was one already.
///
/// # Errors
/// When the insert fails.
pub async fn insert(tx: &mut Tx, new: &NewProposal) -> Result<Option<Uuid>, Error> {
    let id = sqlx::query_scalar!(
        "-- proposals::insert
        INSERT INTO scheduler.proposals
            (id, gig_id, agent, state, score_permille, score_parts, reason, amount_micro, cover_letter,
             estimated_hours, external_id, updated_by)
        VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12)
        ON CONFLICT (gig_id) DO NOTHING
        RETURNING id",
        Uuid::now_v7(),
        new.gig_id,
        new.agent,
        new.state.name(),
        new.score_permille.map(to_i32),
        new.score_parts,
        new.reason,
        new.amount.map(|amount| amount.0),
        new.cover_letter,
        new.estimated_hours.map(to_i32),
        new.external_id,
        tx.name,
    )
    .fetch_optional(tx.connection())
    .await?;
    Ok(id)
}

/// Whether a gig was decided on already.
///
/// # Errors
/// When the query fails.
pub async fn is_decided(tx: &mut Tx, gig_id: Uuid) -> Result<bool, Error> {
    let decided = sqlx::query_scalar!(
        r#"-- proposals::is_decided
        SELECT EXISTS (SELECT FROM scheduler.proposals WHERE gig_id = $1) AS "decided!""#,
        gig_id,
    )
    .fetch_one(tx.connection())
    .await?;
    Ok(decided)
}

/// The proposal of a gig.
///
/// # Errors
/// [`Error::NotFound`] when the gig was not decided on.
pub async fn of_gig(store: &Store, gig_id: Uuid) -> Result<Proposal, Error> {
    let row = sqlx::query_as!(
        Row,
        "-- proposals::of_gig
        SELECT p.id, p.gig_id, g.external_id AS gig_external_id, p.agent, p.state, p.score_permille, p.reason,
               p.amount_micro, p.cover_letter, p.estimated_hours, p.external_id, p.created_at
        FROM scheduler.proposals AS p
        JOIN scheduler.gigs AS g ON g.id = p.gig_id
        WHERE p.gig_id = $1",
        gig_id,
    )
    .fetch_optional(&store.pool)
    .await?;
    row.map(Proposal::from).ok_or_else(|| Error::NotFound {
        what: "proposal of gig",
        key: gig_id.to_string(),
    })
}

/// The proposal of a gig, locked until the transaction ends.
///
/// # Errors
/// When the query fails.
pub async fn lock_of_gig(tx: &mut Tx, gig_id: Uuid) -> Result<Option<Proposal>, Error> {
    let row = sqlx::query_as!(
        Row,
        "-- proposals::lock_of_gig
        SELECT p.id, p.gig_id, g.external_id AS gig_external_id, p.agent, p.state, p.score_permille, p.reason,
               p.amount_micro, p.cover_letter, p.estimated_hours, p.external_id, p.created_at
        FROM scheduler.proposals AS p
        JOIN scheduler.gigs AS g ON g.id = p.gig_id
        WHERE p.gig_id = $1
        FOR UPDATE OF p",
        gig_id,
    )
    .fetch_optional(tx.connection())
    .await?;
    Ok(row.map(Proposal::from))
}

/// Takes news of a proposal: moves it when `domain::proposal` allows, else leaves it. A marketplace id once known
/// stays; a reason is of one state, and goes with it. Answers whether it moved.
///
/// # Errors
/// [`Error::Stale`] when somebody else moved it meanwhile.
pub async fn advance(
    tx: &mut Tx,
    proposal: &Proposal,
    news: &State,
    external_id: Option<&str>,
    reason: Option<&str>,
) -> Result<bool, Error> {
    let next = proposal.state.after(news);
    let learned = external_id.is_some() && proposal.external_id.is_none();
    if next.is_none() && !learned {
        return Ok(false);
    }
    let state = next.as_ref().unwrap_or(&proposal.state);
    let moved = sqlx::query!(
        "-- proposals::advance
        UPDATE scheduler.proposals
        SET state = $3, external_id = COALESCE(external_id, $4),
            reason = CASE WHEN state = $3 THEN COALESCE($5, reason) ELSE $5 END, updated_at = now(), updated_by = $6
        WHERE id = $1 AND state = $2",
        proposal.id,
        proposal.state.name(),
        state.name(),
        external_id,
        reason,
        tx.name,
    )
    .execute(tx.connection())
    .await?;
    exactly_one("proposal", moved.rows_affected())?;
    Ok(next.is_some())
}

/// Forgets why a bid waited, once it waits no more.
///
/// # Errors
/// When the update fails.
pub async fn released(tx: &mut Tx, gig_id: Uuid) -> Result<(), Error> {
    sqlx::query!(
        "-- proposals::released
        UPDATE scheduler.proposals SET reason = NULL, updated_at = now(), updated_by = $2
        WHERE gig_id = $1 AND state = 'considered'",
        gig_id,
        tx.name,
    )
    .execute(tx.connection())
    .await?;
    Ok(())
}

/// What the agent is busy with, by Postgres' clock and under the agent's lock. Bids of today (UTC) count from the
/// moment they are decided; contracts count until they are delivered.
///
/// # Errors
/// When the query fails.
pub async fn load(tx: &mut Tx, agent: &str) -> Result<(Load, DateTime<Utc>), Error> {
    let row = sqlx::query!(
        r#"-- proposals::load
        SELECT now() AS "now!",
            (SELECT count(*) FROM scheduler.proposals
             WHERE agent = $1 AND created_at >= date_trunc('day', now(), 'UTC')
               AND state <> 'skipped' AND reason IS DISTINCT FROM 'shadow') AS "bids_today!",
            (SELECT count(*) FROM scheduler.effects AS e
             JOIN scheduler.proposals AS p ON p.gig_id = e.gig_id
             WHERE e.agent = $1 AND e.kind = 'propose' AND e.state = 'held' AND p.state = 'considered'
               AND p.created_at >= date_trunc('day', now(), 'UTC')) AS "held_today!",
            (SELECT count(*) FROM scheduler.contracts
             WHERE agent = $1 AND closed_at IS NULL AND state <> 'delivered') AS "open_contracts!""#,
        agent,
    )
    .fetch_one(tx.connection())
    .await?;
    let load = Load {
        bids_today: u32::try_from(row.bids_today).unwrap_or(u32::MAX),
        held_today: u32::try_from(row.held_today).unwrap_or(u32::MAX),
        open_contracts: u32::try_from(row.open_contracts).unwrap_or(u32::MAX),
    };
    Ok((load, row.now))
}

/// The gigs (by the marketplace's id) whose proposals of this agent may still be accepted, newest first.
///
/// # Errors
/// When the query fails.
pub async fn open_gigs(store: &Store, agent: &str, limit: i64) -> Result<HashSet<String>, Error> {
    let gigs = sqlx::query_scalar!(
        "-- proposals::open_gigs
        SELECT g.external_id
        FROM scheduler.proposals AS p
        JOIN scheduler.gigs AS g ON g.id = p.gig_id
        WHERE p.agent = $1 AND p.state IN ('considered', 'submitted') AND p.reason IS DISTINCT FROM 'shadow'
        ORDER BY p.created_at DESC
        LIMIT $2",
        agent,
        limit,
    )
    .fetch_all(&store.pool)
    .await?;
    Ok(gigs.into_iter().collect())
}

/// Skips what an agent was about to bid on, once its bids were called off.
///
/// # Errors
/// When the update fails.
pub async fn skip_unsent_of_agent(tx: &mut Tx, agent: &str, reason: &str) -> Result<(), Error> {
    sqlx::query!(
        "-- proposals::skip_unsent_of_agent
        UPDATE scheduler.proposals
        SET state = 'skipped', reason = $2, updated_at = now(), updated_by = $3
        WHERE agent = $1 AND state = 'considered'
          AND NOT EXISTS (SELECT FROM scheduler.effects AS e
                          WHERE e.gig_id = proposals.gig_id AND e.kind = 'propose' AND e.state IN ('sending', 'unknown'))",
        agent,
        reason,
        tx.name,
    )
    .execute(tx.connection())
    .await?;
    Ok(())
}

fn to_i32(number: u32) -> i32 {
    i32::try_from(number).unwrap_or(i32::MAX)
}
