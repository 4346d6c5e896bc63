//! `steward status` and `down`.

use std::path::Path;
use std::time::Duration;

use anyhow::Result;
use rpc::v1;
use serde_json::{Value, json};

use crate::args::Global;
use crate::context::{Access, USUAL_DIR, given_token, read_stack};
use crate::failure;
use crate::out::Out;
use crate::render::{self, As, Column};
use crate::up::{self, home::Home, process};
use crate::view;

const PARTS: [Column; 5] = [
    ("Part", "name", As::Text),
    ("Ready", "ready", As::Text),
    ("Pid", "pid", As::Text),
    ("Starts", "starts", As::Text),
    ("Addresses", "addresses", As::Text),
];

const ATTENTION: [Column; 6] = [
    ("What", "kind", As::Text),
    ("Id", "id", As::Text),
    ("Waiting", "since", As::Age),
    ("Deadline", "deadline", As::Time),
    ("Why", "text", As::Text),
    ("About", "title", As::Text),
];
/// Of what waits for a human, as much as is shown beside the parts; the console has the rest.
const MOST_WAITING: usize = 10;
/// The kind of what waits for an approval.
const HELD: &str = "held_effect";
/// How long the scheduler may take to say what waits.
const SOON: Duration = Duration::from_secs(5);
const WAITING: [Column; 2] = [("Part", "name", As::Text), ("Why", "note", As::Text)];

pub(super) async fn status(global: &Global, out: &Out) -> Result<u8> {
    let dir = global.dir.as_deref().unwrap_or(Path::new(USUAL_DIR));
    let (home, stack) = read_stack(dir)?;
    let running = home.try_lock()?.is_none();
    let console = if running {
        up::console_link(&stack).await.ok()
    } else {
        None
    };
    let ready = running && stack["ready"] == true;
    let waiting = if running { stack["waiting"].clone() } else { json!([]) };
    let parts = if running {
        parts(&stack)
    } else {
        fallen(&home, parts(&stack))?
    };
    let alive = |part: &&Value| part["pid"].is_number();
    let unwatched = match parts.as_array() {
        Some(parts) if !running => parts.iter().filter(alive).count(),
        _ => 0,
    };
    let attention = if running { attention(dir).await } else { json!([]) };
    let shown = json!({
        "dir": home.path(),
        "running": running,
        "ready": ready,
        "mode": stack["mode"],
        "console": console,
        "waiting": waiting,
        "unwatched": unwatched,
        "attention": attention,
        "parts": parts,
    });
    out.result(&shown, |value| {
        let state = match (running, ready) {
            (true, true) => "running and ready".to_owned(),
            (true, false) => "running, not ready".to_owned(),
            (false, _) if unwatched > 0 => format!(
                "its supervisor is gone and {unwatched} parts still run, watched by nobody: `steward up` takes them \
                 over, `steward down` stops them"
            ),
            (false, _) => "down; `steward up` starts it".to_owned(),
        };
        let console = console.map(|link| format!("\n\nconsole  {link}")).unwrap_or_default();
        let mode = render::shown(&value["mode"], As::Text);
        format!(
            "{} ({mode}): {state}{}{}\n\n{}{console}",
            home.path().display(),
            render::section("Waiting for", &value["waiting"], &WAITING),
            render::section("Waits for you", &value["attention"], &ATTENTION),
            render::table(&value["parts"], &PARTS)
        )
    })?;
    Ok(if ready { 0 } else { failure::FAILED })
}

/// What only a human can decide; that it cannot be known where the scheduler does not say.
async fn attention(dir: &Path) -> Value {
    match tokio::time::timeout(SOON, oldest_waiting(dir)).await {
        Ok(Ok(items)) => items,
        Ok(Err(error)) => json!([{ "kind": "unknown", "text": failure::sentence(&error) }]),
        Err(_) => json!([{ "kind": "unknown", "text": "the scheduler does not answer" }]),
    }
}

/// The oldest few things that wait.
async fn oldest_waiting(dir: &Path) -> Result<Value> {
    let peer = Access::local(dir)?.scheduler().await?;
    let mut client = peer.operations();
    let overview = peer
        .ask("read what waits", client.get_overview(v1::GetOverviewRequest {}))
        .await?;
    let items: Vec<_> = overview.waiting.into_iter().take(MOST_WAITING).collect();
    let mut held = Vec::new();
    for item in items.iter().filter(|item| item.kind == HELD) {
        let request = v1::GetEffectRequest { id: item.id.clone() };
        // One that was decided meanwhile has nothing to say.
        held.extend(peer.ask("read what waits", client.get_effect(request)).await.ok());
    }
    Ok(items.iter().map(|item| waiting_item(item, &held)).collect())
}

/// One thing that waits; what a held effect is about comes from the effect.
fn waiting_item(item: &v1::WaitingItem, held: &[v1::Effect]) -> Value {
    let about = held.iter().find(|effect| effect.id == item.id);
    json!({
        "kind": item.kind,
        "id": item.id,
        "text": item.text,
        "since": view::time(item.since.as_ref()),
        "title": about.map(|effect| &effect.title),
        "amount_micro_usdc": about.map(|effect| effect.amount_micro_usdc),
        "deadline": about.map(|effect| view::time(effect.deadline.as_ref())),
    })
}

pub(super) async fn console(
    global: &Global,
    endpoint: Option<String>,
    public_url: Option<String>,
    out: &Out,
) -> Result<u8> {
    let link = match endpoint {
        Some(url) => {
            let url = url.trim_end_matches('/');
            let shown = public_url.as_deref().map_or(url, |public| public.trim_end_matches('/'));
            format!("{shown}{}", up::sign_in_path(url, &given_token()?).await?)
        }
        None => {
            let dir = global.dir.as_deref().unwrap_or(Path::new(USUAL_DIR));
            let (_, stack) = read_stack(dir)?;
            up::console_link(&stack).await?
        }
    };
    out.result(&json!({ "console": link }), |_| link.clone())?;
    Ok(0)
}

fn parts(stack: &Value) -> Value {
    let mut rows = Vec::new();
    for server in ["postgres", "redis"] {
        let url = stack[server]["url"].as_str().unwrap_or_default();
        // Without the password that stands before the host.
        let host = url.rsplit('@').next().unwrap_or_default();
        rows.push(json!({
            "name": server,
            "ready": stack[server]["ready"],
            "pid": stack[server]["pid"],
            "addresses": host,
        }));
    }
    for (_, service) in stack["services"].as_object().into_iter().flatten() {
        for instance in service["replicas"].as_array().into_iter().flatten() {
            let kinds = ["url", "grpc", "gateway", "admin"];
            let each = kinds
                .iter()
                .filter_map(|kind| Some(format!("{kind} {}", instance[*kind].as_str()?)));
            rows.push(json!({
                "name": instance["name"],
                "ready": instance["ready"],
                "pid": instance["pid"],
                "starts": instance["starts"],
                "addresses": each.collect::<Vec<_>>().join("  "),
            }));
        }
    }
    Value::Array(rows)
}

/// The parts of a stack nobody supervises: nothing is ready, and what a killed supervisor left running has a process.
fn fallen(home: &Home, mut parts: Value) -> Result<Value> {
    let left = process::records(&home.run())?;
    for part in parts.as_array_mut().into_iter().flatten() {
        let alive = left
            .iter()
            .find(|record| part["name"] == record.name.as_str() && record.is_alive());
        part["ready"] = json!(false);
        part["pid"] = json!(alive.map(|record| record.pid));
    }
    Ok(parts)
}

pub(super) async fn down(global: &Global, out: &Out) -> Result<u8> {
    let dir = global.dir.as_deref().unwrap_or(Path::new(USUAL_DIR));
    let home = Home::at(dir)?;
    let stopped = up::down(&home).await?;
    out.result(&json!({ "stopped": stopped, "dir": home.path() }), |_| {
        if stopped {
            format!("the stack in {} is stopped", home.path().display())
        } else {
            format!("no stack runs in {}", home.path().display())
        }
    })?;
    Ok(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bid_that_waits_says_since_when_until_when_and_about_what() {
        let at = |seconds| Some(prost_types::Timestamp { seconds, nanos: 0 });
        let item = v1::WaitingItem {
            kind: HELD.to_owned(),
            id: "e1".to_owned(),
            text: "propose of demo waits for approval".to_owned(),
            since: at(0),
        };
        let effect = v1::Effect {
            id: "e1".to_owned(),
            title: "Rename photos".to_owned(),
            deadline: at(86_400),
            ..v1::Effect::default()
        };
        let shown = render::table(&json!([waiting_item(&item, &[effect])]), &ATTENTION);
        for part in ["e1", "days", "1970-01-02 00:00:00", "Rename photos"] {
            assert!(shown.contains(part), "{part}: {shown}");
        }
        let bare = render::table(&json!([waiting_item(&item, &[])]), &ATTENTION);
        assert!(bare.contains("waits for approval") && !bare.contains("null"), "{bare}");
    }
}
