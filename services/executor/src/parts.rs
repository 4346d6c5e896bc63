//! What the parts of this process share.

use std::sync::Arc;

use boot::{BuildInfo, CancellationToken, Readiness, Tasks};
use rpc::v1::RunEvent;
use tokio::sync::mpsc;

use crate::adapters::Runner;
use crate::bundles::Bundles;
use crate::callbacks::Callbacks;
use crate::completions::Completions;
use crate::config::Config;
use crate::folders::Folders;
use crate::gateway::Upstream;
use crate::leases::Leases;
use crate::run::Starts;
use crate::sandbox::Sandbox;
use crate::scheduler::Client;
use crate::slots::Slots;

/// One executor.
pub(crate) struct Parts {
    pub(crate) config: Arc<Config>,
    pub(crate) tasks: Tasks,
    pub(crate) readiness: Readiness,
    pub(crate) build: Arc<BuildInfo>,
    pub(crate) instance: Arc<str>,
    /// Cancelled when everything is handed over and nothing is left to say.
    pub(crate) over: CancellationToken,
    pub(crate) scheduler: Client,
    pub(crate) sandbox: Sandbox,
    pub(crate) runner: Runner,
    pub(crate) slots: Slots,
    pub(crate) starts: Starts,
    pub(crate) leases: Leases,
    pub(crate) bundles: Bundles,
    pub(crate) folders: Folders,
    pub(crate) completions: Completions,
    pub(crate) gateway: Upstream,
    /// Where endpoints answer later, if this executor can be reached.
    pub(crate) callbacks: Option<Callbacks>,
    /// To the session.
    pub(crate) events: mpsc::Sender<RunEvent>,
}
