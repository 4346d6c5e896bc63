//! The agent file: everything an operator says about one agent. Unknown keys are refused.

use std::{collections::BTreeMap, time::Duration};

use serde::{Deserialize, Serialize};

use crate::money::MicroUsdc;

mod adapters;
mod bids;
mod check;
pub mod credential;
mod profile;
mod review;
mod text;

pub use adapters::{Adapter, Http, Prompt, endpoint};
pub use bids::{Bidding, Mode, Write};
pub use credential::Credential;
pub use profile::{Work, is_address};
pub use review::{OnReject, Review};

use text::{duration, optional_usdc, permille, size, usdc};

/// What one bid may cost in model calls when the file does not say.
const FOR_A_BID: MicroUsdc = MicroUsdc(20_000);

/// Why an agent file cannot be used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// Not TOML, an unknown key, or a value of the wrong type. The text says where.
    #[error("the agent file cannot be read: {0}")]
    Syntax(String),
    /// Values that cannot work. All of them are listed.
    #[error("the agent file cannot be used: {}", .0.join("; "))]
    Values(Vec<String>),
}

/// The whole file.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct AgentFile {
    /// Slug: the agent's door is `/hooks/{name}`.
    pub name: String,
    /// How it is started.
    pub run: Run,
    /// With the adapter `prompt`: the template and the model.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub prompt: Option<Prompt>,
    /// With the adapter `http`: where its jobs go.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub http: Option<Http>,
    /// Plain environment values; refused if they look like a secret.
    #[serde(default)]
    pub env: BTreeMap<String, String>,
    /// What one run may use.
    #[serde(default)]
    pub limits: Limits,
    /// Where it may connect, besides its gateway.
    #[serde(default)]
    pub network: Network,
    /// What registration and readiness need.
    #[serde(default)]
    pub profile: Profile,
    /// Which gigs it bids on.
    #[serde(default)]
    pub bidding: Bidding,
    /// What model calls may cost.
    #[serde(default)]
    pub budget: Budget,
    /// Which models it may use.
    #[serde(default)]
    pub models: Models,
    /// What is asked before a delivery goes out.
    #[serde(default)]
    pub delivery: Delivery,
    /// What happens with clients' messages.
    #[serde(default)]
    pub messages: Messages,
}

/// How the agent is started.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Run {
    /// What an attempt is: a program of the bundle, a prompt, or a call of an endpoint.
    #[serde(default)]
    pub adapter: Adapter,
    /// Program and arguments, found in the bundle or on the system's path; with the adapter `command` only.
    #[serde(default)]
    pub command: Vec<String>,
    /// Run once per version, in the bundle.
    #[serde(default)]
    pub setup: Vec<String>,
    /// A virtual environment in the bundle, e.g. ".venv".
    #[serde(default)]
    pub venv: String,
    /// Wall clock of one attempt.
    #[serde(default = "half_an_hour", with = "duration")]
    pub timeout: Duration,
    /// Silence after which an attempt is ended, by default at most `timeout`: events, output and open gateway calls count as activity.
    #[serde(default = "quarter_of_an_hour", with = "duration")]
    pub idle: Duration,
}

/// What one run may use.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Limits {
    /// Bytes of memory.
    #[serde(with = "size")]
    pub memory: u64,
    /// Processes and threads.
    pub pids: u32,
    /// Bytes in the workspace.
    #[serde(with = "size")]
    pub disk: u64,
    /// Slots of an executor one run takes, 1 to 64: more for heavy work.
    pub slots: u32,
    /// Its runs at once, over all executors; absent: as many as there are slots.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub runs: Option<u32>,
}

/// Where it may connect.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Network {
    /// "host:port"; empty means its gateway only.
    pub allow: Vec<String>,
    /// Hosts it calls through its gateway, where a sealed secret of its own is added.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub credential: Vec<Credential>,
}

/// What registration and readiness need.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Profile {
    /// Public name, 2 to 50 characters.
    pub name: String,
    /// Unique handle; empty means the agent's name.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub username: String,
    /// Public description, 20 to 500 characters.
    pub description: String,
    /// Longer text, at most 5,000 characters; nothing wants it, clients may read it.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub bio: String,
    /// What it does best; nothing wants them.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub specialties: Vec<String>,
    /// Picture.
    pub avatar_url: String,
    /// Languages it works in.
    pub languages: Vec<String>,
    /// Verified by a code.
    pub contact_email: String,
    /// Shown rate.
    #[serde(with = "optional_usdc")]
    pub hourly_rate_usdc: Option<MicroUsdc>,
    /// Titles (and links: `"title https://…"`) of past work; the marketplace wants at least one.
    pub portfolio: Vec<String>,
}

/// What model calls may cost.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Budget {
    /// Share of the net price of a contract, thousandths; written as a fraction.
    #[serde(with = "permille")]
    pub share_of_net: u32,
    /// Per agent and day (UTC), US dollars; absent: 5.0 in live mode, no limit with `--simulated`.
    #[serde(with = "optional_usdc", skip_serializing_if = "Option::is_none")]
    pub per_day_usd: Option<MicroUsdc>,
    /// For one bid the agent writes itself, all attempts together, US dollars.
    // What is as usual is left out, so that executors of the release before can read the file.
    #[serde(with = "usdc", skip_serializing_if = "is_usual_for_a_bid")]
    pub per_proposal_usd: MicroUsdc,
}

/// Which models it may use.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Models {
    /// Used when a call names none.
    pub default: String,
    /// Others it may name.
    pub allow: Vec<String>,
}

/// What is asked before a delivery goes out.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Delivery {
    /// Contracts above this wait for a human; absent: 0 (always) in live mode, never with `--simulated`.
    #[serde(with = "optional_usdc", skip_serializing_if = "Option::is_none")]
    pub approve_above_usdc: Option<MicroUsdc>,
    /// Command lines run in out/ before delivery, by a shell; all must end with 0.
    pub checks: Vec<String>,
    /// A model that looks the delivery over after that.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub review: Option<Review>,
}

/// What happens with a client's message.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Reply {
    /// Kept for a human.
    Off,
    /// Acknowledged, at most once per quarter of an hour and thread.
    #[default]
    Ack,
    /// The agent is asked for an answer.
    Agent,
}

/// What happens with clients' messages.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Messages {
    /// off, ack or agent.
    pub reply: Reply,
}

impl AgentFile {
    /// Reads and checks an agent file.
    ///
    /// # Errors
    /// [`Error`] naming every key that is unknown or cannot work.
    pub fn parse(text: &str) -> Result<Self, Error> {
        let mut file: Self = toml::from_str(text).map_err(|error| Error::Syntax(error.to_string()))?;
        if !names_idle(text) {
            file.run.idle = file.run.idle.min(file.run.timeout);
        }
        check::problems(&file).map_or(Ok(file), |problems| Err(Error::Values(problems)))
    }

    /// The same file with the limits of simulated or live operation written in where it leaves them open.
    #[must_use]
    pub fn with_defaults(mut self, simulated: bool) -> Self {
        let bidding = &mut self.bidding;
        bidding
            .mode
            .get_or_insert(if simulated { Mode::Auto } else { Mode::Shadow });
        if !simulated {
            bidding.max_bids_per_day.get_or_insert(10);
            bidding.max_open_contracts.get_or_insert(2);
            self.budget.per_day_usd.get_or_insert(MicroUsdc(5_000_000));
            self.delivery.approve_above_usdc.get_or_insert(MicroUsdc::ZERO);
        }
        self
    }

    /// The models a run may name: the default and the allowed ones.
    #[must_use]
    pub fn allowed_models(&self) -> Vec<String> {
        std::iter::once(&self.models.default)
            .chain(&self.models.allow)
            .cloned()
            .collect()
    }
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            memory: 512 << 20,
            pids: 512,
            disk: 512 << 20,
            slots: 1,
            runs: None,
        }
    }
}

impl Default for Budget {
    fn default() -> Self {
        Self {
            share_of_net: 250,
            per_day_usd: None,
            per_proposal_usd: FOR_A_BID,
        }
    }
}

impl Default for Models {
    fn default() -> Self {
        Self {
            default: "gpt-4o-mini".to_owned(),
            allow: Vec::new(),
        }
    }
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde asks with a reference")]
fn is_usual_for_a_bid(amount: &MicroUsdc) -> bool {
    *amount == FOR_A_BID
}

/// Whether the file says how long an agent may be silent.
fn names_idle(text: &str) -> bool {
    let table: Option<toml::Table> = text.parse().ok();
    table.is_some_and(|table| table.get("run").and_then(|run| run.get("idle")).is_some())
}

fn half_an_hour() -> Duration {
    Duration::from_secs(30 * 60)
}

fn quarter_of_an_hour() -> Duration {
    Duration::from_secs(15 * 60)
}

#[cfg(test)]
mod tests;
