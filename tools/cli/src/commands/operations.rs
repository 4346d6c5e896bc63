//! `steward effects`, `approvals`, `inbox`, `dead-letters` and `deployments`.

use anyhow::Result;
use rpc::v1;
use serde_json::Value;

use super::page;
use crate::args::{
    ApprovalsCommand, DeadLettersCommand, DeploymentsCommand, EffectsCommand, Global, InboxCommand, LetterKind, Listing,
};
use crate::context::{Access, Peer};
use crate::failure::Failure;
use crate::out::Out;
use crate::render::{self, As, Column};
use crate::view;

/// Pages of dead letters looked through for one of them.
const MOST_PAGES: usize = 200;
/// Ids named when several fit.
const MOST_NAMED: usize = 8;
/// Rows of such a page.
const ROWS: u32 = 500;

pub(super) const EFFECTS: [Column; 8] = [
    ("Effect", "id", As::Text),
    ("Agent", "agent", As::Text),
    ("Kind", "kind", As::Text),
    ("State", "state", As::Text),
    ("Attempts", "attempts", As::Text),
    ("Updated", "updated_at", As::Time),
    ("Key", "natural_key", As::Text),
    ("Error", "error", As::Text),
];
const APPROVALS: [Column; 10] = [
    ("Effect", "id", As::Text),
    ("Kind", "kind", As::Text),
    ("Agent", "agent", As::Text),
    ("Amount", "amount_micro_usdc", As::Money),
    ("Waiting", "created_at", As::Age),
    ("Deadline", "deadline", As::Time),
    ("Title", "title", As::Text),
    ("Files", "files_text", As::Text),
    ("Run", "run_id", As::Text),
    ("Why it waits", "error", As::Text),
];
const EFFECT: [Column; 15] = [
    ("Effect", "id", As::Text),
    ("Kind", "kind", As::Text),
    ("State", "state", As::Text),
    ("Agent", "agent", As::Text),
    ("Title", "title", As::Text),
    ("Amount", "amount_micro_usdc", As::Money),
    ("Contract", "contract_id", As::Text),
    ("Gig", "gig_id", As::Text),
    ("Run", "run_id", As::Text),
    ("Key", "natural_key", As::Text),
    ("Attempts", "attempts", As::Text),
    ("Error", "error", As::Text),
    ("Deadline", "deadline", As::Time),
    ("Created", "created_at", As::Time),
    ("Updated", "updated_at", As::Time),
];
const BUDGETS: [Column; 7] = [
    ("Request budget", "key", As::Text),
    ("Limit", "limit_per_minute", As::Text),
    ("Used", "used_last_minute", As::Text),
    ("For", "used_by_class", As::Text),
    ("Blocked until", "blocked_until", As::Time),
    ("Breaker", "breaker", As::Text),
    ("Stopped", "stopped_reason", As::Text),
];
const INBOX: [Column; 7] = [
    ("Webhook", "id", As::Text),
    ("Agent", "agent", As::Text),
    ("Event", "event", As::Text),
    ("Received", "received_at", As::Time),
    ("Processed", "processed_at", As::Time),
    ("Attempts", "attempts", As::Text),
    ("Outcome", "outcome", As::Text),
];
const INBOX_ROW: [Column; 10] = [
    ("Webhook", "id", As::Text),
    ("Agent", "agent", As::Text),
    ("Delivery", "delivery_id", As::Text),
    ("Event", "event", As::Text),
    ("Received", "received_at", As::Time),
    ("Processed", "processed_at", As::Time),
    ("Attempts", "attempts", As::Text),
    ("Outcome", "outcome", As::Text),
    ("Given up", "dead_reason", As::Text),
    ("Stale", "stale", As::Text),
];
const LETTERS: [Column; 7] = [
    ("Kind", "kind", As::Text),
    ("Id", "id", As::Text),
    ("Agent", "agent", As::Text),
    ("What", "what", As::Text),
    ("Attempts", "attempts", As::Text),
    ("Since", "since", As::Time),
    ("Reason", "reason", As::Text),
];
const STARTS: [Column; 5] = [
    ("Service", "service", As::Text),
    ("Started", "started_at", As::Time),
    ("Version", "version", As::Text),
    ("Commit", "git_sha", As::Text),
    ("Instance", "instance", As::Text),
];

pub(super) async fn effects(global: &Global, command: EffectsCommand, out: &Out) -> Result<u8> {
    let peer = Access::find(global)?.scheduler().await?;
    match command {
        EffectsCommand::List {
            agent,
            state,
            contract,
            page: listing,
        } => {
            let request = v1::ListEffectsRequest {
                agent,
                state,
                contract_id: contract,
                page: page(listing),
            };
            list_effects(&peer, request, out).await
        }
        EffectsCommand::Show { id } => show(&peer, id, out).await,
        EffectsCommand::Approve { id } => decide(&peer, id, true, String::new(), out).await,
        EffectsCommand::Refuse { id, reason } => decide(&peer, id, false, reason, out).await,
    }
}

pub(super) async fn approvals(global: &Global, command: ApprovalsCommand, out: &Out) -> Result<u8> {
    let peer = Access::find(global)?.scheduler().await?;
    match command {
        ApprovalsCommand::List { agent, page: listing } => {
            let request = v1::ListEffectsRequest {
                agent,
                state: "held".to_owned(),
                contract_id: String::new(),
                page: page(listing),
            };
            let mut client = peer.operations();
            let answer = peer.ask("list what waits", client.list_effects(request)).await?;
            out.result(&view::effects(&answer), |value| {
                let list = render::listing(value, "effects", &APPROVALS);
                let hint = "look with `steward approvals show ID` and `steward runs files RUN --out DIR`";
                if answer.effects.is_empty() {
                    list
                } else {
                    format!("{list}\n\n{hint}")
                }
            })?;
            Ok(0)
        }
        ApprovalsCommand::Show { id } => show(&peer, id, out).await,
        ApprovalsCommand::Approve { id } => decide(&peer, id, true, String::new(), out).await,
        ApprovalsCommand::Refuse { id, reason } => decide(&peer, id, false, reason, out).await,
    }
}

async fn show(peer: &Peer, id: String, out: &Out) -> Result<u8> {
    let mut client = peer.operations();
    let effect = peer
        .ask("show the effect", client.get_effect(v1::GetEffectRequest { id }))
        .await?;
    out.result(&view::effect(&effect), |value| {
        let files = render::section("Files", &value["files"], &super::files::FILES);
        let payload = serde_json::to_string_pretty(&value["payload"]).unwrap_or_default();
        let payload = render::paragraphs(&payload);
        format!("{}{files}\n\nWhat it sends\n{payload}", render::fields(value, &EFFECT))
    })?;
    Ok(0)
}

async fn list_effects(peer: &Peer, request: v1::ListEffectsRequest, out: &Out) -> Result<u8> {
    let mut client = peer.operations();
    let answer = peer.ask("list the effects", client.list_effects(request)).await?;
    out.result(&view::effects(&answer), |value| {
        let budgets = render::section("Requests a minute", &value["budgets"], &BUDGETS);
        format!("{}{budgets}", render::listing(value, "effects", &EFFECTS))
    })?;
    Ok(0)
}

async fn decide(peer: &Peer, id: String, approve: bool, reason: String, out: &Out) -> Result<u8> {
    let mut client = peer.operations();
    let request = v1::DecideEffectRequest { id, approve, reason };
    let effect = peer.ask("decide the effect", client.decide_effect(request)).await?;
    let id = effect.id.clone();
    // It is decided, whether or not it can be told about what.
    let whole = peer
        .ask("show the effect", client.get_effect(v1::GetEffectRequest { id }))
        .await
        .unwrap_or_else(|_| effect.clone());
    out.result(&view::effect(&whole), |value| {
        let word = |key: &str, how| render::shown(&value[key], how);
        let about = match (word("amount_micro_usdc", As::Money), word("title", As::Text)) {
            (amount, title) if amount.is_empty() || title.is_empty() => String::new(),
            (amount, title) => format!(" ({amount} USDC, {title})"),
        };
        let (kind, state) = (word("kind", As::Text), render::plain(&effect.state));
        format!("{kind} {}{about} is now {state}", render::plain(&effect.id))
    })?;
    Ok(0)
}

pub(super) async fn inbox(global: &Global, command: InboxCommand, out: &Out) -> Result<u8> {
    let peer = Access::find(global)?.scheduler().await?;
    let mut client = peer.inbox();
    match command {
        InboxCommand::List {
            agent,
            unprocessed,
            page: listing,
        } => {
            let request = v1::ListInboxRequest {
                agent,
                unprocessed_only: unprocessed,
                page: page(listing),
            };
            let answer = peer.ask("list the inbox", client.list_inbox(request)).await?;
            out.result(&view::inbox(&answer), |value| render::listing(value, "inbox", &INBOX))?;
        }
        InboxCommand::Show { id } => {
            let answer = peer
                .ask("show the webhook", client.get_inbox(v1::GetInboxRequest { id }))
                .await?;
            out.result(&view::inbox_detail(&answer), |value| {
                let body = render::paragraphs(value["body"].as_str().unwrap_or_default());
                format!("{}\n\n{body}", render::fields(value, &INBOX_ROW))
            })?;
        }
        InboxCommand::Replay { id } => {
            let row = peer
                .ask("replay the webhook", client.replay_inbox(v1::GetInboxRequest { id }))
                .await?;
            out.result(&view::inbox_row(&row), |_| {
                format!("webhook {} is processed again", render::plain(&row.id))
            })?;
        }
    }
    Ok(0)
}

pub(super) async fn dead_letters(global: &Global, command: DeadLettersCommand, out: &Out) -> Result<u8> {
    let peer = Access::find(global)?.scheduler().await?;
    let mut client = peer.operations();
    let letter_ref = |kind: LetterKind, id: String| v1::DeadLetterRef {
        kind: kind.name().to_owned(),
        id,
    };
    match command {
        DeadLettersCommand::List { page: listing } => {
            let request = v1::ListDeadLettersRequest { page: page(listing) };
            let answer = peer
                .ask("list the dead letters", client.list_dead_letters(request))
                .await?;
            out.result(&view::dead_letters(&answer), |value| {
                let list = render::listing(value, "dead_letters", &LETTERS);
                let hint =
                    "try one again with `steward dead-letters retry KIND ID`, or give it up for good with `drop`";
                if answer.dead_letters.is_empty() {
                    list
                } else {
                    format!("{list}\n\n{hint}")
                }
            })?;
        }
        DeadLettersCommand::Show { kind, id } => {
            let letter = find_letter(&peer, kind, &id).await?;
            out.result(&view::dead_letter(&letter), |value| render::fields(value, &LETTERS))?;
        }
        DeadLettersCommand::Retry { kind, id } => {
            let request = letter_ref(kind, id);
            let letter = peer
                .ask("retry the dead letter", client.retry_dead_letter(request))
                .await?;
            out.result(&view::dead_letter(&letter), |value| match letter.version.as_str() {
                "" => done(value, "is tried again"),
                version => done(
                    value,
                    &format!("is tried again, {}", super::contracts::with_version(version)),
                ),
            })?;
        }
        DeadLettersCommand::Drop { kind, id, reason } => {
            let request = v1::DropDeadLetterRequest {
                letter: Some(letter_ref(kind, id)),
                reason,
            };
            let letter = peer
                .ask("drop the dead letter", client.drop_dead_letter(request))
                .await?;
            out.result(&view::dead_letter(&letter), |value| {
                done(value, "is given up; it is kept as a record")
            })?;
        }
    }
    Ok(0)
}

fn done(letter: &Value, what: &str) -> String {
    let word = |key: &str| render::shown(&letter[key], As::Text);
    format!("{} {} {what}", word("kind"), word("id"))
}

async fn find_letter(peer: &Peer, kind: LetterKind, id: &str) -> Result<v1::DeadLetter> {
    let mut client = peer.operations();
    let mut cursor = String::new();
    let mut found = Vec::new();
    for _ in 0..MOST_PAGES {
        let listing = Listing { limit: ROWS, cursor };
        let request = v1::ListDeadLettersRequest { page: page(listing) };
        let answer = peer
            .ask("look for the dead letter", client.list_dead_letters(request))
            .await?;
        let of_kind = answer
            .dead_letters
            .into_iter()
            .filter(|letter| letter.kind == kind.name());
        found.extend(of_kind.filter(|letter| letter.id.starts_with(id)));
        if answer.next.is_empty() {
            break;
        }
        cursor = answer.next;
    }
    let kind = kind.name();
    match found.len() {
        0 => Err(Failure::NotFound(format!("no {kind} {id} was given up: see `steward dead-letters list`")).into()),
        1 => Ok(found.remove(0)),
        _ => {
            let all: Vec<_> = found.into_iter().take(MOST_NAMED).map(|letter| letter.id).collect();
            Err(Failure::Usage(format!("several ids begin with {id}: {}", all.join(", "))).into())
        }
    }
}

pub(super) async fn deployments(global: &Global, command: DeploymentsCommand, out: &Out) -> Result<u8> {
    let DeploymentsCommand::List { page: listing } = command;
    let peer = Access::find(global)?.scheduler().await?;
    let mut client = peer.operations();
    let request = v1::ListDeploymentsRequest { page: page(listing) };
    let answer = peer
        .ask("list the deployments", client.list_deployments(request))
        .await?;
    out.result(&view::deployments(&answer), |value| {
        render::listing(value, "deployments", &STARTS)
    })?;
    Ok(0)
}
