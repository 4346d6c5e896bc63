//! Agents: their files and versions, modes, keys and webhook secrets.

use std::time::Duration;

use domain::agent_file::{AgentFile, Mode};
use rpc::error::{Code, status};
use rpc::v1::agents_server::Agents;
use rpc::v1::{
    AddWebhookSecretRequest, AddWebhookSecretResponse, Agent, ListAgentsRequest, ListAgentsResponse,
    ListVersionsRequest, ListVersionsResponse, PutAgentRequest, PutBundleRequest, PutBundleResponse,
    RemoveAgentRequest, RemoveAgentResponse, RollbackRequest, RollbackResponse, SetAgentActivityRequest,
    SetAgentActivityResponse, SetAgentModeRequest, SetCredentialsRequest,
};
use secrecy::SecretString;
use store::{agents, audit, budget, bundles, doors, notices, run_tx};
use tonic::{Request, Response, Status, Streaming};

use super::{Api, acts, bundle, looks, shapes};
use crate::bidding::letter;
use crate::duties;
use crate::error::{Error, of_store};
use crate::wake::Topic;

/// Characters of a version's label.
const LONGEST_LABEL: usize = 100;

#[tonic::async_trait]
impl Agents for Api {
    async fn put_agent(&self, request: Request<PutAgentRequest>) -> Result<Response<Agent>, Status> {
        let actor = acts(&request)?;
        let request = request.into_inner();
        let file = AgentFile::parse(&request.file)
            .map_err(|error| status(Code::Invalid, "BAD_AGENT_FILE", error.to_string()))?;
        if request.simulated && self.desk.config.marketplace.live {
            return Err(status(
                Code::Refused,
                "LIVE",
                "this stack is live: its agents are not simulated",
            ));
        }
        self.keep(file, &request, actor).await.map(Response::new)
    }

    async fn put_bundle(
        &self,
        request: Request<Streaming<PutBundleRequest>>,
    ) -> Result<Response<PutBundleResponse>, Status> {
        let _actor = acts(&request)?;
        let limit = self.desk.config.objects.bundle_bytes;
        let existed = bundle::put(&self.objects, limit, request.into_inner()).await?;
        Ok(Response::new(PutBundleResponse { existed }))
    }

    async fn list_agents(&self, request: Request<ListAgentsRequest>) -> Result<Response<ListAgentsResponse>, Status> {
        looks(&request)?;
        let rows = agents::list(&self.desk.store).await.map_err(of_store)?;
        let mut shown = Vec::with_capacity(rows.len());
        for row in &rows {
            if row.mode == Mode::Off && agents::has_left(&self.desk.store, &row.name).await.map_err(of_store)? {
                continue;
            }
            shown.push(self.shown(row).await?);
        }
        Ok(Response::new(ListAgentsResponse { agents: shown }))
    }

    async fn set_agent_mode(&self, request: Request<SetAgentModeRequest>) -> Result<Response<Agent>, Status> {
        let actor = acts(&request)?;
        let SetAgentModeRequest { name, mode } = request.into_inner();
        let mode = Mode::from_name(&mode)
            .ok_or_else(|| status(Code::Invalid, "BAD_MODE", "the mode must be off, shadow, ask or auto"))?;
        if agents::has_left(&self.desk.store, &name).await.map_err(of_store)? {
            let why = format!("{name} was removed: add it again first, with `steward agents add`");
            return Err(status(Code::Refused, "AGENT_LEFT", why));
        }
        run_tx!(self.desk.store, "agent_mode", |tx| {
            agents::set_mode(tx, &name, mode).await?;
            notices::resolve(tx, agents::PAUSED, &name).await?;
            audit::record(tx, actor, "agents.mode", &name, Some(mode.name())).await
        })
        .map_err(of_store)?;
        self.desk.wake.wake(Topic::Courier);
        self.named(&name).await.map(Response::new)
    }

    async fn set_agent_activity(
        &self,
        request: Request<SetAgentActivityRequest>,
    ) -> Result<Response<SetAgentActivityResponse>, Status> {
        let actor = acts(&request)?;
        self.rest(request.into_inner(), actor).await.map(Response::new)
    }

    async fn list_versions(
        &self,
        request: Request<ListVersionsRequest>,
    ) -> Result<Response<ListVersionsResponse>, Status> {
        looks(&request)?;
        let versions = self.versions(&request.into_inner().agent).await?;
        Ok(Response::new(ListVersionsResponse { versions }))
    }

    async fn rollback(&self, request: Request<RollbackRequest>) -> Result<Response<RollbackResponse>, Status> {
        let actor = acts(&request)?;
        self.roll_back(&request.into_inner(), actor).await.map(Response::new)
    }

    async fn set_credentials(&self, request: Request<SetCredentialsRequest>) -> Result<Response<Agent>, Status> {
        let actor = acts(&request)?;
        let SetCredentialsRequest {
            name,
            marketplace_id,
            api_key,
        } = request.into_inner();
        let key = secret(api_key, "api_key")?;
        run_tx!(self.desk.store, "agent_credentials", Error, |tx| {
            agents::set_credentials(tx, &self.desk.marketplace_sealer, &name, &marketplace_id, &key).await?;
            crate::known::marketplace_key(tx, &self.desk, &name, &key).await?;
            duties::ensure_for_agent(tx, &self.desk, &name).await?;
            // Calls may have been stopped because of the old key.
            budget::resume(tx, &name).await?;
            notices::resolve(tx, crate::budget::KEY_STOPPED, &name).await?;
            audit::record(tx, actor, "agents.credentials", &name, None).await?;
            Ok(())
        })?;
        self.desk.wake.wake(Topic::Duties);
        self.desk.wake.wake(Topic::Courier);
        self.named(&name).await.map(Response::new)
    }

    async fn add_webhook_secret(
        &self,
        request: Request<AddWebhookSecretRequest>,
    ) -> Result<Response<AddWebhookSecretResponse>, Status> {
        let actor = acts(&request)?;
        let AddWebhookSecretRequest {
            name,
            secret: text,
            retire_others_after_secs: retire,
        } = request.into_inner();
        let text = secret(text, "secret")?;
        let known = agents::get(&self.desk.store, &name).await.map_err(of_store)?;
        let id = run_tx!(self.desk.store, "agent_webhook_secret", |tx| {
            doors::open(tx, &known.name).await?;
            let id = doors::add_secret(tx, &self.desk.webhook_sealer, &known.name, &text).await?;
            let others = retire.map(|secs| Duration::from_secs(secs.into()));
            crate::known::webhook_secret(tx, &self.desk, &known.name, (id, &text), others).await?;
            if let Some(secs) = retire {
                doors::retire_others(tx, &known.name, id, Duration::from_secs(secs.into())).await?;
            }
            audit::record(tx, actor, "agents.webhook_secret", &known.name, Some(&id.to_string())).await?;
            Ok(id)
        })
        .map_err(of_store)?;
        Ok(Response::new(AddWebhookSecretResponse { id: id.to_string() }))
    }

    async fn remove_agent(
        &self,
        request: Request<RemoveAgentRequest>,
    ) -> Result<Response<RemoveAgentResponse>, Status> {
        let actor = acts(&request)?;
        let open_bids = self.remove(&request.into_inner().name, actor).await?;
        Ok(Response::new(RemoveAgentResponse { open_bids }))
    }
}

impl Api {
    /// Saves an agent whose bundle is there, with a door of its own.
    async fn keep(&self, file: AgentFile, request: &PutAgentRequest, actor: &str) -> Result<Agent, Status> {
        let sha256 = &request.bundle_sha256;
        let missing = || {
            status(
                Code::Refused,
                "NO_BUNDLE",
                "put the bundle first: nothing has this hash",
            )
        };
        let bytes = self
            .objects
            .size(crate::objects::Folder::Bundles, sha256)
            .await
            .map_err(bundle::failed)?;
        let bytes = bytes.ok_or_else(missing)?;
        let template = self.own_letter(&file, sha256).await?;
        let spec = file.with_defaults(request.simulated);
        let wanted = spec.bidding.mode.unwrap_or(Mode::Shadow);
        // Real bids begin only when somebody says so with `agents mode`.
        let mode = if request.simulated || wanted == Mode::Off {
            wanted
        } else {
            Mode::Shadow
        };
        if request.keep_rollback && self.is_rolled_back(&spec.name, sha256).await? {
            return self.named(&spec.name).await;
        }
        let json =
            serde_json::to_value(&spec).map_err(|error| status(Code::Invalid, "BAD_AGENT_FILE", error.to_string()))?;
        let bytes = i64::try_from(bytes).unwrap_or(i64::MAX);
        let label = label(&request.label)?;
        run_tx!(self.desk.store, "agent_put", |tx| {
            agents::put(tx, &spec, mode, sha256, template.as_deref()).await?;
            agents::come_back(tx, &spec.name, mode).await?;
            bundles::put(tx, sha256, &spec.name, bytes, &json, label).await?;
            doors::open(tx, &spec.name).await?;
            audit::record(tx, actor, "agents.put", &spec.name, Some(sha256)).await
        })
        .map_err(of_store)?;
        self.desk.wake.wake(Topic::Overview);
        self.named(&spec.name).await
    }

    /// The text of the agent's own cover letter template, read from its bundle and tried once.
    pub(super) async fn own_letter(&self, file: &AgentFile, sha256: &str) -> Result<Option<String>, Status> {
        let path = &file.bidding.cover_letter;
        if path.is_empty() {
            return Ok(None);
        }
        let limit = self.desk.config.objects.bundle_bytes;
        let text = bundle::text_of(&self.desk.tasks, &self.objects, sha256, limit, path).await?;
        letter::check(&text)?;
        Ok(Some(text))
    }

    pub(super) async fn named(&self, name: &str) -> Result<Agent, Status> {
        let row = agents::get(&self.desk.store, name).await.map_err(of_store)?;
        self.shown(&row).await
    }

    async fn shown(&self, row: &agents::Agent) -> Result<Agent, Status> {
        let secrets = doors::secrets(&self.desk.store, &row.name).await.map_err(of_store)?;
        let in_force = secrets.iter().filter(|secret| secret.retires_at.is_none()).count();
        Ok(shapes::agent(row, in_force))
    }
}

/// What people call a version, if they do.
fn label(text: &str) -> Result<Option<&str>, Status> {
    let label = text.trim();
    if label.chars().count() > LONGEST_LABEL || label.chars().any(char::is_control) {
        let why = format!("a label is one line of at most {LONGEST_LABEL} characters");
        return Err(status(Code::Invalid, "BAD_LABEL", why));
    }
    Ok(Some(label).filter(|label| !label.is_empty()))
}

fn secret(text: String, field: &'static str) -> Result<SecretString, Status> {
    if text.trim().is_empty() {
        return Err(status(Code::Invalid, "EMPTY_SECRET", format!("{field} is empty")));
    }
    Ok(SecretString::from(text.trim()))
}
