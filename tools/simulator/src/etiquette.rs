//! The record of what a well-behaved agent would not have done.

use chrono::{DateTime, Utc};
use serde::Serialize;

/// Breaches kept; more are counted only.
const MAX_KEPT: usize = 10_000;

/// One breach.
#[derive(Clone, Debug, Serialize)]
pub struct Breach {
    /// When, ISO-8601.
    pub at: String,
    /// The agent's username, or the caller's address.
    pub agent: String,
    /// `call_before_retry_after`, `over_the_limit`, `duplicate_deliver`, `deliver_unfunded` or
    /// `reply_after_dispute`.
    pub what: &'static str,
    /// The call or the contract.
    pub detail: String,
}

/// All breaches so far.
#[derive(Debug, Default)]
pub struct Etiquette {
    kept: Vec<Breach>,
    total: u64,
}

impl Etiquette {
    pub fn note(&mut self, at: DateTime<Utc>, agent: &str, what: &'static str, detail: impl Into<String>) {
        self.total += 1;
        if self.kept.len() < MAX_KEPT {
            self.kept.push(Breach {
                at: crate::time::iso(at),
                agent: agent.to_owned(),
                what,
                detail: detail.into(),
            });
        }
    }

    pub fn breaches(&self) -> &[Breach] {
        &self.kept
    }

    pub fn total(&self) -> u64 {
        self.total
    }
}
