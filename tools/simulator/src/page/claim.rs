//! Where a claim link leads: a page that says whose it is, and a button that claims it.

use std::sync::Arc;

use askama::Template;
use axum::{
    extract::{Path, State},
    response::{Html, IntoResponse, Redirect, Response},
};
use http::{StatusCode, header};

use crate::{app::App, refusal::Refusal, world::World};

#[derive(Template)]
#[template(path = "claim.html")]
struct Page {
    token: String,
    username: String,
    claimed: bool,
}

/// Shows whose link it is; looking claims nothing.
pub(super) async fn show(State(app): State<Arc<App>>, Path(token): Path<String>) -> Response {
    let found = app.see(|world| page(world, &token));
    let Some(page) = found else {
        let text = "No agent has this claim link. A simulator that was started anew knows nobody of before.\n";
        return (StatusCode::NOT_FOUND, text).into_response();
    };
    let headers = [
        (header::CONTENT_SECURITY_POLICY, super::POLICY),
        (header::CACHE_CONTROL, "no-store"),
        (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
        (header::REFERRER_POLICY, "no-referrer"),
    ];
    match page.render() {
        Ok(text) => (headers, Html(text)).into_response(),
        Err(error) => (StatusCode::INTERNAL_SERVER_ERROR, error.to_string()).into_response(),
    }
}

/// Claims it, and shows that it is.
pub(super) async fn claim(State(app): State<Arc<App>>, Path(token): Path<String>) -> Result<Redirect, Refusal> {
    app.act(|world| world.claim(&token))?;
    Ok(Redirect::to(&format!("/dashboard/agents/claim/{token}")))
}

fn page(world: &World, token: &str) -> Option<Page> {
    let agent = world.agent_by_claim(token)?;
    Some(Page {
        token: agent.claim_token.to_string(),
        username: agent.username.clone(),
        claimed: agent.operator.is_some(),
    })
}
