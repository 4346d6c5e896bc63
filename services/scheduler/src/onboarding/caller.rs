//! A call that somebody waits for: a grant, the request, what is learned from it.

use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use clawgig::wire::webhook::WebhookConfig;
use clawgig::{Client, Family, Reply};
use domain::effect::Class;

use super::Error;
use crate::budget::{Budget, Denied, Held};
use crate::desk::Desk;
use crate::marketplace::Marketplace;

/// How long somebody waits for a grant.
const PATIENCE: Duration = Duration::from_secs(25);

/// A call that changes something: as important as a bid, and never the one that shows whether a marketplace that kept
/// failing works again.
pub const WRITE: Class = Class::Propose;

/// Calls the marketplace for an agent, inside its request budget. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Caller {
    /// What the process works with.
    pub desk: Arc<Desk>,
    market: Arc<Marketplace>,
    budget: Budget,
}

impl Caller {
    /// Over these clients.
    #[must_use]
    pub fn new(desk: Arc<Desk>, market: Arc<Marketplace>) -> Self {
        let budget = Budget::new(Arc::clone(&desk));
        Self { desk, market, budget }
    }

    /// A client without a key: registration and the public reads. Reads with it count by address, not by key.
    ///
    /// # Errors
    /// When the configured address is none.
    pub fn public(&self) -> Result<Client, Error> {
        Ok(self.market.public()?)
    }

    /// The platform, as the breaker of all keys is named.
    #[must_use]
    pub fn host(&self) -> &str {
        self.budget.host()
    }

    /// A grant for a call of this agent.
    ///
    /// # Errors
    /// [`Error::Denied`] when there is none soon.
    pub async fn grant(&self, agent: &str, class: Class) -> Result<Held, Error> {
        // A marketplace that keeps failing is said at once, and not waited for at each call.
        match self.budget.take(agent, class).await {
            Ok(held) => Ok(held),
            Err(Denied::Wait(_)) => Ok(self.budget.take_waiting(agent, class, PATIENCE).await?),
            Err(Denied::Probe(held)) => {
                self.budget.give_back(held).await;
                Err(Denied::Failing(Duration::from_secs(1)).into())
            }
            Err(denied) => Err(denied.into()),
        }
    }

    /// Notes how a call went that was made under a grant: whatever came back, that one is spent.
    pub async fn learn<T>(&self, agent: &str, held: Held, answer: &Result<Reply<T>, clawgig::Error>) {
        drop(held);
        self.budget.learn(agent, answer).await;
    }

    /// Makes one call with the agent's key, and a second one when the first told that the other family of paths is spoken.
    ///
    /// # Errors
    /// [`Error`].
    pub async fn ask<T, F, A>(&self, agent: &str, class: Class, call: F) -> Result<Reply<T>, Error>
    where
        F: Fn(Client) -> A,
        A: Future<Output = Result<Reply<T>, clawgig::Error>>,
    {
        let client = self.market.client(agent).await?;
        let before = client.family();
        match self.once(agent, class, &client, &call).await {
            Err(Error::Said(error)) if error.is_unknown_path() && client.family() != before => {
                self.once(agent, class, &client, &call).await
            }
            other => other,
        }
    }

    /// Where webhooks go, as the marketplace says.
    ///
    /// # Errors
    /// [`Error`].
    pub async fn webhook_config(&self, agent: &str) -> Result<WebhookConfig, Error> {
        let read = |client: Client| async move { client.webhook_config().await };
        Ok(self.ask(agent, Class::Confirm, read).await?.value)
    }

    /// Makes a call that changes something: the family of paths is found first, by reads.
    ///
    /// # Errors
    /// [`Error`].
    pub async fn write<T, F, A>(&self, agent: &str, call: F) -> Result<Reply<T>, Error>
    where
        F: Fn(Client) -> A,
        A: Future<Output = Result<Reply<T>, clawgig::Error>>,
    {
        let client = self.settled(agent).await?;
        self.once(agent, WRITE, &client, &call).await
    }

    /// The agent's client, its family of paths found.
    ///
    /// # Errors
    /// [`Error`].
    pub async fn settled(&self, agent: &str) -> Result<Client, Error> {
        let client = self.market.client(agent).await?;
        for family in Family::ALL {
            if client.family().is_some() {
                break;
            }
            self.once(agent, Class::Confirm, &client, &|client: Client| async move {
                client.probe_family(family).await
            })
            .await?;
        }
        Ok(client)
    }

    async fn once<T, F, A>(&self, agent: &str, class: Class, client: &Client, call: &F) -> Result<Reply<T>, Error>
    where
        F: Fn(Client) -> A,
        A: Future<Output = Result<Reply<T>, clawgig::Error>>,
    {
        let held = self.grant(agent, class).await?;
        let answer = call(client.clone()).await;
        self.learn(agent, held, &answer).await;
        Ok(answer?)
    }
}
