//! Billing as the scheduler calls it: runs opened and closed, contracts settled.

use std::collections::HashMap;
use std::time::Duration;

use chrono::{DateTime, Utc};
use domain::agent_file::{AgentFile, Credential};
use rpc::auth::Credentials;
use rpc::error::{Code, status};
use rpc::v1::billing_client::BillingClient;
use rpc::v1::{
    AgentSecret, CloseRunRequest, HostCredential, ListProvidersRequest, ListSecretsRequest, OpenRunRequest, Provider,
    SettleRequest, SubjectCostsRequest,
};
use secrecy::SecretString;
use store::contracts::{Contract, Figures};
use store::runs::Run;
use tonic::service::interceptor::InterceptedService;
use tonic::transport::Channel;
use tonic::{Request, Status};
use uuid::Uuid;

use crate::config;

/// The billing service. Cheap to clone.
#[derive(Clone)]
pub struct Billing {
    client: BillingClient<InterceptedService<Channel, Credentials>>,
    deadline: Duration,
}

/// An attempt's right to call models.
#[derive(Clone)]
pub struct Opened {
    /// What the executor adds to each call.
    pub credential: String,
    /// What may be spent, micro US dollars.
    pub granted: i64,
}

impl std::fmt::Debug for Billing {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Billing")
            .field("deadline", &self.deadline)
            .finish_non_exhaustive()
    }
}

impl Billing {
    /// Prepares the channel without waiting for it. The future keeps looking its addresses up: spawn it.
    ///
    /// # Errors
    /// When address or token cannot be used.
    pub fn open(settings: &config::Billing) -> anyhow::Result<(Self, impl Future<Output = ()> + Send + use<>)> {
        let (channel, keep_resolving) = rpc::channel::open(&settings.url, settings.deadline)?;
        let token = SecretString::from(settings.token.expose());
        let credentials = Credentials::new(&token, telemetry::current_traceparent)?;
        let client = BillingClient::with_interceptor(channel, credentials);
        let billing = Self {
            client,
            deadline: settings.deadline,
        };
        Ok((billing, keep_resolving))
    }

    /// Opens an attempt's right to call models, within the agent's limit of the day.
    ///
    /// # Errors
    /// Billing's status, or unavailable.
    pub async fn open_run(
        &self,
        run: &Run,
        spec: &AgentFile,
        budget_micro: i64,
        expires_at: DateTime<Utc>,
    ) -> Result<Opened, Status> {
        let (subject_id, subject_kind) = subject(run);
        let request = OpenRunRequest {
            run_id: run.id.to_string(),
            subject_id: subject_id.to_string(),
            subject_kind: subject_kind.to_owned(),
            agent: run.agent.clone(),
            agent_version: run.version.clone(),
            budget_micro_usd: budget_micro.max(0),
            expires_at: Some(rpc::convert::timestamp(expires_at)),
            default_model: spec.models.default.clone(),
            allowed_models: spec.allowed_models(),
            day_limit_micro_usd: spec.budget.per_day_usd.map(|limit| limit.0),
            attempt: run.machine.attempt,
            credentials: spec.network.credential.iter().map(on_the_wire).collect(),
        };
        let limited = request.day_limit_micro_usd.is_some();
        let answer = self.within(self.client.clone().open_run(self.bounded(request))).await?;
        let answer = answer.into_inner();
        match answer.granted_micro_usd {
            // It knows nothing of days.
            None if limited => Err(status(
                Code::Unavailable,
                "BILLING_OLD",
                "billing is of the release before and keeps no limit of the day: update it",
            )),
            granted => Ok(Opened {
                credential: answer.credential,
                granted: granted.unwrap_or(budget_micro.max(0)),
            }),
        }
    }

    /// Ends the right of a run's attempt and books the run's cost. Idempotent; a newer attempt keeps its right. Answers
    /// the run's cost, micro US dollars.
    ///
    /// # Errors
    /// Billing's status, or unavailable.
    pub async fn close_run(&self, run: Uuid, attempt: u32) -> Result<i64, Status> {
        let request = CloseRunRequest {
            run_id: run.to_string(),
            attempt,
        };
        let answer = self
            .within(self.client.clone().close_run(self.bounded(request)))
            .await?;
        Ok(answer.into_inner().cost_micro_usd)
    }

    /// Books a contract, once, with the platform's fee.
    ///
    /// # Errors
    /// Billing's status; ALREADY_EXISTS when it was settled with other amounts.
    pub async fn settle(&self, contract: &Contract, fee_micro: i64) -> Result<Figures, Status> {
        let request = SettleRequest {
            contract_id: contract.id.to_string(),
            agent: contract.agent.clone(),
            agent_version: String::new(),
            amount_micro_usdc: contract.amount.0,
            fee_micro_usdc: fee_micro,
            description: format!("contract {}", contract.external_id),
        };
        let answer = self
            .within(self.client.clone().settle(self.bounded(request)))
            .await?
            .into_inner();
        Ok(Figures {
            revenue_micro: answer.revenue_micro_usdc,
            fee_micro: answer.fee_micro_usdc,
            cost_micro: answer.cost_micro_usd,
        })
    }

    /// Model cost so far, micro US dollars, of at most 500 contracts or gigs.
    ///
    /// # Errors
    /// Billing's status, or unavailable.
    pub async fn costs(&self, subjects: &[Uuid]) -> Result<HashMap<Uuid, i64>, Status> {
        let subject_ids = subjects.iter().take(500).map(Uuid::to_string).collect();
        let request = self.bounded(SubjectCostsRequest { subject_ids });
        let answer = self.within(self.client.clone().subject_costs(request)).await?;
        let costs = answer.into_inner().costs.into_iter();
        Ok(costs
            .filter_map(|cost| Some((cost.subject_id.parse().ok()?, cost.cost_micro_usd)))
            .collect())
    }

    /// Which providers of models are set up, and how they fare.
    ///
    /// # Errors
    /// Billing's status, or unavailable.
    pub async fn providers(&self) -> Result<Vec<Provider>, Status> {
        let request = self.bounded(ListProvidersRequest {});
        let answer = self.within(self.client.clone().list_providers(request)).await?;
        Ok(answer.into_inner().providers)
    }

    /// The secrets of agents' own that are set, by agent and name.
    ///
    /// # Errors
    /// Billing's status, or unavailable.
    pub async fn secrets(&self) -> Result<Vec<AgentSecret>, Status> {
        let request = self.bounded(ListSecretsRequest::default());
        let answer = self.within(self.client.clone().list_secrets(request)).await?;
        Ok(answer.into_inner().secrets)
    }

    /// The deadline holds here too: without any reachable address a call would wait for one for ever.
    async fn within<T>(&self, call: impl Future<Output = Result<T, Status>>) -> Result<T, Status> {
        match tokio::time::timeout(self.deadline, call).await {
            Ok(answer) => answer,
            Err(_late) => Err(status(
                Code::Unavailable,
                "BILLING_AWAY",
                "billing did not answer in time",
            )),
        }
    }

    fn bounded<T>(&self, message: T) -> Request<T> {
        let mut request = Request::new(message);
        request.set_timeout(self.deadline);
        request
    }
}

fn on_the_wire(credential: &Credential) -> HostCredential {
    HostCredential {
        host: credential.host.clone(),
        header: credential.header.clone(),
        format: credential.format.clone(),
        secret: credential.secret.clone(),
    }
}

/// What a run's cost is attributed to: its contract, or its gig while there is none.
fn subject(run: &Run) -> (Uuid, &'static str) {
    match (run.contract_id, run.gig_id) {
        (Some(contract), _) => (contract, "contract"),
        (None, Some(gig)) => (gig, "gig"),
        // The schema refuses a run without both.
        (None, None) => (run.id, "gig"),
    }
}
