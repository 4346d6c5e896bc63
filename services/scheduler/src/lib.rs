//! Owns the life of every contract and every call to the marketplace.
//!
//! Webhooks become steps ([`intake`], [`contracts`]), gigs become proposals ([`bidding`]), confirmed money becomes
//! runs leased to executors, results become effects sent once each, approvals become settlements; what no webhook
//! told is read ([`reconcile`]). Operators see and steer all of it over gRPC ([`api`]).
//!
//! What it promises: every decision is a row committed in one transaction with what follows from it; nothing due
//! lives in memory only, so any number of replicas work side by side and any of them may die; the marketplace is
//! called inside one request budget, and no effect on it is repeated blindly.
//!
//! What it does not do: it decides nothing by itself (rules live in `domain`), runs no agent, calls no model and keeps
//! no books.
//!
//! To add one more thing that happens on the outside: a kind in `domain::effect`, a handler in the courier, and the
//! step that wishes for it.

use std::sync::Arc;

use boot::{Build, Context, OnExit, Restart};
use store::{Store, deployments};

pub mod api;
pub mod attachments;
pub mod bidding;
pub mod billing;
pub mod budget;
pub mod canary;
pub mod config;
pub mod contracts;
pub mod courier;
pub mod desk;
pub mod drift;
pub mod duties;
pub mod error;
mod gauges;
mod hints;
pub mod hours;
pub mod intake;
pub mod jobs;
pub mod known;
pub mod marketplace;
pub mod metrics;
pub mod objects;
pub mod observe;
pub mod onboarding;
pub mod outages;
mod outgoing;
pub mod payload;
mod reads;
pub mod reconcile;
pub mod retention;
pub mod sweeper;
pub mod wake;
pub mod work;

pub use config::Config;
pub use desk::Desk;

/// Commented settings with their defaults.
pub const DEFAULTS: &str = include_str!("../config.default.toml");

/// What makes a process this service.
#[must_use]
pub fn service(build: Build) -> boot::Service {
    boot::Service {
        name: "scheduler",
        defaults: DEFAULTS,
        build,
    }
}

/// Runs the scheduler until it is told to stop.
///
/// # Errors
/// When Postgres or its schema does not come in time, the listener cannot be opened, or a setting cannot be used.
pub async fn run(ctx: Context<Config>) -> anyhow::Result<()> {
    metrics::describe();
    let store = open_store(&ctx).await?;
    let hints = hints::Hints::open(&ctx.config.redis)?;
    let wake = wake::Wake::new(Some(hints.health()));
    let desk = Arc::new(Desk::new(&ctx, store, wake)?);
    known::note_all(&desk).await?;
    let listener = ctx.bind("grpc", &ctx.config.grpc.listen).await?;
    hints.spawn(&desk);
    let objects = objects::Objects::open(&ctx.config.objects.dir).await?;
    let (billing, keep_resolving) = billing::Billing::open(&ctx.config.billing)?;
    let soft = ctx.soft.clone();
    ctx.tasks.spawn("billing_addresses", OnExit::Log, async move {
        // What was found serves the calls that remain.
        let _stopped = soft.run_until_cancelled(keep_resolving).await;
    });
    let market = Arc::new(marketplace::Marketplace::new(Arc::clone(&desk))?);
    let courier = courier::Courier::new(Arc::clone(&desk), Arc::clone(&market), objects.clone(), billing.clone());
    let floor = work::Floor::new(Arc::clone(&desk), billing.clone(), objects.clone());
    let kept = (objects.clone(), billing.clone());
    let api = api::Api::new(
        Arc::clone(&desk),
        Arc::clone(&market),
        billing,
        objects,
        floor.sessions(),
    );
    let means = duties::Means {
        reader: Arc::new(reconcile::Reader::new(Arc::clone(&desk), market)),
        fetcher: Arc::new(attachments::Fetcher::new(Arc::clone(&desk), kept.0.clone())?),
        objects: kept.0,
        billing: kept.1,
    };
    spawn_loops(&desk, &courier, &floor.sessions(), &means);
    api::spawn(api, floor, listener);
    ctx.ready();
    Ok(())
}

/// Connects, checks that the schema fits and, for real money, that the disk is asked; records this start.
async fn open_store(ctx: &Context<Config>) -> anyhow::Result<Store> {
    let database = &ctx.config.database;
    let mut options = store::Options::new(database.url.expose().into(), format!("scheduler {}", ctx.instance));
    options.max_connections = database.max_connections;
    options.through_pooler = database.through_pooler;
    let store = Store::new(&options)?;
    let deadline = database.connect_deadline;
    ctx.connect("postgres", deadline, || store.check_schema()).await?;
    let forgetful = store.unsafe_settings().await?;
    if ctx.config.marketplace.live && !forgetful.is_empty() {
        let settings = forgetful.join(", ");
        anyhow::bail!("Postgres runs with {settings} and may forget commits: switch it on for marketplace.live = true");
    }
    let start = deployments::Deployment {
        service: ctx.service.to_owned(),
        instance: ctx.instance.to_string(),
        version: ctx.build.version.clone(),
        git_sha: ctx.build.git_sha.clone(),
        built_at: ctx.build.built_at.clone(),
        started_at: ctx.started_at,
    };
    store::run_tx!(store, "record_start", |tx| deployments::record(tx, &start).await)?;
    Ok(store)
}

/// The loops of this process; each is started again when it dies.
fn spawn_loops(desk: &Arc<Desk>, courier: &Arc<courier::Courier>, sessions: &work::Sessions, means: &duties::Means) {
    let taking_in = Arc::clone(desk);
    desk.tasks.spawn_restarting("intake", Restart::default(), move || {
        intake::run(Arc::clone(&taking_in))
    });
    let (dutiful, means) = (Arc::clone(desk), means.clone());
    desk.tasks.spawn_restarting("duties", Restart::default(), move || {
        duties::run(Arc::clone(&dutiful), means.clone())
    });
    let (watching, sessions) = (Arc::clone(desk), sessions.clone());
    desk.tasks.spawn_restarting("gauges", Restart::default(), move || {
        gauges::run(Arc::clone(&watching), sessions.clone())
    });
    let courier = Arc::clone(courier);
    desk.tasks
        .spawn_restarting("courier", Restart::default(), move || Arc::clone(&courier).run());
    let sweeping = Arc::clone(desk);
    desk.tasks.spawn_restarting("sweeper", Restart::default(), move || {
        sweeper::run(Arc::clone(&sweeping))
    });
}
