//! The platform's time: the real one, or one that stands still until it is told to move.

use std::{
    sync::{Arc, Mutex},
    time::{Duration, Instant},
};

use chrono::{DateTime, TimeDelta, Utc};

use crate::sync::lock;

/// Where a clock that stands still begins: 2026-01-01, in seconds of Unix time.
const BEGINNING: i64 = 1_767_225_600;

/// What time it is here. Copies tell the same time.
#[derive(Clone, Debug)]
pub struct Clock(Arc<Kind>);

#[derive(Debug)]
enum Kind {
    Real { started: Instant },
    Frozen { elapsed: Mutex<Duration> },
}

impl Clock {
    /// The time of the world outside.
    pub fn real() -> Self {
        let started = Instant::now();
        Self(Arc::new(Kind::Real { started }))
    }

    /// A time that only [`Clock::move_to`] moves.
    pub fn frozen() -> Self {
        let elapsed = Mutex::default();
        Self(Arc::new(Kind::Frozen { elapsed }))
    }

    pub fn is_frozen(&self) -> bool {
        matches!(*self.0, Kind::Frozen { .. })
    }

    /// The date and time.
    pub fn now(&self) -> DateTime<Utc> {
        match &*self.0 {
            Kind::Real { .. } => Utc::now(),
            Kind::Frozen { .. } => {
                let since = TimeDelta::from_std(self.elapsed()).unwrap_or(TimeDelta::MAX);
                let beginning = DateTime::from_timestamp(BEGINNING, 0).unwrap_or_default();
                beginning.checked_add_signed(since).unwrap_or(beginning)
            }
        }
    }

    /// Time since the start; never goes back.
    pub fn elapsed(&self) -> Duration {
        match &*self.0 {
            Kind::Real { started } => started.elapsed(),
            Kind::Frozen { elapsed } => *lock(elapsed),
        }
    }

    /// Moves a frozen clock forward to that long after its start; nothing moves a real one.
    pub fn move_to(&self, to: Duration) {
        if let Kind::Frozen { elapsed } = &*self.0 {
            let mut elapsed = lock(elapsed);
            *elapsed = to.max(*elapsed);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_frozen_clock_moves_when_told_and_never_back() {
        let clock = Clock::frozen();
        assert_eq!(clock.now().to_rfc3339(), "2026-01-01T00:00:00+00:00");
        clock.clone().move_to(Duration::from_secs(90));
        clock.move_to(Duration::from_secs(30));
        assert_eq!(clock.now().to_rfc3339(), "2026-01-01T00:01:30+00:00");
    }
}
