//! The run machine: one job, attempted until it ends.
//!
//! `queued → leased → succeeded | retrying | waiting | parked | cancelled`. Only a failed attempt of the agent uses up
//! an attempt. A lost executor, a hand-back or a wish to be started again later does not, but each is bounded; what is
//! handed over by an executor that stops, or put off until something is there again, costs nothing.

use std::time::Duration;

use serde::{Deserialize, Serialize};

/// Leases a run may lose to dead executors before a human looks at it.
pub const MAX_LOST_LEASES: u32 = 10;
/// Times a run may be handed back unbegun before a human looks at it.
pub const MAX_HAND_BACKS: u32 = 12;
/// Times a run may be put off by its agent, or because no model answered, before a human looks at it: with the pauses
/// between, a day and more.
pub const MAX_POSTPONEMENTS: u32 = 100;
/// Least pause after the first postponement; doubles with each.
const FIRST_POSTPONEMENT: Duration = Duration::from_secs(10);
/// The most that least pause grows to.
const LONGEST_POSTPONEMENT: Duration = Duration::from_secs(900);
/// Pause after the first hand-back; doubles with each.
const FIRST_HAND_BACK_PAUSE: Duration = Duration::from_secs(1);
/// Longest pause after a hand-back.
const LONGEST_HAND_BACK_PAUSE: Duration = Duration::from_secs(300);

/// What the run is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Kind {
    /// Do the contract's work.
    Work,
    /// Change what was delivered.
    Revise,
    /// Answer a message.
    Reply,
    /// Write a proposal.
    Propose,
}

impl Kind {
    /// The word in the store and in the job file.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Work => "work",
            Self::Revise => "revise",
            Self::Reply => "reply",
            Self::Propose => "propose",
        }
    }

    /// Reads the word.
    #[must_use]
    pub fn from_name(name: &str) -> Option<Self> {
        [Self::Work, Self::Revise, Self::Reply, Self::Propose]
            .into_iter()
            .find(|kind| kind.name() == name)
    }
}

/// Where a run stands.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum State {
    /// To be leased.
    Queued,
    /// An executor works on it under a lease.
    Leased,
    /// Done, with a result.
    Succeeded,
    /// Failed and to be leased again after a pause.
    Retrying,
    /// The agent waits for a message.
    Waiting,
    /// A human has to decide.
    Parked,
    /// Called off.
    Cancelled,
    /// A newer release's word.
    Unknown(String),
}

impl State {
    /// The word kept in the store.
    #[must_use]
    pub fn name(&self) -> &str {
        match self {
            Self::Queued => "queued",
            Self::Leased => "leased",
            Self::Succeeded => "succeeded",
            Self::Retrying => "retrying",
            Self::Waiting => "waiting",
            Self::Parked => "parked",
            Self::Cancelled => "cancelled",
            Self::Unknown(raw) => raw,
        }
    }

    /// Reads a stored word.
    #[must_use]
    pub fn from_name(name: &str) -> Self {
        let known = [
            Self::Queued,
            Self::Leased,
            Self::Succeeded,
            Self::Retrying,
            Self::Waiting,
            Self::Parked,
            Self::Cancelled,
        ];
        known
            .into_iter()
            .find(|state| state.name() == name)
            .unwrap_or_else(|| Self::Unknown(name.to_owned()))
    }

    /// Nothing more will happen unless a human asks.
    #[must_use]
    pub fn is_closed(&self) -> bool {
        matches!(self, Self::Succeeded | Self::Cancelled)
    }
}

/// How failed attempts are paced.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Policy {
    /// Failed attempts before it is parked.
    pub max_attempts: u32,
    /// Pause after the first failure; doubles with each.
    pub first_pause: Duration,
    /// Longest pause.
    pub longest_pause: Duration,
}

impl Policy {
    /// The pause after `failures` failed attempts.
    #[must_use]
    pub fn pause(&self, failures: u32) -> Duration {
        doubled(self.first_pause, failures, self.longest_pause)
    }
}

fn doubled(first: Duration, times: u32, longest: Duration) -> Duration {
    let doubled = first.saturating_mul(2_u32.saturating_pow(times.saturating_sub(1).min(20)));
    doubled.min(longest)
}

/// What the machine knows of one run.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Run {
    /// Where it stands.
    pub state: State,
    /// Leases given so far; names the attempt.
    pub attempt: u32,
    /// Attempts that failed by the agent's fault.
    pub failures: u32,
    /// Leases lost to dead executors.
    pub lost_leases: u32,
    /// Times it was handed back.
    pub hand_backs: u32,
    /// Times it was to be started again later.
    pub postponed: u32,
}

/// Something that happened to a run.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Command {
    /// An executor took it.
    Lease,
    /// The attempt ended with a result.
    Succeed,
    /// The attempt failed.
    Fail,
    /// To be started again no sooner than this: the agent asks for it, or no model answered.
    RetryLater(Duration),
    /// The agent waits for a message.
    Wait(Duration),
    /// The agent says it cannot do this.
    CannotDo,
    /// The executor stops and hands it over to another.
    HandOver,
    /// It could not be begun, or its holder gave it up.
    HandBack,
    /// What it needs is away or used up: not before this much time.
    PutOff(Duration),
    /// The lease ran out.
    LeaseExpired,
    /// A message came in, or the wait ran out.
    WakeUp,
    /// The contract no longer wants it.
    Cancel,
    /// A human wants it tried again.
    OperatorRetry,
}

/// A step taken.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Step {
    /// The run afterwards.
    pub run: Run,
    /// Do not lease (or wake up) before this much time has passed.
    pub pause: Duration,
    /// A human is wanted now.
    pub parked: bool,
}

/// Why a command does not fit.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("a run that is {state} takes no {command:?}")]
pub struct Rejected {
    /// Where the run stands.
    pub state: String,
    /// What was tried.
    pub command: Command,
}

/// Takes one command.
///
/// # Errors
/// [`Rejected`] when the state does not allow it; the row is left as it is.
pub fn apply(run: &Run, command: &Command, policy: &Policy) -> Result<Step, Rejected> {
    use State::{Cancelled, Leased, Parked, Queued, Retrying, Succeeded, Waiting};
    let mut next = run.clone();
    let mut pause = Duration::ZERO;
    next.state = match (&run.state, command) {
        (Queued | Retrying, Command::Lease) => {
            next.attempt += 1;
            Leased
        }
        (Leased, Command::Succeed) => Succeeded,
        (Leased, Command::Fail) => {
            next.failures += 1;
            pause = policy.pause(next.failures);
            if next.failures >= policy.max_attempts {
                Parked
            } else {
                Retrying
            }
        }
        (Leased, Command::RetryLater(after)) => {
            // It is nobody's failure, but an agent that always asks would never end: each time it waits longer.
            next.postponed += 1;
            pause = (*after).max(doubled(FIRST_POSTPONEMENT, next.postponed, LONGEST_POSTPONEMENT));
            if next.postponed >= MAX_POSTPONEMENTS {
                Parked
            } else {
                Retrying
            }
        }
        (Leased, Command::Wait(timeout)) => {
            pause = *timeout;
            Waiting
        }
        (Leased, Command::CannotDo) => Parked,
        (Leased, Command::HandOver) => Queued,
        (Leased, Command::HandBack) => {
            next.hand_backs += 1;
            pause = doubled(FIRST_HAND_BACK_PAUSE, next.hand_backs, LONGEST_HAND_BACK_PAUSE);
            if next.hand_backs >= MAX_HAND_BACKS {
                Parked
            } else {
                Queued
            }
        }
        (Leased, Command::PutOff(until)) => {
            pause = *until;
            Queued
        }
        (Leased, Command::LeaseExpired) => {
            next.lost_leases += 1;
            if next.lost_leases > MAX_LOST_LEASES {
                Parked
            } else {
                Queued
            }
        }
        (Waiting, Command::WakeUp) => Queued,
        (Queued | Leased | Retrying | Waiting | Parked, Command::Cancel) => Cancelled,
        (Parked | Retrying | Waiting | Cancelled, Command::OperatorRetry) => {
            next.failures = 0;
            next.lost_leases = 0;
            next.hand_backs = 0;
            next.postponed = 0;
            Queued
        }
        (state, command) => {
            return Err(Rejected {
                state: state.name().to_owned(),
                command: command.clone(),
            });
        }
    };
    let parked = next.state == Parked;
    Ok(Step {
        run: next,
        pause,
        parked,
    })
}

#[cfg(test)]
mod tests;
