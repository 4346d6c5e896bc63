//! Arguments of `steward agents`.

use std::path::PathBuf;

use super::trial::Test;
use crate::starter::Template;
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
        /// What to call this version, such as a tag or a commit
        #[arg(long, value_name = "TEXT", default_value = "", hide_default_value = true)]
        label: String,
        /// Also register it with this simulator, once; for a stack elsewhere
        #[command(flatten)]
        market: Option<SimulatedMarket>,
    },
    /// Write a starter folder for an agent: the agent, a gig to try it on, a workflow that does
    Init {
        /// The folder; the agent is named after it
        folder: PathBuf,
        /// What it is made of
        #[arg(long, value_enum, default_value = "python")]
        template: Template,
    },
    /// Run an agent once without a stack: the real sandbox, a recorded gig, played or real models. Exit 0 only for a good
    /// result
    Test(Test),
    /// Print the environment a run of an agent finds
    Env {
        /// The agent file, or the folder it lies in
        #[arg(default_value = ".")]
        file: PathBuf,
    },
    /// Give an agent its id and key on the marketplace, and the secret of its webhooks
    Link(Link),
    /// Register an agent on the marketplace from the profile of its file: its key is stored sealed, its first webhook
    /// secret made, its portfolio sent, a code sent to its address, its claim link shown once
    Register(Register),
    /// Ask whether it may bid, and show what is missing with what mends it; exit 4 when it is not ready
    Readiness {
        /// The agent
        name: String,
        /// First send the profile and portfolio of its file
        #[arg(long)]
        fix: bool,
    },
    /// Have a code sent to the agent's address, or confirm the address with it
    VerifyEmail(VerifyEmail),
    /// Show where its webhooks go; change that, or make a new secret
    Webhooks(Webhooks),
    /// Show the claim link if it was not shown yet
    ClaimLink {
        /// The agent
        name: String,
    },
    /// Begin nothing new for an agent: no bids, no runs; what runs goes on, webhooks and approved deliveries too
    Pause {
        /// The agent
        name: String,
        /// Also ask what runs to stop; it keeps its checkpoint and comes back without using an attempt
        #[arg(long)]
        now: bool,
        /// Why, for those who read it later
        #[arg(long, value_name = "TEXT", default_value = "", hide_default_value = true)]
        reason: String,
    },
    /// Let a paused or winding-down agent work again; calls to the marketplace go out again too that a 401 stopped, or that
    /// wait because it kept failing
    Resume {
        /// The agent
        name: String,
        /// Why, for those who read it later
        #[arg(long, value_name = "TEXT", default_value = "", hide_default_value = true)]
        reason: String,
    },
    /// Let an agent come to its end: no new bids, those not sent are called off, accepted work is finished, and then a
    /// notice says that it can be removed
    WindDown {
        /// The agent
        name: String,
        /// Why, for those who read it later
        #[arg(long, value_name = "TEXT", default_value = "", hide_default_value = true)]
        reason: String,
    },
    /// List the agents
    List,
    /// Show an agent and its file as it is in force
    Show {
        /// The agent
        name: String,
    },
    /// Set an agent's bidding mode
    Mode {
        /// The agent
        name: String,
        /// Its mode
        mode: Mode,
    },
    /// List an agent's versions, the newest first
    Versions {
        /// The agent
        name: String,
    },
    /// Go back to an earlier version, with the file it came with; the mode stays
    Rollback {
        /// The agent
        name: String,
        /// Its label, or the beginning of its hash [default: the one added before the current one]
        #[arg(default_value = "", hide_default_value = true)]
        version: String,
    },
    /// Print the key the jobs of an agent behind an endpoint (run.adapter = "http") are signed with
    EndpointKey {
        /// The agent
        name: String,
        /// A file with the executors' token; for a stack elsewhere [default: the local stack's]
        #[arg(long, value_name = "FILE")]
        executor_token_file: Option<PathBuf>,
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

/// `steward agents register`.
#[derive(Debug, Args)]
pub struct Register {
    /// The agent
    pub name: String,
    /// Ingress as the marketplace reaches it: https://host, or the whole address of the agent's door
    #[arg(long, value_name = "URL")]
    pub webhook_url: String,
    /// Another handle than the file's
    #[arg(long, value_name = "NAME")]
    pub username: Option<String>,
    /// Register although the answer of the last try was lost: it may have made an agent whose key nobody has
    #[arg(long)]
    pub again: bool,
}

/// `steward agents verify-email`.
#[derive(Debug, Args)]
pub struct VerifyEmail {
    /// The agent
    pub name: String,
    /// The address [default: profile.contact_email of its file]
    #[arg(long, value_name = "ADDRESS", conflicts_with = "code")]
    pub email: Option<String>,
    /// The six digits that came; `-` reads them from standard input [default: have them sent, then ask for them]
    #[arg(long, value_name = "DIGITS")]
    pub code: Option<String>,
}

/// `steward agents webhooks`.
#[derive(Debug, Args)]
pub struct Webhooks {
    /// The agent
    pub name: String,
    /// Have them sent here from now on: https://host, or the whole address of the agent's door
    #[arg(long, value_name = "URL")]
    pub url: Option<String>,
    /// Make a new secret; what is signed with the old ones is taken for three more days
    #[arg(long)]
    pub rotate: bool,
    /// Rotate although the answer of the last rotation was lost
    #[arg(long, requires = "rotate")]
    pub again: bool,
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
