//! Sends effects: most important first, inside each key's request budget, never the same one twice.
//!
//! Each effect goes through the same gates: a grant of the budget; one transaction that re-checks the preconditions and
//! moves it to `sending` under a lease; a last look at that lease; the call; one transaction that keeps the outcome and
//! what follows from it. What may have happened is verified by reads before anything is sent again.

use std::collections::HashSet;
use std::sync::Arc;
use std::time::{Duration, Instant};

use domain::effect::{Class, Kind, State};
use store::effects::{self, Due};
use tokio::sync::Semaphore;
use tracing::Instrument as _;

use crate::billing::Billing;
use crate::budget::{Budget, Denied, Held};
use crate::desk::Desk;
use crate::marketplace::Marketplace;
use crate::objects::Objects;
use crate::wake::Topic;

mod bids;
mod confirm;
mod gate;
mod outcome;
mod probe;
mod send;
mod verify;

pub(crate) use outcome::give_up;

/// The kind of the notice an effect that was given up raises.
pub(crate) const DEAD_LETTER: &str = "dead_letter";
/// Due effects looked at per round.
const ROUND: i64 = 512;
/// Idle polls slow down to this.
const LONGEST_POLL: Duration = Duration::from_secs(5);

/// The courier of one scheduler process.
#[derive(Debug)]
pub struct Courier {
    desk: Arc<Desk>,
    budget: Budget,
    market: Arc<Marketplace>,
    objects: Objects,
    billing: Billing,
    permits: Arc<Semaphore>,
    /// Walks through lists take long: some of the permits are never theirs.
    walks: Arc<Semaphore>,
}

/// What one round found.
#[derive(Debug, Default)]
struct Round {
    /// Something was begun.
    begun: bool,
    /// The budget has room again after this much time.
    wait: Option<Duration>,
}

impl Courier {
    /// Puts the parts together.
    #[must_use]
    pub fn new(desk: Arc<Desk>, market: Arc<Marketplace>, objects: Objects, billing: Billing) -> Arc<Self> {
        let concurrency = desk.config.courier.concurrency;
        let permits = Arc::new(Semaphore::new(concurrency));
        let walks = Arc::new(Semaphore::new((concurrency / 2).max(1)));
        let budget = Budget::new(Arc::clone(&desk));
        Arc::new(Self {
            desk,
            budget,
            market,
            objects,
            billing,
            permits,
            walks,
        })
    }

    /// Sends what is due until the soft stop; what is on its way then is finished.
    pub async fn run(self: Arc<Self>) {
        let mut pulse = self.desk.wake.pulse(Topic::Courier, LONGEST_POLL);
        while !self.desk.soft.is_cancelled() {
            let round = self.round().await.unwrap_or_else(|error| {
                tracing::warn!(%error, "looking for due effects failed; trying again");
                Round::default()
            });
            let wait = round.wait.unwrap_or(LONGEST_POLL);
            tokio::select! {
                () = self.desk.soft.cancelled() => {}
                () = pulse.wait(round.begun) => {}
                () = tokio::time::sleep(wait) => {}
            }
        }
    }

    async fn round(self: &Arc<Self>) -> Result<Round, store::Error> {
        let mut round = Round::default();
        // What was denied once in a round need not ask again.
        let mut denied: HashSet<(String, Class)> = HashSet::new();
        let mut looked_for: HashSet<String> = HashSet::new();
        for due in effects::due(&self.desk.store, ROUND).await? {
            let class = due.kind.class();
            let hopeless = class.is_some_and(|class| denied.contains(&(due.agent.clone(), class)));
            if hopeless || self.desk.soft.is_cancelled() {
                continue;
            }
            // One walk looks for all lost bids of an agent.
            let is_lost_bid = due.state == State::Unknown && due.kind == Kind::Propose;
            if is_lost_bid && !looked_for.insert(due.agent.clone()) {
                continue;
            }
            let walk = match due.state {
                State::Unknown => Arc::clone(&self.walks).try_acquire_owned().map(Some),
                _ => Ok(None),
            };
            let Ok(walk) = walk else { continue };
            let Ok(permit) = Arc::clone(&self.permits).try_acquire_owned() else {
                break;
            };
            let held = match self.grant(&due).await? {
                Ok(held) => held,
                Err(wait) => {
                    denied.extend(class.map(|class| (due.agent, class)));
                    round.wait = wait.into_iter().chain(round.wait).min();
                    continue;
                }
            };
            round.begun = true;
            let courier = Arc::clone(self);
            let span = tracing::info_span!("effect", effect.id = %due.id, effect.kind = due.kind.name(), agent.id = %due.agent);
            let _running = self.desk.tasks.spawn_job("effect", async move {
                courier.work(due, held).instrument(span).await;
                drop((permit, walk));
                courier.desk.wake.wake(Topic::Courier);
            });
        }
        Ok(round)
    }

    /// A grant for what calls the marketplace; nothing for what does not. `Err` holds the time to wait, if it is known.
    async fn grant(self: &Arc<Self>, due: &Due) -> Result<Result<Option<Held>, Option<Duration>>, store::Error> {
        let Some(class) = due.kind.class() else {
            return Ok(Ok(None));
        };
        match self.budget.take(&due.agent, class).await {
            Ok(held) => Ok(Ok(Some(held))),
            Err(Denied::Wait(wait) | Denied::Failing(wait)) => Ok(Err(Some(wait))),
            Err(Denied::Probe(held)) => {
                self.probe(due.agent.clone(), held);
                Ok(Err(None))
            }
            Err(Denied::Stopped(_)) => Ok(Err(None)),
            Err(Denied::Store(error)) => Err(error),
        }
    }

    async fn work(&self, due: Due, held: Option<Held>) {
        let started = Instant::now();
        let result = match due.state {
            State::Unknown => self.verify(&due, held).await,
            _ => self.send(&due, held).await,
        };
        let outcome = match &result {
            Ok(outcome) => *outcome,
            Err(error) => {
                // The row keeps its lease: when that ends, the sweeper decides what may have happened.
                tracing::warn!(%error, "an effect could not be worked on");
                "error"
            }
        };
        metrics::histogram!(crate::metrics::EFFECT_SECONDS, "kind" => due.kind.name(), "outcome" => outcome)
            .record(started.elapsed().as_secs_f64());
    }
}
