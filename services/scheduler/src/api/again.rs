//! Work that an operator wants tried again: with the agent as it is now, not as it was when the work was queued.

use domain::run::Command;
use store::{Tx, agents, runs};
use uuid::Uuid;

use super::Api;
use crate::error::Error;

impl Api {
    /// Queues a run again with its agent's current version. Answers the version.
    pub(super) async fn run_again(&self, tx: &mut Tx, run: Uuid) -> Result<String, Error> {
        let policy = self.desk.config.runs.policy();
        runs::advance(tx, run, None, &Command::OperatorRetry, &policy, &runs::Note::default()).await?;
        let name = runs::agent_of(tx, run).await?;
        let agent = agents::read(tx, &name).await?;
        runs::rebind(tx, run, &agent.version, agent.spec.run.timeout).await?;
        Ok(agent.version)
    }
}
