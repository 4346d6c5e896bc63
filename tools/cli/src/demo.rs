//! `steward demo`: contracts from posted gig to booked profit on a simulated stack, then the books compared with what
//! the other side saw.

use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context as _, Result};
use tempfile::TempDir;
use tokio::time::Instant;

use crate::args::{Demo, Global};
use crate::failure;
use crate::out::Out;
use crate::starter;
use crate::up::plan::Settings;
use crate::up::signals::Signals;
use crate::up::stack::Stack;
use crate::up::{console_link, stack_file, user};

mod drive;
mod summary;

use drive::Drive;
use summary::Summary;

/// Time everything may take: to begin with, and for each contract.
const BASE: Duration = Duration::from_secs(120);
const PER_CONTRACT: Duration = Duration::from_secs(6);
/// The limit of a simulated market that is in no hurry to refuse.
const RATE_LIMIT: u32 = 6_000;

/// Runs the demo. Exit 0 only if every promise held.
pub(crate) async fn run(global: &Global, options: Demo, out: &Out) -> Result<u8> {
    let (dir, fresh) = folder(global)?;
    let mut signals = Signals::listen()?;
    let begun = Instant::now();
    out.note(&format!("the demo's stack lies in {}", dir.display()));
    let agent = starter::demo_agent(&dir.join("demo-agent"))?;
    let settings = Settings {
        rehearsed: false,
        simulated: true,
        replicas: options.replicas.clone(),
        rate_limit: RATE_LIMIT,
        quiet_market: true,
        poll: false,
        seed: options.seed,
        listen: None,
        console_listen: None,
    };
    let mut stack = Stack::open(&dir, settings, vec![agent], *out).await?;
    let played = tokio::select! {
        played = play(&mut stack, &options, begun, out) => played,
        () = signals.next() => Err(anyhow::anyhow!("stopped before the demo was done")),
    };
    let code = match &played {
        Ok(summary) => {
            if !options.exit {
                invite(&stack, summary, out).await?;
                signals.next().await;
            }
            if summary.holds() { 0 } else { failure::FAILED }
        }
        Err(_) => failure::FAILED,
    };
    let home = stack.home.clone();
    stack.stop(&mut signals).await;
    if code == 0 {
        tidy(fresh, &user::far(&home));
    } else if let Some(fresh) = fresh {
        out.note(&format!("logs are kept in {}", fresh.keep().join("logs").display()));
    }
    let summary = played?;
    if options.exit {
        print(&summary, out)?;
    }
    Ok(code)
}

async fn play(stack: &mut Stack, options: &Demo, begun: Instant, out: &Out) -> Result<Summary> {
    out.note("starting Postgres, Redis, the simulator and the services");
    stack.bring_up().await?;
    out.note(&format!(
        "everything is ready after {:.1} s",
        begun.elapsed().as_secs_f32()
    ));
    let drive = Drive::begin(stack, options.contracts).await?;
    let deadline = Instant::now() + BASE + PER_CONTRACT * options.contracts;
    drive.watch(deadline, out).await?;
    drive.summary(begun.elapsed()).await
}

/// What is said while the stack stays up.
async fn invite(stack: &Stack, summary: &Summary, out: &Out) -> Result<()> {
    let described = stack_file::read(&stack.home)?.unwrap_or_default();
    let link = console_link(&described).await;
    let link = link.unwrap_or_else(|error| format!("no sign-in link: {error:#}"));
    let dir = stack.home.path().display();
    // It may not be on the PATH yet.
    let program = std::env::current_exe().unwrap_or_else(|_| PathBuf::from("steward"));
    let program = program.display();
    out.note(&format!(
        "console  {link}\ncommands {program} status --dir {dir}\nCtrl-C stops everything."
    ));
    print(summary, out)
}

fn print(summary: &Summary, out: &Out) -> Result<()> {
    out.result(&summary.json(), |_| summary.text())
}

fn folder(global: &Global) -> Result<(PathBuf, Option<TempDir>)> {
    if let Some(dir) = &global.dir {
        return Ok((dir.clone(), None));
    }
    let fresh = tempfile::Builder::new().prefix("steward-demo-").tempdir();
    let fresh = fresh.context("make a folder for the demo; name one with --dir")?;
    Ok((fresh.path().to_owned(), Some(fresh)))
}

/// Leaves no trace of a demo that went well.
fn tidy(fresh: Option<TempDir>, far: &std::path::Path) {
    if let Some(fresh) = fresh {
        // What cannot be removed is rubbish in a folder for rubbish.
        fresh.close().ok();
        std::fs::remove_dir_all(far).ok();
    }
}
