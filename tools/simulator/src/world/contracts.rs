//! Contracts from the worker's side: what they hold, and delivery.

use std::time::Duration;

use chrono::{DateTime, Utc};
use serde::Serialize;
use serde_json::{Value, json};
use uuid::Uuid;

use super::{World, messages::Message};
use crate::{dialect::Dialect, money::Micro, refusal::Refusal, time::iso, timers::Action};

/// Entries of one contract's timeline.
const MAX_TIMELINE: usize = 1_000;
/// News this young may not have reached whoever acts against it.
pub const NEWS: Duration = Duration::from_secs(1);

/// Where a contract stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Status {
    Active,
    Funded,
    Delivered,
    Approved,
    Disputed,
    Cancelled,
}

impl Status {
    /// All of them, in the order of the report.
    pub const ALL: [Self; 6] = [
        Self::Active,
        Self::Funded,
        Self::Delivered,
        Self::Approved,
        Self::Disputed,
        Self::Cancelled,
    ];

    pub fn name(self) -> &'static str {
        match self {
            Self::Active => "active",
            Self::Funded => "funded",
            Self::Delivered => "delivered",
            Self::Approved => "approved",
            Self::Disputed => "disputed",
            Self::Cancelled => "cancelled",
        }
    }
}

impl Status {
    /// Whether a list of the contracts that are `word` holds those that are this.
    pub(super) fn is_listed_under(self, word: &str, dialect: Dialect) -> bool {
        match (self, dialect) {
            (Self::Funded, Dialect::Sdk) => word == Self::Active.name(),
            _ => word == self.name(),
        }
    }
}

/// Something that happened to a contract.
#[derive(Clone, Debug, Serialize)]
pub struct Moment {
    pub at: String,
    pub what: &'static str,
    pub detail: Option<String>,
}

/// What an agent hands over.
#[derive(Clone, Debug)]
pub struct Delivered {
    pub notes: String,
    pub url: Option<String>,
    pub attachments: Vec<Value>,
}

/// One contract.
#[derive(Clone, Debug)]
pub struct Contract {
    pub id: Uuid,
    pub gig: Uuid,
    pub client: Uuid,
    pub client_name: &'static str,
    pub agent: Uuid,
    /// The agent that is its client, if one is.
    pub hirer: Option<Uuid>,
    pub proposal: Option<Uuid>,
    pub amount: Micro,
    pub status: Status,
    pub escrow: Option<String>,
    pub delivered: Option<Delivered>,
    pub delivered_at: Option<DateTime<Utc>>,
    pub completed_at: Option<DateTime<Utc>>,
    pub created_at: DateTime<Utc>,
    /// Deliveries accepted, revisions included.
    pub deliveries: u32,
    pub revisions: u32,
    /// A delivery was accepted while another waited for the client.
    pub twice: bool,
    pub dispute: Option<String>,
    /// Since when, by the clock's count, the agent can know of the dispute.
    pub dispute_known: Option<Duration>,
    pub review: Option<Value>,
    /// How many more messages an agent on the client's side answers at once.
    pub echo: u32,
    pub messages: Vec<Message>,
    pub timeline: Vec<Moment>,
}

impl Contract {
    pub fn mark(&mut self, at: DateTime<Utc>, what: &'static str, detail: Option<String>) {
        if self.timeline.len() < MAX_TIMELINE {
            let at = iso(at);
            self.timeline.push(Moment { at, what, detail });
        }
    }
}

impl World {
    /// Hands work over.
    pub fn deliver(&mut self, agent: Uuid, id: Uuid, work: Delivered) -> Result<Value, Refusal> {
        let status = self.own_contract(agent, id)?.status;
        match status {
            Status::Funded => {}
            Status::Active => {
                self.breach(agent, "deliver_unfunded", id);
                return Err(Refusal::new(
                    http::StatusCode::BAD_REQUEST,
                    "escrow_not_funded",
                    "Escrow is not funded yet",
                ));
            }
            Status::Delivered => self.breach(agent, "duplicate_deliver", id),
            Status::Approved => {
                self.breach(agent, "duplicate_deliver", id);
                return Err(Refusal::conflict("already_approved", "Contract is approved"));
            }
            Status::Disputed => {
                return Err(Refusal::conflict("contract_disputed", "Contract is disputed"));
            }
            Status::Cancelled => {
                return Err(Refusal::conflict("contract_cancelled", "Contract is cancelled"));
            }
        }
        let now = self.now();
        let contract = self.contract_mut(id)?;
        contract.twice |= status == Status::Delivered;
        contract.deliveries += 1;
        contract.status = Status::Delivered;
        contract.delivered_at = Some(now);
        contract.delivered = Some(work);
        let (delivery, gig, hirer) = (contract.deliveries, contract.gig, contract.hirer);
        contract.mark(now, "delivered", Some(format!("delivery {delivery}")));
        let shown = contract.shown();
        let data = json!({
            "contract_id": id,
            "gig_title": self.title_of(gig),
            "message": "Work delivered",
        });
        if let Some(hirer) = hirer {
            self.tell(hirer, "contract.delivered", data.clone());
        }
        self.tell(agent, "contract.delivered", data);
        self.market_delivered(gig, id, delivery);
        if let Some(wait) = self.gigs.get(gig).and_then(|gig| gig.auto.approve) {
            let contract = id;
            self.plan(wait, Action::Approve { contract, delivery });
        }
        Ok(shown)
    }

    /// A contract of this agent's.
    pub fn own_contract(&self, agent: Uuid, id: Uuid) -> Result<&Contract, Refusal> {
        let contract = self.contract(id)?;
        if contract.agent == agent {
            return Ok(contract);
        }
        Err(Refusal::forbidden("forbidden", "Not your contract"))
    }

    /// One page of an agent's contracts, newest first, and how many there are. Who reads it knows of disputes in it.
    pub fn contracts_of(
        &mut self,
        agent: Uuid,
        status: Option<&str>,
        offset: usize,
        limit: usize,
    ) -> Result<(Vec<Uuid>, usize), Refusal> {
        let (dialect, now) = (self.settings.dialect, self.clock.elapsed());
        let wanted = |id: &&Uuid| match (status, self.contracts.get(**id)) {
            (_, None) => false,
            (None, Some(_)) => true,
            (Some(status), Some(contract)) => contract.status.is_listed_under(status, dialect),
        };
        let matching: Vec<Uuid> = self
            .agent(agent)?
            .contracts
            .iter()
            .rev()
            .filter(wanted)
            .copied()
            .collect();
        let total = matching.len();
        let page: Vec<Uuid> = matching.into_iter().skip(offset).take(limit).collect();
        for id in &page {
            if let Some(contract) = self.contracts.get_mut(*id) {
                contract.know_dispute(now);
            }
        }
        Ok((page, total))
    }

    /// Notes that a webhook told the agent of a dispute.
    pub fn told_of_dispute(&mut self, body: &[u8]) {
        let body: Value = serde_json::from_slice(body).unwrap_or_default();
        let id = body["data"]["contract_id"].as_str().and_then(|id| id.parse().ok());
        let now = self.clock.elapsed();
        if let Some(contract) = id.and_then(|id: Uuid| self.contracts.get_mut(id)) {
            contract.know_dispute(now);
        }
    }

    pub fn contract(&self, id: Uuid) -> Result<&Contract, Refusal> {
        self.contracts.get(id).ok_or_else(|| Refusal::missing("Contract"))
    }

    pub fn contract_mut(&mut self, id: Uuid) -> Result<&mut Contract, Refusal> {
        self.contracts.get_mut(id).ok_or_else(|| Refusal::missing("Contract"))
    }

    pub(super) fn breach(&mut self, agent: Uuid, what: &'static str, contract: Uuid) {
        let (name, now) = (self.agents.get(agent).map(|agent| agent.username.clone()), self.now());
        self.etiquette
            .note(now, &name.unwrap_or_default(), what, format!("contract {contract}"));
    }
}

impl Contract {
    fn know_dispute(&mut self, now: Duration) {
        if self.status == Status::Disputed {
            self.dispute_known.get_or_insert(now);
        }
    }
}
