//! Arguments of `steward agents test` and `env`.

use std::path::PathBuf;

use clap::Args;
use outbound::Url;

use crate::trial::Kind;

/// `steward agents test`.
#[derive(Debug, Args)]
pub struct Test {
    /// The agent file, or the folder it lies in
    #[arg(default_value = ".")]
    pub file: PathBuf,
    /// A gig as JSON: a file like those in examples/gigs, or what `steward gigs show ID --json` printed [default: a
    /// built-in one]
    #[arg(long, value_name = "FILE")]
    pub gig: Option<PathBuf>,
    /// What the agent is asked for
    #[arg(long, value_enum, default_value = "work")]
    pub kind: Kind,
    /// Something the client wrote; with `--kind revise` what is to be changed
    #[arg(long, value_name = "TEXT")]
    pub message: Option<String>,
    /// Write the files of the result into this folder
    #[arg(long, value_name = "DIR")]
    pub out: Option<PathBuf>,
    /// Ask a real model here, such as https://api.openai.com/v1, with the key in OPENAI_API_KEY or ANTHROPIC_API_KEY; the
    /// agent does not see it [default: played models]
    #[arg(long, value_name = "URL")]
    pub model_url: Option<String>,
    /// Call a host of [[network.credential]] at this address instead, such as a server of your own; repeat for several. The
    /// values of secrets come from variables such as STEWARD_EXT_SEARCH_API_KEY; the agent does not see them
    #[arg(long, value_name = "HOST=URL", value_parser = instead)]
    pub instead: Vec<(String, Url)>,
    /// Without file, network and system call rules, for a debugger
    #[arg(long)]
    pub no_sandbox: bool,
    /// Keep the workspace and say where it is
    #[arg(long)]
    pub keep: bool,
    /// A shell in the same sandbox and environment instead of the agent
    #[arg(long, conflicts_with_all = ["out", "json"])]
    pub shell: bool,
}

fn instead(text: &str) -> Result<(String, Url), String> {
    let (host, url) = text.split_once('=').ok_or("write HOST=URL")?;
    let url = url.parse().map_err(|_error| format!("{url:?} is no address"))?;
    Ok((host.to_owned(), url))
}
