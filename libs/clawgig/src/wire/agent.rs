//! Registration, profile and readiness.

use secrecy::SecretString;
use serde_json::{Map, Value, json};

use crate::drift::{self, What};
use crate::fields::Fields;
use crate::money;
use crate::wire::Read;

/// What registering takes; send all of it (sources disagree on what is required).
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Registration {
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
    /// Where webhooks go; https, at most 500 characters.
    pub webhook_url: String,
    /// A picture.
    pub avatar_url: Option<String>,
    /// For the verification code.
    pub contact_email: Option<String>,
    /// Languages the agent writes.
    pub languages: Vec<String>,
    /// Micro-USDC an hour.
    pub hourly_rate_micro: Option<i64>,
}

impl Registration {
    pub(crate) fn body(&self) -> Value {
        let mut body = Map::new();
        let mut put = |name: &str, value: Value| body.insert(name.to_owned(), value);
        put("name", json!(self.name));
        put("username", json!(self.username));
        put("description", json!(self.description));
        put("skills", json!(self.skills));
        put("categories", json!(self.categories));
        put("webhook_url", json!(self.webhook_url));
        put("languages", json!(self.languages));
        if let Some(url) = &self.avatar_url {
            put("avatar_url", json!(url));
        }
        if let Some(email) = &self.contact_email {
            put("contact_email", json!(email));
        }
        if let Some(micro) = self.hourly_rate_micro {
            put("hourly_rate_usdc", money::micro_to_json(micro));
        }
        Value::Object(body)
    }
}

/// What registering gives, once and never again: seal it before anything else.
#[derive(Debug)]
pub struct Registered {
    /// The new agent.
    pub agent_id: String,
    /// Its key.
    pub api_key: SecretString,
    /// Proof for the claim.
    pub claim_token: Option<SecretString>,
    /// Where the operator claims the agent; as secret as the token.
    pub claim_url: Option<SecretString>,
    /// The webhook secret, where the server gives one here.
    pub webhook_secret: Option<SecretString>,
}

impl Registered {
    pub(crate) fn read(value: &Value) -> Option<Self> {
        let mut f = Fields::of("registered", value)?;
        let registered = Self {
            agent_id: f.id_or_nested(&["agent_id", "id"], "agent")?,
            api_key: f.text(&["api_key", "key"])?.into(),
            claim_token: f.text(&["claim_token"]).map(Into::into),
            claim_url: f.text(&["claim_url"]).map(Into::into),
            webhook_secret: super::webhook::secret(&mut f),
        };
        f.get(&["user_id", "wallet_address", "message", "status"]);
        f.finish();
        Some(registered)
    }
}

/// Whether the agent may bid, and what is missing. Never computed here, always asked for.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Readiness {
    /// Ready to bid.
    pub ready: bool,
    /// What must be done first.
    pub missing: Vec<String>,
    /// What would help.
    pub recommended: Vec<String>,
}

impl Readiness {
    pub(crate) fn read(value: &Value) -> Option<Self> {
        let mut f = Fields::of("readiness", value)?;
        let readiness = Self {
            ready: f.flag(&["ready", "is_ready"])?,
            missing: f.words(&["missing", "missing_fields"]),
            recommended: f.words(&["recommended"]),
        };
        f.get(&["message", "checks"]);
        f.finish();
        Some(readiness)
    }
}

/// The agent's standing.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Standing {
    /// `pending`, `active`, `suspended`, …
    pub status: String,
    /// Whether the profile is complete.
    pub profile_complete: Option<bool>,
    /// Whether it is verified.
    pub verified: Option<bool>,
}

impl Standing {
    pub(crate) fn read(value: &Value) -> Option<Self> {
        let mut f = Fields::of("standing", value)?;
        let status = f.text(&["status"])?.to_ascii_lowercase();
        if !matches!(status.as_str(), "pending" | "active" | "suspended") {
            drift::unknown(What::Status, "agent", &status);
        }
        let profile_complete = f.flag(&["profile_complete"]);
        Some(Self {
            status,
            profile_complete,
            verified: f.flag(&["verified"]),
        })
    }
}

/// The agent's public profile and numbers.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Profile {
    /// The agent.
    pub id: String,
    /// Display name.
    pub name: String,
    /// Handle.
    pub username: Option<String>,
    /// `pending`, `active`, `suspended`.
    pub status: Option<String>,
    /// Whether an operator has claimed it.
    pub is_claimed: Option<bool>,
    /// Where webhooks go, where shown.
    pub webhook_url: Option<String>,
    /// About the agent.
    pub description: Option<String>,
    /// Skills.
    pub skills: Vec<String>,
    /// Categories.
    pub categories: Vec<String>,
    /// Languages.
    pub languages: Vec<String>,
    /// Gigs completed.
    pub completed_gigs: Option<u64>,
    /// Mean rating as decimal text.
    pub avg_rating: Option<String>,
    /// Earned in all, micro-USDC; whether net or gross is not said.
    pub total_earned_micro: Option<i64>,
    /// Mean response time.
    pub avg_response_secs: Option<u64>,
}

impl Read for Profile {
    fn read(value: &Value) -> Option<Self> {
        let mut f = Fields::of("profile", value)?;
        let profile = Self {
            id: f.id(&["id", "agent_id"])?,
            name: f.text(&["name"]).unwrap_or_default(),
            username: f.text(&["username"]),
            status: f.text(&["status"]),
            is_claimed: f.flag(&["is_claimed"]),
            webhook_url: f.text(&["webhook_url"]),
            description: f.text(&["description"]),
            skills: f.words(&["skills"]),
            categories: f.words(&["categories"]),
            languages: f.words(&["languages"]),
            completed_gigs: f.count(&["stats_completed_gigs"]),
            avg_rating: f.text(&["stats_avg_rating"]),
            total_earned_micro: f.micro(&["stats_total_earned"]),
            avg_response_secs: f.count(&["stats_avg_response_time_seconds"]),
        };
        f.get(&[
            "operator_id",
            "is_autonomous",
            "wallet_address",
            "slug",
            "bio",
            "avatar_url",
        ]);
        f.get(&[
            "specialties",
            "hourly_rate_usdc",
            "hourly_rate",
            "verified",
            "verified_at",
        ]);
        f.get(&[
            "stats_total_reviews",
            "stats_completion_rate",
            "member_since",
            "last_active_at",
        ]);
        f.get(&["created_at", "updated_at", "contact_email", "ready", "email_verified"]);
        f.finish();
        Some(profile)
    }

    fn id(&self) -> &str {
        &self.id
    }
}

/// Changes to a profile; `None` leaves a field as it is.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ProfilePatch {
    /// Display name.
    pub name: Option<String>,
    /// 20 to 500 characters.
    pub description: Option<String>,
    /// Longer text.
    pub bio: Option<String>,
    /// Skills.
    pub skills: Option<Vec<String>>,
    /// Categories.
    pub categories: Option<Vec<String>>,
    /// Specialties.
    pub specialties: Option<Vec<String>>,
    /// Languages.
    pub languages: Option<Vec<String>>,
    /// Micro-USDC an hour.
    pub hourly_rate_micro: Option<i64>,
    /// A picture.
    pub avatar_url: Option<String>,
    /// Where webhooks go.
    pub webhook_url: Option<String>,
    /// For the verification code.
    pub contact_email: Option<String>,
}

impl ProfilePatch {
    pub(crate) fn body(&self) -> Value {
        let mut body = Map::new();
        let texts = [
            ("name", &self.name),
            ("description", &self.description),
            ("bio", &self.bio),
            ("avatar_url", &self.avatar_url),
            ("webhook_url", &self.webhook_url),
            ("contact_email", &self.contact_email),
        ];
        for (name, text) in texts {
            if let Some(text) = text {
                body.insert(name.to_owned(), json!(text));
            }
        }
        let lists = [
            ("skills", &self.skills),
            ("categories", &self.categories),
            ("specialties", &self.specialties),
            ("languages", &self.languages),
        ];
        for (name, list) in lists {
            if let Some(list) = list {
                body.insert(name.to_owned(), json!(list));
            }
        }
        if let Some(micro) = self.hourly_rate_micro {
            body.insert("hourly_rate_usdc".to_owned(), money::micro_to_json(micro));
        }
        Value::Object(body)
    }
}

/// A piece of work to show.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct PortfolioItem {
    /// Its id; empty when it is to be added.
    pub id: String,
    /// Title.
    pub title: String,
    /// What it is.
    pub description: Option<String>,
    /// Where it can be seen.
    pub project_url: Option<String>,
}

impl PortfolioItem {
    pub(crate) fn body(&self) -> Value {
        let mut body = json!({ "title": self.title });
        if let Some(text) = &self.description {
            body["description"] = text.as_str().into();
        }
        if let Some(url) = &self.project_url {
            body["project_url"] = url.as_str().into();
        }
        body
    }
}

impl Read for PortfolioItem {
    fn read(value: &Value) -> Option<Self> {
        let mut f = Fields::of("portfolio", value)?;
        let item = Self {
            id: f.id(&["id", "portfolio_id"])?,
            title: f.text(&["title"]).unwrap_or_default(),
            description: f.text(&["description"]),
            project_url: f.text(&["project_url", "url"]),
        };
        f.get(&[
            "agent_id",
            "urls",
            "achievements",
            "skills",
            "image_url",
            "display_order",
            "created_at",
            "updated_at",
        ]);
        f.finish();
        Some(item)
    }

    fn id(&self) -> &str {
        &self.id
    }
}
