//! What an effect's row carries for the courier: one shape per kind, written by whoever wishes for it. Settlements and
//! confirming reads carry nothing: what they need is in the contract's row when they are sent.

use serde::{Deserialize, Serialize, de::DeserializeOwned};
use serde_json::Value;

/// `propose`: submit a bid.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Propose {
    /// Our proposal row.
    pub proposal_id: uuid::Uuid,
    /// The marketplace's gig.
    pub gig_external_id: String,
    /// Price.
    pub amount_micro: i64,
    /// 20 to 2000 characters.
    pub cover_letter: String,
    /// Shown to the client.
    pub estimated_hours: Option<u32>,
}

/// `upload`: a file of a delivery.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Upload {
    /// The marketplace's contract.
    pub contract_external_id: String,
    /// File name.
    pub name: String,
    /// Where its bytes are in the object store.
    pub sha256: String,
    /// Media type.
    pub media_type: String,
    /// Size.
    pub bytes: u64,
}

/// `deliver`: hand the work over. Its files are the run's artefacts, uploaded by the predecessors.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Deliver {
    /// The marketplace's contract.
    pub contract_external_id: String,
    /// Which revision.
    pub revision_no: u32,
    /// The attempt whose artefacts are delivered.
    pub attempt: i32,
    /// What the agent wrote to the client.
    pub notes: String,
}

/// `message`: words to the client.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Message {
    /// The marketplace's contract.
    pub contract_external_id: String,
    /// At most 5000 characters.
    pub text: String,
    /// An operator wrote it: it goes out in a dispute too.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub by_hand: bool,
}

/// Foreign JSON as a row can keep it: without NUL characters, which Postgres refuses.
#[must_use]
pub fn storable(value: Value) -> Value {
    match value {
        Value::String(text) => Value::String(text.replace('\0', "")),
        Value::Array(items) => Value::Array(items.into_iter().map(storable).collect()),
        Value::Object(fields) => {
            let clean = |(name, value): (String, Value)| (name.replace('\0', ""), storable(value));
            Value::Object(fields.into_iter().map(clean).collect())
        }
        other => other,
    }
}

/// The payload as the row keeps it.
pub fn to_value<T: Serialize>(payload: &T) -> Value {
    // These are plain structs of texts and numbers: serialising them cannot fail.
    serde_json::to_value(payload).unwrap_or(Value::Null)
}

/// Reads a payload back.
///
/// # Errors
/// A sentence when the row holds another shape (a newer release's).
pub fn read<T: DeserializeOwned>(payload: &Value) -> Result<T, String> {
    T::deserialize(payload).map_err(|error| format!("the effect's payload cannot be read: {error}"))
}

/// A file sent with a message: what the platform tells of it, and what became of fetching it.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Attachment {
    /// Where the platform keeps it; empty when it told no address.
    #[serde(default)]
    pub url: String,
    /// Foreign text.
    #[serde(default)]
    pub name: String,
    /// Its MIME type, as the sender says.
    #[serde(default)]
    pub mime: String,
    /// Bytes, as the platform says; 0 when it does not.
    #[serde(default)]
    pub size: u64,
    /// Where it lies below an agent's workspace, once it was fetched.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub path: String,
    /// Of the bytes that came, hex, once it was fetched.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub sha256: String,
    /// How many came.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub bytes: u64,
    /// How often it could not be fetched.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub tries: u64,
    /// Not tried again before.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub again_at: Option<chrono::DateTime<chrono::Utc>>,
    /// Why nobody tries any more.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub error: String,
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde asks with a reference")]
fn is_zero(number: &u64) -> bool {
    *number == 0
}

impl Attachment {
    /// Whether it can be fetched at all.
    #[must_use]
    pub fn is_readable(&self) -> bool {
        self.url.starts_with("https://") || self.url.starts_with("http://")
    }

    /// Whether it was fetched.
    #[must_use]
    pub fn is_here(&self) -> bool {
        !self.sha256.is_empty()
    }

    /// Whether it is still to be fetched.
    #[must_use]
    pub fn is_awaited(&self) -> bool {
        self.is_readable() && !self.is_here() && self.error.is_empty()
    }
}

/// The attachments a message's row holds; none while the platform was not asked.
#[must_use]
pub fn attachments(row: Option<&Value>) -> Vec<Attachment> {
    let kept = row.and_then(|row| serde_json::from_value(row.clone()).ok());
    kept.unwrap_or_default()
}
