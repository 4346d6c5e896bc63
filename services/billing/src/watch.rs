//! What billing does by itself: noticing that Postgres is away, charging holds nobody came back for, posting costs.

use std::time::Duration;

use boot::Context;
use store::{Store, holds, ledger::costs, run_tx};
use tokio::time::{Instant, MissedTickBehavior, interval, timeout};

use crate::{config::Config, metrics::HOLDS};

/// How often Postgres is asked, and how long it may take.
const ASK_EVERY: Duration = Duration::from_secs(1);
/// Holds charged, and contracts posted, in one go.
const BATCH: i64 = 100;

/// Keeps the latch `postgres` as it should be.
pub async fn postgres(context: Context<Config>, store: Store) {
    let latch = context.readiness.latch("postgres");
    let mut ticks = interval(ASK_EVERY);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    while context.soft.run_until_cancelled(ticks.tick()).await.is_some() {
        match timeout(ASK_EVERY * 3, store.ping()).await {
            Ok(Ok(())) => latch.open(),
            Ok(Err(_)) | Err(_) => latch.close(),
        }
    }
}

/// Charges expired holds and posts the cost of what no run can add to any more.
///
/// While Postgres is away nobody can renew a hold: when it is back, those whose calls live come first. Nor does a process
/// that just began know how long it was away for the others.
pub async fn sweep(context: Context<Config>, store: Store) {
    let lease = context.config.gateway.hold_lease;
    let mut charge_from = Instant::now() + lease;
    let mut ticks = interval(context.config.books.sweep_every);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    while context.soft.run_until_cancelled(ticks.tick()).await.is_some() {
        let swept = async {
            if Instant::now() >= charge_from {
                charge_holds(&store).await?;
            }
            post_costs(&store).await
        };
        if let Err(error) = swept.await {
            tracing::warn!(error = &error as &dyn std::error::Error, "sweeping the books failed");
            if error.is_transient() {
                charge_from = Instant::now() + lease;
            }
        }
    }
}

async fn charge_holds(store: &Store) -> Result<(), store::Error> {
    loop {
        let swept = run_tx!(store, "sweep_holds", |tx| holds::sweep(tx, BATCH).await)?;
        for hold in &swept {
            metrics::counter!(HOLDS, "end" => "swept").increment(1);
            tracing::warn!(
                hold.id = %hold.id,
                run.id = %hold.run_id,
                cost_pico = hold.amount.0,
                "a hold nobody settled is charged whole"
            );
        }
        if swept.len() < usize::try_from(BATCH).unwrap_or(usize::MAX) {
            return Ok(());
        }
    }
}

async fn post_costs(store: &Store) -> Result<(), store::Error> {
    // Those left over come next time; one that cannot be posted does not stand in the way of the others.
    for subject_id in costs::due(store, BATCH).await? {
        let posted = run_tx!(store, "post_costs", |tx| costs::post_subject(tx, subject_id, None)
            .await);
        if let Err(error) = posted {
            let error = &error as &dyn std::error::Error;
            tracing::error!(subject.id = %subject_id, error, "the cost of model calls could not be posted");
        }
    }
    Ok(())
}
