//! How many calls are open at once, in all and of one run.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use uuid::Uuid;

use super::refusal::Refusal;

/// The counters.
#[derive(Debug)]
pub(crate) struct Slots {
    /// The gauge that shows them.
    shown_as: &'static str,
    most: usize,
    most_of_run: usize,
    open: Mutex<HashMap<Uuid, usize>>,
}

/// One open call; it ends when this is dropped.
#[derive(Debug)]
pub(crate) struct Slot {
    slots: Arc<Slots>,
    run_id: Uuid,
}

impl Slots {
    /// All free.
    pub fn new(shown_as: &'static str, most: usize, most_of_run: usize) -> Arc<Self> {
        Arc::new(Self {
            shown_as,
            most,
            most_of_run,
            open: Mutex::default(),
        })
    }

    /// Takes one.
    ///
    /// # Errors
    /// When none is free.
    pub fn enter(self: &Arc<Self>, run_id: Uuid) -> Result<Slot, Refusal> {
        let mut open = self.lock();
        if open.values().sum::<usize>() >= self.most {
            return Err(Refusal::too_many_calls());
        }
        let of_run = open.entry(run_id).or_default();
        if *of_run >= self.most_of_run {
            return Err(Refusal::too_many_calls_of_run(self.most_of_run));
        }
        *of_run += 1;
        drop(open);
        metrics::gauge!(self.shown_as).increment(1.0);
        Ok(Slot {
            slots: Arc::clone(self),
            run_id,
        })
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<Uuid, usize>> {
        self.open.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Slot {
    fn drop(&mut self) {
        let mut open = self.slots.lock();
        if let Some(of_run) = open.get_mut(&self.run_id) {
            *of_run = of_run.saturating_sub(1);
            if *of_run == 0 {
                open.remove(&self.run_id);
            }
        }
        drop(open);
        metrics::gauge!(self.slots.shown_as).decrement(1.0);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_run_cannot_take_all_places_and_all_places_come_back() {
        let slots = Slots::new("test_open_calls", 3, 2);
        let (greedy, modest) = (Uuid::now_v7(), Uuid::now_v7());
        let held = [slots.enter(greedy).unwrap(), slots.enter(greedy).unwrap()];
        assert!(slots.enter(greedy).is_err());
        let other = slots.enter(modest).unwrap();
        assert!(slots.enter(Uuid::now_v7()).is_err());
        drop(held);
        assert!(slots.enter(greedy).is_ok());
        drop(other);
        assert!(slots.lock().is_empty());
    }
}
