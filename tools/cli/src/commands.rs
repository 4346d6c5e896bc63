//! What each command does.

use anyhow::{Context as _, Result};
use clap::CommandFactory as _;
use rpc::v1;
use serde_json::json;

use crate::args::{Cli, Command, Listing};
use crate::out::Out;
use crate::{demo, up};

pub(crate) mod agents;
mod api;
mod books;
mod contracts;
mod doctor;
mod endpoint;
mod executors;
mod files;
mod logs;
mod maintenance;
mod messages;
mod notices;
mod onboarding;
mod operations;
mod rest;
pub(crate) mod secrets;
mod setup;
mod stack;
mod trial;
mod versions;
mod when;

/// Runs a command; the answer is its exit code.
pub(crate) async fn run(cli: Cli, out: &Out) -> Result<u8> {
    let Cli { global, command } = cli;
    let global = &global;
    match command {
        Command::Up(options) => up::run(global, options, out).await,
        Command::Down => stack::down(global, out).await,
        Command::Demo(options) => demo::run(global, options, out).await,
        Command::Init(options) => setup::init(global, &options, out),
        Command::Status => stack::status(global, out).await,
        Command::Migrate(options) => setup::migrate(&options, out).await,
        Command::Earnings { since, agent } => books::earnings(global, since.as_deref(), agent, out).await,
        Command::Agents(command) => agents::run(global, command, out).await,
        Command::Gigs(command) => contracts::gigs(global, command, out).await,
        Command::Contracts(command) => contracts::contracts(global, command, out).await,
        Command::Runs(command) => contracts::runs(global, command, out).await,
        Command::Messages(command) => messages::run(global, command, out).await,
        Command::Approvals(command) => operations::approvals(global, command, out).await,
        Command::Effects(command) => operations::effects(global, command, out).await,
        Command::Inbox(command) => operations::inbox(global, command, out).await,
        Command::DeadLetters(command) => operations::dead_letters(global, command, out).await,
        Command::Notices(command) => notices::run(global, command, out).await,
        Command::Secrets(command) => secrets::run(global, command, out).await,
        Command::Executors(command) => executors::run(global, command, out).await,
        Command::Maintenance(command) => maintenance::run(global, command, out).await,
        Command::Deployments(command) => operations::deployments(global, command, out).await,
        Command::Console {
            console_endpoint,
            public_url,
        } => stack::console(global, console_endpoint, public_url, out).await,
        Command::Ledger(command) => books::ledger(global, command, out).await,
        Command::Doctor { command } => doctor::run(global, command, out).await,
        Command::Smoke { live: _, name } => doctor::smoke(global, name, out).await,
        Command::Api(command) => api::run(global, command, out).await,
        Command::Prices(command) => books::prices(global, command, out).await,
        Command::Version => version(out),
        Command::Completions { shell } => completions(shell, out),
    }
}

fn version(out: &Out) -> Result<u8> {
    let build = boot::build_info!().info("steward");
    let shown = serde_json::to_value(&build).context("describe this build")?;
    out.result(&shown, |_| build.to_string())?;
    Ok(0)
}

fn completions(shell: clap_complete::Shell, out: &Out) -> Result<u8> {
    let mut script = Vec::new();
    clap_complete::generate(shell, &mut Cli::command(), "steward", &mut script);
    if out.json() {
        out.line(&json!({ "script": String::from_utf8_lossy(&script) }).to_string())?;
    } else {
        out.raw(&script)?;
    }
    Ok(0)
}

/// A listing's page on the wire.
fn page(listing: Listing) -> Option<v1::Page> {
    Some(v1::Page {
        limit: listing.limit,
        cursor: listing.cursor,
    })
}
