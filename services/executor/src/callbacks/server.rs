//! The port: who is let in, and what is answered.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use axum::body::{Body, BodyDataStream, Bytes};
use axum::extract::{Path, State};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post, put};
use axum::{Json, Router};
use boot::{CancellationToken, Tasks};
use futures_util::StreamExt as _;
use http::header::{CACHE_CONTROL, CONNECTION, CONTENT_LENGTH, CONTENT_TYPE, RETRY_AFTER, X_CONTENT_TYPE_OPTIONS};
use http::{HeaderMap, StatusCode};
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use hyper_util::server::conn::auto::Builder;
use hyper_util::service::TowerToHyperService;
use serde_json::json;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;
use tokio::time::timeout;

use super::door::{Doors, Entered};
use super::token::{Key, Purpose};
use super::wire::Wire;
use super::{Callbacks, files};
use crate::metrics;
use crate::protocol::event::MAX_LINE;
use crate::protocol::name;

/// Open connections, of all endpoints together.
const CONNECTIONS: usize = 256;
/// A connection on which nothing passes.
const SILENCE: Duration = Duration::from_secs(60);
/// A request's head.
const HEAD: Duration = Duration::from_secs(10);
const MAX_HEAD: usize = 16 * 1024;
/// Between two parts of a body, and until the run takes lines.
const PART: Duration = Duration::from_secs(30);
/// A body of lines: room for one of the longest, and as much again.
const LINES: usize = 2 * MAX_LINE;
/// An `Idempotency-Key`.
const LONGEST_KEY: usize = 255;
/// After a failed accept (no file descriptors left), before the next.
const PAUSE: Duration = Duration::from_millis(50);

/// Why a request is not taken.
#[derive(Debug)]
pub(super) enum Refusal {
    /// Not signed right, run out, or nothing there: nobody is told which.
    NotFound,
    /// The attempt is over, and why.
    Over(String),
    Bad(String),
    TooLarge,
    TooMany,
    TooSlow,
    /// The run does not read.
    Later,
    /// No room on this disk.
    Full,
    Broken,
}

struct Desk {
    key: Arc<Key>,
    doors: Arc<Doors>,
}

/// Serves until `over`.
pub(super) fn spawn(listener: TcpListener, callbacks: &Callbacks, over: CancellationToken) {
    let desk = Arc::new(Desk {
        key: Arc::clone(&callbacks.key),
        doors: Arc::clone(&callbacks.doors),
    });
    let router = Router::new()
        .route("/runs/{token}/events", post(lines))
        .route("/runs/{token}/out/{*name}", put(upload))
        .route("/runs/{token}/in/{*path}", get(input))
        .fallback(nothing)
        .method_not_allowed_fallback(nothing)
        .with_state(desk);
    let tasks = callbacks.tasks.clone();
    let serving = callbacks.tasks.spawn_job("callbacks", async move {
        over.run_until_cancelled(accept(listener, router, tasks, &over)).await
    });
    drop(serving);
}

async fn accept(listener: TcpListener, router: Router, tasks: Tasks, over: &CancellationToken) {
    let places = Arc::new(Semaphore::new(CONNECTIONS));
    let mut http = Builder::new(TokioExecutor::new()).http1_only();
    http.http1()
        .timer(TokioTimer::new())
        .header_read_timeout(HEAD)
        .max_buf_size(MAX_HEAD)
        .half_close(false)
        .keep_alive(true);
    loop {
        // What comes beyond waits in the kernel's queue.
        let Ok(place) = Arc::clone(&places).acquire_owned().await else {
            return;
        };
        let stream = match listener.accept().await {
            Ok((stream, _peer)) => stream,
            Err(error) => {
                tracing::warn!(%error, "a connection of an endpoint could not be accepted");
                tokio::time::sleep(PAUSE).await;
                continue;
            }
        };
        let serving = serve(&http, stream, router.clone());
        let until = over.clone();
        let running = tasks.spawn_job("callback_connection", async move {
            // How it ended is the peer's affair.
            let _ended = until.run_until_cancelled(serving).await;
            drop(place);
        });
        drop(running);
    }
}

fn serve(
    http: &Builder<TokioExecutor>,
    stream: TcpStream,
    router: Router,
) -> impl Future<Output = Result<(), Box<dyn std::error::Error + Send + Sync>>> + Send + 'static {
    // Only slower without.
    let _delayed = stream.set_nodelay(true);
    let wire = TokioIo::new(Wire::new(stream, SILENCE));
    http.serve_connection(wire, TowerToHyperService::new(router))
        .into_owned()
}

impl Desk {
    fn enter(&self, purpose: &Purpose<'_>, token: &str, key: Option<&str>) -> Result<Entered, Refusal> {
        let now = chrono::Utc::now().timestamp();
        let name = self.key.read(purpose, token, now).ok_or(Refusal::NotFound)?;
        self.doors.enter(&name, key)
    }
}

async fn lines(State(desk): State<Arc<Desk>>, Path(token): Path<String>, headers: HeaderMap, body: Body) -> Response {
    let taking = async {
        let key = headers.get("idempotency-key").map(|key| key.to_str());
        let key = key
            .transpose()
            .ok()
            .filter(|key| key.is_none_or(|key| key.len() <= LONGEST_KEY));
        // Who may not come in learns nothing of what is wrong with a header.
        let entered = desk.enter(&Purpose::Lines, &token, key.flatten())?;
        let wrong = || Refusal::Bad(format!("an Idempotency-Key has at most {LONGEST_KEY} letters of ASCII"));
        let key = key.ok_or_else(wrong)?;
        let shared = &entered.shared;
        if shared.knows(key) {
            return Ok(taken(true));
        }
        let reading = async {
            let body = whole(body).await?;
            timeout(PART, shared.take(key, body))
                .await
                .map_err(|_elapsed| Refusal::Later)?
        };
        let new = shared.closed.run_until_cancelled(reading).await;
        new.unwrap_or_else(|| Err(shared.over())).map(|new| taken(!new))
    };
    answer("lines", taking.await)
}

async fn upload(State(desk): State<Arc<Desk>>, Path((token, file)): Path<(String, String)>, body: Body) -> Response {
    let taking = async {
        let entered = desk.enter(&Purpose::Upload, &token, None)?;
        let file = name::in_out(&file).map_err(Refusal::Bad)?;
        let shared = &entered.shared;
        let storing = files::store(shared, file, body);
        let stored = shared.closed.run_until_cancelled(storing).await;
        let stored = stored.unwrap_or_else(|| Err(shared.over()))?;
        Ok((StatusCode::CREATED, Json(stored)).into_response())
    };
    answer("upload", taking.await)
}

async fn input(State(desk): State<Arc<Desk>>, Path((token, path)): Path<(String, String)>) -> Response {
    let giving = async {
        let entered = desk.enter(&Purpose::Input(&path), &token, None)?;
        let shared = Arc::clone(&entered.shared);
        let opening = tokio::task::spawn_blocking(move || files::input(&shared, &path));
        let (file, bytes) = opening.await.ok().flatten().ok_or(Refusal::NotFound)?;
        let headers = [
            (CONTENT_LENGTH, bytes.to_string()),
            // What is inside is a stranger's.
            (CONTENT_TYPE, "application/octet-stream".to_owned()),
            (X_CONTENT_TYPE_OPTIONS, "nosniff".to_owned()),
            (CACHE_CONTROL, "no-store".to_owned()),
        ];
        let body = files::body(&entered.shared, file);
        // The place is taken as long as something goes out.
        let body = Body::from_stream(body.into_data_stream().map(move |part| {
            let _held = &entered;
            part
        }));
        Ok((headers, body).into_response())
    };
    answer("input", giving.await)
}

async fn nothing() -> Response {
    answer("unknown", Err(Refusal::NotFound))
}

fn taken(again: bool) -> Response {
    Json(json!({ "taken": true, "again": again })).into_response()
}

fn answer(kind: &'static str, result: Result<Response, Refusal>) -> Response {
    let refused = result.is_err();
    let mut answer = result.unwrap_or_else(IntoResponse::into_response);
    if refused {
        // What is left of its body is not read.
        answer
            .headers_mut()
            .insert(CONNECTION, http::HeaderValue::from_static("close"));
    }
    let class = match answer.status().as_u16() {
        200..300 => "taken",
        404 => "unknown",
        410 => "late",
        _ => "refused",
    };
    ::metrics::counter!(metrics::CALLBACKS, "kind" => kind, "outcome" => class).increment(1);
    answer
}

/// A body of lines, each with its end.
async fn whole(body: Body) -> Result<Vec<u8>, Refusal> {
    let mut parts = body.into_data_stream();
    let mut whole = Vec::new();
    while let Some(part) = next_part(&mut parts).await? {
        if whole.len() + part.len() > LINES {
            return Err(Refusal::TooLarge);
        }
        whole.extend_from_slice(&part);
    }
    if whole.last() != Some(&b'\n') {
        whole.push(b'\n');
    }
    Ok(whole)
}

/// The next part of a body, unless it takes too long or breaks off.
pub(super) async fn next_part(parts: &mut BodyDataStream) -> Result<Option<Bytes>, Refusal> {
    let part = timeout(PART, parts.next()).await.map_err(|_elapsed| Refusal::TooSlow)?;
    part.transpose().map_err(|error| {
        tracing::debug!(error = %io::Error::other(error), "a body of an endpoint broke off");
        Refusal::Bad("the body broke off".to_owned())
    })
}

impl IntoResponse for Refusal {
    fn into_response(self) -> Response {
        let (status, error, reason) = match self {
            Self::NotFound => (StatusCode::NOT_FOUND, "not_found", String::new()),
            Self::Over(reason) => (StatusCode::GONE, "over", reason),
            Self::Bad(reason) => (StatusCode::BAD_REQUEST, "bad_request", reason),
            Self::TooLarge => (StatusCode::PAYLOAD_TOO_LARGE, "too_large", String::new()),
            Self::TooMany => (StatusCode::TOO_MANY_REQUESTS, "too_many", String::new()),
            Self::TooSlow => (StatusCode::REQUEST_TIMEOUT, "too_slow", String::new()),
            Self::Later => (StatusCode::SERVICE_UNAVAILABLE, "later", String::new()),
            Self::Full => (StatusCode::INSUFFICIENT_STORAGE, "disk_full", String::new()),
            Self::Broken => (StatusCode::INTERNAL_SERVER_ERROR, "broken", String::new()),
        };
        let mut body = json!({ "error": error });
        if !reason.is_empty() {
            body["reason"] = reason.into();
        }
        let mut answer = (status, Json(body)).into_response();
        if matches!(status, StatusCode::TOO_MANY_REQUESTS | StatusCode::SERVICE_UNAVAILABLE) {
            answer
                .headers_mut()
                .insert(RETRY_AFTER, http::HeaderValue::from_static("1"));
        }
        answer
    }
}
