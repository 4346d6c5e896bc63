//! From a leased run to an assignment: its budget is opened at billing, its job is written.

use std::time::{Duration, Instant};

use chrono::{NaiveTime, Utc};
use domain::money::MicroUsdc;
use domain::run::{Command, Kind, State};
use rpc::error::{Code, reason};
use rpc::v1::scheduler_message::Kind as Say;
use rpc::v1::{Assignment, SchedulerMessage};
use store::runs::{self, Note, Run};
use tokio::sync::mpsc;
use tonic::Status;
use tracing::Instrument as _;

use super::{Floor, close, complete};
use crate::bidding::writing::{self, Begin};
use crate::error::Error;
use crate::jobs::{self, Job};
use crate::wake::Topic;

/// A credential outlives its attempt by this much, for the last answers.
const AFTER_TIMEOUT: chrono::Duration = chrono::Duration::minutes(5);
/// Pause before a run is leased again that found something away.
pub(super) const OUTAGE: Duration = Duration::from_secs(15);
/// Pause before a run is leased again for which other runs may spend what is left of the day: one of them may have ended.
const PROMISED: Duration = Duration::from_secs(30);
/// Pause before a run is leased again whose client's files are on their way, and between two looks for them before that.
const ON_THEIR_WAY: Duration = Duration::from_secs(10);
const LOOK: Duration = Duration::from_millis(200);
/// The kind of the notice that an agent's money of the day is used up.
const DAY_NOTICE: &str = "budget";

/// Why a run is not assigned now.
#[derive(Debug, thiserror::Error)]
enum Not {
    /// It will hardly work by itself.
    #[error("{0}")]
    Refused(String),
    /// Something it needs is away.
    #[error("{0}")]
    Away(String),
    /// Not today.
    #[error("the money of the day is used up: it goes on at midnight UTC")]
    Today,
    /// Perhaps when other runs of the agent have ended.
    #[error("other runs may still spend what is left of the day's money: it goes on when one of them ends")]
    Promised,
    /// What came with a message is on its way.
    #[error("files of the client are on their way: it goes on when they are here, or soon without them")]
    Files,
    /// What it would ask.
    #[error("the agent's models cannot be called: the bid is written when they can")]
    Models,
    /// The executor left.
    #[error("the executor left")]
    Left,
    /// It was called off, or somebody else has it by now.
    #[error("it is no longer ours")]
    Lost,
}

impl From<Status> for Not {
    fn from(status: Status) -> Self {
        match reason(&status).as_deref() {
            Some("DAY_SPENT") => return Self::Today,
            Some("DAY_PROMISED") => return Self::Promised,
            _ => {}
        }
        let why = format!("billing: {}", status.message());
        match Code::of(&status) {
            Code::Unavailable | Code::Exhausted => Self::Away(why),
            _ => Self::Refused(why),
        }
    }
}

impl From<Error> for Not {
    fn from(error: Error) -> Self {
        if error.is_transient() {
            Self::Away(error.to_string())
        } else {
            Self::Refused(error.to_string())
        }
    }
}

/// Assigns one leased run; gives it back when that fails.
pub(super) async fn assign(floor: Floor, run: Run, out: mpsc::Sender<Result<SchedulerMessage, Status>>) {
    let span = tracing::info_span!("assign", run.id = %run.id, agent.id = %run.agent, attempt = run.machine.attempt);
    if let Some(parent) = &run.traceparent {
        telemetry::set_parent(&span, parent);
    }
    async {
        let assignment = match prepare(&floor, &run).await {
            Ok(assignment) => assignment,
            Err(why) => return give_back(&floor, &run, &why).await,
        };
        let message = SchedulerMessage {
            kind: Some(Say::Assign(assignment)),
        };
        if out.send(Ok(message)).await.is_err() {
            give_back(&floor, &run, &Not::Left).await;
        }
    }
    .instrument(span)
    .await;
}

async fn prepare(floor: &Floor, run: &Run) -> Result<Assignment, Not> {
    files_are_here(floor, run).await?;
    if run.kind == Kind::Propose {
        match writing::begin(&floor.desk, run).await? {
            Begin::Now => {}
            Begin::Later => return Err(Not::Models),
            Begin::Never => return Err(Not::Lost),
        }
    }
    let job = Job::load(floor, run).await?;
    let costs = floor.billing.costs(&[job.subject()]).await?;
    let spent = costs.get(&job.subject()).copied().unwrap_or(0);
    let budget = budget(floor, run, &job);
    let timeout = u32::try_from(run.timeout_secs).unwrap_or(0);
    let expires_at = Utc::now() + chrono::Duration::seconds(i64::from(timeout)) + AFTER_TIMEOUT;
    let asked = (budget - spent).max(0);
    let opened = floor.billing.open_run(run, &job.spec, asked, expires_at).await?;
    still_ours(floor, run).await?;
    if job.spec.budget.per_day_usd.is_some() {
        has_money(floor, run).await?;
    }
    let refused = |error: anyhow::Error| Not::Refused(error.to_string());
    let job_json = jobs::write(run, &job, budget, opened.granted).map_err(refused)?;
    let agent_spec_json = serde_json::to_string(&job.spec).map_err(|error| refused(error.into()))?;
    Ok(Assignment {
        run_id: run.id.to_string(),
        lease_token: run.lease_token.map(|token| token.to_string()).unwrap_or_default(),
        attempt: run.machine.attempt,
        kind: run.kind.name().to_owned(),
        agent: run.agent.clone(),
        bundle_sha256: run.version.clone(),
        job_json,
        agent_spec_json,
        timeout_secs: timeout,
        idle_secs: u32::try_from(job.spec.run.idle.as_secs()).unwrap_or(u32::MAX),
        gateway_credential: opened.credential,
        inputs: job.inputs(run),
        traceparent: telemetry::current_traceparent().unwrap_or_default(),
        slots: job.spec.limits.slots,
    })
}

/// What came with messages is waited for: for a moment here, which mostly is enough, then in the queue.
async fn files_are_here(floor: &Floor, run: &Run) -> Result<(), Not> {
    let Some(contract) = run.contract_id else { return Ok(()) };
    let desk = &floor.desk;
    let settings = &desk.config.attachments;
    // The lease runs meanwhile, and the books have to be asked within it too.
    let end = Instant::now() + desk.config.runs.lease / 3;
    loop {
        let awaited = store::inputs::awaited(&desk.store, contract, settings.unread, settings.patience).await;
        if !awaited.map_err(Error::from)? {
            return Ok(());
        }
        if Instant::now() >= end || desk.soft.is_cancelled() {
            return Err(Not::Files);
        }
        tokio::time::sleep(LOOK).await;
    }
}

/// A run called off while it was opened would have a right that nobody ends.
async fn still_ours(floor: &Floor, run: &Run) -> Result<(), Not> {
    let now = store::runs::get(&floor.desk.store, run.id).await.map_err(Error::from)?;
    if now.machine.state == State::Leased && now.lease_token == run.lease_token {
        return Ok(());
    }
    Err(Not::Lost)
}

/// What was said about the agent's money of the day is true no more.
async fn has_money(floor: &Floor, run: &Run) -> Result<(), Not> {
    let resolved = store::run_tx!(floor.desk.store, "day_money", |tx| {
        store::notices::resolve(tx, DAY_NOTICE, &run.agent).await
    });
    resolved.map_err(Error::from)?;
    Ok(())
}

/// The share of the net price that may go to model calls, micro US dollars; a coin counts as a dollar. A bid has a sum of
/// its own.
fn budget(floor: &Floor, run: &Run, job: &Job) -> i64 {
    if run.kind == Kind::Propose {
        return job.spec.budget.per_proposal_usd.0;
    }
    let gross = job.amount();
    let fee = gross.permille(floor.desk.config.marketplace.fee_permille);
    let net = MicroUsdc(gross.0.saturating_sub(fee.0));
    net.permille(job.spec.budget.share_of_net).0
}

/// Queues it again. What it was given, now or by an attempt that was lost, is free for other runs then, whether or not
/// its opening was answered.
async fn give_back(floor: &Floor, run: &Run, why: &Not) {
    let command = match why {
        Not::Refused(_) => Some(Command::HandBack),
        Not::Away(_) => Some(Command::PutOff(OUTAGE)),
        Not::Today => Some(Command::PutOff(until_midnight())),
        Not::Promised => Some(Command::PutOff(PROMISED)),
        Not::Files => Some(Command::PutOff(ON_THEIR_WAY)),
        Not::Models => Some(Command::PutOff(OUTAGE)),
        Not::Left => Some(Command::HandOver),
        Not::Lost => None,
    };
    if let Some(command) = command {
        queue_again(floor, run, why, &command).await;
    }
    if run.kind == Kind::Propose {
        // It may have been called off, and its bid left to the template.
        floor.desk.wake.wake(Topic::Courier);
    }
    close::close(floor, run.id, run.machine.attempt).await;
}

async fn queue_again(floor: &Floor, run: &Run, why: &Not, command: &Command) {
    tracing::warn!(reason = %why, "a run could not be assigned; it is queued again");
    let policy = floor.desk.config.runs.policy();
    let note = Note {
        error: Some(why.to_string()),
        ..Note::default()
    };
    let back = store::run_tx!(floor.desk.store, "runs_give_back", Error, |tx| {
        let step = runs::advance(tx, run.id, run.lease_token, command, &policy, &note).await?;
        if step.parked {
            complete::park(floor, tx, run, note.error.as_deref()).await?;
        }
        if matches!(why, Not::Today) {
            let body = format!(
                "the day's money of {} for model calls is used up: runs wait for midnight UTC",
                run.agent
            );
            store::notices::raise(tx, DAY_NOTICE, &run.agent, &body).await?;
        }
        Ok(())
    });
    if let Err(error) = back {
        tracing::warn!(%error, "a run could not be given back; its lease will end");
    }
    floor.desk.wake.wake(Topic::Dispatch);
}

fn until_midnight() -> Duration {
    let now = Utc::now();
    let tomorrow = now.date_naive().succ_opt().unwrap_or(now.date_naive());
    let pause = (tomorrow.and_time(NaiveTime::MIN).and_utc() - now).to_std();
    // Clocks differ: never at once.
    pause.unwrap_or_default().max(Duration::from_secs(1))
}
