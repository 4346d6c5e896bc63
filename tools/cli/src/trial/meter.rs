//! The model gateway of one run: passes calls on to played or real models with the key the agent never sees, counts
//! what they use, and refuses what the stack's own gateway would refuse.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use anyhow::{Context as _, Result};
use axum::body::Body;
use axum::extract::{Request, State};
use axum::response::{IntoResponse as _, Response};
use domain::agent_file::AgentFile;
use futures_util::StreamExt as _;
use http::{StatusCode, header};
use outbound::{Client, Guard, Url};
use secrecy::{ExposeSecret as _, SecretString};
use serde_json::{Value, json};
use tokio::task::JoinSet;

use super::errands::{self, Errands};
use super::local;
use super::usage::{Seen, Spent};

/// The largest request.
const LARGEST: usize = 32 * 1024 * 1024;
/// The longest silence of a model.
const SILENCE: Duration = Duration::from_secs(10 * 60);

/// Who answers.
#[derive(Debug)]
pub(crate) enum Models {
    /// Nobody.
    None,
    /// The simulator.
    Simulated,
    /// A provider.
    Real {
        /// Up to and with `/v1`.
        url: Url,
        openai: Option<SecretString>,
        anthropic: Option<SecretString>,
    },
}

/// The gateway.
pub(super) struct Meter {
    url: Url,
    desk: Arc<Desk>,
    _serving: JoinSet<()>,
}

struct Desk {
    client: Client,
    openai: Way,
    anthropic: Way,
    models: Vec<String>,
    default_model: String,
    budget: i64,
    spent: Mutex<Spent>,
    errands: Arc<Errands>,
}

/// The way to one provider.
struct Way {
    base: String,
    key: SecretString,
}

impl Meter {
    pub(super) async fn start(
        models: &Models,
        simulator: Option<&Url>,
        agent: &AgentFile,
        budget: i64,
        errands: Errands,
    ) -> Result<Self> {
        let mut client = Client::builder("models")
            .guard(Guard::Any)
            .read_timeout(SILENCE)
            .total_timeout(None);
        if simulator.is_some() {
            client = client.without_system_roots();
        }
        let played = || SecretString::from("simulated");
        let (openai, anthropic) = match (models, simulator) {
            (Models::Real { url, openai, anthropic }, _) => {
                let base = url.as_str().trim_end_matches('/').to_owned();
                let key = |key: &Option<SecretString>| key.clone().unwrap_or_else(|| SecretString::from(""));
                let way = |key| Way {
                    base: base.clone(),
                    key,
                };
                (way(key(openai)), way(key(anthropic)))
            }
            (Models::Simulated | Models::None, simulator) => {
                let root = simulator.map_or("", Url::as_str);
                let way = |name: &str| Way {
                    base: format!("{root}llm/{name}/v1"),
                    key: played(),
                };
                (way("openai"), way("anthropic"))
            }
        };
        let desk = Arc::new(Desk {
            client: client.build().context("make a client for the models")?,
            openai,
            anthropic,
            models: agent.allowed_models(),
            default_model: agent.models.default.clone(),
            budget,
            spent: Mutex::default(),
            errands: Arc::new(errands),
        });
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0")
            .await
            .context("listen on this machine")?;
        let url = local(listener.local_addr()?.port())?;
        let router = axum::Router::new().fallback(forward).with_state(Arc::clone(&desk));
        let mut serving = JoinSet::new();
        serving.spawn(async move {
            // When it ends, models cannot be reached, which agents are told.
            let _ended = axum::serve(listener, router).await;
        });
        Ok(Self {
            url,
            desk,
            _serving: serving,
        })
    }

    pub(super) fn url(&self) -> &Url {
        &self.url
    }

    pub(super) fn spent(&self) -> Spent {
        self.desk.lock().clone()
    }
}

async fn forward(State(desk): State<Arc<Desk>>, request: Request) -> Response {
    if request.uri().path().starts_with(errands::PREFIX) {
        let errands = Arc::clone(&desk.errands);
        return errands.pass_on(request).await.unwrap_or_else(|refusal| *refusal);
    }
    desk.pass_on(request).await.unwrap_or_else(|refusal| *refusal)
}

pub(super) fn refusal(status: StatusCode, code: &str, message: String) -> Box<Response> {
    let body = json!({ "type": "error", "error": { "type": code, "code": code, "message": message } });
    Box::new((status, [("x-should-retry", "false")], axum::Json(body)).into_response())
}

impl Desk {
    fn lock(&self) -> MutexGuard<'_, Spent> {
        self.spent.lock().unwrap_or_else(PoisonError::into_inner)
    }

    async fn pass_on(self: Arc<Self>, request: Request) -> Result<Response, Box<Response>> {
        let (parts, body) = request.into_parts();
        let path = parts.uri.path().trim_start_matches("/v1").to_owned();
        let known = ["/chat/completions", "/responses", "/messages", "/models"];
        if !known.contains(&path.as_str()) {
            return Err(refusal(
                StatusCode::NOT_FOUND,
                "not_found",
                format!("{path} is no path of a model API"),
            ));
        }
        let body = axum::body::to_bytes(body, LARGEST).await;
        let body = body.map_err(|_error| {
            refusal(
                StatusCode::PAYLOAD_TOO_LARGE,
                "request_too_large",
                format!("more than {LARGEST} bytes"),
            )
        })?;
        let (body, model) = if body.is_empty() {
            (body, String::new())
        } else {
            self.admit(&path, &body)?
        };
        let way = if path == "/messages" {
            &self.anthropic
        } else {
            &self.openai
        };
        let url: Result<Url, _> = format!("{}{path}", way.base).parse();
        let url = url.map_err(|_error| refusal(StatusCode::NOT_FOUND, "not_found", "this is no path".to_owned()))?;
        let mut onward = self.client.request(parts.method, url).body(body);
        for name in ["content-type", "accept", "anthropic-version", "anthropic-beta"] {
            if let Some(value) = parts.headers.get(name) {
                onward = onward.header(name, value);
            }
        }
        let key = way.key.expose_secret();
        onward = match path.as_str() {
            "/messages" => onward.header("x-api-key", key),
            _ => onward.bearer_auth(key),
        };
        let answer = self.client.send(onward).await;
        let answer =
            answer.map_err(|error| refusal(StatusCode::SERVICE_UNAVAILABLE, "unreachable", error.to_string()))?;
        self.pass_back(answer, model).await
    }

    /// Refuses what the budget or the agent file does not allow; says which model is asked.
    fn admit(&self, path: &str, body: &[u8]) -> Result<(bytes::Bytes, String), Box<Response>> {
        let invalid = |why: String| refusal(StatusCode::BAD_REQUEST, "invalid_request_error", why);
        let mut asked: Value =
            serde_json::from_slice(body).map_err(|error| invalid(format!("the request is not JSON: {error}")))?;
        let model = asked["model"]
            .as_str()
            .filter(|model| !model.is_empty())
            .unwrap_or(&self.default_model)
            .to_owned();
        let fits = |pattern: &String| match pattern.strip_suffix('*') {
            Some(start) => model.starts_with(start),
            None => *pattern == model,
        };
        if !self.models.iter().any(fits) {
            let may = self.models.join(", ");
            let why = format!("the agent file does not allow the model {model:?}; it allows {may}");
            return Err(refusal(StatusCode::NOT_FOUND, "model_not_allowed", why));
        }
        let spent = self.lock().micro_usd();
        if spent >= self.budget {
            let why = format!("the run's budget of {} micro-dollars is used up", self.budget);
            return Err(refusal(StatusCode::PAYMENT_REQUIRED, "budget_exceeded", why));
        }
        asked["model"] = model.clone().into();
        if path == "/chat/completions" && asked["stream"] == true {
            asked["stream_options"]["include_usage"] = true.into();
        }
        Ok((asked.to_string().into(), model))
    }

    async fn pass_back(self: Arc<Self>, answer: outbound::Response, model: String) -> Result<Response, Box<Response>> {
        let status = answer.status();
        let kind = answer.headers().get(header::CONTENT_TYPE).cloned();
        let retry = answer.headers().get(header::RETRY_AFTER).cloned();
        let streamed = kind
            .as_ref()
            .is_some_and(|kind| kind.as_bytes().starts_with(b"text/event-stream"));
        let body = if streamed {
            let mut counted = Counted {
                desk: Arc::clone(&self),
                model,
                seen: Seen::default(),
            };
            Body::from_stream(answer.bytes_stream().map(move |part| {
                if let Ok(part) = &part {
                    counted.seen.part(part);
                }
                part
            }))
        } else {
            let whole = outbound::read_limited(answer, LARGEST).await;
            let whole = whole.map_err(|error| refusal(StatusCode::BAD_GATEWAY, "broke_off", error.to_string()))?;
            let mut counted = Counted {
                desk: Arc::clone(&self),
                model,
                seen: Seen::default(),
            };
            counted.seen.whole(&whole);
            Body::from(whole)
        };
        let mut response = Response::new(body);
        *response.status_mut() = status;
        for (name, value) in [(header::CONTENT_TYPE, kind), (header::RETRY_AFTER, retry)] {
            if let Some(value) = value {
                response.headers_mut().insert(name, value);
            }
        }
        Ok(response)
    }
}

/// Books what an answer used at its end, also when the agent does not wait for it.
struct Counted {
    desk: Arc<Desk>,
    model: String,
    seen: Seen,
}

impl Drop for Counted {
    fn drop(&mut self) {
        if !self.model.is_empty() {
            self.desk.lock().add(&self.model, self.seen.tokens);
        }
    }
}
