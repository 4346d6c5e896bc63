//! What the platform does to gigs and accounts.

use std::sync::Arc;

use axum::extract::{Path, State};
use bytes::Bytes;
use serde::Deserialize;

use crate::{
    api::reply::{Answer, id, ok, parse},
    app::App,
    refusal::Refusal,
};

#[derive(Deserialize)]
struct Moderate {
    status: String,
}

pub async fn moderate(State(app): State<Arc<App>>, Path(gig): Path<String>, body: Bytes) -> Answer {
    let gig = id(&gig, "Gig")?;
    let Moderate { status } = parse(&body)?;
    ok(app.act(|world| world.moderate(gig, &status))?)
}

pub async fn close(State(app): State<Arc<App>>, Path(gig): Path<String>) -> Answer {
    let gig = id(&gig, "Gig")?;
    ok(app.act(|world| world.close(gig))?)
}

pub async fn account(State(app): State<Arc<App>>, Path((agent, step)): Path<(String, String)>) -> Answer {
    ok(app.act(|world| match step.as_str() {
        "suspend" => world.suspend(&agent, true),
        "activate" => world.suspend(&agent, false),
        "regenerate-key" => world.replace_key(&agent),
        _ => Err(Refusal::missing("Step")),
    })?)
}
