//! A running simulator, an agent registered with it, and a place that receives webhooks.

use std::{
    net::SocketAddr,
    sync::{Arc, Mutex},
    time::Duration,
};

use axum::{
    Router,
    body::Bytes,
    extract::State,
    http::{HeaderMap, StatusCode},
    routing::post,
};
use reqwest::Method;
use serde_json::{Value, json};
use simulator::Options;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

/// Longest wait for something that must come.
const DEADLINE: Duration = Duration::from_secs(20);

/// A webhook as it arrived.
#[derive(Clone, Debug)]
pub struct Hook {
    pub headers: HeaderMap,
    pub body: Bytes,
}

impl Hook {
    pub fn event(&self) -> String {
        self.json()["event"].as_str().unwrap().to_owned()
    }

    pub fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap()
    }

    pub fn header(&self, name: &str) -> &str {
        self.headers[name].to_str().unwrap()
    }
}

#[derive(Clone, Default)]
struct Inbox {
    hooks: Arc<Mutex<Vec<Hook>>>,
    /// Statuses to answer before 200.
    answers: Arc<Mutex<Vec<u16>>>,
}

/// Everything a test plays with.
pub struct Stage {
    pub url: String,
    pub key: String,
    pub agent: String,
    pub client: reqwest::Client,
    /// Where its webhooks go.
    pub hooks_at: String,
    inbox: Inbox,
    stop: CancellationToken,
    tasks: JoinSet<()>,
}

/// A status and a JSON body.
pub struct Reply {
    pub status: u16,
    pub headers: HeaderMap,
    pub body: Value,
}

impl Stage {
    /// A simulator with an agent that may bid.
    pub async fn set() -> Self {
        Self::with(Options::local()).await
    }

    pub async fn with(options: Options) -> Self {
        let mut stage = Self::empty(options).await;
        stage.register("demo").await;
        let ready = stage.control(Method::POST, "/agents/demo/ready", json!({})).await;
        assert_eq!(ready.body["ready"], true, "{}", ready.body);
        stage
    }

    /// A simulator without agents.
    pub async fn empty(mut options: Options) -> Self {
        let inbox = Inbox::default();
        let mut tasks = JoinSet::new();
        let hooks = receive(&mut tasks, inbox.clone()).await;
        let hooks_at = format!("http://{hooks}");
        options.webhook_url = Some(format!("{hooks_at}/hooks/{{agent}}"));
        let server = simulator::bind(options).await.unwrap();
        let url = server.url();
        let stop = CancellationToken::new();
        let stopped = stop.clone();
        tasks.spawn(async move { server.serve(stopped).await.unwrap() });
        Self {
            url,
            key: String::new(),
            agent: String::new(),
            client: reqwest::Client::builder().no_proxy().build().unwrap(),
            hooks_at,
            inbox,
            stop,
            tasks,
        }
    }

    pub async fn register(&mut self, username: &str) -> Reply {
        let body = json!({
            "name": "Demo agent",
            "username": username,
            "description": "Writes small programs and checks them.",
            "skills": ["python", "api"],
            "categories": ["code"],
        });
        let reply = self.api(Method::POST, "/agents/register", body).await;
        if reply.status == 201 {
            self.key = reply.body["api_key"].as_str().unwrap().to_owned();
            self.agent = reply.body["agent_id"].as_str().unwrap().to_owned();
        }
        reply
    }

    pub async fn api(&self, method: Method, path: &str, body: Value) -> Reply {
        self.try_api(method, path, body).await.unwrap()
    }

    pub async fn get(&self, path: &str) -> Reply {
        self.api(Method::GET, path, Value::Null).await
    }

    pub async fn try_api(&self, method: Method, path: &str, body: Value) -> Result<Reply, reqwest::Error> {
        let mut request = self.client.request(method, format!("{}/api/v1{path}", self.url));
        if !self.key.is_empty() {
            request = request.bearer_auth(&self.key);
        }
        if !body.is_null() {
            request = request.json(&body);
        }
        reply(request).await
    }

    pub async fn control(&self, method: Method, path: &str, body: Value) -> Reply {
        let request = self.client.request(method, format!("{}/control{path}", self.url));
        reply(request.json(&body)).await.unwrap()
    }

    pub async fn report(&self) -> Value {
        self.control(Method::GET, "/report", Value::Null).await.body
    }

    pub async fn faults(&self, faults: Value) {
        let reply = self.control(Method::PUT, "/faults", faults).await;
        assert_eq!(reply.status, 200, "{}", reply.body);
    }

    pub async fn settings(&self, settings: Value) {
        let reply = self.control(Method::PUT, "/settings", settings).await;
        assert_eq!(reply.status, 200, "{}", reply.body);
    }

    /// Posts one gig and returns its id.
    pub async fn gig(&self, body: Value) -> String {
        let reply = self.control(Method::POST, "/gigs", body).await;
        assert_eq!(reply.status, 201, "{}", reply.body);
        reply.body["gig_ids"][0].as_str().unwrap().to_owned()
    }

    pub async fn propose(&self, gig: &str, amount: Value) -> Reply {
        let body = json!({
            "proposed_amount_usdc": amount,
            "cover_letter": "I have done this before and can start now.",
        });
        let path = format!("/gigs/{gig}/proposals");
        self.api(Method::POST, &path, body).await
    }

    /// A contract on a new gig, accepted for `amount` and funded.
    pub async fn funded(&self, amount: Value) -> String {
        let contract = self.accepted(amount).await;
        assert_eq!(self.step(&contract, "fund", json!({})).await.status, 200);
        contract
    }

    pub async fn accepted(&self, amount: Value) -> String {
        let gig = self.gig(json!({})).await;
        assert_eq!(self.propose(&gig, amount).await.status, 201);
        let accepted = self
            .control(Method::POST, &format!("/gigs/{gig}/accept"), json!({}))
            .await;
        assert_eq!(accepted.body["status"], "active", "{}", accepted.body);
        accepted.body["id"].as_str().unwrap().to_owned()
    }

    pub async fn step(&self, contract: &str, step: &str, body: Value) -> Reply {
        let path = format!("/contracts/{contract}/{step}");
        self.control(Method::POST, &path, body).await
    }

    pub async fn deliver(&self, contract: &str) -> Reply {
        let body = json!({ "delivery_notes": "Done. ref: 1" });
        let path = format!("/contracts/{contract}/deliver");
        self.api(Method::POST, &path, body).await
    }

    /// Moves a frozen clock, and waits for what falls due.
    pub async fn advance(&self, by: &str) -> Value {
        let moved = self.control(Method::POST, "/clock", json!({ "advance": by })).await;
        assert_eq!(moved.status, 200, "{}", moved.body);
        moved.body
    }

    /// Webhooks received so far.
    pub fn hooks(&self) -> Vec<Hook> {
        self.inbox.hooks.lock().unwrap().clone()
    }

    /// The statuses the next webhooks are answered with; after them, 200.
    pub fn answer_hooks(&self, mut statuses: Vec<u16>) {
        statuses.reverse();
        *self.inbox.answers.lock().unwrap() = statuses;
    }

    /// Waits for `count` webhooks of `event`.
    pub async fn wait_hooks(&self, event: &str, count: usize) -> Vec<Hook> {
        eventually(event, || async {
            let mut hooks = self.hooks();
            hooks.retain(|hook| hook.event() == event);
            (hooks.len() >= count).then_some(hooks)
        })
        .await
    }

    /// Waits until the report satisfies `wanted`.
    pub async fn wait_report(&self, wanted: impl Fn(&Value) -> bool) -> Value {
        eventually("the report", || async {
            let report = self.report().await;
            wanted(&report).then_some(report)
        })
        .await
    }

    /// Stops the simulator in order.
    pub async fn stop(mut self) {
        self.stop.cancel();
        self.tasks.join_next().await.unwrap().unwrap();
    }
}

async fn reply(request: reqwest::RequestBuilder) -> Result<Reply, reqwest::Error> {
    let response = request.send().await?;
    let (status, headers) = (response.status().as_u16(), response.headers().clone());
    let bytes = response.bytes().await?;
    Ok(Reply {
        status,
        headers,
        body: serde_json::from_slice(&bytes).unwrap_or(Value::Null),
    })
}

/// Asks again until there is an answer.
pub async fn eventually<T, F: Future<Output = Option<T>>>(what: &str, ask: impl Fn() -> F) -> T {
    let asking = async {
        loop {
            if let Some(answer) = ask().await {
                return answer;
            }
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    let answer = tokio::time::timeout(DEADLINE, asking).await;
    answer.unwrap_or_else(|_| panic!("waited in vain for {what}"))
}

async fn receive(tasks: &mut JoinSet<()>, inbox: Inbox) -> SocketAddr {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let addr = listener.local_addr().unwrap();
    let router = Router::new().route("/hooks/{agent}", post(hook)).with_state(inbox);
    tasks.spawn(async move { axum::serve(listener, router).await.unwrap() });
    addr
}

async fn hook(State(inbox): State<Inbox>, headers: HeaderMap, body: Bytes) -> (StatusCode, &'static str) {
    inbox.hooks.lock().unwrap().push(Hook { headers, body });
    let answer = inbox.answers.lock().unwrap().pop().unwrap_or(200);
    (StatusCode::from_u16(answer).unwrap(), "{}")
}
