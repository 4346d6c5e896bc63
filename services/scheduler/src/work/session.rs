//! One executor's session: its heartbeats renew leases, its offers are filled with runs.

use std::sync::Arc;
use std::time::{Duration, Instant};

use chrono::Utc;
use rpc::v1::executor_message::Kind as Said;
use rpc::v1::scheduler_message::Kind as Say;
use rpc::v1::{Cancel, Drain, ExecutorMessage, Heartbeat, Hello, LeaseRef, Renewed, SchedulerMessage, Welcome};
use store::deployments::{self, Deployment};
use store::executors;
use store::runs::{self, Room};
use tokio::sync::mpsc;
use tonic::{Status, Streaming};
use uuid::Uuid;

use super::{Executor, Floor, assign, close, events};
use crate::desk::Desk;
use crate::wake::Topic;

/// The first word must come within this time.
const HELLO: Duration = Duration::from_secs(10);
/// How often it is written down that an executor is there; drains are learned of as often.
const NOTE_EVERY: Duration = Duration::from_secs(4);
/// Idle looks for queued runs slow down to this.
///
/// No hint reaches every replica: a stream's entry is for one of its group. So this is how long a run waits that was
/// queued by another replica than the one its executor talks to; the look is one read of a small index.
const LONGEST_POLL: Duration = Duration::from_secs(1);

/// What a session knows of its executor.
pub(super) struct Session {
    pub floor: Floor,
    pub executor: String,
    pub out: mpsc::Sender<Result<SchedulerMessage, Status>>,
    slots: u32,
    free: u32,
    isolation: String,
    version: String,
    draining: bool,
    noted: Option<Instant>,
}

/// Serves one executor until it leaves or this process stops.
pub(super) async fn run(
    floor: Floor,
    mut said: Streaming<ExecutorMessage>,
    out: mpsc::Sender<Result<SchedulerMessage, Status>>,
) {
    let hello = match tokio::time::timeout(HELLO, said.message()).await {
        Ok(Ok(Some(ExecutorMessage {
            kind: Some(Said::Hello(hello)),
        }))) => hello,
        _ => {
            let status = rpc::error::status(rpc::error::Code::Invalid, "NO_HELLO", "the first message must be Hello");
            let _ = out.send(Err(status)).await;
            return;
        }
    };
    let mut session = Session {
        floor,
        executor: hello.executor_id.clone(),
        out,
        slots: hello.slots,
        free: 0,
        isolation: hello.isolation.clone(),
        version: hello.version.clone(),
        draining: false,
        noted: None,
    };
    tracing::info!(
        executor.id = session.executor,
        slots = hello.slots,
        isolation = hello.isolation,
        "an executor came"
    );
    let ended = session.serve(&hello, &mut said).await;
    session.floor.sessions.remove(&session.executor);
    match ended {
        Ok(()) => tracing::info!(executor.id = session.executor, "an executor left"),
        Err(error) => tracing::warn!(executor.id = session.executor, %error, "an executor's session broke"),
    }
}

impl Session {
    async fn serve(&mut self, hello: &Hello, said: &mut Streaming<ExecutorMessage>) -> anyhow::Result<()> {
        let desk = Arc::clone(&self.floor.desk);
        record_start(&desk, hello).await?;
        let settings = &desk.config.runs;
        self.say(Say::Welcome(Welcome {
            lease_secs: u32::try_from(settings.lease.as_secs()).unwrap_or(u32::MAX),
            heartbeat_secs: u32::try_from(settings.heartbeat.as_secs()).unwrap_or(1).max(1),
        }))
        .await?;
        self.note().await?;
        self.renew(hello.holding.clone()).await?;
        let mut pulse = desk.wake.pulse(Topic::Dispatch, LONGEST_POLL);
        loop {
            let found = self.fill().await;
            // Every arm can be dropped and polled again without losing anything.
            tokio::select! {
                () = desk.soft.cancelled() => {
                    let stopping = rpc::error::status(
                        rpc::error::Code::Unavailable, "DRAINING", "this scheduler stops: connect to another one");
                    let _ = self.out.send(Err(stopping)).await;
                    return Ok(());
                }
                message = said.message() => match message? {
                    Some(ExecutorMessage { kind: Some(kind) }) => self.hear(kind).await?,
                    // Newer than this scheduler.
                    Some(ExecutorMessage { kind: None }) => {}
                    None => return Ok(()),
                },
                () = pulse.wait(found) => {}
            }
        }
    }

    async fn hear(&mut self, said: Said) -> anyhow::Result<()> {
        match said {
            Said::Hello(_) => Ok(()),
            Said::Offer(offer) => {
                self.free = offer.free_slots.min(self.slots);
                let executor = Executor {
                    slots: self.slots,
                    free: self.free,
                    isolation: self.isolation.clone(),
                };
                self.floor.sessions.put(&self.executor, executor);
                self.floor.desk.wake.wake(Topic::Overview);
                Ok(())
            }
            Said::Heartbeat(Heartbeat { runs }) => {
                self.renew(runs).await?;
                self.note().await
            }
            Said::Event(event) => {
                if let Err(error) = events::keep(&self.floor, event).await {
                    tracing::warn!(%error, "an event could not be kept; the completion brings it again");
                }
                Ok(())
            }
        }
    }

    /// Notes now and then that it is there, and learns whether it shall take no more work.
    async fn note(&mut self) -> anyhow::Result<()> {
        if self.noted.is_some_and(|noted| noted.elapsed() < NOTE_EVERY) {
            return Ok(());
        }
        let executor = executors::Executor {
            id: self.executor.clone(),
            slots: i32::try_from(self.slots).unwrap_or(i32::MAX),
            isolation: self.isolation.clone(),
            version: self.version.clone(),
        };
        let noted = store::run_tx!(self.floor.desk.store, "executor_seen", |tx| {
            executors::seen(tx, &executor).await
        });
        match noted {
            Ok(true) if !self.draining => {
                self.draining = true;
                tracing::info!(executor.id = self.executor, "an executor is drained");
                self.say(Say::Drain(Drain {})).await?;
            }
            Ok(_) => {}
            Err(error) if error.is_transient() => return Ok(()),
            Err(error) => return Err(error.into()),
        }
        self.noted = Some(Instant::now());
        Ok(())
    }

    /// Renews what is still held and tells the executor to stop the rest.
    async fn renew(&mut self, refs: Vec<LeaseRef>) -> anyhow::Result<()> {
        let held: Vec<(Uuid, Uuid)> = refs.iter().filter_map(parse).collect();
        let lease = self.floor.desk.config.runs.lease;
        let renewed = if held.is_empty() {
            Vec::new()
        } else {
            let renewed = store::run_tx!(self.floor.desk.store, "runs_renew", |tx| runs::renew(tx, &held, lease)
                .await);
            match renewed {
                Ok(renewed) => renewed,
                // Without an answer the executor counts down its own lease; nothing is cancelled on a guess.
                Err(error) if error.is_transient() => {
                    tracing::warn!(%error, "leases could not be renewed");
                    return Ok(());
                }
                Err(error) => return Err(error.into()),
            }
        };
        let mut gone = Vec::new();
        for (lost, reference) in refs
            .iter()
            .filter_map(|reference| Some((parse(reference)?.0, reference)))
        {
            if !renewed.iter().any(|still| still.id == lost) {
                gone.push(lost);
                self.say(Say::Cancel(Cancel {
                    run_id: reference.run_id.clone(),
                    lease_token: reference.lease_token.clone(),
                    reason: "lease_lost".to_owned(),
                }))
                .await?;
            }
        }
        if !gone.is_empty() {
            let floor = self.floor.clone();
            let closing = async move { close::called_off(&floor, &gone).await };
            let _running = self.floor.desk.tasks.spawn_job("close_runs", closing);
        }
        for paused in renewed.iter().filter(|still| still.pause) {
            let held = refs
                .iter()
                .find(|reference| parse(reference).is_some_and(|(id, _)| id == paused.id));
            if let Some(held) = held {
                self.say(Say::Cancel(Cancel {
                    run_id: held.run_id.clone(),
                    lease_token: held.lease_token.clone(),
                    reason: "paused".to_owned(),
                }))
                .await?;
            }
        }
        let run_ids = renewed.iter().map(|still| still.id.to_string()).collect();
        self.say(Say::Renewed(Renewed { run_ids })).await
    }

    /// Leases queued runs for the free slots. Answers whether to look again soon.
    ///
    /// An offer is as old as its way here: what was assigned since is not in it, and what could not be assigned does
    /// not bring a new one. So the rows say how much of it is left.
    async fn fill(&mut self) -> bool {
        if self.free == 0 || self.draining || self.floor.desk.soft.is_cancelled() {
            return false;
        }
        let settings = &self.floor.desk.config.runs;
        let (slots, offered, lease) = (
            i64::from(self.slots),
            self.free.min(settings.max_per_session),
            settings.lease,
        );
        let (executor, caps) = (&self.executor, settings.caps());
        let leased = store::run_tx!(self.floor.desk.store, "runs_lease", |tx| {
            let room = slots - runs::held_by(tx, executor).await?;
            let free = room.min(i64::from(offered));
            Ok(if free > 0 {
                Some(runs::lease_next(tx, executor, Room { slots, free }, &caps, lease).await?)
            } else {
                None
            })
        });
        match leased {
            Ok(Some(leased)) => {
                let found = !leased.is_empty();
                for run in leased {
                    let (floor, out) = (self.floor.clone(), self.out.clone());
                    let _running = self
                        .floor
                        .desk
                        .tasks
                        .spawn_job("assign", assign::assign(floor, run, out));
                }
                found
            }
            // An assignment or a completion is on its way.
            Ok(None) => true,
            Err(error) => {
                tracing::warn!(%error, "leasing runs failed; trying again");
                false
            }
        }
    }

    async fn say(&self, kind: Say) -> anyhow::Result<()> {
        self.out
            .send(Ok(SchedulerMessage { kind: Some(kind) }))
            .await
            .map_err(|_| anyhow::anyhow!("it is gone"))
    }
}

/// The executor has no store: its first scheduler records its start, every later session finds it recorded.
async fn record_start(desk: &Desk, hello: &Hello) -> anyhow::Result<()> {
    let start = Deployment {
        service: "executor".to_owned(),
        instance: hello.executor_id.clone(),
        version: hello.version.clone(),
        git_sha: hello.git_sha.clone(),
        built_at: hello.built_at.clone(),
        started_at: Utc::now(),
    };
    store::run_tx!(desk.store, "executor_start", |tx| {
        deployments::record_once(tx, &start).await
    })?;
    Ok(())
}

fn parse(reference: &LeaseRef) -> Option<(Uuid, Uuid)> {
    Some((reference.run_id.parse().ok()?, reference.lease_token.parse().ok()?))
}
