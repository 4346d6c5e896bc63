//! Agents that stop: for a while because their work fails, or for good.

use domain::agent_file::Mode;

use super::{lock, set_mode};
use crate::{Error, Store, Tx, effects, notices, proposals, runs};

/// Kind of the notice that an agent's bidding was paused. That it was resolved is when counting began anew.
pub const PAUSED: &str = "bidding_paused";

/// Why nothing more of it goes out.
const LEFT: &str = "the agent was removed";

/// What is left of an agent outside.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Open {
    /// Contracts that are not closed, and bids that were accepted and whose contract is not here yet.
    pub contracts: i64,
    /// Bids under way, of which nobody knows yet whether they arrived.
    pub sending: i64,
    /// Webhooks that nobody has acted on yet: one may tell of a contract.
    pub webhooks: i64,
    /// Bids that clients may still accept.
    pub bids: i64,
}

/// Sends no more bids of an agent whose last `runs` jobs were all parked, none done between them, since that was last
/// looked into: its mode becomes `shadow`. Answers the mode it had, if it was changed.
///
/// # Errors
/// [`Error::NotFound`] when there is no such agent.
pub async fn pause_if_failing(tx: &mut Tx, name: &str, runs: u32) -> Result<Option<Mode>, Error> {
    // Those who park at the same time count one after the other.
    let agent = lock(tx, name).await?;
    if runs == 0 || !matches!(agent.mode, Mode::Ask | Mode::Auto) {
        return Ok(None);
    }
    let parked = sqlx::query_scalar!(
        r#"-- agents::pause_if_failing
        SELECT COUNT(*) FILTER (WHERE state = 'parked') AS "parked!"
        FROM (
            SELECT state FROM scheduler.runs
            WHERE agent = $1 AND kind IN ('work', 'revise') AND state IN ('succeeded', 'parked')
              AND updated_at > COALESCE(
                  (SELECT MAX(resolved_at) FROM scheduler.notices WHERE kind = $3 AND key = $1), '-infinity')
            ORDER BY updated_at DESC
            LIMIT $2
        ) AS last"#,
        name,
        i64::from(runs),
        PAUSED,
    )
    .fetch_one(tx.connection())
    .await?;
    if parked < i64::from(runs) {
        return Ok(None);
    }
    set_mode(tx, name, Mode::Shadow).await?;
    Ok(Some(agent.mode))
}

/// What an agent has open. Nobody gives it a contract until the transaction ends.
///
/// # Errors
/// [`Error::NotFound`] when there is no such agent.
pub async fn open(tx: &mut Tx, name: &str) -> Result<Open, Error> {
    // Stronger than `lock`: a new contract's reference to the agent waits for it too.
    let agent = sqlx::query!(
        "-- agents::open, lock
        SELECT name FROM scheduler.agents WHERE name = $1 FOR UPDATE",
        name,
    )
    .fetch_optional(tx.connection())
    .await?;
    agent.ok_or_else(|| super::unknown(name))?;
    let open = sqlx::query_as!(
        Open,
        r#"-- agents::open
        SELECT (SELECT COUNT(*) FROM scheduler.contracts WHERE agent = $1 AND closed_at IS NULL)
               + (SELECT COUNT(*) FROM scheduler.proposals AS p
                  WHERE p.agent = $1 AND p.state = 'accepted'
                    AND NOT EXISTS (SELECT FROM scheduler.contracts AS c WHERE c.gig_id = p.gig_id)) AS "contracts!",
               (SELECT COUNT(*) FROM scheduler.effects
                WHERE agent = $1 AND kind = 'propose' AND state IN ('sending', 'unknown')) AS "sending!",
               (SELECT COUNT(*) FROM ingress.inbox
                WHERE agent = $1 AND processed_at IS NULL AND dead_reason IS NULL) AS "webhooks!",
               (SELECT COUNT(*) FROM scheduler.proposals WHERE agent = $1 AND state = 'submitted') AS "bids!""#,
        name,
    )
    .fetch_one(tx.connection())
    .await?;
    Ok(open)
}

/// Takes an agent out: no bids, no key, no duties, a closed door. Its history stays.
///
/// # Errors
/// [`Error::NotFound`] when there is no such agent.
pub async fn leave(tx: &mut Tx, name: &str) -> Result<(), Error> {
    set_mode(tx, name, Mode::Off).await?;
    sqlx::query!(
        "-- agents::leave
        UPDATE scheduler.agents
        SET api_key_sealed = NULL, paused = FALSE, paused_now = FALSE, winding_down = FALSE, rest_reason = NULL,
            rest_since = NULL, updated_at = now(), updated_by = $2
        WHERE name = $1",
        name,
        tx.name,
    )
    .execute(tx.connection())
    .await?;
    sqlx::query!(
        "-- agents::leave, duties
        DELETE FROM scheduler.duties WHERE key = $1 AND $1 <> ''",
        name,
    )
    .execute(tx.connection())
    .await?;
    // A bid that waits for its approval too.
    effects::cancel_unsent_of_agent(tx, name, &[], LEFT).await?;
    runs::cancel_bids_of_agent(tx, name, LEFT).await?;
    proposals::skip_unsent_of_agent(tx, name, LEFT).await?;
    notices::resolve(tx, PAUSED, name).await?;
    notices::resolve(tx, super::RESTS, name).await?;
    // Whoever comes back brings new ones.
    sqlx::query!(
        "-- agents::leave, secrets
        UPDATE ingress.webhook_secrets SET retires_at = now()
        WHERE agent = $1 AND (retires_at IS NULL OR retires_at > now())",
        name,
    )
    .execute(tx.connection())
    .await?;
    match crate::doors::close(tx, name).await {
        Ok(()) | Err(Error::Stale { .. }) => Ok(()),
        Err(error) => Err(error),
    }
}

/// Gives an agent that left this mode, since it comes back as if it were new. Answers whether it had left.
///
/// # Errors
/// When a statement fails.
pub async fn come_back(tx: &mut Tx, name: &str, mode: Mode) -> Result<bool, Error> {
    let back = sqlx::query!(
        "-- agents::come_back
        UPDATE scheduler.agents AS agent
        SET mode = $2, updated_at = now(), updated_by = $3
        FROM ingress.doors AS door
        WHERE agent.name = $1 AND door.agent = agent.name AND door.closed_at IS NOT NULL AND agent.mode = 'off'",
        name,
        mode.name(),
        tx.name,
    )
    .execute(tx.connection())
    .await?;
    Ok(back.rows_affected() == 1)
}

/// Whether an agent left: its door was closed.
///
/// # Errors
/// When the query fails.
pub async fn has_left(store: &Store, name: &str) -> Result<bool, Error> {
    let left = sqlx::query_scalar!(
        r#"-- agents::has_left
        SELECT EXISTS (SELECT FROM ingress.doors WHERE agent = $1 AND closed_at IS NOT NULL) AS "left!""#,
        name,
    )
    .fetch_one(&store.pool)
    .await?;
    Ok(left)
}
