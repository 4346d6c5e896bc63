//! The providers of models a stack calls, and their keys.

use std::path::Path;

use anyhow::Result;

use super::home::Home;
use crate::env;
use crate::private;
use crate::secrets::{PLACEHOLDER, Vault};

/// One that a stack knows without being told more than a key.
struct Provider {
    name: &'static str,
    /// What it speaks, which is also the simulator's name for it.
    api: &'static str,
    base_url: &'static str,
    models: &'static str,
    /// Where its key is given.
    variable: &'static str,
    /// And kept.
    file: &'static str,
}

/// In the order billing looks through them: what serves everything comes last.
const PROVIDERS: [Provider; 2] = [
    Provider {
        name: "anthropic",
        api: "anthropic",
        base_url: "https://api.anthropic.com/v1",
        models: "claude-*",
        variable: "ANTHROPIC_API_KEY",
        file: "anthropic_api_key",
    },
    Provider {
        name: "openai",
        api: "openai",
        base_url: "https://api.openai.com/v1",
        models: "*",
        variable: "OPENAI_API_KEY",
        file: "provider_api_key",
    },
];

/// Keeps the keys that were given. What to say when there is none at all.
///
/// # Errors
/// The secrets' folder cannot be written or read.
pub(super) fn keep_keys(home: &Home) -> Result<Option<String>> {
    let folder = home.secrets().join("billing");
    private::folder(&folder, private::PRIVATE)?;
    let mut any = false;
    for provider in &PROVIDERS {
        let key = folder.join(provider.file);
        if let Some(given) = env::variable(provider.variable) {
            private::write(&key, given.trim().as_bytes(), 0o400)?;
        }
        any |= is_given(&key)?;
    }
    let ways = PROVIDERS
        .iter()
        .map(|provider| format!("{} ({})", provider.variable, folder.join(provider.file).display()));
    Ok((!any).then(|| {
        format!(
            "a model provider's key: set {}, or put it into the file beside it",
            ways.collect::<Vec<_>>().join(" or ")
        )
    }))
}

/// Billing's `[[upstreams]]`: all of them at the simulator, or those in the world whose key is there.
pub(super) fn upstreams(simulator: Option<&str>, vault: &Vault) -> String {
    let shown = PROVIDERS.iter().filter_map(|provider| {
        let key = vault.path("billing", provider.file);
        let base = match simulator {
            Some(url) => format!("{url}/llm/{}/v1", provider.api),
            None if is_given(&key).unwrap_or(false) => provider.base_url.to_owned(),
            None => return None,
        };
        Some(format!(
            "{{name = {:?}, api = {:?}, base_url = {base:?}, api_key = {{ file = {:?} }}, models = [{:?}]}}",
            provider.name,
            provider.api,
            key.display().to_string(),
            provider.models
        ))
    });
    format!("[{}]", shown.collect::<Vec<_>>().join(", "))
}

fn is_given(key: &Path) -> Result<bool> {
    let there = private::read(key)?.unwrap_or_default();
    Ok(!there.trim().is_empty() && there.trim() != PLACEHOLDER)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_simulated_stack_has_all_providers_and_a_live_one_those_with_a_key() {
        let folder = tempfile::tempdir().unwrap();
        let vault = Vault::open(folder.path()).unwrap();
        let names = |upstreams: &str| {
            let read: toml::Table = format!("upstreams = {upstreams}").parse().unwrap();
            let all = read["upstreams"].as_array().unwrap().clone();
            let name =
                |upstream: &toml::Value| format!("{} {}", upstream["name"], upstream["base_url"]).replace('"', "");
            all.iter().map(name).collect::<Vec<_>>()
        };
        assert_eq!(
            names(&upstreams(Some("http://s"), &vault)),
            ["anthropic http://s/llm/anthropic/v1", "openai http://s/llm/openai/v1"]
        );
        let keys = folder.path().join("billing");
        std::fs::create_dir_all(&keys).unwrap();
        std::fs::write(keys.join("provider_api_key"), PLACEHOLDER).unwrap();
        std::fs::write(keys.join("anthropic_api_key"), "sk-ant-mine\n").unwrap();
        assert_eq!(
            names(&upstreams(None, &vault)),
            ["anthropic https://api.anthropic.com/v1"]
        );
        std::fs::write(keys.join("provider_api_key"), "sk-mine").unwrap();
        assert_eq!(names(&upstreams(None, &vault)).len(), 2);
    }
}
