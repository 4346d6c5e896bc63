//! How the providers fare: noted by each call, written down a little later, so that a human is told of an outage and
//! nobody bids for work no model would do.

use std::{
    collections::HashMap,
    sync::Mutex,
    time::{Duration, Instant},
};

use boot::Context;
use store::{Store, provider_health, run_tx};
use tokio::time::{MissedTickBehavior, interval};

use crate::{config::Config, gateway::Gateway};

/// Between two writes.
const FLUSH: Duration = Duration::from_secs(1);
/// A provider whose calls work is noted again after this long: another billing may have seen it fail, and be gone.
const CONFIRM: Duration = Duration::from_secs(30);

/// What the calls of this process say.
#[derive(Debug, Default)]
pub(crate) struct Health(Mutex<HashMap<String, Noted>>);

#[derive(Debug, Default)]
struct Noted {
    news: Option<News>,
    failing: bool,
    confirmed: Option<Instant>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum News {
    Worked,
    Failed { times: i32, error: String },
}

impl Health {
    /// A call failed because of its provider; why, in our words.
    pub(crate) fn failed(&self, provider: &str, error: &str) {
        self.note(provider, |noted| {
            let before = match &noted.news {
                Some(News::Failed { times, .. }) => *times,
                _ => 0,
            };
            noted.news = Some(News::Failed {
                times: before.saturating_add(1),
                error: error.to_owned(),
            });
        });
    }

    /// A provider answered.
    pub(crate) fn worked(&self, provider: &str) {
        self.note(provider, |noted| {
            let recent = noted.confirmed.is_some_and(|at| at.elapsed() < CONFIRM);
            if noted.failing || noted.news.is_some() || !recent {
                noted.news = Some(News::Worked);
            }
        });
    }

    fn note(&self, provider: &str, change: impl FnOnce(&mut Noted)) {
        if let Ok(mut all) = self.0.lock() {
            change(all.entry(provider.to_owned()).or_default());
        }
    }

    fn take(&self) -> Vec<(String, News)> {
        let Ok(mut all) = self.0.lock() else { return Vec::new() };
        let news = all.iter_mut().filter_map(|(provider, noted)| {
            let news = noted.news.take()?;
            noted.failing = news != News::Worked;
            noted.confirmed = Some(Instant::now());
            Some((provider.clone(), news))
        });
        news.collect()
    }

    /// What could not be written is news still, unless there is newer.
    fn put_back(&self, provider: &str, news: News) {
        self.note(provider, |noted| {
            noted.news.get_or_insert(news);
        });
    }
}

/// Writes news down as long as the process lives.
pub async fn keep(context: Context<Config>, store: Store, gateway: std::sync::Arc<Gateway>) {
    let mut ticks = interval(FLUSH);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    while context.soft.run_until_cancelled(ticks.tick()).await.is_some() {
        for (provider, news) in gateway.health().take() {
            let written = run_tx!(store, "provider_health", |tx| match &news {
                News::Worked => provider_health::worked(tx, &provider).await,
                News::Failed { times, error } => provider_health::failed(tx, &provider, *times, error).await,
            });
            if let Err(error) = written {
                tracing::debug!(
                    provider,
                    error = &error as &dyn std::error::Error,
                    "health not written; tried again"
                );
                gateway.health().put_back(&provider, news);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn failures_in_a_row_are_told_together_and_a_working_provider_is_told_seldom() {
        let health = Health::default();
        health.worked("a");
        assert_eq!(health.take(), [("a".to_owned(), News::Worked)]);
        health.worked("a");
        assert_eq!(health.take(), [], "that is known");
        for _ in 0..3 {
            health.failed("a", "HTTP 503");
        }
        let error = "HTTP 503".to_owned();
        assert_eq!(health.take(), [("a".to_owned(), News::Failed { times: 3, error })]);
        health.worked("a");
        assert_eq!(
            health.take(),
            [("a".to_owned(), News::Worked)],
            "its end is told at once"
        );
    }

    #[test]
    fn what_could_not_be_written_is_kept_unless_there_is_newer() {
        let health = Health::default();
        health.failed("a", "x");
        let (_, news) = health.take().remove(0);
        health.put_back("a", news);
        assert_eq!(health.take().len(), 1);
        health.worked("a");
        health.put_back(
            "a",
            News::Failed {
                times: 1,
                error: "x".to_owned(),
            },
        );
        assert_eq!(health.take(), [("a".to_owned(), News::Worked)]);
    }
}
