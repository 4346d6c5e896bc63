//! `cargo xtask …`: set-up, demo, tests and everything that regenerates a committed file.
//!
//! Promises: a machine with nothing but a Rust toolchain reaches a running demo and a finished
//! test run by one command each; what is missing is installed or named with the exact line to
//! type. Depends on no crate of ours, so a broken product never breaks the tool that checks it.
//! It does not run the product itself: `steward` does.
//!
//! One more command: a module with `run`, a variant below, a line in `docs/DEVELOPMENT.md`.
#![expect(clippy::print_stdout, clippy::print_stderr, reason = "a command-line tool talks")]

mod bench;
mod conformance;
mod containers;
mod demo;
mod deploy;
mod docs;
mod fuzz;
mod programs;
mod run;
mod samples;
mod services;
mod setup;
mod sqlx;
mod test;
mod tidy;
mod workspace;

use clap::{Parser, Subcommand};
use std::process::ExitCode;

#[derive(Parser)]
#[command(name = "cargo xtask", bin_name = "cargo xtask", about, version)]
struct Args {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Installs what the demo and the tests need and this machine lacks.
    Setup,
    /// Fetches what the sample agents need for their tests.
    Samples,
    /// The private Postgres and Redis of the tests.
    Services {
        #[arg(value_enum)]
        action: services::Action,
    },
    /// Every check and test, ending with the test runner's own summary.
    Test(test::Options),
    /// The whole stack against the simulated marketplace, from posted gig to booked profit.
    Demo(demo::Options),
    /// Measures the product beside its peers, in one run.
    Bench(bench::Options),
    /// The marketplace's own SDK and templates against the simulator.
    Conformance(conformance::Options),
    /// Regenerates docs/CONFIG.md, the configuration reference.
    Docs(docs::Options),
    /// Regenerates `libs/store/.sqlx`, the committed descriptions of the checked queries.
    Sqlx(sqlx::Options),
    /// The rules of what carries the product into production: images, compose, Fly, the workflow.
    Deploy,
    /// The shipped images and compose file run for real, in a Docker engine if one can be had.
    TestContainers(containers::Options),
    /// Bytes from outside against the marketplace's readers, for a while.
    Fuzz(fuzz::Options),
    /// The rules of the workspace: edges, owners, sizes, names, migrations.
    Tidy,
}

fn main() -> ExitCode {
    match obey(Args::parse().command) {
        Ok(code) => code,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn obey(command: Command) -> anyhow::Result<ExitCode> {
    match command {
        Command::Setup => setup::run()?,
        Command::Samples => samples::run()?,
        Command::Services { action } => services::run(action)?,
        Command::Test(options) => return test::run(&options),
        Command::Demo(options) => return demo::run(&options),
        Command::Bench(options) => return bench::run(&options),
        Command::Conformance(options) => conformance::run(&options)?,
        Command::Docs(options) => docs::run(&options)?,
        Command::Sqlx(options) => sqlx::run(&options)?,
        Command::Deploy => deploy::run()?,
        Command::TestContainers(options) => containers::run(&options)?,
        Command::Fuzz(options) => fuzz::run(&options)?,
        Command::Tidy => tidy::run()?,
    }
    Ok(ExitCode::SUCCESS)
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory;

    #[test]
    fn the_command_line_is_consistent() {
        Args::command().debug_assert();
    }
}
