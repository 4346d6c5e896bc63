//! The agents in `examples/agents` that need a package, a compiler or a language's own tools: through the sandbox,
//! against the played providers. What they need is fetched by `cargo xtask samples`, pinned, once.

use std::fs;
use std::path::Path;

use crate::trial::{examples, is_installed, report, steward};

const EVERY: [&str; 4] = ["work", "revise", "reply", "propose"];

/// The sample with what was fetched for it; nothing where it could not be.
fn prepared(name: &str, needed: &str) -> Option<tempfile::TempDir> {
    let fetched = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("../../target/samples")
        .join(name);
    if !fetched.join(needed).exists() {
        println!(
            "skipped: {} is not there; `cargo xtask samples` fetches it where the registry can be reached",
            fetched.display()
        );
        return None;
    }
    let folder = tempfile::tempdir().unwrap();
    copy(&examples().join("agents").join(name), folder.path());
    copy(&fetched.join(needed), &folder.path().join(needed));
    Some(folder)
}

fn copy(from: &Path, to: &Path) {
    if from.is_symlink() {
        std::os::unix::fs::symlink(fs::read_link(from).unwrap(), to).unwrap();
        return;
    }
    if from.is_file() {
        fs::copy(from, to).unwrap();
        return;
    }
    fs::create_dir_all(to).unwrap();
    for entry in fs::read_dir(from).unwrap().map(Result::unwrap) {
        copy(&entry.path(), &to.join(entry.file_name()));
    }
}

fn does(folder: &Path, model: &str, kinds: &[&str]) {
    for kind in kinds {
        let (report, code) = report(&steward(
            &["agents", "test", folder.to_str().unwrap(), "--json", "--kind", kind],
            &[],
        ));
        assert_eq!(code, 0, "{kind}: {report}");
        assert_eq!(report["models"][0]["model"], model, "{kind}: {report}");
        assert!(report["models"][0]["output"].as_i64().unwrap() > 0);
    }
}

#[test]
fn the_official_openai_client_works_unchanged() {
    if let Some(folder) = prepared("openai", "wheels") {
        // Each is set up anew: the virtual environment takes its time.
        does(folder.path(), "gpt-4o-mini", &["work"]);
    }
}

#[test]
fn the_official_anthropic_client_works_unchanged() {
    if let Some(folder) = prepared("anthropic", "node_modules") {
        does(folder.path(), "claude-haiku-4-5", &["work", "reply"]);
    }
}

#[test]
fn a_compiled_agent_works_with_the_standard_library_alone() {
    if let Some(folder) = prepared("rust", "agent") {
        does(folder.path(), "gpt-4o-mini", &EVERY);
    }
}

#[test]
fn the_node_agent_works_without_packages() {
    if is_installed("node") {
        does(&examples().join("agents/node"), "gpt-4o-mini", &EVERY);
    }
}
