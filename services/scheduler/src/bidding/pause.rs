//! When an agent bids no more by itself, and who is told.

use domain::bidding::Load;
use store::agents::Agent;
use store::{Tx, agents, notices};

use crate::error::Error;

/// The kind of the notice that bids wait for a human and fill the day's cap.
const WAITING: &str = "bids_wait";

/// Bids that wait for a human count against the cap of the day: when they fill it, people are told, and when they do so
/// no more, that ends.
///
/// # Errors
/// When a row cannot be saved.
pub(super) async fn tell_if_held(tx: &mut Tx, agent: &Agent, load: Load) -> Result<(), Error> {
    let cap = agent.spec.bidding.max_bids_per_day;
    if load.held_today == 0 || cap.is_none_or(|cap| load.bids_today < cap) {
        notices::resolve(tx, WAITING, &agent.name).await?;
        return Ok(());
    }
    let (name, held) = (&agent.name, load.held_today);
    let body = format!(
        "{name} bids on nothing more today: {held} bids that wait for you count against bidding.max_bids_per_day. Decide \
         with `steward approvals list --agent {name}`; one you refuse makes room for another"
    );
    notices::raise(tx, WAITING, name, &body).await?;
    Ok(())
}

/// To be called when a run was parked: after `runs` of them in a row the agent's bids are only shadowed, and people are
/// told how to go on.
///
/// # Errors
/// When a row cannot be saved.
pub async fn if_failing(tx: &mut Tx, agent: &str, runs: u32) -> Result<(), Error> {
    let Some(before) = agents::pause_if_failing(tx, agent, runs).await? else {
        return Ok(());
    };
    let mode = before.name();
    let body = format!(
        "{agent} does not bid any more: its last {runs} runs were parked. Look at them with `steward runs list --agent \
         {agent} --state parked`, mend the agent, then `steward agents mode {agent} {mode}`"
    );
    notices::raise(tx, agents::PAUSED, agent, &body).await?;
    tracing::warn!(
        agent,
        runs,
        "an agent's bidding was paused: its runs were parked in a row"
    );
    Ok(())
}
