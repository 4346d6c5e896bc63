//! Is everything there that live work needs? One check at a time, each with the command that mends it.

use std::time::{Duration, Instant};

use chrono::{DateTime, TimeDelta, Utc};
use clawgig::{Client, Verdict};
use domain::effect::Class;
use domain::onboarding::remedy;
use store::{agents, doors, intake, observations, onboarding as rows};

use super::{Error, Onboarding, door};
use crate::budget::Denied;
use crate::marketplace;

/// How far clocks may be apart: webhooks are dated, and dates are checked to five minutes.
const MOST_SKEW: TimeDelta = TimeDelta::seconds(60);
/// How long a test event may take from the marketplace's answer to a row that was looked at.
const ARRIVAL: Duration = Duration::from_secs(15);
const LOOK: Duration = Duration::from_millis(200);

/// What is looked at.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Check {
    /// The marketplace answers who has no key.
    Marketplace,
    /// Its clock and ours agree.
    Clock,
    /// The agent's key is taken.
    Key,
    /// The agent may bid.
    Readiness,
    /// Webhooks go to the agent's door, signed with a secret that is known here.
    Webhook,
    /// A test event comes in.
    TestEvent,
}

/// What came of a check.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Found {
    /// It is well.
    Ok(String),
    /// It is not: why, and what mends it.
    Fail(String, String),
    /// It cannot be looked at.
    Skip(String),
}

impl Onboarding {
    /// Makes one check.
    ///
    /// # Errors
    /// When there is no such agent, or the store is away: what the marketplace does is a finding, not an error.
    pub async fn examine(&self, name: &str, check: Check) -> Result<Found, Error> {
        let found = match check {
            Check::Marketplace => return self.marketplace().await,
            Check::Clock => return self.clock().await,
            Check::Key => self.key(name).await,
            Check::Readiness => self.may_bid(name).await,
            Check::Webhook | Check::TestEvent if self.desk().config.reconcile.poll => {
                Ok(Found::Skip("this stack reads and expects no webhook".to_owned()))
            }
            Check::Webhook => self.webhook_fits(name).await,
            Check::TestEvent => self.test_event(name).await,
        };
        match found {
            Err(error) => as_finding(name, check, error),
            found => found,
        }
    }

    async fn marketplace(&self) -> Result<Found, Error> {
        let base = &self.desk().config.marketplace.base_url;
        let answer = self.caller.public()?.search_gigs_page(&Default::default()).await;
        let error = match answer {
            Ok(reply) => {
                let items = reply.value.raw;
                return Ok(Found::Ok(format!("{base} answers: {items} open gigs on a page")));
            }
            Err(error) => error,
        };
        Ok(match (error.verdict(), error.status()) {
            (Verdict::PlatformDown, _) => Found::Fail(
                format!("{base} answers 402: it is down or wants money; nothing is ever paid"),
                "wait until it is back, then `steward doctor live`".to_owned(),
            ),
            // Somebody is there, and wants a key, or fewer requests from this address.
            (_, Some(status @ (401 | 403 | 429))) => Found::Ok(format!("{base} answers ({status} without a key)")),
            (_, Some(500..)) => Found::Fail(
                error.to_string(),
                "it fails on its side: nothing to do here but wait; work goes on by itself when it is back".to_owned(),
            ),
            _ => Found::Fail(
                error.to_string(),
                "set marketplace.base_url in config/scheduler.toml, or look at this machine's network".to_owned(),
            ),
        })
    }

    async fn clock(&self) -> Result<Found, Error> {
        let answer = self.caller.public()?.search_gigs_page(&Default::default()).await;
        let rate = match &answer {
            Ok(reply) => Some(&reply.rate),
            Err(error) => error.rate(),
        };
        let Some(theirs) = rate.and_then(|rate| rate.server_time) else {
            return Ok(Found::Skip("the marketplace does not say what time it is".to_owned()));
        };
        let postgres = observations::clock(&self.desk().store).await?;
        Ok(compare(theirs, postgres, Utc::now()))
    }

    async fn key(&self, name: &str) -> Result<Found, Error> {
        let id = agents::get(&self.desk().store, name).await?.marketplace_id;
        let profile = self
            .caller
            .ask(name, Class::Confirm, |client| async move { client.profile().await })
            .await?
            .value;
        Ok(match id {
            Some(id) if id != profile.id => Found::Fail(
                format!("the key belongs to the agent {}, not to {id}", profile.id),
                format!(
                    "steward agents link {name} --marketplace-id {} --key-file FILE",
                    profile.id
                ),
            ),
            _ => Found::Ok(format!("the key is taken: {} ({})", profile.name, profile.id)),
        })
    }

    async fn may_bid(&self, name: &str) -> Result<Found, Error> {
        let progress = self.readiness(name).await?;
        let mut missing = progress.readiness.missing;
        // A profile that is complete belongs to nobody before it is claimed, and may not bid.
        if progress.claimed == Some(false) && !missing.iter().any(|word| word.contains("claim")) {
            missing.push("claim".to_owned());
        }
        if progress.readiness.ready && missing.is_empty() {
            return Ok(Found::Ok("ready to bid".to_owned()));
        }
        let fix = match missing.as_slice() {
            [one] => remedy(one, name, Some(&agents::get(&self.desk().store, name).await?.spec)),
            _ => format!("steward agents readiness {name}"),
        };
        let why = if missing.is_empty() {
            "the marketplace says that it may not bid, and not why".to_owned()
        } else {
            format!("missing: {}", missing.join(", "))
        };
        Ok(Found::Fail(why, fix))
    }

    async fn webhook_fits(&self, name: &str) -> Result<Found, Error> {
        let store = &self.desk().store;
        let told = rows::webhook_url(store, name).await?;
        let secrets = doors::secrets(store, name).await?;
        let known = secrets.iter().any(|secret| secret.retires_at.is_none());
        let config = self.caller.webhook_config(name).await?;
        let set = format!("steward agents webhooks {name} --url https://…");
        let rotate = format!("steward agents webhooks {name} --rotate");
        let Some(url) = config.webhook_url else {
            return Ok(Found::Fail("the marketplace has no webhook URL".to_owned(), set));
        };
        Ok(match told {
            _ if !door::is_door(name, &url) => {
                Found::Fail(format!("webhooks go to {url}, which is not the door of {name}"), set)
            }
            Some(told) if told != url => {
                Found::Fail(format!("webhooks go to {url}, and were meant to go to {told}"), set)
            }
            _ if config.has_secret == Some(false) => {
                Found::Fail("the marketplace has no secret to sign webhooks with".to_owned(), rotate)
            }
            _ if !known => Found::Fail(
                "no webhook secret is known here: every webhook is refused".to_owned(),
                rotate,
            ),
            _ => Found::Ok(format!("webhooks go to {url}, signed with a known secret")),
        })
    }

    async fn test_event(&self, name: &str) -> Result<Found, Error> {
        let since = observations::clock(&self.desk().store).await?;
        let test = |client: Client| async move { client.test_webhook().await };
        let outcome = self.caller.write(name, test).await?.value;
        if outcome.success {
            return self.arrival(name, since).await;
        }
        let said = outcome
            .status_code
            .map_or_else(|| "no answer".to_owned(), |status| format!("the answer {status}"));
        let fix = match outcome.status_code {
            Some(401) => format!("steward agents webhooks {name} --rotate"),
            Some(404) => format!("steward agents webhooks {name} --url https://…"),
            _ => "see that the address leads to ingress: DNS, certificate, proxy; `steward status` shows where it listens"
                .to_owned(),
        };
        Ok(Found::Fail(
            format!("the marketplace sent a test event and got {said}"),
            fix,
        ))
    }

    /// Waits for the event as a row that was looked at.
    async fn arrival(&self, name: &str, since: DateTime<Utc>) -> Result<Found, Error> {
        let until = Instant::now() + ARRIVAL;
        loop {
            if let Some(event) = intake::test_since(&self.desk().store, name, since).await? {
                return Ok(Found::Ok(format!("a test event came in ({event})")));
            }
            if Instant::now() >= until {
                break;
            }
            tokio::time::sleep(LOOK).await;
        }
        let why = format!(
            "the marketplace says its test event was taken, and none came in within {} s: somebody else answers at that \
             address, or it sends the same bytes each time and they were seen before",
            ARRIVAL.as_secs()
        );
        Ok(Found::Fail(
            why,
            format!("steward inbox list, and steward agents webhooks {name}"),
        ))
    }
}

/// How far the clocks are apart; a date in a header is cut to the second.
fn compare(theirs: DateTime<Utc>, postgres: DateTime<Utc>, ours: DateTime<Utc>) -> Found {
    let (market, store) = ((ours - theirs).abs(), (ours - postgres).abs());
    let seconds = |apart: TimeDelta| apart.num_seconds();
    let fix = "set the clock of this machine and of Postgres' by NTP (`timedatectl set-ntp true`)".to_owned();
    if market > MOST_SKEW {
        let why = format!("our clock and the marketplace's are {} s apart", seconds(market));
        return Found::Fail(why, fix);
    }
    if store > MOST_SKEW {
        return Found::Fail(format!("our clock and Postgres' are {} s apart", seconds(store)), fix);
    }
    let most = seconds(market).max(seconds(store));
    Found::Ok(format!("all clocks agree to {} s", most.max(1)))
}

/// What the marketplace refuses is a finding.
fn as_finding(name: &str, check: Check, error: Error) -> Result<Found, Error> {
    let register = || format!("steward agents register {name} --webhook-url https://…");
    let link = || format!("steward agents link {name} --marketplace-id ID --key-file FILE");
    Ok(match &error {
        Error::Client(marketplace::Error::NoKey(_)) if check == Check::Key => {
            Found::Fail(format!("{name} has no marketplace key"), register())
        }
        Error::Client(marketplace::Error::NoKey(_)) => Found::Skip("there is no key".to_owned()),
        Error::Client(marketplace::Error::Client(_)) => Found::Fail(error.to_string(), link()),
        Error::Denied(Denied::Stopped(_)) if check == Check::Key => {
            let mend = format!(
                "{}; or, if the key was right all along, steward agents resume {name}",
                link()
            );
            Found::Fail(error.to_string(), mend)
        }
        Error::Denied(Denied::Stopped(_)) => Found::Skip("calls with this key are stopped".to_owned()),
        Error::Denied(Denied::Wait(_)) => Found::Fail(error.to_string(), "try again in a minute".to_owned()),
        Error::Denied(Denied::Failing(_) | Denied::Probe(_)) => Found::Fail(
            error.to_string(),
            format!(
                "it is asked again by itself; once it answers, steward agents resume {name} lets calls out at once"
            ),
        ),
        Error::Said(said) => {
            let fix = match said.verdict() {
                Verdict::Unauthorized => link(),
                Verdict::PlatformDown => format!("wait until it is back, then steward agents resume {name}"),
                Verdict::Retry { .. } | Verdict::Verify => "try again in a minute".to_owned(),
                _ => format!("steward agents readiness {name}"),
            };
            Found::Fail(error.to_string(), fix)
        }
        _ => return Err(error),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn clocks_more_than_a_minute_apart_are_a_failure_that_says_whose() {
        let now = Utc::now();
        let late = now - TimeDelta::seconds(90);
        assert!(matches!(compare(now, now, now), Found::Ok(_)));
        assert!(matches!(compare(now - TimeDelta::seconds(59), now, now), Found::Ok(_)));
        for (theirs, postgres, whose) in [(late, now, "marketplace"), (now, late, "Postgres")] {
            let Found::Fail(why, fix) = compare(theirs, postgres, now) else {
                panic!("{whose} must be told")
            };
            assert!(why.contains(whose) && fix.contains("NTP"), "{why}: {fix}");
        }
    }
}
