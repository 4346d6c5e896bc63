//! What somebody meets who knows only the README: a starter, approvals, files, a broken agent, a stack that is down.

use std::path::Path;
use std::process::Command;

use anyhow::{Context as _, Result, ensure};
use e2e::{Options, Stack, Steward, array, number, run, text};
use serde_json::Value;
use testkit::eventually;

use crate::SOON;

const BROKEN: &str = "name = \"broken\"\n[run]\ncommand = [\"sh\", \"forgotten.sh\"]\n";

#[tokio::test]
async fn a_starter_is_approved_booked_and_looked_at_and_a_broken_neighbour_stops_nothing() -> Result<()> {
    let dir = tempfile::tempdir()?;
    let starter = dir.path().join("first-steps");
    let made = Command::new(testkit::bin("steward")?)
        .arg("init")
        .arg(&starter)
        .status()?;
    ensure!(made.success(), "init failed");
    let options = Options {
        agents: vec![starter],
        ..Options::default()
    };
    run(options, async |stack| {
        let steward = stack.steward()?;
        stack.market()?.post_automatic(1).await?;
        approve_the_bid(&steward).await?;
        stack.settled(1, SOON).await?;
        files_are_copied(&steward, dir.path()).await?;
        a_command_that_cannot_run_is_refused(&steward, dir.path()).await?;
        std::fs::write(dir.path().join("broken/agent.toml"), "name = ")?;
        stack.stop().await?;
        down_is_told(&steward).await?;
        stack.start().await?;
        the_broken_one_is_named_and_leaves(stack, &steward).await
    })
    .await
}

#[tokio::test]
async fn an_agent_without_code_earns() -> Result<()> {
    let dir = tempfile::tempdir()?;
    let folder = dir.path().join("writer");
    let made = Command::new(testkit::bin("steward")?)
        .args(["agents", "init", "--template", "prompt"])
        .arg(&folder)
        .status()?;
    ensure!(made.success(), "init failed");
    let file = folder.join("agent.toml");
    let text = std::fs::read_to_string(&file)?.replace("mode = \"ask\"", "mode = \"auto\"");
    std::fs::write(&file, text)?;
    let options = Options {
        agents: vec![folder],
        ..Options::default()
    };
    run(options, async |stack| {
        let steward = stack.steward()?;
        stack.market()?.post_automatic(2).await?;
        stack.settled(2, SOON).await?;
        let list = steward.json(&["contracts", "list"]).await?;
        let costs = array(&list, "contracts")
            .iter()
            .map(|contract| number(contract, "cost_micro_usd"));
        ensure!(
            costs.clone().count() == 2 && costs.min() > Some(0),
            "its model calls are metered: {list}"
        );
        a_setup_that_fails_is_refused(&steward, dir.path()).await
    })
    .await
}

/// Better now than with a funded contract.
async fn a_setup_that_fails_is_refused(steward: &Steward, dir: &Path) -> Result<()> {
    let folder = dir.join("unready");
    std::fs::create_dir(&folder)?;
    let setup = "setup = [\"sh\", \"-c\", \"echo no compiler here >&2; exit 3\"]";
    let text = format!("name = \"unready\"\n[run]\n{setup}\ncommand = [\"python3\", \"-c\", \"pass\"]\n");
    std::fs::write(folder.join("agent.toml"), text)?;
    let refused = steward
        .run(&["agents", "add", folder.to_str().context("a path")?])
        .await?;
    ensure!(
        refused.code == 4 && refused.stderr.contains("no compiler here") && refused.stderr.contains("--force"),
        "{}",
        refused.stderr
    );
    Ok(())
}

async fn approve_the_bid(steward: &Steward) -> Result<()> {
    let waiting = eventually(SOON, "a bid that waits", || async {
        let list = steward.json(&["approvals", "list"]).await?;
        let one = array(&list, "effects").first().cloned();
        one.context("nothing waits")
    })
    .await?;
    ensure!(!text(&waiting, "title").is_empty(), "approved blind: {waiting}");
    ensure!(number(&waiting, "amount_micro_usdc") > 0, "approved blind: {waiting}");
    // The beginning of an id is enough where it fits one only.
    let start = text(&waiting, "id").get(..30).context("an id")?;
    let shown = steward.json(&["approvals", "show", start]).await?;
    ensure!(!shown["payload"]["cover_letter"].is_null(), "{shown}");
    steward.json(&["approvals", "approve", start]).await.map(drop)
}

async fn files_are_copied(steward: &Steward, dir: &Path) -> Result<()> {
    let list = steward.json(&["runs", "list"]).await?;
    let run = array(&list, "runs").first().context("no run")?;
    let (id, folder) = (text(run, "id"), dir.join("copied"));
    let words = ["runs", "files", id, "--out", folder.to_str().context("a path")?];
    let copied = steward.json(&words).await?;
    let file = array(&copied, "files").first().context("no file")?;
    let bytes = std::fs::metadata(folder.join(text(file, "name")))?.len();
    ensure!(bytes == u64::try_from(number(file, "bytes"))?, "{copied}");
    let again = steward.run(&words).await?;
    ensure!(again.code == 4, "what is there is not overwritten: {}", again.stderr);
    Ok(())
}

async fn a_command_that_cannot_run_is_refused(steward: &Steward, dir: &Path) -> Result<()> {
    let folder = dir.join("broken");
    std::fs::create_dir(&folder)?;
    std::fs::write(
        folder.join("agent.toml"),
        format!("{BROKEN}[models]\ndefault = \"gpt-unheard-of\"\n"),
    )?;
    let folder = folder.to_str().context("a path")?;
    let refused = steward.run(&["agents", "add", folder]).await?;
    ensure!(
        refused.code == 4 && refused.stderr.contains("forgotten.sh") && refused.stderr.contains("--force"),
        "{}",
        refused.stderr
    );
    let forced = steward.run(&["agents", "add", folder, "--force"]).await?;
    ensure!(forced.code == 0, "{}", forced.stderr);
    ensure!(
        forced.stderr.contains("gpt-unheard-of") && forced.stderr.contains("gpt-4o-mini"),
        "a model without a price is told with those that have one: {}",
        forced.stderr
    );
    Ok(())
}

async fn down_is_told(steward: &Steward) -> Result<()> {
    let status = steward.run(&["status", "--json"]).await?.result()?;
    ensure!(status["running"] == false && status["ready"] == false, "{status}");
    let fallen = |part: &Value| part["ready"] == false && part["pid"].is_null();
    ensure!(array(&status, "parts").iter().all(fallen), "{status}");
    let said = steward.run(&["status"]).await?.stdout;
    ensure!(said.contains("down"), "{said}");
    Ok(())
}

async fn the_broken_one_is_named_and_leaves(stack: &Stack, steward: &Steward) -> Result<()> {
    let said = std::fs::read_to_string(stack.dir().join("up.log"))?;
    ensure!(said.contains("the agent broken keeps the version it has"), "{said}");
    let agents = async || anyhow::Ok(steward.json(&["agents", "list"]).await?["agents"].take());
    let before = agents().await?;
    let all = before.as_array().context("a list")?;
    ensure!(all.len() == 2, "{before}");
    for agent in all {
        ensure!(
            number(agent, "webhook_secrets") == 1,
            "a restart leaves one secret: {agent}"
        );
        ensure!(agent["has_key"] == true, "{agent}");
    }
    steward.json(&["agents", "remove", "broken"]).await?;
    let left = agents().await?;
    ensure!(left.as_array().is_some_and(|left| left.len() == 1), "{left}");
    Ok(())
}
