//! `[ext]` and `[secrets]`: calls of other hosts with agents' own keys.

use std::time::Duration;

use boot::{Checks, Secret};
use outbound::Url;
use serde::{Deserialize, Serialize};

/// `[secrets]`: agents' own.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Secrets {
    /// Seals them; without it there are none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub key: Option<Secret>,
}

/// `[ext]`: calls of hosts agent files name.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Ext {
    /// The largest request.
    pub max_body_bytes: usize,
    /// The largest answer.
    pub max_answer_bytes: usize,
    /// Calls at once.
    pub max_calls: usize,
    /// Calls at once of one run.
    pub max_calls_per_run: usize,
    /// How long connecting may take.
    #[serde(with = "humantime_serde")]
    pub connect_timeout: Duration,
    /// How long a host may stay silent.
    #[serde(with = "humantime_serde")]
    pub idle_timeout: Duration,
    /// How long a whole call may take.
    #[serde(with = "humantime_serde")]
    pub total_timeout: Duration,
    /// Hosts that are called elsewhere.
    #[serde(default)]
    pub instead: Vec<Instead>,
}

/// A host that is called at another address, which may be a private one.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Instead {
    /// As agent files name it.
    pub host: String,
    /// Where it is called; plain http is allowed.
    pub url: Url,
}

impl Ext {
    pub(super) fn validate(&self) -> Result<(), Vec<String>> {
        const MIB: usize = 1024 * 1024;
        let usable = |instead: &Instead| {
            matches!(instead.url.scheme(), "http" | "https") && instead.url.has_host() && instead.url.query().is_none()
        };
        Checks::new()
            .require(
                (1..=256 * MIB).contains(&self.max_body_bytes) && (1..=1024 * MIB).contains(&self.max_answer_bytes),
                "ext.max_body_bytes must be from 1 to 256 MiB and ext.max_answer_bytes from 1 to 1 GiB",
            )
            .require(
                (1..=100_000).contains(&self.max_calls) && (1..=self.max_calls).contains(&self.max_calls_per_run),
                "ext.max_calls must be from 1 to 100000 and ext.max_calls_per_run from 1 to ext.max_calls",
            )
            .require(
                !self.connect_timeout.is_zero()
                    && self.connect_timeout < self.total_timeout
                    && !self.idle_timeout.is_zero()
                    && self.idle_timeout <= self.total_timeout,
                "ext.connect_timeout and ext.idle_timeout must be longer than nothing and no longer than \
                 ext.total_timeout",
            )
            .require(
                self.instead.iter().all(usable),
                "ext.instead must name addresses that begin with http:// or https://, without a query",
            )
            .done()
    }
}
