//! Verifying what may have happened, by reads.

use std::time::Duration;

use chrono::{DateTime, Utc};
use clawgig::wire::contract::{Message, Sender};
use clawgig::wire::gig::Proposal;
use clawgig::{Client, Collector, ContractStatus, Page, Reply};
use domain::effect::{Class, Kind};
use store::effects::{self, Due, Effect};

use super::Courier;
use super::outcome::{Happened, Outcome};
use super::send::{marker, sent_as};
use crate::budget::{Denied, Held};
use crate::error::Error;
use crate::payload;
use crate::reads::{self, Terms};

/// Pages of a list one read walks through at most.
const PAGES: u64 = 40;
/// A walk that has begun waits this long for its next page at least.
const WALK: Duration = Duration::from_secs(10);
/// A bid of ours is looked for among those made since this long before it was wished for: clocks differ.
const CLOCKS: chrono::Duration = chrono::Duration::minutes(2);
/// A message of ours is looked for among those written since this long before it was wished for.
const WINDOW: chrono::Duration = chrono::Duration::minutes(10);

/// What a read says of an effect.
enum Found {
    Present(Happened),
    Absent,
    /// It did not happen and no longer can.
    Never(String),
    /// The read failed or was cut short: it says nothing.
    Nothing(String),
}

impl Courier {
    /// Takes an unknown effect and looks for it on the platform. Answers a word for metrics.
    pub(super) async fn verify(&self, due: &Due, held: Option<Held>) -> Result<&'static str, Error> {
        // Long enough for most reads; if this process dies, somebody looks again afterwards. A walk that takes longer may
        // be overtaken by another one: what is kept second is stale then, and counts nothing.
        let exclusive = self.desk.config.marketplace.request_timeout * 8;
        let taken = store::run_tx!(self.desk.store, "courier_verify", |tx| {
            effects::begin_verifying(tx, due.id, exclusive).await
        })?;
        let Some(effect) = taken else {
            if let Some(held) = held {
                self.budget.give_back(held).await;
            }
            return Ok("taken");
        };
        if let Some(parent) = &effect.traceparent {
            telemetry::set_parent(&tracing::Span::current(), parent);
        }
        let kept = match self.look(due.kind, &effect, held).await {
            Found::Present(what) => self.keep_found(&effect, &what).await,
            Found::Absent => self.keep_absent(&effect).await,
            Found::Never(why) => self.keep_impossible(&effect, &why).await,
            Found::Nothing(why) => self.keep_unverified(&effect, &why).await,
        };
        match kept {
            Err(Error::Store(store::Error::Stale { .. })) => {
                tracing::info!("what a read told of an effect is stale: it moved on meanwhile");
                Ok("stale")
            }
            other => other,
        }
    }

    async fn look(&self, kind: Kind, effect: &Effect, held: Option<Held>) -> Found {
        let client = match self.market.client(&effect.agent).await {
            Ok(client) => client,
            Err(error) => return Found::Nothing(error.to_string()),
        };
        let class = kind.class().unwrap_or(Class::Confirm);
        let mut reads = Reads {
            courier: self,
            agent: &effect.agent,
            class,
            first: held,
        };
        match kind {
            Kind::Propose => find_proposal(&mut reads, &client, effect).await,
            Kind::Deliver => find_delivery(&mut reads, &client, effect).await,
            Kind::Message => find_message(&mut reads, &client, effect).await,
            // These are sent again freely and never become unknown.
            Kind::Upload | Kind::Settle | Kind::Confirm => Found::Absent,
        }
    }
}

/// Grants for the reads of one verification: the first was taken by the round.
pub(super) struct Reads<'a> {
    pub courier: &'a Courier,
    pub agent: &'a str,
    pub class: Class,
    pub first: Option<Held>,
}

impl Reads<'_> {
    /// A fresh grant for the next read.
    pub async fn next(&mut self) -> Result<(), Denied> {
        if self.first.take().is_some_and(|held| held.is_fresh()) {
            return Ok(());
        }
        let patience = self.courier.desk.config.marketplace.request_timeout;
        self.courier
            .budget
            .take_waiting(self.agent, self.class, patience)
            .await
            .map(drop)
    }

    /// Walks through a list until something is `wanted`. `None` only when the whole list was read and does not hold it, or
    /// when the `rest` of it can only be older.
    ///
    /// # Errors
    /// Why the walk proves nothing.
    pub async fn search<T: clawgig::wire::Read, F>(
        &mut self,
        of: &str,
        page: impl Fn(u64) -> F,
        wanted: impl Fn(&T) -> bool,
        rest: impl Fn(&[T]) -> bool,
    ) -> Result<Option<T>, Missed>
    where
        F: Future<Output = Result<Reply<Page<T>>, clawgig::Error>>,
    {
        let mut collector = Collector::default();
        let mut skipped = 0;
        for _ in 0..PAGES {
            let Some(offset) = collector.next_offset() else { break };
            let settings = &self.courier.desk.config;
            let terms = Terms {
                budget: &self.courier.budget,
                agent: self.agent,
                class: self.class,
                patience: settings.marketplace.request_timeout.max(WALK),
                pause: settings.courier.first_pause,
            };
            let read = reads::page(terms, self.first.take(), || page(offset)).await;
            let mut page = read.map_err(|missed| match missed {
                reads::Missed::Denied(denied) => Missed::denied(&denied),
                reads::Missed::Failed(error) => Missed::failed(&error),
            })?;
            if let Some(place) = page.items.iter().position(&wanted) {
                return Ok(Some(page.items.swap_remove(place)));
            }
            skipped += page.skipped;
            collector.add(page);
            if skipped == 0 && rest(collector.items()) {
                return Ok(None);
            }
        }
        match collector.finish() {
            Ok(_all) => Ok(None),
            Err(_part) => Err(Missed {
                why: format!("the list of {of} could not be read whole"),
                away: false,
            }),
        }
    }
}

/// Why a read says nothing.
pub(super) struct Missed {
    pub why: String,
    /// Nobody was there to ask.
    pub away: bool,
}

impl Missed {
    pub fn denied(denied: &Denied) -> Self {
        Self {
            why: denied.to_string(),
            away: true,
        }
    }

    pub fn failed(error: &clawgig::Error) -> Self {
        Self {
            why: error.reason(),
            away: matches!(Outcome::of_error(error), Outcome::Away { .. }),
        }
    }

    pub fn outcome(self) -> Outcome {
        let Self { why, away } = self;
        if away {
            Outcome::Away { why, pause: None }
        } else {
            Outcome::NotDone(why)
        }
    }
}

async fn find_proposal(reads: &mut Reads<'_>, client: &Client, effect: &Effect) -> Found {
    let wanted: payload::Propose = match payload::read(&effect.payload) {
        Ok(wanted) => wanted,
        Err(why) => return Found::Nothing(why),
    };
    let found = reads
        .search(
            "proposals",
            |offset| client.list_proposals_page(offset),
            |proposal: &Proposal| proposal.gig_id.as_deref() == Some(&wanted.gig_external_id),
            |read: &[Proposal]| is_older(read, effect.created_at - CLOCKS),
        )
        .await;
    match found {
        Ok(Some(proposal)) => Found::Present(Happened::Proposed {
            external_id: Some(proposal.id),
        }),
        Ok(None) => Found::Absent,
        Err(missed) => Found::Nothing(missed.why),
    }
}

async fn find_delivery(reads: &mut Reads<'_>, client: &Client, effect: &Effect) -> Found {
    let wanted: payload::Deliver = match payload::read(&effect.payload) {
        Ok(wanted) => wanted,
        Err(why) => return Found::Nothing(why),
    };
    let contract = match reads
        .courier
        .find_contract(reads, client, &wanted.contract_external_id)
        .await
    {
        Ok(Some(contract)) => contract,
        Ok(None) => return Found::Nothing("the contract is not in the list".to_owned()),
        Err(missed) => return Found::Nothing(missed.why),
    };
    let past_delivery = matches!(
        contract.status,
        ContractStatus::Delivered | ContractStatus::Approved | ContractStatus::Disputed
    );
    let ours = match &contract.delivery_notes {
        Some(notes) => notes.contains(&marker(effect)),
        // The list shows no notes: for the first delivery the status alone is proof.
        None => wanted.revision_no == 0,
    };
    if ours && (past_delivery || contract.delivery_notes.is_some()) {
        return Found::Present(Happened::Delivered {
            revision_no: wanted.revision_no,
        });
    }
    match contract.status {
        ContractStatus::Active | ContractStatus::Funded | ContractStatus::RevisionRequested => Found::Absent,
        ContractStatus::Delivered => Found::Absent,
        ContractStatus::Approved | ContractStatus::Cancelled | ContractStatus::Disputed => {
            Found::Never(format!("the contract is {} without it", contract.status.as_str()))
        }
        other => Found::Nothing(format!("the contract is {}", other.as_str())),
    }
}

/// No part of the list is left out.
pub(super) fn whole<T>(_read: &[T]) -> bool {
    false
}

/// Whether a list that is told newest first has come to what is older than `horizon`: a proposal is sent once for each
/// gig at most, whatever this says, so that the order is trusted.
fn is_older(read: &[Proposal], horizon: DateTime<Utc>) -> bool {
    let times: Option<Vec<DateTime<Utc>>> = read.iter().map(|proposal| proposal.created_at).collect();
    times.is_some_and(|times| {
        times.is_sorted_by(|one, next| one >= next) && times.last().is_some_and(|oldest| *oldest < horizon)
    })
}

async fn find_message(reads: &mut Reads<'_>, client: &Client, effect: &Effect) -> Found {
    let wanted: payload::Message = match payload::read(&effect.payload) {
        Ok(wanted) => wanted,
        Err(why) => return Found::Nothing(why),
    };
    let sent = sent_as(&wanted.text);
    let since: DateTime<Utc> = effect.created_at - WINDOW;
    let found = reads
        .search(
            "messages",
            |offset| client.list_messages_page(&wanted.contract_external_id, offset),
            |message: &Message| {
                message.content.trim() == sent.trim()
                    && !matches!(message.sender, Sender::Client(_))
                    && message.created_at.is_none_or(|at| at >= since)
            },
            whole,
        )
        .await;
    match found {
        Ok(Some(_message)) => Found::Present(Happened::Sent { text: wanted.text }),
        Ok(None) => Found::Absent,
        Err(missed) => Found::Nothing(missed.why),
    }
}

#[cfg(test)]
mod tests {
    use chrono::TimeDelta;
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
