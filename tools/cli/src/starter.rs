//! The sample agent, carried inside this program so that an installed one needs no source tree: what `init` writes
//! and what `up` runs when nobody names an agent. The two differ in their agent file: the demo's bids go out by
//! themselves, a starter's wait for whoever wrote it.

use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result};
use domain::agent_file::AgentFile;

use crate::failure::Failure;
use crate::private;

mod templates;

pub use templates::Template;

const DEMO_TOML: &str = include_str!("../../../examples/agents/python/agent.toml");
/// Stands in a starter's files where the agent's name goes.
const NAME: &str = "{{name}}";
/// The folder, and so the name, when nobody says one.
pub(crate) const USUAL: &str = "my-agent";
/// The longest name of an agent.
const LONGEST_NAME: usize = 40;
const AGENT_PY: &str = include_str!("../../../examples/agents/python/agent.py");
const STEWARD_PY: &str = include_str!("../../../examples/agents/python/steward.py");

/// Writes a starter folder for an agent of this name. Answers the files written.
///
/// # Errors
/// [`Failure::Refused`] when one of the files exists already.
pub(crate) fn write(folder: &Path, name: &str, template: Template) -> Result<Vec<PathBuf>> {
    std::fs::create_dir_all(folder).with_context(|| format!("create {}", folder.display()))?;
    let files = template.files();
    let paths: Vec<PathBuf> = files.iter().map(|(name, _)| folder.join(name)).collect();
    if let Some(taken) = paths.iter().find(|path| path.exists()) {
        return Err(Failure::Refused(format!("{} exists already: name an empty folder", taken.display())).into());
    }
    for (path, (_, text)) in paths.iter().zip(&files) {
        if let Some(inner) = path.parent() {
            std::fs::create_dir_all(inner).with_context(|| format!("create {}", inner.display()))?;
        }
        private::write(path, text.replace(NAME, name).as_bytes(), 0o644)?;
    }
    Ok(paths)
}

/// The name of an agent after its folder: what a name may not hold becomes a dash.
pub(crate) fn name_of(folder: &Path) -> String {
    let whole = std::path::absolute(folder).unwrap_or_else(|_| folder.to_owned());
    let last = whole.file_name().and_then(|name| name.to_str()).unwrap_or(USUAL);
    let plain = |letter: char| match letter.to_ascii_lowercase() {
        letter @ ('a'..='z' | '0'..='9') => letter,
        _ => '-',
    };
    let name: String = last.chars().map(plain).collect();
    let name = name.trim_start_matches(|letter: char| !letter.is_ascii_lowercase());
    let name: String = name.chars().take(LONGEST_NAME).collect();
    match name.trim_end_matches('-') {
        name if name.len() < 2 => USUAL.to_owned(),
        name => name.to_owned(),
    }
}

/// What stands in a starter's agent file for somebody to fill in.
const PLACEHOLDERS: [&str; 5] = [
    "<its public name>",
    "<what it does and for whom, in 20 to 500 letters>",
    "<you>@example.org",
    "https://<where its picture lies>",
    "<a piece of work it has made>",
];

/// Keys of the agent file that still hold what `init` wrote there for somebody to fill in.
pub(crate) fn placeholders(agent: &AgentFile) -> Vec<&'static str> {
    let profile = &agent.profile;
    let left = |text: &String| PLACEHOLDERS.contains(&text.as_str());
    [
        ("profile.name", left(&profile.name)),
        ("profile.description", left(&profile.description)),
        ("profile.contact_email", left(&profile.contact_email)),
        ("profile.avatar_url", left(&profile.avatar_url)),
        ("profile.portfolio", profile.portfolio.iter().any(left)),
    ]
    .into_iter()
    .filter_map(|(key, left)| left.then_some(key))
    .collect()
}

/// Refuses an agent whose profile nobody has filled in.
///
/// # Errors
/// [`Failure::Refused`] with the keys.
pub(crate) fn refuse_placeholders(agent: &AgentFile) -> Result<()> {
    let left = placeholders(agent);
    if left.is_empty() {
        return Ok(());
    }
    let (name, keys) = (&agent.name, left.join(", "));
    Err(Failure::Refused(format!(
        "clients would see placeholders of {name}: fill in {keys} in its agent file"
    ))
    .into())
}

/// Writes the demo agent, or what this release made of it, and answers its agent file.
///
/// # Errors
/// The folder cannot be written.
pub(crate) fn demo_agent(folder: &Path) -> Result<PathBuf> {
    private::folder(folder, private::PRIVATE)?;
    let files = [
        ("agent.toml", DEMO_TOML),
        ("agent.py", AGENT_PY),
        ("steward.py", STEWARD_PY),
    ];
    for (name, text) in files {
        let path = folder.join(name);
        if private::read(&path)?.as_deref() != Some(text) {
            private::write(&path, text.as_bytes(), 0o644)?;
        }
    }
    Ok(folder.join("agent.toml"))
}
