//! Who rests and when: windows of maintenance are planned ahead, and people are told of agents at rest.

use std::time::Duration;

use chrono::{DateTime, Utc};
use store::agents::{RESTS, Resting};
use store::maintenance::{self, Window};
use store::{Tx, agents, notices, observations, run_tx};

use crate::desk::Desk;
use crate::reconcile::Error;

/// The duty of looking.
pub const HOURS: &str = "hours";
/// The kind of the notice that nothing new begins; it has no key.
pub const MAINTENANCE: &str = "maintenance";
/// Between two looks.
const EVERY: Duration = Duration::from_secs(15);

/// Plans the configured windows; says which one is on, and what lies with agents at rest. Answers when to look again.
///
/// # Errors
/// When a row cannot be read or saved.
pub async fn look(desk: &Desk) -> Result<Duration, Error> {
    run_tx!(desk.store, "hours", |tx| {
        let now = observations::clock_in_tx(tx).await?;
        maintenance::plan(tx, &desk.config.maintenance.around(now)).await?;
        tell_hours(tx).await?;
        for resting in agents::resting(tx).await? {
            tell_rest(tx, &resting).await?;
        }
        Ok(())
    })?;
    Ok(EVERY)
}

/// Raises, or resolves, the notice that it is a time of maintenance.
///
/// # Errors
/// When a row cannot be read or saved.
pub async fn tell_hours(tx: &mut Tx) -> Result<(), store::Error> {
    let Some(window) = maintenance::current(tx).await? else {
        if notices::resolve(tx, MAINTENANCE, "").await? {
            tracing::info!("the maintenance is over");
        }
        return Ok(());
    };
    if notices::raise(tx, MAINTENANCE, "", &sentence(&window)).await? {
        tracing::info!(source = window.source, until = %window.ends_at, "a maintenance began: nothing new is begun");
    }
    Ok(())
}

fn sentence(window: &Window) -> String {
    let until = at(window.ends_at);
    let why = because(&window.reason);
    format!(
        "maintenance until {until}{why}: no bid is sent and no run begins; what runs goes on, and so do webhooks, reads and \
         deliveries. `steward maintenance end` ends it"
    )
}

/// Raises, or resolves, the notice that an agent rests.
///
/// # Errors
/// When a row cannot be saved.
pub async fn tell_rest(tx: &mut Tx, resting: &Resting) -> Result<(), store::Error> {
    match rest(resting) {
        Some(body) => notices::raise(tx, RESTS, &resting.agent, &body).await.map(drop),
        None => notices::resolve(tx, RESTS, &resting.agent).await.map(drop),
    }
}

fn rest(resting: &Resting) -> Option<String> {
    let name = &resting.agent;
    let why = because(resting.reason.as_deref().unwrap_or_default());
    let resume = format!("`steward agents resume {name}`");
    if resting.paused {
        let owed = match (&resting.deadline, &resting.due) {
            (Some(deadline), Some(contract)) => format!(
                "; work is owed, the soonest by {} (contract {contract}), and may be late",
                at(*deadline)
            ),
            _ => String::new(),
        };
        let (running, queued) = (resting.running, resting.queued);
        return Some(format!(
            "{name} is paused{why}: it bids on nothing and begins no run; {running} runs go on, {queued} wait{owed}. \
             {resume} lets it go on"
        ));
    }
    if !resting.winding_down {
        return None;
    }
    let (contracts, bids) = (resting.contracts, resting.bids);
    Some(match (contracts, bids) {
        (0, 0) => format!(
            "{name} is wound down{why}: no contract is open and no bid is out. `steward agents remove {name}` takes it \
             out; {resume} lets it bid again"
        ),
        (0, _) => format!(
            "{name} is winding down{why}: no contract is open, but {bids} bids lie with clients; what is accepted is \
             done. `steward agents remove {name}` takes it out all the same; {resume} lets it bid again"
        ),
        _ => format!(
            "{name} is winding down{why}: it bids no more, and finishes its {contracts} open contracts; {bids} bids lie \
             with clients. {resume} lets it bid again"
        ),
    })
}

fn because(reason: &str) -> String {
    match reason {
        "" => String::new(),
        reason => format!(" ({reason})"),
    }
}

fn at(time: DateTime<Utc>) -> String {
    time.format("%Y-%m-%d %H:%M UTC").to_string()
}
