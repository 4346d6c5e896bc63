//! The model gateway and the books.
//!
//! Promises: no agent ever sees a provider's key; a run never gets a call for which its budget has no room; what a
//! call cost is on disk before the agent has the last byte of its answer, whether the agent stays to read it or not;
//! what nobody can tell the cost of is charged at what was set aside for it, and flagged; the ledger balances and each
//! contract is settled once.
//!
//! It is the only holder of providers' keys and the only writer of the ledger. It knows nothing of marketplaces, and
//! decides nothing about work: a run without money left is told so and goes on without models.
//!
//! To add a provider, name it under `[[upstreams]]` and its prices in `prices.toml` (or `steward prices set`). To add a
//! wire format, give it a reader of requests and one of answers beside `gateway/chat.rs`.

use std::sync::Arc;

use anyhow::Context as _;
use boot::{Context, Restart};
use store::{Store, deployments::Deployment, known_secrets::ScanKey, run_tx, seal::Sealer};

mod api;
pub mod config;
mod credential;
mod error;
mod gateway;
mod health;
mod metrics;
mod prices;
mod server;
mod watch;

pub use config::Config;

/// The commented defaults of every setting.
pub const DEFAULTS: &str = include_str!("../config.default.toml");

/// Starts billing and returns; the process lives until its tasks end.
///
/// # Errors
/// When a port is taken, Postgres or its schema is not there in time, or a setting cannot be used.
pub async fn run(context: Context<Config>) -> anyhow::Result<()> {
    let config = Arc::clone(&context.config);
    metrics::describe(&config.upstreams);
    let grpc = context.bind("grpc", &config.grpc.listen).await?;
    let http = context.bind("gateway", &config.gateway.listen).await?;
    let store = connect(&context).await?;
    prices::seed(&store).await.context("write the built-in prices")?;

    let keeper = api::secrets::Keeper {
        sealer: sealer(&config)?,
        scan: Arc::new(ScanKey::of_token(config.grpc.scheduler_token.expose())),
    };
    api::secrets::note_all(&store, &keeper, &config.upstreams)
        .await
        .context("note what the scan of outgoing text looks for")?;

    let gateway = Arc::new(gateway::Gateway::new(&context, store.clone(), keeper.sealer.clone())?);
    let noting = (context.clone(), store.clone(), Arc::clone(&gateway));
    context
        .tasks
        .spawn_restarting("provider_health", Restart::default(), move || {
            health::keep(noting.0.clone(), noting.1.clone(), Arc::clone(&noting.2))
        });
    gateway::server::spawn(&context, http, gateway).context("start the gateway")?;
    server::spawn(
        &context,
        grpc,
        api::Api::new(store.clone(), &context.config.upstreams, keeper),
    );
    let watching = (context.clone(), store.clone());
    context
        .tasks
        .spawn_restarting("postgres_watch", Restart::default(), move || {
            watch::postgres(watching.0.clone(), watching.1.clone())
        });
    let sweeping = (context.clone(), store);
    context.tasks.spawn_restarting("sweeper", Restart::default(), move || {
        watch::sweep(sweeping.0.clone(), sweeping.1.clone())
    });
    context.ready();
    Ok(())
}

/// What opens agents' own secrets, where there is a key for it.
fn sealer(config: &Config) -> Result<Option<Arc<Sealer>>, store::Error> {
    let key = config.secrets.key.as_ref();
    key.map(|key| Sealer::new(store::agent_secrets::SEAL_OWNER, &key.expose().into()).map(Arc::new))
        .transpose()
}

/// Waits for Postgres and a schema this release can work with, and records the start.
async fn connect(context: &Context<Config>) -> anyhow::Result<Store> {
    let settings = &context.config.database;
    let mut options = store::Options::new(
        settings.url.expose().into(),
        format!("steward {} {}", context.service, context.instance),
    );
    options.max_connections = settings.max_connections;
    options.acquire_timeout = settings.acquire_timeout;
    options.statement_timeout = settings.statement_timeout;
    options.through_pooler = settings.through_pooler;
    let store = Store::new(&options)?;
    context
        .connect("postgres", settings.connect_deadline, || store.check_schema())
        .await?;
    let start = Deployment {
        service: context.service.to_owned(),
        instance: context.instance.to_string(),
        version: context.build.version.clone(),
        git_sha: context.build.git_sha.clone(),
        built_at: context.build.built_at.clone(),
        started_at: context.started_at,
    };
    run_tx!(store, "record_start", |tx| store::deployments::record(tx, &start).await).context("record this start")?;
    Ok(store)
}
