//! The effect machine: something to be done to the outside, once.
//!
//! `blocked(after) | held(human) → pending → sending → done | refused | unknown`; `cancelled` from any unsent state.
//! The platform has no idempotency keys, so a call whose answer was lost is never repeated blindly: it becomes
//! `unknown`, is read no sooner than the settle time after its last byte may have left, and is sent again only after
//! two agreeing reads did not find it.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::money::MicroUsdc;

mod class;
pub mod key;

pub use class::Class;

/// Reads that must agree that an effect is absent before it is sent again.
pub const ABSENT_READS: u32 = 2;

/// What is to be done.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Kind {
    /// Submit a proposal: key (gig).
    Propose,
    /// Upload a file of a delivery: key (contract, content hash).
    Upload,
    /// Deliver: key (contract, revision).
    Deliver,
    /// Send a message: key (contract, message key).
    Message,
    /// Book the contract at billing: key (contract).
    Settle,
    /// Read the contract before acting: key (contract, occasion).
    Confirm,
}

/// What may be done after a call whose answer is not known.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Repeat {
    /// The receiver recognises repeats, or a repeat does no harm.
    Freely,
    /// Only after reads found it absent.
    WhenAbsent,
}

impl Kind {
    /// Every kind.
    pub const ALL: [Self; 6] = [
        Self::Propose,
        Self::Upload,
        Self::Deliver,
        Self::Message,
        Self::Settle,
        Self::Confirm,
    ];

    /// The word in the store.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Propose => "propose",
            Self::Upload => "upload",
            Self::Deliver => "deliver",
            Self::Message => "message",
            Self::Settle => "settle",
            Self::Confirm => "confirm",
        }
    }

    /// Reads the word.
    #[must_use]
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|kind| kind.name() == name)
    }

    /// What may be done after a lost answer.
    #[must_use]
    pub fn repeat(self) -> Repeat {
        match self {
            // Uploads leave at most an orphan file; billing books by contract; reads change nothing.
            Self::Upload | Self::Settle | Self::Confirm => Repeat::Freely,
            Self::Propose | Self::Deliver | Self::Message => Repeat::WhenAbsent,
        }
    }

    /// Its class in the request budget of the marketplace; `None` when it does not call the marketplace.
    #[must_use]
    pub fn class(self) -> Option<Class> {
        match self {
            Self::Propose => Some(Class::Propose),
            Self::Upload => Some(Class::Upload),
            Self::Deliver => Some(Class::Deliver),
            Self::Message => Some(Class::Message),
            Self::Confirm => Some(Class::Confirm),
            Self::Settle => None,
        }
    }

    /// Order in which due effects are taken; higher first. Within a kind the `worth` decides: what it is expected to
    /// bring, a point for each doubling from half a dollar on.
    #[must_use]
    pub fn priority(self, worth: MicroUsdc) -> i32 {
        let kind = match self {
            Self::Settle => 70,
            Self::Deliver => 60,
            Self::Message => 50,
            Self::Upload => 40,
            Self::Propose => 30,
            Self::Confirm => 20,
        };
        let doublings = u64::try_from(worth.0).ok().and_then(u64::checked_ilog2).unwrap_or(0);
        kind + i32::try_from(doublings.saturating_sub(18).min(9)).unwrap_or(0)
    }

    /// What is due rises by ten points each time it waited this long, though never to [`MOST_AGED`] and above: nothing
    /// starves, and nothing delays a delivery.
    #[must_use]
    pub fn patience(self) -> Duration {
        match self {
            // A bid waits behind better ones.
            Self::Propose => Duration::from_secs(120),
            _ => Duration::from_secs(10),
        }
    }
}

/// What waited goes before everything but deliveries and settlements.
pub const MOST_AGED: i32 = 59;

/// Where an effect stands.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum State {
    /// Its predecessor is not done.
    Blocked,
    /// A human has to release it.
    Held,
    /// To be sent.
    Pending,
    /// A courier holds it and may have written to the socket.
    Sending,
    /// It happened, with proof.
    Done,
    /// The platform said no.
    Refused,
    /// It may have happened.
    Unknown,
    /// Called off before it was sent.
    Cancelled,
    /// A newer release's word.
    Foreign(String),
}

impl State {
    /// The word kept in the store.
    #[must_use]
    pub fn name(&self) -> &str {
        match self {
            Self::Blocked => "blocked",
            Self::Held => "held",
            Self::Pending => "pending",
            Self::Sending => "sending",
            Self::Done => "done",
            Self::Refused => "refused",
            Self::Unknown => "unknown",
            Self::Cancelled => "cancelled",
            Self::Foreign(raw) => raw,
        }
    }

    /// Reads a stored word.
    #[must_use]
    pub fn from_name(name: &str) -> Self {
        let known = [
            Self::Blocked,
            Self::Held,
            Self::Pending,
            Self::Sending,
            Self::Done,
            Self::Refused,
            Self::Unknown,
            Self::Cancelled,
        ];
        known
            .into_iter()
            .find(|state| state.name() == name)
            .unwrap_or_else(|| Self::Foreign(name.to_owned()))
    }

    /// Nothing more will happen.
    #[must_use]
    pub fn is_closed(&self) -> bool {
        matches!(self, Self::Done | Self::Refused | Self::Cancelled)
    }
}

/// Something that happened to an effect.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Command {
    /// The predecessor is done.
    Unblock,
    /// A human released it.
    Release,
    /// A courier took it; preconditions hold.
    Send,
    /// The platform answered yes.
    Succeed,
    /// The platform answered no, for good.
    Refuse,
    /// Nothing was sent, or the platform said it did nothing (429): try again later.
    NotDone,
    /// It may have happened: timeout, reset, 5xx, or the courier's lease ended.
    MaybeDone,
    /// A read found it.
    FoundPresent,
    /// A read did not find it.
    FoundAbsent,
    /// A predecessor was refused, the contract closed, or a human said no.
    Cancel,
    /// A human wants one tried after all that was refused, given up or called off.
    OperatorRetry,
}

/// Why a command does not fit.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("an effect that is {state} takes no {command:?}")]
pub struct Rejected {
    /// Where it stands.
    pub state: String,
    /// What was tried.
    pub command: Command,
}

/// Takes one command; answers the next state and the number of absent reads to keep.
///
/// # Errors
/// [`Rejected`] when the state does not allow it; the row is left as it is.
pub fn apply(kind: Kind, state: &State, absent_reads: u32, command: Command) -> Result<(State, u32), Rejected> {
    use State::{Blocked, Cancelled, Done, Held, Pending, Refused, Sending, Unknown};
    let next = match (state, command) {
        (Blocked, Command::Unblock) | (Held, Command::Release) => (Pending, 0),
        (Pending, Command::Send) => (Sending, absent_reads),
        (Sending, Command::Succeed) | (Unknown, Command::FoundPresent | Command::Succeed) => (Done, absent_reads),
        (Sending | Unknown, Command::Refuse) => (Refused, absent_reads),
        (Sending, Command::NotDone) => (Pending, 0),
        (Sending, Command::MaybeDone) => match kind.repeat() {
            Repeat::Freely => (Pending, 0),
            Repeat::WhenAbsent => (Unknown, 0),
        },
        (Unknown, Command::FoundAbsent) => {
            if absent_reads + 1 >= ABSENT_READS {
                (Pending, 0)
            } else {
                (Unknown, absent_reads + 1)
            }
        }
        (Blocked | Held | Pending, Command::Cancel) => (Cancelled, absent_reads),
        // Called off means never sent, or proven absent.
        (Refused | Pending | Cancelled, Command::OperatorRetry) => (Pending, 0),
        (state, command) => {
            return Err(Rejected {
                state: state.name().to_owned(),
                command,
            });
        }
    };
    Ok(next)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const COMMANDS: [Command; 11] = [
        Command::Unblock,
        Command::Release,
        Command::Send,
        Command::Succeed,
        Command::Refuse,
        Command::NotDone,
        Command::MaybeDone,
        Command::FoundPresent,
        Command::FoundAbsent,
        Command::Cancel,
        Command::OperatorRetry,
    ];

    #[test]
    fn what_was_called_off_may_be_wanted_after_all_and_what_may_have_happened_may_not() {
        for kind in Kind::ALL {
            let again = |state: State| apply(kind, &state, 0, Command::OperatorRetry);
            assert_eq!(again(State::Cancelled).unwrap().0, State::Pending);
            for state in [State::Done, State::Sending, State::Unknown, State::Held, State::Blocked] {
                assert!(again(state).is_err());
            }
        }
    }

    #[test]
    fn a_lost_answer_is_never_repeated_before_two_absent_reads() {
        for kind in [Kind::Propose, Kind::Deliver, Kind::Message] {
            let (state, reads) = apply(kind, &State::Sending, 0, Command::MaybeDone).unwrap();
            assert_eq!(state, State::Unknown);
            let (state, reads) = apply(kind, &state, reads, Command::FoundAbsent).unwrap();
            assert_eq!(state, State::Unknown);
            assert_eq!(
                apply(kind, &state, reads, Command::FoundAbsent).unwrap().0,
                State::Pending
            );
        }
    }

    #[test]
    fn every_effect_has_a_natural_key_of_its_own() {
        let (one, two) = (uuid::Uuid::from_u128(1), uuid::Uuid::from_u128(2));
        let keys = [
            key::deliver(one, 0),
            key::deliver(one, 1),
            key::deliver(two, 0),
            key::upload(one, 0, "a", "h"),
            key::upload(one, 0, "b", "h"),
            key::message(one, "k"),
            key::message(two, "k"),
            key::settle(one),
            key::confirm(one, "event"),
            key::propose("gig"),
        ];
        let distinct: std::collections::HashSet<_> = keys.iter().collect();
        assert_eq!(distinct.len(), keys.len());
    }

    proptest! {
        #[test]
        fn nothing_unsafe_is_sent_twice_without_a_proof_of_absence(
            kind in prop_oneof![Just(Kind::Propose), Just(Kind::Deliver), Just(Kind::Message)],
            steps in proptest::collection::vec(0..COMMANDS.len(), 0..200),
        ) {
            let (mut state, mut reads) = (State::Pending, 0);
            let (mut maybe_sent, mut absent_since) = (false, 0);
            for step in steps {
                let command = COMMANDS[step];
                let Ok((next, next_reads)) = apply(kind, &state, reads, command) else { continue };
                if command == Command::OperatorRetry {
                    prop_assert!(state != State::Done, "what happened was wanted again");
                    // The platform's no is as good as a proof of absence.
                    if state == State::Refused { maybe_sent = false; }
                } else {
                    prop_assert!(!state.is_closed(), "a closed effect moved");
                }
                match command {
                    Command::Send => prop_assert!(!maybe_sent || absent_since >= ABSENT_READS),
                    Command::MaybeDone => { maybe_sent = true; absent_since = 0; }
                    Command::FoundAbsent => absent_since += 1,
                    _ => {}
                }
                (state, reads) = (next, next_reads);
            }
        }
    }
}
