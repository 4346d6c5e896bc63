//! Runs agents, isolated.
//!
//! An executor takes assignments from the scheduler, runs each as a process of its own in a private workspace, passes
//! its model calls on with a credential the process never sees, and tells what came of it.
//!
//! What it promises:
//! - An agent sees its job, its bundle, its workspace and its gateway; what keeps it from the rest is probed at start
//!   ([`sandbox`]), reported, and refused when it is less than the operator's minimum.
//! - A run ends: by itself, by wall clock, idleness, output, disk, cancellation or the loss of its lease; with it end
//!   all processes it started, and its workspace is removed.
//! - A run is stopped before its lease can be somebody else's, also when nobody can be reached.
//! - The end of an attempt is on disk before it is told, and told until it is acknowledged, across restarts.
//! - Nothing an agent writes is trusted: events are bounded and checked ([`protocol`]), files are opened without
//!   following links.
//!
//! What it does not do: it decides nothing about contracts or money, holds no secret but its own token and the
//! credentials of the runs in progress, and reaches neither database nor object store.
//!
//! To add a stronger isolation, see [`sandbox`]; to add an event, see [`protocol::event`] and `docs/schemas/`.

pub mod adapters;
pub mod artefacts;
pub mod bundles;
mod callbacks;
mod clock;
pub mod completions;
pub mod config;
pub mod disk;
pub mod doctor;
pub mod error;
pub mod folders;
pub mod gateway;
pub mod hash;
pub mod kinds;
pub mod leases;
pub mod metrics;
mod parts;
pub mod protocol;
pub mod proxy;
pub mod room;
mod run;
pub mod sandbox;
pub mod scheduler;
mod session;
pub mod slots;
pub mod tree;
pub mod workspace;

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use boot::{CancellationToken, Context, Facts, OnExit};
use rpc::auth::Credentials;
use secrecy::SecretString;
use tokio::sync::mpsc;

use adapters::Runner;
use bundles::Bundles;
use callbacks::Callbacks;
use completions::Completions;
pub use config::Config;
pub use error::Error;
use folders::Folders;
use gateway::Upstream;
use leases::{Leases, Stop};
use parts::Parts;
pub use run::{Activity, Decoy, Denials, OpenCall, Search, Way};
use sandbox::{Claim, Groups, Sandbox};
use scheduler::Client;
use slots::Slots;

/// The embedded configuration.
pub const DEFAULTS: &str = include_str!("../config.default.toml");

/// Events on their way to the session.
const EVENTS: usize = 1024;
/// On a stop, how long unacknowledged completions are still sent; what is left is on disk.
const LAST_COMPLETIONS: Duration = Duration::from_secs(3);

/// Runs the executor until it is asked to stop.
///
/// # Errors
/// See [`Error`].
pub async fn run(ctx: Context<Config>) -> anyhow::Result<()> {
    metrics::describe();
    let (events, said) = mpsc::channel(EVENTS);
    let over = CancellationToken::new();
    let parts = Arc::new(open(&ctx, events, over.clone()).await?);
    let (client, leases) = (parts.scheduler.clone(), parts.leases.clone());
    for lease in parts.completions.leases() {
        leases.take_over(&lease);
    }
    let relay = parts.completions.clone().relay(client, leases, over);
    ctx.tasks.spawn("completions", OnExit::StopService, relay);
    let guard = session::guard_leases(Arc::clone(&parts));
    ctx.tasks.spawn("leases", OnExit::StopService, guard);
    let room = room::watch(Arc::clone(&parts));
    ctx.tasks.spawn("room", OnExit::StopService, room);
    let keep = session::keep(Arc::clone(&parts), said);
    ctx.tasks.spawn("session", OnExit::StopService, keep);
    let drain = drain(Arc::clone(&parts), ctx.soft.clone(), ctx.hard.clone());
    ctx.tasks.spawn("drain", OnExit::StopService, drain);
    ctx.ready();
    Ok(())
}

/// Opens everything; afterwards the executor can take work.
async fn open(
    ctx: &Context<Config>,
    events: mpsc::Sender<rpc::v1::RunEvent>,
    over: CancellationToken,
) -> Result<Parts, Error> {
    let config = Arc::clone(&ctx.config);
    let root = nix::unistd::geteuid().is_root();
    let (folders, claims) = tidy(ctx, root).await?;
    let uid = claims.first().map(Claim::id);
    let levels = config.isolation.minimum..=config.isolation.maximum;
    let wanted = config.isolation.cgroups.clone();
    let groups = ctx.tasks.spawn_blocking("groups", move || Groups::open(&wanted));
    let groups = groups.await.ok_or(Error::Stopped)?;
    let sandbox = Sandbox::probe(launcher(), levels, uid).await?.with_groups(groups)?;
    report(&sandbox, uid, &ctx.facts);
    let slots = fitting(&config, &sandbox, root);
    let completions = Completions::open(folders.completions(), folders.reserve()).map_err(Error::Completions)?;
    let (channel, keep_resolving) = rpc::channel::open(&config.scheduler.url, config.scheduler.deadline)?;
    let until = over.clone();
    ctx.tasks.spawn("scheduler_addresses", OnExit::StopService, async move {
        // It ends with the process, after everything that calls.
        let _over = until.run_until_cancelled(keep_resolving).await;
    });
    let token = SecretString::from(config.scheduler.token.expose());
    let credentials = Credentials::new(&token, telemetry::current_traceparent).map_err(|_invalid| Error::Token)?;
    let callbacks = Callbacks::open(&config.endpoints, &config.caps, &ctx.tasks, over.clone());
    let callbacks = callbacks.await.map_err(Error::Listen)?;
    let (limit, kept) = (config.caps.bundle_bytes, config.work.bundles_kept);
    Ok(Parts {
        tasks: ctx.tasks.clone(),
        readiness: ctx.readiness.clone(),
        build: Arc::clone(&ctx.build),
        instance: Arc::clone(&ctx.instance),
        over,
        scheduler: Client::new(channel, credentials, config.scheduler.deadline),
        runner: Runner::new(folders.runner()),
        sandbox,
        slots: Slots::new(slots, claims),
        starts: run::Starts::default(),
        leases: Leases::default(),
        bundles: Bundles::new(folders.bundles(), folders.begun(), limit, kept, ctx.tasks.clone()),
        completions,
        gateway: Upstream::new(&config.billing)?,
        callbacks,
        events,
        folders,
        config,
    })
}

/// Takes the work root, ends what an earlier process left there, and claims user ids when root.
async fn tidy(ctx: &Context<Config>, root: bool) -> Result<(Folders, Vec<Claim>), Error> {
    let config = Arc::clone(&ctx.config);
    let tidying = ctx.tasks.spawn_blocking("tidy", move || {
        let folders = Folders::open(&config.work.dir, root)?;
        let left = folders.clear_leftovers()?;
        if left > 0 {
            tracing::warn!(
                left,
                "an earlier executor was killed with runs in progress; they are ended and cleared"
            );
        }
        let claims = if root {
            Claim::take_all(config.isolation.agent_uid_base, config.work.slots)?
        } else {
            Vec::new()
        };
        Ok((folders, claims))
    });
    tidying.await.ok_or(Error::Stopped)?
}

fn report(sandbox: &Sandbox, uid: Option<u32>, facts: &Facts) {
    let level = sandbox.level();
    ::metrics::gauge!(metrics::ISOLATION, "level" => level.as_str()).set(1.0);
    let (abi, own_user) = (sandbox.landlock_abi(), uid.is_some());
    let namespaces = level >= sandbox::Level::Namespaces;
    let layers = [
        ("landlock", abi > 0),
        ("seccomp", sandbox.seccomp()),
        ("namespaces", namespaces),
        ("cgroups", sandbox.groups().is_ok()),
        ("own_user", own_user),
    ];
    facts.add("isolation", level.as_str());
    facts.add(
        "isolation_layers",
        layers
            .iter()
            .map(|(layer, there)| ((*layer).to_owned(), (*there).into()))
            .collect::<serde_json::Map<_, _>>(),
    );
    for (layer, there) in layers {
        ::metrics::gauge!(metrics::ISOLATION_LAYER, "layer" => layer).set(f64::from(u8::from(there)));
    }
    let (groups, no_groups_because) = match sandbox.groups() {
        Ok(groups) => (groups.version().as_str(), ""),
        Err(reason) => ("none", reason),
    };
    if level >= sandbox::Level::Landlock {
        tracing::info!(
            level = level.as_str(),
            landlock_abi = abi,
            seccomp = sandbox.seccomp(),
            namespaces,
            groups,
            no_groups_because,
            no_more_because = sandbox.reason(),
            own_user,
            "agents are isolated"
        );
    } else {
        tracing::warn!(
            level = level.as_str(),
            reason = sandbox.reason(),
            groups,
            no_groups_because,
            own_user,
            "agents are isolated by user id and limits only: they can read what anybody on this machine can"
        );
    }
}

/// As many slots as asked for, unless the runs in them would share their limits: without a user id, namespaces or a
/// control group of its own, what a run may have is only looked at now and then. Who asks for less than `landlock` has
/// chosen that.
fn fitting(config: &Config, sandbox: &Sandbox, root: bool) -> u32 {
    let wanted = config.work.slots;
    let apart = root || sandbox.level() >= sandbox::Level::Namespaces || sandbox.groups().is_ok();
    if apart || config.isolation.minimum < sandbox::Level::Landlock || wanted == 1 {
        return wanted;
    }
    tracing::warn!(
        wanted,
        "not as root, and without namespaces or control groups, runs would share their limits: there is one slot; \
         `steward doctor sandbox` says what would give more"
    );
    1
}

/// This program, also after its file was replaced by a newer one.
fn launcher() -> PathBuf {
    let own = PathBuf::from("/proc/self/exe");
    if own.exists() {
        return own;
    }
    std::env::current_exe().unwrap_or(own)
}

/// The end: offer nothing, let runs finish, stop and hand back the rest, tell what came of them. Leases are renewed
/// until the last of this is done.
async fn drain(parts: Arc<Parts>, soft: CancellationToken, hard: CancellationToken) {
    soft.cancelled().await;
    parts.slots.close();
    let finish = tokio::time::timeout(parts.config.work.drain, parts.leases.none_running());
    let in_time = matches!(hard.run_until_cancelled(finish).await, Some(Ok(())));
    if !in_time {
        tracing::warn!("runs are stopped and handed back");
        parts.leases.stop_all(&Stop::Drain);
        let _hard = hard.run_until_cancelled(parts.leases.none_running()).await;
    }
    let told = tokio::time::timeout(LAST_COMPLETIONS, parts.completions.all_acknowledged());
    if !matches!(hard.run_until_cancelled(told).await, Some(Ok(()))) {
        tracing::warn!("some completions are not acknowledged; they are on disk and told at the next start");
    }
    parts.sandbox.close().await;
    parts.over.cancel();
}
