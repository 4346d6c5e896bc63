//! The books, as far as the scheduler needs them: a stand-in for billing, which is a service of its own.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};

use domain::day::{Day, Share};
use domain::money::MicroUsd;
use rpc::auth::{self, Guard, Role};
use rpc::error::{Code, status};
use rpc::v1::billing_server::{Billing, BillingServer};
use rpc::v1::{
    AgentSecret, CheckLedgerRequest, CheckLedgerResponse, CloseRunRequest, CloseRunResponse, ExplainAccountRequest,
    ExplainAccountResponse, ListPricesRequest, ListPricesResponse, ListProvidersRequest, ListProvidersResponse,
    ListSecretsRequest, ListSecretsResponse, ListUsageRequest, ListUsageResponse, OpenRunRequest, OpenRunResponse,
    Price, Provider, RemoveSecretRequest, RemoveSecretResponse, SetSecretRequest, SettleRequest, Settlement,
    StatementRequest, StatementResponse, SubjectCostsRequest, SubjectCostsResponse,
};
use tokio::net::TcpListener;
use tonic::service::interceptor::InterceptedService;
use tonic::transport::{Server, server::TcpIncoming};
use tonic::{Request, Response, Status};

/// What one run cost, micro US dollars.
pub const COST: i64 = 12_345;

/// Every call it got, in order.
#[derive(Debug, Default)]
pub struct Calls {
    pub opened: Vec<OpenRunRequest>,
    pub closed: Vec<String>,
    /// Attempt and money of each run that may call models.
    pub rights: BTreeMap<String, (u32, i64)>,
    pub settled: BTreeMap<String, Vec<SettleRequest>>,
    /// What the agent spent today, micro US dollars.
    pub today: i64,
    /// No run is opened any more.
    pub refuses: bool,
    /// Providers of models, and how they fare.
    pub providers: Vec<Provider>,
    pub secrets: Vec<AgentSecret>,
}

#[derive(Debug, Clone, Default)]
pub struct Ledger(pub Arc<Mutex<Calls>>);

impl Ledger {
    /// Serves it; answers its address.
    pub async fn serve(&self, token: &str) -> String {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let guard = Guard::new(vec![(Role::Scheduler, token.into())]);
        let service = InterceptedService::new(BillingServer::new(self.clone()), guard);
        tokio::task::spawn(
            Server::builder()
                .add_service(service)
                .serve_with_incoming(TcpIncoming::from(listener)),
        );
        format!("http://{address}")
    }
}

type Answer<T> = Result<Response<T>, Status>;

fn enters<T>(request: &Request<T>) -> Result<(), Status> {
    auth::require(request, &[Role::Scheduler]).map(drop)
}

fn not_asked<T>() -> Answer<T> {
    Err(Status::unimplemented("the scheduler never asks for this"))
}

#[tonic::async_trait]
impl Billing for Ledger {
    async fn open_run(&self, request: Request<OpenRunRequest>) -> Answer<OpenRunResponse> {
        enters(&request)?;
        let mut calls = self.0.lock().unwrap();
        if calls.refuses {
            return Err(Status::failed_precondition("not for this one"));
        }
        let request = request.into_inner();
        let mut granted = request.budget_micro_usd;
        if let Some(limit) = request.day_limit_micro_usd {
            let others = calls.rights.iter().filter(|(run, _)| **run != request.run_id);
            let day = Day {
                limit: MicroUsd(limit),
                spent: MicroUsd(calls.today).pico(),
                promised: MicroUsd(others.map(|(_, (_, granted))| granted).sum()).pico(),
            };
            granted = match day.share(MicroUsd(granted)) {
                Share::Given(given) => given.0,
                Share::Promised => return Err(status(Code::Exhausted, "DAY_PROMISED", "other runs have it")),
                Share::Spent => return Err(status(Code::Exhausted, "DAY_SPENT", "it is used up")),
            };
        }
        calls.rights.insert(request.run_id.clone(), (request.attempt, granted));
        calls.opened.push(request);
        Ok(Response::new(OpenRunResponse {
            credential: "run-credential".to_owned(),
            granted_micro_usd: Some(granted),
        }))
    }

    async fn close_run(&self, request: Request<CloseRunRequest>) -> Answer<CloseRunResponse> {
        enters(&request)?;
        let CloseRunRequest { run_id, attempt } = request.into_inner();
        let mut calls = self.0.lock().unwrap();
        if calls.rights.get(&run_id).is_some_and(|(opened, _)| *opened <= attempt) {
            calls.rights.remove(&run_id);
        }
        calls.closed.push(run_id);
        Ok(Response::new(CloseRunResponse { cost_micro_usd: COST }))
    }

    async fn settle(&self, request: Request<SettleRequest>) -> Answer<Settlement> {
        enters(&request)?;
        let request = request.into_inner();
        let mut calls = self.0.lock().unwrap();
        let before = calls.settled.entry(request.contract_id.clone()).or_default();
        let duplicate = !before.is_empty();
        before.push(request.clone());
        let earned = request.amount_micro_usdc - request.fee_micro_usdc;
        Ok(Response::new(Settlement {
            contract_id: request.contract_id,
            revenue_micro_usdc: request.amount_micro_usdc,
            fee_micro_usdc: request.fee_micro_usdc,
            cost_micro_usd: COST,
            profit_micro_usd: earned - COST,
            duplicate,
        }))
    }

    async fn subject_costs(&self, request: Request<SubjectCostsRequest>) -> Answer<SubjectCostsResponse> {
        enters(&request)?;
        Ok(Response::new(SubjectCostsResponse::default()))
    }

    async fn check_ledger(&self, _: Request<CheckLedgerRequest>) -> Answer<CheckLedgerResponse> {
        not_asked()
    }

    async fn explain_account(&self, _: Request<ExplainAccountRequest>) -> Answer<ExplainAccountResponse> {
        not_asked()
    }

    async fn statement(&self, _: Request<StatementRequest>) -> Answer<StatementResponse> {
        not_asked()
    }

    async fn list_prices(&self, _: Request<ListPricesRequest>) -> Answer<ListPricesResponse> {
        not_asked()
    }

    async fn set_price(&self, _: Request<Price>) -> Answer<Price> {
        not_asked()
    }

    async fn list_usage(&self, _: Request<ListUsageRequest>) -> Answer<ListUsageResponse> {
        not_asked()
    }

    async fn list_providers(&self, request: Request<ListProvidersRequest>) -> Answer<ListProvidersResponse> {
        enters(&request)?;
        let providers = self.0.lock().unwrap().providers.clone();
        Ok(Response::new(ListProvidersResponse { providers }))
    }

    async fn set_secret(&self, _: Request<SetSecretRequest>) -> Answer<AgentSecret> {
        not_asked()
    }

    async fn list_secrets(&self, _: Request<ListSecretsRequest>) -> Answer<ListSecretsResponse> {
        let secrets = self.0.lock().unwrap().secrets.clone();
        Ok(Response::new(ListSecretsResponse { secrets }))
    }

    async fn remove_secret(&self, _: Request<RemoveSecretRequest>) -> Answer<RemoveSecretResponse> {
        not_asked()
    }
}
