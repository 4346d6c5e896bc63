//! `cargo xtask test-containers`: the shipped images and `compose.yaml`, run for real.
//!
//! A stage of its own, because it needs a Docker engine: one that answers (`DOCKER_HOST`, or the usual socket), else one
//! started here when this is root on a Debian-like system, else the stage is skipped, and says so. Images are built from
//! the shipped Dockerfile with programs compiled outside, so that the stage takes a minute and not ten. What it starts it
//! stops: the stack with its volumes, the engine, its rules and its bridge.

mod engine;
mod http;
mod images;
mod play;
mod sandbox;
mod stack;

use crate::{run, workspace};
use anyhow::{Context, Result};
use engine::Engine;
use stack::Stack;
use std::path::PathBuf;
use std::time::{Duration, Instant};

/// Arguments of `cargo xtask test-containers`.
#[derive(clap::Args, Debug)]
pub struct Options {
    /// Contracts to drive from posted gig to booked profit.
    #[arg(long, default_value_t = 5)]
    contracts: u64,
    /// Programs of the release profile, as they are shipped; else those of the tests.
    #[arg(long)]
    release: bool,
    /// Leave the stack and the engine running, and say how to reach them.
    #[arg(long)]
    keep: bool,
}

/// Runs the stage; without an engine it says that it was skipped.
///
/// # Errors
/// When a promise is broken or something cannot be built or started.
pub fn run(options: &Options) -> Result<()> {
    let began = Instant::now();
    let root = workspace::root()?;
    let folder = workspace::target()?.join("test-containers");
    std::fs::create_dir_all(&folder).with_context(|| format!("create {}", folder.display()))?;
    let engine = match Engine::find(&folder)? {
        Ok(engine) => engine,
        Err(reason) => {
            println!("test-containers: skipped: no engine: {reason}");
            return Ok(());
        }
    };
    let outcome = with_engine(&engine, options, root, folder);
    if options.keep {
        println!(
            "left running: DOCKER_HOST={}",
            engine.host().unwrap_or("(the usual one)")
        );
    } else {
        engine.stop()?;
    }
    if outcome? {
        println!("test-containers: passed in {:.0} s", began.elapsed().as_secs_f64());
    }
    Ok(())
}

/// Whether it ran; `false` when it had to be skipped.
fn with_engine(engine: &Engine, options: &Options, root: PathBuf, folder: PathBuf) -> Result<bool> {
    if let Err(reason) = timed("base images", || images::bases(engine, &root, &folder))? {
        println!("test-containers: skipped: {reason}");
        return Ok(false);
    }
    let mut build = run::cargo(&root);
    build.args(["build", "--quiet", "--workspace", "--bins", "--exclude", "xtask"]);
    if options.release {
        build.arg("--release");
    }
    run::step("programs", &mut build)?;
    let programs = workspace::target()?.join(if options.release { "release" } else { "debug" });
    let commit = timed("images", || images::ours(engine, &root, &folder, &programs))?;
    timed("levels of isolation", || sandbox::levels(engine, &root))?;
    let stack = Stack::new(engine, root, &folder)?;
    let outcome = timed("stack", || stack.up())
        .and_then(|()| timed("promises of the images", || stack.look_inside(&commit)))
        .and_then(|()| timed("contracts", || play::run(&stack, options.contracts)))
        .and_then(|()| timed("stop", || stack.stops_in_order()));
    if outcome.is_err() {
        stack.tell();
    }
    if !options.keep {
        stack.down()?;
    }
    outcome.map(|()| true)
}

fn timed<T>(what: &str, work: impl FnOnce() -> Result<T>) -> Result<T> {
    eprintln!("── {what}");
    let started = Instant::now();
    let done = work().with_context(|| what.to_owned())?;
    run::done(what, started.elapsed());
    Ok(done)
}

/// Asks again until there is an answer; `None` when the time is over.
#[expect(
    clippy::disallowed_methods,
    reason = "a build tool without a runtime waits for containers"
)]
fn wait<T>(patience: Duration, mut ask: impl FnMut() -> Option<T>) -> Option<T> {
    let started = Instant::now();
    loop {
        let answer = ask();
        if answer.is_some() || started.elapsed() > patience {
            return answer;
        }
        std::thread::sleep(Duration::from_millis(300));
    }
}
