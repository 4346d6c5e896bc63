//! What is written down from time to time: the figures operators and autoscalers watch, what this scheduler has to offer,
//! and what the marketplace said that nobody knows.

use std::sync::Arc;
use std::time::Duration;

use store::replicas::{self, Offer};
use store::{budget, overview, run_tx};

use crate::desk::Desk;
use crate::drift;
use crate::metrics::{
    BREAKER, BUDGET_USED, DEAD_LETTERS, EFFECTS_OPEN, INBOX_OLDEST, INBOX_OPEN, RUNS_ACTIVE, RUNS_QUEUED,
};
use crate::work::Sessions;

/// Between two looks.
const EVERY: Duration = Duration::from_secs(15);
/// Another scheduler that was silent for this long is not counted any more.
pub(crate) const SILENT: Duration = Duration::from_secs(50);

/// Sets the gauges until the soft stop.
pub async fn run(desk: Arc<Desk>, sessions: Sessions) {
    while !desk.soft.is_cancelled() {
        match overview::read(&desk.store).await {
            Ok(seen) => set(&seen),
            Err(error) => tracing::debug!(%error, "gauges could not be read"),
        }
        match budget::usage(&desk.store).await {
            Ok(budgets) => budgets.iter().for_each(show_budget),
            Err(error) => tracing::debug!(%error, "the request budgets could not be read"),
        }
        if let Err(error) = report(&desk, &sessions).await {
            tracing::debug!(%error, "the others could not be told what is here");
        }
        keep_drift(&desk).await;
        tokio::select! {
            () = desk.soft.cancelled() => {}
            () = tokio::time::sleep(EVERY) => {}
        }
    }
    keep_drift(&desk).await;
    let left = run_tx!(desk.store, "replica_leave", |tx| replicas::leave(tx, &desk.instance)
        .await);
    if let Err(error) = left {
        tracing::debug!(%error, "the others will find out that this scheduler left");
    }
}

async fn keep_drift(desk: &Desk) {
    if let Err(error) = drift::keep(desk).await {
        tracing::debug!(%error, "what the marketplace said anew could not be kept");
    }
}

/// Tells the other schedulers what this one's executors offer.
async fn report(desk: &Desk, sessions: &Sessions) -> Result<(), store::Error> {
    let offer = here(sessions);
    run_tx!(desk.store, "replica_report", |tx| replicas::report(
        tx,
        &desk.instance,
        offer
    )
    .await)
}

/// What is connected to this scheduler.
pub(crate) fn here(sessions: &Sessions) -> Offer {
    let executors = sessions.list();
    let free: u32 = executors.iter().map(|(_, executor)| executor.free).sum();
    Offer {
        executors: i32::try_from(executors.len()).unwrap_or(i32::MAX),
        slots_free: i32::try_from(free).unwrap_or(i32::MAX),
    }
}

fn show_budget(usage: &budget::Usage) {
    let breaker = match usage.breaker {
        None => 0.0,
        Some("recovering") => 1.0,
        Some("probing") => 2.0,
        Some(_) => 3.0,
    };
    let used = f64::from(u32::try_from(usage.used.max(0)).unwrap_or(u32::MAX));
    metrics::gauge!(BUDGET_USED, "key" => usage.key.clone()).set(used);
    metrics::gauge!(BREAKER, "key" => usage.key.clone()).set(breaker);
}

fn set(seen: &overview::Overview) {
    let oldest = seen
        .oldest_unprocessed
        .map_or(0, |oldest| (seen.at - oldest).num_seconds());
    for (name, value) in [
        (INBOX_OPEN, seen.inbox_open),
        (INBOX_OLDEST, oldest),
        (RUNS_QUEUED, seen.runs_queued),
        (RUNS_ACTIVE, seen.runs_active),
        (EFFECTS_OPEN, seen.effects_open),
        (DEAD_LETTERS, seen.dead_letters),
    ] {
        metrics::gauge!(name).set(f64::from(u32::try_from(value.max(0)).unwrap_or(u32::MAX)));
    }
}
