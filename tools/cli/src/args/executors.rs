//! Arguments of `steward executors` and `steward maintenance`.

use std::time::Duration;

use clap::Subcommand;

/// `steward executors`.
#[derive(Debug, Subcommand)]
pub enum ExecutorsCommand {
    /// List executors heard of in the last day
    List,
    /// Let an executor take no more work and finish what it has; afterwards it can be stopped
    Drain {
        /// Its id, or the beginning of it
        id: String,
        /// Wait until it has nothing left
        #[arg(long)]
        wait: bool,
        /// How long to wait at most [default: as long as its runs may still take]
        #[arg(long, value_name = "SPAN", requires = "wait", value_parser = humantime::parse_duration)]
        timeout: Option<Duration>,
    },
}

/// `steward maintenance`.
#[derive(Debug, Subcommand)]
pub enum MaintenanceCommand {
    /// List what is on and what is planned
    List,
    /// Begin one now; one that is on lasts that long from now instead
    Start {
        /// How long it lasts, such as 2h; at most 7d
        #[arg(long = "for", value_name = "SPAN", value_parser = humantime::parse_duration)]
        lasts: Duration,
        /// Why, for those who read it later
        #[arg(long, value_name = "TEXT", default_value = "", hide_default_value = true)]
        reason: String,
    },
    /// End what is on, a configured one too
    End,
}
