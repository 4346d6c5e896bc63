//! An agent whose work fails again and again stops bidding by itself.

use store::{Tx, agents, notices};

use crate::error::Error;

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
