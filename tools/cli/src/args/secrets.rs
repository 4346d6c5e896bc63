//! Arguments of `steward secrets`.

use std::path::PathBuf;

use clap::Subcommand;

/// `steward secrets`.
#[derive(Debug, Subcommand)]
pub enum SecretsCommand {
    /// Seal a secret of an agent, or a new value of it: read from a prompt, or from standard input; the next call uses it
    Set {
        /// The agent; it need not be added yet
        agent: String,
        /// The secret, as [[network.credential]] names it
        name: String,
        /// Read the value from this file instead
        #[arg(long, value_name = "FILE")]
        file: Option<PathBuf>,
    },
    /// List secrets by agent, name and age; values are never shown
    List {
        /// Only this agent's
        agent: Option<String>,
    },
    /// Remove a secret; calls that need it are refused from then on
    Remove {
        /// The agent
        agent: String,
        /// The secret
        name: String,
    },
}
