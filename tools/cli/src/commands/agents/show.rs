//! `steward agents show`: one agent, and its file as it is in force.

use anyhow::{Context as _, Result};
use rpc::v1;
use serde_json::Value;

use crate::context::Access;
use crate::failure::Failure;
use crate::out::Out;
use crate::render::{self, As, Column};
use crate::view;

const FIELDS: [Column; 10] = [
    ("Name", "name", As::Text),
    ("Mode", "mode", As::Text),
    ("State", "activity", As::Text),
    ("Because", "rest_reason", As::Text),
    ("Since", "rest_since", As::Time),
    ("Version", "version", As::Text),
    ("Marketplace id", "marketplace_id", As::Text),
    ("Has its key", "has_key", As::Text),
    ("Webhook secrets", "webhook_secrets", As::Text),
    ("Added", "created_at", As::Time),
];

pub(super) async fn print(access: &Access, name: String, out: &Out) -> Result<()> {
    let peer = access.scheduler().await?;
    let mut client = peer.agents();
    let request = v1::ListAgentsRequest {};
    let answer = peer.ask("read the agents", client.list_agents(request)).await?;
    let found = answer.agents.iter().find(|agent| agent.name == name);
    let found = found.ok_or_else(|| Failure::NotFound(format!("no agent {name}")))?;
    let file: Value = serde_json::from_str(&found.file_json).context("read the agent file in force")?;
    let mut shown = view::agent(found);
    shown["file"] = file.clone();
    let text = toml::to_string_pretty(&in_toml(file)).context("print the agent file in force")?;
    out.result(&shown, |shown| {
        format!(
            "{}\n\nThe agent file in force, with every default:\n\n{}",
            render::fields(shown, &FIELDS),
            render::paragraphs(text.trim_end()),
        )
    })?;
    Ok(())
}

/// In TOML, which has no word for nothing: what is nothing, or empty, is left out.
fn in_toml(value: Value) -> Option<toml::Value> {
    let shown: toml::Value = match value {
        Value::Null => return None,
        Value::Bool(value) => value.into(),
        Value::Number(number) => match number.as_i64() {
            Some(whole) => whole.into(),
            None => number.as_f64()?.into(),
        },
        Value::String(text) if text.is_empty() => return None,
        Value::String(text) => text.into(),
        Value::Array(items) => items.into_iter().filter_map(in_toml).collect::<Vec<_>>().into(),
        Value::Object(fields) => {
            let fields = fields.into_iter();
            let fields: toml::Table = fields
                .filter_map(|(name, field)| Some((name, in_toml(field)?)))
                .collect();
            fields.into()
        }
    };
    let empty = shown.as_array().is_some_and(Vec::is_empty) || shown.as_table().is_some_and(toml::Table::is_empty);
    (!empty).then_some(shown)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn what_an_agent_file_does_not_say_is_not_printed() {
        let file = json!({"run": {"command": ["a"], "venv": "", "setup": []}, "env": {}, "deadline": null, "n": 0});
        let text = toml::to_string(&in_toml(file)).unwrap();
        assert_eq!(text, "n = 0\n\n[run]\ncommand = [\"a\"]\n");
    }
}
