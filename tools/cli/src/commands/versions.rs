//! `steward agents versions` and `rollback`.

use anyhow::Result;
use rpc::v1;
use serde_json::{Value, json};

use crate::context::Access;
use crate::out::Out;
use crate::render::{self, As, Column};
use crate::view;

const COLUMNS: [Column; 5] = [
    ("Version", "sha256", As::Text),
    ("Label", "label", As::Text),
    ("Added", "added_at", As::Time),
    ("Bytes", "bytes", As::Text),
    ("Current", "current", As::Text),
];

pub(super) async fn list(access: &Access, agent: String, out: &Out) -> Result<()> {
    let peer = access.scheduler().await?;
    let mut client = peer.agents();
    let request = v1::ListVersionsRequest { agent };
    let answer = peer.ask("list the versions", client.list_versions(request)).await?;
    let versions: Vec<Value> = answer.versions.iter().map(shown).collect();
    out.result(&json!({ "versions": versions }), |value| {
        render::listing(value, "versions", &COLUMNS)
    })
}

pub(super) async fn rollback(access: &Access, agent: String, version: String, out: &Out) -> Result<()> {
    let peer = access.scheduler().await?;
    let mut client = peer.agents();
    let request = v1::RollbackRequest { agent, version };
    let answer = peer.ask("roll the agent back", client.rollback(request)).await?;
    let (from, to) = (answer.from.unwrap_or_default(), answer.to.unwrap_or_default());
    let name = answer.agent.unwrap_or_default().name;
    let value = json!({ "name": name, "from": shown(&from), "to": shown(&to) });
    out.result(&value, |_| {
        let name = render::plain(&name);
        format!(
            "{name} is at version {} again (it was {}): new runs use it, queued ones keep theirs. `steward agents add` gives \
             it another",
            called(&to),
            called(&from)
        )
    })
}

fn called(version: &v1::AgentVersion) -> String {
    let short: String = render::plain(&version.sha256).chars().take(12).collect();
    match version.label.as_str() {
        "" => short,
        label => format!("{} ({short})", render::plain(label)),
    }
}

fn shown(version: &v1::AgentVersion) -> Value {
    json!({
        "sha256": version.sha256,
        "label": version.label,
        "added_at": view::time(version.added_at.as_ref()),
        "bytes": version.bytes,
        "current": version.current,
    })
}
