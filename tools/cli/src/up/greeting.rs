//! What `steward up` says once everything is ready: addresses, each agent's mode, what is still to be done.

use std::path::PathBuf;

use anyhow::Result;
use domain::agent_file::AgentFile;
use rpc::v1;
use serde_json::{Value, json};

use super::stack::Stack;
use super::{console_link, stack_file};
use crate::bundle;
use crate::commands::agents::{Said, unpriced};
use crate::commands::secrets::unset;
use crate::context::Peer;
use crate::out::Out;
use crate::render;

/// Greets, and says of each agent what its operator may not expect.
pub(super) async fn greet(stack: &Stack, files: &[PathBuf], out: &Out) -> Result<()> {
    let described = stack_file::read(&stack.home)?.unwrap_or_default();
    let agents = known(stack).await;
    let console = console_link(&described).await;
    let shown = json!({
        "ready": true,
        "mode": described["mode"],
        "dir": stack.home.path(),
        "stack": stack.home.stack_file(),
        "console": console.as_deref().ok(),
    });
    out.result(&shown, |_| {
        let console = console.unwrap_or_else(|error| format!("no sign-in link: {error:#}"));
        welcome(stack, &described, &agents, &console)
    })?;
    let files: Vec<AgentFile> = files
        .iter()
        .filter_map(|file| Some(bundle::pack(file).ok()?.agent))
        .collect();
    let simulated = stack.plan.settings.simulated && !stack.plan.settings.rehearsed;
    for line in modes(&files, &agents, simulated) {
        out.note(&line);
    }
    warn_of_prices(stack, &files, out).await;
    // The simulator of a rehearsal reaches the door where it is.
    let door = match described["services"]["ingress"]["url"].as_str() {
        Some(url) if stack.plan.settings.rehearsed => url,
        _ => "https://…",
    };
    for agent in agents.iter().filter(|agent| !agent.has_key) {
        let name = &agent.name;
        out.note(&format!(
            "{name} is not on the marketplace yet: steward agents register {name} --webhook-url {door} --dir {}",
            stack.home.path().display()
        ));
    }
    for agent in strangers(stack, &described, &agents).await {
        out.note(&format!(
            "{agent} is unknown to the simulator, whose world ended with it: rehearse again in another folder (--dir)"
        ));
    }
    Ok(())
}

/// Agents of a rehearsal that have a key of a simulator that is gone.
async fn strangers(stack: &Stack, described: &Value, agents: &[v1::Agent]) -> Vec<String> {
    let url = described["services"]["simulator"]["url"].as_str();
    let Some(url) = url.filter(|_| stack.plan.settings.rehearsed) else {
        return Vec::new();
    };
    let asked = stack.desk.http.get(&format!("{url}/control/agents")).await;
    let Ok(listed) = asked.and_then(|answer| answer.ok("list the simulator's agents")) else {
        return Vec::new();
    };
    let rows = listed["data"].as_array().map_or(&[][..], Vec::as_slice);
    let known = |agent: &&v1::Agent| rows.iter().any(|row| row["id"] == agent.marketplace_id.as_str());
    let lost = agents.iter().filter(|agent| agent.has_key && !known(agent));
    lost.map(|agent| render::plain(&agent.name)).collect()
}

/// The agents the scheduler knows; none where it does not say.
async fn known(stack: &Stack) -> Vec<v1::Agent> {
    let desk = &stack.desk;
    let Ok(scheduler) = Peer::open("scheduler", &desk.scheduler, &desk.token).await else {
        return Vec::new();
    };
    let mut agents = scheduler.agents();
    let listed = scheduler.ask("list the agents", agents.list_agents(v1::ListAgentsRequest {}));
    listed.await.map(|listed| listed.agents).unwrap_or_default()
}

fn welcome(stack: &Stack, described: &Value, agents: &[v1::Agent], console: &str) -> String {
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let mut lines = vec![
        format!(
            "Steward is up ({}) in {}",
            text(&described["mode"]),
            stack.home.path().display()
        ),
        format!("  console    {console}"),
    ];
    lines.extend(doors(&text(&described["services"]["ingress"]["url"]), agents));
    if let Some(url) = described["services"]["simulator"]["url"].as_str() {
        lines.push(format!("  simulator  {url}"));
    }
    lines.push(format!("  logs       {}", stack.home.logs().display()));
    lines.push("Ctrl-C stops everything.".to_owned());
    lines.join("\n")
}

/// Where the webhooks of each agent come in.
fn doors(ingress: &str, agents: &[v1::Agent]) -> Vec<String> {
    if agents.is_empty() {
        return vec!["  no agent yet: `steward agents add FOLDER`, or start again with --agent FILE".to_owned()];
    }
    let each = agents
        .iter()
        .map(|agent| format!("  webhooks   {ingress}/hooks/{}", render::plain(&agent.name)));
    each.collect()
}

/// The mode of each agent, where it is not the one of its file; in live operation of every one.
fn modes(files: &[AgentFile], agents: &[v1::Agent], simulated: bool) -> Vec<String> {
    let each = files.iter().filter_map(|file| {
        let agent = agents.iter().find(|agent| agent.name == file.name)?;
        let said = Said::of(file, &agent.mode);
        (said.is_overruled() || !simulated).then(|| said.sentence())
    });
    each.collect()
}

/// Says which models of the agents have no price.
async fn warn_of_prices(stack: &Stack, files: &[AgentFile], out: &Out) {
    let urls = stack.plan.all("billing", "grpc");
    let Ok(billing) = Peer::open("billing", &urls, &stack.desk.token).await else {
        return;
    };
    for agent in files {
        let unpriced = unpriced(&billing, agent).await;
        for warning in unpriced.into_iter().chain(unset(&billing, agent).await) {
            out.note(&warning);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn agent(name: &str, mode: &str) -> v1::Agent {
        v1::Agent {
            name: name.to_owned(),
            mode: mode.to_owned(),
            ..v1::Agent::default()
        }
    }

    fn file(mode: &str) -> AgentFile {
        let text = format!("name = \"demo\"\n[run]\ncommand = [\"true\"]\n[bidding]\n{mode}\n");
        AgentFile::parse(&text).unwrap()
    }

    #[test]
    fn an_agent_that_is_not_registered_yet_is_an_agent() {
        let lines = doors("http://here", &[agent("demo", "shadow")]);
        assert_eq!(lines, ["  webhooks   http://here/hooks/demo"]);
        assert!(doors("http://here", &[])[0].contains("no agent yet"));
    }

    #[test]
    fn a_mode_that_is_not_the_files_is_told_with_what_changes_it() {
        let told = |mode: &str, is: &str, simulated| modes(&[file(mode)], &[agent("demo", is)], simulated);
        let overruled = told("mode = \"ask\"", "shadow", false).remove(0);
        assert!(
            overruled.contains("mode shadow") && overruled.contains("not ask"),
            "{overruled}"
        );
        assert!(overruled.contains("`steward agents mode demo ask`"), "{overruled}");
        assert_eq!(told("mode = \"ask\"", "auto", true).len(), 1);
        assert!(told("mode = \"ask\"", "ask", true).is_empty() && told("", "auto", true).is_empty());
        let plain = told("", "shadow", false).remove(0);
        assert!(
            plain.contains("`steward agents mode demo auto`") && !plain.contains("file"),
            "{plain}"
        );
    }
}
