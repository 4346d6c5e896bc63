//! The agents' listener.

use std::{sync::Arc, time::Duration};

use axum::{
    Router,
    body::Body,
    extract::{Request, State},
    response::Response,
    routing::{any, get, post},
};
use axum_server::{Handle, accept::NoDelayAcceptor};
use boot::{Context, OnExit};
use http::{HeaderMap, Uri};
use hyper_util::rt::TokioTimer;
use tokio::net::TcpListener;
use tracing::Instrument as _;

use super::{Gateway, dialect::Dialect, ext, refusal::Refusal};
use crate::config::Config;

/// What open connections get when the hard stop comes.
const AT_ONCE: Duration = Duration::from_millis(500);

/// Serves until the soft token is cancelled, then finishes what is open.
///
/// # Errors
/// When the listener cannot be used.
pub fn spawn(context: &Context<Config>, listener: TcpListener, gateway: Arc<Gateway>) -> std::io::Result<()> {
    let handle = Handle::new();
    let mut server = axum_server::from_tcp(listener.into_std()?)?
        .acceptor(NoDelayAcceptor::new())
        .handle(handle.clone());
    server
        .http_builder()
        .http1()
        .timer(TokioTimer::new())
        .header_read_timeout(context.config.gateway.header_timeout);
    let service = router(gateway).into_make_service();
    let (soft, hard) = (context.soft.clone(), context.hard.clone());
    context.tasks.spawn("gateway", OnExit::StopService, async move {
        let draining = async {
            soft.cancelled().await;
            handle.graceful_shutdown(None);
            hard.cancelled().await;
            handle.graceful_shutdown(Some(AT_ONCE));
            std::future::pending().await
        };
        tokio::select! {
            served = server.serve(service) => served,
            never = draining => never,
        }
    });
    Ok(())
}

fn router(gateway: Arc<Gateway>) -> Router {
    let paths = Router::new()
        .route("/chat/completions", post(chat))
        .route("/messages", post(messages))
        .route("/responses", post(responses))
        .route("/models", get(models));
    Router::new()
        .nest("/v1", paths.clone())
        .merge(paths)
        .route("/ext/{*rest}", any(errand))
        .fallback(not_found)
        .method_not_allowed_fallback(method_not_allowed)
        .with_state(gateway)
}

async fn chat(State(gateway): State<Arc<Gateway>>, headers: HeaderMap, body: Body) -> Response {
    call(gateway, Dialect::Chat, headers, body).await
}

async fn messages(State(gateway): State<Arc<Gateway>>, headers: HeaderMap, body: Body) -> Response {
    call(gateway, Dialect::Messages, headers, body).await
}

async fn responses(State(gateway): State<Arc<Gateway>>, headers: HeaderMap, body: Body) -> Response {
    call(gateway, Dialect::Responses, headers, body).await
}

async fn call(gateway: Arc<Gateway>, dialect: Dialect, headers: HeaderMap, body: Body) -> Response {
    let span = span(&headers, dialect.path());
    async move { gateway.call(dialect, &headers, body).await }
        .instrument(span)
        .await
}

async fn models(State(gateway): State<Arc<Gateway>>, headers: HeaderMap) -> Response {
    let span = span(&headers, "models");
    async move { gateway.models(&headers).await }.instrument(span).await
}

async fn errand(State(gateway): State<Arc<Gateway>>, request: Request) -> Response {
    let (parts, body) = request.into_parts();
    let span = span(&parts.headers, ext::PREFIX);
    async move { gateway.errand(parts, body).await }.instrument(span).await
}

async fn not_found(State(gateway): State<Arc<Gateway>>, uri: Uri) -> Response {
    Refusal::not_found(uri.path()).into_response(Dialect::of_path(uri.path()), &gateway.settings)
}

async fn method_not_allowed(State(gateway): State<Arc<Gateway>>, uri: Uri) -> Response {
    Refusal::method_not_allowed().into_response(Dialect::of_path(uri.path()), &gateway.settings)
}

/// The call's span, in the trace of whoever makes the call.
fn span(headers: &HeaderMap, what: &'static str) -> tracing::Span {
    let span = tracing::info_span!(
        "gateway_call",
        what,
        run.id = tracing::field::Empty,
        agent.id = tracing::field::Empty
    );
    if let Some(parent) = headers.get("traceparent").and_then(|value| value.to_str().ok()) {
        telemetry::set_parent(&span, parent);
    }
    span
}
