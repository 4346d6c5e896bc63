//! How a fault changes the course of one call.

use std::{future::Future, sync::Arc, time::Duration};

use axum::{
    body::Body,
    response::{Html, IntoResponse, Response},
};
use bytes::Bytes;
use chrono::{DateTime, TimeDelta, Utc};
use futures_util::stream;
use http::{HeaderValue, StatusCode, header};
use serde_json::json;

use super::{Fault, Kind};
use crate::{app::App, connection::Connection, time};

/// How long written bytes get to reach the client before a cut.
const FLUSH: Duration = Duration::from_millis(50);
/// Longest answer that is held to be cut halfway.
const MAX_HELD: usize = 16 * 1024 * 1024;

/// Whose words an injected error answer uses.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Voice {
    Platform,
    OpenAi,
    Anthropic,
}

/// Runs `call` under `fault`; none runs it plainly. The second value is the wait a 429 told.
pub async fn run<C>(
    app: &Arc<App>,
    connection: &Connection,
    fault: Option<&Fault>,
    voice: Voice,
    call: C,
) -> (Response, Option<Duration>)
where
    C: Future<Output = Response> + Send + 'static,
{
    let Some(fault) = fault else {
        return (call.await, None);
    };
    let response = match fault.kind {
        Kind::Http429 => return too_many(fault, voice, app.clock.now()),
        Kind::Http500 => error(voice, StatusCode::INTERNAL_SERVER_ERROR, "Internal server error"),
        Kind::Http502Html => {
            let page = "<html><head><title>502 Bad Gateway</title></head><body>\
                        <h1>502 Bad Gateway</h1></body></html>";
            (StatusCode::BAD_GATEWAY, Html(page)).into_response()
        }
        Kind::Http402 => {
            let body = json!({"error": {"code": "402", "message": "Payment required"}});
            (StatusCode::PAYMENT_REQUIRED, axum::Json(body)).into_response()
        }
        Kind::Slow => slow(app, fault, call).await,
        Kind::ResetBefore => connection.cut().await,
        Kind::ResetAfterCommit => {
            drop(call.await);
            connection.cut().await
        }
        Kind::Garbage => {
            drop(call.await);
            let kind = [(header::CONTENT_TYPE, "application/json")];
            (kind, "<!doctype html><p>It works!</p>").into_response()
        }
        Kind::StopMidstream => halfway(connection.clone(), call.await).await,
        // Of webhooks, or of the world before the call.
        Kind::Duplicate
        | Kind::Reorder
        | Kind::Delay
        | Kind::Drop
        | Kind::BadSignature
        | Kind::OldSecret
        | Kind::OddRounding
        | Kind::GigClosed
        | Kind::ProposalCap
        | Kind::StaleTimestamp => call.await,
    };
    (response, None)
}

/// An error answer in the words of `voice`.
pub fn error(voice: Voice, status: StatusCode, message: &str) -> Response {
    let kind = match status {
        StatusCode::TOO_MANY_REQUESTS => "rate_limit_error",
        StatusCode::UNAUTHORIZED => "authentication_error",
        status if status.is_client_error() => "invalid_request_error",
        _ if voice == Voice::OpenAi => "server_error",
        _ => "api_error",
    };
    let body = match voice {
        Voice::Platform if status == StatusCode::TOO_MANY_REQUESTS => json!({ "error": message }),
        Voice::Platform => json!({ "error": message, "code": "internal_error" }),
        Voice::OpenAi => {
            json!({"error": {"message": message, "type": kind, "param": null, "code": null}})
        }
        Voice::Anthropic => json!({"type": "error", "error": {"type": kind, "message": message}}),
    };
    (status, axum::Json(body)).into_response()
}

/// The answer of a limiter: wait that many seconds.
pub fn limited(voice: Voice, secs: u64) -> Response {
    let mut response = match voice {
        Voice::Platform => {
            let body = json!({"error": "Rate limit exceeded", "retryAfter": secs});
            (StatusCode::TOO_MANY_REQUESTS, axum::Json(body)).into_response()
        }
        _ => error(voice, StatusCode::TOO_MANY_REQUESTS, "Rate limit reached"),
    };
    response
        .headers_mut()
        .insert(header::RETRY_AFTER, HeaderValue::from(secs));
    response
}

fn too_many(fault: &Fault, voice: Voice, now: DateTime<Utc>) -> (Response, Option<Duration>) {
    let secs = fault.number("retry_after", fault.number("secs", 1)).min(86_400);
    let wait = Duration::from_secs(secs);
    match fault.word("retry_after") {
        Some("none") => {
            let text = "Rate limit exceeded";
            (error(voice, StatusCode::TOO_MANY_REQUESTS, text), None)
        }
        Some("http_date") => {
            let mut response = limited(voice, secs);
            let until = time::http_date(whole_second(now) + TimeDelta::seconds(secs as i64));
            if let Ok(until) = HeaderValue::from_str(&until) {
                response.headers_mut().insert(header::RETRY_AFTER, until);
            }
            // The date has whole seconds: it may name a moment up to a second later.
            (response, Some(wait))
        }
        _ => (limited(voice, secs), Some(wait)),
    }
}

/// The next whole second.
fn whole_second(at: DateTime<Utc>) -> DateTime<Utc> {
    let beyond = i64::from(at.timestamp_subsec_nanos());
    at + TimeDelta::nanoseconds((1_000_000_000 - beyond) % 1_000_000_000)
}

async fn slow<C>(app: &Arc<App>, fault: &Fault, call: C) -> Response
where
    C: Future<Output = Response> + Send + 'static,
{
    let wait = Duration::from_millis(fault.number("ms", 30_000).min(600_000));
    if fault.word("when") == Some("before") {
        // In a task of its own: the platform finishes what it began though the caller has left.
        let late = app.tasks.spawn(async move {
            tokio::time::sleep(wait).await;
            call.await
        });
        return late.await.unwrap_or_else(|_| {
            error(
                Voice::Platform,
                StatusCode::INTERNAL_SERVER_ERROR,
                "Internal server error",
            )
        });
    }
    let response = call.await;
    tokio::time::sleep(wait).await;
    response
}

/// The first half of `response`, then a cut.
async fn halfway(connection: Connection, response: Response) -> Response {
    let (mut parts, body) = response.into_parts();
    parts.headers.remove(header::CONTENT_LENGTH);
    let whole = axum::body::to_bytes(body, MAX_HELD).await.unwrap_or_default();
    let half = whole.slice(..whole.len() / 2);
    let pieces = stream::unfold((Some(half), connection), |(half, connection)| async move {
        match half {
            Some(half) => Some((Ok::<Bytes, std::convert::Infallible>(half), (None, connection))),
            None => {
                tokio::time::sleep(FLUSH).await;
                connection.cut().await
            }
        }
    });
    Response::from_parts(parts, Body::from_stream(pieces))
}
