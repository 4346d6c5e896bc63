//! Counting what the wire has and this crate does not know.

use std::collections::BTreeMap;
use std::sync::{LazyLock, Mutex, PoisonError};

use crate::metric;

/// Names kept apart per sort of thing; what comes after is counted as `other`.
const MOST_NAMES: usize = 100;
const LONGEST_NAME: usize = 48;
const OTHER: &str = "other";

type Key = (&'static str, &'static str, String);
static SEEN: LazyLock<Mutex<Names>> = LazyLock::new(Mutex::default);

/// Counts by name, bounded: names come from outside. How many names there are of a sort is counted too, so that a flood
/// of new ones costs a look each and not a walk.
#[derive(Default)]
struct Names {
    tallies: BTreeMap<Key, Tally>,
    of_sort: BTreeMap<&'static str, usize>,
}

/// How often something was seen, and how many of those were taken.
#[derive(Clone, Copy, Default)]
struct Tally {
    seen: u64,
    taken: u64,
}

impl Names {
    /// Counts one; returns the name it was counted under and how often that was seen.
    fn count(&mut self, what: What, of: &'static str, name: &str) -> (String, u64) {
        let what = what.as_str();
        let mut key = (what, of, clean(name));
        if !self.tallies.contains_key(&key) {
            let names = self.of_sort.entry(what).or_default();
            if *names < MOST_NAMES {
                *names += 1;
            } else {
                OTHER.clone_into(&mut key.2);
            }
        }
        let name = key.2.clone();
        let tally = self.tallies.entry(key).or_default();
        tally.seen += 1;
        (name, tally.seen)
    }

    /// What was not taken yet; each sight is given out once.
    fn take(&mut self) -> Vec<Seen> {
        let mut taken = Vec::new();
        for ((what, of, name), tally) in &mut self.tallies {
            let count = tally.seen - std::mem::replace(&mut tally.taken, tally.seen);
            if count > 0 {
                let name = name.clone();
                taken.push(Seen { what, of, name, count });
            }
        }
        taken
    }
}

/// What sort of thing was unknown.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum What {
    /// A member of an object.
    Field,
    /// The name of a webhook event.
    Event,
    /// A state of a gig, proposal, contract or agent.
    Status,
    /// A value that could not be read, for example an amount.
    Value,
    /// An element of a list without an id.
    Item,
    /// The machine-readable code of a refusal.
    Code,
    /// A header that announces an end: `deprecation`, `sunset`.
    Header,
}

impl What {
    fn as_str(self) -> &'static str {
        match self {
            Self::Field => "field",
            Self::Event => "event",
            Self::Status => "status",
            Self::Value => "value",
            Self::Item => "item",
            Self::Code => "code",
            Self::Header => "header",
        }
    }
}

/// One unknown thing and how often it was seen.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Seen {
    /// `field`, `event`, `status`, `value`, `item`, `code` or `header`.
    pub what: &'static str,
    /// Where it was: `gig`, `contract`, …
    pub of: &'static str,
    /// Its name, cleaned and cut.
    pub name: String,
    /// How often.
    pub count: u64,
}

/// Codes of refusals that mean what their status says; others are counted.
const KNOWN_CODES: [&str; 22] = [
    "already_approved",
    "bad_request",
    "conflict",
    "contract_cancelled",
    "contract_disputed",
    "duplicate_proposal",
    "escrow_not_funded",
    "forbidden",
    "gig_not_open",
    "internal_error",
    "invalid_attachments",
    "invalid_code",
    "method_not_allowed",
    "not_found",
    "profile_incomplete",
    "agent_not_claimed",
    "proposal_limit_reached",
    "proposal_not_pending",
    "rate_limit_exceeded",
    "unauthorized",
    "unsupported_file_type",
    "validation_error",
];
/// Headers that announce an end.
const ENDINGS: [&str; 2] = ["deprecation", "sunset"];

/// Counts the code of a refusal, unless it is known or only repeats the status.
pub(crate) fn code(call: &'static str, code: &str) {
    let known = KNOWN_CODES.contains(&code.to_ascii_lowercase().as_str());
    if !known && !code.bytes().all(|b| b.is_ascii_digit()) {
        unknown(What::Code, call, code);
    }
}

/// Counts the headers of an answer that announce an end of what was called.
pub(crate) fn endings(call: &'static str, headers: &outbound::headers::HeaderMap) {
    for name in ENDINGS {
        if headers.contains_key(name) {
            unknown(What::Header, call, name);
        }
    }
}

/// Counts one unknown thing; the first sight of each is logged.
pub(crate) fn unknown(what: What, of: &'static str, name: &str) {
    let mut names = SEEN.lock().unwrap_or_else(PoisonError::into_inner);
    let (name, count) = names.count(what, of, name);
    drop(names);
    let what = what.as_str();
    if count == 1 {
        tracing::info!(
            what,
            of,
            name,
            "the marketplace sent something this version does not know"
        );
    }
    metrics::counter!(metric::DRIFT, "what" => what, "of" => of, "name" => name).increment(1);
}

/// What was seen since this was asked the last time, for whoever keeps it: each sight is told once.
#[must_use]
pub fn take() -> Vec<Seen> {
    SEEN.lock().unwrap_or_else(PoisonError::into_inner).take()
}

/// Everything seen by this process so far, with its totals; takes nothing. For whoever compares before with after.
#[must_use]
pub fn totals() -> Vec<Seen> {
    let names = SEEN.lock().unwrap_or_else(PoisonError::into_inner);
    let all = names.tallies.iter().map(|((what, of, name), tally)| Seen {
        what,
        of,
        name: name.clone(),
        count: tally.seen,
    });
    all.collect()
}

/// Puts back what was taken and could not be kept.
pub fn put_back(taken: &[Seen]) {
    let mut names = SEEN.lock().unwrap_or_else(PoisonError::into_inner);
    for seen in taken {
        let key = (seen.what, seen.of, seen.name.clone());
        if let Some(tally) = names.tallies.get_mut(&key) {
            tally.taken = tally.taken.saturating_sub(seen.count);
        }
    }
}

/// Names come from outside: only harmless characters, and not many.
fn clean(name: &str) -> String {
    name.chars()
        .take(LONGEST_NAME)
        .map(|c| {
            if c.is_ascii_alphanumeric() || matches!(c, '_' | '.' | '-') {
                c
            } else {
                '?'
            }
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hostile_names_are_cut_and_cleaned() {
        assert_eq!(clean("a\"b\n{}"), "a?b???");
        assert_eq!(clean(&"x".repeat(1_000)).len(), LONGEST_NAME);
    }

    #[test]
    fn each_sight_is_given_out_once() {
        let mut names = Names::default();
        names.count(What::Event, "webhook", "work.done");
        names.count(What::Event, "webhook", "work.done");
        let taken = names.take();
        assert_eq!((taken.len(), taken[0].count), (1, 2));
        assert!(names.take().is_empty());
        names.count(What::Event, "webhook", "work.done");
        assert_eq!(names.take()[0].count, 1);
    }

    #[test]
    fn a_flood_of_names_is_bounded_and_hides_nothing_else() {
        let mut names = Names::default();
        for n in 0..MOST_NAMES * 3 {
            names.count(What::Field, "gig", &format!("f{n}"));
        }
        assert_eq!(names.tallies.len(), MOST_NAMES + 1);
        assert_eq!(names.count(What::Field, "gig", "f0"), ("f0".to_owned(), 2));
        assert_eq!(names.count(What::Field, "gig", "late").0, OTHER);
        assert_eq!(names.count(What::Event, "webhook", "late"), ("late".to_owned(), 1));
    }
}
