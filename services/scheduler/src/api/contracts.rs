//! Contracts, gigs and runs, for operators.

use std::collections::HashMap;
use std::time::Duration;

use rpc::error::{Code, status};
use rpc::v1::contracts_server::Contracts;
use rpc::v1::{
    CancelRunRequest, Contract, ContractDetail, Effect, GetArtefactRequest, GetContractRequest, GetGigRequest,
    GetRunRequest, Gig, ListContractsRequest, ListContractsResponse, ListGigsRequest, ListGigsResponse,
    ListRunsRequest, ListRunsResponse, RetryContractRequest, Run, RunDetail, SendMessageRequest,
};
use store::contracts::{self as rows};
use store::ids::Table;
use store::{artefacts, audit, effects, gigs, messages, notices, run_events, run_tx, runs};
use tonic::{Request, Response, Status};
use uuid::Uuid;

use super::page::Asked;
use super::{Api, acts, looks, optional, shapes};
use crate::contracts;
use crate::error::{Error, of_store};
use crate::wake::Topic;
use crate::work::Chunks;

/// Runs and effects of one contract that are shown.
const MOST_PARTS: i64 = 200;
/// A page does not wait longer for the books.
const COSTS_WITHIN: Duration = Duration::from_secs(2);
/// Lines of one run's log that are shown.
const MOST_LINES: i64 = 2000;

#[tonic::async_trait]
impl Contracts for Api {
    type GetArtefactStream = Chunks;

    async fn list_contracts(
        &self,
        request: Request<ListContractsRequest>,
    ) -> Result<Response<ListContractsResponse>, Status> {
        looks(&request)?;
        let request = request.into_inner();
        let page = Asked::read(request.page)?;
        let filter = rows::Filter {
            agent: optional(request.agent),
            state: optional(request.state),
            before: page.before,
        };
        let mut found = rows::list(&self.desk.store, &filter, page.rows())
            .await
            .map_err(of_store)?;
        let next = page.cut(&mut found, |row| row.id);
        let contracts = self.with_costs(&found).await;
        Ok(Response::new(ListContractsResponse { contracts, next }))
    }

    async fn get_contract(&self, request: Request<GetContractRequest>) -> Result<Response<ContractDetail>, Status> {
        looks(&request)?;
        let store = &self.desk.store;
        let id = self.whole(Table::Contracts, request.into_inner().id).await?;
        let row = rows::find(store, &id).await.map_err(of_store)?;
        let of_contract = runs::Filter {
            contract_id: Some(row.id),
            ..runs::Filter::default()
        };
        let runs = runs::list(store, &of_contract, MOST_PARTS).await.map_err(of_store)?;
        let of_contract = effects::Filter {
            contract_id: Some(row.id),
            ..effects::Filter::default()
        };
        let effects = effects::list(store, &of_contract, MOST_PARTS).await.map_err(of_store)?;
        let events = rows::events(store, row.id).await.map_err(of_store)?;
        let thread = messages::list(store, row.id).await.map_err(of_store)?;
        Ok(Response::new(ContractDetail {
            contract: self.with_costs(&[row]).await.pop(),
            events: events.into_iter().map(shapes::event).collect(),
            runs: runs.into_iter().map(shapes::run).collect(),
            effects: effects.into_iter().map(shapes::effect).collect(),
            messages: thread.into_iter().map(shapes::message).collect(),
        }))
    }

    async fn retry_contract(&self, request: Request<RetryContractRequest>) -> Result<Response<Run>, Status> {
        let actor = acts(&request)?;
        let request = request.into_inner();
        let id = self.whole(Table::Contracts, request.id).await?;
        let contract = rows::find(&self.desk.store, &id).await.map_err(of_store)?;
        let run = self.retry(&contract, actor, &request.reason).await?;
        self.desk.wake.wake(Topic::Dispatch);
        let run = runs::get(&self.desk.store, run).await.map_err(of_store)?;
        Ok(Response::new(shapes::run(run)))
    }

    async fn send_message(&self, request: Request<SendMessageRequest>) -> Result<Response<Effect>, Status> {
        let actor = acts(&request)?;
        let effect = self.say(request.into_inner(), actor).await?;
        self.desk.wake.wake(Topic::Courier);
        let row = effects::get(&self.desk.store, effect).await.map_err(of_store)?;
        Ok(Response::new(shapes::effect(row)))
    }

    async fn cancel_run(&self, request: Request<CancelRunRequest>) -> Result<Response<Run>, Status> {
        let actor = acts(&request)?;
        let CancelRunRequest { id, reason } = request.into_inner();
        let id = self.id(Table::Runs, &id).await?;
        self.call_off(id, actor, &reason).await?;
        let run = runs::get(&self.desk.store, id).await.map_err(of_store)?;
        Ok(Response::new(shapes::run(run)))
    }

    async fn list_gigs(&self, request: Request<ListGigsRequest>) -> Result<Response<ListGigsResponse>, Status> {
        looks(&request)?;
        let request = request.into_inner();
        let page = Asked::read(request.page)?;
        let filter = gigs::Filter {
            agent: optional(request.agent),
            state: optional(request.state),
            before: page.before,
        };
        let mut found = gigs::list(&self.desk.store, &filter, page.rows())
            .await
            .map_err(of_store)?;
        let next = page.cut(&mut found, |row| row.id);
        let gigs = found.into_iter().map(shapes::gig).collect();
        Ok(Response::new(ListGigsResponse { gigs, next }))
    }

    async fn get_gig(&self, request: Request<GetGigRequest>) -> Result<Response<Gig>, Status> {
        looks(&request)?;
        let id = self.whole(Table::Gigs, request.into_inner().id).await?;
        let row = gigs::shown(&self.desk.store, &id).await.map_err(of_store)?;
        Ok(Response::new(shapes::gig(row)))
    }

    async fn list_runs(&self, request: Request<ListRunsRequest>) -> Result<Response<ListRunsResponse>, Status> {
        looks(&request)?;
        let request = request.into_inner();
        let page = Asked::read(request.page)?;
        let filter = runs::Filter {
            agent: optional(request.agent),
            state: optional(request.state),
            contract_id: self.optional_id(Table::Contracts, &request.contract_id).await?,
            before: page.before,
        };
        let mut found = runs::list(&self.desk.store, &filter, page.rows())
            .await
            .map_err(of_store)?;
        let next = page.cut(&mut found, |row| row.id);
        let runs = found.into_iter().map(shapes::run).collect();
        Ok(Response::new(ListRunsResponse { runs, next }))
    }

    async fn get_run(&self, request: Request<GetRunRequest>) -> Result<Response<RunDetail>, Status> {
        looks(&request)?;
        let store = &self.desk.store;
        let GetRunRequest { id, after_seq } = request.into_inner();
        let id = self.id(Table::Runs, &id).await?;
        let after = i64::try_from(after_seq).unwrap_or(i64::MAX);
        let run = runs::get(store, id).await.map_err(of_store)?;
        let events = run_events::list(store, id, after, MOST_LINES).await.map_err(of_store)?;
        let artefacts = artefacts::of_run(store, id).await.map_err(of_store)?;
        Ok(Response::new(RunDetail {
            run: Some(shapes::run(run)),
            events: events.into_iter().map(shapes::log_line).collect(),
            artefacts: artefacts.into_iter().map(shapes::artefact).collect(),
        }))
    }

    async fn get_artefact(&self, request: Request<GetArtefactRequest>) -> Result<Response<Chunks>, Status> {
        // What was made for a client is as confidential as what the client wrote.
        let _actor = acts(&request)?;
        self.file(&request.into_inner()).await.map(Response::new)
    }
}

impl Api {
    /// Contracts with what they cost so far. Without an answer of the books the cost of open ones shows as zero.
    pub(super) async fn with_costs(&self, contracts: &[rows::Contract]) -> Vec<Contract> {
        let unsettled: Vec<Uuid> = contracts
            .iter()
            .filter(|row| row.settled_at.is_none() && row.machine.funding_confirmed)
            .map(|row| row.id)
            .collect();
        let costs = if unsettled.is_empty() {
            HashMap::new()
        } else {
            let asked = tokio::time::timeout(COSTS_WITHIN, self.billing.costs(&unsettled)).await;
            asked.ok().and_then(Result::ok).unwrap_or_else(|| {
                tracing::debug!("billing did not answer; open contracts show no cost");
                HashMap::new()
            })
        };
        let cost = |row: &rows::Contract| costs.get(&row.id).copied().unwrap_or(0);
        contracts.iter().map(|row| shapes::contract(row, cost(row))).collect()
    }

    /// Queues the last work of a contract again, never an answer to a message; without any, its work for the first time.
    async fn retry(&self, contract: &rows::Contract, actor: &str, reason: &str) -> Result<Uuid, Status> {
        let id = run_tx!(self.desk.store, "contract_retry", Error, |tx| {
            let current = rows::lock(tx, contract.id).await?;
            if !current.machine.may_spend() {
                let state = current.machine.state;
                return Err(Error::Refused(format!(
                    "the contract is {state}: no money may be spent on it"
                )));
            }
            audit::record(tx, actor, "contracts.retry", &contract.id.to_string(), Some(reason)).await?;
            contracts::calm(tx, contract.id).await?;
            let Some(run) = runs::last_work(tx, contract.id).await? else {
                contracts::ensure_work(tx, contract.id, None).await?;
                return Ok(runs::last_work(tx, contract.id).await?);
            };
            if effects::delivery_is_off(tx, contract.id).await? {
                return contracts::work_again(tx, contract.id, run).await.map(Some);
            }
            self.run_again(tx, run).await.map_err(|error| match error {
                Error::Store(store::Error::Stale { .. }) => {
                    Error::Refused("its work is under way, or done and not refused".to_owned())
                }
                other => other,
            })?;
            notices::resolve(tx, "run", &run.to_string()).await?;
            Ok(Some(run))
        })?;
        id.ok_or_else(|| status(Code::Refused, "NO_BRIEF", "its gig is not known yet: it is being read"))
    }
}
