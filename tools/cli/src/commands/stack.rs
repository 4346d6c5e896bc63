//! `steward status` and `down`.

use std::path::Path;

use anyhow::Result;
use serde_json::{Value, json};

use crate::args::Global;
use crate::context::{USUAL_DIR, given_token, read_stack};
use crate::failure;
use crate::out::Out;
use crate::render::{self, As, Column};
use crate::up::{self, home::Home, process};

const PARTS: [Column; 5] = [
    ("Part", "name", As::Text),
    ("Ready", "ready", As::Text),
    ("Pid", "pid", As::Text),
    ("Starts", "starts", As::Text),
    ("Addresses", "addresses", As::Text),
];

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
    let shown = json!({
        "dir": home.path(),
        "running": running,
        "ready": ready,
        "mode": stack["mode"],
        "console": console,
        "waiting": waiting,
        "parts": if running { parts(&stack) } else { fallen(&home, parts(&stack))? },
    });
    out.result(&shown, |value| {
        let state = match (running, ready) {
            (true, true) => "running and ready",
            (true, false) => "running, not ready",
            (false, _) => "down; `steward up` starts it",
        };
        let console = console.map(|link| format!("\n\nconsole  {link}")).unwrap_or_default();
        let mode = render::shown(&value["mode"], As::Text);
        format!(
            "{} ({mode}): {state}{}\n\n{}{console}",
            home.path().display(),
            render::section("Waiting for", &value["waiting"], &WAITING),
            render::table(&value["parts"], &PARTS)
        )
    })?;
    Ok(if ready { 0 } else { failure::FAILED })
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
