//! `cargo xtask conformance`: the marketplace's own SDK and templates against the simulator.
//!
//! The SDK is the oracle of the simulator's dialect `sdk`. It is cloned at a pinned commit, since no registry has it,
//! built, and driven by `tests/conformance/*.test.mjs`; nothing of it is kept in this repository.

use crate::{programs, run, workspace};
use anyhow::{Context, Result, bail, ensure};
use std::fs;
use std::io::{BufRead, BufReader};
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

/// A repository at the commit that was read when the tests were written.
struct Pinned {
    name: &'static str,
    url: &'static str,
    commit: &'static str,
}

const SDK: Pinned = Pinned {
    name: "sdk",
    url: "https://github.com/ClawGig-ai/sdk.git",
    commit: "285371fc459f63af42d2354811b205699b1213ed",
};

const TEMPLATES: [Pinned; 3] = [
    Pinned {
        name: "agent-quickstart",
        url: "https://github.com/ClawGig/agent-quickstart.git",
        commit: "1a2dac8fe5bfc51a7f5ce9818b942ce4abc984c3",
    },
    Pinned {
        name: "agent-coder",
        url: "https://github.com/ClawGig/agent-coder.git",
        commit: "c49ff18a0e59f7221dc15974a2aa5e8c0c631812",
    },
    Pinned {
        name: "agent-writer",
        url: "https://github.com/ClawGig-ai/agent-writer.git",
        commit: "9610c454f59878795f3e8f13aa6d2e41712f1660",
    },
];

/// Arguments of `cargo xtask conformance`.
#[derive(clap::Args, Debug)]
pub struct Options {
    /// A folder with the SDK's sources, instead of a clone; it is built there unless it has a dist/.
    #[arg(long)]
    sdk: Option<PathBuf>,
    /// A folder with agent-quickstart, agent-coder and agent-writer; without it they are cloned, or left out beside --sdk.
    #[arg(long)]
    templates: Option<PathBuf>,
}

/// Runs the suite; its own words are the output.
///
/// # Errors
/// When a program is missing, the SDK cannot be had or built, or a test fails.
pub fn run(options: &Options) -> Result<()> {
    for program in ["node", "npm"] {
        ensure!(
            programs::on_path(program),
            "{program} is not installed: the SDK needs Node 20 or newer"
        );
    }
    let root = workspace::root()?;
    let build = ["build", "--quiet", "--package", "simulator", "--bin", "simulator"];
    run::step("the simulator", run::cargo(&root).args(build))?;
    let work = workspace::target()?.join("conformance");
    fs::create_dir_all(&work).with_context(|| format!("make {}", work.display()))?;
    let sdk = match &options.sdk {
        Some(folder) => fs::canonicalize(folder).with_context(|| format!("find {}", folder.display()))?,
        None => clone(&SDK, &work, "--sdk")?,
    };
    build_sdk(&sdk)?;
    let templates = templates(options, &work)?;
    beside_templates(&root, &work, &sdk)?;
    let simulator = Simulator::start()?;
    let mut suite = Command::new("node");
    suite
        // One file at a time: they change the settings of the one simulator.
        .args(["--test", "--test-concurrency=1"])
        .args(tests(&root.join("tests/conformance"))?)
        .env("SIMULATOR_URL", &simulator.url)
        .env("SDK_DIR", &sdk);
    match &templates {
        Some(folder) => suite.env("TEMPLATES_DIR", folder),
        None => suite.env_remove("TEMPLATES_DIR"),
    };
    run::step("conformance", &mut suite)
}

/// The repository at its commit, in a folder of its own below `work`.
fn clone(what: &Pinned, work: &Path, option: &str) -> Result<PathBuf> {
    let folder = work.join(what.name);
    if git(&folder, &["rev-parse", "HEAD"]).is_ok_and(|head| head.trim() == what.commit) {
        return Ok(folder);
    }
    eprintln!("── cloning {}", what.url);
    fs::create_dir_all(&folder).with_context(|| format!("make {}", folder.display()))?;
    let fetched = git(&folder, &["init", "--quiet"])
        .and_then(|_| git(&folder, &["fetch", "--quiet", "--depth", "1", what.url, what.commit]))
        .and_then(|_| git(&folder, &["checkout", "--quiet", "--force", "FETCH_HEAD"]));
    fetched.map(|_| folder).with_context(|| {
        format!(
            "{} cannot be cloned: without the network, name a folder that holds it with {option} DIR",
            what.url
        )
    })
}

fn git(folder: &Path, words: &[&str]) -> Result<String> {
    ensure!(folder.is_dir(), "{} is no folder", folder.display());
    let mut command = Command::new("git");
    // Without a terminal: a repository that is gone must not ask for a password.
    command
        .env("GIT_TERMINAL_PROMPT", "0")
        .arg("-C")
        .arg(folder)
        .args(words);
    run::captured(&mut command)
}

fn build_sdk(sdk: &Path) -> Result<()> {
    ensure!(
        sdk.join("src/types.ts").is_file(),
        "{} does not hold the SDK: it has no src/types.ts",
        sdk.display()
    );
    if sdk.join("dist/index.js").is_file() {
        return Ok(());
    }
    let install = if sdk.join("package-lock.json").is_file() {
        "ci"
    } else {
        "install"
    };
    let npm = |words: &[&str]| {
        let mut command = Command::new("npm");
        command.current_dir(sdk).args(words);
        command
    };
    run::step("the SDK's tools", &mut npm(&[install, "--no-audit", "--no-fund"]))?;
    run::step("the SDK", &mut npm(&["run", "build"]))
}

/// The folder of the templates, inside `work` so that they find what lies beside them.
fn templates(options: &Options, work: &Path) -> Result<Option<PathBuf>> {
    let folder = work.join("templates");
    match (&options.templates, &options.sdk) {
        (Some(given), _) => {
            for template in &TEMPLATES {
                copy(&given.join(template.name), &folder.join(template.name))?;
            }
        }
        (None, Some(_)) => {
            eprintln!("   the templates are left out: name their folder with --templates");
            return Ok(None);
        }
        (None, None) => {
            for template in &TEMPLATES {
                clone(template, &folder, "--templates")?;
            }
        }
    }
    Ok(Some(folder))
}

/// Copies a folder, but nothing installed or hidden in it.
fn copy(from: &Path, to: &Path) -> Result<()> {
    fs::create_dir_all(to).with_context(|| format!("make {}", to.display()))?;
    for entry in fs::read_dir(from).with_context(|| format!("read {}", from.display()))? {
        let entry = entry?;
        let name = entry.file_name();
        if name == "node_modules" || name.to_string_lossy().starts_with('.') {
            continue;
        }
        let (source, target) = (entry.path(), to.join(&name));
        if source.is_dir() {
            copy(&source, &target)?;
        } else {
            fs::copy(&source, &target).with_context(|| format!("copy {}", source.display()))?;
        }
    }
    Ok(())
}

/// What the templates import, in the folder above them: the SDK built here, and two packages of the registry.
fn beside_templates(root: &Path, work: &Path, sdk: &Path) -> Result<()> {
    let modules = work.join("node_modules");
    let link = modules.join("@clawgig/sdk");
    // The registry does not have the SDK, and npm would take away what it did not put there.
    let _ = fs::remove_file(&link);
    if !modules.join("tsx").is_dir() || !modules.join("express").is_dir() {
        let manifest = root.join("tests/conformance/package.json");
        fs::copy(&manifest, work.join("package.json")).with_context(|| format!("copy {}", manifest.display()))?;
        let mut npm = Command::new("npm");
        npm.current_dir(work)
            .args(["install", "--no-audit", "--no-fund", "--no-package-lock"]);
        run::step("what the templates need", &mut npm)?;
    }
    fs::create_dir_all(modules.join("@clawgig")).context("make node_modules/@clawgig")?;
    symlink(sdk, &link).with_context(|| format!("link {}", link.display()))
}

/// The test files, in order.
fn tests(folder: &Path) -> Result<Vec<PathBuf>> {
    let mut found = Vec::new();
    for entry in fs::read_dir(folder).with_context(|| format!("read {}", folder.display()))? {
        let path = entry?.path();
        if path.to_string_lossy().ends_with(".test.mjs") {
            found.push(path);
        }
    }
    found.sort();
    ensure!(!found.is_empty(), "{} holds no tests", folder.display());
    Ok(found)
}

/// A simulator of its own, ended with this value.
struct Simulator {
    child: Child,
    url: String,
}

impl Simulator {
    fn start() -> Result<Self> {
        let program = workspace::built("simulator")?;
        let mut command = Command::new(&program);
        command
            .args(["--listen", "127.0.0.1:0", "--dialect", "sdk"])
            .stdin(Stdio::null())
            .stdout(Stdio::piped());
        let mut child = command
            .spawn()
            .with_context(|| format!("start {}", program.display()))?;
        let mut line = String::new();
        if let Some(out) = child.stdout.take() {
            BufReader::new(out).read_line(&mut line)?;
        }
        let said: serde_json::Value = serde_json::from_str(&line).unwrap_or_default();
        let url = said["url"].as_str().unwrap_or_default().to_owned();
        let simulator = Self { child, url };
        if simulator.url.is_empty() {
            bail!("the simulator did not say where it listens: {line}");
        }
        Ok(simulator)
    }
}

impl Drop for Simulator {
    fn drop(&mut self) {
        // It keeps nothing that an orderly end would save.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_test_file_of_the_repository_is_run() {
        let found = tests(&workspace::root().unwrap().join("tests/conformance")).unwrap();
        let names: Vec<_> = found.iter().filter_map(|path| path.file_name()?.to_str()).collect();
        assert_eq!(names, ["sdk.test.mjs", "templates.test.mjs"]);
    }

    #[test]
    fn a_clone_that_cannot_be_made_says_what_to_do() {
        let nowhere = Pinned {
            name: "nowhere",
            url: "file:///nonexistent/sdk.git",
            commit: "0000000000000000000000000000000000000000",
        };
        let work = tempfile::tempdir().unwrap();
        let error = clone(&nowhere, work.path(), "--sdk").unwrap_err();
        assert!(format!("{error:#}").contains("--sdk DIR"), "{error:#}");
    }
}
