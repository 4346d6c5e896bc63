//! The circuit breaker before a platform that keeps failing: `closed → open → (one probe at a time) → recovering → closed`.
//!
//! It opens after failures in a row, or when too large a share of recent calls fails. While it is open nobody calls; when
//! its pause is over one call at a time is let through, and each further opening doubles the pause. After the first
//! success calls come with a gap between them that halves with each success, so that what piled up does not arrive as a
//! stampede.

use std::time::Duration;

use chrono::{DateTime, TimeDelta, Utc};

/// The gap between calls after the first success.
const FIRST_GAP: Duration = Duration::from_secs(1);
/// A gap below this is none: the breaker is closed.
const LEAST_GAP: Duration = Duration::from_millis(50);
/// Failures in a row that open it again while it recovers: one alone only slows it down.
const UNPROVEN_FAILURES: u32 = 2;

/// No pause and no lease is longer, whatever is asked for.
const LONGEST: Duration = Duration::from_secs(24 * 3600);

/// When it opens, and for how long.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Policy {
    /// Failures in a row.
    pub failures: u32,
    /// Thousandths of the calls of the last minute that may fail before it opens; 1000 for any.
    pub share_permille: u32,
    /// Calls the share needs to mean something.
    pub of_calls: u32,
    /// The pause of the first opening; doubles with each.
    pub first_pause: Duration,
    /// The longest pause.
    pub longest_pause: Duration,
}

/// What a call said about the platform.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outcome {
    /// It answered.
    Works,
    /// It did not, or with a fault of its own.
    Fails,
    /// It said that it is down as a whole (402).
    Down,
}

/// The calls of the last minute.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Recent {
    /// Calls.
    pub calls: u32,
    /// Of those failed.
    pub failed: u32,
}

/// Whether a call may be made.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Admission {
    /// Yes.
    Go,
    /// One, to see whether the platform works again: best a read.
    Probe,
    /// Not before this much time has passed.
    Wait(Duration),
}

/// What an outcome changed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Change {
    /// Nothing people need to hear of.
    None,
    /// It opened, or opened again.
    Opened,
    /// A probe came back: calls go out again, slowly at first.
    Recovering,
    /// All is well.
    Closed,
}

/// The breaker of one key or one platform. The default is closed.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Breaker {
    /// Failures in a row while closed.
    pub failures: u32,
    /// Openings since it was last closed.
    pub openings: u32,
    /// Nobody calls before this.
    pub open_until: Option<DateTime<Utc>>,
    /// A probe is on its way at most until then.
    pub probe_until: Option<DateTime<Utc>>,
    /// Between two calls; zero when closed.
    pub gap: Duration,
    /// When the last call was let through while recovering.
    pub last_begun: Option<DateTime<Utc>>,
}

impl Breaker {
    /// Closed, and nothing failed of late: nothing has to be kept.
    #[must_use]
    pub fn is_calm(&self) -> bool {
        self.failures == 0 && self.open_until.is_none() && self.gap.is_zero()
    }

    /// The state in a word for people; `None` when closed.
    #[must_use]
    pub fn word(&self, now: DateTime<Utc>) -> Option<&'static str> {
        match self.open_until {
            Some(until) if until > now => Some("open"),
            Some(_) => Some("probing"),
            None if !self.gap.is_zero() => Some("recovering"),
            None => None,
        }
    }

    /// Whether a call may begin now. Changes nothing: [`Breaker::begin`] does.
    #[must_use]
    pub fn admit(&self, now: DateTime<Utc>) -> Admission {
        if let Some(until) = self.open_until {
            let free_at = self.probe_until.map_or(until, |probe| probe.max(until));
            return wait(free_at, now).map_or(Admission::Probe, Admission::Wait);
        }
        let next = self
            .last_begun
            .filter(|_| !self.gap.is_zero())
            .map(|at| at + delta(self.gap));
        next.and_then(|next| wait(next, now))
            .map_or(Admission::Go, Admission::Wait)
    }

    /// Counts a call that was admitted; a probe keeps others out for at most `lease`.
    pub fn begin(&mut self, now: DateTime<Utc>, lease: Duration) {
        if self.open_until.is_some() {
            self.probe_until = Some(now + delta(lease));
        } else if !self.gap.is_zero() {
            self.last_begun = Some(now);
        }
    }

    /// A probe was not made after all: another one may be.
    pub fn give_back(&mut self) {
        self.probe_until = None;
    }

    /// Takes the outcome of a call. What was under way when it opened says nothing until the pause is over.
    pub fn record(&mut self, outcome: Outcome, recent: Recent, now: DateTime<Utc>, policy: &Policy) -> Change {
        let is_pausing = self.open_until.is_some_and(|until| until > now);
        match outcome {
            Outcome::Down if is_pausing => Change::None,
            Outcome::Down => {
                self.open(policy.longest_pause, now);
                Change::Opened
            }
            Outcome::Works | Outcome::Fails if is_pausing => Change::None,
            Outcome::Works => self.works(),
            Outcome::Fails => self.fails(recent, now, policy),
        }
    }

    fn works(&mut self) -> Change {
        self.failures = 0;
        if self.open_until.take().is_some() {
            self.probe_until = None;
            self.last_begun = None;
            self.gap = FIRST_GAP;
            return Change::Recovering;
        }
        if self.gap.is_zero() {
            return Change::None;
        }
        self.gap /= 2;
        if self.gap >= LEAST_GAP {
            return Change::None;
        }
        *self = Self::default();
        Change::Closed
    }

    fn fails(&mut self, recent: Recent, now: DateTime<Utc>, policy: &Policy) -> Change {
        self.failures = self.failures.saturating_add(1);
        let in_a_row = self.failures >= policy.failures;
        let too_many = recent.calls >= policy.of_calls
            && policy.share_permille < 1000
            && u64::from(recent.failed) * 1000 >= u64::from(recent.calls) * u64::from(policy.share_permille);
        let is_probe = self.open_until.is_some();
        let is_recovering = !self.gap.is_zero();
        if is_recovering && self.failures < UNPROVEN_FAILURES {
            self.gap = FIRST_GAP;
            return Change::None;
        }
        if !(in_a_row || too_many || is_probe || is_recovering) {
            return Change::None;
        }
        let doublings = self.openings.min(16);
        let pause = policy.first_pause.saturating_mul(2_u32.saturating_pow(doublings));
        self.open(pause.min(policy.longest_pause), now);
        Change::Opened
    }

    fn open(&mut self, pause: Duration, now: DateTime<Utc>) {
        *self = Self {
            openings: self.openings.saturating_add(1),
            open_until: Some(now + delta(pause)),
            ..Self::default()
        };
    }
}

fn delta(duration: Duration) -> TimeDelta {
    TimeDelta::from_std(duration.min(LONGEST)).unwrap_or_default()
}

fn wait(until: DateTime<Utc>, now: DateTime<Utc>) -> Option<Duration> {
    (until - now).to_std().ok().filter(|left| !left.is_zero())
}

#[cfg(test)]
mod tests;
