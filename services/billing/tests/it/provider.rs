//! A provider of models that answers exactly what a test tells it to.

use std::{
    convert::Infallible,
    pin::Pin,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use axum::{
    Router,
    body::{Body, Bytes},
    extract::State,
    http::{HeaderMap, StatusCode, header},
    response::{IntoResponse as _, Response},
    routing::post,
};
use futures_util::{StreamExt as _, stream};
use serde_json::{Value, json};
use tokio::{net::TcpListener, sync::Notify, task::AbortHandle};

type Answering = Arc<dyn Fn() -> Pin<Box<dyn Future<Output = Response> + Send>> + Send + Sync>;

/// One call as it arrived.
#[derive(Debug, Clone)]
pub struct Call {
    pub headers: HeaderMap,
    pub body: Bytes,
}

struct Inner {
    answering: Mutex<Answering>,
    calls: Mutex<Vec<Call>>,
}

/// A running provider.
pub struct Provider {
    pub url: String,
    inner: Arc<Inner>,
    serving: AbortHandle,
}

impl Provider {
    /// Listens on a free port; answers [`completion`] until told otherwise.
    pub async fn start() -> Self {
        let inner = Arc::new(Inner {
            answering: Mutex::new(Arc::new(|| {
                Box::pin(async { json_answer(&completion("gpt-4o-mini", 100, 0, 20)) })
            })),
            calls: Mutex::default(),
        });
        let router = Router::new()
            .route("/v1/chat/completions", post(answer))
            .route("/v1/messages", post(answer))
            .route("/v1/responses", post(answer))
            .with_state(Arc::clone(&inner));
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}/v1", listener.local_addr().unwrap());
        let serving = spawn(async move {
            axum::serve(listener, router).await.unwrap();
        });
        Self { url, inner, serving }
    }

    /// From now on answers what `make` makes.
    pub fn answers<F, Fut>(&self, make: F)
    where
        F: Fn() -> Fut + Send + Sync + 'static,
        Fut: Future<Output = Response> + Send + 'static,
    {
        *self.inner.answering.lock().unwrap() = Arc::new(move || Box::pin(make()));
    }

    /// From now on answers `body`, each call once it is let go.
    pub fn answers_when_let_go(&self, body: Value) -> Arc<Notify> {
        let gate = Arc::new(Notify::new());
        let opened = Arc::clone(&gate);
        self.answers(move || {
            let (gate, body) = (Arc::clone(&opened), body.clone());
            async move {
                gate.notified().await;
                json_answer(&body)
            }
        });
        gate
    }

    /// From now on answers this.
    pub fn answers_json(&self, status: StatusCode, body: &Value) {
        let text = body.to_string();
        self.answers(move || {
            let text = text.clone();
            async move { (status, [(header::CONTENT_TYPE, "application/json")], text).into_response() }
        });
    }

    /// From now on streams these pieces, then ends or breaks.
    pub fn streams(&self, pieces: &[String], breaks: bool) {
        let pieces = pieces.to_vec();
        self.answers(move || {
            let pieces = pieces.clone();
            async move { streaming(pieces, breaks) }
        });
    }

    /// Every call so far.
    pub fn calls(&self) -> Vec<Call> {
        self.inner.calls.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

impl Drop for Provider {
    fn drop(&mut self) {
        self.serving.abort();
    }
}

async fn answer(State(inner): State<Arc<Inner>>, headers: HeaderMap, body: Bytes) -> Response {
    inner.calls.lock().unwrap().push(Call { headers, body });
    let answering = Arc::clone(&*inner.answering.lock().unwrap());
    answering().await
}

/// A stream of pieces, a moment apart so that they arrive apart.
pub fn streaming(pieces: Vec<String>, breaks: bool) -> Response {
    let whole = stream::iter(pieces).then(|piece| async move {
        tokio::time::sleep(Duration::from_millis(5)).await;
        Ok::<_, std::io::Error>(Bytes::from(piece))
    });
    let body = if breaks {
        let end = stream::once(async {
            tokio::time::sleep(Duration::from_millis(50)).await;
            Err(std::io::Error::other("cut"))
        });
        Body::from_stream(whole.chain(end))
    } else {
        Body::from_stream(whole)
    };
    ([(header::CONTENT_TYPE, "text/event-stream")], body).into_response()
}

/// A stream that waits for `gate` before its last pieces.
pub fn gated(first: Vec<String>, gate: Arc<Notify>, last: Vec<String>) -> Response {
    let begin = stream::iter(first).map(|piece| Ok::<_, Infallible>(Bytes::from(piece)));
    let wait = stream::once(async move {
        gate.notified().await;
        Ok(Bytes::new())
    });
    let end = stream::iter(last).map(|piece| Ok(Bytes::from(piece)));
    let body = Body::from_stream(begin.chain(wait).chain(end));
    ([(header::CONTENT_TYPE, "text/event-stream")], body).into_response()
}

/// A chat completion.
pub fn completion(model: &str, input: u64, cached: u64, output: u64) -> Value {
    json!({
        "id": "chatcmpl-1", "object": "chat.completion", "created": 1, "model": model,
        "choices": [{"index": 0, "finish_reason": "stop", "message": {"role": "assistant", "content": "hi \u{e9}"}}],
        "usage": usage(input, cached, output),
        "a_field_nobody_knows": 1.50,
    })
}

pub fn usage(input: u64, cached: u64, output: u64) -> Value {
    json!({
        "prompt_tokens": input, "completion_tokens": output, "total_tokens": input + output,
        "prompt_tokens_details": {"cached_tokens": cached},
    })
}

pub fn json_answer(body: &Value) -> Response {
    ([(header::CONTENT_TYPE, "application/json")], body.to_string()).into_response()
}

/// The events of a streamed completion, `[DONE]` included.
pub fn events(model: &str, input: u64, cached: u64, output: u64) -> Vec<String> {
    let mut events = words(model);
    let last = json!({"model": model, "choices": [], "usage": usage(input, cached, output)});
    events.push(format!("data: {last}\n\n"));
    events.push("data: [DONE]\n\n".to_owned());
    events
}

/// The events of a streamed completion before its usage.
pub fn words(model: &str) -> Vec<String> {
    ["Hello", " there", "\n\nyou"]
        .iter()
        .map(|word| {
            let chunk = json!({"model": model, "choices": [{"index": 0, "delta": {"content": word}}], "usage": null});
            format!("data: {chunk}\n\n")
        })
        .collect()
}

#[expect(clippy::disallowed_methods, reason = "a test's server has no supervisor")]
pub fn spawn<F>(work: F) -> AbortHandle
where
    F: Future<Output = ()> + Send + 'static,
{
    tokio::spawn(work).abort_handle()
}
