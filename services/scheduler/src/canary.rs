//! Whether the marketplace still speaks as it did: every read tried once, by an operator's word or once a day.
//!
//! A canary changes nothing, there or here. What fails raises one notice per agent, what is new another; each ends when
//! the next look finds it well.

use std::time::Duration;

use clawgig::drift::{self as seen, Seen};
use store::drift::Drift;
use store::{Tx, drift as known, duties, notices, run_tx};

use crate::desk::Desk;
use crate::drift;
use crate::error::Error as Step;
use crate::onboarding::{Caller, Error};
use crate::reconcile;

mod reads;

pub use reads::Read;

/// The duty; its key is the agent's name.
pub const CANARY: &str = "canary";
/// The kind of the notice that reads fail.
pub const READS: &str = "canary_reads";
/// The kind of the notice that the marketplace says something new.
pub const NEWS: &str = "canary_drift";
/// After a failure it is looked again sooner.
const AGAIN: Duration = Duration::from_secs(15 * 60);
/// Where it is switched off, whether it still is.
const OFF: Duration = Duration::from_secs(3600);
/// New names that are told.
const MOST_NAMED: i64 = 12;

/// One read that was tried.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Tried {
    /// Elements of a list; 1 for a single thing.
    pub items: u64,
    /// Elements that could not be read.
    pub skipped: u64,
    /// The id of the first element.
    pub first_id: Option<String>,
    /// What this process met meanwhile and does not know.
    pub unknown: Vec<Seen>,
}

/// Tries one read.
///
/// # Errors
/// [`Error`] when it fails.
pub async fn attempt(caller: &Caller, agent: &str, read: Read, id: &str) -> Result<Tried, Error> {
    let before = seen::totals();
    let mut tried = reads::once(caller, agent, read, id).await?;
    tried.unknown = more(&before, seen::totals());
    Ok(tried)
}

/// What was seen more often than before.
fn more(before: &[Seen], after: Vec<Seen>) -> Vec<Seen> {
    let earlier = |one: &Seen| {
        let same = |old: &&Seen| (old.what, old.of, &old.name) == (one.what, one.of, &one.name);
        before.iter().find(same).map_or(0, |old| old.count)
    };
    let grown = after.into_iter().map(|one| {
        let count = one.count.saturating_sub(earlier(&one));
        Seen { count, ..one }
    });
    grown.filter(|one| one.count > 0).collect()
}

/// Makes sure an agent's canary is there, a whole span from now: that it works was seen when its key was set.
///
/// # Errors
/// When the row cannot be saved.
pub async fn ensure(tx: &mut Tx, desk: &Desk, agent: &str) -> Result<(), Step> {
    let every = desk.config.canary.every;
    if !every.is_zero() {
        duties::ensure_later(tx, CANARY, agent, every).await?;
    }
    Ok(())
}

/// Tries every read once. Answers when to look again.
///
/// # Errors
/// When no request may be made, or the store is away.
pub async fn look(caller: &Caller, agent: &str) -> Result<Duration, reconcile::Error> {
    let desk = &caller.desk;
    let every = desk.config.canary.every;
    if every.is_zero() {
        return Ok(OFF);
    }
    let mut failed = Vec::new();
    let mut gig = String::new();
    for read in Read::ALL {
        if read == Read::Gig && gig.is_empty() {
            continue;
        }
        match attempt(caller, agent, read, &gig).await {
            Ok(tried) if read == Read::Gigs => gig = tried.first_id.unwrap_or_default(),
            Ok(_) => {}
            // A gig that is gone between two reads says nothing.
            Err(Error::Said(error)) if read == Read::Gig && error.status() == Some(404) => {}
            Err(Error::Said(error)) => failed.push(format!("{}: {error}", read.name())),
            Err(Error::Denied(denied)) => return Err(denied.into()),
            Err(Error::Client(error)) => return Err(error.into()),
            Err(error) => failed.push(format!("{}: {error}", read.name())),
        }
    }
    drift::keep(desk).await?;
    let news = known::new_since_duty(&desk.store, CANARY, agent, MOST_NAMED).await?;
    tell(desk, agent, &failed, &news).await?;
    Ok(if failed.is_empty() { every } else { every.min(AGAIN) })
}

async fn tell(desk: &Desk, agent: &str, failed: &[String], news: &[Drift]) -> Result<(), store::Error> {
    run_tx!(desk.store, "canary", |tx| {
        if failed.is_empty() {
            notices::resolve(tx, READS, agent).await?;
        } else {
            let what = failed.join("; ");
            let body =
                format!("reads of the marketplace fail for {agent}: {what}. `steward doctor live {agent}` says more");
            notices::raise(tx, READS, agent, &body).await?;
        }
        if news.is_empty() {
            notices::resolve(tx, NEWS, agent).await?;
        } else {
            let names: Vec<_> = news
                .iter()
                .map(|one| format!("{} {} of {}", one.what, one.name, one.place))
                .collect();
            let body = format!(
                "the marketplace says what this release does not know: {}; `steward api drift` lists all of it",
                names.join(", ")
            );
            notices::raise(tx, NEWS, agent, &body).await?;
        }
        Ok(())
    })?;
    if !failed.is_empty() {
        tracing::warn!(agent, failed = failed.len(), "reads of the marketplace fail");
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_grew_was_met_meanwhile() {
        let one = |name: &str, count| Seen {
            what: "field",
            of: "gig",
            name: name.to_owned(),
            count,
        };
        let before = [one("old", 3), one("both", 1)];
        let after = vec![one("old", 3), one("both", 4), one("new", 2)];
        assert_eq!(more(&before, after), [one("both", 3), one("new", 2)]);
    }
}
