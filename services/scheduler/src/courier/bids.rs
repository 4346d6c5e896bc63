//! Verifying bids: an agent's list of proposals is long, so one walk through it tells of all whose answers were lost.

use std::collections::HashMap;

use chrono::{DateTime, TimeDelta, Utc};
use clawgig::wire::gig::Proposal;
use domain::effect::{Class, Kind};
use store::effects::{self, Due, Effect};

use super::Courier;
use super::outcome::Happened;
use super::verify::{Found, Reads, Walk};
use crate::budget::Held;
use crate::error::Error;
use crate::payload;
use crate::reads::is_newest_first;

/// Bids one walk looks for at most.
const TOGETHER: i64 = 500;
/// A bid of ours is looked for among those made since this long before it was wished for: clocks differ.
const CLOCKS: TimeDelta = TimeDelta::minutes(2);

/// A bid that is looked for, and the gig it was made for; or why that cannot be told.
type Wanted = (Effect, Result<String, String>);

impl Courier {
    /// Looks for all bids of an agent whose fate is not known. Answers a word for metrics.
    pub(super) async fn verify_bids(&self, due: &Due, held: Option<Held>) -> Result<&'static str, Error> {
        let lease = self.verify_lease();
        let taken = store::run_tx!(self.desk.store, "courier_verify_bids", |tx| {
            effects::begin_verifying_all(tx, (&due.agent, Kind::Propose), TOGETHER, lease).await
        })?;
        if taken.is_empty() {
            if let Some(held) = held {
                self.budget.give_back(held).await;
            }
            return Ok("taken");
        }
        let bids: Vec<Wanted> = taken.into_iter().map(with_gig).collect();
        let walk = self.walk_proposals(&due.agent, &bids, held).await;
        let made: HashMap<&str, &Proposal> = of_gigs(&walk.items);
        let mut word = "taken";
        for (bid, gig) in &bids {
            let found = match (gig, &walk.end) {
                (Err(why), _) => Found::Nothing(why.clone()),
                (Ok(gig), end) => match (made.get(gig.as_str()), end) {
                    (Some(proposal), _) => Found::Present(Happened::Proposed {
                        external_id: Some(proposal.id.clone()),
                    }),
                    (None, Ok(())) => Found::Absent,
                    (None, Err(missed)) => Found::Nothing(missed.why.clone()),
                },
            };
            let kept = self.keep_read(bid, found).await?;
            if bid.id == due.id {
                word = kept;
            }
        }
        Ok(word)
    }

    async fn walk_proposals(&self, agent: &str, bids: &[Wanted], held: Option<Held>) -> Walk<Proposal> {
        let client = match self.market.client(agent).await {
            Ok(client) => client,
            Err(error) => return Walk::nothing(error.to_string()),
        };
        let mut reads = Reads {
            courier: self,
            agent,
            class: Class::Propose,
            first: held,
        };
        let oldest = bids.iter().map(|(bid, _)| bid.created_at).min();
        let horizon = oldest.unwrap_or_default() - CLOCKS;
        let enough = |read: &[Proposal]| is_older(read, horizon) || is_complete(bids, read);
        reads
            .walk("proposals", |offset| client.list_proposals_page(offset), enough)
            .await
    }
}

fn with_gig(bid: Effect) -> Wanted {
    let gig = payload::read(&bid.payload).map(|bid: payload::Propose| bid.gig_external_id);
    (bid, gig)
}

fn of_gigs(proposals: &[Proposal]) -> HashMap<&str, &Proposal> {
    proposals
        .iter()
        .filter_map(|proposal| Some((proposal.gig_id.as_deref()?, proposal)))
        .collect()
}

fn is_complete(bids: &[Wanted], read: &[Proposal]) -> bool {
    let made = of_gigs(read);
    bids.iter()
        .all(|(_, gig)| gig.as_ref().is_ok_and(|gig| made.contains_key(gig.as_str())))
}

/// Whether a list that is told newest first has come to what is older than `horizon`: a proposal is sent once for each
/// gig at most, whatever this says, so that the order is trusted.
fn is_older(read: &[Proposal], horizon: DateTime<Utc>) -> bool {
    let oldest = read.last().and_then(|proposal| proposal.created_at);
    is_newest_first(read.iter().map(|proposal| proposal.created_at)) && oldest.is_some_and(|oldest| oldest < horizon)
}

#[cfg(test)]
mod tests {
    use clawgig::ProposalStatus;

    use super::*;

    fn listed(minutes: &[Option<i64>]) -> Vec<Proposal> {
        let proposal = |(place, at): (usize, &Option<i64>)| Proposal {
            id: place.to_string(),
            gig_id: None,
            agent_id: None,
            cover_letter: None,
            amount_micro: None,
            status: ProposalStatus::Pending,
            created_at: at.map(|at| DateTime::UNIX_EPOCH + TimeDelta::minutes(at)),
        };
        minutes.iter().enumerate().map(proposal).collect()
    }

    #[test]
    fn the_rest_of_a_list_is_left_out_only_when_it_can_only_be_older() {
        let horizon = DateTime::UNIX_EPOCH + TimeDelta::minutes(10);
        let is_over = |minutes: &[Option<i64>]| is_older(&listed(minutes), horizon);
        assert!(is_over(&[Some(30), Some(11), Some(9)]));
        assert!(!is_over(&[Some(30), Some(11), Some(10)]), "not old enough");
        assert!(!is_over(&[Some(9), Some(30)]), "told in another order");
        assert!(!is_over(&[Some(30), None, Some(9)]), "no time, no order");
        assert!(!is_over(&[]));
    }
}
