//! The model providers: deterministic answers with exact usage, in the shapes of their APIs.
//!
//! The same seed, model and messages give the same bytes. A token is four bytes of text, rounded
//! up, and every text has at least one.

use std::{future::Future, pin::Pin, sync::Arc, time::Duration};

use axum::{
    Json, Router,
    body::Body,
    extract::{OriginalUri, Request, State},
    response::{IntoResponse, Response},
    routing::{get, post},
};
use bytes::Bytes;
use futures_util::stream;
use http::{HeaderMap, StatusCode, header};
use serde_json::{Value, json};

use crate::{
    app::App,
    connection::Connection,
    faults::{
        On,
        inject::{self, Voice},
    },
    requests::Entry,
    sync::lock,
    time,
};

pub use books::{Books, Usage};

mod answer;
mod anthropic;
mod books;
mod openai;
mod responses;

/// Largest request.
const MAX_BODY: usize = 16 * 1024 * 1024;
/// How long a request's body may take to arrive.
const BODY_TIMEOUT: Duration = Duration::from_secs(60);
/// The header that names the run a call is made for.
const RUN_HEADER: &str = "x-steward-run";

/// The fields of a prompt in which text lies; roles, names and types are not counted.
const TEXTS: [&str; 7] = [
    "messages",
    "content",
    "text",
    "system",
    "input",
    "instructions",
    "arguments",
];

/// A call, understood.
struct Ask {
    model: String,
    /// What the answer is derived from.
    basis: String,
    prompt_tokens: u64,
    max_tokens: Option<u64>,
    stream: bool,
    include_usage: bool,
    /// What of the prompt is not in the cache is stored there.
    stores: bool,
}

/// A call, answered: the form depends on the provider.
enum Reply {
    Whole(Value),
    Events(Vec<String>),
}

/// One provider's way to read a call and to write an answer.
struct Dialect {
    voice: Voice,
    read: fn(&Value) -> Result<Ask, String>,
    write: fn(&Ask, &answer::Text, Usage) -> Reply,
}

/// Routes below `/llm`.
pub fn router(app: &Arc<App>) -> Router {
    let chat = Dialect {
        voice: Voice::OpenAi,
        read: openai::read,
        write: openai::write,
    };
    let respond = Dialect {
        voice: Voice::OpenAi,
        read: responses::read,
        write: responses::write,
    };
    let message = Dialect {
        voice: Voice::Anthropic,
        read: anthropic::read,
        write: anthropic::write,
    };
    Router::new()
        .route("/openai/v1/chat/completions", post(handler(chat)))
        .route("/openai/v1/responses", post(handler(respond)))
        .route("/openai/v1/models", get(openai::models))
        .route("/anthropic/v1/messages", post(handler(message)))
        .fallback(|| async { inject::error(Voice::OpenAi, StatusCode::NOT_FOUND, "Unknown path") })
        .with_state(Arc::clone(app))
}

type Handled = Pin<Box<dyn Future<Output = Response> + Send>>;

fn handler(
    dialect: Dialect,
) -> impl Fn(State<Arc<App>>, OriginalUri, Request) -> Handled + Clone + Send + Sync + 'static {
    let dialect = Arc::new(dialect);
    move |State(app), OriginalUri(uri), request| {
        let dialect = Arc::clone(&dialect);
        Box::pin(async move { guard(app, dialect, uri.path(), request).await })
    }
}

/// Faults and the log around one call.
async fn guard(app: Arc<App>, dialect: Arc<Dialect>, path: &str, request: Request) -> Response {
    let connection = request.extensions().get::<Connection>().cloned();
    let Some(connection) = connection else {
        return StatusCode::INTERNAL_SERVER_ERROR.into_response();
    };
    let fault = lock(&app.faults).strike(On::Llm);
    let mut log = Entry {
        seq: 0,
        at: time::iso(app.clock.now()),
        method: request.method().to_string(),
        path: path.to_owned(),
        status: None,
        agent: None,
        fault: fault.as_ref().map(|fault| fault.kind.name()),
    };
    let voice = dialect.voice;
    let (parts, body) = request.into_parts();
    let read = tokio::time::timeout(BODY_TIMEOUT, axum::body::to_bytes(body, MAX_BODY)).await;
    let Ok(Ok(body)) = read else {
        return inject::error(voice, StatusCode::PAYLOAD_TOO_LARGE, "The body is too large");
    };
    let call = {
        let app = Arc::clone(&app);
        async move { answered(&app, &dialect, &parts.headers, &body).await }
    };
    let (response, _) = inject::run(&app, &connection, fault.as_ref(), voice, call).await;
    log.status = Some(response.status().as_u16());
    lock(&app.requests).add(log);
    response
}

async fn answered(app: &App, dialect: &Dialect, headers: &HeaderMap, body: &Bytes) -> Response {
    let refused = |status, message: &str| inject::error(dialect.voice, status, message);
    match dialect.voice {
        Voice::Anthropic if !has(headers, "x-api-key") => {
            return refused(StatusCode::UNAUTHORIZED, "x-api-key header is required");
        }
        Voice::Anthropic if !has(headers, "anthropic-version") => {
            return refused(StatusCode::BAD_REQUEST, "anthropic-version: header is required");
        }
        Voice::OpenAi if !has_key(headers) => {
            return refused(StatusCode::UNAUTHORIZED, "You did not provide an API key");
        }
        _ => {}
    }
    let ask = serde_json::from_slice::<Value>(body)
        .map_err(|error| format!("The body is not JSON: {error}"))
        .and_then(|body| (dialect.read)(&body));
    let ask = match ask {
        Ok(ask) => ask,
        Err(message) => return refused(StatusCode::BAD_REQUEST, &message),
    };
    let (latency, pause, cached_percent) = app.see(|world| {
        let settings = world.settings();
        (
            Duration::from_millis(settings.llm_latency_ms),
            Duration::from_millis(settings.llm_chunk_delay_ms),
            settings.llm_cached_percent,
        )
    });
    if !latency.is_zero() {
        tokio::time::sleep(latency).await;
    }
    let text = answer::compose(app.seed, &ask);
    let cached = ask.prompt_tokens * cached_percent / 100;
    let usage = Usage {
        input: ask.prompt_tokens,
        output: answer::tokens(text.whole.len()),
        cached,
        stored: if ask.stores { ask.prompt_tokens - cached } else { 0 },
    };
    let run = headers.get(RUN_HEADER).and_then(|run| run.to_str().ok());
    lock(&app.books).enter(&ask.model, run, usage);
    match (dialect.write)(&ask, &text, usage) {
        Reply::Whole(body) => Json(body).into_response(),
        Reply::Events(events) => streamed(events, pause),
    }
}

/// OpenAI takes a key as a bearer token and no other way.
fn has_key(headers: &HeaderMap) -> bool {
    let bearer = headers.get(header::AUTHORIZATION).and_then(|value| value.to_str().ok());
    let key = bearer.and_then(|value| value.strip_prefix("Bearer"));
    key.is_some_and(|key| !key.trim().is_empty())
}

fn has(headers: &HeaderMap, name: &str) -> bool {
    headers.get(name).is_some_and(|value| !value.is_empty())
}

/// A server-sent stream of `events`, each written out whole.
fn streamed(events: Vec<String>, pause: Duration) -> Response {
    let pieces = stream::unfold(events.into_iter(), move |mut events| async move {
        let event = events.next()?;
        if !pause.is_zero() {
            tokio::time::sleep(pause).await;
        }
        Some((Ok::<Bytes, std::convert::Infallible>(Bytes::from(event)), events))
    });
    let headers = [
        (header::CONTENT_TYPE, "text/event-stream; charset=utf-8"),
        (header::CACHE_CONTROL, "no-cache"),
    ];
    (headers, Body::from_stream(pieces)).into_response()
}

/// The fields every provider's call has.
fn common(body: &Value, basis: &Value, max_tokens: Option<&Value>) -> Result<Ask, String> {
    let model = body["model"].as_str().filter(|model| !model.is_empty());
    let model = model.ok_or("model is required")?;
    let max_tokens = match max_tokens {
        None | Some(Value::Null) => None,
        Some(value) => match value.as_u64() {
            Some(0) | None => return Err("the token limit must be a whole number above 0".into()),
            some => some,
        },
    };
    Ok(Ask {
        model: model.to_owned(),
        basis: basis.to_string(),
        prompt_tokens: answer::tokens(text_bytes(basis)),
        max_tokens,
        stream: body["stream"].as_bool().unwrap_or(false),
        include_usage: body["stream_options"]["include_usage"].as_bool().unwrap_or(false),
        stores: false,
    })
}

/// Bytes of all texts in a prompt, wherever they lie.
fn text_bytes(value: &Value) -> usize {
    match value {
        Value::String(text) => text.len(),
        Value::Array(items) => items.iter().map(text_bytes).sum(),
        Value::Object(fields) => fields
            .iter()
            .filter(|(name, _)| TEXTS.contains(&name.as_str()))
            .map(|(_, value)| text_bytes(value))
            .sum(),
        _ => 0,
    }
}

/// A server-sent event, with or without a name.
fn event(name: Option<&str>, data: &Value) -> String {
    match name {
        Some(name) => format!("event: {name}\ndata: {data}\n\n"),
        None => format!("data: {data}\n\n"),
    }
}

/// The tokens of a call as some providers detail them.
fn cached_detail(usage: Usage) -> Value {
    json!({ "cached_tokens": usage.cached })
}
