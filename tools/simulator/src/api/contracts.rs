//! Contracts, deliveries, messages.

use std::sync::Arc;

use axum::extract::{Path, Query, State};
use bytes::Bytes;
use serde::Deserialize;
use serde_json::Value;
use url::Url;

use super::reply::{Answer, Caller, Page, Params, created, id, ok, parse};
use crate::{
    app::App,
    dialect::Dialect,
    files,
    refusal::Refusal,
    sync::lock,
    world::{Attachment, Contract, Delivered},
};

/// Longest delivery notes.
const MAX_NOTES: usize = 20_000;
/// Most attachments of a delivery.
const MAX_ATTACHMENTS: usize = 50;

#[derive(Deserialize)]
struct DeliverBody {
    delivery_notes: Option<String>,
    deliverables_url: Option<String>,
    #[serde(default)]
    attachments: Option<Vec<Value>>,
}

#[derive(Deserialize)]
struct MessageBody {
    content: Option<String>,
    attachment_url: Option<String>,
    attachment_name: Option<String>,
}

pub async fn list(State(app): State<Arc<App>>, Caller(caller): Caller, Query(params): Query<Params>) -> Answer {
    let page = Page::of(&params);
    let status = params
        .get("status")
        .map(String::as_str)
        .filter(|status| !status.is_empty());
    app.act(|world| {
        let (ids, total) = world.contracts_of(caller, status, page.offset, page.limit)?;
        let rows: Vec<_> = ids.iter().filter_map(|id| world.contracts.get(*id)).collect();
        page.written(&rows.into_iter().map(Contract::view).collect::<Vec<_>>(), total)
    })
}

pub async fn deliver(
    State(app): State<Arc<App>>,
    Caller(caller): Caller,
    Path(contract): Path<String>,
    body: Bytes,
) -> Answer {
    let contract = id(&contract, "Contract")?;
    let body: DeliverBody = parse(&body)?;
    let notes = body.delivery_notes.unwrap_or_default();
    if notes.trim().is_empty() || notes.chars().count() > MAX_NOTES {
        return Err(Refusal::invalid("delivery_notes must have 1 to 20000 characters"));
    }
    if body.deliverables_url.as_deref().is_some_and(|url| !is_web(url)) {
        return Err(Refusal::invalid("deliverables_url must be a URL"));
    }
    let attachments = body.attachments.unwrap_or_default();
    check_attachments(&app, &attachments)?;
    let work = Delivered {
        notes,
        url: body.deliverables_url,
        attachments,
    };
    ok(app.act(|world| world.deliver(caller, contract, work))?)
}

pub async fn thread(
    State(app): State<Arc<App>>,
    Caller(caller): Caller,
    Path(contract): Path<String>,
    Query(params): Query<Params>,
) -> Answer {
    let contract = id(&contract, "Contract")?;
    let rows = app.see(|world| world.thread(caller, contract))?;
    Page::or_whole(&params, app.dialect()).cut(rows)
}

pub async fn write(
    State(app): State<Arc<App>>,
    Caller(caller): Caller,
    Path(contract): Path<String>,
    body: Bytes,
) -> Answer {
    let contract = id(&contract, "Contract")?;
    let body: MessageBody = parse(&body)?;
    let attachment = match body.attachment_url {
        Some(url) if !is_web(&url) => {
            return Err(Refusal::invalid("attachment_url must be a URL"));
        }
        Some(url) => Some(Attachment {
            url,
            name: body.attachment_name,
            ..Attachment::default()
        }),
        None => None,
    };
    let content = body.content.unwrap_or_default();
    created(app.act(|world| world.agent_message(caller, contract, content, attachment))?)
}

pub async fn inbox(State(app): State<Arc<App>>, Caller(caller): Caller, Query(params): Query<Params>) -> Answer {
    let only = params.get("contract_id").map(|text| id(text, "Contract")).transpose()?;
    let rows = app.see(|world| world.inbox(caller, only))?;
    Page::of(&params).cut(rows)
}

/// Attachments are URLs, or objects with one, or only one of the two forms in some dialects; those that name our own files must exist.
fn check_attachments(app: &App, attachments: &[Value]) -> Result<(), Refusal> {
    let wrong = |text: &str| {
        Refusal::new(
            http::StatusCode::BAD_REQUEST,
            "invalid_attachments",
            format!("attachments: {text}"),
        )
    };
    if attachments.len() > MAX_ATTACHMENTS {
        return Err(wrong("at most 50"));
    }
    let form = app.see(|world| world.settings().dialect);
    let refused = match form {
        Dialect::Sdk => attachments.iter().any(|one| !one.is_string()),
        Dialect::Legacy => attachments.iter().any(|one| !one.is_object()),
        Dialect::Docs | Dialect::Hostile => false,
    };
    if refused {
        return Err(wrong("not in the form expected"));
    }
    let files = lock(&app.files);
    for attachment in attachments {
        let url = attachment.as_str().or_else(|| attachment["url"].as_str());
        let Some(url) = url.filter(|url| is_web(url)) else {
            return Err(wrong("each must be a URL or an object with a url"));
        };
        if let Some((_, path)) = url.split_once(files::FOLDER)
            && Url::parse(url).is_ok_and(|url| url.path().starts_with(files::FOLDER))
            && files.get(path).is_none()
        {
            return Err(wrong("no such uploaded file"));
        }
    }
    Ok(())
}

fn is_web(text: &str) -> bool {
    text.len() <= 2048 && Url::parse(text).is_ok_and(|url| matches!(url.scheme(), "http" | "https"))
}
