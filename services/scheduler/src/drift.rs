//! Keeping what the platform says and this release does not know, and telling people about what may matter.

use clawgig::drift::{self as seen, Seen};
use store::{drift, notices, run_tx};

use crate::desk::Desk;

/// The kind of the notices raised here.
const NOTICE: &str = "api_drift";
/// What people hear of: the rest (members, values) is for `steward api drift`.
const TOLD: [&str; 3] = ["event", "status", "header"];

/// Keeps what was seen since the last time.
///
/// # Errors
/// When it cannot be kept; it is tried again the next time.
pub async fn keep(desk: &Desk) -> Result<(), store::Error> {
    let taken = seen::take();
    if taken.is_empty() {
        return Ok(());
    }
    let kept = run_tx!(desk.store, "drift_keep", |tx| {
        drift::forget(tx).await?;
        for one in &taken {
            let sights = i64::try_from(one.count).unwrap_or(i64::MAX);
            let fresh = drift::add(tx, one.what, one.of, &one.name, sights).await?;
            if fresh && TOLD.contains(&one.what) {
                let key = format!("{}/{}/{}", one.what, one.of, one.name);
                notices::raise(tx, NOTICE, &key, &told(one)).await?;
            }
        }
        Ok(())
    });
    if kept.is_err() {
        seen::put_back(&taken);
    }
    kept
}

fn told(one: &Seen) -> String {
    let name = &one.name;
    match one.what {
        "header" => format!(
            "the marketplace announces the end of {} ({name}): see its documentation",
            one.of
        ),
        "event" => {
            format!("the marketplace sent an event this release does not know: {name}; it is kept, nothing is done")
        }
        _ => format!(
            "the marketplace named a state of a {} this release does not know: {name}",
            one.of
        ),
    }
}
