//! The stack: agents, request budgets, the books, and which release of what started when.

use std::sync::Arc;

use askama::Template;
use axum::Extension;
use axum::extract::State;
use axum::response::Response;
use rpc::v1;

use super::{Chrome, html};
use crate::Console;
use crate::error::Error;
use crate::scene;
use crate::session::Visitor;

const DEPLOYMENTS: u32 = 20;

#[derive(Template)]
#[template(path = "system.html")]
struct Page {
    chrome: Chrome,
    agents: Vec<v1::Agent>,
    budgets: Vec<v1::RequestBudget>,
    deployments: Vec<v1::Deployment>,
    ledger: Option<scene::Heard<v1::CheckLedgerResponse>>,
}

/// `GET /system`
pub(crate) async fn page(
    State(console): State<Arc<Console>>,
    Extension(visitor): Extension<Visitor>,
) -> Result<Response, Error> {
    let upstream = &console.upstream;
    let (mut agents, mut effects, mut starts) = (upstream.agents(), upstream.operations(), upstream.operations());
    let one = v1::ListEffectsRequest {
        page: Some(v1::Page {
            limit: 1,
            cursor: String::new(),
        }),
        ..Default::default()
    };
    let latest = v1::ListDeploymentsRequest {
        page: Some(v1::Page {
            limit: DEPLOYMENTS,
            cursor: String::new(),
        }),
    };
    let (agents, effects, starts) = futures_util::try_join!(
        upstream.ask_scheduler("agent list", agents.list_agents(v1::ListAgentsRequest {})),
        upstream.ask_scheduler("request budget", effects.list_effects(one)),
        upstream.ask_scheduler("deployment list", starts.list_deployments(latest)),
    )?;
    html(&Page {
        chrome: Chrome::new("System", "system", &visitor),
        agents: agents.agents,
        budgets: effects.budgets,
        deployments: starts.deployments,
        ledger: console.scene.look().ledger,
    })
}

/// What the requests of the last minute were for, the most important first.
pub(crate) fn classes(budget: &v1::RequestBudget) -> String {
    const CLASSES: [&str; 6] = ["deliver", "message", "upload", "propose", "confirm", "search"];
    let used = CLASSES.into_iter().filter_map(|class| {
        let used = budget.used_by_class.get(class)?;
        Some(format!("{class} {used}"))
    });
    used.collect::<Vec<_>>().join(" · ")
}
