//! What a message is, and whether it is answered without a human.
//!
//! Two answering machines must not talk to each other for ever, and a client in a dispute talks to a person. So what
//! may be answered is decided here, from what the store has counted.

use crate::agent_file::Reply;
use crate::contract::{Contract, State};

/// Messages of ours on one contract in a day, after which only a human writes.
pub const MOST_A_DAY: i64 = 20;
/// Seconds in which a thread gets one acknowledgement.
pub const QUIET_SECS: u32 = 15 * 60;
/// The day of [`MOST_A_DAY`], seconds.
pub const DAY_SECS: u32 = 24 * 3600;
/// Words of the longest message that can be a bare acknowledgement.
const LONGEST_THANKS: usize = 12;

/// What a message seems to be. A guess: nothing that costs money follows from it alone.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Class {
    /// Thanks, or that something arrived; nothing to answer.
    Acknowledgement,
    /// Something is asked.
    Question,
    /// Something made is to be changed.
    ChangeRequest,
    /// Anything else.
    Other,
}

impl Class {
    /// The word for people.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Acknowledgement => "acknowledgement",
            Self::Question => "question",
            Self::ChangeRequest => "change request",
            Self::Other => "message",
        }
    }
}

/// Words that acknowledge.
const THANKS: [&str; 28] = [
    "thanks",
    "thank",
    "thx",
    "ty",
    "ok",
    "okay",
    "great",
    "good",
    "perfect",
    "nice",
    "cool",
    "received",
    "got",
    "noted",
    "understood",
    "arrived",
    "confirmed",
    "awesome",
    "excellent",
    "appreciated",
    "cheers",
    "danke",
    "merci",
    "gracias",
    "roger",
    "acknowledged",
    "welcome",
    "fine",
];
/// Words that may stand beside them.
const FILLERS: [&str; 42] = [
    "you",
    "your",
    "it",
    "is",
    "was",
    "that",
    "this",
    "the",
    "a",
    "very",
    "much",
    "so",
    "all",
    "and",
    "for",
    "message",
    "has",
    "been",
    "have",
    "i",
    "we",
    "to",
    "my",
    "our",
    "sounds",
    "looks",
    "work",
    "job",
    "again",
    "lot",
    "just",
    "will",
    "be",
    "in",
    "touch",
    "taken",
    "into",
    "account",
    "well",
    "with",
    "everything",
    "are",
];
/// Words that ask for something made to be different.
const CHANGES: [&str; 26] = [
    "change",
    "changes",
    "revise",
    "revision",
    "redo",
    "fix",
    "correct",
    "wrong",
    "missing",
    "instead",
    "update",
    "adjust",
    "modify",
    "rework",
    "rewrite",
    "replace",
    "incorrect",
    "broken",
    "incomplete",
    "remove",
    "shorten",
    "edit",
    "mistake",
    "error",
    "improve",
    "resubmit",
];
/// Words that begin a question where its mark is left out.
const ASKING: [&str; 18] = [
    "what", "when", "where", "who", "why", "how", "which", "can", "could", "would", "will", "do", "does", "did", "is",
    "are", "should", "have",
];

/// Guesses what a message is, by its words.
#[must_use]
pub fn classify(text: &str) -> Class {
    let lower = text.to_lowercase();
    let words: Vec<&str> = lower
        .split(|letter: char| !letter.is_alphanumeric())
        .filter(|word| !word.is_empty())
        .collect();
    let is = |list: &[&str]| words.iter().any(|word| list.contains(word));
    let asks = text.contains(['?', '？', '؟']) || words.first().is_some_and(|first| ASKING.contains(first));
    if is(&CHANGES) {
        return Class::ChangeRequest;
    }
    if asks {
        return Class::Question;
    }
    let known = |word: &&str| THANKS.contains(word) || FILLERS.contains(word);
    let only_signs = words.is_empty() && !text.trim().is_empty();
    if only_signs || (is(&THANKS) && words.len() <= LONGEST_THANKS && words.iter().all(known)) {
        return Class::Acknowledgement;
    }
    Class::Other
}

/// What is known when a message came.
#[derive(Debug, Clone, Copy)]
pub struct Heard<'a> {
    /// What the agent's file wants.
    pub wanted: Reply,
    /// Another agent wrote it, not a client.
    pub from_agent: bool,
    /// What it seems to be.
    pub class: Class,
    /// How the contract stands.
    pub contract: &'a Contract,
    /// Messages of ours in the last [`QUIET_SECS`], sent or about to be.
    pub ours_lately: i64,
    /// The same in the last [`DAY_SECS`].
    pub ours_today: i64,
}

/// What is answered without a human.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Answer {
    /// Nothing.
    Nothing,
    /// That it arrived.
    Acknowledge,
    /// What the agent says.
    AskAgent,
}

/// Why a human is told.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum HandOver {
    /// The day's automatic messages are used up.
    Bound,
    /// What was delivered is to be changed, and the platform has not said so.
    Change,
    /// Something is asked that the agent would answer, and there is no budget to ask it.
    Question,
}

impl HandOver {
    /// A sentence for people.
    #[must_use]
    pub fn reason(self) -> &'static str {
        match self {
            Self::Bound => "the day's automatic messages on this contract are used up: answer by hand",
            Self::Change => {
                "the client seems to ask for changes of what was delivered; work goes on when the platform opens the \
                 contract again"
            }
            Self::Question => "the client asks something and the agent cannot be asked now: answer by hand",
        }
    }
}

/// Decides how a message is answered, and whether a human is told.
#[must_use]
pub fn decide(heard: &Heard<'_>) -> (Answer, Option<HandOver>) {
    let state = &heard.contract.state;
    let closed = state.is_final() || matches!(state, State::Disputed | State::Unknown(_));
    if closed || heard.class == Class::Acknowledgement {
        return (Answer::Nothing, None);
    }
    let client = !heard.from_agent;
    let change = client && *state == State::Delivered && heard.class == Class::ChangeRequest;
    let change = change.then_some(HandOver::Change);
    if heard.wanted == Reply::Off {
        return (Answer::Nothing, change);
    }
    if heard.ours_today >= MOST_A_DAY {
        return (Answer::Nothing, Some(HandOver::Bound));
    }
    match heard.wanted {
        Reply::Ack if client && heard.ours_lately == 0 => (Answer::Acknowledge, change),
        // What is to be changed is no matter of words.
        Reply::Agent if heard.contract.may_answer() && change.is_none() => (Answer::AskAgent, change),
        Reply::Agent if client && heard.class == Class::Question => {
            (Answer::Nothing, change.or(Some(HandOver::Question)))
        }
        _ => (Answer::Nothing, change),
    }
}

#[cfg(test)]
mod tests;
