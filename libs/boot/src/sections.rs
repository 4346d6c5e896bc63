//! The sections every service's configuration has.

use std::time::Duration;

use serde::{Deserialize, Serialize};
use telemetry::Format;

use crate::checks::Checks;

/// `[admin]`: the port of `/live`, `/ready`, `/metrics`, `/build` and `/log-filter`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Admin {
    /// Address to listen on, such as `[::]:9464`; not for the public.
    pub listen: String,
}

/// `[log]`: what is written to standard output.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Log {
    /// Directives such as `info,sqlx=warn`; `PUT /log-filter` changes it while running.
    pub filter: String,
    /// `json` for machines, `text` for a person.
    pub format: Format,
}

/// `[telemetry]`: traces; metrics are always on.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Telemetry {
    /// Base address of an OTLP/HTTP collector, such as `http://collector:4318`; empty switches traces off.
    pub otlp_endpoint: String,
    /// Share of new traces that is kept, 0 to 1.
    pub sample_ratio: f64,
}

/// `[shutdown]`: how long a stop may take.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Shutdown {
    /// Time between the first signal and the hard stop; keep it below the platform's kill timeout.
    #[serde(with = "humantime_serde")]
    pub grace: Duration,
    /// What the platform gives between its first signal and its kill; nothing when that is not said. A grace that is not
    /// shorter is refused.
    #[serde(with = "humantime_serde")]
    pub kill_after: Duration,
}

/// `[runtime]`: threads.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Runtime {
    /// Worker threads; 0 means one per core, two at least.
    pub worker_threads: usize,
}

/// The sections a configuration shows to `boot`.
#[derive(Debug, Clone, Copy)]
pub struct Common<'a> {
    /// `[admin]`
    pub admin: &'a Admin,
    /// `[log]`
    pub log: &'a Log,
    /// `[telemetry]`
    pub telemetry: &'a Telemetry,
    /// `[shutdown]`
    pub shutdown: &'a Shutdown,
    /// `[runtime]`
    pub runtime: &'a Runtime,
}

impl Default for Log {
    fn default() -> Self {
        Self {
            filter: "info".to_owned(),
            format: Format::Json,
        }
    }
}

impl Default for Telemetry {
    fn default() -> Self {
        Self {
            otlp_endpoint: String::new(),
            sample_ratio: 1.0,
        }
    }
}

impl Default for Shutdown {
    fn default() -> Self {
        Self {
            grace: Duration::from_secs(25),
            kill_after: Duration::ZERO,
        }
    }
}

impl Runtime {
    /// The number of worker threads to start.
    pub(crate) fn threads(&self) -> usize {
        match self.worker_threads {
            0 => std::thread::available_parallelism().map_or(2, |cores| cores.get().max(2)),
            set => set,
        }
    }
}

impl Common<'_> {
    pub(crate) fn validate(&self) -> Result<(), Vec<String>> {
        let endpoint = self.telemetry.otlp_endpoint.as_str();
        let http = ["http://", "https://"]
            .iter()
            .any(|scheme| endpoint.starts_with(scheme));
        Checks::new()
            .require(
                crate::ports::looks_like_address(&self.admin.listen),
                format!(
                    "admin.listen is {:?}; write an address and a port, such as [::]:9464",
                    self.admin.listen
                ),
            )
            .and(telemetry::check_log_filter(&self.log.filter).map_err(|error| vec![format!("log.filter: {error}")]))
            .require(
                endpoint.is_empty() || http,
                "telemetry.otlp_endpoint must begin with http:// or https://, or be empty for no traces",
            )
            .require(
                (0.0..=1.0).contains(&self.telemetry.sample_ratio),
                "telemetry.sample_ratio must lie between 0 and 1",
            )
            .require(
                !self.shutdown.grace.is_zero() && self.shutdown.grace <= Duration::from_secs(24 * 3600),
                "shutdown.grace must be longer than nothing and at most 24h",
            )
            .require(
                self.shutdown.kill_after.is_zero() || self.shutdown.grace < self.shutdown.kill_after,
                format!(
                    "shutdown.grace ({}) must be shorter than shutdown.kill_after ({}): the platform would kill the process \
                     in the middle of its orderly end. Shorten the grace, or give the platform more time and say so",
                    humantime_serde::re::humantime::format_duration(self.shutdown.grace),
                    humantime_serde::re::humantime::format_duration(self.shutdown.kill_after)
                ),
            )
            .require(
                self.runtime.worker_threads <= 1024,
                "runtime.worker_threads must be at most 1024",
            )
            .done()
    }
}
