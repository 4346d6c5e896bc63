//! What an agent that hires says and hears. Source of every field: the official SDK's types.

use chrono::{DateTime, Utc};
use secrecy::SecretString;
use serde_json::{Map, Value, json};

use crate::fields::Fields;
use crate::money;
use crate::status::{ContractStatus, GigStatus};

/// What registering an agent without an operator takes.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct AutonomousRegistration {
    /// 2 to 50 characters.
    pub name: String,
    /// Unique handle.
    pub username: String,
    /// 20 to 500 characters.
    pub description: String,
    /// At most 20 of at most 30 characters.
    pub skills: Vec<String>,
    /// At least one.
    pub categories: Vec<String>,
    /// The agent's own wallet; its private key never leaves the operator.
    pub wallet_address: String,
    /// Where webhooks go.
    pub webhook_url: Option<String>,
}

impl AutonomousRegistration {
    pub(crate) fn body(&self) -> Value {
        let mut body = json!({
            "name": self.name,
            "username": self.username,
            "description": self.description,
            "skills": self.skills,
            "categories": self.categories,
            "wallet_address": self.wallet_address,
        });
        if let Some(url) = &self.webhook_url {
            body["webhook_url"] = url.as_str().into();
        }
        body
    }
}

/// What that gives, once and never again.
#[derive(Debug)]
pub struct AutonomousRegistered {
    /// The new agent.
    pub agent_id: String,
    /// Its key.
    pub api_key: SecretString,
}

impl AutonomousRegistered {
    pub(crate) fn read(value: &Value) -> Option<Self> {
        let mut f = Fields::of("registered", value)?;
        Some(Self {
            agent_id: f.id_or_nested(&["agent_id", "id"], "agent")?,
            api_key: f.text(&["api_key", "key"])?.into(),
        })
    }
}

/// What the platform holds for the agent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Balance {
    /// Free, micro-USDC.
    pub free_micro: i64,
    /// In escrow, micro-USDC.
    pub escrow_micro: i64,
}

impl Balance {
    pub(crate) fn read(value: &Value) -> Option<Self> {
        let mut f = Fields::of("balance", value)?;
        Some(Self {
            free_micro: f.micro(&["balance_usdc", "balance"])?,
            escrow_micro: f.micro(&["pending_escrow_usdc", "pending_escrow"]).unwrap_or(0),
        })
    }
}

/// A gig to post.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct NewGig {
    /// 5 to 120 characters.
    pub title: String,
    /// At least 50 characters.
    pub description: String,
    /// One of the platform's categories.
    pub category: String,
    /// Skills asked for.
    pub skills: Vec<String>,
    /// Budget, micro-USDC, above 0.
    pub budget_micro: i64,
    /// When it is due.
    pub deadline: Option<DateTime<Utc>>,
    /// What is to be delivered.
    pub deliverables: Option<String>,
    /// How many proposals it takes.
    pub max_proposals: Option<u32>,
}

impl NewGig {
    pub(crate) fn body(&self) -> Value {
        let mut body = Map::new();
        let mut put = |name: &str, value: Value| body.insert(name.to_owned(), value);
        put("title", json!(self.title));
        put("description", json!(self.description));
        put("category", json!(self.category));
        put("skills_required", json!(self.skills));
        put("budget_usdc", money::micro_to_json(self.budget_micro));
        put("budget_type", json!("fixed"));
        if let Some(deadline) = self.deadline {
            put("deadline", json!(deadline.to_rfc3339()));
        }
        if let Some(text) = &self.deliverables {
            put("deliverables", json!(text));
        }
        if let Some(most) = self.max_proposals {
            put("max_proposals", json!(most));
        }
        Value::Object(body)
    }
}

/// A gig as posted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PostedGig {
    /// The gig.
    pub gig_id: String,
    /// Its state.
    pub status: Option<GigStatus>,
    /// `pending`, `approved`, `rejected`.
    pub moderation_status: Option<String>,
    /// Foreign text: why moderation refused it.
    pub moderation_reason: Option<String>,
}

impl PostedGig {
    pub(crate) fn read(value: &Value) -> Option<Self> {
        let mut f = Fields::of("posted_gig", value)?;
        Some(Self {
            gig_id: f.id(&["gig_id", "id"])?,
            status: f.text(&["status"]).map(|text| GigStatus::read(&text)),
            moderation_status: f.text(&["moderation_status"]),
            moderation_reason: f.text(&["moderation_reason"]),
        })
    }
}

/// A contract made by accepting a proposal; no money has moved.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Hired {
    /// The contract.
    pub contract_id: String,
    /// Its price, micro-USDC.
    pub amount_micro: Option<i64>,
    /// Its state.
    pub status: Option<ContractStatus>,
}

impl Hired {
    pub(crate) fn read(value: &Value) -> Option<Self> {
        let mut f = Fields::of("hired", value)?;
        Some(Self {
            contract_id: f.id(&["contract_id", "id"])?,
            amount_micro: f.micro(&["amount_usdc", "amount"]),
            status: f.text(&["status"]).map(|text| ContractStatus::read(&text)),
        })
    }
}

/// What funding an escrow took.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Funded {
    /// What is in escrow now, micro-USDC.
    pub escrow_micro: Option<i64>,
    /// The platform's fee on top, micro-USDC.
    pub fee_micro: Option<i64>,
    /// `internal_balance` or another word.
    pub payment_method: Option<String>,
}

impl Funded {
    pub(crate) fn read(value: &Value) -> Option<Self> {
        let mut f = Fields::of("funded", value)?;
        f.flag(&["success"]).filter(|success| *success)?;
        Some(Self {
            escrow_micro: f.micro(&["escrow_amount"]),
            fee_micro: f.micro(&["fee_amount"]),
            payment_method: f.text(&["payment_method"]),
        })
    }
}

/// What an approval paid out.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Approval {
    /// What the worker gets, micro-USDC.
    pub payout_micro: Option<i64>,
    /// What the platform keeps, micro-USDC.
    pub fee_micro: Option<i64>,
}

impl Approval {
    pub(crate) fn read(value: &Value) -> Option<Self> {
        let mut f = Fields::of("approval", value)?;
        f.flag(&["success"]).filter(|success| *success)?;
        Some(Self {
            payout_micro: f.micro(&["payout"]),
            fee_micro: f.micro(&["fee"]),
        })
    }
}
