//! Things that happen later: webhook attempts, and what the played clients do.

use std::{
    cmp::Reverse,
    collections::BinaryHeap,
    sync::{Arc, Mutex},
    time::Duration,
};

use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use crate::{app::App, scenario, sync::lock, webhooks, world::market::Turn};

/// How long to sleep when nothing is due.
const IDLE: Duration = Duration::from_secs(3600);

/// Something to do later.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Action {
    /// The client accepts this proposal.
    Accept { gig: Uuid, proposal: Uuid },
    /// The client funds the escrow.
    Fund { contract: Uuid },
    /// The client approves this delivery, counted from 1.
    Approve { contract: Uuid, delivery: u32 },
    /// The market posts its next gig.
    Play,
    /// Something happens on the realistic market, to a gig or a contract.
    Turn { turn: Turn, id: Uuid },
    /// A step of the scenario loaded as number `load`.
    Step { load: u64, step: u64 },
    /// Send a webhook; an extra copy neither counts as an attempt nor is retried.
    Send { delivery: Uuid, extra: bool },
    /// Send a webhook held back to change the order, if it is held still.
    Release { delivery: Uuid },
}

#[derive(Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Due {
    /// Since the clock's start.
    at: Duration,
    order: u64,
    action: Action,
}

/// What is to happen, by time.
#[derive(Debug, Default)]
pub struct Timers {
    heap: Mutex<(BinaryHeap<Reverse<Due>>, u64)>,
    changed: Notify,
    /// Held while a frozen clock's actions are done, one after the other.
    turn: tokio::sync::Mutex<()>,
}

impl Timers {
    /// Has `action` done at `at`, counted from the clock's start.
    pub fn at(&self, at: Duration, action: Action) {
        {
            let mut heap = lock(&self.heap);
            heap.1 += 1;
            let order = heap.1;
            heap.0.push(Reverse(Due { at, order, action }));
        }
        self.changed.notify_one();
    }

    /// Forgets everything planned.
    pub fn clear(&self) {
        lock(&self.heap).0.clear();
    }

    /// How many actions are planned.
    pub fn planned(&self) -> usize {
        lock(&self.heap).0.len()
    }

    /// The next action due at `now`, and when.
    fn pop(&self, now: Duration) -> Option<(Duration, Action)> {
        let mut heap = lock(&self.heap);
        if heap.0.peek()?.0.at > now {
            return None;
        }
        heap.0.pop().map(|Reverse(due)| (due.at, due.action))
    }

    /// When the next action is due.
    fn next(&self) -> Option<Duration> {
        lock(&self.heap).0.peek().map(|Reverse(due)| due.at)
    }
}

/// Does what is due, until `stop`.
pub async fn run(app: Arc<App>, stop: CancellationToken) {
    loop {
        if app.clock.is_frozen() {
            advance(&app, Duration::ZERO).await;
        } else {
            while let Some((_, action)) = app.timers.pop(app.clock.elapsed()) {
                if let Some((delivery, extra)) = fire(&app, action) {
                    let app_in_task = Arc::clone(&app);
                    app.tasks.spawn(async move {
                        webhooks::attempt(&app_in_task, delivery, extra).await;
                    });
                }
            }
        }
        let next = app.timers.next().filter(|_| !app.clock.is_frozen());
        let wait = next.map_or(IDLE, |at| at.saturating_sub(app.clock.elapsed()));
        tokio::select! {
            () = stop.cancelled() => return,
            () = app.timers.changed.notified() => {}
            () = tokio::time::sleep(wait) => {}
        }
    }
}

/// Moves a frozen clock by `by`, and does on the way what falls due: in order, each at its time, every webhook answered
/// before the next thing happens.
pub async fn advance(app: &Arc<App>, by: Duration) {
    let _turn = app.timers.turn.lock().await;
    let target = app.clock.elapsed().saturating_add(by);
    while let Some((at, action)) = app.timers.pop(target) {
        app.clock.move_to(at);
        if let Some((delivery, extra)) = fire(app, action) {
            webhooks::attempt(app, delivery, extra).await;
        }
    }
    app.clock.move_to(target);
}

/// Does `action`; a webhook to be sent is left to the caller.
fn fire(app: &Arc<App>, action: Action) -> Option<(Uuid, bool)> {
    // A played client finds the state changed under it when a script was faster: then it does
    // nothing, which is why refusals are dropped here.
    match action {
        Action::Accept { gig, proposal } => {
            let _ = app.act(|world| world.accept(gig, Some(proposal)));
        }
        Action::Fund { contract } => {
            let _ = app.act(|world| world.fund(contract));
        }
        Action::Approve { contract, delivery } => {
            let _ = app.act(|world| world.approve_delivery(contract, delivery));
        }
        Action::Turn { turn, id } => app.act(|world| world.turn(turn, id)),
        Action::Step { load, step } => scenario::step(app, load, step),
        Action::Play => app.act(|world| world.play()),
        Action::Send { delivery, extra } => return Some((delivery, extra)),
        Action::Release { delivery } => webhooks::release(app, delivery),
    }
    None
}
