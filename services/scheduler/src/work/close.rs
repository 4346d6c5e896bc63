//! The end of an attempt's right to call models.

use uuid::Uuid;

use super::Floor;

/// Ends the right of an attempt that is over; the next one's is not touched, however late this comes. One that cannot be
/// ended now ends by itself when it expires; billing posts its cost then.
pub(super) async fn close(floor: &Floor, run: Uuid, attempt: u32) {
    if let Err(error) = floor.billing.close_run(run, attempt).await {
        tracing::warn!(run.id = %run, attempt, error = error.message(), "a run's budget could not be closed; it expires by itself");
    }
}

/// Ends the rights of those of these runs that are called off: their executors may not have stopped them yet.
pub(super) async fn called_off(floor: &Floor, runs: &[Uuid]) {
    match store::runs::cancelled_among(&floor.desk.store, runs).await {
        Ok(cancelled) => {
            for (run, attempt) in cancelled {
                close(floor, run, attempt).await;
            }
        }
        Err(error) => {
            tracing::warn!(%error, "whether runs are called off cannot be read; their budgets expire by themselves")
        }
    }
}
