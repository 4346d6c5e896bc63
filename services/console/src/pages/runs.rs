//! Runs: all of them, and one with what it said on its way.

use std::sync::Arc;

use askama::Template;
use axum::Extension;
use axum::extract::{Path, Query, State};
use axum::response::Response;
use rpc::v1;

use super::{Choice, Chrome, choices, html};
use crate::error::Error;
use crate::session::Visitor;
use crate::{Console, actions, show};

const STATES: [&str; 7] = [
    "queued",
    "leased",
    "retrying",
    "waiting",
    "parked",
    "succeeded",
    "cancelled",
];

#[derive(Template)]
#[template(path = "runs.html")]
struct List {
    chrome: Chrome,
    choices: Vec<Choice>,
    runs: Vec<v1::Run>,
    next: Option<String>,
}

#[derive(Template)]
#[template(path = "run.html")]
struct Detail {
    chrome: Chrome,
    run: v1::Run,
    detail: v1::RunDetail,
}

/// `GET /runs`
pub(crate) async fn list(
    State(console): State<Arc<Console>>,
    Extension(visitor): Extension<Visitor>,
    Query(query): Query<super::Query>,
) -> Result<Response, Error> {
    let request = v1::ListRunsRequest {
        agent: query.agent.clone(),
        state: query.state.clone(),
        contract_id: String::new(),
        page: query.page(),
    };
    let mut contracts = console.upstream.contracts();
    let call = contracts.list_runs(request);
    let found = console.upstream.ask_scheduler("run list", call).await?;
    html(&List {
        chrome: Chrome::new("Runs", "runs", &visitor),
        choices: choices(&query, "/runs", &STATES),
        runs: found.runs,
        next: (!found.next.is_empty()).then(|| query.link("/runs", &query.state, &found.next)),
    })
}

/// `GET /runs/{id}`
pub(crate) async fn detail(
    State(console): State<Arc<Console>>,
    Extension(visitor): Extension<Visitor>,
    Path(id): Path<String>,
    Query(query): Query<super::Query>,
) -> Result<Response, Error> {
    let mut contracts = console.upstream.contracts();
    let call = contracts.get_run(v1::GetRunRequest { id, after_seq: 0 });
    let mut detail = console.upstream.ask_scheduler("run", call).await?;
    let run = detail.run.take().ok_or(Error::NotFound("run"))?;
    let mut chrome = Chrome::new(format!("Run: {}", show::kind(&run.kind)), "runs", &visitor);
    chrome.done = actions::done(&query.done);
    html(&Detail { chrome, run, detail })
}
