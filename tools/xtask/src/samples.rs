//! `cargo xtask samples`: what the sample agents need besides this repository, pinned by their own files, kept under
//! `target/samples` and fetched again only when the pins change.
//!
//! A registry that cannot be reached, or a language that is not installed, leaves the sample out and says so: its tests
//! then skip themselves with a word.

use crate::{run, workspace};
use anyhow::{Context, Result, bail};
use std::path::{Path, PathBuf};
use std::process::Command;

/// Where agents look for programs.
const PROGRAMS: [&str; 3] = ["/usr/local/bin", "/usr/bin", "/bin"];

struct Sample {
    name: &'static str,
    /// The files that pin it.
    pins: &'static [&'static str],
    /// What is there afterwards.
    made: &'static str,
    make: fn(&Path, &Path) -> Result<()>,
}

const SAMPLES: [Sample; 3] = [
    Sample {
        name: "openai",
        pins: &["requirements.txt"],
        made: "wheels",
        make: wheels,
    },
    Sample {
        name: "anthropic",
        pins: &["package.json", "package-lock.json"],
        made: "node_modules",
        make: modules,
    },
    Sample {
        name: "rust",
        pins: &["src/main.rs", "src/json.rs"],
        made: "agent",
        make: compiled,
    },
];

/// Fetches what is missing.
///
/// # Errors
/// A folder of ours cannot be read or written; what cannot be fetched is only said.
pub fn run() -> Result<()> {
    let root = workspace::root()?;
    for sample in &SAMPLES {
        let source = root.join("examples/agents").join(sample.name);
        let folder = root.join("target/samples").join(sample.name);
        let pins = pins(&source, sample)?;
        let stamp = folder.join("pins");
        if folder.join(sample.made).exists() && std::fs::read_to_string(&stamp).is_ok_and(|there| there == pins) {
            continue;
        }
        if folder.exists() {
            std::fs::remove_dir_all(&folder).with_context(|| format!("remove {}", folder.display()))?;
        }
        std::fs::create_dir_all(&folder).with_context(|| format!("make {}", folder.display()))?;
        eprintln!("── sample agent {}", sample.name);
        match (sample.make)(&source, &folder) {
            Ok(()) => std::fs::write(&stamp, &pins).context("note the pins")?,
            Err(error) => eprintln!("   skipped, its tests too: {error:#}"),
        }
    }
    Ok(())
}

fn pins(source: &Path, sample: &Sample) -> Result<String> {
    let texts = sample.pins.iter().map(|name| workspace::read(&source.join(name)));
    Ok(texts.collect::<Result<Vec<_>>>()?.concat())
}

/// A program where agents look for it.
fn program(name: &str) -> Result<PathBuf> {
    let mut places = PROGRAMS.iter().map(|folder| Path::new(folder).join(name));
    match places.find(|path| path.is_file()) {
        Some(path) => Ok(path),
        None => bail!(
            "{name} is not installed where agents look for it ({})",
            PROGRAMS.join(":")
        ),
    }
}

/// For the very interpreter agents get.
fn wheels(source: &Path, folder: &Path) -> Result<()> {
    let venv = folder.join("venv");
    run::captured(Command::new(program("python3")?).args(["-m", "venv"]).arg(&venv))?;
    let mut pip = Command::new(venv.join("bin/pip"));
    pip.args([
        "download",
        "--quiet",
        "--disable-pip-version-check",
        "--only-binary",
        ":all:",
        "-r",
    ]);
    run::captured(
        pip.arg(source.join("requirements.txt"))
            .arg("-d")
            .arg(folder.join("wheels")),
    )?;
    Ok(())
}

fn modules(source: &Path, folder: &Path) -> Result<()> {
    for name in ["package.json", "package-lock.json"] {
        std::fs::copy(source.join(name), folder.join(name)).with_context(|| format!("copy {name}"))?;
    }
    program("node")?;
    let mut npm = Command::new("npm");
    npm.current_dir(folder)
        .args(["ci", "--omit=dev", "--ignore-scripts", "--no-audit", "--no-fund"]);
    run::captured(&mut npm)?;
    Ok(())
}

fn compiled(source: &Path, folder: &Path) -> Result<()> {
    let mut rustc = Command::new("rustc");
    rustc.args(["--edition", "2024", "-O", "-o"]).arg(folder.join("agent"));
    run::captured(rustc.arg(source.join("src/main.rs")))?;
    Ok(())
}
