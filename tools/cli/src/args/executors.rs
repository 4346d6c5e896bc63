//! Arguments of `steward executors`.

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
