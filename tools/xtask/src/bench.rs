//! `cargo xtask bench NAME`: set-up, an optimised build, then the program that measures.

use crate::{run, setup, workspace};
use anyhow::{Context, Result};
use std::process::{Command, ExitCode};

/// What can be measured.
#[derive(Clone, Copy, Debug, clap::ValueEnum)]
enum Name {
    /// Webhooks a second of the door, beside what people would build instead.
    Webhook,
    /// Contracts a second from posted gig to approval, beside a loop that keeps nothing.
    Contract,
    /// Requests a second of the simulated marketplace, on one core.
    Simulator,
    /// What a stack costs while nothing happens, beside its two servers alone.
    Idle,
    /// Start and end of one run's process, beside fork+exec and bubblewrap; and what it leaves.
    Sandbox,
}

/// Arguments of `cargo xtask bench`.
#[derive(clap::Args, Debug)]
pub struct Options {
    /// What to measure.
    name: Name,
    /// Print one JSON object as the last line of stdout.
    #[arg(long)]
    json: bool,
    /// Further arguments of the program that measures (`-- --help` shows them).
    #[arg(last = true)]
    rest: Vec<String>,
}

/// Builds what is measured and what measures it, and becomes the latter.
///
/// # Errors
/// When set-up or build fails or the program cannot be started.
pub fn run(options: &Options) -> Result<ExitCode> {
    setup::run()?;
    let mut build = vec!["build", "--release", "--workspace"];
    if let Name::Sandbox = options.name {
        setup::bubblewrap()?;
        // It needs neither the other services nor their compilation.
        build.extend(["--bin", "executor", "--bin", "bench-sandbox"]);
    } else {
        build.push("--bins");
    }
    let root = workspace::root()?;
    run::step("optimised build", run::cargo(&root).args(build))?;
    let name = match options.name {
        Name::Webhook => "bench-webhook",
        Name::Contract => "bench-contract",
        Name::Idle => "bench-idle",
        Name::Simulator => "bench-simulator",
        Name::Sandbox => "bench-sandbox",
    };
    let program = workspace::target()?.join("release").join(name);
    let mut command = Command::new(&program);
    command
        .args(options.json.then_some("--json"))
        .args(&options.rest)
        .current_dir(&root);
    let error = std::os::unix::process::CommandExt::exec(&mut command);
    Err(error).with_context(|| format!("start {}", program.display()))
}
