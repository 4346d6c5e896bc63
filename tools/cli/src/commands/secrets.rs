//! `steward secrets`: keys of agents' own, sealed by billing.

use std::io::{IsTerminal as _, Read as _};
use std::path::Path;

use anyhow::{Context as _, Result};
use domain::agent_file::AgentFile;
use domain::agent_file::credential::{LONGEST_VALUE, check_value};
use nix::sys::termios::{LocalFlags, SetArg, tcgetattr, tcsetattr};
use rpc::v1;
use serde_json::{Value, json};

use crate::args::{Global, SecretsCommand};
use crate::context::{Access, Peer};
use crate::failure::Failure;
use crate::out::Out;
use crate::private;
use crate::render::{self, As, Column};
use crate::view;

const COLUMNS: [Column; 3] = [
    ("Agent", "agent", As::Text),
    ("Secret", "name", As::Text),
    ("Age", "set_at", As::Age),
];

pub(super) async fn run(global: &Global, command: SecretsCommand, out: &Out) -> Result<u8> {
    let access = Access::find(global)?;
    match command {
        SecretsCommand::Set { agent, name, file } => {
            let (what, out) = (format!("{agent}/{name}"), *out);
            let value = tokio::task::spawn_blocking(move || value(file.as_deref(), &what, &out))
                .await
                .context("read the secret")??;
            let peer = access.billing().await?;
            let mut client = peer.billing();
            let request = v1::SetSecretRequest { agent, name, value };
            let set = peer.ask("set the secret", client.set_secret(request)).await?;
            out.result(&shown(&set), |_| {
                format!(
                    "the secret {} of {} is sealed; the next call with it uses this value",
                    render::plain(&set.name),
                    render::plain(&set.agent)
                )
            })?;
            if let Some(warning) = unnamed(&access, &set).await {
                out.note(&warning);
            }
        }
        SecretsCommand::List { agent } => {
            let peer = access.billing().await?;
            let secrets: Vec<Value> = list(&peer, agent.unwrap_or_default())
                .await?
                .iter()
                .map(shown)
                .collect();
            out.result(&json!({ "secrets": secrets }), |value| {
                render::listing(value, "secrets", &COLUMNS)
            })?;
        }
        SecretsCommand::Remove { agent, name } => {
            let peer = access.billing().await?;
            let mut client = peer.billing();
            let shown = json!({ "agent": agent, "name": name });
            let said = format!("the secret {name} of {agent} is removed: calls that need it are refused");
            let request = v1::RemoveSecretRequest { agent, name };
            peer.ask("remove the secret", client.remove_secret(request)).await?;
            out.result(&shown, |_| said.clone())?;
        }
    }
    Ok(0)
}

/// What to say of a secret that no file names, so that nothing would use it; nothing when nobody can be asked.
async fn unnamed(access: &Access, set: &v1::AgentSecret) -> Option<String> {
    let peer = access.scheduler().await.ok()?;
    let mut client = peer.agents();
    let request = v1::ListAgentsRequest {};
    let answer = peer.ask("read the agents", client.list_agents(request)).await.ok()?;
    let (agent, name) = (render::plain(&set.agent), render::plain(&set.name));
    let Some(known) = answer.agents.iter().find(|known| known.name == set.agent) else {
        return Some(format!(
            "warning: there is no agent {agent} yet: `steward agents list` shows those there are"
        ));
    };
    if known.secrets.contains(&set.name) {
        return None;
    }
    let named = match known.secrets.as_slice() {
        [] => "none".to_owned(),
        names => render::plain(&names.join(", ")),
    };
    Some(format!(
        "warning: nothing uses {name} yet: under [[network.credential]] the file of {agent} names {named}"
    ))
}

async fn list(billing: &Peer, agent: String) -> Result<Vec<v1::AgentSecret>> {
    let mut client = billing.billing();
    let request = v1::ListSecretsRequest { agent };
    Ok(billing
        .ask("list the secrets", client.list_secrets(request))
        .await?
        .secrets)
}

/// What to say about secrets an agent's file names and nobody set; nothing when all are there, or nobody can be asked.
pub(crate) async fn unset(billing: &Peer, agent: &AgentFile) -> Option<String> {
    let wanted: Vec<String> = agent.network.credential.iter().map(|one| one.secret.clone()).collect();
    if wanted.is_empty() {
        return None;
    }
    let name = &agent.name;
    let missing = missing(billing, name, &wanted).await.ok()?;
    let commands: Vec<String> = missing.iter().map(|secret| command(name, secret)).collect();
    (!missing.is_empty()).then(|| {
        format!(
            "warning: {name} names secrets that are not set: {}. Calls that need one are refused until you run: {}",
            missing.join(", "),
            commands.join("; ")
        )
    })
}

/// Those of the named secrets that are not set.
pub(crate) async fn missing(billing: &Peer, agent: &str, wanted: &[String]) -> Result<Vec<String>> {
    let there = list(billing, agent.to_owned()).await?;
    let is_there = |name: &&String| there.iter().any(|secret| secret.name == **name);
    Ok(wanted.iter().filter(|name| !is_there(name)).cloned().collect())
}

/// What sets a secret.
pub(crate) fn command(agent: &str, secret: &str) -> String {
    format!("steward secrets set {agent} {secret}")
}

/// The value, from a file, a terminal that does not show it, or standard input.
fn value(file: Option<&Path>, what: &str, out: &Out) -> Result<String> {
    let text = match file {
        Some(path) => private::read(path)?.ok_or_else(|| Failure::Usage(format!("{} is missing", path.display())))?,
        None if std::io::stdin().is_terminal() => prompted(what, out)?,
        None => {
            let mut text = String::new();
            let most = LONGEST_VALUE as u64 + 2;
            std::io::stdin()
                .take(most)
                .read_to_string(&mut text)
                .context("read the secret from standard input")?;
            text
        }
    };
    let value = text.trim_end_matches(['\r', '\n']).to_owned();
    check_value(&value).map_err(Failure::Usage)?;
    Ok(value)
}

fn prompted(what: &str, out: &Out) -> Result<String> {
    let input = std::io::stdin();
    let before = tcgetattr(&input).context("look at the terminal")?;
    let mut quiet = before.clone();
    quiet.local_flags.remove(LocalFlags::ECHO);
    out.prompt(&format!("{what} (not shown): "));
    tcsetattr(&input, SetArg::TCSAFLUSH, &quiet).context("keep the terminal from showing the secret")?;
    let mut line = String::new();
    let read = input.read_line(&mut line);
    tcsetattr(&input, SetArg::TCSAFLUSH, &before).context("let the terminal show what is typed again")?;
    out.prompt("\n");
    read.context("read the secret from the terminal")?;
    Ok(line)
}

fn shown(secret: &v1::AgentSecret) -> Value {
    json!({ "agent": secret.agent, "name": secret.name, "set_at": view::time(secret.set_at.as_ref()) })
}
