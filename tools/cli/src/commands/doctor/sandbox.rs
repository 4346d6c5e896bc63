//! `steward doctor sandbox`: what keeps agents in, as the executor's own program finds it on this machine.

use std::path::Path;
use std::process::{Command, Stdio};

use anyhow::{Context as _, Result, bail};
use serde::{Deserialize, Serialize};

use crate::args::Global;
use crate::context::USUAL_DIR;
use crate::failure;
use crate::out::Out;
use crate::render;
use crate::up::programs;

/// What makes the executor look and tell.
const LOOK: &str = "__sandbox-doctor";

/// What it tells.
#[derive(Debug, Serialize, Deserialize)]
struct Findings {
    level: String,
    live: bool,
    layers: Vec<Layer>,
}

#[derive(Debug, Serialize, Deserialize)]
struct Layer {
    layer: String,
    there: bool,
    detail: String,
    fix: String,
}

pub(super) fn run(global: &Global, out: &Out) -> Result<u8> {
    let program = programs::service("executor")?;
    let mut command = Command::new(&program);
    command.arg(LOOK);
    // Where the local stack's executors work, if there is one here.
    let local = global.dir.as_deref().unwrap_or(Path::new(USUAL_DIR));
    if local.is_dir() {
        command.arg(local);
    }
    let output = command
        .stdin(Stdio::null())
        .output()
        .with_context(|| format!("start {}", program.display()))?;
    if !output.status.success() {
        bail!(
            "look at the sandbox: {}",
            String::from_utf8_lossy(&output.stderr).trim()
        );
    }
    let findings: Findings = serde_json::from_slice(&output.stdout).context("read what the executor found")?;
    if out.json() {
        out.line(&serde_json::to_string(&findings)?)?;
    } else {
        out.line(&text(&findings))?;
    }
    Ok(if findings.live { 0 } else { failure::FAILED })
}

fn text(findings: &Findings) -> String {
    let mut text = String::new();
    for layer in &findings.layers {
        let outcome = if layer.there { "ok" } else { "none" };
        text.push_str(&format!(
            "{outcome:4}  {:16}  {}\n",
            layer.layer,
            render::plain(&layer.detail)
        ));
        if !layer.fix.is_empty() {
            text.push_str(&format!("      {:16}  {}\n", "", render::plain(&layer.fix)));
        }
    }
    let enough = if findings.live { "enough" } else { "not enough" };
    text.push_str(&format!(
        "level {}: {enough} for live work (docs/SECURITY.md says what each keeps)",
        findings.level
    ));
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_layer_is_a_line_and_what_is_missing_says_what_to_do() {
        let layer = |layer: &str, there: bool, fix: &str| Layer {
            layer: layer.to_owned(),
            there,
            detail: "as found".to_owned(),
            fix: fix.to_owned(),
        };
        let findings = Findings {
            level: "landlock".to_owned(),
            live: true,
            layers: vec![
                layer("landlock", true, ""),
                layer("namespaces", false, "apply the profile"),
            ],
        };
        let shown = text(&findings);
        assert_eq!(shown.lines().count(), 4, "{shown}");
        for part in [
            "ok    landlock",
            "none  namespaces",
            "apply the profile",
            "enough for live work",
        ] {
            assert!(shown.contains(part), "{part}: {shown}");
        }
    }
}
