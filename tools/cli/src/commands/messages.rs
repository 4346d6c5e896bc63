//! `steward messages`.

use std::io::Read as _;

use anyhow::{Context as _, Result};
use rpc::v1;
use serde_json::{Value, json};

use crate::args::{Global, MessagesCommand};
use crate::context::Access;
use crate::out::Out;
use crate::private::random;
use crate::render::{self, As, Column};
use crate::view;

/// A thread.
pub(super) const MESSAGES: [Column; 4] = [
    ("At", "at", As::Time),
    ("Side", "side", As::Text),
    ("Text", "text", As::Text),
    ("With", "with", As::Text),
];

/// More than a message may have.
const LONGEST: u64 = 64 * 1024;

pub(super) async fn run(global: &Global, command: MessagesCommand, out: &Out) -> Result<u8> {
    let peer = Access::find(global)?.scheduler().await?;
    let mut client = peer.contracts();
    match command {
        MessagesCommand::List { contract } => {
            let request = v1::GetContractRequest { id: contract };
            let answer = peer.ask("show the thread", client.get_contract(request)).await?;
            let messages = view::contract_detail(&answer)["messages"].clone();
            out.result(&json!({ "messages": messages }), |value| {
                render::listing(
                    &json!({ "messages": with_files(&value["messages"]) }),
                    "messages",
                    &MESSAGES,
                )
            })?;
        }
        MessagesCommand::Send { contract, text, key } => {
            let text = if text == "-" { standard_input()? } else { text };
            let key = key.map_or_else(random, Ok)?;
            let request = v1::SendMessageRequest {
                contract_id: contract,
                text,
                key,
            };
            let effect = peer.ask("send the message", client.send_message(request)).await?;
            out.result(&view::effect(&effect), |_| match effect.state.as_str() {
                "held" => format!(
                    "it is held back: {}; `steward approvals approve {}` sends it all the same",
                    render::plain(&effect.error),
                    render::plain(&effect.id)
                ),
                _ => "the message is on its way; `steward messages list` shows it once it is out".to_owned(),
            })?;
        }
    }
    Ok(0)
}

fn standard_input() -> Result<String> {
    let mut text = String::new();
    std::io::stdin()
        .take(LONGEST)
        .read_to_string(&mut text)
        .context("read the message from the standard input")?;
    Ok(text.trim_end().to_owned())
}

/// The messages, what was sent with each and what became of it as one text: nobody has checked it.
pub(super) fn with_files(messages: &Value) -> Value {
    let mut messages = messages.clone();
    for message in messages.as_array_mut().into_iter().flatten() {
        let message_is_ours = message["side"] == "us";
        let files = message["attachments"].as_array().into_iter().flatten();
        let files = files.map(|file| {
            let told = |key: &str| file[key].as_str().filter(|text| !text.is_empty()).map(str::to_owned);
            let bytes = file["bytes"].as_u64().filter(|bytes| *bytes > 0);
            let became = match (told("path"), told("error")) {
                (Some(path), _) => format!("came as {path}, {} bytes", file["fetched_bytes"].as_u64().unwrap_or(0)),
                (None, Some(error)) => format!("did not come: {error}"),
                // What we sent is not fetched.
                (None, None) if message_is_ours => "ours".to_owned(),
                (None, None) => "not here yet".to_owned(),
            };
            let parts = [
                told("name"),
                bytes.map(|bytes| format!("{bytes} bytes")),
                told("url").or_else(|| Some("no address".to_owned())),
                Some(became),
            ];
            parts.into_iter().flatten().collect::<Vec<_>>().join(", ")
        });
        message["with"] = files.collect::<Vec<_>>().join("; ").into();
    }
    messages
}
