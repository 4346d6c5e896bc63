//! One attempt at one job: prepare, start, listen, end, deliver, tell.

mod activity;
mod aside;
mod built_in;
mod checks;
mod decoy;
mod denials;
mod ending;
mod env;
mod hearing;
mod interpreter;
mod machine;
mod output;
mod pipe;
mod prepare;
mod review;
mod scale;
mod setup;
mod spec;
mod used;
mod voice;
mod watch;

use std::sync::Arc;
use std::time::Instant;

use rpc::v1::{ArtefactHeader, Assignment, CompleteRequest};
use tokio::sync::watch::Receiver;
use tracing::Instrument as _;

pub use activity::{Activity, OpenCall};
pub(crate) use decoy::describe;
pub use decoy::{Decoy, Search, Way};
pub use denials::Denials;
pub(crate) use machine::Starts;

use crate::artefacts::{self, Bounds, Owner};
use crate::leases::Stop;
use crate::metrics;
use crate::parts::Parts;
use crate::protocol::{Answer, Kind};
use crate::sandbox::{Ended, Footprint, Process};
use crate::scheduler::lease_lost;
use crate::slots::Slot;
use crate::workspace::Workspace;
use ending::{Ending, Reason};
use output::Output;

/// An attempt and everything that belongs to it.
struct Run {
    parts: Arc<Parts>,
    assignment: Assignment,
    kind: Kind,
    slot: Slot,
    stop: Receiver<Option<Stop>>,
    output: Arc<Output>,
    denials: Arc<Denials>,
    decoy: Arc<Decoy>,
    began: Instant,
}

/// Runs an assignment in a task of its own.
pub(crate) fn start(parts: &Arc<Parts>, assignment: Assignment, slot: Slot, stop: Receiver<Option<Stop>>) {
    let span = tracing::info_span!(
        "run",
        run.id = assignment.run_id,
        run.kind = assignment.kind,
        run.attempt = assignment.attempt,
        agent.id = assignment.agent,
        outcome = tracing::field::Empty,
    );
    telemetry::set_parent(&span, &assignment.traceparent);
    let held = Held {
        parts: Arc::clone(parts),
        token: assignment.lease_token.clone(),
        told: false,
    };
    let attempt = attempt(held, assignment, slot, stop);
    // Its end is told by its completion; a panic is logged there and leaves the lease to run out.
    let running = parts.tasks.spawn_job("run", attempt.instrument(span));
    drop(running);
}

/// Lets go of a lease whose end nobody will tell, so that no heartbeat keeps it.
struct Held {
    parts: Arc<Parts>,
    token: String,
    told: bool,
}

impl Drop for Held {
    fn drop(&mut self) {
        if !self.told {
            self.parts.leases.release(&self.token);
        }
    }
}

async fn attempt(mut held: Held, assignment: Assignment, slot: Slot, stop: Receiver<Option<Stop>>) {
    let parts = Arc::clone(&held.parts);
    let began = Instant::now();
    let output = Arc::new(Output::new(parts.config.caps.output_bytes));
    let (ending, files) = match Kind::parse(&assignment.kind) {
        Some(kind) => {
            let run = Run {
                parts: Arc::clone(&parts),
                assignment: assignment.clone(),
                kind,
                slot,
                stop,
                output: Arc::clone(&output),
                denials: Arc::default(),
                decoy: Arc::default(),
                began,
            };
            let (ending, files) = run.live().await;
            (Run::by_machine(&parts, ending), files)
        }
        None => (
            Ending::failed(Reason::Start, "this executor does not know the job's kind; update it"),
            Vec::new(),
        ),
    };
    let label = ending.label();
    tracing::Span::current().record("outcome", label);
    let duration = began.elapsed();
    let kind = Kind::parse(&assignment.kind).map_or("unknown", Kind::as_str);
    ::metrics::counter!(metrics::RUNS, "kind" => kind, "outcome" => label).increment(1);
    ::metrics::histogram!(metrics::RUN_SECONDS, "kind" => kind).record(duration.as_secs_f64());
    let duration_ms = u64::try_from(duration.as_millis()).unwrap_or(u64::MAX);
    tracing::info!(outcome = label, detail = ending.detail(), duration_ms, "attempt ended");
    let request = CompleteRequest {
        run_id: assignment.run_id,
        lease_token: assignment.lease_token,
        attempt: assignment.attempt,
        outcome: Some(ending.into_outcome()),
        log_tail: output.tail(&assignment.gateway_credential),
        artefacts: files,
        duration_ms,
        traceparent: telemetry::current_traceparent().unwrap_or(assignment.traceparent),
        events: parts.leases.said(&held.token),
    };
    let completions = parts.completions.clone();
    let writing = parts
        .tasks
        .spawn_blocking("completion", move || completions.add(request));
    match writing.await {
        Some(Ok(())) => {}
        Some(Err(error)) => {
            tracing::error!(%error, "a completion could not be written to disk; it is sent all the same")
        }
        // Dropped at a hard stop: the lease runs out and the run is done again.
        None => return,
    }
    held.told = true;
    parts.leases.ended(&held.token);
}

impl Run {
    /// From the assignment to what came of it. The slot is free when this returns.
    async fn live(self) -> (Ending, Vec<ArtefactHeader>) {
        let name = format!("{}-{}", self.assignment.run_id, self.assignment.attempt);
        if crate::protocol::name::relative(&name).is_err() || name.contains('/') {
            return (
                Ending::failed(Reason::Start, "the run's id is no file name"),
                Vec::new(),
            );
        }
        if let Err(reason) = crate::protocol::job::check(&self.assignment.job_json, self.kind) {
            return (Ending::failed(Reason::Start, reason), Vec::new());
        }
        let (runs, uid, job) = (
            self.parts.folders.runs(),
            self.slot.uid(),
            self.assignment.job_json.clone(),
        );
        let making = self.parts.tasks.spawn_blocking("workspace", move || {
            // Of an earlier run in this slot nothing is left, even if that one was dropped.
            if let Some(uid) = uid.filter(|uid| !Footprint::of_user(*uid).end()) {
                return Err(Unmade::Taken(uid));
            }
            Ok(Workspace::create(&runs, &name, uid, &job)?)
        });
        let space = match making.await {
            Some(Ok(space)) => space,
            Some(Err(Unmade::Taken(uid))) => {
                self.slot.not_empty(Footprint::of_user(uid));
                return (Ending::HandedBack("slot_not_empty".to_owned()), Vec::new());
            }
            Some(Err(Unmade::Io(error))) => {
                let reason = format!("make the workspace: {error}");
                return (Ending::failed(Reason::Start, reason), Vec::new());
            }
            None => return (Ending::HandedBack("stopped".to_owned()), Vec::new()),
        };
        let guard = Cleared(Some((Arc::clone(&self.parts), space.clone())));
        let (ending, files) = self.work_in(&space).await;
        let work = &self.parts.config.work;
        let keep = work.keep_all || (work.keep_failed && matches!(ending, Ending::Failed { .. }));
        guard.clear(keep).await;
        (ending, files)
    }

    async fn work_in(&self, space: &Workspace) -> (Ending, Vec<ArtefactHeader>) {
        let mut ending = match self.run_in(space).await {
            Ok(ending) => ending,
            Err(ending) => ending,
        };
        let Ending::Done(answer) = &mut ending else {
            return (ending, Vec::new());
        };
        self.leave_out_empty(space, answer).await;
        match self.deliver(space, answer.files()).await {
            Ok(files) => (ending, files),
            Err(ending) => (ending, Vec::new()),
        }
    }

    /// Marketplaces take no empty file, and one among others (`__init__.py`, `.gitkeep`) is no reason to do the work
    /// again: it stays here, and the client is told. Where nothing else is delivered, they stay named, and the delivery is
    /// refused for it.
    async fn leave_out_empty(&self, space: &Workspace, answer: &mut Answer) {
        let (out, names) = (space.out(), answer.files().to_vec());
        let looking = self
            .parts
            .tasks
            .spawn_blocking("empty_files", move || artefacts::empty(&out, &names));
        let empty = looking.await.unwrap_or_default();
        if answer.leave_out(&empty) {
            let names = empty.join(", ");
            self.output
                .note(&format!("left out of the delivery because they are empty: {names}"));
        }
    }

    /// Sends the named files up, unless the run is stopped meanwhile.
    async fn deliver(&self, space: &Workspace, names: &[String]) -> Result<Vec<ArtefactHeader>, Ending> {
        let caps = &self.parts.config.caps;
        let bounds = Bounds {
            files: caps.files,
            bytes: caps.files_bytes,
        };
        let owner = self.owner(space);
        let out = space.out();
        let remark = |said: &str| self.output.note(said);
        let (scheduler, tasks) = (&self.parts.scheduler, &self.parts.tasks);
        let sending = artefacts::deliver(scheduler, tasks, &owner, &out, names, bounds, remark);
        tokio::select! {
            sent = sending => sent.map_err(|error| match error {
                artefacts::Error::Call(status) if lease_lost(&status) => Ending::HandedBack("lease_lost".to_owned()),
                artefacts::Error::Stopped => Ending::HandedBack("stopped".to_owned()),
                error => Ending::failed(Reason::BadResult, error.to_string()),
            }),
            // The work is done: a drain waits for it as long as it can.
            why = stopped(self.stop.clone(), &Stop::GENTLE) => Err(Ending::HandedBack(why.reason())),
        }
    }

    /// Ends a process and all it started. What cannot be ended keeps the slot.
    async fn end(&self, process: &mut Process) -> Option<Ended> {
        let footprint = process.footprint().clone();
        let ended = self.parts.tasks.spawn_blocking("end", process.end_all()).await;
        if ended.is_some_and(|ended| !ended.none_left) {
            self.slot.not_empty(footprint);
        }
        ended
    }

    fn owner(&self, space: &Workspace) -> Owner {
        Owner {
            run_id: self.assignment.run_id.clone(),
            lease_token: self.assignment.lease_token.clone(),
            attempt: self.assignment.attempt,
            uid: space.uid(),
        }
    }
}

/// Why there is no workspace.
enum Unmade {
    /// Processes of an earlier run live under the user id.
    Taken(u32),
    Io(std::io::Error),
}

impl From<std::io::Error> for Unmade {
    fn from(error: std::io::Error) -> Self {
        Self::Io(error)
    }
}

/// Waits until the run is told to stop for a reason other than these.
async fn stopped(mut stop: Receiver<Option<Stop>>, except: &[Stop]) -> Stop {
    let told = stop
        .wait_for(|why| why.as_ref().is_some_and(|why| !except.contains(why)))
        .await;
    match told {
        Ok(why) => why.clone().unwrap_or(Stop::LeaseLost),
        // Nobody holds the lease any more.
        Err(_released) => Stop::LeaseLost,
    }
}

/// Removes the workspace, also when the run is dropped.
struct Cleared(Option<(Arc<Parts>, Workspace)>);

impl Cleared {
    async fn clear(mut self, keep: bool) {
        if let Some((parts, space)) = self.0.take().filter(|_| !keep) {
            let removing = parts.tasks.spawn_blocking("remove_workspace", move || remove(&space));
            let _done = removing.await;
        }
    }
}

impl Drop for Cleared {
    fn drop(&mut self) {
        if let Some((parts, space)) = self.0.take() {
            let removing = parts.tasks.spawn_blocking("remove_workspace", move || remove(&space));
            drop(removing);
        }
    }
}

fn remove(space: &Workspace) {
    if let Err(error) = space.remove() {
        tracing::warn!(folder = %space.folder().display(), %error, "a workspace could not be removed; the next start tries again");
    }
}
