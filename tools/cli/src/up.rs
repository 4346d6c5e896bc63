//! `steward up`: the whole stack on one machine, under supervision.
//!
//! The supervisor holds the folder's lock, starts Postgres and Redis, migrates, starts the services, sees to the
//! agents, and keeps `stack.json` true. Children are of its making but not of its fate: they log to files of their own
//! and are recorded, so that when the supervisor is killed they go on, and the next one adopts them.

pub mod agents;
pub mod board;
pub mod children;
mod docker;
mod greeting;
pub mod home;
pub mod leftovers;
pub mod logs;
pub mod plan;
pub mod ports;
pub mod postgres;
pub mod probe;
pub mod process;
pub mod programs;
mod providers;
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
use serde_json::{Value, json};

use crate::args::{Global, Up};
use crate::bundle::runnable::Place;
use crate::context::USUAL_DIR;
use crate::failure::Failure;
use crate::http::Http;
use crate::out::Out;
use crate::private;
use crate::secrets::Vault;
use crate::{bundle, starter};
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
        rehearsed: options.rehearse,
        replicas: options.replicas.clone(),
        rate_limit: options.rate_limit,
        quiet_market: options.quiet_market,
        poll: options.poll,
        seed: options.seed,
        listen: options.listen,
        console_listen: options.console_listen,
    };
    keep_worlds_apart(&dir, &settings)?;
    let files = agent_files(&dir, &options, out)?;
    if options.live || options.rehearse {
        prepare_live(&dir, &files, options.rehearse)?;
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
        greeting::greet(&stack, &files, out).await?;
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
            .map_err(|error| bundle::unreadable(file, &error))?;
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
        // A live stack without an agent bids on nothing: it waits for one. So does a rehearsal.
        if !options.live && !options.rehearse {
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

/// Refuses to mix money: a simulator would replace the only copy of a real key, and a marketplace would be called with
/// keys a simulator made.
fn keep_worlds_apart(dir: &Path, settings: &Settings) -> Result<()> {
    let earlier = stack_file::read(&Home::create(dir)?)?.unwrap_or_default();
    let Some(earlier) = earlier["mode"].as_str() else {
        return Ok(());
    };
    let mode = settings.mode();
    if (earlier == "live") == (mode == "live") {
        return Ok(());
    }
    let (dir, option) = (dir.display(), if earlier == "live" { " (or say --live)" } else { "" });
    let why = format!(
        "{dir} holds the agents and books of a {earlier} stack, and this one would be {mode}: name another folder with \
         --dir{option}"
    );
    Err(Failure::Refused(why).into())
}

/// Live mode spends and earns real money: everything it needs from outside must be there before it starts. A rehearsal
/// brings its own provider.
fn prepare_live(dir: &Path, files: &[PathBuf], rehearsed: bool) -> Result<()> {
    let home = Home::create(dir)?;
    // The folder's owner is asked first, so that a running stack's secrets are not touched.
    let _lock = home.lock()?;
    Vault::open(&home.secrets())?;
    let mut wanted = Vec::new();
    if !rehearsed {
        wanted.extend(providers::keep_keys(&home)?);
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
    let who = if rehearsed { "a rehearsal" } else { "live mode" };
    Err(Failure::Refused(format!("{who} needs\n  - {}", wanted.join("\n  - "))).into())
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
