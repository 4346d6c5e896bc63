//! `steward maintenance`.

use anyhow::Result;
use rpc::v1;
use serde_json::{Value, json};

use crate::args::{Global, MaintenanceCommand};
use crate::context::Access;
use crate::out::Out;
use crate::render::{self, As, Column};
use crate::view;

const COLUMNS: [Column; 5] = [
    ("From", "starts_at", As::Time),
    ("Until", "ends_at", As::Time),
    ("On", "on", As::Text),
    ("Source", "source", As::Text),
    ("Reason", "reason", As::Text),
];

pub(super) async fn run(global: &Global, command: MaintenanceCommand, out: &Out) -> Result<u8> {
    let peer = Access::find(global)?.scheduler().await?;
    let mut client = peer.operations();
    match command {
        MaintenanceCommand::List => {
            let request = client.list_maintenance(v1::ListMaintenanceRequest {});
            let answer = peer.ask("list the maintenance", request).await?;
            let windows: Vec<Value> = answer.windows.iter().map(shown).collect();
            out.result(&json!({ "windows": windows }), |value| {
                render::listing(value, "windows", &COLUMNS)
            })?;
        }
        MaintenanceCommand::Start { lasts, reason } => {
            let seconds = u32::try_from(lasts.as_secs()).unwrap_or(u32::MAX);
            let request = client.begin_maintenance(v1::BeginMaintenanceRequest { seconds, reason });
            let window = peer.ask("begin the maintenance", request).await?;
            let shown = shown(&window);
            out.result(&shown, |_| {
                let until = shown["ends_at"].as_str().unwrap_or_default();
                format!("no bid is sent and no run begins until {until}; `steward maintenance end` ends it sooner")
            })?;
        }
        MaintenanceCommand::End => {
            let request = client.end_maintenance(v1::EndMaintenanceRequest {});
            let ended = peer.ask("end the maintenance", request).await?.ended;
            out.result(&json!({ "ended": ended }), |_| {
                match ended {
                    0 => "no maintenance was on",
                    _ => "the maintenance is over: bids and runs go on",
                }
                .to_owned()
            })?;
        }
    }
    Ok(0)
}

fn shown(window: &v1::MaintenanceWindow) -> Value {
    json!({
        "starts_at": view::time(window.starts_at.as_ref()),
        "ends_at": view::time(window.ends_at.as_ref()),
        "on": window.on,
        "source": window.source,
        "reason": window.reason,
    })
}
