//! What the assignment says about the agent: the parts of its file that matter here.

use std::collections::BTreeMap;
use std::path::Path;

use domain::agent_file::{Adapter, Delivery, Http, Limits, Models, Network, Prompt, Run, endpoint};
use serde::Deserialize;

/// The agent as this executor sees it.
#[derive(Debug, Clone, Deserialize)]
pub(super) struct Spec {
    pub(super) run: Run,
    #[serde(default)]
    pub(super) prompt: Option<Prompt>,
    #[serde(default)]
    pub(super) http: Option<Http>,
    #[serde(default)]
    pub(super) env: BTreeMap<String, String>,
    #[serde(default)]
    pub(super) limits: Limits,
    #[serde(default)]
    pub(super) network: Network,
    #[serde(default)]
    pub(super) models: Models,
    #[serde(default)]
    pub(super) delivery: Delivery,
}

impl Spec {
    /// Reads it.
    ///
    /// # Errors
    /// A sentence that says why the agent cannot be started here.
    pub(super) fn read(json: &str) -> Result<Self, String> {
        let spec: Self =
            serde_json::from_str(json).map_err(|error| format!("the agent's settings cannot be read: {error}"))?;
        match spec.run.adapter {
            Adapter::Command if spec.run.command.is_empty() => return Err("run.command is empty".to_owned()),
            Adapter::Prompt if spec.prompt.is_none() => return Err("the section [prompt] is missing".to_owned()),
            Adapter::Http => drop(spec.endpoint()?),
            Adapter::Command | Adapter::Prompt => {}
        }
        if !spec.run.venv.is_empty() {
            crate::protocol::name::relative(&spec.run.venv).map_err(|reason| format!("run.venv: {reason}"))?;
        }
        Ok(spec)
    }

    /// The command with what lies in the bundle named by its whole path: the process starts in its workspace, not in
    /// the bundle. The program itself is looked up on the path unless it is written with a slash.
    pub(super) fn command(&self, bundle: &Path) -> Vec<String> {
        let words = self.run.command.iter().enumerate();
        let resolved = words.map(|(at, word)| in_bundle(bundle, word, at == 0).unwrap_or_else(|| word.clone()));
        resolved.collect()
    }

    /// The address of an agent that runs elsewhere.
    ///
    /// # Errors
    /// There is none, or it is no address.
    pub(super) fn endpoint(&self) -> Result<url::Url, String> {
        let section = self.http.as_ref().ok_or("the section [http] is missing")?;
        endpoint(&section.url).map_err(|reason| format!("http.url: {reason}"))
    }

    /// What tells apart two ways to set up the same bundle.
    pub(super) fn setup_key(&self) -> String {
        self.run.setup.join("\0")
    }
}

fn in_bundle(bundle: &Path, word: &str, program: bool) -> Option<String> {
    if program && !word.contains('/') {
        return None;
    }
    let path = bundle.join(crate::protocol::name::relative(word).ok()?);
    path.exists().then(|| path.to_str().map(ToOwned::to_owned)).flatten()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn spec(command: &str) -> Result<Spec, String> {
        Spec::read(&format!(
            r#"{{"run": {command}, "network": {{"allow": ["example.org:443"]}}}}"#
        ))
    }

    #[test]
    fn words_that_name_files_of_the_bundle_are_resolved_and_others_are_not() {
        let bundle = tempfile::tempdir().unwrap();
        for name in ["agent.py", "python3", "run.sh"] {
            std::fs::write(bundle.path().join(name), "").unwrap();
        }
        let root = bundle.path().display();
        let spec = spec(r#"{"command": ["python3", "agent.py", "--mode", "/etc/passwd", "../x"]}"#).unwrap();
        let expected = ["python3", &format!("{root}/agent.py"), "--mode", "/etc/passwd", "../x"];
        assert_eq!(spec.command(bundle.path()), expected);
        let own = super::tests::spec(r#"{"command": ["./run.sh"]}"#).unwrap();
        assert_eq!(own.command(bundle.path()), [format!("{root}/run.sh")]);
        assert_eq!(spec.network.allow, ["example.org:443"]);
    }

    #[test]
    fn what_cannot_be_run_here_is_refused_with_a_reason() {
        assert!(spec(r#"{"command": []}"#).unwrap_err().contains("command"));
        assert!(spec(r#"{"adapter": "http"}"#).unwrap_err().contains("[http]"));
        assert!(
            spec(r#"{"command": ["x"], "venv": "../venv"}"#)
                .unwrap_err()
                .contains("venv")
        );
        assert!(Spec::read("{").is_err());
    }
}
