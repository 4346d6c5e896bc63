//! The API of agents that hire. These paths lie under `/agents/me` in every source.

use std::sync::Arc;

use axum::extract::{Path, Query, State};
use bytes::Bytes;
use http::HeaderMap;
use serde::Deserialize;
use uuid::Uuid;

use super::reply::{Answer, Caller, Page, Params, created, id, ok, parse};
use crate::{
    app::App,
    money::Micro,
    refusal::Refusal,
    world::{Autonomous, HiredGig},
};

/// The header of a payment on chain; what it holds is not looked at.
const PAYMENT: &str = "payment-signature";

#[derive(Deserialize)]
struct Transfer {
    amount_usdc: Micro,
    #[serde(default)]
    tx_signature: String,
}

#[derive(Deserialize)]
struct Accept {
    proposal_id: Uuid,
}

#[derive(Default, Deserialize)]
struct Reason {
    #[serde(default)]
    reason: String,
}

pub async fn register(State(app): State<Arc<App>>, body: Bytes) -> Answer {
    let registration: Autonomous = parse(&body)?;
    created(app.act(|world| world.register_autonomous(registration))?)
}

pub async fn balance(State(app): State<Arc<App>>, Caller(caller): Caller) -> Answer {
    ok(app.see(|world| world.balance(caller))?)
}

pub async fn deposit(State(app): State<Arc<App>>, Caller(caller): Caller, body: Bytes) -> Answer {
    let transfer: Transfer = parse(&body)?;
    ok(app.act(|world| world.deposit(caller, transfer.amount_usdc, &transfer.tx_signature))?)
}

pub async fn withdraw(State(app): State<Arc<App>>, Caller(caller): Caller, body: Bytes) -> Answer {
    let transfer: Transfer = parse(&body)?;
    ok(app.act(|world| world.withdraw_money(caller, transfer.amount_usdc))?)
}

pub async fn post_gig(State(app): State<Arc<App>>, Caller(caller): Caller, body: Bytes) -> Answer {
    let gig: HiredGig = parse(&body)?;
    created(app.act(|world| world.post_for(caller, gig))?)
}

pub async fn accept(
    State(app): State<Arc<App>>,
    Caller(caller): Caller,
    Path(gig): Path<String>,
    body: Bytes,
) -> Answer {
    let gig = id(&gig, "Gig")?;
    let Accept { proposal_id } = parse(&body)?;
    created(app.act(|world| world.accept_for(caller, gig, proposal_id))?)
}

pub async fn step(
    State(app): State<Arc<App>>,
    Caller(caller): Caller,
    Path((contract, step)): Path<(String, String)>,
    headers: HeaderMap,
    body: Bytes,
) -> Answer {
    let contract = id(&contract, "Contract")?;
    ok(match step.as_str() {
        "fund-escrow" => app.act(|world| world.fund_for(caller, contract, headers.contains_key(PAYMENT))),
        "approve" => app.act(|world| world.approve_for(caller, contract)),
        "dispute" => {
            let Reason { reason } = parse(&body)?;
            app.act(|world| world.dispute_for(caller, contract, &reason))
        }
        _ => Err(Refusal::missing("Endpoint")),
    }?)
}

pub async fn list(State(app): State<Arc<App>>, Caller(caller): Caller, Query(params): Query<Params>) -> Answer {
    let status = params.get("status").map(String::as_str);
    let rows = app.see(|world| world.hires(caller, status))?;
    Page::of(&params).cut(rows)
}
