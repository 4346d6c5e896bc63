//! The model review of the delivery gate.

use serde::{Deserialize, Serialize};

/// A model that looks a delivery over.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Review {
    /// Which model; empty means `models.default`.
    pub model: String,
    /// A text file in the bundle with what it is to look at; empty means none.
    pub prompt: String,
    /// What becomes of what it rejects.
    pub on_reject: OnReject,
}

/// What becomes of a delivery a review rejects.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum OnReject {
    /// The attempt has failed; the next is told why.
    #[default]
    Fail,
    /// It waits for a human.
    Hold,
}

impl Review {
    /// The model it asks.
    #[must_use]
    pub fn model<'a>(&'a self, default: &'a str) -> &'a str {
        if self.model.is_empty() { default } else { &self.model }
    }
}
