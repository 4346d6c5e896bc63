//! Before and after every call of the API: who calls, how often, what goes wrong, what is logged.

use std::{sync::Arc, time::Duration};

use axum::{
    body::Body,
    extract::{OriginalUri, Request, State},
    middleware::Next,
    response::{IntoResponse, Response},
};
use bytes::Bytes;
use http::{HeaderMap, HeaderValue, Method, StatusCode, header};
use uuid::Uuid;

use super::reply::Identified;
use crate::{
    app::App,
    connection::Connection,
    dialect::{self, Dialect},
    faults::{Fault, Kind, On, inject},
    files,
    limits::{Bucket, Standing},
    refusal::Refusal,
    requests::Entry,
    settings::Settings,
    sync::lock,
    time,
    world::agents::suspended,
};

/// Largest JSON body.
const MAX_JSON: usize = 1024 * 1024;
/// Largest upload with the form around it.
const MAX_FORM: usize = files::MAX_FILE + 64 * 1024;
/// How long a body may take to arrive.
const BODY_TIMEOUT: Duration = Duration::from_secs(30);

/// What a call is, for limits and faults.
struct Call {
    place: On,
    bucket: Bucket,
    agent: Option<Uuid>,
    suspended: bool,
    name: String,
}

/// Wraps every call of the API.
pub async fn guard(
    State(app): State<Arc<App>>,
    OriginalUri(uri): OriginalUri,
    request: Request,
    next: Next,
) -> Response {
    let connection = request.extensions().get::<Connection>().cloned();
    let Some(connection) = connection else {
        return StatusCode::INTERNAL_SERVER_ERROR.into_response();
    };
    let arrived = app.clock.now();
    let method = request.method().clone();
    let (call, settings) = identify(&app, &request, &connection);
    let standing = count(&app, &call, &settings);
    note_manners(&app, &call, &standing, &method, uri.path());
    let mut log = Entry {
        seq: 0,
        at: time::iso(arrived),
        method: method.to_string(),
        path: uri.to_string(),
        status: None,
        agent: call.agent.map(|_| call.name.clone()),
        fault: None,
    };

    let mut response = if let Some(secs) = standing.refused {
        inject::limited(inject::Voice::Platform, secs)
    } else {
        match buffered(request, &call).await {
            Err(refusal) => refusal.into_response(),
            Ok(_) if call.suspended && method != Method::GET => suspended().into_response(),
            Ok(request) => {
                let fault = lock(&app.faults).strike(call.place);
                log.fault = fault.as_ref().map(|fault| fault.kind.name());
                if fault.as_ref().is_some_and(|fault| is_cut(fault.kind)) {
                    // Such a call has no answer to log.
                    lock(&app.requests).add(log.clone());
                }
                bend(&app, fault.as_ref(), request.uri().path());
                let run = answered(Arc::clone(&app), settings.dialect, request, next);
                let voice = inject::Voice::Platform;
                let (response, told) = inject::run(&app, &connection, fault.as_ref(), voice, run).await;
                if let Some(wait) = told {
                    lock(&app.limits).told_to_wait(call.bucket, wait, app.clock.elapsed());
                }
                response
            }
        }
    };

    show_limits(response.headers_mut(), &standing);
    if app.clock.is_frozen()
        && let Ok(date) = HeaderValue::from_str(&time::http_date(app.clock.now()))
    {
        response.headers_mut().insert(header::DATE, date);
    }
    log.status = Some(response.status().as_u16());
    lock(&app.requests).add(log);
    response
}

/// The handler's answer in the words of the dialect.
async fn answered(app: Arc<App>, dialect: Dialect, request: Request, next: Next) -> Response {
    let path = request.uri().path().to_owned();
    let segments: Vec<&str> = path.split('/').skip(1).collect();
    let response = if dialect::knows(dialect, request.method(), &segments) {
        next.run(request).await
    } else {
        Refusal::missing("Endpoint").into_response()
    };
    dialect::worded(&app, dialect, &segments, response).await
}

/// What a fault does to the world before the call.
fn bend(app: &App, fault: Option<&Fault>, path: &str) {
    let gig = path.split('/').nth(2).and_then(|id| id.parse().ok());
    match (fault.map(|fault| fault.kind), gig) {
        (Some(Kind::GigClosed), Some(gig)) => {
            // One that is closed already stays so.
            let _ = app.act(|world| world.close(gig));
        }
        (Some(Kind::ProposalCap), Some(gig)) => app.act(|world| world.cap(gig)),
        _ => {}
    }
}

fn is_cut(kind: Kind) -> bool {
    matches!(kind, Kind::ResetBefore | Kind::ResetAfterCommit)
}

fn identify(app: &App, request: &Request, connection: &Connection) -> (Call, Settings) {
    let key = bearer(request.headers());
    let (agent, name, settings) = app.see(|world| {
        let agent = key.and_then(|key| world.agents.get(world.agent_by_key(key)?));
        let name = agent.map(|agent| (agent.username.clone(), agent.is_suspended()));
        (agent.map(|agent| agent.id), name, world.settings().clone())
    });
    let segments: Vec<&str> = request.uri().path().split('/').skip(1).collect();
    let place = place(request.method(), &segments);
    let public = request.method() == Method::GET && segments.first() == Some(&"gigs");
    let bucket = match agent {
        Some(agent) if !public => Bucket::Key(agent),
        _ => Bucket::Public(connection.peer()),
    };
    let (name, suspended) = name.unwrap_or_else(|| (connection.peer().to_string(), false));
    let call = Call {
        place,
        bucket,
        agent,
        suspended,
        name,
    };
    (call, settings)
}

fn bearer(headers: &HeaderMap) -> Option<&str> {
    let value = headers.get(header::AUTHORIZATION)?.to_str().ok()?;
    value.strip_prefix("Bearer ").map(str::trim)
}

fn place(method: &Method, segments: &[&str]) -> On {
    match (method.as_str(), segments) {
        ("GET", _) => On::List,
        ("POST", ["contracts", _, "deliver"]) => On::Deliver,
        ("POST", ["contracts", _, "messages"]) => On::Message,
        ("POST", ["gigs", _, "proposals"]) => On::Propose,
        ("POST", ["upload"]) => On::Upload,
        ("POST", [.., "rotate-secret"] | ["webhooks", "secret", "rotate"]) => On::Rotate,
        _ => On::Other,
    }
}

/// Counts the call; an upload counts twice, and the tighter of the two limits is shown.
fn count(app: &App, call: &Call, settings: &Settings) -> Standing {
    let window = settings.rate_limit_window;
    let mut limits = lock(&app.limits);
    let limit = match call.bucket {
        Bucket::Public(_) => settings.public_limit(),
        Bucket::Key(_) | Bucket::Upload(_) => settings.rate_limit_per_minute,
    };
    let standing = limits.take(call.bucket, limit, window, &app.clock);
    match (call.place, call.agent) {
        (On::Upload, Some(agent)) if standing.refused.is_none() => {
            let upload = limits.take(Bucket::Upload(agent), settings.upload_limit(), window, &app.clock);
            if upload.remaining < standing.remaining || upload.refused.is_some() {
                Standing {
                    early: standing.early || upload.early,
                    ..upload
                }
            } else {
                standing
            }
        }
        _ => standing,
    }
}

fn note_manners(app: &App, call: &Call, standing: &Standing, method: &Method, path: &str) {
    if !standing.early && !standing.over {
        return;
    }
    let detail = format!("{method} {path}");
    let now = app.clock.now();
    let mut world = lock(&app.world);
    if standing.early {
        world
            .etiquette
            .note(now, &call.name, "call_before_retry_after", detail.clone());
    }
    if standing.over {
        world.etiquette.note(now, &call.name, "over_the_limit", detail);
    }
}

/// The request with its body read, and its caller attached.
async fn buffered(request: Request, call: &Call) -> Result<Request, Refusal> {
    let most = if call.place == On::Upload { MAX_FORM } else { MAX_JSON };
    let (mut parts, body) = request.into_parts();
    parts.extensions.insert(Identified(call.agent));
    let length = parts
        .headers
        .get(header::CONTENT_LENGTH)
        .and_then(|length| length.to_str().ok()?.parse::<usize>().ok());
    if length.is_some_and(|length| length > most) {
        return Err(too_large(call));
    }
    let read = tokio::time::timeout(BODY_TIMEOUT, axum::body::to_bytes(body, most)).await;
    let body: Bytes = match read {
        Ok(Ok(body)) => body,
        Ok(Err(_)) => return Err(too_large(call)),
        Err(_) => {
            let text = "The body took too long";
            return Err(Refusal::new(StatusCode::REQUEST_TIMEOUT, "timeout", text));
        }
    };
    Ok(Request::from_parts(parts, Body::from(body)))
}

fn too_large(call: &Call) -> Refusal {
    if call.place == On::Upload {
        return files::too_large();
    }
    let text = "The body may have at most 1 MiB";
    Refusal::new(StatusCode::PAYLOAD_TOO_LARGE, "payload_too_large", text)
}

fn show_limits(headers: &mut HeaderMap, standing: &Standing) {
    headers.insert("x-ratelimit-limit", HeaderValue::from(standing.limit));
    headers.insert("x-ratelimit-remaining", HeaderValue::from(standing.remaining));
    headers.insert("x-ratelimit-reset", HeaderValue::from(standing.reset));
}
