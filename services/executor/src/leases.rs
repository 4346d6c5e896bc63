//! What this process holds: runs in progress and runs whose end is not acknowledged yet.
//!
//! A lease counts from the moment its renewal was *asked for*, by this machine's steady clock: however late the answer is,
//! however long the machine slept and whatever is done to its wall clock, a run is stopped before anybody else may take it.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use rpc::v1::run_event::Kind;
use rpc::v1::{LeaseRef, RunEvent};
use tokio::sync::watch;

use crate::clock::Moment;
use crate::metrics;

/// Before the scheduler has said how long a lease is.
const FIRST_LEASE: Duration = Duration::from_secs(30);

/// Why a run has to stop before it is done.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Stop {
    /// The executor stops.
    Drain,
    /// Its agent is paused: it comes back later.
    Paused,
    /// An operator, or the contract's end.
    Cancelled(String),
    /// Somebody else may have it by now.
    LeaseLost,
}

/// All leases; clones are the same set.
#[derive(Debug, Clone)]
pub struct Leases(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    state: Mutex<State>,
    running: watch::Sender<usize>,
}

#[derive(Debug)]
struct State {
    /// By lease token: one run may be here twice for a moment, when it came back before its old attempt was stopped.
    held: HashMap<String, Held>,
    lease: Duration,
    margin: Duration,
}

#[derive(Debug)]
struct Held {
    run_id: String,
    until: Moment,
    /// None once the process is over and only the end has to be told.
    stop: Option<watch::Sender<Option<Stop>>>,
    said: Vec<RunEvent>,
}

impl Stop {
    /// Those that leave a run the usual grace, and time to hand in what is done.
    pub const GENTLE: [Self; 2] = [Self::Drain, Self::Paused];

    /// A word for the completion.
    #[must_use]
    pub fn reason(&self) -> String {
        match self {
            Self::Drain => "drain".to_owned(),
            Self::Paused => "paused".to_owned(),
            Self::Cancelled(reason) => reason.clone(),
            Self::LeaseLost => "lease_lost".to_owned(),
        }
    }

    fn weight(&self) -> u8 {
        match self {
            Self::Drain | Self::Paused => 0,
            Self::Cancelled(_) => 1,
            Self::LeaseLost => 2,
        }
    }
}

impl Default for Leases {
    fn default() -> Self {
        let state = State {
            held: HashMap::new(),
            lease: FIRST_LEASE,
            margin: FIRST_LEASE / 4,
        };
        Self(Arc::new(Inner {
            state: Mutex::new(state),
            running: watch::Sender::new(0),
        }))
    }
}

impl Leases {
    /// How long a lease is, and how much of it is kept back for stopping: at most a quarter.
    pub fn set_terms(&self, lease: Duration, margin: Duration) {
        let mut state = self.0.lock();
        state.lease = lease;
        state.margin = margin.min(lease / 4);
    }

    /// How long a run whose lease is about to end may take to end by itself: half of what is kept back for stopping.
    #[must_use]
    pub fn last_grace(&self) -> Duration {
        self.0.lock().margin / 2
    }

    /// Holds a run that is to be started. `None` when this lease is held already. An older attempt of the same run is
    /// stopped: its lease must be gone.
    #[must_use]
    pub fn take(&self, run_id: &str, token: &str) -> Option<watch::Receiver<Option<Stop>>> {
        let mut state = self.0.lock();
        if state.held.contains_key(token) {
            return None;
        }
        for older in state.held.values_mut().filter(|held| held.run_id == run_id) {
            older.stop(Stop::LeaseLost);
        }
        let (stop, stopped) = watch::channel(None);
        // Part of it had passed before it came here; the first renewal follows at once.
        let until = Moment::now() + state.lease / 2;
        state.insert(run_id, token, until, Some(stop));
        drop(state);
        self.0.tell();
        Some(stopped)
    }

    /// Holds a run whose end an earlier process wrote down.
    pub fn take_over(&self, lease: &LeaseRef) {
        let mut state = self.0.lock();
        let until = Moment::now() + state.lease;
        state.insert(&lease.run_id, &lease.lease_token, until, None);
    }

    /// The run's process is over; the lease is held on until the end is acknowledged.
    pub fn ended(&self, token: &str) {
        if let Some(held) = self.0.lock().held.get_mut(token) {
            held.stop = None;
            held.said.clear();
        }
        self.0.tell();
    }

    /// The end is acknowledged, or the lease is somebody else's.
    pub fn release(&self, token: &str) {
        self.0.lock().held.remove(token);
        self.0.tell();
    }

    /// Everything held, for Hello and heartbeats.
    #[must_use]
    pub fn held(&self) -> Vec<LeaseRef> {
        let state = self.0.lock();
        let held = state.held.iter().map(|(token, held)| LeaseRef {
            run_id: held.run_id.clone(),
            lease_token: token.clone(),
        });
        held.collect()
    }

    /// These runs were renewed by a heartbeat that left at `asked`.
    pub fn renewed(&self, run_ids: &[String], asked: Moment) {
        let mut state = self.0.lock();
        let until = asked + state.lease;
        for held in state.held.values_mut().filter(|held| run_ids.contains(&held.run_id)) {
            held.until = held.until.max(until);
        }
    }

    /// Stops a run the scheduler names.
    pub fn cancel(&self, run_id: &str, token: &str, reason: &str) {
        let why = match reason {
            "lease_lost" => Stop::LeaseLost,
            "paused" => Stop::Paused,
            other => Stop::Cancelled(other.to_owned()),
        };
        let mut state = self.0.lock();
        for (_, held) in state
            .held
            .iter_mut()
            .filter(|(held_token, held)| held.run_id == run_id && (token.is_empty() || *held_token == token))
        {
            held.stop(why.clone());
        }
    }

    /// Stops every run whose lease ends within the margin.
    pub fn stop_expired(&self, now: Moment) {
        let mut state = self.0.lock();
        let margin = state.margin;
        for held in state.held.values_mut().filter(|held| held.until <= now + margin) {
            if held.stop(Stop::LeaseLost) {
                ::metrics::counter!(metrics::LEASES_LOST).increment(1);
                tracing::warn!(
                    run.id = held.run_id,
                    "the lease could not be renewed in time; the run is stopped"
                );
            }
        }
    }

    /// Stops every run.
    pub fn stop_all(&self, why: &Stop) {
        for held in self.0.lock().held.values_mut() {
            held.stop(why.clone());
        }
    }

    /// Keeps something a run said that must not get lost with a session.
    pub fn remember(&self, token: &str, event: RunEvent) {
        if let Some(held) = self.0.lock().held.get_mut(token) {
            // Only the last checkpoint counts.
            if matches!(event.kind, Some(Kind::CheckpointJson(_))) {
                held.said
                    .retain(|said| !matches!(said.kind, Some(Kind::CheckpointJson(_))));
            }
            held.said.push(event);
        }
    }

    /// What one run said that must not get lost.
    #[must_use]
    pub fn said(&self, token: &str) -> Vec<RunEvent> {
        self.0
            .lock()
            .held
            .get(token)
            .map(|held| held.said.clone())
            .unwrap_or_default()
    }

    /// What all runs said that must not get lost.
    #[must_use]
    pub fn all_said(&self) -> Vec<RunEvent> {
        let state = self.0.lock();
        state.held.values().flat_map(|held| held.said.iter().cloned()).collect()
    }

    /// Waits until no process of a run is left.
    pub async fn none_running(&self) {
        let mut running = self.0.running.subscribe();
        // The sender lives in self.
        let _open = running.wait_for(|count| *count == 0).await;
    }
}

impl Inner {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn tell(&self) {
        let running = self.lock().held.values().filter(|held| held.stop.is_some()).count();
        self.running.send_replace(running);
    }
}

impl State {
    fn insert(&mut self, run_id: &str, token: &str, until: Moment, stop: Option<watch::Sender<Option<Stop>>>) {
        let held = Held {
            run_id: run_id.to_owned(),
            until,
            stop,
            said: Vec::new(),
        };
        self.held.insert(token.to_owned(), held);
    }
}

impl Held {
    /// Tells a run to stop, unless it was told something weightier. Returns whether that was news.
    fn stop(&mut self, why: Stop) -> bool {
        let Some(stop) = &self.stop else { return false };
        stop.send_if_modified(|told| {
            let news = told.as_ref().is_none_or(|told| told.weight() < why.weight());
            if news {
                *told = Some(why);
            }
            news
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn terms(seconds: u64) -> Leases {
        let leases = Leases::default();
        leases.set_terms(Duration::from_secs(seconds), Duration::from_secs(5));
        leases
    }

    #[test]
    fn a_run_is_stopped_a_margin_before_its_lease_ends_counted_from_the_question() {
        let leases = terms(40);
        let stopped = leases.take("r", "t").unwrap();
        let asked = Moment::now();
        leases.renewed(&["r".to_owned()], asked);
        leases.stop_expired(asked + Duration::from_secs(34));
        assert_eq!(*stopped.borrow(), None);
        leases.stop_expired(asked + Duration::from_secs(35));
        assert_eq!(*stopped.borrow(), Some(Stop::LeaseLost));
    }

    #[test]
    fn a_machine_that_slept_past_its_leases_stops_its_runs_when_it_wakes() {
        let leases = terms(40);
        let stopped = leases.take("r", "t").unwrap();
        // The steady clock went on, whatever the wall clock says now.
        let woke = Moment::now() + Duration::from_secs(3600);
        leases.stop_expired(woke);
        assert_eq!(*stopped.borrow(), Some(Stop::LeaseLost));
        // An answer to a question from before the sleep gives nothing back.
        leases.renewed(&["r".to_owned()], Moment::now());
        leases.stop_expired(woke);
        assert_eq!(*stopped.borrow(), Some(Stop::LeaseLost));
    }

    #[test]
    fn a_lease_is_held_once_and_an_older_attempt_is_stopped() {
        let leases = terms(40);
        let first = leases.take("r", "t1").unwrap();
        assert!(leases.take("r", "t1").is_none(), "the same assignment again");
        let second = leases.take("r", "t2").unwrap();
        assert_eq!(*first.borrow(), Some(Stop::LeaseLost));
        assert_eq!(*second.borrow(), None);
        leases.cancel("r", "t2", "cancelled");
        assert_eq!(*second.borrow(), Some(Stop::Cancelled("cancelled".to_owned())));
        leases.stop_all(&Stop::Drain);
        assert_ne!(*second.borrow(), Some(Stop::Drain), "a drain does not undo a cancel");
    }

    #[test]
    fn an_ended_run_is_held_until_it_is_acknowledged() {
        let leases = terms(40);
        let _stopped = leases.take("r", "t").unwrap();
        leases.ended("t");
        assert_eq!(leases.held().len(), 1);
        leases.release("t");
        assert!(leases.held().is_empty());
    }
}
