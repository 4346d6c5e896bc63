//! `bench-sandbox`: how long until an agent's first instruction, and until nothing of it is left, beside a plain
//! fork+exec, bubblewrap and, where a Python has it, sandlock.
//!
//! The candidates take turns, run by run. The same program is started by each: one that prints at once and then waits
//! to be ended. `--runs 10000` is the leak check: afterwards no process, mount, namespace, folder, control group or
//! descriptor may be left.
#![expect(clippy::print_stdout, clippy::print_stderr, reason = "a command-line tool talks")]

#[cfg(target_os = "linux")]
mod candidates;
#[cfg(target_os = "linux")]
mod leaks;
#[cfg(target_os = "linux")]
mod measure;
#[cfg(target_os = "linux")]
mod sandlock;
#[cfg(target_os = "linux")]
mod share;

use std::process::ExitCode;

use clap::Parser;

#[derive(Parser)]
#[command(about = "Start and end of one run's process, beside fork+exec, bubblewrap and sandlock")]
struct Args {
    /// Runs of each candidate.
    #[arg(long, default_value_t = 200)]
    runs: usize,
    /// Instead: what busy runs get of the processors, with control groups and without.
    #[arg(long)]
    share: bool,
    /// Only candidates whose name contains this.
    #[arg(long)]
    only: Option<String>,
    /// The executor to measure; else the one beside this program.
    #[arg(long)]
    executor: Option<std::path::PathBuf>,
    /// A Python with the package sandlock (`pip install sandlock`).
    #[arg(long, default_value = "python3")]
    sandlock: std::path::PathBuf,
    /// Print one JSON object as the last line.
    #[arg(long)]
    json: bool,
}

#[cfg(target_os = "linux")]
#[tokio::main]
async fn main() -> anyhow::Result<ExitCode> {
    let args = Args::parse();
    if args.share {
        return share::run(&args).await;
    }
    measure::run(&args).await
}

#[cfg(not(target_os = "linux"))]
fn main() -> ExitCode {
    let args = Args::parse();
    eprintln!(
        "sandboxes are measured on Linux only ({} runs of {:?} by {:?} beside {:?}, share {}, json {})",
        args.runs, args.only, args.executor, args.sandlock, args.share, args.json
    );
    ExitCode::from(2)
}
