//! What clients do: accept, fund, approve, dispute, ask for changes, review.

use serde_json::{Value, json};
use uuid::Uuid;

use super::{Contract, Status, World, contracts::Delivered, proposals::State};
use crate::{money::Micro, refusal::Refusal, timers::Action};

/// How a dispute ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// The agent is paid.
    Approved,
    /// The client is paid back.
    Cancelled,
}

impl World {
    /// Accepts a proposal, by default the first pending one; all others are rejected.
    pub fn accept(&mut self, gig: Uuid, proposal: Option<Uuid>) -> Result<Value, Refusal> {
        let found = self.gigs.get(gig).ok_or_else(|| Refusal::missing("Gig"))?;
        if found.status != "open" {
            return Err(wrong_state("gig_not_open", found.status));
        }
        let is_pending = |id: &Uuid| {
            let proposal = self.proposals.get(*id);
            proposal.is_some_and(|proposal| proposal.state == State::Pending)
        };
        let chosen = match proposal {
            Some(id) => Some(id).filter(|id| found.proposals.contains(id) && is_pending(id)),
            None => found.proposals.iter().copied().find(is_pending),
        };
        let chosen =
            chosen.ok_or_else(|| Refusal::conflict("no_pending_proposal", "No such pending proposal on this gig"))?;
        let all = found.proposals.clone();
        for id in all {
            if let Some(proposal) = self.proposals.get_mut(id)
                && proposal.state == State::Pending
            {
                if id == chosen {
                    proposal.state = State::Accepted;
                } else {
                    self.reject(gig, id);
                }
            }
        }
        let terms = self.proposals.get(chosen).map(|one| (one.agent, one.amount));
        let (agent, amount) = terms.ok_or_else(|| Refusal::missing("Proposal"))?;
        self.contract_with(gig, agent, amount, Some(chosen))
    }

    /// Turns a pending proposal down; no documented event tells of it.
    pub(super) fn reject(&mut self, gig: Uuid, id: Uuid) {
        if let Some(proposal) = self.proposals.get_mut(id)
            && proposal.state == State::Pending
        {
            proposal.state = State::Rejected;
            let agent = proposal.agent;
            self.hint(agent, "proposal.rejected", json!({ "proposal_id": id, "gig_id": gig }));
        }
    }

    /// Makes a contract that nobody bid on.
    pub fn hire(&mut self, gig: Uuid, agent: &str, amount: Option<Micro>) -> Result<Value, Refusal> {
        let found = self.gigs.get(gig).ok_or_else(|| Refusal::missing("Gig"))?;
        if found.status != "open" {
            return Err(wrong_state("gig_not_open", found.status));
        }
        let amount = amount.unwrap_or(found.budget);
        let agent = self.agent_by_name(agent).map(|agent| agent.id);
        self.contract_with(gig, agent.ok_or_else(|| Refusal::missing("Agent"))?, amount, None)
    }

    fn contract_with(
        &mut self,
        gig: Uuid,
        agent: Uuid,
        amount: Micro,
        proposal: Option<Uuid>,
    ) -> Result<Value, Refusal> {
        self.contracts.room("contracts")?;
        let now = self.now();
        let found = self.gigs.get_mut(gig).ok_or_else(|| Refusal::missing("Gig"))?;
        found.move_to("in_progress", now);
        let mut contract = Contract {
            id: self.ids.next(),
            gig,
            client: found.client,
            client_name: found.client_name,
            agent,
            hirer: found.poster,
            proposal,
            amount,
            status: Status::Active,
            escrow: None,
            delivered: None,
            delivered_at: None,
            completed_at: None,
            created_at: now,
            deliveries: 0,
            revisions: 0,
            twice: false,
            dispute: None,
            dispute_known: None,
            review: None,
            echo: 0,
            messages: Vec::new(),
            timeline: Vec::new(),
        };
        let (id, fund_after) = (contract.id, found.auto.fund);
        let data = json!({
            "contract_id": id,
            "gig_id": gig,
            "gig_title": found.title,
            "amount": amount,
            "client_name": found.client_name,
            "deliver_url": self.api(&format!("/contracts/{id}/deliver")),
        });
        contract.mark(now, "accepted", None);
        self.contracts.push(id, contract);
        let hired = self.agent_mut(agent)?;
        hired.contracts.push(id);
        hired.stats.accepted += 1;
        self.tell(agent, "proposal.accepted", data);
        self.market_accepted(gig, id);
        if let Some(wait) = fund_after {
            self.plan(wait, Action::Fund { contract: id });
        }
        self.detail(id)
    }

    /// Pays the amount into escrow.
    pub fn fund(&mut self, id: Uuid) -> Result<Value, Refusal> {
        let (now, transaction) = (self.now(), self.ids.transaction());
        let contract = self.in_state(id, &[Status::Active])?;
        contract.status = Status::Funded;
        contract.escrow = Some(transaction);
        contract.mark(now, "funded", None);
        let (agent, gig, amount) = (contract.agent, contract.gig, contract.amount);
        let data = json!({
            "contract_id": id,
            "gig_title": self.title_of(gig),
            "amount": amount,
            "message": "Escrow funded",
            "deliver_url": self.api(&format!("/contracts/{id}/deliver")),
        });
        self.tell(agent, "contract.funded", data);
        self.market_funded(gig, id);
        self.detail(id)
    }

    /// Accepts the work and pays.
    pub fn approve(&mut self, id: Uuid) -> Result<Value, Refusal> {
        let now = self.now();
        let contract = self.in_state(id, &[Status::Delivered])?;
        contract.status = Status::Approved;
        contract.completed_at = Some(now);
        contract.mark(now, "approved", None);
        let (agent, gig, amount) = (contract.agent, contract.gig, contract.amount);
        let data = json!({
            "contract_id": id,
            "gig_title": self.title_of(gig),
            "amount_earned": amount.payout(),
            "platform_fee": amount.fee(),
            "message": "Work approved",
        });
        self.pay(agent, gig, amount);
        self.hint(agent, "payment.received", data.clone());
        self.tell(agent, "contract.approved", data);
        self.market_approved(gig, id);
        self.detail(id)
    }

    /// Approves, if this is still the delivery that waits.
    pub fn approve_delivery(&mut self, id: Uuid, delivery: u32) -> Result<Value, Refusal> {
        if self.contract(id)?.deliveries != delivery {
            return Err(wrong_state("superseded", "delivered again"));
        }
        self.approve(id)
    }

    /// Opens a dispute.
    pub fn dispute(&mut self, id: Uuid, reason: &str) -> Result<Value, Refusal> {
        let now = self.now();
        let contract = self.in_state(id, &[Status::Funded, Status::Delivered])?;
        contract.status = Status::Disputed;
        contract.dispute = Some(reason.to_owned());
        contract.mark(now, "disputed", Some(reason.to_owned()));
        let (agent, gig) = (contract.agent, contract.gig);
        if let Some(gig) = self.gigs.get_mut(gig) {
            gig.move_to("disputed", now);
        }
        let data = json!({
            "contract_id": id,
            "gig_title": self.title_of(gig),
            "dispute_reason": reason,
            "message": "The client opened a dispute",
        });
        self.tell(agent, "contract.disputed", data);
        self.market_disputed(gig, id);
        self.detail(id)
    }

    /// Decides a dispute.
    pub fn resolve(&mut self, id: Uuid, verdict: Verdict, text: &str) -> Result<Value, Refusal> {
        let now = self.now();
        let contract = self.in_state(id, &[Status::Disputed])?;
        contract.status = match verdict {
            Verdict::Approved => Status::Approved,
            Verdict::Cancelled => Status::Cancelled,
        };
        contract.completed_at = Some(now);
        contract.dispute_known = None;
        contract.mark(now, "resolved", Some(text.to_owned()));
        let (agent, gig, amount) = (contract.agent, contract.gig, contract.amount);
        match verdict {
            Verdict::Approved => self.pay(agent, gig, amount),
            Verdict::Cancelled => self.close_gig(gig, "cancelled"),
        }
        let data = json!({
            "contract_id": id,
            "gig_title": self.title_of(gig),
            "resolution": text,
            "message": "The dispute was resolved",
        });
        self.tell(agent, "contract.resolved", data);
        self.detail(id)
    }

    /// Ends a contract without payment; no event tells of it.
    pub fn cancel(&mut self, id: Uuid, reason: Option<String>) -> Result<Value, Refusal> {
        let open = [Status::Active, Status::Funded, Status::Delivered];
        let now = self.now();
        let contract = self.in_state(id, &open)?;
        contract.status = Status::Cancelled;
        contract.completed_at = Some(now);
        contract.mark(now, "cancelled", reason);
        let gig = contract.gig;
        self.close_gig(gig, "cancelled");
        self.detail(id)
    }

    /// Asks for changes: back to funded, with a message.
    pub fn revise(&mut self, id: Uuid, request: &str) -> Result<Value, Refusal> {
        let now = self.now();
        let contract = self.in_state(id, &[Status::Delivered])?;
        contract.status = Status::Funded;
        contract.revisions += 1;
        contract.mark(now, "revision_requested", Some(request.to_owned()));
        let agent = contract.agent;
        self.client_message(id, request.to_owned(), None, "client")?;
        self.hint(agent, "work.revision_requested", json!({ "contract_id": id }));
        self.detail(id)
    }

    /// Rates finished work.
    pub fn review(&mut self, id: Uuid, rating: u8, comment: Option<&str>) -> Result<Value, Refusal> {
        if !(1..=5).contains(&rating) {
            return Err(Refusal::invalid("rating must lie between 1 and 5"));
        }
        let now = self.now();
        let contract = self.in_state(id, &[Status::Approved])?;
        if contract.review.is_some() {
            return Err(Refusal::conflict("already_reviewed", "Contract is already reviewed"));
        }
        contract.review = Some(json!({ "rating": rating, "comment": comment }));
        contract.mark(now, "reviewed", Some(rating.to_string()));
        let (agent, gig) = (contract.agent, contract.gig);
        self.agent_mut(agent)?.stats.ratings.push(rating);
        let data = json!({
            "contract_id": id,
            "gig_title": self.title_of(gig),
            "rating": rating,
            "comment": comment,
            "message": "You received a review",
        });
        self.tell(agent, "review.received", data);
        self.detail(id)
    }

    /// Everything the platform knows of a contract.
    pub fn detail(&self, id: Uuid) -> Result<Value, Refusal> {
        let contract = self.contract(id)?;
        let mut shown = contract.shown();
        let none = Delivered {
            notes: String::new(),
            url: None,
            attachments: Vec::new(),
        };
        let delivered = contract.delivered.as_ref().unwrap_or(&none);
        let messages: Vec<Value> = contract.messages.iter().map(|m| m.shown(contract)).collect();
        let more = json!({
            "agent": self.agent(contract.agent)?.username,
            "client_name": contract.client_name,
            "gig": self.gigs.get(contract.gig).map(super::Gig::shown),
            "amount_micro_usdc": contract.amount.0,
            "fee_micro_usdc": contract.amount.fee().0,
            "payout_micro_usdc": contract.amount.payout().0,
            "deliverables_url": delivered.url,
            "attachments": delivered.attachments,
            "deliveries": contract.deliveries,
            "delivered_twice": contract.twice,
            "revisions": contract.revisions,
            "dispute_reason": contract.dispute,
            "review": contract.review,
            "messages": messages,
            "timeline": contract.timeline,
        });
        if let (Value::Object(shown), Value::Object(more)) = (&mut shown, more) {
            shown.extend(more);
        }
        Ok(shown)
    }

    fn pay(&mut self, agent: Uuid, gig: Uuid, amount: Micro) {
        if let Some(agent) = self.agents.get_mut(agent) {
            agent.stats.completed += 1;
            agent.stats.earned.0 += amount.payout().0;
        }
        self.close_gig(gig, "completed");
    }

    pub(super) fn close_gig(&mut self, gig: Uuid, status: &'static str) {
        let now = self.now();
        if let Some(gig) = self.gigs.get_mut(gig) {
            gig.move_to(status, now);
        }
    }

    pub(super) fn in_state(&mut self, id: Uuid, states: &[Status]) -> Result<&mut Contract, Refusal> {
        let contract = self.contract_mut(id)?;
        if states.contains(&contract.status) {
            return Ok(contract);
        }
        Err(wrong_state("wrong_state", contract.status.name()))
    }
}

fn wrong_state(code: &'static str, state: &str) -> Refusal {
    Refusal::conflict(code, format!("Not possible: it is {state}"))
}
