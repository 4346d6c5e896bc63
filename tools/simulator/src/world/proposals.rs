//! Proposals: one per agent and gig.

use chrono::{DateTime, Utc};
use serde::Deserialize;
use serde_json::{Number, Value, json};
use uuid::Uuid;

use super::World;
use crate::{money::Micro, refusal::Refusal, timers::Action};

/// Where a proposal stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum State {
    Pending,
    Accepted,
    Rejected,
    Withdrawn,
}

impl State {
    pub fn name(self) -> &'static str {
        match self {
            Self::Pending => "pending",
            Self::Accepted => "accepted",
            Self::Rejected => "rejected",
            Self::Withdrawn => "withdrawn",
        }
    }
}

/// What an agent offers; absent fields are as they were, or missing.
#[derive(Clone, Debug, Default, Deserialize)]
pub struct Bid {
    pub proposed_amount_usdc: Option<Micro>,
    pub cover_letter: Option<String>,
    pub estimated_hours: Option<Number>,
}

impl Bid {
    fn check(&self) -> Result<(), Refusal> {
        let letter = self.cover_letter.as_deref();
        let hours = self.estimated_hours.as_ref();
        let wrong = if self.proposed_amount_usdc.is_some_and(|amount| amount.0 <= 0) {
            Some("proposed_amount_usdc must be greater than 0")
        } else if letter.is_some_and(|text| !(20..=2000).contains(&text.chars().count())) {
            Some("cover_letter must have 20 to 2000 characters")
        } else if hours.is_some_and(|hours| Micro::parse(hours.as_str()).is_none_or(|h| h.0 <= 0)) {
            Some("estimated_hours must be greater than 0")
        } else {
            None
        };
        wrong.map_or(Ok(()), |wrong| Err(Refusal::invalid(wrong)))
    }
}

/// One proposal.
#[derive(Clone, Debug)]
pub struct Proposal {
    pub id: Uuid,
    pub gig: Uuid,
    pub agent: Uuid,
    pub amount: Micro,
    pub cover_letter: String,
    pub hours: Option<Number>,
    pub state: State,
    pub created_at: DateTime<Utc>,
}

impl World {
    /// Submits a proposal.
    pub fn propose(&mut self, agent: Uuid, gig: Uuid, bid: Bid) -> Result<Value, Refusal> {
        self.may_bid(self.agent(agent)?)?;
        let found = self.gig(gig)?;
        let mine = |id: &Uuid| self.proposals.get(*id).is_some_and(|one| one.agent == agent);
        // Before anything else, so that a repeated call learns that the first one counted.
        if found.proposals.iter().any(mine) {
            return Err(Refusal::conflict(
                "duplicate_proposal",
                "You have already submitted a proposal for this gig",
            ));
        }
        bid.check()?;
        let (Some(amount), Some(cover_letter)) = (bid.proposed_amount_usdc, bid.cover_letter) else {
            return Err(Refusal::invalid("proposed_amount_usdc and cover_letter are required"));
        };
        let refused = |code, text| Refusal::new(http::StatusCode::BAD_REQUEST, code, text);
        if found.status != "open" {
            return Err(refused("gig_not_open", "Gig is no longer open"));
        }
        if found
            .max_proposals
            .is_some_and(|most| found.proposals.len() as u64 + found.rivals >= most)
        {
            let text = "Gig has reached its maximum number of proposals";
            return Err(refused("proposal_limit_reached", text));
        }
        self.proposals.room("proposals")?;
        let now = self.now();
        let accept_after = found.auto.accept;
        let waited = (now - found.created_at).num_seconds().max(0);
        let proposal = Proposal {
            id: self.ids.next(),
            gig,
            agent,
            amount,
            cover_letter,
            hours: bid.estimated_hours,
            state: State::Pending,
            created_at: now,
        };
        let (id, shown) = (proposal.id, proposal.shown());
        self.proposals.push(id, proposal);
        if let Some(gig) = self.gigs.get_mut(gig) {
            gig.proposals.push(id);
        }
        let stats = self.agent_mut(agent)?;
        stats.proposals.push(id);
        stats.stats.proposals += 1;
        stats.stats.response_secs += waited as u64;
        if let Some(wait) = accept_after {
            self.plan(wait, Action::Accept { gig, proposal: id });
        }
        Ok(shown)
    }

    /// Withdraws a pending proposal.
    pub fn withdraw(&mut self, agent: Uuid, gig: Uuid, id: Uuid) -> Result<Value, Refusal> {
        let proposal = self.pending(agent, id)?;
        if proposal.gig != gig {
            return Err(Refusal::missing("Proposal"));
        }
        proposal.state = State::Withdrawn;
        Ok(json!({ "message": "Proposal withdrawn" }))
    }

    /// Changes a pending proposal.
    pub fn change_proposal(&mut self, agent: Uuid, id: Uuid, bid: Bid) -> Result<Value, Refusal> {
        bid.check()?;
        let proposal = self.pending(agent, id)?;
        proposal.amount = bid.proposed_amount_usdc.unwrap_or(proposal.amount);
        if let Some(letter) = bid.cover_letter {
            proposal.cover_letter = letter;
        }
        proposal.hours = bid.estimated_hours.or(proposal.hours.take());
        Ok(proposal.shown())
    }

    /// A proposal of this agent's.
    pub fn own_proposal(&self, agent: Uuid, id: Uuid) -> Result<&Proposal, Refusal> {
        self.proposals
            .get(id)
            .filter(|proposal| proposal.agent == agent)
            .ok_or_else(|| Refusal::missing("Proposal"))
    }

    fn pending(&mut self, agent: Uuid, id: Uuid) -> Result<&mut Proposal, Refusal> {
        let proposal = self
            .proposals
            .get_mut(id)
            .filter(|proposal| proposal.agent == agent)
            .ok_or_else(|| Refusal::missing("Proposal"))?;
        if proposal.state == State::Pending {
            return Ok(proposal);
        }
        Err(Refusal::new(
            http::StatusCode::BAD_REQUEST,
            "proposal_not_pending",
            format!("Proposal is {}", proposal.state.name()),
        ))
    }
}
