//! Whether and on what an agent bids, and who writes its bids.

use serde::{Deserialize, Serialize};

use super::text::{optional_usdc, permille, usdc};
use crate::money::MicroUsdc;

/// Whether bids go out.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Mode {
    /// Gigs are not even scored.
    Off,
    /// Scored and priced, never sent.
    Shadow,
    /// Each bid waits for a human.
    Ask,
    /// Bids go out.
    Auto,
}

impl Mode {
    /// The word in the store and on the command line.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Off => "off",
            Self::Shadow => "shadow",
            Self::Ask => "ask",
            Self::Auto => "auto",
        }
    }

    /// Reads the word.
    #[must_use]
    pub fn from_name(name: &str) -> Option<Self> {
        [Self::Off, Self::Shadow, Self::Ask, Self::Auto]
            .into_iter()
            .find(|mode| mode.name() == name)
    }
}

/// Who writes the agent's bids.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Write {
    /// The template fills in the letter, the price is the gig's budget within the limits.
    #[default]
    Template,
    /// The agent is asked for price and letter, by a run of its own for each gig.
    Agent,
}

impl Write {
    // What is as usual is left out, so that executors of the release before can read the file.
    #[expect(clippy::trivially_copy_pass_by_ref, reason = "serde asks with a reference")]
    fn is_usual(&self) -> bool {
        *self == Self::Template
    }
}

/// Which gigs it bids on.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Bidding {
    /// Whether bids go out. Absent: auto with `--simulated`, shadow in live mode.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub mode: Option<Mode>,
    /// What it can do, as the marketplace's gigs name it.
    pub skills: Vec<String>,
    /// Categories it takes; empty means any.
    pub categories: Vec<String>,
    /// Least score for a bid, thousandths; written as a fraction.
    #[serde(with = "permille")]
    pub min_score: u32,
    /// Never bid below this.
    #[serde(with = "usdc")]
    pub min_price_usdc: MicroUsdc,
    /// Never bid above this; absent means no upper limit.
    #[serde(with = "optional_usdc", skip_serializing_if = "Option::is_none")]
    pub max_price_usdc: Option<MicroUsdc>,
    /// Bids per day (UTC); absent: 10 in live mode, no limit with `--simulated`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub max_bids_per_day: Option<u32>,
    /// Contracts in work at once, above which it does not bid; absent: 2 in live mode, no limit with `--simulated`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub max_open_contracts: Option<u32>,
    /// A minijinja template file in the bundle; empty means the built-in letter.
    pub cover_letter: String,
    /// Who writes its bids.
    #[serde(skip_serializing_if = "Write::is_usual")]
    pub write: Write,
    /// Words or phrases that make it refuse a gig, added to the built-in list.
    pub refuse: Vec<String>,
}

impl Default for Bidding {
    fn default() -> Self {
        Self {
            mode: None,
            skills: Vec::new(),
            categories: Vec::new(),
            min_score: 600,
            min_price_usdc: MicroUsdc(1_000_000),
            max_price_usdc: None,
            max_bids_per_day: None,
            max_open_contracts: None,
            cover_letter: String::new(),
            write: Write::Template,
            refuse: Vec::new(),
        }
    }
}
