//! Arguments of `steward agents`.

use std::path::PathBuf;

use clap::{Args, Subcommand, ValueEnum};

/// `steward agents`.
#[derive(Debug, Subcommand)]
pub enum AgentsCommand {
    /// Pack an agent's folder and register it, or a new version of it
    Add {
        /// The agent file, or the folder it lies in
        file: PathBuf,
        /// Add it even if its command cannot run as written
        #[arg(long)]
        force: bool,
        /// Start in the file's mode and without daily limits [default: what the local stack is]
        #[arg(long)]
        simulated: bool,
        /// Also register it with this simulator, once; for a stack elsewhere
        #[command(flatten)]
        market: Option<SimulatedMarket>,
    },
    /// Give an agent its id and key on the marketplace, and the secret of its webhooks
    Link(Link),
    /// List the agents
    List,
    /// Set an agent's bidding mode
    Mode {
        /// The agent
        name: String,
        /// Its mode
        mode: Mode,
    },
    /// Take an agent out: no bids, no key, no webhooks; its history is kept. Refused while a contract is open
    Remove {
        /// The agent
        name: String,
    },
}

/// `steward agents link`.
#[derive(Debug, Args)]
pub struct Link {
    /// The agent
    pub name: String,
    /// Its id on the marketplace
    #[arg(long, value_name = "ID")]
    pub marketplace_id: String,
    /// A file with its key there
    #[arg(long, value_name = "FILE")]
    pub key_file: PathBuf,
    /// A file with what its webhooks are signed with; added to those it has
    #[arg(long, value_name = "FILE")]
    pub webhook_secret_file: Option<PathBuf>,
}

/// Where an agent of a stack elsewhere is registered with a simulator.
#[derive(Debug, Clone, Args)]
#[group(requires_all = ["simulator", "door", "records"])]
pub struct SimulatedMarket {
    /// Also register the agent with the simulator at this address
    #[arg(long, value_name = "URL", required = false)]
    pub simulator: String,
    /// The stack's ingress, as the simulator calls it
    #[arg(long, value_name = "URL", required = false)]
    pub door: String,
    /// The folder that remembers the registration
    #[arg(long, value_name = "DIR", required = false)]
    pub records: PathBuf,
}

/// Whether bids go out.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Mode {
    /// Gigs are not even scored
    Off,
    /// Scored and priced, never sent
    Shadow,
    /// Each bid waits for a human
    Ask,
    /// Bids go out
    Auto,
}

impl Mode {
    /// The word on the wire.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Off => "off",
            Self::Shadow => "shadow",
            Self::Ask => "ask",
            Self::Auto => "auto",
        }
    }
}
