//! Arguments of the commands that show records and act on them.

use std::path::PathBuf;

use clap::{Args, Subcommand, ValueEnum};

/// How much of a listing.
#[derive(Debug, Clone, Args)]
pub struct Listing {
    /// Rows at most
    #[arg(long, value_name = "N", default_value_t = 50, value_parser = clap::value_parser!(u32).range(1..=500))]
    pub limit: u32,
    /// Where the last listing ended (its `next`)
    #[arg(long, default_value = "", hide_default_value = true)]
    pub cursor: String,
}

/// `steward gigs`.
#[derive(Debug, Subcommand)]
pub enum GigsCommand {
    /// List gigs, newest first
    List {
        /// Only this agent's
        #[arg(long, default_value = "", hide_default_value = true)]
        agent: String,
        /// Only with a proposal in this state: considered, skipped, submitted, accepted, rejected, withdrawn
        #[arg(long, default_value = "", hide_default_value = true)]
        state: String,
        /// How much
        #[command(flatten)]
        page: Listing,
    },
    /// Show one gig, its score by part and the proposal
    Show {
        /// Its id, ours or the marketplace's
        id: String,
    },
}

/// `steward contracts`.
#[derive(Debug, Subcommand)]
pub enum ContractsCommand {
    /// List contracts, newest first
    List {
        /// Only this agent's
        #[arg(long, default_value = "", hide_default_value = true)]
        agent: String,
        /// Only in this state
        #[arg(long, default_value = "", hide_default_value = true)]
        state: String,
        /// How much
        #[command(flatten)]
        page: Listing,
    },
    /// Show one contract with its history, runs, effects and messages
    Show {
        /// Its id, ours or the marketplace's
        id: String,
    },
    /// Queue a contract's failed or parked run again, with the agent's current version
    Retry {
        /// Its id, ours or the marketplace's
        id: String,
        /// Why, for the record
        #[arg(long, default_value = "")]
        reason: String,
    },
}

/// `steward runs`.
#[derive(Debug, Subcommand)]
pub enum RunsCommand {
    /// List runs, newest first
    List {
        /// Only this agent's
        #[arg(long, default_value = "", hide_default_value = true)]
        agent: String,
        /// Only in this state
        #[arg(long, default_value = "", hide_default_value = true)]
        state: String,
        /// Only of this contract
        #[arg(long, default_value = "", hide_default_value = true)]
        contract: String,
        /// How much
        #[command(flatten)]
        page: Listing,
    },
    /// Show one run and its files
    Show {
        /// Its id
        id: String,
    },
    /// List the files a run made, or copy them into a folder
    Files {
        /// Its id
        id: String,
        /// Write them below this folder; what is there already is not overwritten
        #[arg(long, value_name = "DIR")]
        out: Option<PathBuf>,
    },
    /// Queue a parked run again, with the agent's current version
    Retry {
        /// Its id
        id: String,
    },
    /// Call a run off: its program is ended, and nothing of it goes out; `contracts retry` starts the work anew
    Cancel {
        /// Its id
        id: String,
        /// Why, for the record
        #[arg(long, default_value = "")]
        reason: String,
    },
    /// Print what a run said and printed
    Logs {
        /// Its id
        id: String,
        /// Go on until it ends: exit 0 when it is done, 1 when it was parked or called off
        #[arg(long, short)]
        follow: bool,
    },
}

/// `steward messages`.
#[derive(Debug, Subcommand)]
pub enum MessagesCommand {
    /// List what was said on a contract, oldest first
    List {
        /// The contract's id, ours or the marketplace's
        contract: String,
    },
    /// Say something to a contract's client yourself
    Send {
        /// The contract's id, ours or the marketplace's
        contract: String,
        /// What to say, at most 5000 characters; - reads it from the standard input
        text: String,
        /// Sent once per key, however often this is called [default: one of its own]
        #[arg(long)]
        key: Option<String>,
    },
}

/// `steward inbox`.
#[derive(Debug, Subcommand)]
pub enum InboxCommand {
    /// List webhooks, newest first
    List {
        /// Only this agent's
        #[arg(long, default_value = "", hide_default_value = true)]
        agent: String,
        /// Only those nobody has worked on yet
        #[arg(long)]
        unprocessed: bool,
        /// How much
        #[command(flatten)]
        page: Listing,
    },
    /// Show one webhook with its body
    Show {
        /// Its id
        id: String,
    },
    /// Process one webhook again from the beginning
    Replay {
        /// Its id
        id: String,
    },
}

/// What was given up.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum LetterKind {
    /// A webhook
    Inbox,
    /// Something to send
    Effect,
    /// An attempt at a job
    Run,
}

impl LetterKind {
    /// The word on the wire.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Inbox => "inbox",
            Self::Effect => "effect",
            Self::Run => "run",
        }
    }
}

/// `steward dead-letters`.
#[derive(Debug, Subcommand)]
pub enum DeadLettersCommand {
    /// List what was given up
    List {
        /// How much
        #[command(flatten)]
        page: Listing,
    },
    /// Show one
    Show {
        /// What it is
        kind: LetterKind,
        /// Its id
        id: String,
    },
    /// Try one again; a run with its agent's current version
    Retry {
        /// What it is
        kind: LetterKind,
        /// Its id
        id: String,
    },
    /// Give one up for good; it is kept as a record
    Drop {
        /// What it is
        kind: LetterKind,
        /// Its id
        id: String,
        /// Why, for the record
        #[arg(long)]
        reason: String,
    },
}

/// `steward notices`.
#[derive(Debug, Subcommand)]
pub enum NoticesCommand {
    /// List the notices that stand, oldest first
    List,
    /// End a notice that was read
    Resolve {
        /// Its id
        id: String,
        /// What was done about it, for the record
        #[arg(long, default_value = "")]
        reason: String,
    },
}

/// `steward effects`.
#[derive(Debug, Subcommand)]
pub enum EffectsCommand {
    /// List effects, newest first, and the request budget
    List {
        /// Only this agent's
        #[arg(long, default_value = "", hide_default_value = true)]
        agent: String,
        /// Only in this state: blocked, held, pending, sending, done, refused, unknown, cancelled
        #[arg(long, default_value = "", hide_default_value = true)]
        state: String,
        /// Only of this contract
        #[arg(long, default_value = "", hide_default_value = true)]
        contract: String,
        /// How much
        #[command(flatten)]
        page: Listing,
    },
    /// Show one effect: what it is about, its files, what it sends
    Show {
        /// Its id
        id: String,
    },
    /// Release a held effect, or after all one that was refused or called off
    Approve {
        /// Its id
        id: String,
    },
    /// Refuse a held effect
    Refuse {
        /// Its id
        id: String,
        /// Why, for the record
        #[arg(long, default_value = "")]
        reason: String,
    },
}

/// `steward approvals`.
#[derive(Debug, Subcommand)]
pub enum ApprovalsCommand {
    /// List what waits for a human
    List {
        /// Only this agent's
        #[arg(long, default_value = "", hide_default_value = true)]
        agent: String,
        /// How much
        #[command(flatten)]
        page: Listing,
    },
    /// Show one: what it is about, its files, what it sends
    Show {
        /// Its id
        id: String,
    },
    /// Let it go out
    Approve {
        /// Its id
        id: String,
    },
    /// Refuse it
    Refuse {
        /// Its id
        id: String,
        /// Why, for the record
        #[arg(long, default_value = "")]
        reason: String,
    },
}

/// `steward ledger`.
#[derive(Debug, Subcommand)]
pub enum LedgerCommand {
    /// Check that the books balance and every balance is explained; exit 1 if not
    Check,
    /// Show the postings of one account, newest first
    Explain {
        /// The account's name
        account: String,
        /// How much
        #[command(flatten)]
        page: Listing,
    },
    /// Show the balance of every account
    Statement {
        /// From when on: a date, a time (RFC 3339) or a span such as 7d
        #[arg(long, value_name = "WHEN")]
        since: Option<String>,
        /// Until when
        #[arg(long, value_name = "WHEN")]
        until: Option<String>,
        /// Only this agent's
        #[arg(long, default_value = "", hide_default_value = true)]
        agent: String,
    },
}

/// `steward prices`.
#[derive(Debug, Subcommand)]
pub enum PricesCommand {
    /// List the prices in force and those to come
    List,
    /// Set what a model costs from now on, in US dollars per million tokens
    Set {
        /// The model, as agents name it
        model: String,
        /// Who serves it, as under [[upstreams]] of billing
        #[arg(long)]
        provider: String,
        /// Tokens sent
        #[arg(long, value_name = "USD")]
        input: String,
        /// Tokens sent that the provider had in its cache [default: as --input]
        #[arg(long, value_name = "USD")]
        cached: Option<String>,
        /// Tokens answered
        #[arg(long, value_name = "USD")]
        output: String,
    },
}

/// `steward doctor`.
#[derive(Debug, Subcommand)]
pub enum DoctorCommand {
    /// The marketplace, keys, readiness, webhooks (a test event must come in), providers, prices, clocks. Exit 1 when
    /// anything fails
    Live {
        /// Only this agent [default: all]
        name: Option<String>,
    },
    /// What keeps agents in on this machine, layer by layer, and what to do about what is missing. Needs no stack. Exit 1
    /// when it is not enough for live work
    Sandbox,
}

/// `steward api`.
#[derive(Debug, Subcommand)]
pub enum ApiCommand {
    /// List what the marketplace says and this release does not know: members, events, states, codes, announced ends
    Drift,
}

/// `steward deployments`.
#[derive(Debug, Subcommand)]
pub enum DeploymentsCommand {
    /// List starts, newest first
    List {
        /// How much
        #[command(flatten)]
        page: Listing,
    },
}
