//! The clock leases are counted by.
//!
//! It is steady whatever is done to the wall clock, and, unlike [`std::time::Instant`], it goes on while the machine
//! sleeps: a machine that wakes up after its leases ended knows that they did.

use std::ops::{Add, Sub};
use std::time::Duration;

use nix::time::{ClockId, clock_gettime};

#[cfg(any(target_os = "linux", target_os = "android"))]
const STEADY: ClockId = ClockId::CLOCK_BOOTTIME;
#[cfg(not(any(target_os = "linux", target_os = "android")))]
const STEADY: ClockId = ClockId::CLOCK_MONOTONIC;

/// A moment: the time since the machine was started.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Moment(Duration);

impl Moment {
    /// This moment. Where the system cannot say, the end of all leases.
    #[must_use]
    pub fn now() -> Self {
        Self(clock_gettime(STEADY).map_or(Duration::MAX, Duration::from))
    }

    /// How long ago it was.
    #[must_use]
    pub fn elapsed(self) -> Duration {
        Self::now() - self
    }
}

impl Add<Duration> for Moment {
    type Output = Self;

    fn add(self, later: Duration) -> Self {
        Self(self.0.saturating_add(later))
    }
}

impl Sub for Moment {
    type Output = Duration;

    fn sub(self, earlier: Self) -> Duration {
        self.0.saturating_sub(earlier.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_counts_on_from_the_machines_start_and_never_back() {
        let first = Moment::now();
        let uptime = std::fs::read_to_string("/proc/uptime").unwrap();
        let seconds: f64 = uptime.split(' ').next().unwrap().parse().unwrap();
        let ours = first.0.as_secs_f64();
        assert!((seconds - ours).abs() < 5.0, "{seconds} {ours}");
        assert!(Moment::now() >= first);
        assert_eq!(first - (first + Duration::from_secs(1)), Duration::ZERO);
    }
}
