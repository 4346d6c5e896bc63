//! Reading what no webhook told: the agent's contracts and proposals, and what was sent with messages, page by page,
//! inside the request budget.
//!
//! A walk ends early once everything open here was seen and a page brought nothing new, so that its cost does not grow
//! with history.

use std::collections::HashSet;
use std::sync::Arc;
use std::time::Duration;

use chrono::{DateTime, Utc};
use clawgig::wire::{contract::Contract, gig::Proposal};
use clawgig::{Client, Collector, Page, ProposalStatus, Reply};
use domain::contract::Wish;
use domain::effect::Class;
use domain::proposal::State;
use store::{contracts as rows, observations, proposals, run_tx};
use uuid::Uuid;

use crate::budget::{Budget, Denied};
use crate::desk::Desk;
use crate::marketplace::{self, Marketplace};
use crate::observe;
use crate::onboarding::Caller;
use crate::reads::{self, Missed, Terms};
use crate::wake::Topic;

mod deliveries;
mod gigs;
mod messages;
mod news;

/// The duty of reading an agent's contracts; its key is the agent's name.
pub const CONTRACTS: &str = "reconcile_contracts";
/// The duty of reading an agent's proposals.
pub const PROPOSALS: &str = "reconcile_proposals";
/// The duty of reading what was sent with messages; its key is the agent's name.
pub const MESSAGES: &str = "reconcile_messages";
/// The duty of reading open gigs.
pub const GIGS: &str = "reconcile_gigs";
/// The duty of comparing the marketplace's log of webhooks with the inbox.
pub const DELIVERIES: &str = "reconcile_deliveries";
/// Pages of one walk.
const PAGES: u32 = 40;
/// Open rows compared with one walk.
const MOST_OPEN: i64 = 2000;

/// Has everything webhooks usually tell read within this time.
///
/// # Errors
/// When an update fails.
pub async fn hasten_all(tx: &mut store::Tx, agent: &str, within: Duration) -> Result<(), store::Error> {
    for duty in [CONTRACTS, PROPOSALS, MESSAGES, GIGS] {
        store::duties::hasten(tx, duty, agent, within).await?;
    }
    Ok(())
}

/// Why a walk ended early.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The store said no, or is away.
    #[error(transparent)]
    Store(#[from] store::Error),
    /// A step could not be taken.
    #[error(transparent)]
    Step(#[from] crate::error::Error),
    /// No request may be made.
    #[error(transparent)]
    Denied(#[from] Denied),
    /// The agent's client cannot be made.
    #[error(transparent)]
    Client(#[from] marketplace::Error),
    /// Billing did not answer.
    #[error("ask billing: {0}")]
    Billing(String),
    /// The marketplace did not answer as asked.
    #[error("reading the list of {what} failed: {why}")]
    Read {
        /// Which list.
        what: &'static str,
        /// What it said.
        why: String,
    },
}

/// Walks through the lists of agents.
#[derive(Debug)]
pub struct Reader {
    desk: Arc<Desk>,
    market: Arc<Marketplace>,
    budget: Budget,
}

impl Reader {
    /// Puts the parts together.
    #[must_use]
    pub fn new(desk: Arc<Desk>, market: Arc<Marketplace>) -> Self {
        let budget = Budget::new(Arc::clone(&desk));
        Self { desk, market, budget }
    }

    /// The same hands for other reads.
    #[must_use]
    pub fn caller(&self) -> Caller {
        Caller::new(Arc::clone(&self.desk), Arc::clone(&self.market))
    }

    /// Reads an agent's contracts and takes a step for each. Answers when to read again.
    ///
    /// # Errors
    /// When the list cannot be read; what was read before counts.
    pub async fn contracts(&self, agent: &str) -> Result<Duration, Error> {
        let settings = &self.desk.config.reconcile;
        let Some(client) = self.client(agent).await? else {
            return Ok(settings.contracts_idle_every);
        };
        let open = rows::open_of_agent(&self.desk.store, agent, MOST_OPEN).await?;
        let mut unseen: HashSet<String> = open.into_iter().map(|contract| contract.external_id).collect();
        let source = format!("read/{}", Uuid::now_v7());
        let mut walk = Collector::<Contract>::default();
        for _ in 0..PAGES {
            let Some(offset) = walk.next_offset() else { break };
            // Of a page that was asked for again it is the earlier time, which proves less.
            let sent_at = observations::clock(&self.desk.store).await?;
            let ask = || client.list_contracts_page(None, offset);
            let page = self.page(agent, "contracts", ask).await?;
            let mut news = false;
            for listed in &page.items {
                let open = unseen.remove(&listed.id);
                news |= open | self.observe(agent, listed, sent_at, &source).await?;
            }
            let whole = page.skipped == 0;
            walk.add(page);
            if unseen.is_empty() && !news && whole {
                break;
            }
        }
        let still_open = !rows::open_of_agent(&self.desk.store, agent, 1).await?.is_empty();
        if still_open {
            return Ok(settings.contracts_every);
        }
        self.every(agent, settings.contracts_idle_every).await
    }

    /// Takes the step of one listed contract. Answers whether it was news.
    async fn observe(
        &self,
        agent: &str,
        listed: &Contract,
        sent_at: DateTime<Utc>,
        source: &str,
    ) -> Result<bool, Error> {
        let wishes: Vec<Wish> = run_tx!(self.desk.store, "reconcile_contract", crate::error::Error, |tx| {
            observe::contract(tx, agent, listed, sent_at, source, None).await
        })?;
        if wishes.is_empty() {
            return Ok(false);
        }
        self.desk.wake.after(&wishes);
        Ok(true)
    }

    /// Reads an agent's proposals and takes the news of each. Answers when to read again.
    ///
    /// # Errors
    /// When the list cannot be read; what was read before counts.
    pub async fn proposals(&self, agent: &str) -> Result<Duration, Error> {
        let every = self.every(agent, self.desk.config.reconcile.proposals_every).await?;
        let mut unseen = proposals::open_gigs(&self.desk.store, agent, MOST_OPEN).await?;
        // Nothing that could have changed: the read is saved.
        if unseen.is_empty() {
            return Ok(every);
        }
        let Some(client) = self.client(agent).await? else {
            return Ok(every);
        };
        let mut walk = Collector::<Proposal>::default();
        for _ in 0..PAGES {
            let Some(offset) = walk.next_offset() else { break };
            let ask = || client.list_proposals_page(offset);
            let page = self.page(agent, "proposals", ask).await?;
            for listed in &page.items {
                if let Some(gig) = &listed.gig_id
                    && unseen.remove(gig)
                {
                    self.hear(agent, gig, listed).await?;
                }
            }
            walk.add(page);
            if unseen.is_empty() {
                break;
            }
        }
        Ok(every)
    }

    async fn hear(&self, agent: &str, gig: &str, listed: &Proposal) -> Result<(), Error> {
        let news = match &listed.status {
            ProposalStatus::Pending => State::Submitted,
            ProposalStatus::Accepted => State::Accepted,
            ProposalStatus::Rejected => State::Rejected,
            ProposalStatus::Withdrawn => State::Withdrawn,
            ProposalStatus::Unknown(_) => return Ok(()),
        };
        let moved = run_tx!(self.desk.store, "reconcile_proposal", |tx| {
            let Some(gig) = store::gigs::find(tx, agent, gig).await? else {
                return Ok(false);
            };
            let Some(proposal) = proposals::lock_of_gig(tx, gig.id).await? else {
                return Ok(false);
            };
            let moved = proposals::advance(tx, &proposal, &news, Some(&listed.id), None).await?;
            if moved && news == State::Accepted {
                store::duties::hasten(tx, CONTRACTS, agent, Duration::ZERO).await?;
            }
            Ok(moved)
        })?;
        if moved {
            tracing::info!(agent, gig, state = news.name(), "a read told what became of a proposal");
            self.desk.wake.wake(Topic::Duties);
        }
        Ok(())
    }

    /// The agent's client; `None` when it has no key yet.
    async fn client(&self, agent: &str) -> Result<Option<Client>, Error> {
        match self.market.client(agent).await {
            Ok(client) => Ok(Some(client)),
            Err(marketplace::Error::NoKey(_)) => Ok(None),
            Err(error) => Err(error.into()),
        }
    }

    async fn page<T, F>(&self, agent: &str, what: &'static str, ask: impl Fn() -> F) -> Result<Page<T>, Error>
    where
        F: Future<Output = Result<Reply<Page<T>>, clawgig::Error>>,
    {
        let terms = Terms {
            budget: &self.budget,
            agent,
            class: Class::Search,
            patience: self.desk.config.reconcile.deadline,
            pause: self.desk.config.courier.first_pause,
        };
        reads::page(terms, None, ask).await.map_err(|missed| match missed {
            Missed::Denied(denied) => denied.into(),
            Missed::Failed(error) => Error::Read {
                what,
                why: error.reason(),
            },
        })
    }
}
