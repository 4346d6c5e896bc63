//! The marketplace's own log of the webhooks it sent, compared with the inbox: what never came is taken from there.
//!
//! Whether the log says that one got through does not matter: after a restore of the database even an acknowledged one
//! may be missing. The time up to which the log was compared lies in the same database, so it goes back with it.

use std::time::Duration;

use chrono::{DateTime, TimeDelta, Utc};
use clawgig::Collector;
use clawgig::wire::webhook::{DeliveryFilter, WebhookDelivery};
use store::delivery_log::{self, Compared};
use store::{inbox, notices, observations, run_tx};

use super::{Error, PAGES, Reader};
use crate::metrics::HEALED;
use crate::reads::is_newest_first;
use crate::wake::Topic;

/// Nothing older is taken from the log: the marketplace repeats a webhook for no longer either.
const OLDEST: TimeDelta = TimeDelta::hours(72);
/// Compared again each time: clocks differ, and a log may be written late.
const OVERLAP: TimeDelta = TimeDelta::minutes(5);
/// One logged this recently, whose end is not told, may still be on its way.
const UNDER_WAY: TimeDelta = TimeDelta::seconds(30);
/// Notices that the door fares badly.
const FAILING: &str = "webhooks_failing";
const SILENT: &str = "webhooks_silent";
/// Notice that the log is longer than what is read of it.
const CUT: &str = "delivery_log_cut";

/// What one walk saw.
#[derive(Debug, Default)]
struct Seen {
    compared: Compared,
    got_through: bool,
    /// The oldest that may still be on its way.
    young: Option<DateTime<Utc>>,
    /// Why the last one failed that did.
    failure: Option<String>,
}

impl Reader {
    /// Compares the log since the last safe time. Answers when to compare again.
    ///
    /// # Errors
    /// When the log cannot be read; what was healed before counts.
    pub async fn deliveries(&self, agent: &str) -> Result<Duration, Error> {
        let settings = &self.desk.config.reconcile;
        // Without a door nothing is sent.
        if settings.poll {
            return Ok(settings.deliveries_every);
        }
        let Some(client) = self.client(agent).await? else {
            return Ok(settings.deliveries_every);
        };
        let begun = observations::clock(&self.desk.store).await?;
        let standing = delivery_log::standing(&self.desk.store, agent).await?;
        let oldest = begun - OLDEST;
        let safe_at = standing.map_or(oldest, |standing| standing.safe_at.max(oldest));
        let mut seen = Seen::default();
        let (mut skipped, mut over) = (0, false);
        let mut walk = Collector::<WebhookDelivery>::default();
        for _ in 0..PAGES {
            let Some(offset) = walk.next_offset() else { break };
            let filter = DeliveryFilter {
                since: Some(safe_at - OVERLAP),
                offset,
                ..DeliveryFilter::default()
            };
            let ask = || client.list_deliveries_page(&filter);
            let page = self.page(agent, "webhook deliveries", ask).await?;
            let since = safe_at - OVERLAP;
            let wanted: Vec<_> = page
                .items
                .iter()
                .filter(|one| one.created_at.is_none_or(|at| at >= since))
                .collect();
            self.compare(agent, &wanted, begun, &mut seen).await?;
            // A log that pays no heed to `since` ends where it is told newest first and nothing is wanted any more.
            let none_wanted = wanted.is_empty() && !page.items.is_empty();
            skipped += page.skipped;
            walk.add(page);
            over = none_wanted && is_newest_first(walk.items().iter().map(|one| one.created_at));
            if over {
                break;
            }
        }
        let whole = (over || walk.next_offset().is_none()) && skipped == 0;
        self.conclude(agent, (safe_at, begun), whole, &seen).await?;
        let troubled = seen.compared.healed > 0 || seen.compared.failing > 0;
        Ok(if troubled {
            settings.deliveries_every.min(settings.wakeful_every)
        } else {
            settings.deliveries_every
        })
    }

    /// Takes what is missing from one page of the log.
    async fn compare(
        &self,
        agent: &str,
        entries: &[&WebhookDelivery],
        begun: DateTime<Utc>,
        seen: &mut Seen,
    ) -> Result<(), Error> {
        let mut settled: Vec<(&str, &WebhookDelivery)> = Vec::new();
        for &entry in entries {
            let got_through = entry.success == Some(true);
            seen.got_through |= got_through;
            let ended = got_through || entry.status_code.is_some() || entry.error_message.is_some();
            let young = entry.created_at.filter(|at| begun - *at < UNDER_WAY);
            if let Some(at) = young.filter(|_| !ended) {
                seen.young = Some(seen.young.map_or(at, |oldest| oldest.min(at)));
                continue;
            }
            if entry.success == Some(false) {
                seen.compared.failing += 1;
                let status = entry.status_code.map(|status| format!("our answer was {status}"));
                seen.failure = entry.error_message.clone().or(status).or(seen.failure.take());
            }
            settled.push((entry.delivery_id.as_deref().unwrap_or(&entry.id), entry));
        }
        let healed = run_tx!(self.desk.store, "reconcile_deliveries", |tx| {
            let ids: Vec<&str> = settled.iter().map(|(id, _)| *id).collect();
            let missing = inbox::missing(tx, agent, &ids).await?;
            let mut healed = 0;
            for (id, entry) in settled.iter().filter(|(id, _)| missing.iter().any(|lost| lost == id)) {
                let Some(payload) = &entry.payload else {
                    // It cannot be taken in, but what it told can be read.
                    super::hasten_all(tx, agent, Duration::ZERO).await?;
                    continue;
                };
                let mut told = inbox::told(agent, id, payload.clone());
                told.sent_at = entry.created_at;
                healed += u32::from(inbox::heal(tx, &told).await?);
            }
            Ok(healed)
        })?;
        if healed > 0 {
            tracing::warn!(
                agent,
                healed,
                "webhooks that never came were taken from the marketplace's log"
            );
            metrics::counter!(HEALED).increment(u64::from(healed));
            self.desk.wake.wake(Topic::Intake);
        }
        seen.compared.healed += healed;
        Ok(())
    }

    /// Keeps how far the log was compared, and tells people how the door fares.
    async fn conclude(
        &self,
        agent: &str,
        (safe_at, begun): (DateTime<Utc>, DateTime<Utc>),
        whole: bool,
        seen: &Seen,
    ) -> Result<(), Error> {
        let silent = delivery_log::is_silent(&self.desk.store, agent).await?;
        // Of what was not compared or understood nothing is safe.
        let known_to = if whole {
            seen.young.unwrap_or(begun).min(begun - UNDER_WAY)
        } else {
            safe_at
        };
        run_tx!(self.desk.store, "reconcile_deliveries_kept", |tx| {
            delivery_log::keep(tx, agent, known_to, seen.compared).await?;
            if seen.compared.failing > 0 {
                let body = format!(
                    "{} webhooks to {agent} did not get through ({}); what they told was read instead",
                    seen.compared.failing,
                    seen.failure.as_deref().unwrap_or("no reason is given"),
                );
                notices::raise(tx, FAILING, agent, &body).await?;
                super::hasten_all(tx, agent, self.desk.config.reconcile.wakeful_every).await?;
            } else if seen.got_through {
                notices::resolve(tx, FAILING, agent).await?;
            }
            if silent {
                let body = format!(
                    "no webhook to {agent} came for a day, though gigs were posted: see where the marketplace sends them"
                );
                notices::raise(tx, SILENT, agent, &body).await?;
                super::hasten_all(tx, agent, self.desk.config.reconcile.wakeful_every).await?;
            } else {
                notices::resolve(tx, SILENT, agent).await?;
            }
            if whole {
                notices::resolve(tx, CUT, agent).await?;
            } else {
                let body = format!(
                    "not every webhook to {agent} in the marketplace's log could be compared with the inbox: there are too \
                     many, or some cannot be read"
                );
                notices::raise(tx, CUT, agent, &body).await?;
            }
            Ok(())
        })?;
        Ok(())
    }

    /// Whether reads have to find what webhooks should tell.
    pub(super) async fn is_wakeful(&self, agent: &str) -> Result<bool, Error> {
        if self.desk.config.reconcile.poll {
            return Ok(true);
        }
        let standing = delivery_log::standing(&self.desk.store, agent).await?;
        let failing = standing.is_some_and(|standing| standing.failing > 0);
        Ok(failing || delivery_log::is_silent(&self.desk.store, agent).await?)
    }

    /// How long until the next read of something that is usually read every `usual`.
    pub(super) async fn every(&self, agent: &str, usual: Duration) -> Result<Duration, Error> {
        let wakeful = self.is_wakeful(agent).await?;
        let settings = &self.desk.config.reconcile;
        Ok(if wakeful {
            usual.min(settings.wakeful_every)
        } else {
            usual
        })
    }
}
