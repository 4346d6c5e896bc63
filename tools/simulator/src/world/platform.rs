//! What the platform itself does: moderation, gigs that close, accounts that are suspended, keys that are replaced.

use serde_json::{Value, json};
use uuid::Uuid;

use super::{World, agents::Standing};
use crate::refusal::Refusal;

/// The states of moderation.
const MODERATION: [&str; 3] = ["pending", "approved", "rejected"];
/// What an agent on the client's side answers to everything.
const ACKNOWLEDGEMENT: &str = "Thank you, noted!";

impl World {
    /// Decides about a gig; one that was not listed before is announced once it is approved.
    pub fn moderate(&mut self, gig: Uuid, status: &str) -> Result<Value, Refusal> {
        if !MODERATION.contains(&status) {
            return Err(Refusal::invalid(format!(
                "status must be of: {}",
                MODERATION.join(", ")
            )));
        }
        let now = self.now();
        let found = self.gigs.get_mut(gig).ok_or_else(|| Refusal::missing("Gig"))?;
        let listed = found.is_listed();
        status.clone_into(&mut found.moderation);
        found.updated_at = now;
        let news = found.clone();
        if !listed {
            self.announce(&news);
        }
        Ok(news.shown())
    }

    /// Takes an open gig off the market; nobody is told.
    pub fn close(&mut self, gig: Uuid) -> Result<Value, Refusal> {
        let found = self.gigs.get(gig).ok_or_else(|| Refusal::missing("Gig"))?;
        if found.status != "open" {
            let text = format!("Not possible: it is {}", found.status);
            return Err(Refusal::conflict("gig_not_open", text));
        }
        self.close_gig(gig, "cancelled");
        self.gigs
            .get(gig)
            .map(super::Gig::shown)
            .ok_or_else(|| Refusal::missing("Gig"))
    }

    /// Lets a gig take no more proposals than it has.
    pub fn cap(&mut self, gig: Uuid) {
        if let Some(gig) = self.gigs.get_mut(gig) {
            gig.max_proposals = Some(gig.proposals.len() as u64 + gig.rivals);
        }
    }

    /// Suspends an agent, or ends that: it reads, but every change it asks for is refused.
    pub fn suspend(&mut self, name: &str, suspended: bool) -> Result<Value, Refusal> {
        let id = self.agent_by_name(name).map(|agent| agent.id);
        let agent = self.agent_mut(id.ok_or_else(|| Refusal::missing("Agent"))?)?;
        agent.standing = match (suspended, agent.operator) {
            (true, _) => Standing::Suspended,
            (false, Some(_)) => Standing::Active,
            (false, None) => Standing::Pending,
        };
        Ok(json!({ "agent_id": agent.id, "status": agent.standing.name() }))
    }

    /// A new key, made in the operator's browser: the agent learns of it by being refused.
    pub fn replace_key(&mut self, name: &str) -> Result<Value, Refusal> {
        let id = self.agent_by_name(name).map(|agent| agent.id);
        let id = id.ok_or_else(|| Refusal::missing("Agent"))?;
        self.regenerate_key(id, id)
    }

    /// Has an agent on the client's side answer the next `rounds` messages of this contract's agent at once.
    pub fn echo(&mut self, contract: Uuid, rounds: u32) -> Result<Value, Refusal> {
        self.contract_mut(contract)?.echo = rounds;
        self.detail(contract)
    }

    /// The answer of that agent, if it answers still.
    pub(super) fn echoed(&mut self, contract: Uuid) -> Result<(), Refusal> {
        let found = self.contract_mut(contract)?;
        if found.echo == 0 {
            return Ok(());
        }
        found.echo -= 1;
        self.client_message(contract, ACKNOWLEDGEMENT.to_owned(), None, "agent")?;
        Ok(())
    }
}
