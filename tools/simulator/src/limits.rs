//! Calls per minute, by key and by address, and who was told to wait.

use std::{
    collections::{HashMap, VecDeque},
    net::IpAddr,
    time::Duration,
};

use uuid::Uuid;

use crate::{
    clock::Clock,
    settings::{PUBLISHED_KEY_LIMIT, PUBLISHED_PUBLIC_LIMIT, PUBLISHED_UPLOAD_LIMIT, Window},
};

const MINUTE: Duration = Duration::from_secs(60);
/// A call this soon after a 429 may have been under way when the answer was sent.
const CROSSING: Duration = Duration::from_secs(1);
/// Buckets kept before idle ones are forgotten.
const MAX_BUCKETS: usize = 10_000;

/// What calls are counted against.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Bucket {
    Key(Uuid),
    Upload(Uuid),
    Public(IpAddr),
}

impl Bucket {
    /// The limit a client knows before its first answer.
    fn published(self) -> u32 {
        match self {
            Self::Key(_) => PUBLISHED_KEY_LIMIT,
            Self::Upload(_) => PUBLISHED_UPLOAD_LIMIT,
            Self::Public(_) => PUBLISHED_PUBLIC_LIMIT,
        }
    }
}

/// Where a bucket stands after one call.
#[derive(Clone, Copy, Debug)]
pub struct Standing {
    pub limit: u32,
    pub remaining: u32,
    /// Unix seconds at which calls are free again.
    pub reset: i64,
    /// Seconds to wait, if the call is refused.
    pub refused: Option<u64>,
    /// It came before the wait it was told was over.
    pub early: bool,
    /// It is the first of this minute above a limit the caller knew.
    pub over: bool,
}

#[derive(Debug)]
struct Counter {
    calls: VecDeque<Duration>,
    /// The limit last shown to the caller.
    told: u32,
    noted: Option<Duration>,
    waiting: Option<Wait>,
}

#[derive(Clone, Copy, Debug)]
struct Wait {
    told_at: Duration,
    until: Duration,
}

/// Counters of all buckets.
#[derive(Debug, Default)]
pub struct Limits {
    counters: HashMap<Bucket, Counter>,
    refused: u64,
}

impl Limits {
    /// Counts one call.
    pub fn take(&mut self, bucket: Bucket, limit: u32, window: Window, clock: &Clock) -> Standing {
        let now = clock.elapsed();
        self.prune(now);
        let counter = self.counters.entry(bucket).or_insert_with(|| Counter {
            calls: VecDeque::new(),
            told: bucket.published(),
            noted: None,
            waiting: None,
        });
        let early = counter.is_early(now);
        counter.forget(now, window);
        let used = u32::try_from(counter.calls.len()).unwrap_or(u32::MAX);
        let wait = counter
            .calls
            .front()
            .map_or(MINUTE, |first| (*first + MINUTE).saturating_sub(now));
        let reset_secs = wait.as_millis().div_ceil(1000).max(1) as u64;
        let mut standing = Standing {
            limit,
            remaining: limit.saturating_sub(used.saturating_add(1)),
            reset: clock.now().timestamp() + reset_secs as i64,
            refused: None,
            early,
            over: false,
        };
        if used >= limit {
            self.refused += 1;
            standing.refused = Some(reset_secs);
            // A limit lowered since the last answer is news, not bad manners.
            let noted = counter.noted.is_some_and(|at| now < at + MINUTE);
            standing.over = limit >= counter.told && !noted;
            if standing.over {
                counter.noted = Some(now);
            }
            counter.wait(now, now + Duration::from_secs(reset_secs));
        } else {
            counter.calls.push_back(now);
        }
        counter.told = limit;
        standing
    }

    /// Records that `bucket` was told by an injected 429 to wait.
    pub fn told_to_wait(&mut self, bucket: Bucket, wait: Duration, now: Duration) {
        self.refused += 1;
        if let Some(counter) = self.counters.get_mut(&bucket) {
            counter.wait(now, now + wait);
        }
    }

    /// Calls answered 429 so far.
    pub fn refused(&self) -> u64 {
        self.refused
    }

    fn prune(&mut self, now: Duration) {
        if self.counters.len() >= MAX_BUCKETS {
            self.counters
                .retain(|_, counter| counter.calls.back().is_some_and(|last| now < *last + MINUTE));
        }
    }
}

impl Counter {
    fn is_early(&mut self, now: Duration) -> bool {
        match self.waiting {
            Some(wait) if now < wait.until => now > wait.told_at + CROSSING,
            _ => {
                self.waiting = None;
                false
            }
        }
    }

    fn forget(&mut self, now: Duration, window: Window) {
        let past = |at: &Duration| now >= *at + MINUTE;
        match window {
            Window::Fixed => {
                if self.calls.front().is_some_and(past) {
                    self.calls.clear();
                }
            }
            Window::Sliding => {
                while self.calls.front().is_some_and(past) {
                    self.calls.pop_front();
                }
            }
        }
    }

    fn wait(&mut self, now: Duration, until: Duration) {
        // The first answer of a burst starts the second in which others may cross it.
        let told_at = match self.waiting {
            Some(wait) if now < wait.until => wait.told_at,
            _ => now,
        };
        self.waiting = Some(Wait { told_at, until });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key() -> Bucket {
        Bucket::Key(Uuid::from_u128(1))
    }

    #[test]
    fn the_call_above_the_limit_is_refused_and_noted_once() {
        let (mut limits, clock) = (Limits::default(), Clock::frozen());
        for left in (0..30).rev() {
            let standing = limits.take(key(), 30, Window::Fixed, &clock);
            assert_eq!((standing.remaining, standing.refused), (left, None));
        }
        let first = limits.take(key(), 30, Window::Fixed, &clock);
        assert!(first.refused.is_some_and(|wait| (59..=60).contains(&wait)) && first.over);
        let second = limits.take(key(), 30, Window::Fixed, &clock);
        assert!(second.refused.is_some() && !second.over && !second.early);
        assert_eq!(limits.refused(), 2);
    }

    #[test]
    fn a_limit_lowered_without_notice_is_no_breach() {
        let (mut limits, clock) = (Limits::default(), Clock::frozen());
        for _ in 0..10 {
            limits.take(key(), 30, Window::Sliding, &clock);
        }
        let refused = limits.take(key(), 5, Window::Sliding, &clock);
        assert!(refused.refused.is_some() && !refused.over);
        let again = limits.take(key(), 5, Window::Sliding, &clock);
        assert!(again.over, "now it was told");
    }
}
