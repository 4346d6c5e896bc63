//! Billing in this process, on ports and a database of its own.

use std::{collections::BTreeMap, time::Duration};

use boot::{Exit, Invocation, Stop, StopHandle};
use outbound::{Client, Guard, Method, Response};
use rpc::{
    auth::Credentials,
    v1::{self, billing_client::BillingClient},
};
use serde_json::{Value, json};
use testkit::{Database, eventually, free_port};
use tokio::sync::oneshot;
use tonic::{
    service::interceptor::InterceptedService,
    transport::{Channel, Endpoint},
};
use uuid::Uuid;

use crate::provider::{Provider, spawn};

pub const SOON: Duration = Duration::from_secs(20);
/// Of the provider; no agent may ever see it.
pub const PROVIDER_KEY: &str = "sk-canary-provider-key";
pub const MICRO: i64 = 1_000_000;

pub type Billing = BillingClient<InterceptedService<Channel, Credentials>>;

/// Addresses and tokens of one billing process.
#[derive(Debug, Clone)]
pub struct Ports {
    pub grpc: String,
    pub gateway: String,
    pub admin: String,
}

/// A running billing with a provider and a database.
pub struct Stack {
    pub ports: Ports,
    pub provider: Provider,
    pub database: Database,
    pub scheduler: Billing,
    pub operator: Billing,
    pub viewer: Billing,
    pub http: Client,
    stop: StopHandle,
    exit: Option<oneshot::Receiver<Exit>>,
}

/// One run's right to call models.
#[derive(Debug, Clone)]
pub struct Run {
    pub id: Uuid,
    pub subject: Uuid,
    pub credential: String,
}

pub fn service() -> boot::Service {
    boot::Service {
        name: "billing",
        defaults: billing::DEFAULTS,
        build: boot::build_info!(),
    }
}

pub fn invocation(env: BTreeMap<String, String>) -> Invocation {
    Invocation {
        args: vec!["billing".into()],
        env,
        out: Box::new(std::io::sink()),
        err: Box::new(std::io::stderr()),
    }
}

/// One more billing in this process; it ends with the handle.
pub fn start_again(env: BTreeMap<String, String>) -> (StopHandle, tokio::task::AbortHandle) {
    let (handle, stop) = Stop::by_handle();
    let running = spawn(async move {
        boot::run_with(service(), invocation(env), stop, billing::run).await;
    });
    (handle, running)
}

/// The settings of a billing on these ports.
pub fn environment(ports: &Ports, database_url: &str, provider_url: &str) -> BTreeMap<String, String> {
    let upstreams = format!(
        "[{{name=\"openai\", base_url=\"{provider_url}\", api_key=\"{PROVIDER_KEY}\", models=[\"gpt-*\", \"mystery\"]}},
          {{name=\"anthropic\", api=\"anthropic\", base_url=\"{provider_url}\", api_key=\"{PROVIDER_KEY}\", models=[\"claude-*\"]}}]"
    );
    [
        ("ADMIN__LISTEN", ports.admin.as_str()),
        ("GRPC__LISTEN", ports.grpc.as_str()),
        ("GATEWAY__LISTEN", ports.gateway.as_str()),
        ("LOG__FILTER", "warn"),
        ("DATABASE__URL", database_url),
        ("DATABASE__MAX_CONNECTIONS", "8"),
        ("DATABASE__ACQUIRE_TIMEOUT", "1s"),
        ("GRPC__SCHEDULER_TOKEN", "token-scheduler"),
        ("GRPC__OPERATOR_TOKEN", "token-operator"),
        ("GRPC__VIEWER_TOKEN", "token-viewer"),
        ("UPSTREAMS", upstreams.as_str()),
        ("BOOKS__SWEEP_EVERY", "100ms"),
        ("SHUTDOWN__GRACE", "5s"),
    ]
    .map(|(key, value)| (format!("STEWARD__{key}"), value.to_owned()))
    .into()
}

impl Ports {
    pub fn free() -> Self {
        let port = || format!("127.0.0.1:{}", free_port().unwrap());
        Self {
            grpc: port(),
            gateway: port(),
            admin: port(),
        }
    }

    pub async fn is_ready(&self, http: &Client) -> bool {
        let url = format!("http://{}/ready", self.admin).parse().unwrap();
        let answer = http.send(http.request(Method::GET, url)).await;
        answer.is_ok_and(|answer| answer.status().is_success())
    }

    pub async fn client(&self, token: &str) -> Billing {
        let channel = Endpoint::from_shared(format!("http://{}", self.grpc))
            .unwrap()
            .timeout(Duration::from_secs(30))
            .connect_lazy();
        BillingClient::with_interceptor(
            channel,
            Credentials::new(&token.into(), telemetry::current_traceparent).unwrap(),
        )
    }
}

impl Stack {
    pub async fn start() -> Self {
        Self::start_with(&[]).await
    }

    /// With settings on top, such as `("GATEWAY__TOTAL_TIMEOUT", "1s")`.
    pub async fn start_with(settings: &[(&str, &str)]) -> Self {
        let database = Database::create().await.unwrap();
        let url = database.url_for("billing");
        Self::start_on(database, &url, settings).await
    }

    /// Against this address of the database.
    pub async fn start_on(database: Database, url: &str, settings: &[(&str, &str)]) -> Self {
        // The outputs of the whole test process: the first to ask decides.
        let _capture = telemetry::testing::capture();
        let provider = Provider::start().await;
        let ports = Ports::free();
        let mut env = environment(&ports, url, &provider.url);
        for (key, value) in settings {
            env.insert(format!("STEWARD__{key}"), (*value).to_owned());
        }
        let (handle, stop) = Stop::by_handle();
        let (ended, exit) = oneshot::channel();
        spawn(async move {
            let exit = boot::run_with(service(), invocation(env), stop, billing::run).await;
            ended.send(exit).ok();
        });
        let stack = Self {
            scheduler: ports.client("token-scheduler").await,
            operator: ports.client("token-operator").await,
            viewer: ports.client("token-viewer").await,
            http: Client::builder("test")
                .guard(Guard::AllowLoopback)
                .read_timeout(SOON)
                .total_timeout(Some(SOON))
                .build()
                .unwrap(),
            ports,
            provider,
            database,
            stop: handle,
            exit: Some(exit),
        };
        eventually(SOON, "billing to be ready", || stack.is_ready())
            .await
            .unwrap();
        stack
    }

    pub async fn is_ready(&self) -> bool {
        self.ports.is_ready(&self.http).await
    }

    /// Begins an orderly stop.
    pub fn ask_to_stop(&self) {
        self.stop.ask();
    }

    /// How it ended.
    pub async fn stopped(&mut self) -> Exit {
        tokio::time::timeout(SOON, self.exit.take().unwrap())
            .await
            .unwrap()
            .unwrap()
    }

    /// A run of a contract of its own with this much money, for `gpt-4o-mini` and what else is allowed.
    pub async fn open(&self, budget_micro_usd: i64, allowed: &[&str]) -> Run {
        self.open_for(Uuid::now_v7(), Uuid::now_v7(), budget_micro_usd, allowed)
            .await
    }

    pub async fn open_for(&self, id: Uuid, subject: Uuid, budget_micro_usd: i64, allowed: &[&str]) -> Run {
        self.open_as(opening(id, subject, budget_micro_usd, allowed)).await
    }

    pub async fn open_as(&self, asked: v1::OpenRunRequest) -> Run {
        let (id, subject) = (asked.run_id.parse().unwrap(), asked.subject_id.parse().unwrap());
        let opened = self.scheduler.clone().open_run(asked).await.unwrap();
        Run {
            id,
            subject,
            credential: opened.into_inner().credential,
        }
    }

    pub async fn close(&self, run: &Run) -> i64 {
        let asked = v1::CloseRunRequest {
            run_id: run.id.to_string(),
            attempt: 0,
        };
        self.scheduler
            .clone()
            .close_run(asked)
            .await
            .unwrap()
            .into_inner()
            .cost_micro_usd
    }

    pub async fn send(&self, method: Method, path: &str, credential: &str, body: impl Into<String>) -> Response {
        let url = format!("http://{}{path}", self.ports.gateway).parse().unwrap();
        let request = self
            .http
            .request(method, url)
            .header("authorization", format!("Bearer {credential}"))
            .header("content-type", "application/json")
            .body(body.into());
        self.http.send(request).await.unwrap()
    }

    /// One chat completion.
    pub async fn chat(&self, run: &Run, body: &Value) -> Response {
        self.send(Method::POST, "/v1/chat/completions", &run.credential, body.to_string())
            .await
    }

    /// One call of this path, with headers on top.
    pub async fn post(&self, run: &Run, path: &str, headers: &[(&str, &str)], body: impl Into<String>) -> Response {
        let url = format!("http://{}{path}", self.ports.gateway).parse().unwrap();
        let mut request = self
            .http
            .request(Method::POST, url)
            .header("authorization", format!("Bearer {}", run.credential))
            .header("content-type", "application/json")
            .body(body.into());
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        self.http.send(request).await.unwrap()
    }

    /// Usage rows of a run, oldest first, once there are `count`.
    pub async fn usage(&self, run: &Run, count: usize) -> Vec<v1::Usage> {
        let found = eventually(SOON, "usage rows", || async {
            let asked = v1::ListUsageRequest {
                run_id: run.id.to_string(),
                ..Default::default()
            };
            let mut rows = self.viewer.clone().list_usage(asked).await.unwrap().into_inner().usage;
            rows.reverse();
            if rows.len() == count {
                Ok(rows)
            } else {
                Err(format!("{rows:?}"))
            }
        });
        found.await.unwrap()
    }

    /// What a run has spent and holds, in pico-dollars.
    pub async fn balance(&self, run: &Run) -> (i64, i64) {
        let rows = self
            .rows(&format!(
                "SELECT spent_pico, held_pico FROM billing.run_accounts WHERE run_id = '{}'",
                run.id
            ))
            .await;
        let pico = |column: &str| rows[0][column].as_i64().unwrap();
        (pico("spent_pico"), pico("held_pico"))
    }

    /// A superuser's look at the tables.
    pub async fn rows(&self, query: &str) -> Vec<Value> {
        testkit::rows(self.database.url(), query).await.unwrap()
    }

    /// How many rows a table has.
    pub async fn count(&self, table: &str) -> usize {
        self.rows(&format!("SELECT 1 AS one FROM {table}")).await.len()
    }

    /// A superuser's hand on the tables.
    pub async fn execute(&self, statement: &str) {
        testkit::execute(self.database.url(), statement).await.unwrap();
    }

    /// Everything adds up.
    pub async fn assert_books(&self) {
        let check = self
            .viewer
            .clone()
            .check_ledger(v1::CheckLedgerRequest {})
            .await
            .unwrap()
            .into_inner();
        assert!(check.balanced, "{:?}", check.findings);
        assert_eq!(check.unexplained_micro, 0);
    }
}

impl Drop for Stack {
    fn drop(&mut self) {
        self.stop.ask();
        self.stop.ask();
    }
}

pub fn opening(id: Uuid, subject: Uuid, budget_micro_usd: i64, allowed: &[&str]) -> v1::OpenRunRequest {
    v1::OpenRunRequest {
        run_id: id.to_string(),
        subject_id: subject.to_string(),
        subject_kind: "contract".to_owned(),
        agent: "demo".to_owned(),
        agent_version: "sha-1".to_owned(),
        budget_micro_usd,
        expires_at: Some(rpc::convert::timestamp(
            chrono::Utc::now() + chrono::TimeDelta::hours(1),
        )),
        default_model: "gpt-4o-mini".to_owned(),
        allowed_models: allowed.iter().map(ToString::to_string).collect(),
        ..v1::OpenRunRequest::default()
    }
}

/// A question; 100 tokens of answer at most.
pub fn question(model: &str) -> Value {
    json!({"model": model, "max_tokens": 100, "messages": [{"role": "user", "content": "What is it?"}]})
}

/// The same, streamed, usage asked for.
pub fn streamed_question(model: &str) -> Value {
    let mut question = question(model);
    question["stream"] = true.into();
    question["stream_options"] = json!({"include_usage": true});
    question
}

/// `error.code` and all of a refusal.
pub async fn refusal(response: Response) -> (u16, String, Value) {
    let status = response.status().as_u16();
    let text = response.text().await.unwrap();
    let body: Value = serde_json::from_str(&text).unwrap_or(Value::String(text));
    (
        status,
        body["error"]["code"].as_str().unwrap_or_default().to_owned(),
        body,
    )
}
