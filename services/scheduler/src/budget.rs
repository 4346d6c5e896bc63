//! Spending the request budget of a marketplace key: every call to the marketplace takes a grant first and reports how
//! it went, whichever replica makes it. The breakers before a platform that fails are part of it.

use std::sync::Arc;
use std::time::{Duration, Instant};

use clawgig::{RateInfo, Reply, Verdict};
use domain::breaker::{Change, Outcome, Policy};
use domain::effect::Class;
use store::budget::{self, Answer, Grant, Limit};
use store::{Tx, notices};

use crate::desk::Desk;

/// A grant not begun within this time is given back: counted later, it could break the window.
const FRESH: Duration = Duration::from_secs(1);
/// Calls in a minute before the share of those that fail means something.
const SHARE_OF_CALLS: u32 = 20;
/// The kind of the notice that a key was refused.
pub(crate) const KEY_STOPPED: &str = "key_stopped";
/// The kind of the notice that the marketplace fails so much that calls wait.
pub(crate) const FAILING: &str = "marketplace_failing";
/// The kind of the notice that the marketplace wants a long pause.
const WAITING: &str = "marketplace_waiting";
/// A wait longer than this is told to a human.
const LONG_WAIT: Duration = Duration::from_secs(300);
const REFUSED: &str = "the marketplace refused the key (401): set a valid one, then resume";
/// Part of the budget only uploads, messages and deliveries may use.
const RESERVE_PERMILLE: u32 = 200;

/// The request budgets of all agents. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Budget {
    desk: Arc<Desk>,
    /// The platform, as the breaker of all keys is named.
    host: Arc<str>,
}

/// A grant in hand.
#[derive(Debug)]
pub struct Held {
    grant: Grant,
    since: Instant,
}

impl Held {
    /// Whether the request may still be begun under it.
    #[must_use]
    pub fn is_fresh(&self) -> bool {
        self.since.elapsed() < FRESH
    }
}

/// Why there is no grant.
#[derive(Debug, thiserror::Error)]
pub enum Denied {
    /// Not before this much time has passed.
    #[error("the requests of this minute are used up, or the marketplace asked to wait: {} s", .0.as_secs().max(1))]
    Wait(Duration),
    /// The marketplace keeps failing: not before this much time has passed.
    #[error("the marketplace keeps failing, or said that it is down: no call is made for {} s", .0.as_secs().max(1))]
    Failing(Duration),
    /// One read is to be made first, to see whether the marketplace works again.
    #[error("the marketplace kept failing: one read is to be made first")]
    Probe(Held),
    /// A human is wanted first.
    #[error("calls with this key are stopped: {0}")]
    Stopped(String),
    /// The store said no, or is away.
    #[error(transparent)]
    Store(#[from] store::Error),
}

impl Budget {
    /// Over the desk's store.
    #[must_use]
    pub fn new(desk: Arc<Desk>) -> Self {
        let host = desk.config.marketplace.base_url.host_str().unwrap_or("marketplace");
        let host = format!("@{host}").into();
        Self { desk, host }
    }

    /// The platform, as the breaker of all keys is named.
    #[must_use]
    pub fn host(&self) -> &str {
        &self.host
    }

    /// Takes a grant if there is one now.
    ///
    /// # Errors
    /// [`Denied`] with the time to wait, the reason of the stop, or the grant of a probe.
    pub async fn take(&self, agent: &str, class: Class) -> Result<Held, Denied> {
        let market = &self.desk.config.marketplace;
        let limit = Limit {
            host: &self.host,
            probe_lease: market.request_timeout + FRESH,
            per_minute: market.rate_limit_per_minute,
            reserve_permille: RESERVE_PERMILLE,
        };
        let since = Instant::now();
        let answer = store::run_tx!(self.desk.store, "budget_take", |tx| {
            budget::take(tx, agent, class, limit).await
        })?;
        let (grant, is_probe) = match answer {
            Answer::Granted(grant) => (grant, false),
            Answer::Probe(grant) => (grant, true),
            Answer::Wait(wait) => return Err(Denied::Wait(wait)),
            Answer::Failing(wait) => return Err(Denied::Failing(wait)),
            Answer::Stopped(reason) => return Err(Denied::Stopped(reason)),
        };
        let held = Held { grant, since };
        if !held.is_fresh() {
            // The store took so long that the window has moved on.
            self.give_back(held).await;
            return Err(Denied::Wait(FRESH));
        }
        metrics::counter!(crate::metrics::REQUESTS, "class" => class.name()).increment(1);
        if is_probe { Err(Denied::Probe(held)) } else { Ok(held) }
    }

    /// Takes a grant, waiting for one at most `patience`.
    ///
    /// # Errors
    /// As [`Budget::take`], when the wait would be longer.
    pub async fn take_waiting(&self, agent: &str, class: Class, patience: Duration) -> Result<Held, Denied> {
        match self.wait(agent, class, patience).await {
            Err(Denied::Probe(held)) => {
                self.give_back(held).await;
                Err(Denied::Failing(FRESH))
            }
            other => other,
        }
    }

    /// As [`Budget::take_waiting`], for a call that changes nothing: it may be the one that shows whether the marketplace
    /// works again, whatever it is made for.
    ///
    /// # Errors
    /// As [`Budget::take`].
    pub async fn take_for_read(&self, agent: &str, class: Class, patience: Duration) -> Result<Held, Denied> {
        match self.wait(agent, class, patience).await {
            Err(Denied::Probe(held)) => Ok(held),
            other => other,
        }
    }

    async fn wait(&self, agent: &str, class: Class, patience: Duration) -> Result<Held, Denied> {
        let until = Instant::now() + patience;
        loop {
            match self.take(agent, class).await {
                Err(Denied::Wait(wait) | Denied::Failing(wait)) if Instant::now() + wait <= until => {
                    tokio::time::sleep(wait).await;
                }
                other => return other,
            }
        }
    }

    /// Gives a grant back under which nothing was sent. A failure costs one request of the minute, nothing else.
    pub async fn give_back(&self, held: Held) {
        let grant = held.grant;
        let given = store::run_tx!(self.desk.store, "budget_give_back", |tx| {
            budget::give_back(tx, &grant, &self.host).await
        });
        if let Err(error) = given {
            tracing::debug!(%error, "a grant could not be given back");
        }
    }

    /// Learns from the outcome of a call: limits, blocks, stops and the breaker, for all replicas.
    pub async fn learn<T>(&self, agent: &str, outcome: &Result<Reply<T>, clawgig::Error>) {
        self.note(agent, outcome, true).await;
    }

    /// The same for an upload, whose headers tell of a limit of its own: it says nothing about the key's.
    pub async fn learn_of_upload<T>(&self, agent: &str, outcome: &Result<Reply<T>, clawgig::Error>) {
        self.note(agent, outcome, false).await;
    }

    async fn note<T>(&self, agent: &str, outcome: &Result<Reply<T>, clawgig::Error>, limit_counts: bool) {
        let rate = match outcome {
            Ok(reply) => Some(&reply.rate),
            Err(error) => error.rate(),
        };
        let limit = rate.and_then(|rate| rate.limit).filter(|_| limit_counts);
        let verdict = outcome.as_ref().err().map(clawgig::Error::verdict);
        let status = outcome.as_ref().err().and_then(clawgig::Error::status);
        let block = match verdict {
            Some(Verdict::Retry { after }) if status == Some(429) => Some(after.unwrap_or(Duration::from_secs(60))),
            // Somebody else uses the key too.
            _ => rate.filter(|_| limit_counts).and_then(RateInfo::used_up),
        };
        let call = self.desk.config.marketplace.request_timeout;
        let said = of_platform(outcome.as_ref().err());
        let configured = self.desk.config.marketplace.rate_limit_per_minute;
        let learned = store::run_tx!(self.desk.store, "budget_learn", |tx| {
            if let Some(limit) = limit {
                budget::learn_limit(tx, agent, limit.min(configured.saturating_add(2))).await?;
            }
            if let Some(pause) = block {
                budget::block(tx, agent, pause).await?;
                if pause > LONG_WAIT {
                    let body = format!(
                        "the marketplace asked to wait {} minutes: nothing is sent for {agent} until then",
                        pause.as_secs() / 60
                    );
                    notices::raise(tx, WAITING, agent, &body).await?;
                }
            } else if verdict.is_none() {
                notices::resolve(tx, WAITING, agent).await?;
            }
            let stopped = verdict == Some(Verdict::Unauthorized) && budget::stop(tx, agent, REFUSED, call).await?;
            if stopped {
                notices::raise(tx, KEY_STOPPED, agent, REFUSED).await?;
            }
            let changes = match said {
                Some(said) => budget::record(tx, agent, &self.host, said, &self.policy()).await?,
                None => (Change::None, Change::None),
            };
            self.tell(tx, agent, verdict, changes).await?;
            Ok((stopped, changes))
        });
        match learned {
            Ok((true, _)) => tracing::error!(agent, reason = REFUSED, "calls to the marketplace are stopped"),
            Ok((_, (Change::Opened, _) | (_, Change::Opened))) => {
                tracing::warn!(agent, "the marketplace keeps failing: calls wait");
            }
            Ok(_) => {}
            Err(error) => tracing::warn!(agent, %error, "the outcome of a call could not be noted"),
        }
    }

    fn policy(&self) -> Policy {
        let breaker = &self.desk.config.breaker;
        Policy {
            failures: breaker.failures,
            share_permille: breaker.share_permille,
            of_calls: SHARE_OF_CALLS,
            first_pause: breaker.first_pause,
            longest_pause: breaker.longest_pause,
        }
    }

    /// A notice while calls wait: for the platform, or for one key alone.
    async fn tell(
        &self,
        tx: &mut Tx,
        agent: &str,
        verdict: Option<Verdict>,
        (of_key, of_host): (Change, Change),
    ) -> Result<(), store::Error> {
        for (change, key) in [(of_host, self.host.as_ref()), (of_key, agent)] {
            match change {
                // The platform's own notice says it already.
                Change::Opened if key == agent && verdict == Some(Verdict::PlatformDown) => {}
                Change::Opened => {
                    let body = match verdict {
                        Some(Verdict::PlatformDown) => {
                            "the marketplace answered 402: it is down, or wants money. Nothing was paid; it is asked again every few minutes"
                        }
                        _ => "calls to the marketplace keep failing: they wait, and one read after another is tried",
                    };
                    notices::raise(tx, FAILING, key, body).await?;
                }
                Change::Recovering | Change::Closed => {
                    notices::resolve(tx, FAILING, key).await?;
                }
                Change::None => {}
            }
        }
        Ok(())
    }
}

/// What the end of a call says about the platform: an answer below 500 says that it works, whatever it thinks of the
/// request; what was never sent says nothing.
fn of_platform(error: Option<&clawgig::Error>) -> Option<Outcome> {
    let Some(error) = error else {
        return Some(Outcome::Works);
    };
    match (error, error.verdict()) {
        (_, Verdict::PlatformDown) => Some(Outcome::Down),
        (clawgig::Error::Invalid { .. }, _) => None,
        (clawgig::Error::Transport { .. }, Verdict::Refuse) => None,
        (clawgig::Error::Transport { .. }, _) => Some(Outcome::Fails),
        _ if error.status().is_some_and(|status| status >= 500) => Some(Outcome::Fails),
        _ => Some(Outcome::Works),
    }
}
