//! Gigs, contracts, runs, effects.

use rpc::v1;
use serde_json::{Value, json};

use super::{all, embedded, time};

pub(crate) fn contracts(answer: &v1::ListContractsResponse) -> Value {
    json!({ "contracts": all(&answer.contracts, contract), "next": answer.next })
}

pub(crate) fn contract(contract: &v1::Contract) -> Value {
    json!({
        "id": contract.id,
        "external_id": contract.external_id,
        "agent": contract.agent,
        "title": contract.title,
        "state": contract.state,
        "amount_micro_usdc": contract.amount_micro_usdc,
        "cost_micro_usd": contract.cost_micro_usd,
        "settled": contract.settled,
        "revenue_micro_usdc": contract.revenue_micro_usdc,
        "fee_micro_usdc": contract.fee_micro_usdc,
        "profit_micro_usd": contract.profit_micro_usd,
        "revision_no": contract.revision_no,
        "attention": contract.attention,
        "created_at": time(contract.created_at.as_ref()),
        "funded_at": time(contract.funded_at.as_ref()),
        "delivered_at": time(contract.delivered_at.as_ref()),
        "approved_at": time(contract.approved_at.as_ref()),
        "deadline": time(contract.deadline.as_ref()),
    })
}

pub(crate) fn contract_detail(detail: &v1::ContractDetail) -> Value {
    let event = |event: &v1::ContractEvent| {
        json!({
            "at": time(event.at.as_ref()),
            "command": event.command,
            "source": event.source,
            "from_state": event.from_state,
            "to_state": event.to_state,
            "detail": event.detail,
        })
    };
    let file = |file: &v1::MessageAttachment| {
        json!({
            "url": file.url, "name": file.name, "media_type": file.media_type, "bytes": file.bytes, "path": file.path,
            "fetched_bytes": file.fetched_bytes, "error": file.error,
        })
    };
    let message = |message: &v1::ThreadMessage| {
        json!({
            "at": time(message.at.as_ref()),
            "side": message.side,
            "text": message.text,
            "attachments": all(&message.attachments, file),
        })
    };
    json!({
        "contract": contract(&detail.contract.clone().unwrap_or_default()),
        "events": all(&detail.events, event),
        "runs": all(&detail.runs, run),
        "effects": all(&detail.effects, effect),
        "messages": all(&detail.messages, message),
    })
}

pub(crate) fn gigs(answer: &v1::ListGigsResponse) -> Value {
    json!({ "gigs": all(&answer.gigs, gig), "next": answer.next })
}

pub(crate) fn gig(gig: &v1::Gig) -> Value {
    json!({
        "id": gig.id,
        "external_id": gig.external_id,
        "agent": gig.agent,
        "title": gig.title,
        "description": gig.description,
        "category": gig.category,
        "budget_micro_usdc": gig.budget_micro_usdc,
        "proposal_state": gig.proposal_state,
        "score_permille": gig.score_permille,
        "score_parts": embedded(&gig.score_parts_json),
        "reason": gig.reason,
        "proposed_micro_usdc": gig.proposed_micro_usdc,
        "cover_letter": gig.cover_letter,
        "first_seen_at": time(gig.first_seen_at.as_ref()),
    })
}

pub(crate) fn runs(answer: &v1::ListRunsResponse) -> Value {
    json!({ "runs": all(&answer.runs, run), "next": answer.next })
}

pub(crate) fn run(run: &v1::Run) -> Value {
    json!({
        "id": run.id,
        "kind": run.kind,
        "agent": run.agent,
        "version": run.version,
        "contract_id": run.contract_id,
        "gig_id": run.gig_id,
        "state": run.state,
        "attempt": run.attempt,
        "max_attempts": run.max_attempts,
        "executor_id": run.executor_id,
        "error": run.error,
        "created_at": time(run.created_at.as_ref()),
        "started_at": time(run.started_at.as_ref()),
        "finished_at": time(run.finished_at.as_ref()),
        "lease_until": time(run.lease_until.as_ref()),
    })
}

pub(crate) fn run_detail(detail: &v1::RunDetail) -> Value {
    let event = |line: &v1::RunLogLine| json!({ "at": time(line.at.as_ref()), "attempt": line.attempt, "kind": line.kind, "text": line.text, "seq": line.seq });
    json!({
        "run": run(&detail.run.clone().unwrap_or_default()),
        "events": all(&detail.events, event),
        "artefacts": all(&detail.artefacts, artefact),
    })
}

fn artefact(file: &v1::Artefact) -> Value {
    json!({ "name": file.name, "sha256": file.sha256, "bytes": file.bytes, "media_type": file.media_type })
}

/// The files of a run.
pub(crate) fn files(run: &str, files: &[v1::Artefact]) -> Value {
    json!({ "run_id": run, "files": all(files, artefact) })
}

pub(crate) fn effects(answer: &v1::ListEffectsResponse) -> Value {
    let budget = |budget: &v1::RequestBudget| {
        json!({
            "key": budget.key,
            "limit_per_minute": budget.limit_per_minute,
            "used_last_minute": budget.used_last_minute,
            "blocked_until": time(budget.blocked_until.as_ref()),
            "stopped_reason": budget.stopped_reason,
            "breaker": budget.breaker,
            "used_by_class": budget.used_by_class,
        })
    };
    json!({
        "effects": all(&answer.effects, effect),
        "budgets": all(&answer.budgets, budget),
        "next": answer.next,
    })
}

pub(crate) fn effect(effect: &v1::Effect) -> Value {
    json!({
        "id": effect.id,
        "agent": effect.agent,
        "kind": effect.kind,
        "natural_key": effect.natural_key,
        "state": effect.state,
        "attempts": effect.attempts,
        "error": effect.error,
        "contract_id": effect.contract_id,
        "gig_id": effect.gig_id,
        "created_at": time(effect.created_at.as_ref()),
        "updated_at": time(effect.updated_at.as_ref()),
        "not_before": time(effect.not_before.as_ref()),
        "run_id": effect.run_id,
        "title": effect.title,
        "amount_micro_usdc": effect.amount_micro_usdc,
        "deadline": time(effect.deadline.as_ref()),
        "files": all(&effect.files, artefact),
        "files_text": files_text(&effect.files),
        "payload": embedded(&effect.payload_json),
    })
}

/// Names and sizes on one line.
fn files_text(files: &[v1::Artefact]) -> String {
    let each = files.iter().map(|file| match file.bytes {
        bytes @ 0..1024 => format!("{} ({bytes} B)", file.name),
        bytes => format!("{} ({} KiB)", file.name, bytes.div_ceil(1024)),
    });
    each.collect::<Vec<_>>().join(", ")
}

pub(crate) fn drift(answer: &v1::ListDriftResponse) -> Value {
    let one = |one: &v1::Drift| {
        json!({
            "what": one.what,
            "place": one.place,
            "name": one.name,
            "seen": one.seen,
            "first_at": time(one.first_at.as_ref()),
            "last_at": time(one.last_at.as_ref()),
        })
    };
    json!({ "drift": all(&answer.drift, one) })
}
