//! What an ordinary container gives to keep agents in, and what the shipped profile adds.

use std::path::Path;

use anyhow::{Context as _, Result, bail};
use serde_json::Value;

use super::engine::Engine;
use super::images;
use crate::run;

/// As compose.yaml confines the executor.
const CONFINED: [&str; 10] = [
    "run",
    "--rm",
    "--network",
    "none",
    "--read-only",
    "--tmpfs",
    "/tmp:size=64m,mode=1777",
    "--cap-drop=ALL",
    "--security-opt",
    "no-new-privileges:true",
];
/// Where the shipped profile lies.
const PROFILE: &str = "docker/security/seccomp.json";

/// The executor's own look at its sandbox, in a container as it is by default and with the profile.
///
/// # Errors
/// When either gives another level than it should.
pub fn levels(engine: &Engine, root: &Path) -> Result<()> {
    let profile = format!("seccomp={}", root.join(PROFILE).display());
    let allowed = ["--security-opt", &profile, "--security-opt", "systempaths=unconfined"];
    for (options, expected) in [(&[][..], "landlock"), (&allowed[..], "namespaces")] {
        let found = look(engine, options)?;
        if found["level"] != expected || found["live"] != true {
            bail!("a container with {options:?} gives {found}, not {expected}");
        }
    }
    Ok(())
}

fn look(engine: &Engine, options: &[&str]) -> Result<Value> {
    let image = format!("steward/executor:{}", images::TAG);
    let mut words = CONFINED.to_vec();
    words.extend(options);
    words.extend(["--entrypoint", "executor", &image, "__sandbox-doctor"]);
    let told = run::captured(&mut engine.docker(&words))?;
    let line = told.lines().last().unwrap_or_default();
    serde_json::from_str(line).with_context(|| format!("read what the executor found: {told}"))
}
