//! The executor's settings; `config.default.toml` says what each means.

mod network;

use std::path::PathBuf;
use std::time::Duration;

use boot::{Admin, Checks, Common, Log, Runtime, Secret, Shutdown, Telemetry};
use serde::{Deserialize, Serialize};

use crate::sandbox::{Level, Where};
pub use network::{Network, Reach, SetupNetwork};

/// Between the end of `work.drain` and the hard stop there must be time to kill, to upload nothing more, and to tell.
const HAND_BACK: Duration = Duration::from_secs(3);

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
    /// Where work comes from.
    pub scheduler: Scheduler,
    /// Where model calls go.
    pub billing: Billing,
    /// Agents that run elsewhere.
    pub endpoints: Endpoints,
    /// How much is run, where and how long.
    pub work: Work,
    /// What keeps agents apart.
    pub isolation: Isolation,
    /// The way to hosts agent files allow.
    pub network: Network,
    /// How much one run may produce.
    pub caps: Caps,
}

/// `[scheduler]`
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Scheduler {
    /// Comma-separated `http://host:port`.
    pub url: String,
    /// Bearer token with the role executor.
    pub token: Secret,
    /// The longest one call may take.
    #[serde(with = "humantime_serde")]
    pub deadline: Duration,
}

/// `[billing]`
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Billing {
    /// Base address of the model gateway.
    pub gateway_url: url::Url,
    /// The longest silence of a model.
    #[serde(with = "humantime_serde")]
    pub read_timeout: Duration,
    /// The largest request body in bytes.
    pub max_request_bytes: u64,
    /// Open connections per run.
    pub max_connections: usize,
}

/// `[endpoints]`
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Endpoints {
    /// Whether they may lie on this machine or in private networks, without TLS.
    pub private: bool,
    /// The model gateway as they reach it; empty: they get none.
    pub gateway_url: String,
    /// `ADDRESS:PORT` where answers that come later are taken; empty: none are.
    pub listen: String,
    /// How they reach that.
    pub public_url: String,
}

/// `[work]`
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Work {
    /// Runs at once.
    pub slots: u32,
    /// The work root.
    pub dir: PathBuf,
    /// Longest pause between two renewals.
    #[serde(with = "humantime_serde")]
    pub heartbeat: Duration,
    /// Time kept back from each lease for stopping.
    #[serde(with = "humantime_serde")]
    pub lease_margin: Duration,
    /// Between SIGTERM and SIGKILL.
    #[serde(with = "humantime_serde")]
    pub kill_grace: Duration,
    /// How long runs may go on after a stop was asked for.
    #[serde(with = "humantime_serde")]
    pub drain: Duration,
    /// Whether workspaces of failed runs stay until the next start.
    pub keep_failed: bool,
    /// Whether every workspace stays.
    pub keep_all: bool,
    /// With less room on its disk no run is taken, bytes.
    pub min_free_bytes: u64,
    /// Unpacked bundles kept.
    pub bundles_kept: usize,
    /// The longest `setup`.
    #[serde(with = "humantime_serde")]
    pub setup_timeout: Duration,
    /// The longest check of a delivery.
    #[serde(with = "humantime_serde")]
    pub check_timeout: Duration,
}

/// `[isolation]`
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Isolation {
    /// The weakest level accepted.
    pub minimum: Level,
    /// The strongest level used.
    pub maximum: Level,
    /// Where control groups are made.
    pub cgroups: Where,
    /// First user id of agents.
    pub agent_uid_base: u32,
    /// Folders agents may read besides the system's.
    pub readable: Vec<PathBuf>,
    /// PATH of agents.
    pub path: String,
}

/// `[caps]`
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Caps {
    /// Standard output and error together, bytes.
    pub output_bytes: u64,
    /// The event pipe, bytes.
    pub event_bytes: u64,
    /// Events kept.
    pub events: u64,
    /// Text of all client messages, bytes.
    pub message_bytes: u64,
    /// Files of one result.
    pub files: usize,
    /// Bytes of all files of one result.
    pub files_bytes: u64,
    /// A bundle, bytes.
    pub bundle_bytes: u64,
    /// All inputs of one run, bytes.
    pub input_bytes: u64,
    /// What `setup` of a bundle may put on disk, bytes.
    pub setup_bytes: u64,
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
        let work = &self.work;
        let stop = work.drain + work.kill_grace + HAND_BACK;
        Checks::new()
            .and(self.addresses())
            .require(
                (1..=1000).contains(&work.slots),
                "work.slots must lie between 1 and 1000",
            )
            .require(
                work.dir.is_absolute(),
                "work.dir must be an absolute path: agents start in folders below it",
            )
            .require(
                work.heartbeat >= Duration::from_millis(100) && work.heartbeat <= Duration::from_secs(60),
                "work.heartbeat must lie between 100ms and 60s",
            )
            .require(
                work.lease_margin >= Duration::from_secs(1),
                "work.lease_margin must be at least 1s: stopping a run takes up to that",
            )
            .require(
                stop <= self.shutdown.grace,
                format!(
                    "shutdown.grace must be at least work.drain + work.kill_grace + {}s, so that runs are handed back \
                     before the process is stopped",
                    HAND_BACK.as_secs()
                ),
            )
            .require(
                !work.setup_timeout.is_zero() && !work.check_timeout.is_zero() && work.bundles_kept > 0,
                "work.setup_timeout, work.check_timeout and work.bundles_kept must be more than nothing",
            )
            .require(
                self.isolation.agent_uid_base >= 1000,
                "isolation.agent_uid_base must be 1000 or more: lower ids belong to the system",
            )
            .require(
                self.isolation.minimum <= self.isolation.maximum,
                "isolation.minimum must not be more than isolation.maximum",
            )
            .require(
                self.isolation.readable.iter().all(|path| path.is_absolute()),
                "isolation.readable must hold absolute paths",
            )
            .require(
                self.network.connections > 0 && self.network.bytes > 0 && self.network.idle >= Duration::from_secs(1),
                "network.connections and network.bytes must be more than nothing, network.idle at least 1s",
            )
            .and(self.caps.validate())
            .done()
    }
}

impl Config {
    fn addresses(&self) -> Result<(), Vec<String>> {
        let scheme = self.billing.gateway_url.scheme();
        Checks::new()
            .require(
                rpc::channel::check(&self.scheduler.url).is_ok(),
                "scheduler.url must be http://host:port, several separated by commas",
            )
            .require(
                self.scheduler.deadline >= Duration::from_secs(1),
                "scheduler.deadline must be at least 1s",
            )
            .require(
                matches!(scheme, "http" | "https") && self.billing.gateway_url.has_host(),
                "billing.gateway_url must be http://host:port or https://host",
            )
            .require(
                self.endpoints.gateway().is_ok(),
                "endpoints.gateway_url must be https://host, or http://host:port",
            )
            .and(self.endpoints.check_callbacks().map_err(|wrong| vec![wrong]))
            .require(
                self.billing.max_connections > 0 && self.billing.max_request_bytes > 0,
                "billing.max_connections and billing.max_request_bytes must be more than nothing",
            )
            .done()
    }
}

impl Endpoints {
    /// The model gateway as they reach it.
    ///
    /// # Errors
    /// It is no address.
    pub fn gateway(&self) -> Result<Option<url::Url>, url::ParseError> {
        match self.gateway_url.as_str() {
            "" => Ok(None),
            text => text.parse().map(Some),
        }
    }
}

impl Caps {
    fn validate(&self) -> Result<(), Vec<String>> {
        let all = [
            self.output_bytes,
            self.event_bytes,
            self.events,
            self.message_bytes,
            self.files as u64,
            self.files_bytes,
            self.bundle_bytes,
            self.input_bytes,
            self.setup_bytes,
        ];
        Checks::new()
            .require(
                all.iter().all(|cap| *cap > 0),
                "every cap in [caps] must be more than nothing",
            )
            .require(
                self.message_bytes <= 1024 * 1024,
                "caps.message_bytes must be at most 1 MiB: messages travel with the completion once more",
            )
            .done()
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;

    const DEFAULTS: &str = include_str!("../config.default.toml");

    fn load(env: &[(&str, &str)]) -> Result<Config, boot::ConfigError> {
        let env: BTreeMap<String, String> = env
            .iter()
            .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()))
            .collect();
        boot::load(DEFAULTS, None, &env)
    }

    #[test]
    fn the_defaults_need_only_a_token() {
        let config = load(&[("STEWARD__SCHEDULER__TOKEN", "t")]).unwrap();
        assert_eq!(config.isolation.minimum, Level::Landlock);
        let missing = load(&[]).unwrap_err().to_string();
        assert!(missing.contains("scheduler.token"), "{missing}");
    }

    #[test]
    fn a_token_is_never_printed() {
        let config = load(&[("STEWARD__SCHEDULER__TOKEN", "canary-1234")]).unwrap();
        assert!(!format!("{config:?}").contains("canary"));
        assert!(!boot::redacted(&config).unwrap().contains("canary"));
    }

    #[test]
    fn a_stop_that_leaves_no_time_to_hand_back_is_refused_by_name() {
        let error = load(&[
            ("STEWARD__SCHEDULER__TOKEN", "t"),
            ("STEWARD__WORK__DRAIN", "40s"),
            ("STEWARD__WORK__SLOTS", "0"),
        ])
        .unwrap_err()
        .to_string();
        assert!(error.contains("shutdown.grace"), "{error}");
        assert!(error.contains("work.slots"), "all problems are told at once: {error}");
    }

    #[test]
    fn unknown_keys_are_refused() {
        let error = load(&[("STEWARD__SCHEDULER__TOKEN", "t"), ("STEWARD__WORK__SLOT", "1")]).unwrap_err();
        assert!(error.to_string().contains("slots"), "{error}");
    }
}
