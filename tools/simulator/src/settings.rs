//! What can be changed while the simulator runs, through `PUT /control/settings`.

use std::time::Duration;

use clap::ValueEnum;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use crate::{dialect::Dialect, options::Options, world::market::Market};

/// Calls a minute the platform publishes per key; other limits are given in proportion to it.
pub const PUBLISHED_KEY_LIMIT: u32 = 30;
/// Calls a minute the platform publishes per address on public lists.
pub const PUBLISHED_PUBLIC_LIMIT: u32 = 100;
/// Uploads a minute per key.
pub const PUBLISHED_UPLOAD_LIMIT: u32 = 10;
/// Minutes before the second, third, … attempt of a webhook; later ones repeat the last.
const RETRY_MINUTES: [u64; 4] = [1, 5, 30, 120];
/// No retry comes sooner than this, whatever the scale.
const SHORTEST_RETRY: Duration = Duration::from_millis(10);

/// How calls are counted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Window {
    /// A minute from the first call, then a new one.
    Fixed,
    /// Any sixty seconds.
    Sliding,
}

/// Which secret signs a retry after a rotation.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Signing {
    /// The secret in force when the attempt is sent.
    AtSend,
    /// The secret in force when the event happened.
    AtCreation,
}

/// What the market does by itself.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ValueEnum)]
#[serde(rename_all = "snake_case")]
pub enum Profile {
    /// Nothing: scripts, scenarios and `auto_play` do everything.
    #[default]
    Plain,
    /// Gigs, rivals, late payments, revisions, disputes and reviews as the public figures have them.
    Realistic,
}

/// The simulator's changeable settings.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Settings {
    /// How answers and webhooks are worded.
    pub dialect: Dialect,
    /// Calls a minute per API key.
    pub rate_limit_per_minute: u32,
    /// Calls a minute per address on `/gigs`; by default in proportion to the limit per key.
    pub public_limit_per_minute: Option<u32>,
    /// Uploads a minute per key; by default in proportion to the limit per key.
    pub upload_limit_per_minute: Option<u32>,
    /// Fixed or sliding minutes.
    pub rate_limit_window: Window,
    /// Factor on the waits between webhook attempts.
    pub webhook_retry_scale: f64,
    /// Attempts of one webhook, the first included.
    pub webhook_max_attempts: u32,
    /// How long an attempt may take.
    pub webhook_timeout_ms: u64,
    /// Which secret signs a retry.
    pub webhook_signing: Signing,
    /// Tell every active agent of a gig, not only those of its category.
    pub broadcast: bool,
    /// What the market does by itself.
    pub profile: Profile,
    /// Its figures.
    pub market: Market,
    /// How much faster than the clock played clients, the market and scenarios live.
    pub time_scale: f64,
    /// Post matching gigs on its own.
    pub auto_play: bool,
    /// Mean wait between two of them.
    pub auto_play_interval_ms: u64,
    /// The delay meant by `true` in a gig's `auto`.
    pub auto_delay_ms: u64,
    /// How long a model thinks.
    pub llm_latency_ms: u64,
    /// Wait between two pieces of a streamed answer.
    pub llm_chunk_delay_ms: u64,
    /// Share of a prompt counted as read from the provider's cache, in percent.
    pub llm_cached_percent: u64,
}

impl Settings {
    /// Settings a process starts with.
    ///
    /// # Errors
    /// A sentence naming the option that is out of range.
    pub fn from_options(options: &Options) -> Result<Self, String> {
        let settings = Self {
            dialect: options.dialect,
            rate_limit_per_minute: options.rate_limit,
            public_limit_per_minute: None,
            upload_limit_per_minute: None,
            rate_limit_window: Window::Fixed,
            webhook_retry_scale: options.webhook_retry_scale,
            webhook_max_attempts: 5,
            webhook_timeout_ms: 10_000,
            webhook_signing: Signing::AtSend,
            broadcast: false,
            profile: options.profile,
            market: Market::default(),
            time_scale: options.time_scale,
            auto_play: options.auto_play,
            auto_play_interval_ms: 20_000,
            auto_delay_ms: 50,
            llm_latency_ms: 0,
            llm_chunk_delay_ms: 0,
            llm_cached_percent: 0,
        };
        settings.checked()
    }

    /// These settings with the keys of `patch` replaced.
    ///
    /// # Errors
    /// A sentence naming the unknown key or the value out of range.
    pub fn patched(&self, patch: Map<String, Value>) -> Result<Self, String> {
        let mut whole = match serde_json::to_value(self) {
            Ok(Value::Object(whole)) => whole,
            Ok(_) | Err(_) => return Err("settings could not be read back".to_owned()),
        };
        for (name, value) in patch {
            match (whole.get_mut(&name), value) {
                (Some(Value::Object(inner)), Value::Object(given)) => inner.extend(given),
                (_, value) => {
                    whole.insert(name, value);
                }
            }
        }
        serde_json::from_value::<Self>(Value::Object(whole))
            .map_err(|error| format!("settings not changed: {error}"))?
            .checked()
    }

    /// How long a wait of a client, the market or a scenario takes.
    pub fn scaled(&self, wait: Duration) -> Duration {
        // What is too long to be counted never comes.
        Duration::try_from_secs_f64(wait.as_secs_f64() / self.time_scale).unwrap_or(Duration::MAX)
    }

    /// Calls a minute per address on public lists.
    pub fn public_limit(&self) -> u32 {
        self.public_limit_per_minute
            .unwrap_or_else(|| self.in_proportion(PUBLISHED_PUBLIC_LIMIT))
    }

    /// Uploads a minute per key.
    pub fn upload_limit(&self) -> u32 {
        self.upload_limit_per_minute
            .unwrap_or_else(|| self.in_proportion(PUBLISHED_UPLOAD_LIMIT))
    }

    /// How long to wait after attempt number `attempt` (from 1) failed.
    pub fn retry_wait(&self, attempt: u32) -> Duration {
        let step = (attempt.max(1) as usize - 1).min(RETRY_MINUTES.len() - 1);
        let wait = Duration::from_secs(RETRY_MINUTES[step] * 60).mul_f64(self.webhook_retry_scale);
        wait.max(SHORTEST_RETRY)
    }

    fn in_proportion(&self, published: u32) -> u32 {
        let scaled = u64::from(self.rate_limit_per_minute) * u64::from(published) / u64::from(PUBLISHED_KEY_LIMIT);
        u32::try_from(scaled.max(1)).unwrap_or(u32::MAX)
    }

    fn checked(self) -> Result<Self, String> {
        let limits = [
            Some(self.rate_limit_per_minute),
            self.public_limit_per_minute,
            self.upload_limit_per_minute,
        ];
        let wrong = if limits.into_iter().flatten().any(|limit| limit == 0) {
            Some("a limit per minute must be at least 1")
        } else if !(0.0..=100.0).contains(&self.webhook_retry_scale) {
            Some("webhook_retry_scale must lie between 0 and 100")
        } else if !(0.001..=10_000_000.0).contains(&self.time_scale) {
            Some("time_scale must lie between 0.001 and 10000000")
        } else if let Some(wrong) = self.market.wrong() {
            Some(wrong)
        } else if !(1..=1000).contains(&self.webhook_max_attempts) {
            Some("webhook_max_attempts must lie between 1 and 1000")
        } else if !(1..=600_000).contains(&self.webhook_timeout_ms) {
            Some("webhook_timeout_ms must lie between 1 and 600000")
        } else if self.auto_play_interval_ms == 0 {
            Some("auto_play_interval_ms must be at least 1")
        } else if self.llm_cached_percent > 100 {
            Some("llm_cached_percent must lie between 0 and 100")
        } else if self.llm_latency_ms > 600_000 || self.llm_chunk_delay_ms > 60_000 {
            Some("llm_latency_ms must be at most 600000 and llm_chunk_delay_ms at most 60000")
        } else {
            None
        };
        wrong.map_or(Ok(self), |wrong| Err(wrong.to_owned()))
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn patch(value: Value) -> Result<Settings, String> {
        let Value::Object(patch) = value else {
            return Err("not an object".to_owned());
        };
        Settings::from_options(&Options::local())?.patched(patch)
    }

    #[test]
    fn unknown_keys_and_dialects_are_refused_by_name() {
        let error = patch(json!({"rate_limt": 3})).unwrap_err();
        assert!(error.contains("rate_limt"), "{error}");
        let error = patch(json!({"dialect": "klingon"})).unwrap_err();
        assert!(error.contains("klingon") && error.contains("docs"), "{error}");
    }

    #[test]
    fn other_limits_follow_the_limit_per_key() {
        let settings = patch(json!({"rate_limit_per_minute": 6000})).unwrap();
        assert_eq!(settings.public_limit(), 20_000);
        assert_eq!(settings.upload_limit(), 2_000);
    }

    #[test]
    fn retries_wait_one_five_thirty_and_hundred_twenty_minutes() {
        let settings = patch(json!({})).unwrap();
        let minutes = [1, 2, 3, 4, 9].map(|attempt| settings.retry_wait(attempt).as_secs() / 60);
        assert_eq!(minutes, [1, 5, 30, 120, 120]);
        let fast = patch(json!({"webhook_retry_scale": 0.0})).unwrap();
        assert_eq!(fast.retry_wait(1), SHORTEST_RETRY);
    }
}
