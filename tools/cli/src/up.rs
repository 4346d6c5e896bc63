//! `steward up`: the whole stack on one machine, under supervision.
//!
//! The supervisor holds the folder's lock, starts Postgres and Redis, migrates, starts the services, sees to the
//! agents, and keeps `stack.json` true. Children are of its making but not of its fate: they log to files of their own
//! and are recorded, so that when the supervisor is killed they go on, and the next one adopts them.

pub mod agents;
pub mod board;
pub mod children;
mod docker;
pub mod home;
pub mod leftovers;
pub mod logs;
pub mod plan;
pub mod ports;
pub mod postgres;
pub mod probe;
pub mod process;
pub mod programs;
pub mod redis;
mod services;
pub mod signals;
pub mod stack;
pub mod stack_file;
pub mod user;

#[cfg(test)]
mod tests;

use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context as _, Result};
use rpc::v1;
use serde_json::{Value, json};

use crate::args::{Global, Up};
use crate::bundle::runnable::Place;
use crate::commands::agents::unpriced;
use crate::context::{Peer, USUAL_DIR};
use crate::failure::Failure;
use crate::http::Http;
use crate::out::Out;
use crate::private;
use crate::secrets::{PLACEHOLDER, Vault};
use crate::{bundle, env, starter};
use agents::Registration;
use home::Home;
use plan::Settings;
use signals::Signals;
use stack::Stack;

/// Services of which there can be several.
pub const REPLICABLE: [&str; 5] = plan::SERVICES;

/// How long minting a sign-in link may take.
const MINT: Duration = Duration::from_secs(5);

/// Starts the stack, keeps it until a signal, stops it.
///
/// # Errors
/// The folder is in use, something is missing, or the stack does not become ready.
pub(crate) async fn run(global: &Global, options: Up, out: &Out) -> Result<u8> {
    let dir = global.dir.clone().unwrap_or_else(|| PathBuf::from(USUAL_DIR));
    let settings = Settings {
        simulated: !options.live,
        replicas: options.replicas.clone(),
        rate_limit: options.rate_limit,
        quiet_market: options.quiet_market,
        poll: options.poll,
        seed: options.seed,
        listen: options.listen,
        console_listen: options.console_listen,
    };
    let files = agent_files(&dir, &options, out)?;
    if options.live {
        prepare_live(&dir, &files)?;
    }
    let mut signals = Signals::listen()?;
    // Remembered ones are seen to without being named, and one of them that is broken stops nothing.
    let named = if options.agents.is_empty() && !Registration::all(&Home::create(&dir)?).is_empty() {
        Vec::new()
    } else {
        files.clone()
    };
    let mut stack = Stack::open(&dir, settings, named, *out).await?;
    let started = match claim_addresses(&stack, &options) {
        Err(taken) => Err(taken),
        Ok(()) => tokio::select! {
            started = stack.bring_up() => started,
            () = signals.next() => Err(anyhow::anyhow!("stopped before everything was ready")),
        },
    };
    if started.is_ok() {
        greet(&stack, out).await?;
        warn_of_prices(&stack, &files, out).await;
        warn_of_strangers(&stack, out).await;
        signals.next().await;
        out.note("stopping; once more ends everything at once");
    }
    stack.stop(&mut signals).await;
    started.map(|()| 0)
}

/// Refuses addresses somebody else listens on, before anything is started that bids. A part of this stack that still
/// runs has its own.
fn claim_addresses(stack: &Stack, options: &Up) -> Result<()> {
    let left = process::records(&stack.home.run())?;
    let runs = |part: &str| left.iter().any(|one| one.name.starts_with(part) && one.is_alive());
    for (part, option, address) in [
        ("ingress", "--listen", options.listen),
        ("console", "--console-listen", options.console_listen),
    ] {
        if !runs(part) {
            ports::claim(option, address)?;
        }
    }
    Ok(())
}

/// The agents to run: those named, else those of the last time, else the demo agent. All are checked before anything
/// is started.
fn agent_files(dir: &Path, options: &Up, out: &Out) -> Result<Vec<PathBuf>> {
    let mut files = Vec::new();
    for file in &options.agents {
        let absolute = bundle::agent_file(file)
            .canonicalize()
            .map_err(|error| Failure::Usage(format!("read the agent file {}: {error}", file.display())))?;
        let packed = bundle::pack(&absolute)?;
        bundle::runnable(&packed, Place::Here, "")?;
        files.push(absolute);
    }
    let home = Home::create(dir)?;
    let remembered = Registration::all(&home);
    if files.is_empty() {
        for one in &remembered {
            let why = match bundle::pack(&one.file) {
                Ok(_) => continue,
                Err(error) => crate::failure::sentence(&error),
            };
            out.note(&agents::skipping(&one.name, &why));
        }
        let usable = remembered.iter().filter(|one| bundle::pack(&one.file).is_ok());
        files.extend(usable.map(|one| one.file.clone()));
    }
    if files.is_empty() && remembered.is_empty() {
        // A live stack without an agent bids on nothing: it waits for one.
        if !options.live {
            files.push(starter::demo_agent(&home.path().join("demo-agent"))?);
        }
    }
    let mut names = Vec::new();
    for file in &files {
        let name = bundle::pack(file)?.agent.name;
        if names.contains(&name) {
            return Err(Failure::Usage(format!(
                "two agent files are named {name:?}: each needs a name of its own"
            ))
            .into());
        }
        names.push(name);
    }
    Ok(files)
}

/// Live mode spends and earns real money: everything it needs from outside must be there before it starts.
fn prepare_live(dir: &Path, files: &[PathBuf]) -> Result<()> {
    let home = Home::create(dir)?;
    // The folder's owner is asked first, so that a running stack's secrets are not touched.
    let _lock = home.lock()?;
    Vault::open(&home.secrets())?;
    let mut wanted = Vec::new();
    let folder = home.secrets().join("billing");
    private::folder(&folder, private::PRIVATE)?;
    let key = folder.join("provider_api_key");
    if let Some(given) = env::variable("OPENAI_API_KEY") {
        private::write(&key, given.trim().as_bytes(), 0o400)?;
    }
    let there = private::read(&key)?.unwrap_or_default();
    if there.trim().is_empty() || there.trim() == PLACEHOLDER {
        wanted.push(format!(
            "the model provider's key: set OPENAI_API_KEY, or put it into {}",
            key.display()
        ));
    }
    for file in files {
        let agent = bundle::pack(file)?.agent;
        let name = &agent.name;
        for key in starter::placeholders(&agent) {
            wanted.push(format!("{key} of {name}: fill it in in {}", file.display()));
        }
        let missing = agents::missing_files(&home, name)?;
        // None at all: it is registered once the stack is up.
        if missing.len() < agents::LIVE_FILES.len() {
            let each = missing.iter().map(|(what, path)| {
                let what = what.replace('_', " ");
                format!("the {what} of {name}: put it into {}", path.display())
            });
            wanted.extend(each);
        }
    }
    if wanted.is_empty() {
        return Ok(());
    }
    Err(Failure::Refused(format!("live mode needs\n  - {}", wanted.join("\n  - "))).into())
}

/// Says which agents the marketplace does not know yet, and what makes them known.
async fn warn_of_strangers(stack: &Stack, out: &Out) {
    let desk = &stack.desk;
    let Ok(scheduler) = Peer::open("scheduler", &desk.scheduler, &desk.token).await else {
        return;
    };
    let mut agents = scheduler.agents();
    let listed = scheduler.ask("list the agents", agents.list_agents(v1::ListAgentsRequest {}));
    let Ok(listed) = listed.await else { return };
    for agent in listed.agents.iter().filter(|agent| !agent.has_key) {
        let name = &agent.name;
        out.note(&format!(
            "{name} is not on the marketplace yet: steward agents register {name} --webhook-url https://… --dir {}",
            stack.home.path().display()
        ));
    }
}

/// Says which models of the agents have no price.
async fn warn_of_prices(stack: &Stack, files: &[PathBuf], out: &Out) {
    let urls = stack.plan.all("billing", "grpc");
    let Ok(billing) = Peer::open("billing", &urls, &stack.desk.token).await else {
        return;
    };
    for packed in files.iter().filter_map(|file| bundle::pack(file).ok()) {
        if let Some(warning) = unpriced(&billing, &packed.agent).await {
            out.note(&warning);
        }
    }
}

async fn greet(stack: &Stack, out: &Out) -> Result<()> {
    let described = stack_file::read(&stack.home)?.unwrap_or_default();
    let console = console_link(&described).await;
    let mode = described["mode"].as_str().unwrap_or_default();
    let shown = json!({
        "ready": true,
        "mode": mode,
        "dir": stack.home.path(),
        "stack": stack.home.stack_file(),
        "console": console.as_deref().ok(),
    });
    out.result(&shown, |_| {
        let console = console.unwrap_or_else(|error| format!("no sign-in link: {error:#}"));
        let mut text = format!(
            "Steward is up ({mode}) in {}\n  console    {console}\n",
            stack.home.path().display()
        );
        let agents = described["agents"].as_array().cloned().unwrap_or_default();
        if agents.is_empty() {
            text.push_str("  no agent yet: start again with --agent FILE\n");
        }
        for agent in agents {
            text.push_str(&format!(
                "  webhooks   {}\n",
                agent["hook"].as_str().unwrap_or_default()
            ));
        }
        if let Some(url) = described["services"]["simulator"]["url"].as_str() {
            text.push_str(&format!("  simulator  {url}\n"));
        }
        text.push_str(&format!(
            "  logs       {}\nCtrl-C stops everything.",
            stack.home.logs().display()
        ));
        text
    })
}

/// The console's address with a sign-in token that works once.
///
/// # Errors
/// The console does not answer or refuses.
pub async fn console_link(stack: &Value) -> Result<String> {
    let url = stack["services"]["console"]["url"]
        .as_str()
        .context("the stack has no console")?;
    let token = stack["operator_token"].as_str().unwrap_or_default();
    Ok(format!("{url}{}", sign_in_path(url, token).await?))
}

/// The path, on a console, that signs the operator in once.
///
/// # Errors
/// The console does not answer or refuses.
pub async fn sign_in_path(console: &str, operator_token: &str) -> Result<String> {
    let http = Http::new(MINT)?;
    let answer = http
        .post(&format!("{console}/login/mint"), Some(operator_token), None)
        .await?;
    let answer = answer.ok("mint a sign-in token")?;
    let minted = answer["token"].as_str().context("the console's answer has no token")?;
    Ok(format!("/login?token={minted}"))
}

/// Stops the stack of a folder, or what a killed supervisor left of it. Answers whether there was any.
///
/// # Errors
/// It does not stop in time.
pub async fn down(home: &Home) -> Result<bool> {
    /// The longest an orderly stop takes, one service after the other.
    const PATIENCE: Duration = Duration::from_secs(150);
    let Some(stack) = stack_file::read(home)? else {
        return Ok(false);
    };
    if let Some(lock) = home.try_lock()? {
        let ended = leftovers::end_all(home).await?;
        mark_down(home, stack)?;
        drop(lock);
        return Ok(!ended.is_empty());
    }
    let pid = stack["supervisor"]["pid"]
        .as_i64()
        .and_then(|pid| i32::try_from(pid).ok());
    let pid = pid.context("stack.json does not name its supervisor: end it by hand")?;
    process::signal(pid, nix::sys::signal::Signal::SIGTERM);
    let freed = || home.try_lock().is_ok_and(|lock| lock.is_some());
    if process::gone(freed, PATIENCE).await {
        return Ok(true);
    }
    anyhow::bail!(
        "the supervisor (process {pid}) has not stopped after {} s",
        PATIENCE.as_secs()
    )
}

/// A killed supervisor could not say that nothing is ready any more.
fn mark_down(home: &Home, mut stack: Value) -> Result<()> {
    stack["ready"] = json!(false);
    stack["generation"] = json!(stack["generation"].as_u64().unwrap_or(0) + 1);
    private::write(
        &home.stack_file(),
        serde_json::to_string_pretty(&stack)?.as_bytes(),
        0o600,
    )
}
