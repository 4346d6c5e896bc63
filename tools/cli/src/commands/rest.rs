//! `steward agents pause|resume|wind-down`.

use anyhow::Result;
use rpc::v1;
use serde_json::{Value, json};

use crate::context::{Access, Peer};
use crate::out::Out;
use crate::render;
use crate::view;

pub(super) async fn pause(access: &Access, name: String, now: bool, reason: String, out: &Out) -> Result<()> {
    let answer = set(&access.scheduler().await?, name, ("paused", now), reason).await?;
    out.result(&shown(&answer), |_| {
        let (name, already) = subject(&answer);
        let running = match (answer.runs_active, now) {
            (0, _) => String::new(),
            (runs, true) => format!("; {runs} runs are asked to stop and come back when it is resumed"),
            (runs, false) => format!("; {runs} runs go on to their end"),
        };
        let queued = match answer.runs_queued {
            0 => String::new(),
            runs => format!("; {runs} runs wait"),
        };
        format!(
            "{name} is {already}paused: it bids on nothing and begins no run{running}{queued}{}",
            owed(&answer)
        )
    })
}

/// Also lets calls out that were stopped: whoever says "go on" means both.
pub(super) async fn resume(access: &Access, name: String, reason: String, out: &Out) -> Result<()> {
    let peer = access.patient_scheduler().await?;
    let answer = set(&peer, name.clone(), ("active", false), reason).await?;
    let mut market = peer.marketplace();
    let request = v1::ResumeCallsRequest { name };
    peer.ask("resume its calls", market.resume_calls(request)).await?;
    out.result(&shown(&answer), |_| {
        let (name, already) = subject(&answer);
        format!("{name} is {already}active, and its calls go out again")
    })
}

pub(super) async fn wind_down(access: &Access, name: String, reason: String, out: &Out) -> Result<()> {
    let answer = set(&access.scheduler().await?, name, ("winding_down", false), reason).await?;
    out.result(&shown(&answer), |_| {
        let (name, already) = subject(&answer);
        let (contracts, bids, off) = (answer.contracts_open, answer.bids_open, answer.bids_called_off);
        let next = match (contracts, bids) {
            (0, 0) => format!("nothing is open: `steward agents remove {name}` takes it out"),
            _ => format!(
                "{contracts} contracts are finished first; {bids} bids lie with clients, and what is accepted is done; a \
                 notice says when it can be removed"
            ),
        };
        format!("{name} is {already}winding down: it bids no more, {off} bids were called off unsent; {next}")
    })
}

async fn set(
    peer: &Peer,
    name: String,
    (activity, now): (&str, bool),
    reason: String,
) -> Result<v1::SetAgentActivityResponse> {
    let mut agents = peer.agents();
    let request = v1::SetAgentActivityRequest {
        name,
        activity: activity.to_owned(),
        now,
        reason,
    };
    peer.ask("change what the agent does", agents.set_agent_activity(request))
        .await
}

fn subject(answer: &v1::SetAgentActivityResponse) -> (String, &'static str) {
    let name = answer.agent.as_ref().map_or("it", |agent| agent.name.as_str());
    (render::plain(name), if answer.changed { "now " } else { "already " })
}

fn owed(answer: &v1::SetAgentActivityResponse) -> String {
    match view::time(answer.soonest_deadline.as_ref()) {
        Value::String(time) => {
            let contract = render::plain(&answer.soonest_contract);
            format!("\nwork is owed: contract {contract} is due {time}, and may be late")
        }
        _ => String::new(),
    }
}

fn shown(answer: &v1::SetAgentActivityResponse) -> Value {
    json!({
        "agent": answer.agent.as_ref().map(view::agent),
        "changed": answer.changed,
        "runs_active": answer.runs_active,
        "runs_queued": answer.runs_queued,
        "contracts_open": answer.contracts_open,
        "bids_open": answer.bids_open,
        "bids_called_off": answer.bids_called_off,
        "soonest_deadline": view::time(answer.soonest_deadline.as_ref()),
        "soonest_contract": answer.soonest_contract,
    })
}
