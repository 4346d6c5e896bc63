//! The scheduler's settings; `config.default.toml` says what each means.

use std::path::PathBuf;
use std::time::Duration;

use boot::{Admin, Checks, Common, Log, Runtime, Secret, Shutdown, Telemetry};
use serde::{Deserialize, Serialize};

mod check;

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
    /// Webhooks into steps.
    pub intake: Intake,
    /// Effects to the outside.
    pub courier: Courier,
    /// Runs and their leases.
    pub runs: Runs,
    /// Files.
    pub objects: Objects,
    /// Reading what no webhook told.
    pub reconcile: Reconcile,
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
    /// How long one walk through a list may take.
    #[serde(with = "humantime_serde")]
    pub deadline: Duration,
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
            .done()
    }
}

impl Runs {
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
mod tests {
    use std::collections::BTreeMap;

    use super::*;

    fn load(env: &[(&str, &str)]) -> Result<Config, boot::ConfigError> {
        let keys = ["w".repeat(32), "m".repeat(32)];
        let needed = [
            ("DATABASE__URL", "postgres://scheduler@localhost/steward"),
            ("REDIS__URL", "redis://localhost"),
            ("GRPC__EXECUTOR_TOKEN", "executor-canary-token"),
            ("GRPC__OPERATOR_TOKEN", "operator-canary-token"),
            ("GRPC__VIEWER_TOKEN", "viewer-canary-token"),
            ("BILLING__TOKEN", "billing-canary-token"),
            ("KEYS__WEBHOOK", &keys[0]),
            ("KEYS__MARKETPLACE", &keys[1]),
        ];
        let all = needed.iter().chain(env);
        let env: BTreeMap<String, String> = all
            .map(|(name, value)| (format!("STEWARD__{name}"), (*value).to_owned()))
            .collect();
        boot::load(crate::DEFAULTS, None, &env)
    }

    fn refused(env: &[(&str, &str)]) -> String {
        load(env).unwrap_err().to_string()
    }

    #[test]
    fn the_defaults_are_live_and_print_no_secret() {
        let config = load(&[]).unwrap();
        assert!(config.marketplace.live);
        let shown = format!("{config:?}{}", boot::redacted(&config).unwrap());
        assert!(!shown.contains("canary") && !shown.contains("wwww"), "{shown}");
    }

    #[test]
    fn a_missing_or_empty_secret_is_named() {
        let missing = boot::load::<Config>(crate::DEFAULTS, None, &BTreeMap::new()).unwrap_err();
        assert!(missing.to_string().contains("STEWARD__"), "{missing}");
        for name in [
            "DATABASE__URL",
            "GRPC__OPERATOR_TOKEN",
            "BILLING__TOKEN",
            "KEYS__MARKETPLACE",
        ] {
            let error = refused(&[(name, "")]);
            let key = name.to_lowercase().replace("__", ".");
            assert!(error.contains(&key), "{key}: {error}");
        }
    }

    #[test]
    fn a_settle_time_or_lease_shorter_than_a_call_is_refused() {
        let error = refused(&[("MARKETPLACE__SETTLE", "30s"), ("COURIER__LEASE", "31s")]);
        assert!(
            error.contains("marketplace.settle") && error.contains("courier.lease"),
            "{error}"
        );
    }

    #[test]
    fn live_mode_refuses_plain_http_and_a_higher_limit() {
        let loose = [
            ("MARKETPLACE__BASE_URL", "http://127.0.0.1:9/api/v1"),
            ("MARKETPLACE__RATE_LIMIT_PER_MINUTE", "6000"),
        ];
        let error = refused(&loose);
        assert!(
            error.contains("base_url") && error.contains("rate_limit_per_minute"),
            "{error}"
        );
        let simulated = [loose[0], loose[1], ("MARKETPLACE__LIVE", "false")];
        assert!(load(&simulated).is_ok());
    }

    #[test]
    fn short_or_repeated_secrets_are_refused_by_name() {
        let error = refused(&[
            ("KEYS__WEBHOOK", "short"),
            ("GRPC__VIEWER_TOKEN", "operator-canary-token"),
        ]);
        assert!(
            error.contains("keys.webhook") && error.contains("are the same"),
            "{error}"
        );
        assert!(!error.contains("canary"), "{error}");
    }

    #[test]
    fn a_lease_must_outlast_three_heartbeats() {
        assert!(refused(&[("RUNS__LEASE", "10s")]).contains("runs.lease"));
    }
}
