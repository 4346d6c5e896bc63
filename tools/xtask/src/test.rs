//! `cargo xtask test`: every check and test, cheapest first, the test runner last.
//!
//! One profile, one target folder, the same features and flags everywhere: the programs that the
//! end-to-end tests start are the ones the demo starts, and nothing is compiled twice but for the
//! checker's own artefacts.

use crate::{deploy, docs, programs, run, samples, services, setup, sqlx, tidy, workspace};
use anyhow::{Context, Result};
use std::path::Path;
use std::process::ExitCode;
use std::time::Instant;

/// Arguments of `cargo xtask test`.
#[derive(clap::Args, Debug)]
pub struct Options {
    /// Leave out the tests that start the whole stack.
    #[arg(long)]
    no_e2e: bool,
    /// Only tests whose name contains this.
    filter: Option<String>,
}

/// Runs everything; the last line is the test runner's own.
///
/// # Errors
/// When a check fails or a tool cannot be started.
pub fn run(options: &Options) -> Result<ExitCode> {
    let root = workspace::root()?;
    setup::run()?;
    setup::nextest(&root)?;
    run::step("rustfmt", run::cargo(&root).args(["fmt", "--all", "--check"]))?;
    timed("tidy", tidy::run)?;
    timed("generated pages", || docs::check(&root))?;
    let servers = services::up()?;
    let outcome = checks(&root, &servers, options);
    if servers.started_here {
        services::down()?;
    }
    outcome
}

fn checks(root: &Path, servers: &services::Running, options: &Options) -> Result<ExitCode> {
    timed("query descriptions", || {
        sqlx::check_unless_seen(&servers.addresses.database_url)
    })?;
    deny(root)?;
    run::step(
        "clippy",
        run::cargo(root).args([
            "clippy",
            "--quiet",
            "--workspace",
            "--all-targets",
            "--",
            "-D",
            "warnings",
        ]),
    )?;
    run::step(
        "build",
        run::cargo(root).args(["build", "--quiet", "--workspace", "--bins"]),
    )?;
    timed("deployment files", deploy::check)?;
    timed("sample agents", samples::run)?;
    doc_tests(root)?;
    nextest(root, servers, options)
}

fn timed(what: &str, work: impl FnOnce() -> Result<()>) -> Result<()> {
    eprintln!("── {what}");
    let started = Instant::now();
    work()?;
    run::done(what, started.elapsed());
    Ok(())
}

/// Licences, bans and sources; advisories need the network and run in the workflow.
fn deny(root: &Path) -> Result<()> {
    if !programs::on_path("cargo-deny") {
        eprintln!("── cargo-deny: skipped, not installed (cargo install --locked cargo-deny)");
        return Ok(());
    }
    let words = [
        "deny",
        "--offline",
        "--log-level",
        "error",
        "check",
        "licenses",
        "bans",
        "sources",
    ];
    run::step("cargo-deny", run::cargo(root).args(words))
}

/// Examples in documentation, for the crates that have any.
fn doc_tests(root: &Path) -> Result<()> {
    let mut packages = Vec::new();
    for member in workspace::members(root)? {
        let source = root.join(&member.folder).join("src");
        if source.join("lib.rs").exists() && has_examples(&source)? {
            packages.push(member.name().to_owned());
        }
    }
    if packages.is_empty() {
        return Ok(());
    }
    let mut command = run::cargo(root);
    command.args(["test", "--quiet", "--doc"]);
    run::step(
        "documentation examples",
        command.args(packages.iter().flat_map(|name| ["-p", name])),
    )
}

fn has_examples(folder: &Path) -> Result<bool> {
    for entry in std::fs::read_dir(folder).with_context(|| format!("read {}", folder.display()))? {
        let path = entry?.path();
        let found = if path.is_dir() {
            has_examples(&path)?
        } else {
            path.extension().is_some_and(|kind| kind == "rs") && shows_code(&workspace::read(&path)?)
        };
        if found {
            return Ok(true);
        }
    }
    Ok(false)
}

/// Whether a documentation comment opens a block the compiler would run.
fn shows_code(source: &str) -> bool {
    let opened = |line: &str| {
        let text = line.trim_start();
        let text = text.strip_prefix("///").or_else(|| text.strip_prefix("//!"));
        text.is_some_and(|text| matches!(text.trim(), "```" | "```rust" | "```no_run"))
    };
    source.lines().any(opened)
}

fn nextest(root: &Path, servers: &services::Running, options: &Options) -> Result<ExitCode> {
    let mut command = run::cargo(root);
    command
        .env("STEWARD_TEST_DATABASE_URL", &servers.addresses.database_url)
        .env("STEWARD_TEST_REDIS_URL", &servers.addresses.redis_url)
        .args(["nextest", "run", "--cargo-quiet", "--workspace"]);
    if options.no_e2e {
        command.args(["-E", "not package(e2e)"]);
    }
    command.args(&options.filter);
    eprintln!("── tests");
    let status = command.status().context("start cargo-nextest")?;
    Ok(if status.success() {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_blocks_the_compiler_runs_count_as_examples() {
        assert!(shows_code("/// Like so:\n    /// ```\n/// let a = 1;\n/// ```"));
        assert!(shows_code("//! ```no_run\n//! ```"));
        assert!(!shows_code("/// ```text\n/// a -> b"));
        assert!(!shows_code("// ```\nlet fence = \"```\";"));
    }
}
