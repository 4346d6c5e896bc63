//! A running stack: brought up in order, kept, stopped in order.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, Result, bail};
use boot::CancellationToken;
use tokio::task::JoinSet;
use tokio::time::Instant;

use super::agents::{self, Desk};
use super::board::Board;
use super::children::{self, Shared, Spec};
use super::home::{Home, Lock};
use super::plan::{Plan, Settings};
use super::ports::Ports;
use super::process::{self, Record};
use super::signals::Signals;
use super::stack_file::Writer;
use super::{leftovers, logs, services};
use crate::http::Http;
use crate::out::Out;
use crate::secrets::Vault;

/// How long everything may take to become ready.
const READY: Duration = Duration::from_secs(120);
/// How long a start may be silent.
const WORD: Duration = Duration::from_secs(15);
/// How often it is looked for agents others added.
const LOOK: Duration = Duration::from_secs(2);
/// How often addresses are chosen anew because somebody takes them meanwhile.
const ATTEMPTS: usize = 3;
/// Who is stopped together, in this order: the door first, what others write to last.
const STOP_ORDER: [&[&str]; 7] = [
    &["ingress", "console"],
    &["executor"],
    &["scheduler"],
    &["billing"],
    &["simulator"],
    &["redis"],
    &["postgres"],
];

/// A stack under supervision.
#[derive(Debug)]
pub struct Stack {
    /// Its folder.
    pub home: Home,
    /// What it consists of.
    pub plan: Arc<Plan>,
    /// Its children's states.
    pub board: Arc<Board>,
    /// Who sees to its agents.
    pub desk: Desk,
    vault: Vault,
    http: Http,
    files: Vec<PathBuf>,
    adopted: std::collections::BTreeMap<String, Record>,
    keepers: Vec<Keeper>,
    stop: CancellationToken,
    tasks: JoinSet<()>,
    out: Out,
    _lock: Lock,
}

#[derive(Debug)]
struct Keeper {
    name: String,
    stop: CancellationToken,
    task: JoinSet<()>,
}

impl Stack {
    /// Takes the folder, ends or adopts what an earlier supervisor left, plans. Starts nothing yet.
    ///
    /// # Errors
    /// Another supervisor has the folder, a program is missing, or a file cannot be written.
    pub async fn open(dir: &Path, settings: Settings, files: Vec<PathBuf>, out: Out) -> Result<Self> {
        let home = Home::create(dir)?;
        let lock = home.lock()?;
        let vault = Vault::open(&home.secrets())?;
        let mut attempt = 0;
        let (plan, adopted) = loop {
            let mut ports = Ports::load(&home)?;
            let plan = Plan::make(&home, settings.clone(), &mut ports, &vault)?;
            let adopted = leftovers::sort(&home, &plan).await?;
            let ours = |listener: &str| {
                let name = listener.split('.').next().unwrap_or_default();
                adopted.contains_key(name)
            };
            let taken = ports.renew_taken(ours)?;
            ports.save()?;
            attempt += 1;
            if taken.is_empty() || attempt == ATTEMPTS {
                break (plan, adopted);
            }
            out.note(&format!(
                "somebody else listens where {} did: other addresses are used",
                taken.join(", ")
            ));
        };
        let http = Http::new(Duration::from_secs(20))?;
        let plan = Arc::new(plan);
        // Nobody sees to the agents of a rehearsal but their operator.
        let seen_to = plan.simulator.as_ref().filter(|_| !plan.settings.rehearsed);
        let simulator = seen_to.and_then(|one| one.addresses.get("url")).cloned();
        let desk = Desk {
            home: home.clone(),
            http: http.clone(),
            simulator,
            door: services::door(&plan),
            scheduler: plan.all("scheduler", "grpc"),
            token: vault.origin("operator_token").to_owned().into(),
        };
        Ok(Self {
            home,
            board: Arc::default(),
            desk,
            plan,
            vault,
            http,
            files,
            adopted,
            keepers: Vec::new(),
            stop: CancellationToken::new(),
            tasks: JoinSet::new(),
            out,
            _lock: lock,
        })
    }

    /// Starts everything and waits until all of it is ready.
    ///
    /// # Errors
    /// A child cannot use its configuration, the schema cannot be brought up, or something is not ready in time; with
    /// the last words of whoever it is.
    pub async fn bring_up(&mut self) -> Result<()> {
        let deadline = Instant::now() + READY;
        for record in self.adopted.values() {
            self.out.note(&format!("{} still runs: it goes on", record.name));
        }
        let expected: Vec<String> = self.plan.specs().map(|spec| spec.name.clone()).collect();
        for name in expected.iter().map(String::as_str).chain([agents::NAME]) {
            self.board.expect(name);
        }
        self.announce()?;
        let plan = Arc::clone(&self.plan);
        let servers = [&plan.postgres, &plan.redis]
            .into_iter()
            .filter_map(|server| server.spec.as_ref());
        for spec in servers.chain(plan.simulator.iter().map(|one| &one.spec)) {
            self.keep(spec.clone());
        }
        if plan.postgres.spec.is_some() {
            self.wait(&["postgres".to_owned()], deadline).await?;
        }
        self.migrate().await?;
        for instance in plan.instances().filter(|instance| instance.name != "simulator") {
            self.keep(instance.spec.clone());
        }
        let (desk, board, stop) = (self.desk.clone(), Arc::clone(&self.board), self.stop.clone());
        let roster = agents::Roster {
            named: self.files.clone(),
            out: self.out,
        };
        self.tasks.spawn(agents::keep(desk, roster, board, stop));
        let all: Vec<String> = expected.into_iter().chain([agents::NAME.to_owned()]).collect();
        self.wait(&all, deadline).await?;
        // Nobody reads a `stack.json` that lags behind what was just said.
        self.written().await
    }

    /// Stops everything in order. A second signal ends it at once.
    pub async fn stop(mut self, signals: &mut Signals) {
        self.stop.cancel();
        for group in STOP_ORDER {
            let mut stopping = JoinSet::new();
            let (now, later): (Vec<_>, Vec<_>) = std::mem::take(&mut self.keepers)
                .into_iter()
                .partition(|keeper| group.contains(&service_of(&keeper.name)));
            self.keepers = later;
            for keeper in now {
                keeper.stop.cancel();
                stopping.spawn(keeper.task.join_all());
            }
            tokio::select! {
                _ = stopping.join_all() => {}
                () = signals.next() => {
                    self.out.note("ending everything at once");
                    for keeper in &self.keepers {
                        keeper.stop.cancel();
                    }
                    self.kill_all().await;
                }
            }
        }
        self.tasks.join_all().await;
    }

    /// Everything that still runs, at once.
    async fn kill_all(&self) {
        let records = process::records(&self.home.run()).unwrap_or_default();
        for record in records.iter().filter(|record| record.is_alive()) {
            process::kill_group(record.pid);
        }
        let ended = || records.iter().all(|record| !record.is_alive());
        process::gone(ended, Duration::from_secs(5)).await;
    }

    fn keep(&mut self, spec: Spec) {
        let adopt = self.adopted.remove(&spec.name);
        if adopt.is_none() {
            logs::set_aside(&logs::path(&self.home, &spec.name));
        }
        let shared = Shared {
            home: self.home.clone(),
            board: Arc::clone(&self.board),
            http: self.http.clone(),
            out: self.out,
        };
        let stop = CancellationToken::new();
        let mut task = JoinSet::new();
        let name = spec.name.clone();
        task.spawn(children::keep(spec, adopt, shared, stop.clone()));
        self.keepers.push(Keeper { name, stop, task });
    }

    /// Keeps `stack.json` true until the end.
    fn announce(&mut self) -> Result<()> {
        let token = self.vault.origin("operator_token").to_owned().into();
        let mut writer = Writer::new(&self.home, Arc::clone(&self.plan), Arc::clone(&self.board), token)?;
        writer.write(false)?;
        let (mut bell, stop, out) = (self.board.bell(), self.stop.clone(), self.out);
        self.tasks.spawn(async move {
            loop {
                let stopping = tokio::select! {
                    rung = bell.changed() => rung.is_err(),
                    () = stop.cancelled() => true,
                    // Agents are also added by others, without a bell.
                    () = tokio::time::sleep(LOOK) => false,
                };
                if let Err(error) = writer.write(stopping) {
                    out.note(&format!("steward: write stack.json: {error:#}"));
                }
                if stopping {
                    return;
                }
            }
        });
        Ok(())
    }

    async fn migrate(&self) -> Result<()> {
        let passwords = store::migrate::ROLES
            .iter()
            .map(|role| (*role, self.vault.origin(&format!("{role}_password")).to_owned().into()))
            .collect();
        let roles = store::migrate::RolePasswords { passwords };
        let migrating = store::migrate::run(&self.plan.postgres.url, &roles);
        let migrated = tokio::time::timeout(READY, migrating)
            .await
            .context("bring the schema up: Postgres is busy")?;
        migrated.context("bring the schema up").map(drop)
    }

    async fn wait(&self, names: &[String], deadline: Instant) -> Result<()> {
        let mut bell = self.board.bell();
        let mut word = Instant::now() + WORD;
        loop {
            let waiting = self.board.waiting();
            let open: Vec<&String> = names.iter().filter(|name| waiting.contains(name)).collect();
            if open.is_empty() {
                return Ok(());
            }
            if let Some(name) = open.iter().find(|name| self.board.of(name).misconfigured) {
                bail!("{name} cannot use its configuration:\n  {}", self.last_words(name));
            }
            let waited = tokio::time::timeout_at(deadline.min(word), bell.changed()).await;
            let now = Instant::now();
            if now >= word && now < deadline {
                // Nobody should have to guess what a silent start is doing.
                self.out.note(&self.board.still_waiting());
                word = now + WORD;
            }
            if waited.is_err() && now >= deadline {
                let each = open.iter().map(|name| {
                    format!(
                        "{name} is not ready: {}\n  {}",
                        self.board.of(name).note,
                        self.last_words(name)
                    )
                });
                bail!("{}", each.collect::<Vec<_>>().join("\n"));
            }
        }
    }

    /// Waits until `stack.json` says ready.
    async fn written(&self) -> Result<()> {
        let ready = || {
            let stack = super::stack_file::read(&self.home).ok().flatten();
            stack.is_some_and(|stack| stack["ready"] == true)
        };
        if process::gone(ready, Duration::from_secs(5)).await {
            return Ok(());
        }
        bail!("write {}: see the messages above", self.home.stack_file().display())
    }

    fn last_words(&self, name: &str) -> String {
        logs::last_words(&logs::path(&self.home, name), 6)
    }
}

/// `scheduler-1` is a scheduler.
fn service_of(name: &str) -> &str {
    name.split('-').next().unwrap_or(name)
}
