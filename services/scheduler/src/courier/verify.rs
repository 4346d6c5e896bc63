//! Verifying what may have happened, by reads.

use std::time::Duration;

use chrono::{DateTime, Utc};
use clawgig::wire::Read;
use clawgig::wire::contract::{Message, Sender};
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
/// A message of ours is looked for among those written since this long before it was wished for.
const WINDOW: chrono::Duration = chrono::Duration::minutes(10);

/// What a read says of an effect.
pub(super) enum Found {
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
        if due.kind == Kind::Propose {
            return self.verify_bids(due, held).await;
        }
        // Long enough for most reads; if this process dies, somebody looks again afterwards. A walk that takes longer may
        // be overtaken by another one: what is kept second is stale then, and counts nothing.
        let exclusive = self.verify_lease();
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
        let found = self.look(due.kind, &effect, held).await;
        self.keep_read(&effect, found).await
    }

    /// Nobody else looks for an effect for this long once somebody began.
    pub(super) fn verify_lease(&self) -> Duration {
        self.desk.config.marketplace.request_timeout * 8
    }

    /// Keeps what a read said, unless the effect moved on meanwhile.
    pub(super) async fn keep_read(&self, effect: &Effect, found: Found) -> Result<&'static str, Error> {
        let kept = match found {
            Found::Present(what) => self.keep_found(effect, &what).await,
            Found::Absent => self.keep_absent(effect).await,
            Found::Never(why) => self.keep_impossible(effect, &why).await,
            Found::Nothing(why) => self.keep_unverified(effect, &why).await,
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
            Kind::Deliver => find_delivery(&mut reads, &client, effect).await,
            Kind::Message => find_message(&mut reads, &client, effect).await,
            // These are sent again freely and never become unknown.
            Kind::Upload | Kind::Settle | Kind::Confirm => Found::Absent,
            Kind::Propose => Found::Nothing("bids are looked for together".to_owned()),
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

    /// Walks through a list until something is `wanted`. `None` only when the whole list was read and does not hold it.
    ///
    /// # Errors
    /// Why the walk proves nothing.
    pub async fn search<T: Read, F>(
        &mut self,
        of: &str,
        page: impl Fn(u64) -> F,
        wanted: impl Fn(&T) -> bool,
    ) -> Result<Option<T>, Missed>
    where
        F: Future<Output = Result<Reply<Page<T>>, clawgig::Error>>,
    {
        let mut walk = self.walk(of, page, |read| read.iter().any(&wanted)).await;
        match walk.items.iter().position(&wanted) {
            Some(place) => Ok(Some(walk.items.swap_remove(place))),
            None => walk.end.map(|()| None),
        }
    }

    /// Walks through a list until `enough` of it was read.
    pub async fn walk<T: Read, F>(
        &mut self,
        of: &str,
        page: impl Fn(u64) -> F,
        enough: impl Fn(&[T]) -> bool,
    ) -> Walk<T>
    where
        F: Future<Output = Result<Reply<Page<T>>, clawgig::Error>>,
    {
        let mut collector = Collector::default();
        let mut skipped = 0;
        let mut end = None;
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
            let page = match reads::page(terms, self.first.take(), || page(offset)).await {
                Ok(page) => page,
                Err(missed) => {
                    end = Some(Err(missed.into()));
                    break;
                }
            };
            skipped += page.skipped;
            collector.add(page);
            if enough(collector.items()) {
                end = (skipped == 0).then_some(Ok(()));
                break;
            }
        }
        let cut = || Missed {
            why: format!("the list of {of} could not be read whole"),
            away: false,
        };
        match collector.finish() {
            Ok(items) => Walk {
                items,
                end: end.unwrap_or(Ok(())),
            },
            Err(items) => Walk {
                items,
                end: end.unwrap_or_else(|| Err(cut())),
            },
        }
    }
}

/// What was read of a list.
pub(super) struct Walk<T> {
    /// Each once, in the server's order.
    pub items: Vec<T>,
    /// Whether all was read that was wanted: else what is not there may be all the same.
    pub end: Result<(), Missed>,
}

/// Why a read says nothing.
pub(super) struct Missed {
    pub why: String,
    /// Nobody was there to ask.
    pub away: bool,
}

impl<T> Walk<T> {
    /// Nothing could be read.
    pub fn nothing(why: String) -> Self {
        Self {
            items: Vec::new(),
            end: Err(Missed { why, away: false }),
        }
    }
}

impl From<reads::Missed> for Missed {
    fn from(missed: reads::Missed) -> Self {
        match missed {
            reads::Missed::Denied(denied) => Self::denied(&denied),
            reads::Missed::Failed(error) => Self::failed(&error),
        }
    }
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
        )
        .await;
    match found {
        Ok(Some(_message)) => Found::Present(Happened::Sent { text: wanted.text }),
        Ok(None) => Found::Absent,
        Err(missed) => Found::Nothing(missed.why),
    }
}
