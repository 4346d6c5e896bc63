//! The platform's JSON forms of what it keeps.

use serde::Serialize;
use serde_json::{Value, json};
use uuid::Uuid;

use super::{
    Agent, Contract, Gig, Proposal, World,
    agents::{EVENTS, Standing},
};
use crate::{dialect::Dialect, money::Micro, time::iso};

impl Agent {
    /// The profile as its owner sees it.
    pub fn shown(&self) -> Value {
        let stats = &self.stats;
        let mean = |sum: u64, count: u64| (count > 0).then(|| sum / count);
        let ratings = stats.ratings.len() as u64;
        let rating_sum: u64 = stats.ratings.iter().copied().map(u64::from).sum();
        json!({
            "id": self.id,
            "operator_id": self.operator,
            "is_autonomous": self.wallet.is_some(),
            "wallet_address": self.wallet,
            "name": self.name,
            "username": self.username,
            "slug": self.username,
            "description": self.description,
            "bio": self.bio,
            "avatar_url": self.avatar_url,
            "skills": self.skills,
            "categories": self.categories,
            "specialties": self.specialties,
            "languages": self.languages,
            "hourly_rate_usdc": self.hourly_rate,
            "contact_email": self.contact_email,
            "webhook_url": self.webhook_url,
            "status": self.standing.name(),
            "is_claimed": self.operator.is_some(),
            "stats_completed_gigs": stats.completed,
            // Two decimals without floating point.
            "stats_avg_rating": Micro(
                (mean(rating_sum * 100, ratings).unwrap_or(0) * 10_000) as i64
            ),
            "stats_total_reviews": ratings,
            "stats_total_earned": stats.earned,
            "stats_avg_response_time_seconds": mean(stats.response_secs, stats.proposals),
            "stats_completion_rate": mean(stats.completed * 100, stats.accepted),
            "verified": self.email_verified,
            "verified_at": null,
            "member_since": iso(self.created_at),
            "last_active_at": iso(self.updated_at),
            "created_at": iso(self.created_at),
            "updated_at": iso(self.updated_at),
        })
    }

    /// Webhook settings; the secret is never among them.
    pub fn webhooks_shown(&self, url: Option<String>) -> Value {
        json!({
            "webhook_url": url,
            "webhook_events": self.webhook_events,
            "has_secret": true,
        })
    }

    /// Chooses the events sent; false if one is unknown.
    pub fn choose_events(&mut self, events: Vec<String>) -> bool {
        let known = events.iter().all(|event| EVENTS.contains(&event.as_str()));
        if known {
            self.webhook_events = events;
        }
        known
    }
}

/// A gig as the platform lists it, borrowed: lists are written without a copy of what is in them.
#[derive(Serialize)]
pub struct GigView<'a> {
    id: Uuid,
    client_id: Uuid,
    created_by_agent_id: Option<Uuid>,
    title: &'a str,
    description: &'a str,
    category: &'a str,
    skills_required: &'a [String],
    budget_usdc: Micro,
    budget_type: &'a str,
    status: &'static str,
    moderation_status: &'a str,
    deadline: Option<&'a str>,
    deliverables: Option<&'a Value>,
    max_proposals: Option<u64>,
    proposal_count: u64,
    created_at: String,
    updated_at: String,
}

impl Gig {
    pub fn view(&self) -> GigView<'_> {
        GigView {
            id: self.id,
            client_id: self.client,
            created_by_agent_id: self.poster,
            title: &self.title,
            description: &self.description,
            category: &self.category,
            skills_required: &self.skills,
            budget_usdc: self.budget,
            budget_type: &self.budget_type,
            status: self.status,
            moderation_status: &self.moderation,
            deadline: self.deadline.as_deref(),
            deliverables: self.deliverables.as_ref(),
            max_proposals: self.max_proposals,
            proposal_count: self.proposals.len() as u64 + self.rivals,
            created_at: iso(self.created_at),
            updated_at: iso(self.updated_at),
        }
    }

    pub fn shown(&self) -> Value {
        serde_json::to_value(self.view()).unwrap_or_default()
    }
}

impl Proposal {
    pub fn shown(&self) -> Value {
        json!({
            "id": self.id,
            "gig_id": self.gig,
            "agent_id": self.agent,
            "cover_letter": self.cover_letter,
            "proposed_amount_usdc": self.amount,
            "estimated_hours": self.hours,
            "status": self.state.name(),
            "created_at": iso(self.created_at),
        })
    }
}

/// A contract as the platform lists it, borrowed.
#[derive(Serialize)]
pub struct ContractView<'a> {
    id: Uuid,
    gig_id: Uuid,
    client_id: Uuid,
    agent_id: Uuid,
    proposal_id: Option<Uuid>,
    hiring_agent_id: Option<Uuid>,
    amount_usdc: Micro,
    status: &'static str,
    escrow_tx_signature: Option<&'a str>,
    delivery_notes: Option<&'a str>,
    delivered_at: Option<String>,
    completed_at: Option<String>,
    created_at: String,
}

impl Contract {
    pub fn view(&self) -> ContractView<'_> {
        ContractView {
            id: self.id,
            gig_id: self.gig,
            client_id: self.client,
            agent_id: self.agent,
            proposal_id: self.proposal,
            hiring_agent_id: self.hirer,
            amount_usdc: self.amount,
            status: self.status.name(),
            escrow_tx_signature: self.escrow.as_deref(),
            delivery_notes: self.delivered.as_ref().map(|work| work.notes.as_str()),
            delivered_at: self.delivered_at.map(iso),
            completed_at: self.completed_at.map(iso),
            created_at: iso(self.created_at),
        }
    }

    pub fn shown(&self) -> Value {
        serde_json::to_value(self.view()).unwrap_or_default()
    }
}

impl World {
    /// Whether an agent may bid, and what it lacks.
    pub fn readiness(&self, agent: &Agent) -> Value {
        let checks = agent.checks(self.webhook_url(agent).is_some(), self.settings.dialect);
        let missing: Vec<&str> = checks.iter().filter(|(_, met)| !met).map(|(name, _)| *name).collect();
        let wished = [
            ("bio", agent.bio.is_none()),
            ("hourly_rate_usdc", agent.hourly_rate.is_none()),
            ("specialties", agent.specialties.is_empty()),
            (
                "avatar_url",
                agent.avatar_url.is_none() && self.settings.dialect == Dialect::Sdk,
            ),
        ];
        let recommended: Vec<&str> = wished
            .iter()
            .filter(|(_, absent)| *absent)
            .map(|(name, _)| *name)
            .collect();
        json!({
            "ready": missing.is_empty() && agent.standing == Standing::Active,
            "missing": missing,
            "recommended": recommended,
            "checks": checks.into_iter().collect::<std::collections::BTreeMap<_, _>>(),
        })
    }

    /// Everything the control surface tells of an agent, the mailed code included.
    pub fn agent_detail(&self, agent: &Agent) -> Value {
        let mut shown = agent.shown();
        shown["readiness"] = self.readiness(agent);
        shown["webhook_url"] = json!(self.webhook_url(agent));
        shown["email_code"] = json!(agent.email_code);
        shown["portfolio"] = json!(agent.portfolio);
        shown
    }
}
