//! Agents at rest: paused, so that nothing new begins, or winding down, so that they end.

use chrono::{DateTime, Utc};

use super::{found, unknown};
use crate::{Error, Tx};

/// What an agent does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Activity {
    /// It bids and works.
    Active,
    /// Nothing new begins: no bid, no run. One that is winding down too still is, once it is resumed.
    Paused {
        /// What runs is asked to stop as well.
        now: bool,
    },
    /// No bid any more; what was accepted is finished.
    WindingDown,
}

/// What lies with an agent at rest.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Resting {
    /// Which.
    pub agent: String,
    /// Nothing new begins for it.
    pub paused: bool,
    /// It bids no more.
    pub winding_down: bool,
    /// Why, if its operator said.
    pub reason: Option<String>,
    /// Runs that go on.
    pub running: i64,
    /// Runs that wait.
    pub queued: i64,
    /// Contracts that are not closed, and bids that were accepted and whose contract is not here yet.
    pub contracts: i64,
    /// Bids that clients may still accept, those under way included.
    pub bids: i64,
    /// The soonest deadline of work that is owed.
    pub deadline: Option<DateTime<Utc>>,
    /// The marketplace's id of the contract that is due then.
    pub due: Option<String>,
}

/// Lets an agent rest, or work again. Answers whether that changed anything.
///
/// # Errors
/// [`Error::NotFound`] when there is no such agent.
pub async fn set_activity(tx: &mut Tx, name: &str, activity: Activity, reason: Option<&str>) -> Result<bool, Error> {
    let before = super::lock(tx, name).await?;
    let (paused, now, winding_down) = match activity {
        Activity::Active => (false, false, false),
        Activity::Paused { now } => (true, now, before.winding_down),
        Activity::WindingDown => (false, false, true),
    };
    let changed = (before.paused, before.winding_down) != (paused, winding_down);
    let set = sqlx::query!(
        "-- agents::set_activity
        UPDATE scheduler.agents
        SET paused = $2, paused_now = $3, winding_down = $4,
            rest_reason = CASE WHEN $2 OR $4 THEN COALESCE($5, CASE WHEN $6 THEN NULL ELSE rest_reason END) END,
            rest_since = CASE WHEN $2 OR $4 THEN CASE WHEN $6 THEN now() ELSE rest_since END END,
            updated_at = now(), updated_by = $7
        WHERE name = $1",
        name,
        paused,
        now,
        winding_down,
        reason,
        changed,
        tx.name,
    )
    .execute(tx.connection())
    .await?;
    found(name, set.rows_affected())?;
    Ok(changed)
}

/// What lies with the agents at rest, by name.
///
/// # Errors
/// When the query fails.
pub async fn resting(tx: &mut Tx) -> Result<Vec<Resting>, Error> {
    of(tx, None).await
}

/// What lies with one agent, at rest or not.
///
/// # Errors
/// [`Error::NotFound`] when there is no such agent.
pub async fn resting_one(tx: &mut Tx, name: &str) -> Result<Resting, Error> {
    of(tx, Some(name)).await?.pop().ok_or_else(|| unknown(name))
}

async fn of(tx: &mut Tx, name: Option<&str>) -> Result<Vec<Resting>, Error> {
    let rows = sqlx::query_as!(
        Resting,
        r#"-- agents::resting
        SELECT a.name AS agent, a.paused, a.winding_down, a.rest_reason AS reason,
            (SELECT count(*) FROM scheduler.runs AS r WHERE r.agent = a.name AND r.state = 'leased') AS "running!",
            (SELECT count(*) FROM scheduler.runs AS r
             WHERE r.agent = a.name AND r.state IN ('queued', 'retrying')) AS "queued!",
            (SELECT count(*) FROM scheduler.contracts AS c WHERE c.agent = a.name AND c.closed_at IS NULL)
                + (SELECT count(*) FROM scheduler.proposals AS p
                   WHERE p.agent = a.name AND p.state = 'accepted'
                     AND NOT EXISTS (SELECT FROM scheduler.contracts AS c WHERE c.gig_id = p.gig_id)) AS "contracts!",
            (SELECT count(*) FROM scheduler.proposals AS p WHERE p.agent = a.name AND p.state = 'submitted')
                + (SELECT count(*) FROM scheduler.effects AS e
                   WHERE e.agent = a.name AND e.kind = 'propose' AND e.state IN ('sending', 'unknown')) AS "bids!",
            owed.deadline AS "deadline?", owed.external_id AS "due?"
        FROM scheduler.agents AS a
        LEFT JOIN LATERAL (
            SELECT c.deadline, c.external_id FROM scheduler.contracts AS c
            WHERE c.agent = a.name AND c.closed_at IS NULL AND c.deadline IS NOT NULL
              AND c.state IN ('accepted', 'funded', 'revision_requested')
            ORDER BY c.deadline
            LIMIT 1
        ) AS owed ON TRUE
        WHERE a.name = $1 OR $1 IS NULL AND (a.paused OR a.winding_down)
        ORDER BY a.name"#,
        name,
    )
    .fetch_all(tx.connection())
    .await?;
    Ok(rows)
}
