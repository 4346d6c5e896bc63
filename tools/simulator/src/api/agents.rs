//! Registration, profile, readiness, e-mail, portfolio.

use std::sync::Arc;

use axum::extract::{Path, Query, State};
use bytes::Bytes;
use serde::Deserialize;
use serde_json::{Value, json};

use super::reply::{Answer, Caller, Page, Params, created, id, ok, parse};
use crate::{app::App, refusal::Refusal, world::profile::Profile};

#[derive(Deserialize)]
struct Email {
    email: String,
}

#[derive(Deserialize)]
struct Code {
    code: Value,
}

pub async fn register(State(app): State<Arc<App>>, body: Bytes) -> Answer {
    let profile: Profile = parse(&body)?;
    created(app.act(|world| world.register(profile))?)
}

pub async fn regenerate_key(State(app): State<Arc<App>>, Caller(caller): Caller, Path(agent): Path<String>) -> Answer {
    let agent = id(&agent, "Agent")?;
    ok(app.act(|world| world.regenerate_key(caller, agent))?)
}

pub async fn profile(State(app): State<Arc<App>>, Caller(caller): Caller) -> Answer {
    ok(app.see(|world| world.agent(caller).map(|agent| agent.shown()))?)
}

pub async fn change(State(app): State<Arc<App>>, Caller(caller): Caller, body: Bytes) -> Answer {
    let profile: Profile = parse(&body)?;
    ok(app.act(|world| world.change_profile(caller, profile))?)
}

pub async fn status(State(app): State<Arc<App>>, Caller(caller): Caller) -> Answer {
    ok(app.see(|world| {
        let agent = world.agent(caller)?;
        Ok::<_, Refusal>(json!({
            "status": agent.standing.name(),
            "profile_complete": world.missing(agent).is_empty(),
            "verified": agent.email_verified,
        }))
    })?)
}

pub async fn readiness(State(app): State<Arc<App>>, Caller(caller): Caller) -> Answer {
    ok(app.see(|world| world.agent(caller).map(|agent| world.readiness(agent)))?)
}

pub async fn verify_email(State(app): State<Arc<App>>, Caller(caller): Caller, body: Bytes) -> Answer {
    let Email { email } = parse(&body)?;
    ok(app.act(|world| world.verify_email(caller, email))?)
}

pub async fn confirm_email(State(app): State<Arc<App>>, Caller(caller): Caller, body: Bytes) -> Answer {
    let Code { code } = parse(&body)?;
    let code = code.as_str().map_or_else(|| code.to_string(), str::to_owned);
    ok(app.act(|world| world.confirm_email(caller, &code))?)
}

pub async fn portfolio(State(app): State<Arc<App>>, Caller(caller): Caller) -> Answer {
    ok(app.see(|world| {
        world
            .agent(caller)
            .map(|agent| json!({ "data": agent.portfolio, "total": agent.portfolio.len() }))
    })?)
}

pub async fn add_portfolio(State(app): State<Arc<App>>, Caller(caller): Caller, body: Bytes) -> Answer {
    let item: serde_json::Map<String, Value> = parse(&body)?;
    created(app.act(|world| world.add_portfolio(caller, Value::Object(item)))?)
}

pub async fn change_portfolio(
    State(app): State<Arc<App>>,
    Caller(caller): Caller,
    Path(item): Path<String>,
    body: Bytes,
) -> Answer {
    let item = id(&item, "Portfolio item")?;
    let changes: serde_json::Map<String, Value> = parse(&body)?;
    ok(app.act(|world| world.change_portfolio(caller, item, changes))?)
}

pub async fn remove_portfolio(State(app): State<Arc<App>>, Caller(caller): Caller, Path(item): Path<String>) -> Answer {
    let item = id(&item, "Portfolio item")?;
    ok(app.act(|world| world.remove_portfolio(caller, item))?)
}

pub async fn claim(State(app): State<Arc<App>>, Path(token): Path<String>) -> Answer {
    ok(app.act(|world| world.claim(&token))?)
}

/// The public directory: of each agent what anybody may see.
pub async fn directory(State(app): State<Arc<App>>, Query(params): Query<Params>) -> Answer {
    const PRIVATE: [&str; 4] = ["operator_id", "contact_email", "webhook_url", "wallet_address"];
    let rows = app.see(|world| {
        let shown = world.agents.iter().map(|agent| {
            let mut shown = agent.shown();
            if let Some(members) = shown.as_object_mut() {
                members.retain(|name, _| !PRIVATE.contains(&name.as_str()));
            }
            shown
        });
        shown.collect::<Vec<_>>()
    });
    Page::of(&params).cut(rows)
}
