//! `steward runs logs`: what a run said and printed, also while it goes on.

use std::time::Duration;

use anyhow::Result;
use rpc::v1;
use serde_json::Value;

use crate::context::Peer;
use crate::out::Out;
use crate::render::{self, As};
use crate::view;

/// Between two looks.
const LOOK: Duration = Duration::from_secs(1);

pub(super) async fn print(peer: &Peer, id: String, follow: bool, out: &Out) -> Result<u8> {
    if follow {
        return go_on(peer, id, out).await;
    }
    let events = view::run_detail(&read(peer, &id, 0).await?)["events"].clone();
    out.result(&events, |events| {
        let lines: Vec<String> = events.as_array().into_iter().flatten().map(line).collect();
        if lines.is_empty() {
            "it has said nothing yet".to_owned()
        } else {
            lines.join("\n")
        }
    })?;
    Ok(0)
}

/// Prints each line when it comes, as JSON one object a line, until the run ends.
async fn go_on(peer: &Peer, id: String, out: &Out) -> Result<u8> {
    let mut seen = 0;
    loop {
        let detail = read(peer, &id, seen).await?;
        seen = detail.events.iter().map(|event| event.seq).fold(seen, u64::max);
        for event in view::run_detail(&detail)["events"].as_array().into_iter().flatten() {
            out.line(&if out.json() { event.to_string() } else { line(event) })?;
        }
        let state = detail.run.unwrap_or_default().state;
        match state.as_str() {
            _ if !detail.events.is_empty() => continue,
            "succeeded" => return Ok(0),
            "parked" | "cancelled" => {
                out.note(&format!("the run is {state}"));
                return Ok(1);
            }
            _ => tokio::time::sleep(LOOK).await,
        }
    }
}

async fn read(peer: &Peer, id: &str, after_seq: u64) -> Result<v1::RunDetail> {
    let mut client = peer.contracts();
    let request = v1::GetRunRequest {
        id: id.to_owned(),
        after_seq,
    };
    peer.ask("read the run's log", client.get_run(request)).await
}

fn line(event: &Value) -> String {
    let text = render::paragraphs(event["text"].as_str().unwrap_or_default());
    format!(
        "{}  #{}  {:10}  {}",
        render::shown(&event["at"], As::Time),
        event["attempt"],
        render::shown(&event["kind"], As::Text),
        text.trim_end().replace('\n', "\n      "),
    )
}
