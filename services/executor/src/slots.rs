//! Room for runs: a fixed number of slots, each with a user id of its own when running as root.

use std::sync::atomic::{AtomicU8, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::watch;

use crate::metrics;
use crate::sandbox::{Claim, Footprint};

/// Between two looks at a seat that is not empty, at first and at last.
const LOOKS: [Duration; 2] = [Duration::from_millis(500), Duration::from_secs(60)];

/// All slots of this process; clones are the same set.
#[derive(Debug, Clone)]
pub struct Slots(Arc<Inner>);

/// What one run takes: one slot, or several. Free again when dropped.
#[derive(Debug)]
pub struct Slot {
    seats: Vec<Seat>,
    /// Whose processes could not be ended.
    left: Mutex<Vec<Footprint>>,
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
            left: Mutex::default(),
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

    /// Says that processes of a run in it could not be ended. When dropped, it is out of use until they are.
    pub fn not_empty(&self, run: Footprint) {
        self.left.lock().unwrap_or_else(PoisonError::into_inner).push(run);
    }
}

impl Drop for Slot {
    fn drop(&mut self) {
        let left = std::mem::take(self.left.get_mut().unwrap_or_else(PoisonError::into_inner));
        let (seats, home) = (std::mem::take(&mut self.seats), Arc::clone(&self.home));
        if left.is_empty() {
            home.take_back(seats);
            return;
        }
        let out = seats.len();
        let uids: Vec<u32> = seats
            .iter()
            .filter_map(|seat| Some(seat.claim.as_ref()?.id()))
            .collect();
        tracing::error!(
            slots = out,
            ?uids,
            "processes of a run could not be ended: its slots are out of use until they are; look for processes that \
             hang in the kernel (state D in `ps`)"
        );
        ::metrics::gauge!(metrics::SLOTS_STUCK).increment(out as f64);
        // Without a thread they stay out of use until the next start.
        let thread = std::thread::Builder::new().name("stuck".to_owned());
        let _waiting = thread.spawn(move || {
            let mut pause = LOOKS[0];
            while !left.iter().all(Footprint::end) {
                wait(pause);
                pause = pause.saturating_mul(2).min(LOOKS[1]);
            }
            tracing::info!(slots = out, ?uids, "they are ended now: the slots are in use again");
            ::metrics::gauge!(metrics::SLOTS_STUCK).decrement(out as f64);
            home.take_back(seats);
        });
    }
}

#[expect(clippy::disallowed_methods, reason = "this runs on a thread of its own")]
fn wait(pause: Duration) {
    std::thread::sleep(pause);
}

impl Inner {
    fn is_open(&self) -> bool {
        !*self.closed.borrow() && self.held.load(Ordering::SeqCst) == 0
    }

    fn lock(&self) -> MutexGuard<'_, Vec<Seat>> {
        self.free.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn take_back(&self, mut seats: Vec<Seat>) {
        self.lock().append(&mut seats);
        self.tell();
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

    #[tokio::test]
    async fn a_seat_whose_processes_live_is_given_to_nobody_until_they_are_gone() {
        let slots = Slots::new(1, Vec::new());
        let mut child = std::process::Command::new("sleep").arg("600").spawn().unwrap();
        let run = Footprint::of_run(i32::try_from(child.id()).ok(), None, "/no/such/marker".to_owned());
        let slot = slots.take(1).unwrap();
        slot.not_empty(run.clone());
        let mut offered = slots.offered();
        drop(slot);
        let free = tokio::time::timeout(Duration::from_secs(20), offered.wait_for(|free| *free == 1));
        free.await.unwrap().unwrap();
        assert!(run.alive().is_empty(), "it was given back before");
        child.wait().unwrap();
    }
}
