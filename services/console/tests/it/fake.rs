//! A scheduler and a billing that hold what a test puts into them, answer over real gRPC, and note what was asked.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use futures_util::{Stream, StreamExt as _};
use rpc::auth::{Guard, Role};
use rpc::error::{Code, status};
use rpc::v1;
use tokio::net::TcpListener;
use tokio::runtime::{Builder, Runtime};
use tokio::sync::watch;
use tokio_stream::wrappers::WatchStream;
use tonic::transport::{Server, server::TcpIncoming};
use tonic::{Request, Response, Status, Streaming};

#[path = "fake/billing.rs"]
mod billing;

pub const TOKEN: &str = "operator-token-of-the-tests";

type Answer<T> = Result<Response<T>, Status>;

/// What the peers know.
#[derive(Default)]
pub struct Data {
    pub contracts: HashMap<String, v1::ContractDetail>,
    pub runs: HashMap<String, v1::RunDetail>,
    pub gigs: HashMap<String, v1::Gig>,
    /// Bytes of runs' files, by name.
    pub files: HashMap<String, Vec<u8>>,
    pub held: Vec<v1::Effect>,
    pub dead: Vec<v1::DeadLetter>,
    pub agents: Vec<v1::Agent>,
    pub budgets: Vec<v1::RequestBudget>,
    pub starts: Vec<v1::Deployment>,
    pub week: v1::StatementResponse,
    pub ledger: v1::CheckLedgerResponse,
    /// Actions are refused with this sentence.
    pub refuse: Option<String>,
    calls: Vec<String>,
}

/// The peers' memory; clones are the same.
#[derive(Clone)]
pub struct World {
    data: Arc<Mutex<Data>>,
    overview: Arc<watch::Sender<v1::Overview>>,
}

/// Both peers on one port. They have a runtime of their own, so that a stop cuts their connections too.
pub struct Peers {
    pub address: SocketAddr,
    runtime: Mutex<Option<Runtime>>,
}

impl Drop for Peers {
    fn drop(&mut self) {
        self.stop();
    }
}

impl World {
    pub fn new() -> Self {
        Self {
            data: Arc::default(),
            overview: Arc::new(watch::Sender::new(v1::Overview::default())),
        }
    }

    pub fn data(&self) -> MutexGuard<'_, Data> {
        self.data.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Changes the overview and tells those who watch it.
    pub fn overview(&self, change: impl FnOnce(&mut v1::Overview)) {
        self.overview.send_modify(change);
    }

    /// The calls of one kind, in order, as `method arguments`.
    pub fn calls(&self, method: &str) -> Vec<String> {
        let data = self.data();
        let of_it = |call: &&String| call.split(' ').next() == Some(method);
        data.calls.iter().filter(of_it).cloned().collect()
    }

    /// Streams of the overview that are open.
    pub fn watchers(&self) -> usize {
        self.overview.receiver_count()
    }

    fn called(&self, call: String) {
        self.data().calls.push(call);
    }

    fn acted<T>(&self, call: String, answer: T) -> Answer<T> {
        self.called(call);
        match &self.data().refuse {
            Some(sentence) => Err(status(Code::Refused, "WRONG_STATE", sentence.clone())),
            None => Ok(Response::new(answer)),
        }
    }
}

impl Peers {
    /// Starts both on a port of the system's choice.
    pub async fn start(world: &World) -> Self {
        Self::start_at(world, SocketAddr::from(([127, 0, 0, 1], 0))).await
    }

    /// Starts both on that port.
    pub async fn start_at(world: &World, address: SocketAddr) -> Self {
        let listener = TcpListener::bind(address).await.unwrap();
        let address = listener.local_addr().unwrap();
        let listener = listener.into_std().unwrap();
        let guard = Guard::new(vec![(Role::Operator, TOKEN.into())]);
        let server = Server::builder()
            .add_service(v1::operations_server::OperationsServer::with_interceptor(
                world.clone(),
                guard.clone(),
            ))
            .add_service(v1::contracts_server::ContractsServer::with_interceptor(
                world.clone(),
                guard.clone(),
            ))
            .add_service(v1::agents_server::AgentsServer::with_interceptor(
                world.clone(),
                guard.clone(),
            ))
            .add_service(v1::billing_server::BillingServer::with_interceptor(
                world.clone(),
                guard,
            ));
        let runtime = Builder::new_multi_thread()
            .worker_threads(1)
            .enable_all()
            .build()
            .unwrap();
        runtime.spawn(async move {
            let incoming = TcpIncoming::from(TcpListener::from_std(listener).unwrap());
            server.serve_with_incoming(incoming).await
        });
        Self {
            address,
            runtime: Mutex::new(Some(runtime)),
        }
    }

    /// Ends both at once, connections included.
    pub fn stop(&self) {
        let runtime = self.runtime.lock().unwrap_or_else(PoisonError::into_inner).take();
        if let Some(runtime) = runtime {
            runtime.shutdown_background();
        }
    }
}

fn missing(what: &str) -> Status {
    status(Code::NotFound, "NOT_FOUND", format!("no such {what}"))
}

fn unused<T>() -> Answer<T> {
    Err(Status::unimplemented("the console does not ask for this"))
}

#[tonic::async_trait]
impl v1::operations_server::Operations for World {
    type WatchOverviewStream = Pin<Box<dyn Stream<Item = Result<v1::Overview, Status>> + Send>>;

    async fn get_overview(&self, _: Request<v1::GetOverviewRequest>) -> Answer<v1::Overview> {
        self.called("get_overview".to_owned());
        Ok(Response::new(self.overview.borrow().clone()))
    }

    async fn watch_overview(&self, _: Request<v1::GetOverviewRequest>) -> Answer<Self::WatchOverviewStream> {
        self.called("watch_overview".to_owned());
        let stream = WatchStream::new(self.overview.subscribe()).map(Ok);
        Ok(Response::new(Box::pin(stream)))
    }

    async fn list_effects(&self, request: Request<v1::ListEffectsRequest>) -> Answer<v1::ListEffectsResponse> {
        let data = self.data();
        let held = request.into_inner().state == "held";
        Ok(Response::new(v1::ListEffectsResponse {
            effects: if held { data.held.clone() } else { Vec::new() },
            next: String::new(),
            budgets: data.budgets.clone(),
        }))
    }

    async fn get_effect(&self, _: Request<v1::GetEffectRequest>) -> Answer<v1::Effect> {
        unused()
    }

    async fn list_dead_letters(&self, _: Request<v1::ListDeadLettersRequest>) -> Answer<v1::ListDeadLettersResponse> {
        Ok(Response::new(v1::ListDeadLettersResponse {
            dead_letters: self.data().dead.clone(),
            next: String::new(),
        }))
    }

    async fn retry_dead_letter(&self, request: Request<v1::DeadLetterRef>) -> Answer<v1::DeadLetter> {
        let letter = request.into_inner();
        self.acted(
            format!("retry_dead_letter {} {}", letter.kind, letter.id),
            v1::DeadLetter::default(),
        )
    }

    async fn drop_dead_letter(&self, request: Request<v1::DropDeadLetterRequest>) -> Answer<v1::DeadLetter> {
        let request = request.into_inner();
        let letter = request.letter.unwrap_or_default();
        self.acted(
            format!("drop_dead_letter {} {} {}", letter.kind, letter.id, request.reason),
            v1::DeadLetter::default(),
        )
    }

    async fn decide_effect(&self, request: Request<v1::DecideEffectRequest>) -> Answer<v1::Effect> {
        let v1::DecideEffectRequest { id, approve, reason } = request.into_inner();
        self.acted(format!("decide_effect {id} {approve} {reason}"), v1::Effect::default())
    }

    async fn list_notices(&self, _: Request<v1::ListNoticesRequest>) -> Answer<v1::ListNoticesResponse> {
        unused()
    }

    async fn resolve_notice(&self, _: Request<v1::ResolveNoticeRequest>) -> Answer<v1::Notice> {
        unused()
    }

    async fn list_executors(&self, _: Request<v1::ListExecutorsRequest>) -> Answer<v1::ListExecutorsResponse> {
        unused()
    }

    async fn drain_executor(&self, _: Request<v1::DrainExecutorRequest>) -> Answer<v1::ExecutorState> {
        unused()
    }

    async fn list_maintenance(&self, _: Request<v1::ListMaintenanceRequest>) -> Answer<v1::ListMaintenanceResponse> {
        unused()
    }

    async fn begin_maintenance(&self, _: Request<v1::BeginMaintenanceRequest>) -> Answer<v1::MaintenanceWindow> {
        unused()
    }

    async fn end_maintenance(&self, _: Request<v1::EndMaintenanceRequest>) -> Answer<v1::EndMaintenanceResponse> {
        unused()
    }

    async fn record_start(&self, request: Request<v1::Deployment>) -> Answer<v1::RecordStartResponse> {
        self.called(format!("record_start {}", request.into_inner().service));
        Ok(Response::new(v1::RecordStartResponse {}))
    }

    async fn list_deployments(&self, _: Request<v1::ListDeploymentsRequest>) -> Answer<v1::ListDeploymentsResponse> {
        Ok(Response::new(v1::ListDeploymentsResponse {
            deployments: self.data().starts.clone(),
            next: String::new(),
        }))
    }
}

#[tonic::async_trait]
impl v1::contracts_server::Contracts for World {
    type GetArtefactStream = Pin<Box<dyn Stream<Item = Result<v1::FileChunk, Status>> + Send>>;

    async fn list_contracts(&self, request: Request<v1::ListContractsRequest>) -> Answer<v1::ListContractsResponse> {
        let request = request.into_inner();
        self.called(format!(
            "list_contracts {} {}",
            request.state,
            request.page.unwrap_or_default().cursor
        ));
        let data = self.data();
        let all = data.contracts.values().filter_map(|detail| detail.contract.clone());
        let asked_for = |contract: &v1::Contract| request.state.is_empty() || contract.state == request.state;
        let mut contracts: Vec<_> = all.filter(asked_for).collect();
        contracts.sort_by(|one, other| other.id.cmp(&one.id));
        Ok(Response::new(v1::ListContractsResponse {
            contracts,
            next: "next&page".to_owned(),
        }))
    }

    async fn get_contract(&self, request: Request<v1::GetContractRequest>) -> Answer<v1::ContractDetail> {
        let found = self.data().contracts.get(&request.into_inner().id).cloned();
        found.map(Response::new).ok_or_else(|| missing("contract"))
    }

    async fn retry_contract(&self, request: Request<v1::RetryContractRequest>) -> Answer<v1::Run> {
        let v1::RetryContractRequest { id, reason } = request.into_inner();
        self.acted(format!("retry_contract {id} {reason}"), v1::Run::default())
    }

    async fn send_message(&self, request: Request<v1::SendMessageRequest>) -> Answer<v1::Effect> {
        let v1::SendMessageRequest { contract_id, text, .. } = request.into_inner();
        self.acted(format!("send_message {contract_id} {text}"), v1::Effect::default())
    }

    async fn cancel_run(&self, request: Request<v1::CancelRunRequest>) -> Answer<v1::Run> {
        let v1::CancelRunRequest { id, reason } = request.into_inner();
        self.acted(format!("cancel_run {id} {reason}"), v1::Run::default())
    }

    async fn list_gigs(&self, request: Request<v1::ListGigsRequest>) -> Answer<v1::ListGigsResponse> {
        let state = request.into_inner().state;
        let data = self.data();
        let asked_for = |gig: &&v1::Gig| state.is_empty() || gig.proposal_state == state;
        Ok(Response::new(v1::ListGigsResponse {
            gigs: data.gigs.values().filter(asked_for).cloned().collect(),
            next: String::new(),
        }))
    }

    async fn get_gig(&self, request: Request<v1::GetGigRequest>) -> Answer<v1::Gig> {
        let found = self.data().gigs.get(&request.into_inner().id).cloned();
        found.map(Response::new).ok_or_else(|| missing("gig"))
    }

    async fn list_runs(&self, request: Request<v1::ListRunsRequest>) -> Answer<v1::ListRunsResponse> {
        let state = request.into_inner().state;
        let data = self.data();
        let all = data.runs.values().filter_map(|detail| detail.run.clone());
        let mut runs: Vec<_> = all.filter(|run| state.is_empty() || run.state == state).collect();
        runs.sort_by(|one, other| other.id.cmp(&one.id));
        Ok(Response::new(v1::ListRunsResponse {
            runs,
            next: String::new(),
        }))
    }

    async fn get_artefact(&self, request: Request<v1::GetArtefactRequest>) -> Answer<Self::GetArtefactStream> {
        let request = request.into_inner();
        self.called(format!("get_artefact {} {}", request.run_id, request.name));
        let data = self.data();
        let file = data.files.get(&request.name).cloned().ok_or_else(|| missing("file"))?;
        let pieces = vec![Ok(v1::FileChunk { data: file.into() })];
        Ok(Response::new(Box::pin(futures_util::stream::iter(pieces))))
    }

    async fn get_run(&self, request: Request<v1::GetRunRequest>) -> Answer<v1::RunDetail> {
        let found = self.data().runs.get(&request.into_inner().id).cloned();
        found.map(Response::new).ok_or_else(|| missing("run"))
    }
}

#[tonic::async_trait]
impl v1::agents_server::Agents for World {
    async fn put_agent(&self, _: Request<v1::PutAgentRequest>) -> Answer<v1::Agent> {
        unused()
    }

    async fn put_bundle(&self, _: Request<Streaming<v1::PutBundleRequest>>) -> Answer<v1::PutBundleResponse> {
        unused()
    }

    async fn list_agents(&self, _: Request<v1::ListAgentsRequest>) -> Answer<v1::ListAgentsResponse> {
        Ok(Response::new(v1::ListAgentsResponse {
            agents: self.data().agents.clone(),
        }))
    }

    async fn set_agent_mode(&self, _: Request<v1::SetAgentModeRequest>) -> Answer<v1::Agent> {
        unused()
    }

    async fn set_agent_activity(
        &self,
        _: Request<v1::SetAgentActivityRequest>,
    ) -> Answer<v1::SetAgentActivityResponse> {
        unused()
    }

    async fn list_versions(&self, _: Request<v1::ListVersionsRequest>) -> Answer<v1::ListVersionsResponse> {
        unused()
    }

    async fn rollback(&self, _: Request<v1::RollbackRequest>) -> Answer<v1::RollbackResponse> {
        unused()
    }

    async fn set_credentials(&self, _: Request<v1::SetCredentialsRequest>) -> Answer<v1::Agent> {
        unused()
    }

    async fn remove_agent(&self, _: Request<v1::RemoveAgentRequest>) -> Answer<v1::RemoveAgentResponse> {
        unused()
    }

    async fn add_webhook_secret(
        &self,
        _: Request<v1::AddWebhookSecretRequest>,
    ) -> Answer<v1::AddWebhookSecretResponse> {
        unused()
    }
}
