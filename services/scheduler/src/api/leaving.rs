//! Taking an agent out, and what is said when that cannot be.

use store::{agents, audit, notices, run_tx};
use tonic::Status;

use super::Api;
use crate::canary;
use crate::error::Error;
use crate::outages;
use crate::wake::Topic;

impl Api {
    /// Takes an agent out unless it has open contracts. Answers how many bids still lie with clients.
    pub(super) async fn remove(&self, name: &str, actor: &str) -> Result<u32, Status> {
        let open = run_tx!(self.desk.store, "agent_remove", Error, |tx| {
            let open = agents::open(tx, name).await?;
            if open.contracts > 0 {
                let count = open.contracts;
                return Err(Error::Refused(format!(
                    "{name} has {count} open contracts: wind it down first. `steward agents mode {name} off` ends its \
                     bidding, `steward contracts list --agent {name}` shows what is open; remove it when all are \
                     approved or cancelled"
                )));
            }
            if open.sending + open.webhooks > 0 {
                let (bids, webhooks) = (open.sending, open.webhooks);
                return Err(Error::Refused(format!(
                    "{name} has {bids} bids under way and {webhooks} webhooks nobody has acted on: any of them may be a \
                     contract. `steward agents wind-down {name}` ends its bidding; try again in a few minutes"
                )));
            }
            agents::leave(tx, name).await?;
            for over in [
                canary::READS,
                canary::NEWS,
                crate::budget::KEY_STOPPED,
                outages::MODELS,
                outages::SECRETS,
            ] {
                notices::resolve(tx, over, name).await?;
            }
            audit::record(tx, actor, "agents.remove", name, None).await?;
            Ok(open)
        })?;
        self.desk.wake.wake(Topic::Courier);
        self.desk.wake.wake(Topic::Overview);
        Ok(u32::try_from(open.bids).unwrap_or(u32::MAX))
    }
}
