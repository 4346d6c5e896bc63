//! `cargo xtask fuzz`: each fuzz target for a while, on the toolchain everything else is built with.
//!
//! What cargo-fuzz does by its own command and a nightly toolchain is a handful of compiler flags: branches are counted,
//! comparisons are shown to the mutator. Without sanitizers they work on stable, and safe code needs none: what is looked
//! for are panics, hangs, and memory beyond bounds.

use crate::{run, workspace};
use anyhow::{Context as _, Result, bail};
use clap::Args;
use std::path::{Path, PathBuf};
use std::process::Command;

/// Where the targets and their seeds lie.
const FOLDER: &str = "libs/clawgig/fuzz";
/// The targets, each with a folder of seeds of its name.
const TARGETS: [&str; 2] = ["webhook", "answer"];
/// What the mutator needs to see which branches bytes reach.
const FLAGS: [&str; 7] = [
    "-Cpasses=sancov-module",
    "-Cllvm-args=-sanitizer-coverage-level=4",
    "-Cllvm-args=-sanitizer-coverage-inline-8bit-counters",
    "-Cllvm-args=-sanitizer-coverage-pc-table",
    "-Cllvm-args=-sanitizer-coverage-trace-compares",
    "-Cdebug-assertions",
    "-Ccodegen-units=1",
];
/// The longest input; a webhook may have 256 KiB, and long ones find nothing short ones do not.
const LONGEST: u32 = 8_192;
/// Memory and time of one input.
const MEMORY_MIB: u32 = 1_024;
const INPUT_SECS: u32 = 10;

#[derive(Args)]
pub struct Options {
    /// How long each target runs
    #[arg(long, default_value_t = 60, value_name = "N")]
    seconds: u32,
    /// Only this target
    #[arg(value_parser = TARGETS)]
    target: Option<String>,
}

/// Builds the targets and runs them one after the other.
///
/// # Errors
/// When one cannot be built, or finds an input that breaks a reader; that input is then kept and named.
pub fn run(options: &Options) -> Result<()> {
    let root = workspace::root()?;
    let built = build(&root)?;
    for target in TARGETS {
        if options.target.as_deref().is_none_or(|only| only == target) {
            hunt(&root, &built, target, options.seconds)?;
        }
    }
    Ok(())
}

/// Compiles all targets; answers the folder they are in. The host is named, so that build scripts are compiled without the
/// flags.
fn build(root: &Path) -> Result<PathBuf> {
    let said = run::captured(Command::new("rustc").arg("-vV"))?;
    let host = said.lines().find_map(|line| line.strip_prefix("host: "));
    let host = host.context("ask rustc for its host")?;
    let target = root.join("target/fuzz");
    let mut cargo = run::cargo(root);
    cargo
        .args(["build", "--locked", "--bins", "--target", host, "--manifest-path"])
        .arg(root.join(FOLDER).join("Cargo.toml"))
        .arg("--target-dir")
        .arg(&target)
        .env("RUSTFLAGS", FLAGS.join(" "));
    run::step("build the fuzz targets", &mut cargo)?;
    Ok(target.join(host).join("debug"))
}

/// Runs one target. What it finds anew is kept below `target`, seeds are only read.
fn hunt(root: &Path, built: &Path, target: &str, seconds: u32) -> Result<()> {
    let corpus = root.join("target/fuzz/corpus").join(target);
    std::fs::create_dir_all(&corpus).with_context(|| format!("create {}", corpus.display()))?;
    let found = root.join("target/fuzz/found");
    std::fs::create_dir_all(&found).with_context(|| format!("create {}", found.display()))?;
    let mut command = Command::new(built.join(target));
    command
        .arg(format!("-max_total_time={seconds}"))
        .arg(format!("-max_len={LONGEST}"))
        .arg(format!("-rss_limit_mb={MEMORY_MIB}"))
        .arg(format!("-timeout={INPUT_SECS}"))
        .arg(format!("-artifact_prefix={}/{target}-", found.display()))
        .args(["-print_final_stats=1", "-print_funcs=0", "-verbosity=0"])
        .arg(corpus)
        .arg(root.join(FOLDER).join("seeds").join(target));
    match run::step(&format!("fuzz {target} for {seconds} s"), &mut command) {
        Ok(()) => Ok(()),
        Err(error) => bail!("{error:#}; the input lies in {}", found.display()),
    }
}
