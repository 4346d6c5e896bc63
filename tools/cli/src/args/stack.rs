//! Arguments of the commands that run a stack or prepare one.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::str::FromStr;

use clap::Args;

/// More of one service than this on one machine helps nobody.
const MOST_REPLICAS: usize = 8;

/// What `up --help` says below the options.
const UP_NOTES: &str = "\
Settings of your own go into DIR/config/SERVICE.toml. A simulated stack shortens the gateway's time limits and other \
waits; what such a file says goes over that, not over addresses and secrets.";

/// `steward up`.
#[derive(Debug, Clone, Args)]
#[command(after_help = UP_NOTES)]
pub struct Up {
    /// Play against the simulator (the default)
    #[arg(long, conflicts_with = "live")]
    pub simulated: bool,
    /// Work on the real marketplace, with real money
    #[arg(long)]
    pub live: bool,
    /// Go live against the simulator: agents are treated as with --live, and registered by hand
    #[arg(long, conflicts_with_all = ["live", "simulated"])]
    pub rehearse: bool,
    /// An agent file or its folder, to add and run; repeat for several [default: those of the last time, else the demo
    /// agent]
    #[arg(long = "agent", value_name = "FILE")]
    pub agents: Vec<PathBuf>,
    /// How many of a service, such as scheduler=2; repeat for several
    #[arg(long, value_name = "SERVICE=N")]
    pub replicas: Vec<Replicas>,
    /// Requests a minute the simulator allows and the agent keeps to
    #[arg(long, value_name = "N", default_value_t = 6000, value_parser = clap::value_parser!(u32).range(3..=600_000))]
    pub rate_limit: u32,
    /// The simulator posts no gigs by itself
    #[arg(long)]
    pub quiet_market: bool,
    /// Without a public door: no webhook is expected, reads find everything
    #[arg(long, conflicts_with = "listen")]
    pub poll: bool,
    /// Seed of everything the simulator makes up
    #[arg(long, default_value_t = 1)]
    pub seed: u64,
    /// Where webhooks come in, such as [::]:8080, instead of a port of loopback chosen once
    #[arg(long, value_name = "ADDRESS")]
    pub listen: Option<SocketAddr>,
    /// Where the console listens, instead of a port of loopback chosen once; browsers call it localhost, by a tunnel
    #[arg(long, value_name = "ADDRESS")]
    pub console_listen: Option<SocketAddr>,
}

/// `steward demo`.
#[derive(Debug, Clone, Args)]
pub struct Demo {
    /// How many contracts to drive
    #[arg(long, value_name = "N", default_value_t = 25, value_parser = clap::value_parser!(u32).range(1..=10_000))]
    pub contracts: u32,
    /// Stop everything when done instead of staying up until Ctrl-C
    #[arg(long)]
    pub exit: bool,
    /// Seed of everything the simulator makes up
    #[arg(long, default_value_t = 1)]
    pub seed: u64,
    /// How many of a service, such as scheduler=2; repeat for several
    #[arg(long, value_name = "SERVICE=N")]
    pub replicas: Vec<Replicas>,
}

/// `steward init`.
#[derive(Debug, Clone, Args)]
pub struct Init {
    /// Where the starter folder goes; the agent is named after it [default: my-agent]
    #[arg(value_name = "FOLDER", conflicts_with = "compose")]
    pub folder: Option<PathBuf>,
    /// Fill this folder with the secrets of a compose stack instead; what is there already stays
    #[arg(long, value_name = "DIR")]
    pub compose: Option<PathBuf>,
    /// Who owns the services' secrets, when run as root
    #[arg(long, value_name = "UID:GID", requires = "compose")]
    pub owner: Option<Owner>,
}

/// `steward migrate`.
#[derive(Debug, Clone, Args)]
pub struct Migrate {
    /// A file with the owner's database address, not through a pooler [default: DATABASE_URL]
    #[arg(long, value_name = "FILE")]
    pub database_url_file: Option<PathBuf>,
    /// A folder with one file per role, named after it, holding its password
    #[arg(long, value_name = "DIR")]
    pub passwords_dir: Option<PathBuf>,
}

/// A number of replicas of one service.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Replicas {
    /// Its name.
    pub service: String,
    /// How many.
    pub count: usize,
}

impl FromStr for Replicas {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let names = crate::up::REPLICABLE.join(", ");
        let (service, count) = text.split_once('=').ok_or("write SERVICE=N, such as scheduler=2")?;
        if !crate::up::REPLICABLE.contains(&service) {
            return Err(format!("{service:?} cannot be replicated; one of {names} can"));
        }
        let count = count
            .parse()
            .ok()
            .filter(|count| (1..=MOST_REPLICAS).contains(count))
            .ok_or_else(|| format!("{count:?} is not a number from 1 to {MOST_REPLICAS}"))?;
        Ok(Self {
            service: service.to_owned(),
            count,
        })
    }
}

/// A user and a group by number.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Owner {
    /// User id.
    pub uid: u32,
    /// Group id.
    pub gid: u32,
}

impl FromStr for Owner {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let (uid, gid) = text.split_once(':').unwrap_or((text, text));
        match (uid.parse(), gid.parse()) {
            (Ok(uid), Ok(gid)) => Ok(Self { uid, gid }),
            _ => Err("write UID:GID in numbers, such as 10001:10001".to_owned()),
        }
    }
}
