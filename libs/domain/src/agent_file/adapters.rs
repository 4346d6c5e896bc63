//! The three ways an attempt can be made: a program of the bundle, a prompt, or a call of an endpoint.

use serde::{Deserialize, Serialize};
use url::{Host, Url};

use super::AgentFile;

/// The most tokens anybody asks for in one answer.
const MOST_TOKENS: u32 = 1_000_000;
/// The longest name of a file below `out/`.
const LONGEST_NAME: usize = 200;

/// What an attempt is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Adapter {
    /// A program of the bundle.
    #[default]
    Command,
    /// A POST to an endpoint that streams events back.
    Http,
    /// A template, a model, a file.
    Prompt,
}

/// An agent without code.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Prompt {
    /// A minijinja template file in the bundle.
    pub template: String,
    /// A text file in the bundle for the model's system message; empty means none.
    #[serde(default)]
    pub system: String,
    /// Which model; empty means `models.default`.
    #[serde(default)]
    pub model: String,
    /// The most tokens of one answer; absent means what the model gives.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max_tokens: Option<u32>,
    /// The file below `out/` the answer becomes with work and revise.
    #[serde(default = "answer")]
    pub output: String,
    /// What the client reads beside the file; empty means one sentence that names it.
    #[serde(default)]
    pub notes: String,
}

/// An agent that runs somewhere else.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Http {
    /// Where jobs are posted: https, or http on this machine.
    pub url: String,
}

impl Adapter {
    /// Its word in the agent file.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Command => "command",
            Self::Http => "http",
            Self::Prompt => "prompt",
        }
    }
}

impl Prompt {
    /// The model it asks.
    #[must_use]
    pub fn model<'a>(&'a self, default: &'a str) -> &'a str {
        if self.model.is_empty() { default } else { &self.model }
    }
}

/// What is wrong with the adapter and its section.
pub(super) fn problems(file: &AgentFile, found: &mut Vec<String>) {
    let (adapter, run) = (file.run.adapter, &file.run);
    for (section, there, of) in [
        ("prompt", file.prompt.is_some(), Adapter::Prompt),
        ("http", file.http.is_some(), Adapter::Http),
    ] {
        if there && adapter != of {
            found.push(format!(
                "[{section}] belongs to run.adapter = {section:?}: write that, or remove the section"
            ));
        }
        if !there && adapter == of {
            found.push(format!("run.adapter = {section:?} needs a section [{section}]"));
        }
    }
    match adapter {
        Adapter::Command if run.command.first().is_none_or(String::is_empty) => {
            found.push("run.command is empty: write e.g. [\"python3\", \"agent.py\"]".to_owned());
        }
        Adapter::Command => {}
        Adapter::Http | Adapter::Prompt => {
            let set = !run.command.is_empty() || !run.setup.is_empty() || !run.venv.is_empty();
            if set {
                let name = adapter.name();
                found.push(format!(
                    "run.command, run.setup and run.venv are for run.adapter = \"command\": an agent of the adapter {name:?} starts no program"
                ));
            }
        }
    }
    if let Some(section) = &file.prompt {
        prompt(file, section, found);
    }
    if let Some(section) = &file.http
        && let Err(wrong) = endpoint(&section.url)
    {
        found.push(format!("http.url: {wrong}"));
    }
}

/// Reads the address of an endpoint.
///
/// # Errors
/// A sentence that says why it cannot be one.
pub fn endpoint(text: &str) -> Result<Url, String> {
    let url: Url = text
        .parse()
        .map_err(|_error| format!("{text:?} is no address: write https://host/path"))?;
    let local = match url.host() {
        Some(Host::Domain(name)) => name == "localhost",
        Some(Host::Ipv4(address)) => address.is_loopback(),
        Some(Host::Ipv6(address)) => address.is_loopback(),
        None => return Err(format!("{text:?} names no host: write https://host/path")),
    };
    match url.scheme() {
        "https" => {}
        "http" if local => {}
        _ => {
            return Err(format!(
                "{text:?} is not https: jobs hold what clients wrote; plain http is for this machine only"
            ));
        }
    }
    if !url.username().is_empty() || url.password().is_some() {
        return Err("it holds a password: every call is signed instead".to_owned());
    }
    Ok(url)
}

fn prompt(file: &AgentFile, section: &Prompt, found: &mut Vec<String>) {
    for (key, name, needed) in [
        ("template", &section.template, true),
        ("system", &section.system, false),
    ] {
        if (needed || !name.is_empty()) && !is_plain(name) {
            found.push(format!(
                "prompt.{key}: {name:?} is no file of the agent's folder: write e.g. \"{key}.txt\""
            ));
        }
    }
    if !is_plain(&section.output) {
        found.push(format!(
            "prompt.output: {:?} is no name below out/: write e.g. \"answer.md\"",
            section.output
        ));
    }
    if section.max_tokens.is_some_and(|most| most == 0 || most > MOST_TOKENS) {
        found.push(format!("prompt.max_tokens must lie between 1 and {MOST_TOKENS}"));
    }
    if !section.model.is_empty() && !file.allowed_models().contains(&section.model) {
        found.push(format!(
            "prompt.model: {:?} may not be named: add it to models.allow, or make it models.default",
            section.model
        ));
    }
}

/// Whether this names a file in a folder, and nothing outside of it.
pub(super) fn is_plain(name: &str) -> bool {
    let parts = || name.split('/');
    (1..=LONGEST_NAME).contains(&name.len())
        && !name.contains(['\0', '\\', '\n'])
        && parts().all(|part| !matches!(part, "" | "." | ".."))
}

fn answer() -> String {
    "answer.md".to_owned()
}
