//! One child: started, asked whether it is ready, started again when it dies, stopped when told.

use std::collections::BTreeMap;
use std::os::unix::process::CommandExt as _;
use std::path::PathBuf;
use std::process::{Command, ExitStatus, Stdio};
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, Result};
use boot::CancellationToken;
use nix::sys::signal::Signal;
use tokio::time::Instant;

use super::board::{Board, State};
use super::home::Home;
use super::logs;
use super::postgres::Cluster;
use super::probe::Probe;
use super::process::{self, Record};
use super::user::Runner;
use crate::http::Http;
use crate::out::Out;
use crate::private;

/// Pauses before a child is started again: none the first time, then these, doubling.
const FIRST_PAUSE: Duration = Duration::from_millis(200);
const LONGEST_PAUSE: Duration = Duration::from_secs(10);
/// A child that lived this long starts with a clean sheet.
const LIVED: Duration = Duration::from_secs(10);
/// How often a child is asked, while it is not ready and when it is.
const ASK: Duration = Duration::from_millis(100);
const ASK_AGAIN: Duration = Duration::from_secs(2);
/// The exit code of a service that cannot use its configuration.
const MISCONFIGURED: i32 = 64;

/// Everything a child is started with.
#[derive(Debug, Clone)]
pub struct Spec {
    /// Its name in the stack, such as `scheduler` or `scheduler-1`.
    pub name: String,
    /// The program.
    pub program: PathBuf,
    /// Its arguments; never a secret.
    pub args: Vec<String>,
    /// Its whole environment.
    pub env: BTreeMap<String, String>,
    /// Who it runs as.
    pub runner: Runner,
    /// How it is asked to stop, and how long that may take.
    pub stop: (Signal, Duration),
    /// How it is asked whether it is ready.
    pub probe: Probe,
    /// What is cleared away before each start.
    pub before: Before,
}

/// What an earlier process of the same child may have left.
#[derive(Debug, Clone)]
pub enum Before {
    /// Nothing.
    Nothing,
    /// Sessions of a Postgres.
    Cluster(Cluster),
    /// A container of this name, whose client was killed.
    Container {
        /// The Docker client.
        docker: PathBuf,
        /// Its name.
        name: String,
    },
}

impl Before {
    async fn clear(&self) -> Result<()> {
        match self {
            Self::Nothing => Ok(()),
            Self::Cluster(cluster) => cluster.end_leftovers().await,
            Self::Container { docker, name } => {
                let mut remove = tokio::process::Command::new(docker);
                remove.args(["rm", "--force", name]).stdin(Stdio::null());
                // That there is none is the usual case.
                let removed = tokio::time::timeout(Duration::from_secs(30), remove.output()).await;
                removed
                    .context("wait for docker rm")?
                    .context("run docker rm")
                    .map(drop)
            }
        }
    }
}

impl Spec {
    /// Hash of everything the child is started with, its program's own date included: a process with another one is
    /// not this child.
    #[must_use]
    pub fn fingerprint(&self) -> String {
        let built = self.program.metadata().and_then(|metadata| metadata.modified()).ok();
        let config = self
            .env
            .get("STEWARD_CONFIG")
            .and_then(|path| std::fs::read_to_string(path).ok());
        let all = format!(
            "{:?}",
            (&self.program, built, &self.args, &self.env, self.runner, config)
        );
        private::sha256(all.as_bytes())
    }

    fn command(&self, home: &Home) -> Result<Command> {
        let log = logs::open(&logs::path(home, &self.name))?;
        let errors = log.try_clone().context("share the log")?;
        let mut command = self.runner.command(&self.program);
        command
            .args(&self.args)
            .envs(&self.env)
            .stdin(Stdio::null())
            .stdout(log)
            .stderr(errors)
            // Ctrl-C in the terminal reaches the supervisor only, which stops its children in order.
            .process_group(0);
        Ok(command)
    }
}

/// What a child's keeper shares with the stack.
#[derive(Debug, Clone)]
pub struct Shared {
    /// Where records and logs lie.
    pub home: Home,
    /// Where its state is shown.
    pub board: Arc<Board>,
    /// For questions.
    pub(crate) http: Http,
    /// For remarks.
    pub(crate) out: Out,
}

/// A process that is our child, or one an earlier supervisor left that we look after.
enum Process {
    Own(tokio::process::Child),
    Adopted(Record),
}

impl Process {
    async fn wait(&mut self) -> End {
        match self {
            Self::Own(child) => match child.wait().await {
                Ok(status) => End::of(status),
                Err(error) => End::vague(format!("it cannot be waited for: {error}")),
            },
            Self::Adopted(record) => {
                while record.is_alive() {
                    process::gone(|| !record.is_alive(), Duration::from_secs(60)).await;
                }
                End::vague("it ended".to_owned())
            }
        }
    }
}

struct End {
    what: String,
    /// It gave up by itself, so its last words say why.
    gave_up: bool,
    misconfigured: bool,
}

impl End {
    fn of(status: ExitStatus) -> Self {
        Self {
            what: format!("it ended: {status}"),
            gave_up: status.code().is_some_and(|code| code != 0),
            misconfigured: status.code() == Some(MISCONFIGURED),
        }
    }

    /// With the last thing it said, where that is why.
    fn explained(mut self, home: &Home, name: &str) -> Self {
        if !self.gave_up {
            return self;
        }
        let last = logs::last_words(&logs::path(home, name), 1);
        if !last.trim().is_empty() {
            self.what = format!("{}: {}", self.what, last.trim());
        }
        self
    }

    fn vague(what: String) -> Self {
        Self {
            what,
            gave_up: false,
            misconfigured: false,
        }
    }
}

/// Keeps one child running until `stop`; then stops it and returns.
pub async fn keep(spec: Spec, adopt: Option<Record>, shared: Shared, stop: CancellationToken) {
    let mut adopt = adopt;
    let mut pause = Duration::ZERO;
    loop {
        let begun = Instant::now();
        let ended = match begin(&spec, adopt.take(), &shared).await {
            Ok((process, record)) => attend(&spec, process, record, &shared, &stop).await,
            Err(error) => Some(End::vague(format!("it cannot be started: {error:#}"))),
        };
        process::forget(&shared.home.run(), &spec.name);
        let Some(end) = ended else {
            shared.board.change(&spec.name, |state| {
                state.pid = None;
                state.ready = false;
                state.note = "stopped".to_owned();
            });
            return;
        };
        if stop.is_cancelled() {
            // It ended while it was about to be told to: nobody starts it again.
            shared.board.change(&spec.name, |state| *state = State::default());
            return;
        }
        let end = end.explained(&shared.home, &spec.name);
        shared
            .out
            .note(&format!("{}: {}; it is started again", spec.name, end.what));
        shared.board.change(&spec.name, |state| {
            state.pid = None;
            state.ready = false;
            state.note = end.what;
            state.misconfigured = end.misconfigured;
        });
        if begun.elapsed() >= LIVED {
            pause = Duration::ZERO;
        }
        tokio::select! {
            () = tokio::time::sleep(pause) => {}
            () = stop.cancelled() => return,
        }
        pause = (pause * 2).clamp(FIRST_PAUSE, LONGEST_PAUSE);
    }
}

async fn begin(spec: &Spec, adopt: Option<Record>, shared: &Shared) -> Result<(Process, Option<Record>)> {
    let (process, record) = match adopt.filter(Record::is_alive) {
        Some(record) => (Process::Adopted(record.clone()), Some(record)),
        None => {
            spec.before.clear().await?;
            let child = tokio::process::Command::from(spec.command(&shared.home)?)
                .spawn()
                .with_context(|| format!("start {}", spec.program.display()))?;
            let record = child
                .id()
                .and_then(|pid| Record::of(&spec.name, pid, spec.stop.0, &spec.fingerprint()));
            (Process::Own(child), record)
        }
    };
    if let Some(record) = &record {
        record.save(&shared.home.run())?;
    }
    shared.board.change(&spec.name, |state| {
        state.pid = record.as_ref().and_then(|record| u32::try_from(record.pid).ok());
        state.ready = false;
        state.starts += 1;
    });
    Ok((process, record))
}

/// Asks again and again until the process ends (how) or `stop` (nothing, after stopping it).
async fn attend(
    spec: &Spec,
    mut process: Process,
    record: Option<Record>,
    shared: &Shared,
    stop: &CancellationToken,
) -> Option<End> {
    let mut wait = Duration::ZERO;
    let mut failures = 0_u32;
    loop {
        tokio::select! {
            end = process.wait() => return Some(end),
            () = stop.cancelled() => {
                shared.board.change(&spec.name, |state| state.ready = false);
                end(&mut process, record, spec).await;
                return None;
            }
            answer = async {
                tokio::time::sleep(wait).await;
                spec.probe.ask(&shared.http).await
            } => {
                failures = if answer.is_ok() { 0 } else { failures + 1 };
                // One question that got lost in a busy moment is not a child that is down.
                let ready = answer.is_ok() || (failures == 1 && shared.board.of(&spec.name).ready);
                wait = if answer.is_ok() { ASK_AGAIN } else { ASK };
                shared.board.change(&spec.name, |state| {
                    state.ready = ready;
                    state.note = answer.err().unwrap_or_default();
                });
                logs::rotate(&logs::path(&shared.home, &spec.name));
            }
        }
    }
}

async fn end(process: &mut Process, record: Option<Record>, spec: &Spec) {
    let Some(record) = record else {
        process.wait().await;
        return;
    };
    let (signal, grace) = spec.stop;
    match process {
        Process::Own(child) => {
            process::signal(record.pid, signal);
            if tokio::time::timeout(grace, child.wait()).await.is_err() {
                process::kill_group(record.pid);
                // Killed at once, it is gone as soon as the kernel gets to it.
                child.wait().await.ok();
            }
        }
        Process::Adopted(_) => record.end(grace).await,
    }
}
