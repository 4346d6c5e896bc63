//! The marketplace as the scheduler sees it: one client per agent, its statuses in the words of `domain`.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use clawgig::wire::contract::Contract;
use clawgig::{Client, ContractStatus};
use domain::contract::Status;
use secrecy::ExposeSecret as _;

use crate::desk::Desk;

/// Why there is no client for an agent.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The agent has no marketplace key yet.
    #[error("the agent {0} has no marketplace key: register it, or set one")]
    NoKey(String),
    /// The store said no, or is away.
    #[error(transparent)]
    Store(#[from] store::Error),
    /// The key or the address cannot be used.
    #[error(transparent)]
    Client(#[from] clawgig::Error),
}

/// Clients by agent.
#[derive(Debug)]
pub struct Marketplace {
    desk: Arc<Desk>,
    http: outbound::Client,
    clients: Mutex<HashMap<String, Cached>>,
}

#[derive(Debug, Clone)]
struct Cached {
    sealed: Vec<u8>,
    client: Client,
}

impl Marketplace {
    /// Prepares the HTTP client; calls nobody.
    ///
    /// # Errors
    /// When the machine has no usable TLS roots.
    pub fn new(desk: Arc<Desk>) -> anyhow::Result<Self> {
        // The operator wrote the address; it is not a stranger's.
        let http = clawgig::client::http(outbound::Guard::Any)
            .total_timeout(Some(desk.config.marketplace.request_timeout))
            .build()?;
        Ok(Self {
            desk,
            http,
            clients: Mutex::new(HashMap::new()),
        })
    }

    /// The client of an agent, with its present key.
    ///
    /// # Errors
    /// [`Error::NoKey`] before it is registered.
    pub async fn client(&self, agent: &str) -> Result<Client, Error> {
        let row = store::agents::get(&self.desk.store, agent).await?;
        let sealed = row.api_key_sealed.ok_or_else(|| Error::NoKey(agent.to_owned()))?;
        if let Some(cached) = self.clients().get(agent)
            && cached.sealed == sealed
        {
            return Ok(cached.client.clone());
        }
        let key = self.desk.marketplace_sealer.open(agent, &sealed)?;
        let base = self.desk.config.marketplace.base_url.as_str();
        let client = Client::new(base, Some(key.expose_secret().into()), self.http.clone())?;
        let cached = Cached {
            sealed,
            client: client.clone(),
        };
        self.clients().insert(agent.to_owned(), cached);
        Ok(client)
    }

    /// A client without a key.
    ///
    /// # Errors
    /// When the configured address is none.
    pub fn public(&self) -> Result<Client, Error> {
        let base = self.desk.config.marketplace.base_url.as_str();
        Ok(Client::new(base, None, self.http.clone())?)
    }

    fn clients(&self) -> std::sync::MutexGuard<'_, HashMap<String, Cached>> {
        self.clients.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// What a contract as listed says, in our words. `active` without an escrow proof is not money.
#[must_use]
pub fn status_of(contract: &Contract) -> Status {
    match &contract.status {
        ContractStatus::Active | ContractStatus::Funded if contract.is_funded() => Status::Funded,
        ContractStatus::Active | ContractStatus::Funded => Status::Unfunded,
        ContractStatus::Delivered => Status::Delivered,
        ContractStatus::RevisionRequested => Status::RevisionRequested,
        ContractStatus::Disputed => Status::Disputed,
        ContractStatus::Approved => Status::Approved,
        ContractStatus::Cancelled => Status::Cancelled,
        ContractStatus::Unknown(raw) => Status::Unknown(raw.clone()),
    }
}
