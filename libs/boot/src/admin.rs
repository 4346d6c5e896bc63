//! The admin port, the same in every service: `/live`, `/ready`, `/metrics`, `/build`, `/log-filter`. Not for the public.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Instant;

use axum::extract::{DefaultBodyLimit, State};
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use axum::{Json, Router};
use serde::Serialize;
use telemetry::Telemetry;
use tokio::net::TcpListener;

use crate::build_info::{BuildInfo, Facts};
use crate::metric_names::{READY, UPTIME};
use crate::readiness::Readiness;
use crate::tasks;

/// The longest log filter that is read.
const MAX_BODY_BYTES: usize = 4096;

#[derive(Clone)]
pub(crate) struct Admin {
    pub(crate) readiness: Readiness,
    pub(crate) build: Arc<BuildInfo>,
    pub(crate) facts: Facts,
    pub(crate) telemetry: Telemetry,
    pub(crate) started: Instant,
}

/// A running admin server; it ends when this is dropped, which is after everything else.
pub(crate) struct Serving(tokio::task::JoinHandle<()>);

impl Drop for Serving {
    fn drop(&mut self) {
        self.0.abort();
    }
}

pub(crate) fn serve(listener: TcpListener, admin: Admin) -> Serving {
    let router = router(admin);
    Serving(tasks::spawn(async move {
        if let Err(error) = axum::serve(listener, router).await {
            tracing::error!(%error, "admin server ended");
        }
    }))
}

pub(crate) fn router(admin: Admin) -> Router {
    Router::new()
        .route("/live", get(async || "live\n"))
        .route("/ready", get(ready))
        .route("/metrics", get(metrics))
        .route("/build", get(build))
        .route("/log-filter", get(log_filter).put(set_log_filter))
        .layer(DefaultBodyLimit::max(MAX_BODY_BYTES))
        .with_state(admin)
}

#[derive(Serialize)]
struct Ready {
    ready: bool,
    closed: Vec<String>,
}

async fn ready(State(admin): State<Admin>) -> Response {
    let closed = admin.readiness.closed();
    let ready = closed.is_empty();
    let status = if ready {
        StatusCode::OK
    } else {
        StatusCode::SERVICE_UNAVAILABLE
    };
    (status, Json(Ready { ready, closed })).into_response()
}

async fn metrics(State(admin): State<Admin>) -> Response {
    ::metrics::gauge!(UPTIME).set(admin.started.elapsed().as_secs_f64());
    ::metrics::gauge!(READY).set(if admin.readiness.is_ready() { 1.0 } else { 0.0 });
    let prometheus = (header::CONTENT_TYPE, "text/plain; version=0.0.4; charset=utf-8");
    ([prometheus], admin.telemetry.render_metrics()).into_response()
}

#[derive(Serialize)]
struct Running {
    #[serde(flatten)]
    build: BuildInfo,
    #[serde(flatten)]
    facts: BTreeMap<&'static str, serde_json::Value>,
}

async fn build(State(admin): State<Admin>) -> Json<Running> {
    Json(Running {
        build: BuildInfo::clone(&admin.build),
        facts: admin.facts.all(),
    })
}

async fn log_filter(State(admin): State<Admin>) -> String {
    admin
        .telemetry
        .log_filter()
        .map(|filter| filter + "\n")
        .unwrap_or_default()
}

async fn set_log_filter(State(admin): State<Admin>, directives: String) -> Response {
    match admin.telemetry.set_log_filter(directives.trim()) {
        Ok(()) => {
            tracing::info!(filter = directives.trim(), "log filter changed");
            StatusCode::NO_CONTENT.into_response()
        }
        Err(error) => (StatusCode::BAD_REQUEST, format!("{error}\n")).into_response(),
    }
}
