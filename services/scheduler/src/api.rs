//! The gRPC interface: executors work through it, operators see and steer through it.
//!
//! Every service but health and reflection wants a token; viewers may look, operators may act, executors may work.

use std::sync::Arc;
use std::time::Duration;

use boot::OnExit;
use rpc::auth::{self, Guard, Role};
use rpc::v1::agents_server::AgentsServer;
use rpc::v1::contracts_server::ContractsServer;
use rpc::v1::inbox_server::InboxServer;
use rpc::v1::marketplace_server::MarketplaceServer;
use rpc::v1::operations_server::OperationsServer;
use rpc::v1::work_server::WorkServer;
use tokio::net::TcpListener;
use tokio::sync::Semaphore;
use tonic::service::Routes;
use tonic::service::interceptor::InterceptedService;
use tonic::{Request, Status};

use crate::billing::Billing;
use crate::desk::Desk;
use crate::marketplace::Marketplace;
use crate::objects::Objects;
use crate::onboarding::Onboarding;
use crate::work::{Floor, Sessions};

mod again;
mod agents;
mod bundle;
mod by_hand;
mod contracts;
mod dead_letters;
mod executors;
mod files;
mod ids;
mod inbox;
mod leaving;
mod marketplace;
mod notices;
mod operations;
mod overview;
mod page;
mod rest;
mod shapes;
mod versions;

/// How long a call may take until its answer begins; the longest carries a bundle.
const DEADLINE: Duration = Duration::from_secs(300);
/// Calls at once on one connection: an executor's session, its files and completions.
const STREAMS: u32 = 1024;
/// What health speaks of.
const SERVICES: [&str; 6] = [
    "steward.v1.Work",
    "steward.v1.Contracts",
    "steward.v1.Inbox",
    "steward.v1.Agents",
    "steward.v1.Operations",
    "steward.v1.Marketplace",
];
/// Watchers of the overview at once.
const WATCHERS: usize = 64;

/// What the operators' calls work with. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Api {
    desk: Arc<Desk>,
    onboarding: Onboarding,
    billing: Billing,
    objects: Objects,
    sessions: Sessions,
    watchers: Arc<Semaphore>,
}

impl Api {
    /// Puts the parts together.
    #[must_use]
    pub fn new(
        desk: Arc<Desk>,
        market: Arc<Marketplace>,
        billing: Billing,
        objects: Objects,
        sessions: Sessions,
    ) -> Self {
        Self {
            onboarding: Onboarding::new(Arc::clone(&desk), market),
            desk,
            billing,
            objects,
            sessions,
            watchers: Arc::new(Semaphore::new(WATCHERS)),
        }
    }
}

/// Serves all services on `listener` until the soft stop; open calls are then finished.
pub fn spawn(api: Api, floor: Floor, listener: TcpListener) {
    let desk = Arc::clone(&api.desk);
    let grpc = &desk.config.grpc;
    let token = |secret: &boot::Secret| secrecy::SecretString::from(secret.expose());
    let guard = Guard::new(vec![
        (Role::Executor, token(&grpc.executor_token)),
        (Role::Operator, token(&grpc.operator_token)),
        (Role::Viewer, token(&grpc.viewer_token)),
    ]);
    let routes = Routes::new(InterceptedService::new(WorkServer::new(floor), guard.clone()))
        .add_service(InterceptedService::new(
            ContractsServer::new(api.clone()),
            guard.clone(),
        ))
        .add_service(InterceptedService::new(InboxServer::new(api.clone()), guard.clone()))
        .add_service(InterceptedService::new(AgentsServer::new(api.clone()), guard.clone()))
        .add_service(InterceptedService::new(
            OperationsServer::new(api.clone()),
            guard.clone(),
        ))
        .add_service(InterceptedService::new(MarketplaceServer::new(api), guard));
    let options = rpc::server::Options {
        max_connection_age: grpc.max_connection_age,
        deadline: DEADLINE,
        max_streams: STREAMS,
        span,
    };
    let stop = desk.soft.clone();
    desk.tasks.spawn("grpc", OnExit::StopService, async move {
        rpc::server::serve(listener, routes, &SERVICES, options, stop.cancelled_owned()).await
    });
}

/// One span per call, in the caller's trace.
fn span(request: &http::Request<()>) -> tracing::Span {
    let span = tracing::info_span!("grpc", path = request.uri().path());
    if let Some(parent) = rpc::server::traceparent(request) {
        telemetry::set_parent(&span, parent);
    }
    span
}

/// Lets viewers and operators pass.
pub(crate) fn looks<T>(request: &Request<T>) -> Result<(), Status> {
    auth::require(request, &[Role::Viewer, Role::Operator]).map(|_role| ())
}

/// Lets operators pass; answers the name that stands in the audit.
pub(crate) fn acts<T>(request: &Request<T>) -> Result<&'static str, Status> {
    auth::require(request, &[Role::Operator]).map(|_role| "operator")
}

/// An empty field means none.
pub(crate) fn optional(text: String) -> Option<String> {
    (!text.is_empty()).then_some(text)
}
