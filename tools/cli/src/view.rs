//! Answers of the services as JSON: the field names of `proto/`, times in RFC 3339, absent things null.

use prost_types::Timestamp;
use rpc::{convert, v1};
use serde_json::{Value, json};

mod money;
mod work;

pub(crate) use money::*;
pub(crate) use work::*;

pub(crate) fn time(at: Option<&Timestamp>) -> Value {
    match convert::datetime(at) {
        Some(at) => json!(at.to_rfc3339_opts(chrono::SecondsFormat::Millis, true)),
        None => Value::Null,
    }
}

fn all<T>(rows: &[T], one: impl Fn(&T) -> Value) -> Value {
    Value::Array(rows.iter().map(one).collect())
}

/// JSON carried as text; the text itself when it is none.
fn embedded(text: &str) -> Value {
    if text.is_empty() {
        return Value::Null;
    }
    serde_json::from_str(text).unwrap_or_else(|_| json!(text))
}

pub(crate) fn agents(answer: &v1::ListAgentsResponse) -> Value {
    json!({ "agents": all(&answer.agents, agent) })
}

pub(crate) fn agent(agent: &v1::Agent) -> Value {
    json!({
        "name": agent.name,
        "mode": agent.mode,
        "activity": activity(agent),
        "paused": agent.paused,
        "winding_down": agent.winding_down,
        "rest_reason": agent.rest_reason,
        "rest_since": time(agent.rest_since.as_ref()),
        "version": agent.version,
        "marketplace_id": agent.marketplace_id,
        "has_key": agent.has_key,
        "webhook_secrets": agent.webhook_secrets,
        "created_at": time(agent.created_at.as_ref()),
        "models": agent.models,
    })
}

/// What an agent does, in a word or two.
pub(crate) fn activity(agent: &v1::Agent) -> &'static str {
    match (agent.paused, agent.winding_down) {
        (true, true) => "paused, winding down",
        (true, false) => "paused",
        (false, true) => "winding down",
        (false, false) => "active",
    }
}

pub(crate) fn inbox(answer: &v1::ListInboxResponse) -> Value {
    json!({ "inbox": all(&answer.rows, inbox_row), "next": answer.next })
}

pub(crate) fn inbox_row(row: &v1::InboxRow) -> Value {
    json!({
        "id": row.id,
        "agent": row.agent,
        "delivery_id": row.delivery_id,
        "event": row.event,
        "outcome": row.outcome,
        "attempts": row.attempts,
        "dead_reason": row.dead_reason,
        "received_at": time(row.received_at.as_ref()),
        "processed_at": time(row.processed_at.as_ref()),
        "stale": row.stale,
        "source": row.source,
    })
}

pub(crate) fn inbox_detail(detail: &v1::InboxDetail) -> Value {
    let mut shown = inbox_row(&detail.row.clone().unwrap_or_default());
    shown["body"] = json!(String::from_utf8_lossy(&detail.body));
    shown
}

pub(crate) fn dead_letters(answer: &v1::ListDeadLettersResponse) -> Value {
    json!({ "dead_letters": all(&answer.dead_letters, dead_letter), "next": answer.next })
}

pub(crate) fn dead_letter(letter: &v1::DeadLetter) -> Value {
    json!({
        "kind": letter.kind,
        "id": letter.id,
        "agent": letter.agent,
        "what": letter.what,
        "reason": letter.reason,
        "attempts": letter.attempts,
        "since": time(letter.since.as_ref()),
        "version": letter.version,
    })
}

pub(crate) fn notices(answer: &v1::ListNoticesResponse) -> Value {
    json!({ "notices": all(&answer.notices, notice) })
}

pub(crate) fn notice(notice: &v1::Notice) -> Value {
    json!({
        "id": notice.id,
        "kind": notice.kind,
        "key": notice.key,
        "text": notice.text,
        "since": time(notice.since.as_ref()),
    })
}

pub(crate) fn deployments(answer: &v1::ListDeploymentsResponse) -> Value {
    let one = |start: &v1::Deployment| {
        json!({
            "service": start.service,
            "instance": start.instance,
            "version": start.version,
            "git_sha": start.git_sha,
            "built_at": start.built_at,
            "started_at": time(start.started_at.as_ref()),
        })
    };
    json!({ "deployments": all(&answer.deployments, one), "next": answer.next })
}
