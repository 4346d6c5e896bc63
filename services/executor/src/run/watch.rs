//! From the start of an agent's process to the end of all of them.

mod checkpoint;

use std::sync::Arc;
use std::time::Duration;

use boot::Job;
use tokio::sync::mpsc;
use tokio::time::{Instant, MissedTickBehavior, interval, sleep_until, timeout};
use tokio_util::sync::CancellationToken;

use super::denials::Told;
use super::ending::{Ending, Exited, Reason, Why};
use super::hearing::{Hearing, Said};
use super::pipe::{Heard, Line, Pipe};
use super::scale::{MEASURE, Room, Scale, WEIGH};
use super::voice::Voice;
use super::{Activity, Run, Way, stopped};
use crate::callbacks::Door;
use crate::leases::Stop;
use crate::protocol::Kind;
use crate::sandbox::Process;
use crate::workspace::Workspace;
use crate::{folders, metrics};

/// Between SIGTERM and SIGKILL for a run somebody wants gone: within 2 s of the wish nothing is left.
const CANCEL_GRACE: Duration = Duration::from_secs(1);
/// Output that is still on its way when nothing is left to write more.
const LAST_WORDS: Duration = Duration::from_secs(2);
/// Between two pieces of output that are told on the way.
const SHOW: Duration = Duration::from_secs(1);
/// How finely idleness is looked at.
const TICK: Duration = Duration::from_millis(200);
/// Event lines on their way, each at most 1 MiB.
const LINES: usize = 8;

/// The listening side of one process.
struct Ears {
    lines: mpsc::Receiver<Line>,
    pipe: Job<std::io::Result<Heard>>,
    outputs: Vec<Job<()>>,
    flooded: CancellationToken,
    over: CancellationToken,
}

/// The state of one watch.
struct Watch<'a> {
    run: &'a Run,
    space: &'a Workspace,
    process: Process,
    hearing: Hearing,
    voice: Voice,
    activity: Arc<Activity>,
    /// Where an endpoint answers later.
    door: Option<Door>,
    scale: Scale,
    why: Option<Why>,
    kill_at: Option<Instant>,
}

impl Run {
    /// Prepares, starts and watches. What came of it is `Err` when there was nothing to watch to its end.
    pub(super) async fn run_in(&self, space: &Workspace) -> Result<Ending, Ending> {
        let activity = Activity::new();
        let prepared = self.prepare(space, &activity).await?;
        let start = |reason: String| Ending::failed(Reason::Start, reason);
        let pipe = Pipe::open(&space.events()).map_err(|error| start(format!("open the event pipe: {error}")))?;
        // Before and after: a process is never without a note of whose it is.
        let note = |pid| folders::record(space.folder(), pid, space.uid());
        note(None).map_err(|error| start(format!("note the process: {error}")))?;
        let limits = prepared.launch.policy.limits.clone();
        let started = self.parts.sandbox.start(prepared.launch).await;
        let mut process = started.map_err(|error| start(error.to_string()))?;
        self.parts.starts.went_well();
        if let Some(listeners) = process.listeners() {
            prepared.gateway.serve(listeners.gateway);
            if let Some(proxy) = &prepared.proxy {
                proxy.serve(listeners.proxy);
            }
        }
        if let Err(error) = note(process.footprint().leader()) {
            tracing::warn!(%error, "a run's process could not be noted; it is found by its environment");
        }
        ::metrics::histogram!(metrics::START_SECONDS).record(self.began.elapsed().as_secs_f64());
        let ears = self.listen(&mut process, pipe, &activity);
        let caps = &self.parts.config.caps;
        let room = Room::Run(prepared.spec.limits.disk);
        let scale = Scale::new(&process, &limits, room, vec![space.work()]);
        let watch = Watch {
            run: self,
            space,
            process,
            hearing: Hearing::new(caps.events, caps.message_bytes),
            voice: Voice::new(&self.parts, &self.assignment.run_id, &self.assignment.lease_token),
            activity,
            door: prepared.door,
            scale,
            why: None,
            kill_at: None,
        };
        let mut exited = watch.watch(ears).await?;
        exited.budget_spent = prepared.gateway.budget_spent();
        exited.models_away = prepared.gateway.models_away();
        if let Some(used) = exited.used {
            self.tell_use(&used);
        }
        self.tell_calls(&prepared.gateway.called());
        let ending = exited.ending(self.kind);
        let mut ending = self.by_disk(space, prepared.spec.limits.disk, ending).await;
        let spec = &prepared.spec;
        if let (Ending::Done(answer), Kind::Work | Kind::Revise) = (&mut ending, self.kind) {
            self.check(space, spec, &prepared.bundle).await?;
            if let Some(review) = &spec.delivery.review {
                let review = self.review(space, (spec, review), &prepared.bundle, &prepared.gateway, answer);
                review.await?;
            }
        }
        // Nothing is asked of a model any more.
        drop(prepared.gateway);
        // The bundle was in use until here.
        drop(prepared.bundle);
        Ok(ending)
    }

    fn listen(&self, process: &mut Process, pipe: Pipe, activity: &Arc<Activity>) -> Ears {
        let (sender, lines) = mpsc::channel(LINES);
        let (flooded, over) = (CancellationToken::new(), CancellationToken::new());
        let tasks = &self.parts.tasks;
        let cap = self.parts.config.caps.event_bytes;
        let listening = pipe.listen(sender, cap, Arc::clone(activity), flooded.clone(), over.clone());
        let mut outputs = Vec::new();
        let output = || Arc::clone(&self.output);
        if let Some(stdout) = process.stdout() {
            outputs.push(tasks.spawn_job("stdout", output().listen(stdout, true, Arc::clone(activity))));
        }
        if let Some(stderr) = process.stderr() {
            outputs.push(tasks.spawn_job("stderr", output().listen(stderr, false, Arc::clone(activity))));
        }
        Ears {
            lines,
            pipe: tasks.spawn_job("events", listening),
            outputs,
            flooded,
            over,
        }
    }
}

fn printed(cap: u64) -> String {
    format!("it printed more than {cap} bytes (caps.output_bytes of the executor)")
}

impl Watch<'_> {
    async fn watch(mut self, mut ears: Ears) -> Result<Exited, Ending> {
        let status = self.until_exit(&mut ears).await;
        self.close_door();
        // Whatever it started ends with it, wherever that went.
        let ended = self.run.end(&mut self.process).await;
        let used = ended.and_then(|ended| ended.used);
        self.last_words(ears).await;
        self.show();
        for told in self.run.denials.finish() {
            self.pass_on(told);
        }
        let status = status.map_err(|error| Ending::failed(Reason::Start, format!("wait for its end: {error}")))?;
        Ok(Exited {
            status,
            why: self.why,
            last: self.hearing.into_last(),
            last_line: self.run.output.last_line(),
            budget_spent: false,
            models_away: false,
            used,
        })
    }

    async fn until_exit(&mut self, ears: &mut Ears) -> std::io::Result<std::process::ExitStatus> {
        let seconds = |secs: u32| Duration::from_secs(u64::from(secs.max(1)));
        let limit = seconds(self.run.assignment.timeout_secs);
        let idle = seconds(self.run.assignment.idle_secs);
        let end = Instant::now() + limit;
        let mut tick = interval(TICK);
        tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let (mut measured, mut weighed, mut shown) = (Instant::now(), Instant::now(), Instant::now());
        let output = Arc::clone(&self.run.output);
        loop {
            let kill_at = self.kill_at;
            let told = self.why.clone();
            // Every arm can be dropped and polled again without losing anything.
            tokio::select! {
                status = self.process.wait() => {
                    // What writes on after too much finds nobody listening, and may end of that first.
                    if self.why.is_none() && output.flooded.is_cancelled() {
                        self.why = Some(Why::TooMuch(printed(self.run.parts.config.caps.output_bytes)));
                    }
                    return status;
                }
                Some(line) = ears.lines.recv() => self.hear(line).await,
                why = wish(self.run, told.as_ref()) => self.stop(Why::Stopped(why), CANCEL_GRACE),
                () = output.flooded.cancelled(), if told.is_none() => {
                    let why = Why::TooMuch(printed(self.run.parts.config.caps.output_bytes));
                    self.stop(why, Duration::ZERO);
                }
                () = ears.flooded.cancelled(), if told.is_none() => {
                    let cap = self.run.parts.config.caps.event_bytes;
                    self.stop(Why::TooMuch(format!("it wrote more than {cap} bytes of events (caps.event_bytes of the executor)")), Duration::ZERO);
                }
                () = sleep_until(kill_at.unwrap_or(end)) => match kill_at {
                    Some(_) => {
                        self.process.kill();
                        self.kill_at = Some(Instant::now() + CANCEL_GRACE);
                    }
                    None => self.stop(Why::Timeout(limit), self.grace()),
                },
                _ = tick.tick() => {
                    if shown.elapsed() > SHOW {
                        self.show();
                        shown = Instant::now();
                    }
                    for told in self.run.denials.take() {
                        self.pass_on(told);
                    }
                    if self.why.is_none() && self.activity.idle() > idle {
                        self.stop(Why::Idle(idle), self.grace());
                    }
                    if self.why.is_none() && weighed.elapsed() > WEIGH && self.scale.has_to_weigh() {
                        self.look(Scale::too_heavy).await;
                        weighed = Instant::now();
                    }
                    if self.why.is_none() && measured.elapsed() > MEASURE {
                        self.look(Scale::too_full).await;
                        measured = Instant::now();
                    }
                }
            }
        }
    }

    fn grace(&self) -> Duration {
        self.run.parts.config.work.kill_grace
    }

    /// Asks the process to finish, and sets the moment it is ended. A drain or a pause leaves it the usual grace.
    fn stop(&mut self, why: Why, grace: Duration) {
        let grace = match &why {
            Why::Stopped(Stop::Drain | Stop::Paused) => self.grace(),
            Why::Stopped(Stop::LeaseLost) => grace.min(self.run.parts.leases.last_grace()),
            _ => grace,
        };
        tracing::info!(why = ?why, "a run is ended");
        if grace.is_zero() {
            self.process.kill();
        } else {
            self.process.terminate();
        }
        let at = Instant::now() + grace;
        self.kill_at = Some(self.kill_at.map_or(at, |earlier| earlier.min(at)));
        self.why = Some(why);
        self.close_door();
    }

    /// Nothing an endpoint sends from now on counts, or changes what lies in `out/`.
    fn close_door(&self) {
        let reason = match &self.why {
            Some(Why::Timeout(_)) => "timeout".to_owned(),
            Some(Why::Idle(_)) => "idle".to_owned(),
            Some(Why::TooMuch(_) | Why::Memory(_)) => "too_much".to_owned(),
            Some(Why::Stopped(stop)) => stop.reason(),
            None => "ended".to_owned(),
        };
        if let Some(door) = &self.door {
            door.close(&reason);
        }
    }

    /// Ends the run if it is too heavy.
    async fn look(&mut self, weigh: fn(&Scale) -> Option<Why>) {
        let scale = self.scale.clone();
        let weighing = self.run.parts.tasks.spawn_blocking("weigh", move || weigh(&scale));
        if let Some(why) = weighing.await.flatten() {
            self.stop(why, Duration::ZERO);
        }
    }

    /// Reads what is left when nobody is left to write, and decides whose lines count.
    async fn last_words(&mut self, mut ears: Ears) {
        ears.over.cancel();
        let listening = async {
            while let Some(line) = ears.lines.recv().await {
                self.hear(line).await;
            }
            ears.pipe.await
        };
        let heard = timeout(LAST_WORDS, listening).await;
        for output in &mut ears.outputs {
            if timeout(LAST_WORDS, &mut *output).await.is_err() {
                output.abort();
            }
        }
        match heard {
            Ok(Some(Ok(Heard { opened: true }))) => {}
            Ok(Some(Ok(Heard { opened: false }))) => self.hear_stdout().await,
            // Not known: nothing is taken from where anybody's text may stand.
            _ => self.warn("the event pipe could not be read to its end"),
        }
    }

    /// The agent never opened the pipe: what it printed counts.
    async fn hear_stdout(&mut self) {
        let (lines, lost) = self.run.output.take_lines();
        if lines.is_empty() {
            return;
        }
        self.warn(
            "the agent never opened STEWARD_EVENTS, so its standard output counts as events: an agent that prints what \
             a client or a model wrote lets that text speak for it",
        );
        if lost {
            self.warn("standard output held more event lines than are kept; the rest is dropped");
        }
        for line in lines {
            self.hear(Ok(line)).await;
        }
    }

    async fn hear(&mut self, line: Line) {
        if let Ok(line) = &line
            && self.run.decoy.leaves(Way::Event, line)
        {
            self.run.denials.alarm(Way::Event.alarm());
        }
        let said = match line {
            Ok(line) => self.hearing.hear(&line),
            Err(reason) => self.hearing.ignore(reason),
        };
        match said {
            Said::Nothing => {}
            Said::Progress(text) => self.voice.progress(text),
            Said::Message { text, key } => self.voice.message(text, key),
            Said::Warning(text) => self.warn(&text),
            Said::Checkpoint { data, files } => self.checkpoint(data, &files).await,
        }
    }

    /// Tells people who watch what was printed since.
    fn show(&self) {
        if let Some(text) = self.run.output.news(&self.run.assignment.gateway_credential) {
            self.voice.output(text);
        }
    }

    fn pass_on(&self, told: Told) {
        match told {
            Told::Warning(text) => self.warn(&text),
            Told::Alarm(text) => {
                self.run.output.note(&text);
                self.voice.alarm(&text);
            }
        }
    }

    fn warn(&self, text: &str) {
        self.run.output.note(text);
        self.voice.warning(text);
    }
}

/// Waits for the wish to stop that is news: after one, only a weightier one.
async fn wish(run: &Run, told: Option<&Why>) -> Stop {
    match told {
        Some(Why::Stopped(Stop::Drain | Stop::Paused)) => stopped(run.stop.clone(), &Stop::GENTLE).await,
        Some(Why::Stopped(_)) => std::future::pending().await,
        Some(_) | None => stopped(run.stop.clone(), &[]).await,
    }
}
