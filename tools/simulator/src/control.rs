//! The control surface: scripts post gigs, play clients, inject faults, read the report.

use std::{collections::HashMap, sync::Arc, time::Duration};

use axum::{
    Json, Router,
    extract::{Path, Query, State},
    middleware,
    response::{IntoResponse, Response},
    routing::{get, post, put},
};
use bytes::Bytes;
use http::StatusCode;
use serde::Deserialize;
use serde_json::{Map, Value, json};

use crate::{
    api::reply::{Answer, created, ok, parse},
    app::App,
    faults::Spec,
    money::Micro,
    page::same_origin,
    refusal::Refusal,
    report, scenario,
    sync::lock,
    time, timers,
    world::ServiceSpec,
};

mod contracts;
mod gigs;
mod platform;

#[derive(Deserialize)]
struct Reset {
    #[serde(default)]
    agents: bool,
}

#[derive(Deserialize)]
struct Credit {
    amount_usdc: Micro,
}

#[derive(Deserialize)]
struct Advance {
    advance: String,
}

/// The longest way a clock is moved at once.
const LONGEST: Duration = Duration::from_secs(366 * 86_400);

/// Routes below `/control`.
pub fn router(app: &Arc<App>) -> Router {
    Router::new()
        .route("/gigs", get(gigs::list).post(gigs::post))
        .route("/gigs/{id}/accept", post(gigs::accept))
        .route("/gigs/{id}/hire", post(gigs::hire))
        .route("/gigs/{id}/moderate", post(platform::moderate))
        .route("/gigs/{id}/close", post(platform::close))
        .route("/contracts", get(contracts::list))
        .route("/contracts/{id}", get(contracts::show))
        .route("/contracts/{id}/{step}", post(contracts::step))
        .route("/services", post(offer))
        .route("/agents", get(agents))
        .route("/agents/{id}/ready", post(ready))
        .route("/agents/{id}/credit", post(credit))
        .route("/agents/{id}/{step}", post(platform::account))
        .route("/faults", put(arm).get(armed).delete(disarm))
        .route("/settings", put(set).get(settings))
        .route("/scenario", get(steps).post(load))
        .route("/clock", get(clock).post(advance))
        .route("/report", get(show_report))
        .route("/reset", post(reset))
        .route("/log", get(log))
        .fallback(|| async { Refusal::missing("Endpoint") })
        .method_not_allowed_fallback(|| async {
            let text = "Method not allowed";
            Refusal::new(StatusCode::METHOD_NOT_ALLOWED, "method_not_allowed", text)
        })
        .layer(middleware::from_fn(same_origin))
        .with_state(Arc::clone(app))
}

async fn agents(State(app): State<Arc<App>>) -> Answer {
    let rows: Vec<Value> = app.see(|world| world.agents.iter().map(|agent| world.agent_detail(agent)).collect());
    listed(rows)
}

async fn ready(State(app): State<Arc<App>>, Path(agent): Path<String>) -> Answer {
    ok(app.act(|world| world.make_ready(&agent))?)
}

async fn offer(State(app): State<Arc<App>>, body: Bytes) -> Answer {
    let spec: ServiceSpec = parse(&body)?;
    created(app.act(|world| world.offer(spec))?)
}

async fn credit(State(app): State<Arc<App>>, Path(agent): Path<String>, body: Bytes) -> Answer {
    let Credit { amount_usdc } = parse(&body)?;
    ok(app.act(|world| {
        let agent = world.agent_by_name(&agent).map(|agent| agent.id);
        world.deposit(agent.ok_or_else(|| Refusal::missing("Agent"))?, amount_usdc, "credited")
    })?)
}

async fn arm(State(app): State<Arc<App>>, body: Bytes) -> Answer {
    let specs: Vec<Spec> =
        serde_json::from_slice(&body).map_err(|error| Refusal::invalid(format!("faults not changed: {error}")))?;
    lock(&app.faults).arm(specs).map_err(Refusal::invalid)?;
    armed(State(app)).await
}

async fn armed(State(app): State<Arc<App>>) -> Answer {
    ok(Value::Array(lock(&app.faults).list()))
}

async fn disarm(State(app): State<Arc<App>>) -> Answer {
    lock(&app.faults).clear();
    armed(State(app)).await
}

async fn settings(State(app): State<Arc<App>>) -> Answer {
    let settings = app.see(|world| serde_json::to_value(world.settings()));
    ok(settings.unwrap_or_default())
}

async fn set(State(app): State<Arc<App>>, body: Bytes) -> Answer {
    let patch: Map<String, Value> = parse(&body)?;
    app.act(|world| {
        let settings = world.settings().patched(patch)?;
        world.set_settings(settings);
        Ok(())
    })
    .map_err(|error: String| Refusal::invalid(error))?;
    settings(State(app)).await
}

/// The steps of the running scenario, and what became of each.
async fn steps(State(app): State<Arc<App>>) -> Answer {
    ok(lock(&app.scenario).shown())
}

/// Starts a scenario; the body is TOML.
async fn load(State(app): State<Arc<App>>, body: String) -> Answer {
    scenario::load(&app, &body).map_err(Refusal::invalid)?;
    steps(State(app)).await
}

/// What the time is, and how much is planned.
async fn clock(State(app): State<Arc<App>>) -> Answer {
    ok(json!({
        "now": time::iso(app.clock.now()),
        "frozen": app.clock.is_frozen(),
        "planned": app.timers.planned(),
    }))
}

/// Moves a frozen clock; answered when everything due by then is done.
async fn advance(State(app): State<Arc<App>>, body: Bytes) -> Answer {
    let Advance { advance } = parse(&body)?;
    let by = humantime::parse_duration(&advance).ok().filter(|by| *by <= LONGEST);
    let by = by.ok_or_else(|| Refusal::invalid("advance must be a duration such as \"10m\", of at most 366 days"))?;
    if !app.clock.is_frozen() {
        let text = "The clock is the real one; start with --seed N --reproducible for one that can be moved";
        return Err(Refusal::conflict("clock_is_real", text));
    }
    timers::advance(&app, by).await;
    clock(State(app)).await
}

async fn show_report(State(app): State<Arc<App>>) -> Response {
    Json(report::report(&app)).into_response()
}

async fn reset(State(app): State<Arc<App>>, body: Bytes) -> Answer {
    let Reset { agents } = parse(&body)?;
    app.reset(agents);
    ok(json!({ "reset": true }))
}

async fn log(State(app): State<Arc<App>>, Query(params): Query<HashMap<String, String>>) -> Answer {
    let since = params.get("since").map_or(Ok(0), |since| since.parse::<u64>());
    let since = since.map_err(|_| Refusal::invalid("since must be the seq of an entry"))?;
    let requests = lock(&app.requests);
    ok(json!({ "entries": requests.since(since), "last": requests.last() }))
}

/// A whole list: nobody pages here.
fn listed(rows: Vec<Value>) -> Answer {
    let total = rows.len();
    ok(json!({ "data": rows, "total": total }))
}
