//! `[network]`: where runs and `setup` connect.

use std::time::Duration;

use serde::{Deserialize, Serialize};

/// `[network]`
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Network {
    /// Which addresses an allowed host may have.
    pub guard: Reach,
    /// Open connections per run.
    pub connections: usize,
    /// Bytes of one run, both ways together.
    pub bytes: u64,
    /// The longest silence of a connection.
    #[serde(with = "humantime_serde")]
    pub idle: Duration,
    /// Where `setup` of a bundle may connect.
    pub setup: SetupNetwork,
}

/// Where `setup` of a bundle may connect.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum SetupNetwork {
    /// By a proxy, to hosts that are neither this machine nor in a private network.
    Outside,
    /// By a proxy, to any host.
    Any,
    /// Wherever this machine can.
    Machine,
}

impl SetupNetwork {
    /// What its proxy lets through; none has none.
    #[must_use]
    pub fn guard(self) -> Option<outbound::Guard> {
        match self {
            Self::Outside => Some(outbound::Guard::Outside),
            Self::Any => Some(outbound::Guard::Any),
            Self::Machine => None,
        }
    }
}

/// Which addresses an allowed host may have.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Reach {
    /// Public ones.
    Public,
    /// Public ones and this machine's loopback.
    Loopback,
    /// Any.
    Any,
}

impl From<Reach> for outbound::Guard {
    fn from(reach: Reach) -> Self {
        match reach {
            Reach::Public => Self::Public,
            Reach::Loopback => Self::AllowLoopback,
            Reach::Any => Self::Any,
        }
    }
}
