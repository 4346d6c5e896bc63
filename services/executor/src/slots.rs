//! Room for runs: a fixed number of slots, each with a user id of its own when running as root.

use std::sync::atomic::{AtomicU8, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::watch;

use crate::metrics;
use crate::sandbox::Claim;

/// All slots of this process; clones are the same set.
#[derive(Debug, Clone)]
pub struct Slots(Arc<Inner>);

/// What one run takes: one slot, or several. Free again when dropped.
#[derive(Debug)]
pub struct Slot {
    seats: Vec<Seat>,
    home: Arc<Inner>,
}

/// Why no run is taken for a while.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Hold {
    /// There is too little room on the disk.
    Room,
    /// Runs could not be started.
    Starts,
}

#[derive(Debug)]
struct Inner {
    total: u32,
    /// One bit for each hold that is on.
    held: AtomicU8,
    free: Mutex<Vec<Seat>>,
    offered: watch::Sender<u32>,
    closed: watch::Sender<bool>,
}

#[derive(Debug)]
struct Seat {
    claim: Option<Claim>,
}

impl Slots {
    /// Slots for these user ids, or `total` slots without.
    #[must_use]
    pub fn new(total: u32, claims: Vec<Claim>) -> Self {
        let mut free: Vec<Seat> = claims.into_iter().map(|claim| Seat { claim: Some(claim) }).collect();
        free.resize_with(total as usize, || Seat { claim: None });
        ::metrics::gauge!(metrics::SLOTS).set(f64::from(total));
        ::metrics::gauge!(metrics::SLOTS_BUSY).set(0.0);
        Self(Arc::new(Inner {
            total,
            held: AtomicU8::new(0),
            free: Mutex::new(free),
            offered: watch::Sender::new(total),
            closed: watch::Sender::new(false),
        }))
    }

    /// Takes this many slots (at least one), if they are free and none were closed.
    #[must_use]
    pub fn take(&self, slots: u32) -> Option<Slot> {
        if !self.0.is_open() {
            return None;
        }
        let seats = {
            let mut free = self.0.lock();
            let left = free.len().checked_sub(slots.max(1) as usize)?;
            free.split_off(left)
        };
        self.0.tell();
        Some(Slot {
            seats,
            home: Arc::clone(&self.0),
        })
    }

    /// Gives out no more.
    pub fn close(&self) {
        self.0.closed.send_replace(true);
        self.0.tell();
    }

    /// Gives out none while any hold is on.
    pub fn hold(&self, why: Hold, on: bool) {
        let (bit, cause) = match why {
            Hold::Room => (1, "room"),
            Hold::Starts => (2, "starts"),
        };
        if on {
            self.0.held.fetch_or(bit, Ordering::SeqCst);
        } else {
            self.0.held.fetch_and(!bit, Ordering::SeqCst);
        }
        ::metrics::gauge!(metrics::HELD, "cause" => cause).set(f64::from(u8::from(on)));
        self.0.tell();
    }

    /// How many there are in all.
    #[must_use]
    pub fn total(&self) -> u32 {
        self.0.total
    }

    /// The number on offer, now and whenever it changes; 0 once closed.
    #[must_use]
    pub fn offered(&self) -> watch::Receiver<u32> {
        self.0.offered.subscribe()
    }
}

impl Slot {
    /// The user id of what runs in it.
    #[must_use]
    pub fn uid(&self) -> Option<u32> {
        self.seats.first()?.claim.as_ref().map(Claim::id)
    }
}

impl Drop for Slot {
    fn drop(&mut self) {
        self.home.lock().append(&mut self.seats);
        self.home.tell();
    }
}

impl Inner {
    fn is_open(&self) -> bool {
        !*self.closed.borrow() && self.held.load(Ordering::SeqCst) == 0
    }

    fn lock(&self) -> MutexGuard<'_, Vec<Seat>> {
        self.free.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn tell(&self) {
        let free = u32::try_from(self.lock().len()).unwrap_or(0);
        let busy = self.total.saturating_sub(free);
        ::metrics::gauge!(metrics::SLOTS_BUSY).set(f64::from(busy));
        self.offered.send_replace(if self.is_open() { free } else { 0 });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_on_offer_follows_what_is_taken() {
        let slots = Slots::new(2, Vec::new());
        let offered = slots.offered();
        let (first, second) = (slots.take(1).unwrap(), slots.take(0).unwrap());
        assert!(slots.take(1).is_none());
        assert_eq!(*offered.borrow(), 0);
        drop(first);
        assert_eq!(*offered.borrow(), 1);
        slots.close();
        assert_eq!(*offered.borrow(), 0, "a closed set offers nothing");
        assert!(slots.take(1).is_none());
        drop(second);
        assert_eq!(*offered.borrow(), 0);
    }

    #[test]
    fn nothing_is_given_out_while_any_hold_is_on() {
        let slots = Slots::new(2, Vec::new());
        slots.hold(Hold::Room, true);
        slots.hold(Hold::Starts, true);
        slots.hold(Hold::Room, false);
        assert!(slots.take(1).is_none());
        assert_eq!(*slots.offered().borrow(), 0);
        slots.hold(Hold::Starts, false);
        assert_eq!(*slots.offered().borrow(), 2);
        assert!(slots.take(1).is_some());
    }

    #[test]
    fn a_heavy_run_takes_several_or_none() {
        let slots = Slots::new(3, Vec::new());
        let heavy = slots.take(2).unwrap();
        assert!(slots.take(2).is_none());
        assert_eq!(*slots.offered().borrow(), 1, "what it did not get is free still");
        drop(heavy);
        assert_eq!(*slots.offered().borrow(), 3);
    }
}
