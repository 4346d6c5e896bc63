//! The state of things, effects, dead letters and deployments.

use std::sync::Arc;

use domain::effect::{Command, Kind, State};
use domain::proposal;
use rpc::auth::{self, Role};
use rpc::convert::timestamp;
use rpc::error::{Code, status};
use rpc::v1::operations_server::Operations;
use rpc::v1::{
    BeginMaintenanceRequest, DeadLetter, DeadLetterRef, DecideEffectRequest, Deployment, DrainExecutorRequest,
    DropDeadLetterRequest, Effect, EndMaintenanceRequest, EndMaintenanceResponse, ExecutorState, GetEffectRequest,
    GetOverviewRequest, ListDeadLettersRequest, ListDeadLettersResponse, ListDeploymentsRequest,
    ListDeploymentsResponse, ListEffectsRequest, ListEffectsResponse, ListExecutorsRequest, ListExecutorsResponse,
    ListMaintenanceRequest, ListMaintenanceResponse, ListNoticesRequest, ListNoticesResponse, MaintenanceWindow,
    Notice, Overview, RecordStartResponse, RequestBudget, ResolveNoticeRequest,
};
use store::ids::Table;
use store::{Tx, audit, budget, deployments, effects, proposals, run_tx};
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Request, Response, Status};
use uuid::Uuid;

use super::page::{self, Asked};
use super::{Api, acts, looks, optional, shapes};
use crate::contracts;
use crate::error::{Error, of_store};
use crate::outgoing;
use crate::wake::Topic;

/// Overviews on their way to one watcher.
const ON_THEIR_WAY: usize = 2;

#[tonic::async_trait]
impl Operations for Api {
    type WatchOverviewStream = ReceiverStream<Result<Overview, Status>>;

    async fn get_overview(&self, request: Request<GetOverviewRequest>) -> Result<Response<Overview>, Status> {
        looks(&request)?;
        self.overview().await.map(Response::new)
    }

    async fn watch_overview(
        &self,
        request: Request<GetOverviewRequest>,
    ) -> Result<Response<Self::WatchOverviewStream>, Status> {
        looks(&request)?;
        let Ok(permit) = Arc::clone(&self.watchers).try_acquire_owned() else {
            return Err(status(
                Code::Exhausted,
                "TOO_MANY_WATCHERS",
                "too many watch already: ask now and then instead",
            ));
        };
        let (out, overviews) = mpsc::channel(ON_THEIR_WAY);
        let _running = self
            .desk
            .tasks
            .spawn_job("watch_overview", self.clone().watch(out, permit));
        Ok(Response::new(ReceiverStream::new(overviews)))
    }

    async fn list_effects(
        &self,
        request: Request<ListEffectsRequest>,
    ) -> Result<Response<ListEffectsResponse>, Status> {
        looks(&request)?;
        let request = request.into_inner();
        let page = Asked::read(request.page)?;
        let filter = effects::Filter {
            agent: optional(request.agent),
            state: optional(request.state),
            contract_id: self.optional_id(Table::Contracts, &request.contract_id).await?,
            before: page.before,
        };
        let mut found = effects::list(&self.desk.store, &filter, page.rows())
            .await
            .map_err(of_store)?;
        let next = page.cut(&mut found, |row| row.id);
        let limit = self.desk.config.marketplace.rate_limit_per_minute;
        let budgets = budget::usage(&self.desk.store).await.map_err(of_store)?;
        // Whoever is to decide has to know about what.
        let effects = if filter.state.as_deref() == Some(State::Held.name()) {
            self.explained(found).await?
        } else {
            found.into_iter().map(shapes::effect).collect()
        };
        Ok(Response::new(ListEffectsResponse {
            effects,
            next,
            budgets: budgets.into_iter().map(|usage| request_budget(usage, limit)).collect(),
        }))
    }

    async fn get_effect(&self, request: Request<GetEffectRequest>) -> Result<Response<Effect>, Status> {
        looks(&request)?;
        self.effect(&request.into_inner().id).await.map(Response::new)
    }

    async fn list_dead_letters(
        &self,
        request: Request<ListDeadLettersRequest>,
    ) -> Result<Response<ListDeadLettersResponse>, Status> {
        looks(&request)?;
        let page = Asked::read(request.into_inner().page)?;
        let found = store::dead_letters::list(&self.desk.store, page.before, page.rows()).await;
        let mut found = found.map_err(of_store)?;
        let next = page.cut(&mut found, |row| row.id);
        let dead_letters = found.into_iter().map(shapes::dead_letter).collect();
        Ok(Response::new(ListDeadLettersResponse { dead_letters, next }))
    }

    async fn retry_dead_letter(&self, request: Request<DeadLetterRef>) -> Result<Response<DeadLetter>, Status> {
        let actor = acts(&request)?;
        let letter = request.into_inner();
        self.retry_letter(&letter, actor).await.map(Response::new)
    }

    async fn drop_dead_letter(&self, request: Request<DropDeadLetterRequest>) -> Result<Response<DeadLetter>, Status> {
        let actor = acts(&request)?;
        let DropDeadLetterRequest { letter, reason } = request.into_inner();
        let letter = letter.ok_or_else(|| status(Code::Invalid, "NO_LETTER", "name the dead letter"))?;
        self.drop_letter(&letter, actor, &reason).await.map(Response::new)
    }

    async fn decide_effect(&self, request: Request<DecideEffectRequest>) -> Result<Response<Effect>, Status> {
        let actor = acts(&request)?;
        let request = request.into_inner();
        let id = self.chosen_id(Table::Decisions, &request.id).await?;
        self.decide(id, request.approve, &request.reason, actor).await?;
        self.desk.wake.wake(Topic::Courier);
        let row = effects::get(&self.desk.store, id).await.map_err(of_store)?;
        Ok(Response::new(shapes::effect(row)))
    }

    async fn list_notices(
        &self,
        request: Request<ListNoticesRequest>,
    ) -> Result<Response<ListNoticesResponse>, Status> {
        looks(&request)?;
        self.notices().await.map(Response::new)
    }

    async fn resolve_notice(&self, request: Request<ResolveNoticeRequest>) -> Result<Response<Notice>, Status> {
        let actor = acts(&request)?;
        let ResolveNoticeRequest { id, reason } = request.into_inner();
        self.resolve_notice(&id, &reason, actor).await.map(Response::new)
    }

    async fn list_executors(
        &self,
        request: Request<ListExecutorsRequest>,
    ) -> Result<Response<ListExecutorsResponse>, Status> {
        looks(&request)?;
        let executors = self.executors().await?;
        Ok(Response::new(ListExecutorsResponse { executors }))
    }

    async fn drain_executor(&self, request: Request<DrainExecutorRequest>) -> Result<Response<ExecutorState>, Status> {
        let actor = acts(&request)?;
        self.drain(&request.into_inner().id, actor).await.map(Response::new)
    }

    async fn list_maintenance(
        &self,
        request: Request<ListMaintenanceRequest>,
    ) -> Result<Response<ListMaintenanceResponse>, Status> {
        looks(&request)?;
        let windows = self.windows().await?;
        Ok(Response::new(ListMaintenanceResponse { windows }))
    }

    async fn begin_maintenance(
        &self,
        request: Request<BeginMaintenanceRequest>,
    ) -> Result<Response<MaintenanceWindow>, Status> {
        let actor = acts(&request)?;
        self.begin_maintenance(request.into_inner(), actor)
            .await
            .map(Response::new)
    }

    async fn end_maintenance(
        &self,
        request: Request<EndMaintenanceRequest>,
    ) -> Result<Response<EndMaintenanceResponse>, Status> {
        let actor = acts(&request)?;
        let ended = self.end_maintenance(actor).await?;
        Ok(Response::new(EndMaintenanceResponse { ended }))
    }

    async fn record_start(&self, request: Request<Deployment>) -> Result<Response<RecordStartResponse>, Status> {
        auth::require(&request, &[Role::Executor, Role::Viewer, Role::Operator])?;
        let start = request.into_inner();
        let fields = [
            &start.service,
            &start.instance,
            &start.version,
            &start.git_sha,
            &start.built_at,
        ];
        if start.service.is_empty() || fields.iter().any(|field| field.len() > 200) {
            return Err(status(
                Code::Invalid,
                "BAD_START",
                "name the service; no field may have more than 200 bytes",
            ));
        }
        let row = deployments::Deployment {
            service: start.service,
            instance: start.instance,
            version: start.version,
            git_sha: start.git_sha,
            built_at: start.built_at,
            started_at: chrono::Utc::now(),
        };
        run_tx!(self.desk.store, "record_start", |tx| deployments::record(tx, &row)
            .await)
        .map_err(of_store)?;
        Ok(Response::new(RecordStartResponse {}))
    }

    async fn list_deployments(
        &self,
        request: Request<ListDeploymentsRequest>,
    ) -> Result<Response<ListDeploymentsResponse>, Status> {
        looks(&request)?;
        let page = request.into_inner().page.unwrap_or_default();
        let limit = page::limit(page.limit);
        let bad = |_| status(Code::Invalid, "BAD_CURSOR", "the cursor is none of ours");
        let offset: u32 = if page.cursor.is_empty() {
            0
        } else {
            page.cursor.parse().map_err(bad)?
        };
        let rows = i64::try_from(limit).unwrap_or(i64::MAX);
        let found = deployments::list(&self.desk.store, rows + 1, i64::from(offset)).await;
        let mut found = found.map_err(of_store)?;
        let more = found.len() > limit;
        found.truncate(limit);
        let next = if more {
            (i64::from(offset) + rows).to_string()
        } else {
            String::new()
        };
        let deployments = found.into_iter().map(shapes::deployment).collect();
        Ok(Response::new(ListDeploymentsResponse { deployments, next }))
    }
}

impl Api {
    /// Releases a held effect, or calls it off. One that was called off may be released after all; what it needs is
    /// checked again before it is sent. A bid that was refused will not be asked about again.
    async fn decide(&self, id: uuid::Uuid, approve: bool, reason: &str, actor: &str) -> Result<(), Status> {
        run_tx!(self.desk.store, "effect_decide", Error, |tx| {
            let effect = effects::get_locked(tx, id).await?;
            let (command, action) = match (&effect.state, approve) {
                (State::Held, true) => (Command::Release, "effects.approve"),
                (State::Held, false) => (Command::Cancel, "effects.refuse"),
                (State::Cancelled, true) if effect.kind != Some(Kind::Propose) => {
                    after_all(tx, &effect).await?;
                    (Command::OperatorRetry, "effects.approve")
                }
                (state, _) => {
                    let state = state.name();
                    return Err(Error::Refused(format!(
                        "the effect is {state}: nobody waits for a decision"
                    )));
                }
            };
            let error = (!approve).then(|| format!("{}{reason}", effects::REFUSED_BY_HAND));
            let note = effects::Note {
                error: error.clone(),
                ..effects::Note::default()
            };
            effects::advance(tx, id, None, command, &note).await?;
            if effect.kind == Some(Kind::Propose)
                && let Some(gig) = effect.gig_id
                && let Some(proposal) = proposals::lock_of_gig(tx, gig).await?
            {
                if approve {
                    proposals::released(tx, gig).await?;
                } else {
                    proposals::advance(tx, &proposal, &proposal::State::Skipped, None, error.as_deref()).await?;
                }
            }
            if let (Some(Kind::Upload | Kind::Deliver), Some(contract)) = (effect.kind, effect.contract_id) {
                delivery_decided(tx, contract, approve).await?;
            }
            outgoing::decided(tx, id).await?;
            audit::record(tx, actor, action, &id.to_string(), Some(reason)).await?;
            Ok(())
        })?;
        Ok(())
    }
}

/// A delivery that is refused leaves a paid contract without one: a human has to say what becomes of it.
async fn delivery_decided(tx: &mut Tx, contract: Uuid, approve: bool) -> Result<(), Error> {
    if approve {
        return contracts::calm(tx, contract).await;
    }
    let why = format!(
        "its delivery was refused: have the work done again (`steward contracts retry {contract}`), or approve it after all"
    );
    contracts::attention(tx, contract, contracts::ATTENTION, &why).await
}

/// One that was called off goes out after all only when what it follows did.
async fn after_all(tx: &mut Tx, effect: &effects::Effect) -> Result<(), Error> {
    let Some(before) = effect.after else { return Ok(()) };
    let before = effects::get_locked(tx, before).await?;
    if before.state == State::Done {
        return Ok(());
    }
    let (id, state) = (before.id, before.state.name());
    Err(Error::Refused(format!(
        "it follows {id}, which is {state}: decide about that one"
    )))
}

fn request_budget(usage: budget::Usage, configured: u32) -> RequestBudget {
    let learned = usage.learned_limit.and_then(|limit| u32::try_from(limit).ok());
    RequestBudget {
        key: usage.key,
        limit_per_minute: learned.map_or(configured, |learned| learned.min(configured)),
        used_last_minute: shapes::count(usage.used),
        blocked_until: usage.blocked_until.map(timestamp),
        stopped_reason: usage.stopped_reason.unwrap_or_default(),
        breaker: usage.breaker.unwrap_or_default().to_owned(),
        used_by_class: usage
            .classes
            .into_iter()
            .map(|(class, used)| (class, shapes::count(used)))
            .collect(),
    }
}
