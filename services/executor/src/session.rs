//! The conversation with the scheduler: who we are, what we can take, what we hold; assignments and cancellations back.
//!
//! It may end at any moment and is opened again for ever. Nothing depends on it but latency and leases: runs go on
//! without it until their leases end, and what they say that matters is told again.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::{Duration, Instant};

use rpc::convert::timestamp;
use rpc::v1::executor_message::Kind as Say;
use rpc::v1::scheduler_message::Kind as Hear;
use rpc::v1::{
    CompleteRequest, ExecutorMessage, HandedBack, Heartbeat, Hello, Offer, RunEvent, Welcome, complete_request,
};
use tokio::sync::{mpsc, watch};
use tokio::time::{MissedTickBehavior, interval, timeout};
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Status, Streaming};

use crate::clock::Moment;
use crate::metrics;
use crate::parts::Parts;
use crate::scheduler::pauses;

/// Messages on their way out.
const QUEUE: usize = 64;
/// A peer that takes nothing for this long is gone.
const STUCK: Duration = Duration::from_secs(10);
/// A session longer than this was a good one: the next attempt is made at once.
const GOOD: Duration = Duration::from_secs(10);

/// Why a session ended.
#[derive(Debug, thiserror::Error)]
enum Ended {
    #[error("the scheduler ended it")]
    Closed,
    #[error("{0}")]
    Status(#[from] Status),
    #[error("the scheduler does not answer any more")]
    Stuck,
    #[error("this executor is done")]
    Done,
}

/// Keeps a session open until `over`.
pub(crate) async fn keep(parts: Arc<Parts>, mut events: mpsc::Receiver<RunEvent>) {
    let latch = parts.readiness.latch("session");
    let mut pauses = pauses();
    loop {
        let began = Instant::now();
        let ended = match parts.over.run_until_cancelled(hold(&parts, &mut events)).await {
            Some(ended) => ended,
            None => Ended::Done,
        };
        ::metrics::gauge!(metrics::SESSION).set(0.0);
        latch.close();
        if matches!(ended, Ended::Done) || parts.over.is_cancelled() {
            return;
        }
        ::metrics::counter!(metrics::SESSIONS_LOST).increment(1);
        if began.elapsed() > GOOD {
            pauses = self::pauses();
        }
        let pause = pauses.next().unwrap_or_default();
        let pause_ms = u64::try_from(pause.as_millis()).unwrap_or(u64::MAX);
        tracing::info!(reason = %ended, pause_ms, "the session with the scheduler ended; it is opened again");
        if parts
            .over
            .run_until_cancelled(tokio::time::sleep(pause))
            .await
            .is_none()
        {
            return;
        }
    }
}

/// Watches the leases, with or without a session.
pub(crate) async fn guard_leases(parts: Arc<Parts>) {
    let mut tick = interval(Duration::from_millis(250));
    tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
    while parts.over.run_until_cancelled(tick.tick()).await.is_some() {
        parts.leases.stop_expired(Moment::now());
    }
}

/// One session.
struct Session<'a> {
    parts: &'a Arc<Parts>,
    out: mpsc::Sender<ExecutorMessage>,
    /// When the questions left that have no answer yet, oldest first. Answers come in order, but one may be missing;
    /// then each counts from an earlier question than its own, which is safe, until a new session begins anew.
    asked: VecDeque<Moment>,
    heartbeat: Duration,
    lease: Duration,
}

async fn hold(parts: &Arc<Parts>, events: &mut mpsc::Receiver<RunEvent>) -> Ended {
    let (out, said) = mpsc::channel(QUEUE);
    let session = Session {
        parts,
        out,
        asked: VecDeque::new(),
        heartbeat: parts.config.work.heartbeat,
        lease: Duration::from_secs(1),
    };
    let outcome = session.run(ReceiverStream::new(said), events).await;
    outcome.err().unwrap_or(Ended::Closed)
}

impl Session<'_> {
    async fn run(
        mut self,
        said: ReceiverStream<ExecutorMessage>,
        events: &mut mpsc::Receiver<RunEvent>,
    ) -> Result<(), Ended> {
        let mut offered = self.parts.slots.offered();
        let hello = self.hello();
        let holding = !hello.holding.is_empty();
        let asked = Moment::now();
        self.say(Say::Hello(hello)).await?;
        let mut inbound = self.parts.scheduler.session(said).await?;
        let welcome = first(&mut inbound).await?;
        self.accept(&welcome);
        // What Hello holds is renewed as by a heartbeat.
        self.asked.extend(holding.then_some(asked));
        self.offer(&mut offered).await?;
        for event in self.parts.leases.all_said() {
            self.say(Say::Event(event)).await?;
        }
        self.beat().await?;
        let mut tick = interval(self.heartbeat);
        tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            // Every arm can be dropped and polled again without losing anything.
            tokio::select! {
                message = inbound.message() => match message?.map(|message| message.kind) {
                    None => return Err(Ended::Closed),
                    Some(Some(heard)) => self.hear(heard).await?,
                    // Newer than this executor.
                    Some(None) => {}
                },
                _ = tick.tick() => self.beat().await?,
                changed = offered.changed() => match changed {
                    Ok(()) => self.offer(&mut offered).await?,
                    Err(_gone) => return Err(Ended::Done),
                },
                event = events.recv() => match event {
                    Some(event) => self.say(Say::Event(event)).await?,
                    None => return Err(Ended::Done),
                },
            }
        }
    }

    fn hello(&self) -> Hello {
        let build = &self.parts.build;
        Hello {
            executor_id: self.parts.instance.to_string(),
            slots: self.parts.slots.total(),
            isolation: self.parts.sandbox.level().as_str().to_owned(),
            version: build.version.clone(),
            git_sha: build.git_sha.clone(),
            built_at: build.built_at.clone(),
            holding: self.parts.leases.held(),
        }
    }

    /// Heartbeats are never slower than asked for, nor than a lease allows.
    fn accept(&mut self, welcome: &Welcome) {
        let lease = Duration::from_secs(u64::from(welcome.lease_secs.max(1)));
        self.parts.leases.set_terms(lease, self.parts.config.work.lease_margin);
        let asked_for = match welcome.heartbeat_secs {
            0 => self.heartbeat,
            seconds => Duration::from_secs(u64::from(seconds)),
        };
        self.heartbeat = self.heartbeat.min(asked_for).min(lease / 4);
        self.lease = lease;
        ::metrics::gauge!(metrics::SESSION).set(1.0);
        self.parts.readiness.latch("session").open();
        tracing::info!(lease_secs = welcome.lease_secs, "the scheduler took this executor");
    }

    async fn hear(&mut self, heard: Hear) -> Result<(), Ended> {
        match heard {
            Hear::Welcome(_) => {}
            Hear::Renewed(renewed) if renewed.run_ids.is_empty() => {}
            Hear::Renewed(renewed) => {
                if let Some(asked) = self.asked.pop_front() {
                    self.parts.leases.renewed(&renewed.run_ids, asked);
                }
            }
            Hear::Cancel(cancel) => {
                tracing::info!(
                    run.id = cancel.run_id,
                    reason = cancel.reason,
                    "the scheduler stops a run"
                );
                self.parts
                    .leases
                    .cancel(&cancel.run_id, &cancel.lease_token, &cancel.reason);
            }
            Hear::Drain(_) => {
                tracing::info!("the scheduler wants no more runs here");
                self.parts.slots.close();
            }
            Hear::Assign(assignment) => {
                let slot = self.parts.slots.take(assignment.slots);
                match (
                    slot,
                    self.parts.leases.take(&assignment.run_id, &assignment.lease_token),
                ) {
                    (_, None) => tracing::debug!(run.id = assignment.run_id, "this assignment is known already"),
                    (Some(slot), Some(stop)) => crate::run::start(self.parts, assignment, slot, stop),
                    (None, Some(_)) => self.hand_back(assignment.run_id, assignment.lease_token, assignment.attempt),
                }
                // Part of the lease passed on the way here.
                self.beat().await?;
            }
        }
        Ok(())
    }

    /// The offer and the assignment crossed: somebody else should have it.
    fn hand_back(&self, run_id: String, lease_token: String, attempt: u32) {
        self.parts.leases.ended(&lease_token);
        let request = CompleteRequest {
            run_id,
            lease_token,
            attempt,
            outcome: Some(complete_request::Outcome::HandedBack(HandedBack {
                reason: "no free slot".to_owned(),
            })),
            ..CompleteRequest::default()
        };
        let parts = Arc::clone(self.parts);
        let _written = self
            .parts
            .tasks
            .spawn_blocking("hand_back", move || parts.completions.add(request));
    }

    async fn beat(&mut self) -> Result<(), Ended> {
        let runs = self.parts.leases.held();
        self.ask(!runs.is_empty())?;
        self.say(Say::Heartbeat(Heartbeat { runs })).await
    }

    /// Notes a question about leases. Somebody who does not answer for half a lease is given up: the other half is
    /// left to find somebody who does.
    fn ask(&mut self, holding: bool) -> Result<(), Ended> {
        if !holding {
            self.asked.clear();
            return Ok(());
        }
        if self.asked.front().is_some_and(|asked| asked.elapsed() > self.lease / 2) {
            return Err(Ended::Stuck);
        }
        self.asked.push_back(Moment::now());
        Ok(())
    }

    async fn offer(&mut self, offered: &mut watch::Receiver<u32>) -> Result<(), Ended> {
        let free_slots = *offered.borrow_and_update();
        self.say(Say::Offer(Offer { free_slots })).await
    }

    async fn say(&self, kind: Say) -> Result<(), Ended> {
        let message = ExecutorMessage { kind: Some(kind) };
        match timeout(STUCK, self.out.send(message)).await {
            Ok(Ok(())) => Ok(()),
            Ok(Err(_closed)) => Err(Ended::Closed),
            Err(_elapsed) => Err(Ended::Stuck),
        }
    }
}

/// The first answer must be the welcome: it says how long leases are.
async fn first(inbound: &mut Streaming<rpc::v1::SchedulerMessage>) -> Result<Welcome, Ended> {
    let answer = timeout(STUCK, inbound.message())
        .await
        .map_err(|_elapsed| Ended::Stuck)??;
    match answer.and_then(|message| message.kind) {
        Some(Hear::Welcome(welcome)) => Ok(welcome),
        _ => Err(Ended::Closed),
    }
}

/// An event of now.
pub(crate) fn event(run_id: &str, lease_token: &str, seq: u64, kind: rpc::v1::run_event::Kind) -> RunEvent {
    RunEvent {
        run_id: run_id.to_owned(),
        lease_token: lease_token.to_owned(),
        seq,
        at: Some(timestamp(chrono::Utc::now())),
        kind: Some(kind),
    }
}
