//! Contracts, deliveries, messages and files.

use chrono::{DateTime, Utc};
use serde_json::{Value, json};

use crate::fields::Fields;
use crate::status::ContractStatus;
use crate::wire::Read;

/// Longest message the marketplace takes, in characters.
pub const LONGEST_MESSAGE: usize = 5_000;

/// A contract. It has no title, brief or deadline: those live on its gig.
#[derive(Clone, Debug, PartialEq)]
pub struct Contract {
    /// The contract.
    pub id: String,
    /// The gig it came from.
    pub gig_id: Option<String>,
    /// Who pays.
    pub client_id: Option<String>,
    /// Who works.
    pub agent_id: Option<String>,
    /// The proposal it came from; contracts without one exist.
    pub proposal_id: Option<String>,
    /// The agent that hires, if an agent does.
    pub hiring_agent_id: Option<String>,
    /// Gross price, micro-USDC.
    pub amount_micro: Option<i64>,
    /// Its state; [`Contract::is_funded`] before spending on it.
    pub status: ContractStatus,
    /// Proof that money is in escrow.
    pub escrow_tx_signature: Option<String>,
    /// What the last delivery said.
    pub delivery_notes: Option<String>,
    /// The address of the last delivery, where shown.
    pub deliverables_url: Option<String>,
    /// When it was last delivered.
    pub delivered_at: Option<DateTime<Utc>>,
    /// When it was approved.
    pub completed_at: Option<DateTime<Utc>>,
    /// When it was made.
    pub created_at: Option<DateTime<Utc>>,
}

impl Contract {
    /// Whether money is in escrow: the state says so, or it is active with an escrow transaction.
    #[must_use]
    pub fn is_funded(&self) -> bool {
        match self.status {
            ContractStatus::Funded => true,
            ContractStatus::Active => self.escrow_tx_signature.is_some(),
            _ => false,
        }
    }
}

impl Read for Contract {
    fn read(value: &Value) -> Option<Self> {
        let mut f = Fields::of("contract", value)?;
        let contract = Self {
            id: f.id(&["id", "contract_id"])?,
            gig_id: f.id_or_nested(&["gig_id"], "gig"),
            client_id: f.id_or_nested(&["client_id"], "client"),
            agent_id: f.id_or_nested(&["agent_id"], "agent"),
            proposal_id: f.id_or_nested(&["proposal_id"], "proposal"),
            hiring_agent_id: f.id(&["hiring_agent_id"]),
            amount_micro: f.micro(&["amount_usdc", "amount"]),
            status: f.text(&["status"]).map_or_else(
                || ContractStatus::Unknown(String::new()),
                |text| ContractStatus::read(&text),
            ),
            escrow_tx_signature: f.text(&["escrow_tx_signature"]),
            delivery_notes: f.text(&["delivery_notes"]),
            deliverables_url: f.text(&["deliverables_url"]),
            delivered_at: f.time(&["delivered_at"]),
            completed_at: f.time(&["completed_at"]),
            created_at: f.time(&["created_at"]),
        };
        f.get(&["updated_at", "attachments", "gig_title", "title", "message"]);
        f.finish();
        Some(contract)
    }

    fn id(&self) -> &str {
        &self.id
    }
}

/// A delivery to make. Put a marker into `notes`: it is how a later read proves that it arrived.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Delivery {
    /// `delivery_notes`.
    pub notes: String,
    /// Where the work can be seen.
    pub url: Option<String>,
    /// Files uploaded before.
    pub attachments: Vec<Attachment>,
}

/// A file uploaded before, or sent with a message.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Attachment {
    /// Where it lies; empty when a message names a file and no address.
    pub url: String,
    /// Its name.
    pub name: String,
    /// Its MIME type.
    pub mime: String,
    /// Its bytes.
    pub size: u64,
}

/// The two forms attachments of a delivery are taken in.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub enum AttachmentForm {
    /// Objects with address, name, type and size: first choice.
    #[default]
    Objects,
    /// Addresses only: after [`crate::Error::AttachmentsAsUrls`].
    Urls,
}

impl Delivery {
    pub(crate) fn body(&self, form: AttachmentForm) -> Value {
        let mut body = json!({ "delivery_notes": self.notes });
        if let Some(url) = &self.url {
            body["deliverables_url"] = url.as_str().into();
        }
        if !self.attachments.is_empty() {
            let one = |file: &Attachment| match form {
                AttachmentForm::Urls => json!(file.url),
                AttachmentForm::Objects => json!({
                    "url": file.url, "name": file.name, "type": file.mime, "size": file.size,
                }),
            };
            body["attachments"] = self.attachments.iter().map(one).collect();
        }
        body
    }
}

/// Who wrote a message.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Sender {
    /// A person.
    Client(Option<String>),
    /// An agent, perhaps ourselves: compare with our agent id.
    Agent(Option<String>),
    /// Not said.
    Unknown,
}

/// A message of a contract.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Message {
    /// The message.
    pub id: String,
    /// The contract it belongs to.
    pub contract_id: Option<String>,
    /// Who wrote it.
    pub sender: Sender,
    /// Foreign text.
    pub content: String,
    /// A file with it.
    pub attachment: Option<Attachment>,
    /// When it was written.
    pub created_at: Option<DateTime<Utc>>,
}

impl Read for Message {
    fn read(value: &Value) -> Option<Self> {
        let mut f = Fields::of("message", value)?;
        let agent = f.id(&["sender_agent_id"]);
        let person = f.id_or_nested(&["sender_id"], "sender");
        let sender = match (f.text(&["sender_type"]).as_deref(), agent, person) {
            (Some("client"), _, person) => Sender::Client(person),
            (Some("agent"), agent, person) => Sender::Agent(agent.or(person)),
            (_, Some(agent), _) => Sender::Agent(Some(agent)),
            (_, None, Some(person)) => Sender::Client(Some(person)),
            (_, None, None) => Sender::Unknown,
        };
        let message = Self {
            id: f.id(&["id", "message_id"])?,
            contract_id: f.id_or_nested(&["contract_id"], "contract"),
            sender,
            content: f.text(&["content", "message", "text"]).unwrap_or_default(),
            attachment: attachment(&mut f),
            created_at: f.time(&["created_at"]),
        };
        f.get(&["sender_name", "updated_at", "read_at", "is_read"]);
        f.finish();
        Some(message)
    }

    fn id(&self) -> &str {
        &self.id
    }
}

fn attachment(f: &mut Fields<'_>) -> Option<Attachment> {
    let (url, name) = (f.text(&["attachment_url"]), f.text(&["attachment_name"]));
    let mime = f.text(&["attachment_type"]).unwrap_or_default();
    let size = f.count(&["attachment_size"]).unwrap_or(0);
    (url.is_some() || name.is_some()).then(|| Attachment {
        url: url.unwrap_or_default(),
        name: name.unwrap_or_default(),
        mime,
        size,
    })
}

/// A message to send.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NewMessage {
    /// 1 to 5,000 characters.
    pub content: String,
    /// Address and name of a file uploaded before.
    pub attachment: Option<(String, String)>,
}

impl NewMessage {
    pub(crate) fn check(&self) -> Result<(), String> {
        let letters = self.content.chars().count();
        if (1..=LONGEST_MESSAGE).contains(&letters) && !self.content.trim().is_empty() {
            return Ok(());
        }
        Err(format!(
            "a message has 1 to {LONGEST_MESSAGE} characters, this one {letters}"
        ))
    }

    pub(crate) fn body(&self) -> Value {
        let mut body = json!({ "content": self.content });
        if let Some((url, name)) = &self.attachment {
            body["attachment_url"] = url.as_str().into();
            body["attachment_name"] = name.as_str().into();
        }
        body
    }
}

/// A file to upload.
#[derive(Clone, Debug)]
pub struct Upload {
    /// Its name, at most 200 bytes, without path.
    pub name: String,
    /// Its MIME type.
    pub mime: String,
    /// What it holds, at most 10 MiB.
    pub bytes: bytes::Bytes,
    /// The bucket; `attachments` for deliveries.
    pub bucket: String,
    /// The contract it is for.
    pub contract_id: Option<String>,
}

/// Where an uploaded file lies.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Uploaded {
    /// Its address.
    pub url: String,
    /// Its path in the bucket, if told.
    pub path: Option<String>,
}

impl Uploaded {
    pub(crate) fn read(value: &Value) -> Option<Self> {
        let mut f = Fields::of("upload", value)?;
        let url = f.text(&["url", "public_url", "file_url"])?;
        let uploaded = Self {
            url,
            path: f.text(&["path"]),
        };
        f.get(&["bucket", "name", "file_name", "type", "size", "success", "message"]);
        f.finish();
        Some(uploaded)
    }
}
