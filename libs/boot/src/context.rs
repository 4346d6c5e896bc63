//! What a service is given to run with.

use std::fmt::Display;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use chrono::{DateTime, Utc};
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;

use crate::backoff::{ConnectError, connect_with_backoff};
use crate::build_info::{BuildInfo, Facts};
use crate::entry::Service;
use crate::ports::{BindError, bind};
use crate::readiness::Readiness;
use crate::tasks::Tasks;

/// The latch that [`Context::ready`] opens.
pub(crate) const SERVICE_LATCH: &str = "service";
/// The latch that is closed from the wish to stop on.
pub(crate) const DRAINING_LATCH: &str = "draining";

/// One process: its configuration, its tasks, its tokens, its name. Clones are cheap and the same thing.
#[derive(Debug)]
pub struct Context<C> {
    /// The validated configuration.
    pub config: Arc<C>,
    /// Where to spawn.
    pub tasks: Tasks,
    /// Cancelled when to finish what is begun and take nothing new.
    pub soft: CancellationToken,
    /// Cancelled when to drop what is being done.
    pub hard: CancellationToken,
    /// The latches behind `/ready`.
    pub readiness: Readiness,
    /// What is running.
    pub build: Arc<BuildInfo>,
    /// What `/build` tells besides.
    pub facts: Facts,
    /// Name of the service.
    pub service: &'static str,
    /// Unique name of this process: a version 7 UUID.
    pub instance: Arc<str>,
    /// When this process started.
    pub started_at: DateTime<Utc>,
    /// Where the admin port listens, once it does.
    pub admin_address: Option<SocketAddr>,
}

impl<C> Clone for Context<C> {
    fn clone(&self) -> Self {
        Self {
            config: Arc::clone(&self.config),
            tasks: self.tasks.clone(),
            soft: self.soft.clone(),
            hard: self.hard.clone(),
            readiness: self.readiness.clone(),
            build: Arc::clone(&self.build),
            facts: self.facts.clone(),
            service: self.service,
            instance: Arc::clone(&self.instance),
            started_at: self.started_at,
            admin_address: self.admin_address,
        }
    }
}

impl<C> Context<C> {
    /// A context with tokens and latches of its own; what `boot` makes for a process, and tests for a part of one.
    #[must_use]
    pub fn new(service: &Service, config: C) -> Self {
        let (soft, hard) = (CancellationToken::new(), CancellationToken::new());
        Self {
            config: Arc::new(config),
            tasks: Tasks::new(soft.clone(), hard.clone()),
            soft,
            hard,
            readiness: Readiness::default(),
            build: Arc::new(service.build.info(service.name)),
            facts: Facts::default(),
            service: service.name,
            instance: uuid::Uuid::now_v7().to_string().into(),
            started_at: Utc::now(),
            admin_address: None,
        }
    }

    /// The service is up: opens the latch every process begins with.
    pub fn ready(&self) {
        self.readiness.latch(SERVICE_LATCH).open();
    }

    /// Listens on `address`; see [`bind`].
    ///
    /// # Errors
    /// The address does not resolve, is not ours, or is taken.
    pub async fn bind(&self, name: &str, address: &str) -> Result<TcpListener, BindError> {
        bind(name, address).await
    }

    /// [`connect_with_backoff`] that a signal ends early.
    ///
    /// # Errors
    /// [`ConnectError::GaveUp`] when the time was up, [`ConnectError::Stopped`] when a stop was asked for; return both.
    pub async fn connect<T, E, F, Fut>(&self, name: &str, deadline: Duration, connect: F) -> Result<T, ConnectError>
    where
        E: Display,
        F: FnMut() -> Fut,
        Fut: Future<Output = Result<T, E>>,
    {
        let attempts = connect_with_backoff(name, deadline, connect);
        let stopped = || Err(ConnectError::Stopped { name: name.to_owned() });
        self.soft.run_until_cancelled(attempts).await.unwrap_or_else(stopped)
    }
}
