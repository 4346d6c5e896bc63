//! Playing the client of a contract.

use std::sync::Arc;

use axum::extract::{Path, Query, State};
use bytes::Bytes;
use serde::Deserialize;
use serde_json::Value;
use uuid::Uuid;

use super::listed;
use crate::{
    api::reply::{Answer, Params, id, ok, parse},
    app::App,
    files::{FOLDER, File},
    refusal::Refusal,
    sync::lock,
    world::{Attachment, client::Verdict},
};

/// The particulars of a step; each step reads its own.
#[derive(Default, Deserialize)]
struct Step {
    /// dispute, cancel.
    reason: Option<String>,
    /// resolve: `approved` or `cancelled`; by default what `resolution` says, else approved.
    outcome: Option<String>,
    /// resolve: the mediator's words.
    resolution: Option<String>,
    /// revise, message: the client's words.
    #[serde(alias = "message", alias = "request", alias = "text")]
    content: Option<String>,
    /// review.
    rating: Option<u8>,
    comment: Option<String>,
    /// message: `client` (default) or `agent`.
    sender_type: Option<String>,
    attachment_url: Option<String>,
    attachment_name: Option<String>,
    attachment_type: Option<String>,
    /// echo: how many answers; 20 if not said.
    rounds: Option<u32>,
    /// message: the text of a file to attach; it is stored and linked.
    attachment_text: Option<String>,
}

pub async fn list(State(app): State<Arc<App>>, Query(params): Query<Params>) -> Answer {
    let status = params.get("status");
    let rows: Vec<Value> = app.see(|world| {
        world
            .contracts
            .iter()
            .filter(|contract| status.is_none_or(|status| status == contract.status.name()))
            .filter_map(|contract| world.detail(contract.id).ok())
            .collect()
    });
    listed(rows)
}

pub async fn show(State(app): State<Arc<App>>, Path(contract): Path<String>) -> Answer {
    let contract = id(&contract, "Contract")?;
    ok(app.see(|world| world.detail(contract))?)
}

pub async fn step(State(app): State<Arc<App>>, Path((contract, step)): Path<(String, String)>, body: Bytes) -> Answer {
    let contract = id(&contract, "Contract")?;
    let with: Step = parse(&body)?;
    let words = with.content.clone();
    ok(match step.as_str() {
        "fund" => app.act(|world| world.fund(contract)),
        "approve" => app.act(|world| world.approve(contract)),
        "dispute" => {
            let reason = with
                .reason
                .unwrap_or_else(|| "The work does not match what the brief asked for".to_owned());
            app.act(|world| world.dispute(contract, &reason))
        }
        "resolve" => resolve(&app, contract, &with),
        "cancel" => app.act(|world| world.cancel(contract, with.reason)),
        "revise" => {
            let request =
                words.unwrap_or_else(|| "Please shorten the introduction and fix the second section".to_owned());
            app.act(|world| world.revise(contract, &request))
        }
        "review" => {
            let rating = with.rating.unwrap_or(5);
            app.act(|world| world.review(contract, rating, with.comment.as_deref()))
        }
        "echo" => app.act(|world| world.echo(contract, with.rounds.unwrap_or(20))),
        "message" => message(&app, contract, with),
        _ => Err(Refusal::missing("Step")),
    }?)
}

fn resolve(app: &App, contract: Uuid, with: &Step) -> Result<Value, Refusal> {
    let verdict = match (with.outcome.as_deref(), with.resolution.as_deref()) {
        (Some("approved" | "approve"), _) => Verdict::Approved,
        (Some("cancelled" | "cancel" | "refunded"), _) => Verdict::Cancelled,
        (Some(_), _) => return Err(Refusal::invalid("outcome must be approved or cancelled")),
        (None, Some("cancelled" | "cancel" | "refunded" | "refund")) => Verdict::Cancelled,
        (None, _) => Verdict::Approved,
    };
    let text = with.resolution.as_deref().unwrap_or(match verdict {
        Verdict::Approved => "Resolved in favour of the agent",
        Verdict::Cancelled => "Resolved in favour of the client",
    });
    app.act(|world| world.resolve(contract, verdict, text))
}

fn message(app: &App, contract: Uuid, with: Step) -> Result<Value, Refusal> {
    let content = with.content.unwrap_or_else(|| "How is it going?".to_owned());
    let sender = with.sender_type.unwrap_or_else(|| "client".to_owned());
    if !["client", "agent"].contains(&sender.as_str()) {
        return Err(Refusal::invalid("sender_type must be client or agent"));
    }
    let mut attachment = with.attachment_url.map(|url| Attachment {
        url,
        name: with.attachment_name.clone(),
        kind: with.attachment_type.clone(),
        size: None,
    });
    if let Some(text) = with.attachment_text {
        let name = with.attachment_name.unwrap_or_else(|| "notes.txt".to_owned());
        let content_type = with.attachment_type.unwrap_or_else(|| "text/plain".to_owned());
        let file = File {
            content_type: content_type.clone(),
            content: Bytes::from(text),
        };
        let size = file.content.len() as u64;
        let path = lock(&app.files).put("attachments", &name, file)?;
        let base = app.see(|world| world.base().to_owned());
        attachment = Some(Attachment {
            url: format!("{base}{FOLDER}{path}"),
            name: Some(name),
            kind: Some(content_type),
            size: Some(size),
        });
    }
    app.act(|world| world.client_message(contract, content, attachment, &sender))
}
