//! Command line of the simulator.

use std::{net::SocketAddr, path::PathBuf};

use clap::Parser;

use crate::{dialect::Dialect, settings::Profile};

/// What one simulator is started with.
#[derive(Clone, Debug, Parser)]
#[command(
    name = "simulator",
    version,
    about = "The marketplace and the model providers, offline"
)]
pub struct Options {
    /// Address to listen on; port 0 picks a free one.
    #[arg(long, default_value = "127.0.0.1:0")]
    pub listen: SocketAddr,
    /// Where webhooks go when an agent registered no URL of its own; `{agent}` is its username.
    #[arg(long)]
    pub webhook_url: Option<String>,
    /// Seed of everything random: titles, budgets, answers of models, faults without a seed.
    #[arg(long, default_value_t = 1)]
    pub seed: u64,
    /// Ids, keys and secrets follow from the seed, and the clock stands still but for `POST /control/clock`: the same
    /// requests in the same order get the same bytes. Not for agents that keep what they were told by an earlier run.
    #[arg(long, requires = "seed")]
    pub reproducible: bool,
    /// Which reading of the platform's sources to speak: docs, sdk, legacy, or hostile for all at random.
    #[arg(long, default_value = "docs")]
    pub dialect: Dialect,
    /// Calls a minute per API key; the other limits follow in proportion.
    #[arg(long, default_value_t = 30, value_parser = clap::value_parser!(u32).range(1..=1_000_000))]
    pub rate_limit: u32,
    /// Factor on the waits between webhook attempts (1, 5, 30, 120 minutes).
    #[arg(long, default_value_t = 1.0)]
    pub webhook_retry_scale: f64,
    /// Post gigs that match the registered agents, and play their clients.
    #[arg(long)]
    pub auto_play: bool,
    /// What the market does by itself.
    #[arg(long, value_enum, default_value_t)]
    pub profile: Profile,
    /// How much faster than the clock played clients, the market and scenarios live: 10000 is a month in 4 minutes.
    #[arg(long, default_value_t = 1.0)]
    pub time_scale: f64,
    /// A scenario to run from the start (TOML).
    #[arg(long)]
    pub scenario: Option<PathBuf>,
    /// Origin written into links, when others reach this process by another name than it binds.
    #[arg(long)]
    pub public_url: Option<String>,
}

impl Options {
    /// Options for use inside another process: a free loopback port, seed 1, no webhook template.
    pub fn local() -> Self {
        Self {
            listen: SocketAddr::from(([127, 0, 0, 1], 0)),
            webhook_url: None,
            seed: 1,
            reproducible: false,
            dialect: Dialect::Docs,
            rate_limit: 30,
            webhook_retry_scale: 1.0,
            auto_play: false,
            profile: Profile::Plain,
            time_scale: 1.0,
            scenario: None,
            public_url: None,
        }
    }
}
