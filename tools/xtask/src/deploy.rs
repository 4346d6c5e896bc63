//! `cargo xtask deploy`: what carries the product into production is checked like the product.
//!
//! Compose, Fly and workflow files parse and keep the rules below; every file and image target they name exists; every
//! setting they make is accepted by the very program it is for, with the secrets `steward init` makes. Each module
//! holds one kind of file and its rules, as functions from what was read to a list of findings.

mod compose;
mod dockerfile;
mod fly;
mod kubernetes;
mod settings;
mod workflow;

use crate::{run, workspace};
use anyhow::{Context, Result, bail};
use dockerfile::Dockerfile;
use settings::Programs;
use std::path::Path;
use std::process::Command;

/// The one recipe of all images.
pub const DOCKERFILE: &str = "docker/Dockerfile";

/// Builds the programs that are asked, then checks everything.
///
/// # Errors
/// When something is wrong.
pub fn run() -> Result<()> {
    let root = workspace::root()?;
    run::step(
        "build",
        run::cargo(&root).args(["build", "--quiet", "--workspace", "--bins"]),
    )?;
    check()
}

/// Checks everything with the programs as they are built, and lists what is wrong.
///
/// # Errors
/// When something is wrong.
pub fn check() -> Result<()> {
    let root = workspace::root()?;
    let secrets = Secrets::make()?;
    let programs = Programs::new(workspace::target()?.join("debug"), secrets.folder.clone());
    let mut findings = findings(&root, &programs)?;
    if findings.is_empty() {
        return Ok(());
    }
    findings.sort();
    for finding in &findings {
        eprintln!("{finding}");
    }
    bail!("deployment files: {} findings", findings.len())
}

fn findings(root: &Path, programs: &Programs) -> Result<Vec<String>> {
    let recipe = Dockerfile::parse(&workspace::read(&root.join(DOCKERFILE))?);
    let toolchain = workspace::read(&root.join("rust-toolchain.toml"))?;
    let mut findings = dockerfile::check(&recipe, &toolchain, |path| root.join(path).exists());

    let base = compose::parse(&workspace::read(&root.join("compose.yaml"))?).context("read compose.yaml")?;
    findings.extend(compose::check(&base, &recipe));
    findings.extend(settings::of_compose("compose.yaml", &base, programs));
    for overlay in files(&root.join("docker"), "compose.", ".yaml")? {
        let shown = format!("docker/{overlay}");
        let over = compose::parse(&workspace::read(&root.join(&shown))?).with_context(|| format!("read {shown}"))?;
        findings.extend(compose::check_overlay(&shown, &base, &over));
        findings.extend(settings::of_compose(&shown, &compose::merged(&base, &over), programs));
    }

    let mut apps = vec![fly::App::read(root, "fly.toml")?];
    for name in files(&root.join("docker/fly"), "", ".toml")? {
        apps.push(fly::App::read(root, &format!("docker/fly/{name}"))?);
    }
    findings.extend(fly::check_all(&apps, &recipe, |path| root.join(path).exists()));
    findings.extend(apps.iter().flat_map(|app| settings::of_fly(app, programs)));

    let manifest = "docker/security/kubernetes.yaml";
    let pod =
        kubernetes::Pod::parse(&workspace::read(&root.join(manifest))?).with_context(|| format!("read {manifest}"))?;
    findings.extend(settings::of_pod(manifest, &pod, programs));

    let ci = ".github/workflows/ci.yml";
    findings.extend(workflow::check(ci, &workspace::read(&root.join(ci))?, &recipe));
    Ok(findings)
}

fn files(folder: &Path, start: &str, end: &str) -> Result<Vec<String>> {
    let mut names = Vec::new();
    for entry in std::fs::read_dir(folder).with_context(|| format!("read {}", folder.display()))? {
        let name = entry?.file_name().to_string_lossy().into_owned();
        if name.starts_with(start) && name.ends_with(end) {
            names.push(name);
        }
    }
    names.sort();
    Ok(names)
}

/// A folder filled as the `init` of compose fills its volumes; gone when dropped.
struct Secrets {
    folder: std::path::PathBuf,
}

impl Secrets {
    fn make() -> Result<Self> {
        let folder = workspace::target()?.join(format!("deploy-secrets-{}", std::process::id()));
        let made = Self { folder };
        let mut init = Command::new(workspace::built("steward")?);
        run::captured(init.arg("init").arg("--compose").arg(&made.folder))?;
        Ok(made)
    }
}

impl Drop for Secrets {
    fn drop(&mut self) {
        // Throwaway secrets of a check: what cannot be removed now goes with the target folder.
        let _left = std::fs::remove_dir_all(&self.folder);
    }
}
