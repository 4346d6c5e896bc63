//! Billing's settings; `config.default.toml` explains each.

use std::time::Duration;

use boot::{Admin, Checks, Common, Log, Runtime, Secret, Settings, Shutdown, Telemetry};
use outbound::Url;

mod ext;

pub use ext::{Ext, Instead, Secrets};

use serde::{Deserialize, Serialize};

/// Everything that can be set.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Config {
    /// `[admin]`
    pub admin: Admin,
    /// `[log]`
    #[serde(default)]
    pub log: Log,
    /// `[telemetry]`
    #[serde(default)]
    pub telemetry: Telemetry,
    /// `[shutdown]`
    #[serde(default)]
    pub shutdown: Shutdown,
    /// `[runtime]`
    #[serde(default)]
    pub runtime: Runtime,
    /// `[database]`
    pub database: Database,
    /// `[grpc]`
    pub grpc: Grpc,
    /// `[gateway]`
    pub gateway: Gateway,
    /// `[ext]`
    pub ext: Ext,
    /// `[secrets]`
    #[serde(default)]
    pub secrets: Secrets,
    /// `[books]`
    pub books: Books,
    /// `[[upstreams]]`
    #[serde(default)]
    pub upstreams: Vec<Upstream>,
}

/// `[database]`: where the books are.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Database {
    /// `postgres://billing:PASSWORD@host:port/database`.
    pub url: Secret,
    /// Connections at most.
    pub max_connections: u32,
    /// How long to wait for a free connection.
    #[serde(with = "humantime_serde")]
    pub acquire_timeout: Duration,
    /// Bound on each statement.
    #[serde(with = "humantime_serde")]
    pub statement_timeout: Duration,
    /// The URL leads to a pooler in transaction mode.
    pub through_pooler: bool,
    /// How long to wait at start.
    #[serde(with = "humantime_serde")]
    pub connect_deadline: Duration,
}

/// `[grpc]`: the control side.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Grpc {
    /// Address to listen on.
    pub listen: String,
    /// Token of the scheduler.
    pub scheduler_token: Secret,
    /// Token of the operator.
    pub operator_token: Secret,
    /// Token of those who only read.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub viewer_token: Option<Secret>,
}

/// `[gateway]`: the agents' side.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Gateway {
    /// Address to listen on.
    pub listen: String,
    /// The largest request.
    pub max_body_bytes: usize,
    /// The largest answer that is not a stream.
    pub max_answer_bytes: usize,
    /// How long headers may take.
    #[serde(with = "humantime_serde")]
    pub header_timeout: Duration,
    /// How long a body may take.
    #[serde(with = "humantime_serde")]
    pub body_timeout: Duration,
    /// Calls at once.
    pub max_calls: usize,
    /// Calls at once of one run.
    pub max_calls_per_run: usize,
    /// How long connecting to a provider may take.
    #[serde(with = "humantime_serde")]
    pub connect_timeout: Duration,
    /// How long a provider may stay silent in a stream.
    #[serde(with = "humantime_serde")]
    pub idle_timeout: Duration,
    /// How long a whole call may take.
    #[serde(with = "humantime_serde")]
    pub total_timeout: Duration,
    /// How long an agent may leave a stream unread.
    #[serde(with = "humantime_serde")]
    pub client_stall: Duration,
    /// How long a call's hold lives without being renewed.
    #[serde(with = "humantime_serde")]
    pub hold_lease: Duration,
    /// How much longer than a call its hold is renewed.
    #[serde(with = "humantime_serde")]
    pub hold_margin: Duration,
    /// Tokens set aside for an answer without a limit.
    pub default_max_tokens: u64,
    /// Below this share of the budget, finishing is advised.
    pub finish_below_percent: u8,
    /// Names of `anthropic-beta` that are sent on; a `*` at the end stands for anything.
    pub anthropic_betas: Vec<String>,
}

/// `[books]`: what happens by itself.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Books {
    /// How often expired holds are charged and costs posted.
    #[serde(with = "humantime_serde")]
    pub sweep_every: Duration,
}

/// `[[upstreams]]`: a provider of models.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Upstream {
    /// Its name in prices, usage and accounts.
    pub name: String,
    /// What it speaks.
    #[serde(default)]
    pub api: Api,
    /// Address below which the paths of its protocol lie.
    pub base_url: Url,
    /// Our key there.
    pub api_key: Secret,
    /// Models it serves; a `*` at the end stands for anything.
    pub models: Vec<String>,
}

/// What a provider speaks.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Api {
    /// OpenAI's chat completions and responses, as many other providers do.
    #[default]
    OpenAi,
    /// Anthropic's messages.
    Anthropic,
}

impl Api {
    /// Its word in settings.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::OpenAi => "openai",
            Self::Anthropic => "anthropic",
        }
    }

    /// The gateway's paths that lead there.
    #[must_use]
    pub fn paths(self) -> &'static str {
        match self {
            Self::OpenAi => "POST /v1/chat/completions and POST /v1/responses",
            Self::Anthropic => "POST /v1/messages",
        }
    }
}

impl Settings for Config {
    fn common(&self) -> Common<'_> {
        Common {
            admin: &self.admin,
            log: &self.log,
            telemetry: &self.telemetry,
            shutdown: &self.shutdown,
            runtime: &self.runtime,
        }
    }

    fn validate(&self) -> Result<(), Vec<String>> {
        Checks::new()
            .require(
                (1..=1_000).contains(&self.database.max_connections),
                "database.max_connections must be from 1 to 1000",
            )
            .require(
                !self.books.sweep_every.is_zero() && self.books.sweep_every <= Duration::from_secs(300),
                "books.sweep_every must be longer than nothing and at most 5m",
            )
            .and(self.grpc.validate())
            .and(self.gateway.validate())
            .and(self.ext.validate())
            .and(validate_upstreams(&self.upstreams))
            .done()
    }
}

impl Grpc {
    fn validate(&self) -> Result<(), Vec<String>> {
        let viewer = self.viewer_token.as_ref().map(Secret::expose);
        let (scheduler, operator) = (self.scheduler_token.expose(), self.operator_token.expose());
        let distinct = scheduler != operator && viewer != Some(scheduler) && viewer != Some(operator);
        Checks::new()
            .require(
                distinct,
                "grpc.scheduler_token, grpc.operator_token and grpc.viewer_token must differ: a token says who calls",
            )
            .done()
    }
}

impl Gateway {
    fn validate(&self) -> Result<(), Vec<String>> {
        const MIB: usize = 1024 * 1024;
        Checks::new()
            .require(
                (1..=256 * MIB).contains(&self.max_body_bytes),
                "gateway.max_body_bytes must be from 1 to 256 MiB",
            )
            .require(
                (1..=1024 * MIB).contains(&self.max_answer_bytes),
                "gateway.max_answer_bytes must be from 1 to 1 GiB",
            )
            .require(
                (1..=100_000).contains(&self.max_calls) && (1..=self.max_calls).contains(&self.max_calls_per_run),
                "gateway.max_calls must be from 1 to 100000 and gateway.max_calls_per_run from 1 to gateway.max_calls",
            )
            .require(
                !self.connect_timeout.is_zero() && self.connect_timeout < self.total_timeout,
                "gateway.connect_timeout must be longer than nothing and shorter than gateway.total_timeout",
            )
            .require(
                !self.idle_timeout.is_zero() && self.idle_timeout <= self.total_timeout,
                "gateway.idle_timeout must be longer than nothing and at most gateway.total_timeout",
            )
            .require(
                self.hold_margin >= Duration::from_secs(5) && self.hold_margin >= self.client_stall,
                "gateway.hold_margin must be at least 5s and at least gateway.client_stall: \
                 a hold may not expire while its call is still being answered",
            )
            .require(
                (Duration::from_secs(5)..=Duration::from_secs(600)).contains(&self.hold_lease),
                "gateway.hold_lease must be from 5s to 10m: \
                 too short a one ends while its call is alive, too long a one keeps a settlement waiting",
            )
            .require(
                (1..=10_000_000).contains(&self.default_max_tokens),
                "gateway.default_max_tokens must be from 1 to 10000000",
            )
            .require(
                self.finish_below_percent <= 100,
                "gateway.finish_below_percent must be at most 100",
            )
            .require(
                !self.anthropic_betas.iter().any(|pattern| is_wrong(pattern)),
                "gateway.anthropic_betas must list names; a * may only stand at the end",
            )
            .done()
    }
}

/// No name, nor the beginning of one with a star after it.
fn is_wrong(pattern: &str) -> bool {
    pattern.is_empty() || pattern.trim_end_matches('*').contains('*')
}

fn validate_upstreams(upstreams: &[Upstream]) -> Result<(), Vec<String>> {
    let mut checks = Checks::new().require(
        !upstreams.is_empty(),
        "upstreams is empty: name at least one provider of models, else no agent can call any",
    );
    for (at, upstream) in upstreams.iter().enumerate() {
        let slug = |letter: char| letter.is_ascii_lowercase() || letter.is_ascii_digit() || "-_".contains(letter);
        let named = !upstream.name.is_empty() && upstream.name.len() <= 64 && upstream.name.chars().all(slug);
        // The name is whom the prices are for; a provider may have an address for each protocol it speaks.
        let same = |other: &Upstream| other.name == upstream.name && other.api == upstream.api;
        let twice = upstreams.iter().take(at).any(same);
        checks = checks
            .require(
                named,
                format!("upstreams.{at}.name must be a short name of a-z, 0-9, - and _"),
            )
            .require(
                !twice,
                format!("upstreams.{at}.name is used twice with the same api; give one provider all its models"),
            )
            .require(
                matches!(upstream.base_url.scheme(), "http" | "https") && upstream.base_url.has_host(),
                format!("upstreams.{at}.base_url must begin with http:// or https://"),
            )
            .require(
                !upstream.models.is_empty() && !upstream.models.iter().any(|pattern| is_wrong(pattern)),
                format!("upstreams.{at}.models must list models; a * may only stand at the end"),
            );
    }
    checks.done()
}
