//! The command line.

use std::path::PathBuf;

use clap::{Args, Parser, Subcommand};

pub mod agents;
pub mod executors;
pub mod records;
pub mod secrets;
pub mod stack;
pub mod trial;

pub use agents::{AgentsCommand, Link, Mode, Register, SimulatedMarket, VerifyEmail, Webhooks};
pub use executors::{ExecutorsCommand, MaintenanceCommand};
pub use records::{
    ApiCommand, ApprovalsCommand, ContractsCommand, DeadLettersCommand, DeploymentsCommand, DoctorCommand,
    EffectsCommand, GigsCommand, InboxCommand, LedgerCommand, LetterKind, Listing, MessagesCommand, NoticesCommand,
    PricesCommand, RunsCommand,
};
pub use secrets::SecretsCommand;
pub use stack::{Demo, Init, Migrate, Replicas, Up};

/// `steward`.
#[derive(Debug, Parser)]
#[command(
    name = "steward",
    version,
    about = "Runs an agent that earns its living on a gig marketplace",
    after_help = "Exit codes: 0 done, 1 failed, 2 usage, 3 not found, 4 refused.",
    arg_required_else_help = true
)]
pub struct Cli {
    /// What every command takes.
    #[command(flatten)]
    pub global: Global,
    /// What to do.
    #[command(subcommand)]
    pub command: Command,
}

/// What every command takes.
#[derive(Debug, Clone, Default, Args)]
pub struct Global {
    /// Folder of a local stack [default: .steward]
    #[arg(long, global = true, value_name = "DIR")]
    pub dir: Option<PathBuf>,
    /// Print the result as JSON
    #[arg(long, global = true)]
    pub json: bool,
    /// The scheduler's gRPC addresses, instead of a local stack's; the token comes from STEWARD_TOKEN
    #[arg(long, global = true, value_name = "URL", env = "STEWARD_ENDPOINT")]
    pub endpoint: Option<String>,
    /// Billing's gRPC addresses
    #[arg(long, global = true, value_name = "URL", env = "STEWARD_BILLING_ENDPOINT")]
    pub billing_endpoint: Option<String>,
}

/// The commands.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Start the whole stack on this machine and keep it running until Ctrl-C
    Up(Up),
    /// Stop the stack of a folder
    Down,
    /// Drive contracts from posted gig to booked profit on a simulated stack, and check the books
    Demo(Demo),
    /// Write a starter folder for an agent, or fill a folder with the secrets compose needs
    Init(Init),
    /// Show the parts of a local stack, where they listen and whether they are ready
    Status,
    /// Bring a database to this release's schema
    Migrate(Migrate),
    /// What was earned: revenue, fees, model cost, profit
    Earnings {
        /// From when on: a date, a time (RFC 3339) or a span such as 7d [default: the first booking]
        #[arg(long, value_name = "WHEN")]
        since: Option<String>,
        /// Only this agent's
        #[arg(long)]
        agent: Option<String>,
    },
    /// Agents: add a version, list, set the bidding mode
    #[command(subcommand)]
    Agents(AgentsCommand),
    /// Gigs seen: score by part, price, why skipped
    #[command(subcommand)]
    Gigs(GigsCommand),
    /// Contracts: state, money, history
    #[command(subcommand)]
    Contracts(ContractsCommand),
    /// What was said with a client, and saying something yourself
    #[command(subcommand)]
    Messages(MessagesCommand),
    /// What waits for a human before it goes out
    #[command(subcommand)]
    Approvals(ApprovalsCommand),
    /// Runs of agents and what they said
    #[command(subcommand)]
    Runs(RunsCommand),
    /// Webhooks received
    #[command(subcommand)]
    Inbox(InboxCommand),
    /// Work that was given up
    #[command(subcommand)]
    DeadLetters(DeadLettersCommand),
    /// What people should know
    #[command(subcommand)]
    Notices(NoticesCommand),
    /// What was, is or will be sent to the marketplace
    #[command(subcommand)]
    Effects(EffectsCommand),
    /// Print the console's address with a sign-in token that works once
    Console {
        /// The console of a stack elsewhere, as this command calls it
        #[arg(long, value_name = "URL", env = "STEWARD_CONSOLE_ENDPOINT")]
        console_endpoint: Option<String>,
        /// The same console, as the browser calls it [default: the same address]
        #[arg(long, value_name = "URL", env = "STEWARD_CONSOLE_URL")]
        public_url: Option<String>,
    },
    /// The books
    #[command(subcommand)]
    Ledger(LedgerCommand),
    /// Look whether everything is there that work needs
    Doctor {
        /// Where
        #[command(subcommand)]
        command: Option<DoctorCommand>,
    },
    /// Try every read of the marketplace, as the scheduler makes it; nothing is changed. Exit 1 when one fails
    Smoke {
        /// On the marketplace the stack works on
        #[arg(long, required = true)]
        live: bool,
        /// Only this agent's [default: every agent with a key]
        name: Option<String>,
    },
    /// The marketplace as it speaks now
    #[command(subcommand)]
    Api(ApiCommand),
    /// Prices of models
    #[command(subcommand)]
    Prices(PricesCommand),
    /// Secrets of agents' own, for the hosts their files name
    #[command(subcommand)]
    Secrets(SecretsCommand),
    /// Times in which no bid is sent and no run begins
    #[command(subcommand)]
    Maintenance(MaintenanceCommand),
    /// Executors: who is there, and letting one take no more work
    #[command(subcommand)]
    Executors(ExecutorsCommand),
    /// Which build of which service started when
    #[command(subcommand)]
    Deployments(DeploymentsCommand),
    /// This program's version and commit
    Version,
    /// Print shell completions
    Completions {
        /// For which shell
        shell: clap_complete::Shell,
    },
}
