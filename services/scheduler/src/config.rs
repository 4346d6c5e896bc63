//! The scheduler's settings; `config.default.toml` says what each means.

use std::path::PathBuf;
use std::time::Duration;

use boot::{Admin, Checks, Common, Log, Runtime, Secret, Shutdown, Telemetry};
use serde::{Deserialize, Serialize};

mod check;
mod maintenance;

pub use maintenance::{Maintenance, Window};

/// Everything that can be set.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Config {
    /// The admin port.
    pub admin: Admin,
    /// Standard output.
    #[serde(default)]
    pub log: Log,
    /// Traces.
    #[serde(default)]
    pub telemetry: Telemetry,
    /// The stop.
    #[serde(default)]
    pub shutdown: Shutdown,
    /// Threads.
    #[serde(default)]
    pub runtime: Runtime,
    /// Postgres.
    pub database: Database,
    /// Redis.
    pub redis: Redis,
    /// The interface of executors and operators.
    pub grpc: Grpc,
    /// The books.
    pub billing: Billing,
    /// Keys that seal secrets at rest.
    pub keys: Keys,
    /// The marketplace.
    pub marketplace: Marketplace,
    /// Waiting while the marketplace fails.
    pub breaker: Breaker,
    /// Webhooks into steps.
    pub intake: Intake,
    /// Effects to the outside.
    pub courier: Courier,
    /// Runs and their leases.
    pub runs: Runs,
    /// Files.
    pub objects: Objects,
    /// Files clients send.
    pub attachments: Attachments,
    /// Reading what no webhook told.
    pub reconcile: Reconcile,
    /// The daily look at whether the marketplace still speaks as it did.
    pub canary: Canary,
    /// Hours in which nothing new begins.
    #[serde(default)]
    pub maintenance: Maintenance,
    /// How long what is kept.
    pub retention: Retention,
}

/// `[database]`
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Database {
    /// `postgres://scheduler:…`.
    pub url: Secret,
    /// Connections at most.
    pub max_connections: u32,
    /// The URL leads to a pooler in transaction mode.
    pub through_pooler: bool,
    /// How long the start waits for Postgres and its schema.
    #[serde(with = "humantime_serde")]
    pub connect_deadline: Duration,
}

/// `[redis]`
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Redis {
    /// `redis://…` or `rediss://…`; may hold a password.
    pub url: Secret,
    /// First part of every key.
    pub prefix: String,
}

/// `[grpc]`
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Grpc {
    /// Address to listen on.
    pub listen: String,
    /// Token of executors.
    pub executor_token: Secret,
    /// Token of operators.
    pub operator_token: Secret,
    /// Token of those who only look.
    pub viewer_token: Secret,
    /// How long a connection may live.
    #[serde(with = "humantime_serde")]
    pub max_connection_age: Duration,
}

/// `[billing]`
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Billing {
    /// Comma-separated `http://host:port`.
    pub url: String,
    /// Token with the role scheduler.
    pub token: Secret,
    /// How long one call may take.
    #[serde(with = "humantime_serde")]
    pub deadline: Duration,
}

/// `[keys]`
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Keys {
    /// Seals webhook secrets; ingress has the same.
    pub webhook: Secret,
    /// Seals marketplace keys.
    pub marketplace: Secret,
}

/// `[marketplace]`
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Marketplace {
    /// Base address of its API.
    pub base_url: url::Url,
    /// Real money.
    pub live: bool,
    /// How long one call may take.
    #[serde(with = "humantime_serde")]
    pub request_timeout: Duration,
    /// How long a lost call may still take effect.
    #[serde(with = "humantime_serde")]
    pub settle: Duration,
    /// Requests in any 60 s and key.
    pub rate_limit_per_minute: u32,
    /// What the marketplace keeps, thousandths.
    pub fee_permille: u32,
}

/// `[breaker]`
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Breaker {
    /// Failures in a row after which calls wait.
    pub failures: u32,
    /// Thousandths of the calls of the last minute that may fail.
    pub share_permille: u32,
    /// The first wait.
    #[serde(with = "humantime_serde")]
    pub first_pause: Duration,
    /// The longest.
    #[serde(with = "humantime_serde")]
    pub longest_pause: Duration,
}

/// `[intake]`
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Intake {
    /// Rows worked on at once.
    pub workers: usize,
    /// Failures before a row is a dead letter.
    pub max_attempts: u32,
    /// Pause after the first failure.
    #[serde(with = "humantime_serde")]
    pub first_pause: Duration,
    /// Longest pause.
    #[serde(with = "humantime_serde")]
    pub longest_pause: Duration,
}

/// `[courier]`
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Courier {
    /// Effects sent at once.
    pub concurrency: usize,
    /// How long one is held while it is sent.
    #[serde(with = "humantime_serde")]
    pub lease: Duration,
    /// Attempts before an effect is a dead letter.
    pub max_attempts: u32,
    /// How long an effect waits for somebody who is away, or for a read that tells what became of it.
    #[serde(with = "humantime_serde")]
    pub patience: Duration,
    /// Pause after the first failure.
    #[serde(with = "humantime_serde")]
    pub first_pause: Duration,
    /// Longest pause.
    #[serde(with = "humantime_serde")]
    pub longest_pause: Duration,
}

/// `[runs]`
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Runs {
    /// How long an executor holds a run without a sign of life.
    #[serde(with = "humantime_serde")]
    pub lease: Duration,
    /// How often executors renew.
    #[serde(with = "humantime_serde")]
    pub heartbeat: Duration,
    /// Pause after the first failed attempt.
    #[serde(with = "humantime_serde")]
    pub first_pause: Duration,
    /// Longest pause.
    #[serde(with = "humantime_serde")]
    pub longest_pause: Duration,
    /// Runs leased to one session at once.
    pub max_per_session: u32,
    /// Events kept per run.
    pub max_events: u32,
    /// How often ended leases and waits are looked for.
    #[serde(with = "humantime_serde")]
    pub sweep: Duration,
    /// Parked runs in a row after which an agent's bids are only shadowed; 0 for never.
    pub pause_bidding_after: u32,
    /// Runs at once for one client; 0 for any number.
    pub per_client: u32,
    /// Runs at once for contracts below a value.
    pub value_classes: Vec<ValueClass>,
}

/// One of `runs.value_classes`
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ValueClass {
    /// Contracts worth less, whole USDC.
    pub below_usdc: u32,
    /// Runs of them at once.
    pub at_most: u32,
}

/// `[objects]`
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Objects {
    /// Folder for bundles, inputs and artefacts.
    pub dir: PathBuf,
    /// The largest bundle, bytes.
    pub bundle_bytes: u64,
    /// The largest artefact, bytes.
    pub artefact_bytes: u64,
    /// Files of one delivery.
    pub delivery_files: usize,
}

/// `[attachments]`
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Attachments {
    /// The largest file, bytes.
    pub file_bytes: u64,
    /// Files of one contract.
    pub files: usize,
    /// Bytes of all files of one contract.
    pub contract_bytes: u64,
    /// How long one try may take.
    #[serde(with = "humantime_serde")]
    pub timeout: Duration,
    /// Tries before a file is given up.
    pub tries: u64,
    /// How long a run waits for what came with a message.
    #[serde(with = "humantime_serde")]
    pub patience: Duration,
    /// How long a run waits to be told whether anything came with a message.
    #[serde(with = "humantime_serde")]
    pub unread: Duration,
}

/// `[reconcile]`
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Reconcile {
    /// Contracts list, while a contract is open.
    #[serde(with = "humantime_serde")]
    pub contracts_every: Duration,
    /// Contracts list, while none is.
    #[serde(with = "humantime_serde")]
    pub contracts_idle_every: Duration,
    /// Proposals list.
    #[serde(with = "humantime_serde")]
    pub proposals_every: Duration,
    /// Open gigs, for those no webhook told of.
    #[serde(with = "humantime_serde")]
    pub gigs_every: Duration,
    /// The marketplace's own log of webhooks.
    #[serde(with = "humantime_serde")]
    pub deliveries_every: Duration,
    /// Everything but open contracts, while webhooks do not come.
    #[serde(with = "humantime_serde")]
    pub wakeful_every: Duration,
    /// There is no door: reads find everything.
    pub poll: bool,
    /// How long one walk through a list may take.
    #[serde(with = "humantime_serde")]
    pub deadline: Duration,
}

/// `[canary]`
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Canary {
    /// Between two looks; zero for none.
    #[serde(with = "humantime_serde")]
    pub every: Duration,
}

/// `[retention]`
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Retention {
    /// How often old rows are looked for.
    #[serde(with = "humantime_serde")]
    pub every: Duration,
    /// Processed webhooks and their deduplication keys.
    #[serde(with = "humantime_serde")]
    pub inbox: Duration,
    /// What runs said on their way.
    #[serde(with = "humantime_serde")]
    pub run_events: Duration,
    /// Records of starts, resolved notices.
    #[serde(with = "humantime_serde")]
    pub records: Duration,
    /// What was said and done about closed contracts, and what came to nothing.
    #[serde(with = "humantime_serde")]
    pub content: Duration,
    /// Rows removed by one statement.
    pub batch: u32,
}

impl boot::Settings for Config {
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
            .and(check::outside(self))
            .and(check::secrets(self))
            .and(check::marketplace(self))
            .and(check::paces(self))
            .and(self.maintenance.validate())
            .done()
    }
}

impl Runs {
    /// How many runs may be leased at once.
    #[must_use]
    pub fn caps(&self) -> store::runs::Caps {
        let count = |count: u32| i32::try_from(count).unwrap_or(i32::MAX);
        let micro = |class: &ValueClass| (i64::from(class.below_usdc) * 1_000_000, count(class.at_most));
        store::runs::Caps {
            per_client: count(self.per_client),
            classes: self.value_classes.iter().map(micro).collect(),
        }
    }

    /// How failed attempts are paced.
    #[must_use]
    pub fn policy(&self) -> domain::run::Policy {
        domain::run::Policy {
            max_attempts: crate::contracts::MAX_ATTEMPTS,
            first_pause: self.first_pause,
            longest_pause: self.longest_pause,
        }
    }
}

#[cfg(test)]
mod tests;
