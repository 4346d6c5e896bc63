//! The service Billing: who may call what, and the figures of each call.

mod books;
mod prices;
mod providers;
mod runs;
pub(crate) mod secrets;

use std::{sync::Arc, time::Instant};

use rpc::{
    auth::{self, Role},
    v1::{self, billing_server::Billing},
};
use store::Store;
use tonic::{Request, Response, Status};
use uuid::Uuid;

use crate::{config::Upstream, error::Error, metrics::RPC_SECONDS};

/// Who moves money.
const SCHEDULER: &[Role] = &[Role::Scheduler];
/// Who sets prices.
const OPERATOR: &[Role] = &[Role::Operator];
/// Who looks.
const READERS: &[Role] = &[Role::Scheduler, Role::Operator, Role::Viewer];

/// The longest page, and the one who asks for none gets.
const MAX_PAGE: u32 = 500;
const DEFAULT_PAGE: u32 = 50;

/// The service over the books.
#[derive(Debug, Clone)]
pub struct Api {
    store: Store,
    providers: Arc<[v1::Provider]>,
    keeper: secrets::Keeper,
}

impl Api {
    /// Over this store, with these providers set up.
    #[must_use]
    pub fn new(store: Store, upstreams: &[Upstream], keeper: secrets::Keeper) -> Self {
        let shown = |upstream: &Upstream| v1::Provider {
            name: upstream.name.clone(),
            models: upstream.models.clone(),
            has_key: !upstream.api_key.expose().trim().is_empty(),
            outage: None,
        };
        let providers = upstreams.iter().map(shown).collect();
        Self {
            store,
            providers,
            keeper,
        }
    }
}

#[tonic::async_trait]
impl Billing for Api {
    async fn open_run(&self, request: Request<v1::OpenRunRequest>) -> Result<Response<v1::OpenRunResponse>, Status> {
        call("open_run", SCHEDULER, request, |asked| runs::open(&self.store, asked)).await
    }

    async fn close_run(&self, request: Request<v1::CloseRunRequest>) -> Result<Response<v1::CloseRunResponse>, Status> {
        call("close_run", SCHEDULER, request, |asked| runs::close(&self.store, asked)).await
    }

    async fn settle(&self, request: Request<v1::SettleRequest>) -> Result<Response<v1::Settlement>, Status> {
        call("settle", SCHEDULER, request, |asked| runs::settle(&self.store, asked)).await
    }

    async fn subject_costs(
        &self,
        request: Request<v1::SubjectCostsRequest>,
    ) -> Result<Response<v1::SubjectCostsResponse>, Status> {
        call("subject_costs", READERS, request, |asked| {
            runs::costs(&self.store, asked)
        })
        .await
    }

    async fn check_ledger(
        &self,
        request: Request<v1::CheckLedgerRequest>,
    ) -> Result<Response<v1::CheckLedgerResponse>, Status> {
        call("check_ledger", READERS, request, |_| books::check(&self.store)).await
    }

    async fn explain_account(
        &self,
        request: Request<v1::ExplainAccountRequest>,
    ) -> Result<Response<v1::ExplainAccountResponse>, Status> {
        call("explain_account", READERS, request, |asked| {
            books::explain(&self.store, asked)
        })
        .await
    }

    async fn statement(
        &self,
        request: Request<v1::StatementRequest>,
    ) -> Result<Response<v1::StatementResponse>, Status> {
        call("statement", READERS, request, |asked| {
            books::statement(&self.store, asked)
        })
        .await
    }

    async fn list_prices(
        &self,
        request: Request<v1::ListPricesRequest>,
    ) -> Result<Response<v1::ListPricesResponse>, Status> {
        call("list_prices", READERS, request, |_| prices::list(&self.store)).await
    }

    async fn set_price(&self, request: Request<v1::Price>) -> Result<Response<v1::Price>, Status> {
        call("set_price", OPERATOR, request, |asked| prices::set(&self.store, asked)).await
    }

    async fn list_usage(
        &self,
        request: Request<v1::ListUsageRequest>,
    ) -> Result<Response<v1::ListUsageResponse>, Status> {
        call("list_usage", READERS, request, |asked| books::usage(&self.store, asked)).await
    }

    async fn list_providers(
        &self,
        request: Request<v1::ListProvidersRequest>,
    ) -> Result<Response<v1::ListProvidersResponse>, Status> {
        call("list_providers", READERS, request, |_| {
            providers::list(&self.store, &self.providers)
        })
        .await
    }

    async fn set_secret(&self, request: Request<v1::SetSecretRequest>) -> Result<Response<v1::AgentSecret>, Status> {
        call("set_secret", OPERATOR, request, |asked| {
            secrets::set(&self.store, &self.keeper, asked)
        })
        .await
    }

    async fn list_secrets(
        &self,
        request: Request<v1::ListSecretsRequest>,
    ) -> Result<Response<v1::ListSecretsResponse>, Status> {
        call("list_secrets", READERS, request, |asked| {
            secrets::list(&self.store, asked)
        })
        .await
    }

    async fn remove_secret(
        &self,
        request: Request<v1::RemoveSecretRequest>,
    ) -> Result<Response<v1::RemoveSecretResponse>, Status> {
        call("remove_secret", OPERATOR, request, |asked| {
            secrets::remove(&self.store, asked)
        })
        .await
    }
}

/// Checks the role, times the call.
async fn call<Q, A, F>(
    method: &'static str,
    roles: &[Role],
    request: Request<Q>,
    work: impl FnOnce(Q) -> F,
) -> Result<Response<A>, Status>
where
    F: Future<Output = Result<A, Error>>,
{
    let started = Instant::now();
    let answer = match auth::require(&request, roles) {
        Ok(_) => work(request.into_inner()).await,
        Err(refused) => Err(refused.into()),
    };
    let answer = answer.map_err(Status::from);
    let code = answer.as_ref().err().map_or(tonic::Code::Ok, Status::code);
    metrics::histogram!(RPC_SECONDS, "method" => method, "code" => format!("{code:?}"))
        .record(started.elapsed().as_secs_f64());
    answer.map(Response::new)
}

/// How many rows a page has, and before which row it begins.
fn page(asked: Option<v1::Page>) -> Result<(i64, Option<Uuid>), Error> {
    let asked = asked.unwrap_or_default();
    let limit = if asked.limit == 0 { DEFAULT_PAGE } else { asked.limit };
    let before = rpc::convert::optional_id("page.cursor", &asked.cursor)?;
    Ok((i64::from(limit.min(MAX_PAGE)), before))
}

/// The cursor of the page after one that ends with `last`, if it is full.
fn next(rows: usize, limit: i64, last: Option<Uuid>) -> String {
    let full = i64::try_from(rows).is_ok_and(|rows| rows >= limit);
    last.filter(|_| full).map(|id| id.to_string()).unwrap_or_default()
}
