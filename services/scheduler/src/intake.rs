//! The inbox into steps: each row is claimed, read, acted on and marked as processed in one transaction.
//!
//! A row that fails is tried again later and in the end becomes a dead letter; its neighbours go on. What an event
//! says is a hint: nothing is spent on it before a read of ours.

use std::panic::AssertUnwindSafe;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use clawgig::Event;
use domain::contract::Wish;
use futures_util::FutureExt as _;
use store::intake::{self, Claimed};
use store::{Tx, run_tx};
use tracing::Instrument as _;

use crate::desk::Desk;
use crate::error::Error;
use crate::metrics::{INTAKE_FAILURES, INTAKE_LAG, INTAKE_ROWS};
use crate::wake::Topic;

mod act;
mod fee;
mod reply;

/// Idle polls slow down to this.
const LONGEST_POLL: Duration = Duration::from_secs(5);
/// Pause while Postgres is away.
const AWAY: Duration = Duration::from_millis(500);
/// The event of a body that is none.
const UNREADABLE: &str = "unreadable";

/// What became of a row.
#[derive(Debug, Default)]
pub(crate) struct Done {
    /// What it was.
    pub(crate) event: String,
    /// What was made of it, for `steward inbox`.
    pub(crate) outcome: String,
    /// What became rows.
    pub(crate) wishes: Vec<Wish>,
    /// What else there is to do now.
    pub(crate) topics: Vec<Topic>,
}

/// Works on rows as they come until the soft stop: one looker while it is quiet, all workers while there is work.
pub async fn run(desk: Arc<Desk>) {
    let mut pulse = desk.wake.pulse(Topic::Intake, LONGEST_POLL);
    while !desk.soft.is_cancelled() {
        pulse.seen();
        let found = step(&desk).await;
        if found {
            drain(&desk).await;
        }
        if desk.soft.run_until_cancelled(pulse.wait(found)).await.is_none() {
            return;
        }
    }
}

/// All workers at once until nothing is due.
async fn drain(desk: &Arc<Desk>) {
    let workers: Vec<_> = (0..desk.config.intake.workers)
        .map(|_| {
            let desk = Arc::clone(desk);
            let own = Arc::clone(&desk);
            desk.tasks.spawn_job("intake", async move {
                while !own.soft.is_cancelled() && step(&own).await {}
            })
        })
        .collect();
    for worker in workers {
        // A worker that died was logged; its rows are still there.
        let _ended = worker.await;
    }
}

/// One row, whatever happens to it. Answers whether there was one.
async fn step(desk: &Desk) -> bool {
    match one(desk).await {
        Ok(found) => found,
        Err(error) => {
            tracing::warn!(%error, "the inbox cannot be worked on; trying again");
            metrics::counter!(INTAKE_FAILURES, "kind" => "transient").increment(1);
            tokio::time::sleep(AWAY).await;
            false
        }
    }
}

/// Claims a row, acts on it and saves both. Answers whether there was one.
///
/// # Errors
/// When the store is away; the row is then as it was.
pub async fn one(desk: &Desk) -> Result<bool, Error> {
    let claimed: Mutex<Option<Claimed>> = Mutex::new(None);
    let acted = AssertUnwindSafe(transaction(desk, &claimed)).catch_unwind().await;
    let claimed = claimed.into_inner().unwrap_or_else(PoisonError::into_inner);
    let error = match acted {
        Ok(Ok(None)) => return Ok(false),
        Ok(Ok(Some(done))) => {
            finished(desk, claimed.as_ref(), &done);
            return Ok(true);
        }
        Ok(Err(error)) if error.is_transient() => return Err(error),
        Ok(Err(error)) => error.to_string(),
        Err(_panic) => "the handler panicked: the log says where".to_owned(),
    };
    match claimed {
        Some(row) => failed(desk, &row, &error).await.map(|()| true),
        None => Err(Error::Refused(error)),
    }
}

async fn transaction(desk: &Desk, claimed: &Mutex<Option<Claimed>>) -> Result<Option<Done>, Error> {
    run_tx!(desk.store, "intake", Error, |tx| {
        let Some(row) = intake::claim(tx).await? else {
            return Ok(None);
        };
        *claimed.lock().unwrap_or_else(PoisonError::into_inner) = Some(row.clone());
        let span = tracing::info_span!("intake", inbox.id = %row.id, agent = row.agent);
        if let Some(parent) = &row.traceparent {
            telemetry::set_parent(&span, parent);
        }
        let traceparent = telemetry::traceparent_of(&span).or_else(|| row.traceparent.clone());
        let done = act_on(desk, tx, &row, traceparent.as_deref()).instrument(span).await?;
        intake::finish(tx, row.id, &done.event, &done.outcome).await?;
        Ok(Some(done))
    })
}

async fn act_on(desk: &Desk, tx: &mut Tx, row: &Claimed, traceparent: Option<&str>) -> Result<Done, Error> {
    match Event::parse(&row.body) {
        Ok(event) => act::on(desk, tx, row, event, traceparent).await,
        Err(error) => Ok(Done {
            event: UNREADABLE.to_owned(),
            outcome: format!("{UNREADABLE}: {error}"),
            ..Done::default()
        }),
    }
}

fn finished(desk: &Desk, row: Option<&Claimed>, done: &Done) {
    desk.wake.after(&done.wishes);
    for topic in &done.topics {
        desk.wake.wake(*topic);
    }
    // The part before the colon: what follows may be anything.
    let outcome = done.outcome.split(':').next().unwrap_or_default().to_owned();
    metrics::counter!(INTAKE_ROWS, "event" => done.event.clone(), "outcome" => outcome).increment(1);
    if let Some(row) = row {
        metrics::histogram!(INTAKE_LAG).record(row.age_secs.max(0.0));
        tracing::debug!(inbox.id = %row.id, agent = row.agent, event = done.event, outcome = done.outcome, "webhook");
    }
}

/// Counts a failure on the row, in a transaction of its own: later, or never again.
async fn failed(desk: &Desk, row: &Claimed, error: &str) -> Result<(), Error> {
    let settings = &desk.config.intake;
    let attempts = u32::try_from(row.attempts).unwrap_or(0) + 1;
    let dead = (attempts >= settings.max_attempts).then_some(error);
    let pause = settings
        .first_pause
        .saturating_mul(2_u32.saturating_pow(attempts.min(20) - 1));
    let pause = pause.min(settings.longest_pause);
    run_tx!(desk.store, "intake_failed", |tx| intake::fail(tx, row.id, pause, dead)
        .await)?;
    let kind = if dead.is_some() { "dead" } else { "failed" };
    metrics::counter!(INTAKE_FAILURES, "kind" => kind).increment(1);
    if dead.is_some() {
        tracing::error!(inbox.id = %row.id, agent = row.agent, attempts, error, "a webhook became a dead letter");
        desk.wake.wake(Topic::Overview);
    } else {
        tracing::warn!(inbox.id = %row.id, agent = row.agent, attempts, error, "a webhook could not be acted on yet");
    }
    Ok(())
}
