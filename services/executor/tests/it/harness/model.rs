//! A model gateway that answers like one, and remembers what it was asked.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use axum::body::{Body, Bytes};
use axum::extract::{Request, State};
use axum::response::{IntoResponse as _, Response};
use futures_util::StreamExt as _;
use http::{HeaderMap, StatusCode};
use tokio::task::JoinSet;

/// One request as it came in.
#[derive(Debug, Clone)]
pub struct Call {
    pub path: String,
    pub headers: HeaderMap,
    pub body: Bytes,
}

/// What to answer.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Mood {
    Answers,
    /// Server-sent events with a pause between.
    Streams(Duration),
    /// A status with a body that is not JSON.
    Status(u16),
    /// 429, and a pause nobody waits for.
    Later,
    /// An answer that became too long.
    CutShort,
    /// No answer.
    Silent,
    /// 200 and half an answer.
    StopsMidway,
    /// A review's verdict.
    Accepts,
    Rejects,
    /// One that somebody else wrote.
    Copies,
}

#[derive(Clone)]
struct Shared {
    calls: Arc<Mutex<Vec<Call>>>,
    mood: Arc<Mutex<Mood>>,
}

pub struct Model {
    pub url: String,
    shared: Shared,
    _serving: JoinSet<()>,
}

impl Model {
    pub async fn start() -> Self {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let shared = Shared {
            calls: Arc::default(),
            mood: Arc::new(Mutex::new(Mood::Answers)),
        };
        let router = axum::Router::new().fallback(answer).with_state(shared.clone());
        let mut serving = JoinSet::new();
        serving.spawn(async move { axum::serve(listener, router).await.unwrap() });
        Self {
            url,
            shared,
            _serving: serving,
        }
    }

    pub fn port(&self) -> u16 {
        self.url.rsplit(':').next().unwrap().parse().unwrap()
    }

    pub fn calls(&self) -> Vec<Call> {
        self.shared.calls.lock().unwrap().clone()
    }

    pub fn mood(&self, mood: Mood) {
        *self.shared.mood.lock().unwrap() = mood;
    }
}

async fn answer(State(shared): State<Shared>, request: Request) -> Response {
    let (parts, body) = request.into_parts();
    let body = axum::body::to_bytes(body, usize::MAX).await.unwrap_or_default();
    let call = Call {
        path: parts.uri.to_string(),
        headers: parts.headers,
        body,
    };
    let asked = call.body.clone();
    shared.calls.lock().unwrap().push(call);
    let mood = *shared.mood.lock().unwrap();
    let text = r#"{"id":"c","object":"chat.completion","model":"m","choices":[{"index":0,"finish_reason":"stop","message":{"role":"assistant","content":"the model's words"}}],"usage":{"prompt_tokens":3,"completion_tokens":4,"total_tokens":7}}"#;
    match mood {
        Mood::Accepts => text
            .replace("the model's words", &verdict(&asked, true))
            .into_response(),
        Mood::Rejects => text
            .replace("the model's words", &verdict(&asked, false))
            .into_response(),
        Mood::Copies => text
            .replace("the model's words", r#"{\"accept\":true,\"reasons\":[]}"#)
            .into_response(),
        Mood::Answers => ([("content-type", "application/json")], text).into_response(),
        Mood::CutShort => text.replace("\"stop\"", "\"length\"").into_response(),
        Mood::Later => (StatusCode::TOO_MANY_REQUESTS, [("retry-after", "120")], "later").into_response(),
        Mood::Silent => std::future::pending().await,
        Mood::Status(code) => (StatusCode::from_u16(code).unwrap(), "<html>no</html>").into_response(),
        Mood::Streams(pause) => {
            let parts = futures_util::stream::iter(["data: one\n\n", "data: two\n\n", "data: [DONE]\n\n"]);
            let paced = parts.then(move |part| async move {
                tokio::time::sleep(pause).await;
                Ok::<_, std::io::Error>(part)
            });
            ([("content-type", "text/event-stream")], Body::from_stream(paced)).into_response()
        }
        Mood::StopsMidway => {
            let half = futures_util::stream::iter([true, false]).then(|first| async move {
                if first {
                    return Ok("{\"choices\":[");
                }
                // The half is out by then.
                tokio::time::sleep(Duration::from_millis(300)).await;
                Err(std::io::Error::other("cut"))
            });
            ([("content-type", "application/json")], Body::from_stream(half)).into_response()
        }
    }
}

/// The verdict with the question's own word, as it stands in JSON.
fn verdict(asked: &[u8], accept: bool) -> String {
    let asked: serde_json::Value = serde_json::from_slice(asked).unwrap();
    let told = asked["messages"][0]["content"].as_str().unwrap();
    let word = told.split_once("{\"review\":\"").unwrap().1.split_once('"').unwrap().0;
    let text = format!(r#"{{"review":"{word}","accept":{accept},"reasons":["no totals"]}}"#);
    text.replace('"', "\\\"")
}
