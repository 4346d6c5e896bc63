//! Messages between client and agent.

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use uuid::Uuid;

use super::{Contract, Status, World, contracts::NEWS};
use crate::{refusal::Refusal, time::iso};

/// Longest text.
const MAX_CONTENT: usize = 5_000;
/// Messages of one contract.
const MAX_MESSAGES: usize = 10_000;

/// A file sent with a message.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct Attachment {
    pub url: String,
    pub name: Option<String>,
    #[serde(rename = "type")]
    pub kind: Option<String>,
    pub size: Option<u64>,
}

/// One message.
#[derive(Clone, Debug)]
pub struct Message {
    pub id: Uuid,
    pub from_agent: bool,
    /// The agent on the client's side that wrote it.
    pub other_agent: Option<Uuid>,
    pub content: String,
    pub attachment: Option<Attachment>,
    pub created_at: DateTime<Utc>,
}

impl Message {
    fn new(
        world: &mut World,
        from_agent: bool,
        content: String,
        attachment: Option<Attachment>,
    ) -> Result<Self, Refusal> {
        let length = content.chars().count();
        if content.trim().is_empty() || length > MAX_CONTENT {
            return Err(Refusal::invalid("content must have 1 to 5000 characters"));
        }
        Ok(Self {
            id: world.ids.next(),
            from_agent,
            other_agent: None,
            content,
            attachment,
            created_at: world.now(),
        })
    }

    pub fn shown(&self, contract: &Contract) -> Value {
        let attachment = self.attachment.as_ref();
        json!({
            "id": self.id,
            "contract_id": contract.id,
            "sender_id": (!self.from_agent && self.other_agent.is_none()).then_some(contract.client),
            "sender_agent_id": self.from_agent.then_some(contract.agent).or(self.other_agent),
            "content": self.content,
            "attachment_url": attachment.map(|file| &file.url),
            "attachment_name": attachment.and_then(|file| file.name.as_ref()),
            "attachment_type": attachment.and_then(|file| file.kind.as_ref()),
            "attachment_size": attachment.and_then(|file| file.size),
            "created_at": iso(self.created_at),
        })
    }
}

impl World {
    /// The agent writes to the client.
    pub fn agent_message(
        &mut self,
        agent: Uuid,
        id: Uuid,
        content: String,
        attachment: Option<Attachment>,
    ) -> Result<Value, Refusal> {
        let contract = self.own_contract(agent, id)?;
        let disputed = contract.status == Status::Disputed;
        let now = self.clock.elapsed();
        let knew = contract.dispute_known.is_some_and(|known| now > known + NEWS);
        let message = Message::new(self, true, content, attachment)?;
        if disputed && knew {
            self.breach(agent, "reply_after_dispute", id);
        }
        let shown = self.keep(id, message)?;
        self.echoed(id)?;
        Ok(shown)
    }

    /// The client, or an agent on the client's side, writes to the agent.
    pub fn client_message(
        &mut self,
        id: Uuid,
        content: String,
        attachment: Option<Attachment>,
        sender_type: &str,
    ) -> Result<Value, Refusal> {
        let contract = self.contract(id)?;
        let (agent, gig, name) = (contract.agent, contract.gig, contract.client_name);
        let data = json!({
            "contract_id": id,
            "gig_title": self.title_of(gig),
            "sender_name": name,
            "sender_type": sender_type,
            "message": content,
            "reply_url": self.api(&format!("/contracts/{id}/messages")),
        });
        let mut message = Message::new(self, false, content, attachment)?;
        message.other_agent = (sender_type == "agent").then(|| self.ids.next());
        let shown = self.keep(id, message)?;
        self.tell(agent, "message.received", data);
        Ok(shown)
    }

    fn keep(&mut self, id: Uuid, message: Message) -> Result<Value, Refusal> {
        let contract = self.contract_mut(id)?;
        if contract.messages.len() >= MAX_MESSAGES {
            return Err(Refusal::conflict("too_many_messages", "The thread is full"));
        }
        let shown = message.shown(contract);
        contract.messages.push(message);
        Ok(shown)
    }

    /// All messages of one contract, oldest first.
    pub fn thread(&self, agent: Uuid, id: Uuid) -> Result<Vec<Value>, Refusal> {
        let contract = self.own_contract(agent, id)?;
        Ok(contract.messages.iter().map(|m| m.shown(contract)).collect())
    }

    /// All messages of an agent, or of one of its contracts, newest first.
    pub fn inbox(&self, agent: Uuid, contract: Option<Uuid>) -> Result<Vec<Value>, Refusal> {
        let mut all: Vec<(&Contract, &Message)> = self
            .agent(agent)?
            .contracts
            .iter()
            .filter(|id| contract.is_none_or(|only| only == **id))
            .filter_map(|id| self.contracts.get(*id))
            .flat_map(|contract| contract.messages.iter().map(move |message| (contract, message)))
            .collect();
        all.sort_by_key(|(_, message)| std::cmp::Reverse(message.created_at));
        Ok(all
            .into_iter()
            .map(|(contract, message)| message.shown(contract))
            .collect())
    }
}
