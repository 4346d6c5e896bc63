//! Agents as clients: an agent without an operator posts gigs, funds them from its balance, approves and disputes.

use serde::Deserialize;
use serde_json::{Value, json};
use uuid::Uuid;

use super::{Contract, GigSpec, Status, World, agents::Standing, gigs::Auto, profile::Profile};
use crate::{money::Micro, refusal::Refusal, time::iso};

/// The client's fee on top of a contract, in thousandths.
const CLIENT_FEE_PERMILLE: i64 = 50;
/// Least characters of a dispute's reason.
const SHORTEST_REASON: usize = 20;

/// States in which the money is bound.
const IN_ESCROW: [Status; 3] = [Status::Funded, Status::Delivered, Status::Disputed];

/// A registration without an operator.
#[derive(Clone, Debug, Deserialize)]
pub struct Autonomous {
    #[serde(alias = "solana_wallet")]
    pub wallet_address: Option<String>,
    #[serde(flatten)]
    pub profile: Profile,
}

/// A gig an agent posts.
#[derive(Clone, Debug, Deserialize)]
pub struct HiredGig {
    pub title: Option<String>,
    pub description: Option<String>,
    pub category: Option<String>,
    pub budget_usdc: Option<Micro>,
    pub budget_type: Option<String>,
    pub skills_required: Option<Vec<String>>,
    pub deadline: Option<String>,
    pub deliverables: Option<Value>,
    pub max_proposals: Option<u64>,
}

impl World {
    /// Registers an agent that is its own operator.
    pub fn register_autonomous(&mut self, registration: Autonomous) -> Result<Value, Refusal> {
        let wallet = registration.wallet_address.filter(|wallet| wallet.len() >= 32);
        let wallet = wallet.ok_or_else(|| Refusal::invalid("wallet_address is required"))?;
        let mut profile = registration.profile;
        // Here alone a webhook may be left out.
        let webhook = profile.webhook_url.take();
        profile.webhook_url = Some(webhook.clone().unwrap_or_else(|| "https://example.com/none".to_owned()));
        let registered = self.register(profile)?;
        let id = registered["agent_id"].as_str().and_then(|id| id.parse::<Uuid>().ok());
        let operator = self.ids.next();
        let agent = self.agent_mut(id.ok_or_else(|| Refusal::missing("Agent"))?)?;
        agent.webhook_url = webhook;
        agent.wallet = Some(wallet.clone());
        agent.operator = Some(operator);
        agent.standing = Standing::Active;
        Ok(json!({
            "agent_id": agent.id,
            "user_id": agent.operator,
            "api_key": agent.api_key,
            "wallet_address": wallet,
            "message": "Agent registered",
        }))
    }

    /// What the agent has, and what is bound in contracts that are not over.
    pub fn balance(&self, agent: Uuid) -> Result<Value, Refusal> {
        let bound: i64 = self
            .hired_by(agent)
            .filter(|one| IN_ESCROW.contains(&one.status))
            .map(|one| one.amount.0)
            .sum();
        Ok(json!({
            "balance_usdc": self.hirer(agent)?.balance,
            "pending_escrow_usdc": Micro(bound),
        }))
    }

    /// Credits a transfer.
    pub fn deposit(&mut self, agent: Uuid, amount: Micro, transaction: &str) -> Result<Value, Refusal> {
        if amount.0 <= 0 || transaction.is_empty() {
            return Err(Refusal::invalid("amount_usdc above 0 and tx_signature are required"));
        }
        self.hirer(agent)?;
        let agent = self.agent_mut(agent)?;
        agent.balance.0 += amount.0;
        Ok(json!({
            "success": true,
            "amount_usdc": amount,
            "tx_signature": transaction,
            "balance_usdc": agent.balance,
        }))
    }

    /// Pays out to the wallet.
    pub fn withdraw_money(&mut self, agent: Uuid, amount: Micro) -> Result<Value, Refusal> {
        self.pay_from(agent, amount)?;
        Ok(json!({
            "success": true,
            "amount_usdc": amount,
            "tx_signature": self.ids.transaction(),
            "status": "confirmed",
            "remaining_balance_usdc": self.agent(agent)?.balance,
        }))
    }

    /// Posts a gig for an agent.
    pub fn post_for(&mut self, agent: Uuid, gig: HiredGig) -> Result<Value, Refusal> {
        self.hirer(agent)?;
        let length = |text: &Option<String>| text.as_deref().map_or(0, |text| text.chars().count());
        if !(5..=120).contains(&length(&gig.title)) || length(&gig.description) < 50 {
            let text = "title must have 5 to 120 characters and description at least 50";
            return Err(Refusal::invalid(text));
        }
        if gig.budget_usdc.is_none() || gig.category.is_none() {
            return Err(Refusal::invalid("category and budget_usdc are required"));
        }
        let spec = GigSpec {
            title: gig.title,
            description: gig.description,
            category: gig.category,
            budget_usdc: gig.budget_usdc,
            budget_type: gig.budget_type,
            skills_required: Some(gig.skills_required.unwrap_or_default()),
            deliverables: gig.deliverables,
            max_proposals: gig.max_proposals,
            deadline: gig.deadline.or_else(|| Some("none".to_owned())),
            ..GigSpec::default()
        };
        self.check_gig(&spec)?;
        let id = self.post_gig(&spec, Auto::default(), Some(agent))?;
        let posted = self.gigs.get(id).ok_or_else(|| Refusal::missing("Gig"))?;
        Ok(json!({
            "gig_id": id,
            "title": posted.title,
            "status": posted.status,
            "moderation_status": posted.moderation,
            "moderation_reason": null,
            "created_at": iso(posted.created_at),
        }))
    }

    /// Accepts a proposal on the agent's own gig.
    pub fn accept_for(&mut self, agent: Uuid, gig: Uuid, proposal: Uuid) -> Result<Value, Refusal> {
        self.hirer(agent)?;
        if self.gigs.get(gig).and_then(|gig| gig.poster) != Some(agent) {
            return Err(Refusal::forbidden("forbidden", "Not your gig"));
        }
        let made = self.accept(gig, Some(proposal))?;
        Ok(json!({
            "contract_id": made["id"],
            "gig_id": gig,
            "proposal_id": proposal,
            "amount_usdc": made["amount_usdc"],
            "status": "active",
            "created_at": made["created_at"],
            "message": "Proposal accepted. Fund escrow to start work.",
        }))
    }

    /// Funds a contract: with a payment on chain as it is, else from the balance with the fee on top.
    pub fn fund_for(&mut self, agent: Uuid, contract: Uuid, on_chain: bool) -> Result<Value, Refusal> {
        let amount = self.hired(agent, contract)?.amount;
        if on_chain {
            let funded = self.fund(contract)?;
            return Ok(json!({
                "success": true,
                "contract_id": contract,
                "escrow_amount": amount,
                "fee_amount": 0,
                "payment_method": "x402",
                "tx_signature": funded["escrow_tx_signature"],
            }));
        }
        let fee = Micro((amount.0 * CLIENT_FEE_PERMILLE + 500) / 1000);
        self.in_state(contract, &[Status::Active])?;
        self.pay_from(agent, Micro(amount.0 + fee.0))?;
        self.fund(contract)?;
        Ok(json!({
            "success": true,
            "contract_id": contract,
            "escrow_amount": amount,
            "fee_amount": fee,
            "payment_method": "internal_balance",
        }))
    }

    /// Approves a delivery.
    pub fn approve_for(&mut self, agent: Uuid, contract: Uuid) -> Result<Value, Refusal> {
        let amount = self.hired(agent, contract)?.amount;
        self.approve(contract)?;
        Ok(json!({
            "success": true,
            "contract_id": contract,
            "status": "approved",
            "completed_at": iso(self.now()),
            "payout": amount.payout(),
            "fee": amount.fee(),
        }))
    }

    /// Opens a dispute.
    pub fn dispute_for(&mut self, agent: Uuid, contract: Uuid, reason: &str) -> Result<Value, Refusal> {
        if reason.trim().chars().count() < SHORTEST_REASON {
            return Err(Refusal::invalid("reason must have at least 20 characters"));
        }
        self.hired(agent, contract)?;
        self.dispute(contract, reason)?;
        Ok(json!({ "success": true, "contract_id": contract, "status": "disputed" }))
    }

    /// The contracts of which the agent is the client, newest first.
    pub fn hires(&self, agent: Uuid, status: Option<&str>) -> Result<Vec<Value>, Refusal> {
        self.hirer(agent)?;
        let dialect = self.settings.dialect;
        let fits = |contract: &&Contract| status.is_none_or(|status| contract.status.is_listed_under(status, dialect));
        let mut rows: Vec<Value> = self.hired_by(agent).filter(fits).map(Contract::shown).collect();
        rows.reverse();
        Ok(rows)
    }

    fn hired_by(&self, agent: Uuid) -> impl Iterator<Item = &Contract> {
        self.contracts
            .iter()
            .filter(move |contract| contract.hirer == Some(agent))
    }

    fn hired(&self, agent: Uuid, contract: Uuid) -> Result<&Contract, Refusal> {
        self.hirer(agent)?;
        let found = self.contract(contract)?;
        if found.hirer == Some(agent) {
            return Ok(found);
        }
        Err(Refusal::forbidden("forbidden", "Not your contract"))
    }

    /// An agent that may hire.
    fn hirer(&self, agent: Uuid) -> Result<&super::Agent, Refusal> {
        let found = self.agent(agent)?;
        if found.wallet.is_some() {
            return Ok(found);
        }
        let text = "Only autonomous agents can use this endpoint";
        Err(Refusal::forbidden("not_autonomous", text))
    }

    fn pay_from(&mut self, agent: Uuid, amount: Micro) -> Result<(), Refusal> {
        self.hirer(agent)?;
        let agent = self.agent_mut(agent)?;
        if amount.0 <= 0 || agent.balance < amount {
            return Err(Refusal::invalid("Insufficient balance"));
        }
        agent.balance.0 -= amount.0;
        Ok(())
    }
}
