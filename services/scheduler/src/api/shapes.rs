//! Rows as messages.

use chrono::{DateTime, Utc};
use rpc::convert::timestamp;
use rpc::v1;
use store::contracts::{self, Contract};
use store::dead_letters::DeadLetter;
use store::deployments::Deployment;
use store::effects::Effect;
use store::gigs::Listed;
use store::runs::Run;
use store::{agents, artefacts, intake, messages, run_events};
use uuid::Uuid;

use crate::payload;

/// A contract; `cost_so_far` counts until its figures are final.
pub(super) fn contract(row: &Contract, cost_so_far: i64) -> v1::Contract {
    let settled = row.settled_at.is_some();
    let cost = row.cost_micro.filter(|_| settled).unwrap_or(cost_so_far);
    let (revenue, fee) = match settled {
        true => (row.revenue_micro.unwrap_or(0), row.fee_micro.unwrap_or(0)),
        false => (0, 0),
    };
    v1::Contract {
        id: row.id.to_string(),
        external_id: row.external_id.clone(),
        agent: row.agent.clone(),
        title: row.title.clone(),
        state: row.machine.state.to_string(),
        amount_micro_usdc: row.amount.0,
        cost_micro_usd: cost,
        settled,
        revenue_micro_usdc: revenue,
        fee_micro_usdc: fee,
        // One USDC counts as one dollar; the books keep them apart.
        profit_micro_usd: if settled { revenue - fee - cost } else { 0 },
        revision_no: row.machine.revision_no,
        attention: row.attention.clone().unwrap_or_default(),
        created_at: Some(timestamp(row.created_at)),
        funded_at: row.funded_at.map(timestamp),
        delivered_at: row.delivered_at.map(timestamp),
        approved_at: row.approved_at.map(timestamp),
        deadline: row.deadline.map(timestamp),
    }
}

pub(super) fn event(row: contracts::Event) -> v1::ContractEvent {
    v1::ContractEvent {
        at: Some(timestamp(row.at)),
        command: row.command,
        source: row.source,
        from_state: row.from_state,
        to_state: row.to_state,
        detail: row.detail.unwrap_or_default(),
    }
}

pub(super) fn message(row: messages::Message) -> v1::ThreadMessage {
    v1::ThreadMessage {
        at: Some(timestamp(row.at)),
        side: row.side,
        text: row.body,
        attachments: payload::attachments(row.attachments.as_ref())
            .into_iter()
            .map(attachment)
            .collect(),
    }
}

fn attachment(file: payload::Attachment) -> v1::MessageAttachment {
    v1::MessageAttachment {
        url: file.url,
        name: file.name,
        media_type: file.mime,
        bytes: file.size,
        path: file.path,
        fetched_bytes: file.bytes,
        error: file.error,
    }
}

pub(super) fn gig(row: Listed) -> v1::Gig {
    v1::Gig {
        id: row.id.to_string(),
        external_id: row.external_id,
        agent: row.agent,
        title: row.title,
        description: row.description,
        category: row.category,
        budget_micro_usdc: row.budget_micro.unwrap_or(0),
        proposal_state: row.proposal_state.unwrap_or_default(),
        score_permille: count(row.score_permille.unwrap_or(0)),
        score_parts_json: row.score_parts.map(|parts| parts.to_string()).unwrap_or_default(),
        reason: row.reason.unwrap_or_default(),
        proposed_micro_usdc: row.amount_micro.unwrap_or(0),
        cover_letter: row.cover_letter.unwrap_or_default(),
        first_seen_at: Some(timestamp(row.first_seen_at)),
    }
}

pub(super) fn run(row: Run) -> v1::Run {
    v1::Run {
        id: row.id.to_string(),
        kind: row.kind.name().to_owned(),
        agent: row.agent,
        version: row.version,
        contract_id: id(row.contract_id),
        gig_id: id(row.gig_id),
        state: row.machine.state.name().to_owned(),
        attempt: row.machine.attempt,
        max_attempts: count(row.max_attempts),
        executor_id: row.executor_id.unwrap_or_default(),
        error: row.error.unwrap_or_default(),
        created_at: Some(timestamp(row.created_at)),
        started_at: row.started_at.map(timestamp),
        finished_at: row.finished_at.map(timestamp),
        lease_until: row.lease_until.map(timestamp),
    }
}

pub(super) fn log_line(row: run_events::Line) -> v1::RunLogLine {
    v1::RunLogLine {
        at: Some(timestamp(row.at)),
        attempt: count(row.attempt),
        kind: row.kind,
        text: row.body,
        seq: u64::try_from(row.seq).unwrap_or(0),
    }
}

pub(super) fn artefact(row: artefacts::Artefact) -> v1::Artefact {
    v1::Artefact {
        name: row.name,
        sha256: row.sha256,
        bytes: u64::try_from(row.bytes).unwrap_or(0),
        media_type: row.media_type,
    }
}

pub(super) fn effect(row: Effect) -> v1::Effect {
    v1::Effect {
        id: row.id.to_string(),
        agent: row.agent,
        kind: row.kind_name,
        natural_key: row.natural_key,
        state: row.state.name().to_owned(),
        attempts: count(row.attempts),
        error: row.dead_reason.or(row.error).unwrap_or_default(),
        contract_id: id(row.contract_id),
        gig_id: id(row.gig_id),
        created_at: Some(timestamp(row.created_at)),
        updated_at: Some(timestamp(row.updated_at)),
        not_before: Some(timestamp(row.not_before)),
        run_id: id(row.run_id),
        ..v1::Effect::default()
    }
}

pub(super) fn inbox(row: intake::Row) -> v1::InboxRow {
    v1::InboxRow {
        id: row.id.to_string(),
        agent: row.agent,
        delivery_id: row.delivery_id.unwrap_or_default(),
        event: row.event.unwrap_or_default(),
        outcome: row.outcome.unwrap_or_default(),
        attempts: count(row.attempts),
        dead_reason: row.dead_reason.unwrap_or_default(),
        received_at: Some(timestamp(row.received_at)),
        processed_at: row.processed_at.map(timestamp),
        stale: row.stale,
        source: row.source,
    }
}

pub(super) fn agent(row: &agents::Agent, webhook_secrets: usize) -> v1::Agent {
    v1::Agent {
        name: row.name.clone(),
        mode: row.mode.name().to_owned(),
        paused: row.paused,
        winding_down: row.winding_down,
        rest_reason: row.rest_reason.clone().unwrap_or_default(),
        rest_since: row.rest_since.map(timestamp),
        version: row.version.clone(),
        marketplace_id: row.marketplace_id.clone().unwrap_or_default(),
        has_key: row.api_key_sealed.is_some(),
        webhook_secrets: u32::try_from(webhook_secrets).unwrap_or(u32::MAX),
        created_at: Some(timestamp(row.created_at)),
        models: row.spec.allowed_models(),
        // A file that was read from JSON can be written as such.
        file_json: serde_json::to_string(&row.spec).unwrap_or_default(),
        secrets: row
            .spec
            .network
            .credential
            .iter()
            .map(|one| one.secret.clone())
            .collect(),
    }
}

pub(super) fn dead_letter(row: DeadLetter) -> v1::DeadLetter {
    v1::DeadLetter {
        kind: row.kind,
        id: row.id.to_string(),
        agent: row.agent,
        what: row.what,
        reason: row.reason,
        attempts: count(row.attempts),
        since: Some(timestamp(row.since)),
        version: String::new(),
    }
}

pub(super) fn deployment(row: Deployment) -> v1::Deployment {
    v1::Deployment {
        service: row.service,
        instance: row.instance,
        version: row.version,
        git_sha: row.git_sha,
        built_at: row.built_at,
        started_at: Some(timestamp(row.started_at)),
    }
}

pub(super) fn count(number: impl TryInto<u32>) -> u32 {
    number.try_into().unwrap_or(0)
}

pub(super) fn at(at: Option<DateTime<Utc>>) -> Option<prost_types::Timestamp> {
    at.map(timestamp)
}

fn id(id: Option<Uuid>) -> String {
    id.map(|id| id.to_string()).unwrap_or_default()
}
