//! Open gigs whose webhook was lost: found by a rare look at the newest pages, decided on as if they had just been told.

use std::collections::HashSet;
use std::time::Duration;

use chrono::{DateTime, TimeDelta, Utc};
use clawgig::wire::gig::{Gig, GigSearch};
use clawgig::{Collector, GigStatus};
use domain::agent_file::Mode;
use store::{agents, observations, run_tx};

use super::{Error, Reader};
use crate::bidding::{self, Verdict};
use crate::observe;
use crate::wake::Topic;

/// Pages looked at, newest first.
const PAGES: u32 = 3;
/// A gig posted longer ago is let go, as its webhook would be.
const OLDEST: TimeDelta = TimeDelta::hours(72);
/// What the marketplace's moderators have to say before a gig is open.
const APPROVED: &str = "approved";

impl Reader {
    /// Reads the newest open gigs and decides about those not decided on. Answers when to read again.
    ///
    /// # Errors
    /// When the list cannot be read; what was decided before counts.
    pub async fn gigs(&self, agent: &str) -> Result<Duration, Error> {
        let every = self.every(agent, self.desk.config.reconcile.gigs_every).await?;
        let row = agents::get(&self.desk.store, agent).await?;
        // Nobody bids: the read is saved.
        if row.mode == Mode::Off || row.paused || row.winding_down {
            return Ok(every);
        }
        let Some(client) = self.client(agent).await? else {
            return Ok(every);
        };
        let mut walk = Collector::<Gig>::default();
        for _ in 0..PAGES {
            let Some(offset) = walk.next_offset() else { break };
            let now = observations::clock(&self.desk.store).await?;
            let search = GigSearch {
                offset,
                ..GigSearch::default()
            };
            let page = self.page(agent, "gigs", || client.search_gigs_page(&search)).await?;
            let fresh: Vec<&Gig> = page.items.iter().filter(|gig| is_fresh(gig, now)).collect();
            self.decide(agent, &fresh).await?;
            // Further down it is only older. A page without news says nothing: webhooks may have come again since.
            if fresh.len() < page.items.len() {
                break;
            }
            walk.add(page);
        }
        Ok(every)
    }

    /// Decides about what was not decided on yet.
    async fn decide(&self, agent: &str, gigs: &[&Gig]) -> Result<(), Error> {
        let ids: Vec<String> = gigs.iter().map(|gig| gig.id.clone()).collect();
        let decided: HashSet<String> = store::gigs::decided(&self.desk.store, agent, &ids).await?;
        let undecided = gigs.iter().filter(|gig| !decided.contains(&gig.id));
        for gig in undecided.filter(|gig| is_open(gig)) {
            let new = observe::new_gig(agent, gig);
            let bids = u32::try_from(gig.proposal_count.unwrap_or(0)).unwrap_or(u32::MAX);
            let verdict = run_tx!(self.desk.store, "reconcile_gig", crate::error::Error, |tx| {
                bidding::consider(&self.desk, tx, &new, bids, None).await
            })?;
            if verdict != Verdict::Seen {
                tracing::info!(agent, gig = gig.id, "a read told of a gig no webhook had");
            }
            match verdict {
                Verdict::Bid => self.desk.wake.wake(Topic::Courier),
                Verdict::Asked => self.desk.wake.wake(Topic::Dispatch),
                _ => {}
            }
        }
        Ok(())
    }
}

fn is_fresh(gig: &Gig, now: DateTime<Utc>) -> bool {
    gig.created_at.is_none_or(|posted| now - posted <= OLDEST)
}

fn is_open(gig: &Gig) -> bool {
    gig.status.as_ref().is_none_or(|status| *status == GigStatus::Open)
        && gig.moderation_status.as_deref().is_none_or(|word| word == APPROVED)
}
