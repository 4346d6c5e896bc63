//! Finds what nobody finished: leases that ended, waits that are over, bids nobody wrote. Cheap when there is nothing.

use std::sync::Arc;

use store::{effects, runs};

use crate::bidding::writing;
use crate::courier;
use crate::desk::Desk;
use crate::error::Error;
use crate::wake::Topic;

/// Sweeps until the soft stop.
pub async fn run(desk: Arc<Desk>) {
    let every = desk.config.runs.sweep;
    while !desk.soft.is_cancelled() {
        if let Err(error) = sweep(&desk).await {
            tracing::warn!(%error, "sweeping failed; trying again");
        }
        tokio::select! {
            () = desk.soft.cancelled() => {}
            () = tokio::time::sleep(every) => {}
        }
    }
}

/// One sweep. Public for tests.
///
/// # Errors
/// The store's.
pub async fn sweep(desk: &Desk) -> Result<(), Error> {
    let settle = desk.config.marketplace.settle;
    let (expired, woken, effects) = store::run_tx!(desk.store, "sweep", Error, |tx| {
        let expired = runs::expire_leases(tx).await?;
        for run in expired.iter().filter(|run| run.parked) {
            let reason = format!("run {} lost its executor too often", run.id);
            if run.is_bid {
                let run = runs::lock(tx, run.id).await?;
                writing::give_up(desk, tx, &run, &reason).await?;
                continue;
            }
            store::notices::raise(tx, "run", &run.id.to_string(), &reason).await?;
            crate::bidding::pause_if_failing(tx, &run.agent, desk.config.runs.pause_bidding_after).await?;
        }
        let woken = runs::wake_waiting(tx).await?;
        let effects = effects::expire_leases(tx, settle).await?;
        for id in effects::overdue(tx, desk.config.courier.patience).await? {
            let effect = effects::get_locked(tx, id).await?;
            courier::give_up(tx, &effect, "no call could be made for longer than courier.patience").await?;
        }
        Ok((expired, woken, effects))
    })?;
    if writing::sweep(desk).await? {
        desk.wake.wake(Topic::Dispatch);
        desk.wake.wake(Topic::Courier);
    }
    if !expired.is_empty() {
        tracing::warn!(
            runs = expired.len(),
            "leases of dead executors ended; their runs are queued again"
        );
    }
    if !expired.is_empty() || woken > 0 {
        desk.wake.wake(Topic::Dispatch);
    }
    if effects > 0 {
        tracing::warn!(
            effects,
            "leases of dead couriers ended; what may have happened will be verified"
        );
        desk.wake.wake(Topic::Courier);
    }
    Ok(())
}
