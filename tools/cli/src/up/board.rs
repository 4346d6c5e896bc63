//! What is known of every child right now, and a bell that rings when it changes.

use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

use tokio::sync::watch;

/// A child's state.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct State {
    /// Its process, while it has one.
    pub pid: Option<u32>,
    /// It said so when last asked.
    pub ready: bool,
    /// How often it was started or adopted.
    pub starts: u64,
    /// How it ended last, or why it is not ready.
    pub note: String,
    /// It ended because it cannot use its configuration.
    pub misconfigured: bool,
}

/// All children of a stack.
#[derive(Debug)]
pub struct Board {
    states: Mutex<BTreeMap<String, State>>,
    bell: watch::Sender<u64>,
}

impl Default for Board {
    fn default() -> Self {
        Self {
            states: Mutex::default(),
            bell: watch::Sender::new(0),
        }
    }
}

impl Board {
    /// Puts up a child nobody has started yet.
    pub fn expect(&self, name: &str) {
        self.change(name, |_| ());
    }

    /// Changes a child's state; the bell rings if that made a difference.
    pub fn change(&self, name: &str, change: impl FnOnce(&mut State)) {
        let differs = {
            let mut states = self.states();
            let known = states.contains_key(name);
            let state = states.entry(name.to_owned()).or_default();
            let before = state.clone();
            change(state);
            !known || *state != before
        };
        if differs {
            self.bell.send_modify(|count| *count += 1);
        }
    }

    /// A child's state; the default for one that is not on the board.
    #[must_use]
    pub fn of(&self, name: &str) -> State {
        self.states().get(name).cloned().unwrap_or_default()
    }

    /// Names of children that are not ready.
    #[must_use]
    pub fn waiting(&self) -> Vec<String> {
        let states = self.states();
        let waiting = states.iter().filter(|(_, state)| !state.ready);
        waiting.map(|(name, _)| name.clone()).collect()
    }

    /// What is waited for and why, in one sentence for people.
    #[must_use]
    pub fn still_waiting(&self) -> String {
        let each = self
            .waiting()
            .into_iter()
            .map(|name| match self.of(&name).note.as_str() {
                "" => name,
                note => format!("{name} ({note})"),
            });
        format!("still waiting for {}", each.collect::<Vec<_>>().join(", "))
    }

    /// The bell.
    #[must_use]
    pub fn bell(&self) -> watch::Receiver<u64> {
        self.bell.subscribe()
    }

    fn states(&self) -> MutexGuard<'_, BTreeMap<String, State>> {
        // A panic while it was held cannot have left a half-written state behind.
        self.states.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
