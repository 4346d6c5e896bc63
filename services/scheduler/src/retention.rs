//! Removing what is old: everything kept has an end, but money.

use std::time::Duration;

use chrono::TimeDelta;
use futures_util::TryStreamExt as _;
use store::retention::{self, Kept, Table};
use store::run_tx;

use crate::desk::Desk;
use crate::metrics::RETIRED;
use crate::objects::{self, Folder, Objects};
use crate::reconcile::Error;

/// The duty of removing old rows.
pub const RETENTION: &str = "retention";
/// Batches of one table in one go; the rest is left to the next.
const MOST_BATCHES: u32 = 200;
/// Objects nobody refers to are left alone for this long: they may be about to get their row.
pub const ORPHANED: TimeDelta = TimeDelta::days(7);
/// Objects asked about at once.
const OBJECTS: usize = 500;

/// Removes what is old, table by table, a batch at a time, then the bytes no row names any more. Answers when to look
/// again.
///
/// # Errors
/// When a batch cannot be removed; what was removed before stays removed.
pub async fn sweep(desk: &Desk, objects: &Objects) -> Result<Duration, Error> {
    let settings = &desk.config.retention;
    for table in Table::ALL {
        let age = match table {
            Table::Inbox | Table::Seen => settings.inbox,
            Table::RunEvents => settings.run_events,
            Table::Deployments | Table::Notices | Table::Audit => settings.records,
            Table::Effects
            | Table::Artefacts
            | Table::Runs
            | Table::Messages
            | Table::ContractEvents
            | Table::Proposals
            | Table::Gigs
            | Table::Bundles => settings.content,
        };
        for _ in 0..MOST_BATCHES {
            if desk.soft.is_cancelled() {
                return Ok(settings.every);
            }
            let batch = settings.batch;
            let removed = run_tx!(desk.store, "retention", |tx| {
                retention::sweep(tx, table, age, batch).await
            })?;
            metrics::counter!(RETIRED, "table" => table.name()).increment(removed);
            if removed < u64::from(batch) {
                break;
            }
        }
    }
    run_tx!(desk.store, "retention", |tx| store::executors::forget(tx).await)?;
    bytes(desk, objects, ORPHANED).await?;
    Ok(settings.every)
}

/// Removes objects older than `age` that no row names. Public for tests.
///
/// # Errors
/// The store's, or the object store's.
pub async fn bytes(desk: &Desk, objects: &Objects, age: TimeDelta) -> Result<(), Error> {
    for (folder, kept) in [
        (Folder::Artefacts, Kept::Artefacts),
        (Folder::Bundles, Kept::Bundles),
        (Folder::Inputs, Kept::Inputs),
    ] {
        let mut old = std::pin::pin!(objects.old(folder, age).try_chunks(OBJECTS));
        while let Some(names) = old.try_next().await.map_err(|cut| unusable(cut.1))? {
            if desk.soft.is_cancelled() {
                return Ok(());
            }
            let named = retention::referenced(&desk.store, kept, &names).await?;
            for name in names.iter().filter(|name| !named.contains(*name)) {
                match objects.remove_old(folder, name, age).await {
                    Ok(true) => metrics::counter!(RETIRED, "table" => "objects").increment(1),
                    Ok(false) => {}
                    // The others can go all the same; this one is found again next time.
                    Err(error) => tracing::warn!(%error, name, "an object that nothing names cannot be removed"),
                }
            }
        }
    }
    Ok(())
}

fn unusable(error: objects::Error) -> Error {
    Error::Read {
        what: "objects",
        why: error.to_string(),
    }
}
