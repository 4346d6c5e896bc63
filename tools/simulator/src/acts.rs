//! What a scenario or the page does to the market: one act at a time, on things named by whoever wrote it.

use std::collections::HashMap;

use serde::Deserialize;
use serde_json::{Map, Value, json};
use uuid::Uuid;

use crate::{
    app::App,
    faults::Spec,
    money::Micro,
    refusal::Refusal,
    sync::lock,
    world::{GigSpec, World, client::Verdict},
};

/// The names a scenario gave to gigs.
pub type Names = HashMap<String, Uuid>;

/// A contract nobody bid on.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Hire {
    pub gig: String,
    /// Id or username.
    pub agent: String,
    pub amount_usdc: Option<Micro>,
}

/// Words about a contract.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Words {
    pub gig: String,
    pub text: String,
}

/// A message from the client's side.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Message {
    pub gig: String,
    pub text: String,
    /// `client` (default) or `agent`.
    pub sender_type: Option<String>,
}

/// The end of a dispute.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Resolve {
    pub gig: String,
    /// `approved` or `cancelled`.
    pub outcome: String,
    pub text: Option<String>,
}

/// A rating.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Review {
    pub gig: String,
    pub rating: u8,
    pub text: Option<String>,
}

/// What moderation decides.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Moderate {
    pub gig: String,
    pub status: String,
}

/// An agent on the client's side that answers.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Echo {
    pub gig: String,
    pub rounds: u32,
}

/// One thing to do. A gig is named by its name in the scenario or by id, a contract by its gig or by id.
#[derive(Clone, Debug)]
pub enum Act {
    Post(Box<GigSpec>),
    Accept(String),
    Hire(Hire),
    Fund(String),
    Approve(String),
    Cancel(String),
    Close(String),
    Dispute(Words),
    Resolve(Resolve),
    Revise(Words),
    Review(Review),
    Message(Message),
    Moderate(Moderate),
    Echo(Echo),
    Suspend(String),
    Activate(String),
    ReplaceKey(String),
    Faults(Vec<Spec>),
    Settings(Map<String, Value>),
}

impl Act {
    /// The gig or contract it is about, if it is about one.
    pub fn of(&self) -> Option<&str> {
        match self {
            Self::Accept(gig) | Self::Fund(gig) | Self::Approve(gig) | Self::Cancel(gig) | Self::Close(gig) => {
                Some(gig)
            }
            Self::Hire(act) => Some(&act.gig),
            Self::Dispute(act) | Self::Revise(act) => Some(&act.gig),
            Self::Resolve(act) => Some(&act.gig),
            Self::Review(act) => Some(&act.gig),
            Self::Message(act) => Some(&act.gig),
            Self::Moderate(act) => Some(&act.gig),
            Self::Echo(act) => Some(&act.gig),
            Self::Post(_)
            | Self::Suspend(_)
            | Self::Activate(_)
            | Self::ReplaceKey(_)
            | Self::Faults(_)
            | Self::Settings(_) => None,
        }
    }
}

/// Does one act.
///
/// # Errors
/// When it is not possible now, or names what does not exist.
pub fn perform(app: &App, names: &Names, act: &Act) -> Result<Value, Refusal> {
    match act {
        Act::Faults(specs) => {
            lock(&app.faults).arm(specs.clone()).map_err(Refusal::invalid)?;
            Ok(json!({ "armed": specs.len() }))
        }
        Act::Post(gig) => app.act(|world| Ok(json!({ "gig_ids": world.post_gigs(gig)? }))),
        Act::Settings(patch) => app.act(|world| {
            let settings = world.settings().patched(patch.clone()).map_err(Refusal::invalid)?;
            world.set_settings(settings);
            Ok(json!({ "settings": true }))
        }),
        Act::Suspend(agent) => app.act(|world| world.suspend(agent, true)),
        Act::Activate(agent) => app.act(|world| world.suspend(agent, false)),
        Act::ReplaceKey(agent) => app.act(|world| world.replace_key(agent)),
        Act::Accept(gig) => app.act(|world| world.accept(gig_named(names, gig)?, None)),
        Act::Close(gig) => app.act(|world| world.close(gig_named(names, gig)?)),
        Act::Moderate(act) => app.act(|world| world.moderate(gig_named(names, &act.gig)?, &act.status)),
        Act::Hire(act) => app.act(|world| world.hire(gig_named(names, &act.gig)?, &act.agent, act.amount_usdc)),
        act => app.act(|world| {
            let contract = contract_of(world, names, act.of().unwrap_or_default())?;
            on_contract(world, contract, act)
        }),
    }
}

fn on_contract(world: &mut World, contract: Uuid, act: &Act) -> Result<Value, Refusal> {
    match act {
        Act::Fund(_) => world.fund(contract),
        Act::Approve(_) => world.approve(contract),
        Act::Cancel(_) => world.cancel(contract, None),
        Act::Dispute(act) => world.dispute(contract, &act.text),
        Act::Revise(act) => world.revise(contract, &act.text),
        Act::Review(act) => world.review(contract, act.rating, act.text.as_deref()),
        Act::Echo(act) => world.echo(contract, act.rounds),
        Act::Message(act) => {
            let sender = act.sender_type.as_deref().unwrap_or("client");
            world.client_message(contract, act.text.clone(), None, sender)
        }
        Act::Resolve(act) => {
            let verdict = match act.outcome.as_str() {
                "approved" => Verdict::Approved,
                "cancelled" => Verdict::Cancelled,
                _ => return Err(Refusal::invalid("outcome must be approved or cancelled")),
            };
            let text = act.text.as_deref().unwrap_or("The mediator decided");
            world.resolve(contract, verdict, text)
        }
        _ => Err(Refusal::missing("Act")),
    }
}

fn gig_named(names: &Names, text: &str) -> Result<Uuid, Refusal> {
    let named = names.get(text).copied().or_else(|| text.parse().ok());
    named.ok_or_else(|| Refusal::missing("Gig"))
}

/// The contract of that id, else the newest one of the gig.
fn contract_of(world: &World, names: &Names, text: &str) -> Result<Uuid, Refusal> {
    let id = gig_named(names, text).map_err(|_| Refusal::missing("Contract"))?;
    if world.contract(id).is_ok() {
        return Ok(id);
    }
    let found = world.contracts.iter().rfind(|contract| contract.gig == id);
    found
        .map(|contract| contract.id)
        .ok_or_else(|| Refusal::missing("Contract"))
}
