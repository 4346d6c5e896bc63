//! The operator's command and the supervisor of the local stack.
//!
//! Two halves. *Commands* ask the scheduler and billing over gRPC and print what they answer, as tables or with
//! `--json`. *`up`* supervises a whole stack on one machine: private Postgres and Redis, the simulator, the services.
//!
//! What it promises:
//! - Exit codes: 0 done, 1 failed, 2 usage, 3 not found, 4 refused.
//! - A child that dies is started again; what a killed supervisor left running is adopted or ended by the next `up`;
//!   two supervisors never share a folder.
//! - Each child gets a clean environment with its own secrets and nobody else's; secrets are files only their owner
//!   can read, never arguments.
//! - The same folder always gives the same bundle, byte for byte; what looks like a secret is not packed.
//!
//! What it does not do: decide anything about contracts or money, or keep state of its own outside the stack's folder.
//!
//! To add a command: a variant in `args.rs`, a function in `commands/`, a shape in `view.rs`.

pub mod args;
pub mod bundle;
mod commands;
mod context;
mod demo;
mod env;
pub mod failure;
mod http;
mod out;
mod private;
mod render;
pub mod secrets;
pub mod starter;
mod trial;
pub mod up;
mod view;

use std::process::ExitCode;

use clap::Parser as _;

/// The whole process: arguments, command, exit code.
#[must_use]
pub fn main() -> ExitCode {
    let cli = match args::Cli::try_parse() {
        Ok(cli) => cli,
        Err(error) => {
            // If nobody reads it, the exit code still says it.
            let _nobody_reads = error.print();
            return ExitCode::from(if error.use_stderr() { failure::USAGE } else { 0 });
        }
    };
    let out = out::Out::new(cli.global.json);
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build();
    let result = match runtime {
        Ok(runtime) => {
            let result = runtime.block_on(commands::run(cli, &out));
            // A blocking read that nobody waits for any more must not hold up the end.
            runtime.shutdown_timeout(std::time::Duration::from_secs(1));
            result
        }
        Err(error) => Err(anyhow::Error::new(error).context("start the runtime")),
    };
    match result {
        Ok(code) => ExitCode::from(code),
        Err(error) => out.failed(&error),
    }
}
