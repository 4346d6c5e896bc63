//! One page of a list, asked for again while the platform fails: a walk through many pages must not end with the first
//! that is lost.

use std::time::Duration;

use chrono::{DateTime, Utc};
use clawgig::{Page, Reply, Verdict};
use domain::effect::Class;

use crate::budget::{Budget, Denied, Held};

/// How often a page is asked for.
const TRIES: u32 = 3;

/// Why there is no page.
#[derive(Debug)]
pub(crate) enum Missed {
    /// No request may be made.
    Denied(Denied),
    /// The marketplace did not answer as asked, or not often enough.
    Failed(clawgig::Error),
}

/// Whose pages are read, and with how much patience.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Terms<'a> {
    /// The request budget.
    pub budget: &'a Budget,
    /// Whose.
    pub agent: &'a str,
    /// What for.
    pub class: Class,
    /// How long to wait for each grant.
    pub patience: Duration,
    /// The pause after a failed try; doubles with each.
    pub pause: Duration,
}

/// Asks for one page, each time under a grant of its own; `first` is one that was taken already.
///
/// # Errors
/// [`Missed`].
pub(crate) async fn page<T, F>(
    terms: Terms<'_>,
    mut first: Option<Held>,
    ask: impl Fn() -> F,
) -> Result<Page<T>, Missed>
where
    F: Future<Output = Result<Reply<Page<T>>, clawgig::Error>>,
{
    let Terms {
        budget, agent, class, ..
    } = terms;
    let mut pause = terms.pause;
    let mut tries = 1;
    loop {
        let held = match first.take() {
            Some(held) if held.is_fresh() => held,
            stale => {
                if let Some(held) = stale {
                    budget.give_back(held).await;
                }
                let taken = budget.take_for_read(agent, class, terms.patience).await;
                taken.map_err(Missed::Denied)?
            }
        };
        // The request is made under it: whatever comes back, it is spent.
        drop(held);
        let answer = ask().await;
        budget.learn(agent, &answer).await;
        match answer {
            Ok(reply) => return Ok(reply.value),
            Err(error) if tries < TRIES && matches!(error.verdict(), Verdict::Retry { .. }) => {
                tracing::debug!(agent, why = error.reason(), tries, "a page is asked for again");
                tokio::time::sleep(pause).await;
                pause *= 2;
                tries += 1;
            }
            Err(error) => return Err(Missed::Failed(error)),
        }
    }
}

/// Whether a list is told newest first, as far as it was read: times that are missing or all the same tell no order.
pub(crate) fn is_newest_first(times: impl IntoIterator<Item = Option<DateTime<Utc>>>) -> bool {
    let times: Option<Vec<DateTime<Utc>>> = times.into_iter().collect();
    times.is_some_and(|times| times.is_sorted_by(|one, next| one >= next) && times.first() > times.last())
}

#[cfg(test)]
mod tests {
    use chrono::TimeDelta;

    use super::*;

    #[test]
    fn an_order_is_believed_only_where_it_is_seen() {
        let at = |minutes: i64| Some(DateTime::UNIX_EPOCH + TimeDelta::minutes(minutes));
        assert!(is_newest_first([at(3), at(3), at(1)]));
        for told in [
            vec![],
            vec![at(1)],
            vec![at(2), at(2)],
            vec![at(1), at(3)],
            vec![at(3), None, at(1)],
        ] {
            assert!(!is_newest_first(told.clone()), "{told:?}");
        }
    }
}
