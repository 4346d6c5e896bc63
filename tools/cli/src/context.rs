//! Whom to ask, and with which token.

use std::future::Future;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, Result};
use rpc::auth::Credentials;
use rpc::v1;
use secrecy::SecretString;
use serde_json::Value;
use tokio::task::JoinSet;
use tonic::service::interceptor::InterceptedService;
use tonic::transport::Channel;
use tonic::{Response, Status};

use crate::args::Global;
use crate::env;
use crate::failure::Failure;
use crate::private;
use crate::up::home::Home;
use crate::up::stack_file;

/// Where a stack lies when nothing is said.
pub(crate) const USUAL_DIR: &str = ".steward";
/// How long one call may take; checking a large ledger is the slowest.
const PATIENCE: Duration = Duration::from_secs(60);
/// How long a call may take that makes calls of the marketplace itself, and waits for its turn.
const LONG_PATIENCE: Duration = Duration::from_secs(240);
/// How long connecting may take.
const CONNECT: Duration = Duration::from_secs(3);

/// The largest answer: a page of webhooks or a long log.
const LARGEST_ANSWER: usize = 64 * 1024 * 1024;

/// Where the services are and who asks.
#[derive(Debug)]
pub(crate) struct Access {
    /// The scheduler's addresses.
    pub(crate) scheduler: String,
    /// Billing's addresses.
    pub(crate) billing: Option<String>,
    /// The operator's token.
    pub(crate) token: SecretString,
    /// The local stack, where it is one.
    pub(crate) local: Option<(Home, Value)>,
}

impl Access {
    /// `--dir`, else `STEWARD_ENDPOINT`, else the usual folder.
    pub(crate) fn find(global: &Global) -> Result<Self> {
        match (&global.dir, &global.endpoint) {
            (Some(dir), _) => Self::local(dir),
            (None, Some(endpoint)) => Self::remote(endpoint, global.billing_endpoint.as_deref()),
            (None, None) => Self::local(Path::new(USUAL_DIR)),
        }
    }

    /// The stack of a folder.
    pub(crate) fn local(dir: &Path) -> Result<Self> {
        let (home, stack) = read_stack(dir)?;
        let grpc = |service: &str| {
            let replicas = stack["services"][service]["replicas"]
                .as_array()
                .cloned()
                .unwrap_or_default();
            let each: Vec<&str> = replicas.iter().filter_map(|one| one["grpc"].as_str()).collect();
            (!each.is_empty()).then(|| each.join(","))
        };
        let scheduler =
            grpc("scheduler").with_context(|| format!("{} names no scheduler", home.stack_file().display()))?;
        let token = stack["operator_token"].as_str().unwrap_or_default().to_owned();
        Ok(Self {
            scheduler,
            billing: grpc("billing"),
            token: token.into(),
            local: Some((home, stack)),
        })
    }

    fn remote(endpoint: &str, billing: Option<&str>) -> Result<Self> {
        let token = given_token()?;
        Ok(Self {
            scheduler: endpoint.to_owned(),
            billing: billing.map(str::to_owned),
            token: token.trim().to_owned().into(),
            local: None,
        })
    }

    /// Whether the stack is a simulated one, where that is known.
    pub(crate) fn simulated(&self) -> Option<bool> {
        let (_, stack) = self.local.as_ref()?;
        stack["mode"].as_str().map(|mode| mode == "simulated")
    }

    /// The scheduler.
    pub(crate) async fn scheduler(&self) -> Result<Peer> {
        Peer::open("scheduler", &self.scheduler, &self.token).await
    }

    /// The scheduler, for what it asks the marketplace.
    pub(crate) async fn patient_scheduler(&self) -> Result<Peer> {
        Peer::open_for("scheduler", &self.scheduler, &self.token, LONG_PATIENCE).await
    }

    /// Billing.
    pub(crate) async fn billing(&self) -> Result<Peer> {
        let missing =
            || Failure::Usage("set STEWARD_BILLING_ENDPOINT to billing's address, http://host:port".to_owned());
        let urls = self.billing.as_deref().ok_or_else(missing)?;
        Peer::open("billing", urls, &self.token).await
    }
}

/// The token of who asks a stack elsewhere: from the environment, or from a file it names.
pub(crate) fn given_token() -> Result<String> {
    if let Some(token) = env::variable("STEWARD_TOKEN") {
        return Ok(token);
    }
    let missing = || {
        Failure::Usage("set STEWARD_TOKEN (or STEWARD_TOKEN_FILE) to the operator's or the viewer's token".to_owned())
    };
    let path = env::variable("STEWARD_TOKEN_FILE").ok_or_else(missing)?;
    let text = private::read(Path::new(&path))?.map(|text| text.trim().to_owned());
    let empty = || Failure::Usage(format!("{path} is missing or empty: put the operator's token into it"));
    Ok(text.filter(|text| !text.is_empty()).ok_or_else(empty)?)
}

/// The stack of a folder.
pub(crate) fn read_stack(dir: &Path) -> Result<(Home, Value)> {
    let home = Home::at(dir)?;
    let stack = stack_file::read(&home)?.ok_or_else(|| {
        Failure::NotFound(format!(
            "no stack in {}: start one with `steward up`, name its folder with --dir, or set STEWARD_ENDPOINT and \
             STEWARD_TOKEN",
            home.path().display()
        ))
    })?;
    Ok((home, stack))
}

type Authenticated = InterceptedService<Channel, Credentials>;

/// A service and who asks it.
#[derive(Debug, Clone)]
pub(crate) struct Peer {
    name: &'static str,
    urls: String,
    patience: Duration,
    service: Authenticated,
    /// Looks names up again for as long as anybody holds the channel.
    _resolving: Arc<JoinSet<()>>,
}

impl Peer {
    /// Connects to a service.
    ///
    /// # Errors
    /// Nobody listens at any of its addresses.
    pub(crate) async fn open(name: &'static str, urls: &str, token: &SecretString) -> Result<Self> {
        Self::open_for(name, urls, token, PATIENCE).await
    }

    async fn open_for(name: &'static str, urls: &str, token: &SecretString, patience: Duration) -> Result<Self> {
        let (channel, resolving) =
            rpc::channel::open(urls, patience).map_err(|error| Failure::Usage(error.to_string()))?;
        reachable(name, urls).await?;
        let mut tasks = JoinSet::new();
        tasks.spawn(resolving);
        let credentials = Credentials::new(token, || None).context("the token holds characters no header can")?;
        Ok(Self {
            name,
            urls: urls.to_owned(),
            patience,
            service: InterceptedService::new(channel, credentials),
            _resolving: Arc::new(tasks),
        })
    }

    /// Waits for an answer; `what` completes "cannot …".
    ///
    /// # Errors
    /// The status with what was attempted, or that nobody answered.
    pub(crate) async fn ask<T>(
        &self,
        what: &str,
        call: impl Future<Output = Result<Response<T>, Status>>,
    ) -> Result<T> {
        match tokio::time::timeout(self.patience, call).await {
            Ok(Ok(response)) => Ok(response.into_inner()),
            Ok(Err(status)) => Err(anyhow::Error::new(status).context(format!("cannot {what}"))),
            Err(_) => anyhow::bail!("cannot {what}: the {} at {} does not answer", self.name, self.urls),
        }
    }

    /// The next message of an answer that comes in pieces.
    ///
    /// # Errors
    /// As [`Peer::ask`].
    pub(crate) async fn next<T>(&self, what: &str, stream: &mut tonic::Streaming<T>) -> Result<Option<T>> {
        self.ask(what, async { stream.message().await.map(Response::new) })
            .await
    }

    pub(crate) fn contracts(&self) -> v1::contracts_client::ContractsClient<Authenticated> {
        v1::contracts_client::ContractsClient::new(self.service.clone()).max_decoding_message_size(LARGEST_ANSWER)
    }

    pub(crate) fn inbox(&self) -> v1::inbox_client::InboxClient<Authenticated> {
        v1::inbox_client::InboxClient::new(self.service.clone()).max_decoding_message_size(LARGEST_ANSWER)
    }

    pub(crate) fn agents(&self) -> v1::agents_client::AgentsClient<Authenticated> {
        v1::agents_client::AgentsClient::new(self.service.clone())
    }

    pub(crate) fn operations(&self) -> v1::operations_client::OperationsClient<Authenticated> {
        v1::operations_client::OperationsClient::new(self.service.clone()).max_decoding_message_size(LARGEST_ANSWER)
    }

    pub(crate) fn marketplace(&self) -> v1::marketplace_client::MarketplaceClient<Authenticated> {
        v1::marketplace_client::MarketplaceClient::new(self.service.clone())
    }

    pub(crate) fn billing(&self) -> v1::billing_client::BillingClient<Authenticated> {
        v1::billing_client::BillingClient::new(self.service.clone()).max_decoding_message_size(LARGEST_ANSWER)
    }
}

/// The channel connects by itself and for ever; a person wants to know at once that nobody is there.
async fn reachable(name: &str, urls: &str) -> Result<()> {
    let mut last = String::new();
    for url in urls.split(',').map(str::trim) {
        let host = url.trim_start_matches("http://").trim_end_matches('/');
        match tokio::time::timeout(CONNECT, tokio::net::TcpStream::connect(host)).await {
            Ok(Ok(_)) => return Ok(()),
            Ok(Err(error)) => last = error.to_string(),
            Err(_) => last = "it does not answer".to_owned(),
        }
    }
    anyhow::bail!("cannot reach the {name} at {urls}: {last}; is the stack up? see `steward status`")
}
