//! A new agent, from its file to its first bid, by the operator's command alone; and the commands that look whether
//! everything is there.

use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result, ensure};
use e2e::{Options, Stack, Steward, agent, array, number, run, text};
use serde_json::{Value, json};
use testkit::eventually;

use crate::SOON;

const NEWCOMER: &str = r#"
name = "newcomer"
[run]
command = ["python3", "agent.py"]
timeout = "60s"
idle = "30s"
[profile]
name = "The newcomer"
description = "Writes short texts and small programs for people."
avatar_url = "https://example.org/newcomer.png"
languages = ["en"]
contact_email = "newcomer@example.org"
hourly_rate_usdc = 20.0
portfolio = ["A parser of invoices https://example.org/parser"]
[bidding]
skills = ["python", "api", "writing", "data"]
min_score = 0.0
[models]
default = "gpt-4o-mini"
"#;

/// Its folder, with the program of an agent that does its work.
fn newcomer(folder: &Path) -> Result<PathBuf> {
    let program = agent("worker").with_file_name("agent.py");
    std::fs::copy(program, folder.join("agent.py")).context("copy the program")?;
    let file = folder.join("agent.toml");
    std::fs::write(&file, NEWCOMER).context("write the agent file")?;
    Ok(file)
}

/// Everything between `agents add` and the first bid.
async fn walks_to_its_first_bid(stack: &Stack, dialect: &str) -> Result<()> {
    let (steward, market) = (stack.steward()?, stack.market()?);
    market.set(json!({ "dialect": dialect })).await?;
    let folder = tempfile::tempdir()?;
    let file = newcomer(folder.path())?.display().to_string();
    // By its address: the stack's folder would register it with the simulator on the way.
    let added = steward.from_elsewhere(&["agents", "add", &file, "--simulated"]).await?;
    ensure!(added.code == 0, "{added:?}");
    let unready = steward.run(&["agents", "readiness", "newcomer"]).await?;
    ensure!(unready.code == 4 && unready.stderr.contains("register"), "{unready:?}");

    let door = stack.layout()?.part("ingress")?.url.clone().context("find the door")?;
    let words = ["agents", "register", "newcomer", "--webhook-url", &door];
    let registered = steward.json(&words).await?;
    let undone = array(&registered, "steps").iter().find(|step| step["done"] != true);
    ensure!(undone.is_none(), "{registered}");
    let again = steward.run(&words).await?;
    ensure!(
        again.code == 4 && again.stderr.contains("has a key already"),
        "{again:?}"
    );
    let once = steward.run(&["agents", "claim-link", "newcomer"]).await?;
    ensure!(once.code == 3, "the claim link is shown once: {once:?}");

    let unready = steward.run(&["agents", "readiness", "newcomer", "--json"]).await?;
    let said = unready.result()?;
    ensure!(unready.code == 4 && said["ready"] == false, "{unready:?}");
    let fixes: Vec<&str> = array(&said, "missing").iter().map(|one| text(one, "fix")).collect();
    ensure!(fixes == ["steward agents verify-email newcomer"], "{said}");
    let known = market.agent("newcomer").await?;
    let code = text(&known, "email_code").to_owned();
    steward
        .json(&["agents", "verify-email", "newcomer", "--code", &code])
        .await?;
    let unready = steward.run(&["agents", "readiness", "newcomer"]).await?;
    ensure!(unready.code == 4 && unready.stdout.contains("claim"), "{unready:?}");
    market.claim(text(&registered, "claim_link")).await?;
    let ready = steward.json(&["agents", "readiness", "newcomer"]).await?;
    ensure!(ready["ready"] == true, "{ready}");

    market.post(json!({ "count": 1, "auto": true })).await?;
    eventually(SOON, "the newcomer's first bid", || bids(stack)).await?;
    no_secret_is_told(stack, &steward, text(&registered, "claim_link")).await
}

async fn bids(stack: &Stack) -> Result<()> {
    let sent = "SELECT count(*) AS n FROM scheduler.proposals
                WHERE agent = 'newcomer' AND state IN ('submitted', 'accepted', 'rejected')";
    let rows = stack.rows(sent).await?;
    ensure!(rows.first().is_some_and(|row| number(row, "n") > 0), "{rows:?}");
    Ok(())
}

/// Neither the claim link nor a key stands in a log.
async fn no_secret_is_told(stack: &Stack, steward: &Steward, claim: &str) -> Result<()> {
    let listed = steward.json(&["agents", "list"]).await?;
    ensure!(!listed.to_string().contains("cg_"), "{listed}");
    let shown = steward.json(&["agents", "show", "newcomer"]).await?;
    ensure!(
        shown["file"]["models"]["default"] == "gpt-4o-mini" && !shown.to_string().contains("cg_"),
        "{shown}"
    );
    let log = std::fs::read_to_string(stack.dir().join("logs/scheduler.log"))?;
    ensure!(
        !log.contains(claim) && !log.contains("cg_"),
        "the scheduler's log holds a secret"
    );
    Ok(())
}

#[tokio::test]
async fn a_newcomer_walks_from_its_file_to_its_first_bid() -> Result<()> {
    run(Options::with_agent("worker"), async |stack| {
        walks_to_its_first_bid(stack, "docs").await?;
        everything_is_there(stack).await?;
        every_read_works(stack).await?;
        a_platform_that_is_down_is_told(stack).await
    })
    .await
}

#[tokio::test]
async fn a_newcomer_walks_whatever_the_platforms_words() -> Result<()> {
    run(Options::with_agent("worker"), async |stack| {
        walks_to_its_first_bid(stack, "hostile").await
    })
    .await
}

/// What docs/DEPLOY.md walks through before the real marketplace.
#[tokio::test]
async fn going_live_is_rehearsed_by_hand_with_live_caution() -> Result<()> {
    let options = Options {
        rehearse: true,
        ..Options::default()
    };
    run(options, async |stack| rehearse(stack).await).await
}

async fn rehearse(stack: &Stack) -> Result<()> {
    let (steward, market) = (stack.steward()?, stack.market()?);
    let folder = tempfile::tempdir()?;
    let file = newcomer(folder.path())?.display().to_string();
    let added = steward.json(&["agents", "add", &file]).await?;
    ensure!(text(&added, "mode") == "shadow", "{added}");
    let nobody = steward.run(&["agents", "readiness", "newcomer"]).await?;
    ensure!(nobody.code == 4, "nobody brought it to the simulator: {nobody:?}");

    let door = stack.layout()?.part("ingress")?.url.clone().context("find the door")?;
    let words = ["agents", "register", "newcomer", "--webhook-url", &door];
    let registered = steward.json(&words).await?;
    market.claim_by_hand(text(&registered, "claim_link")).await?;
    let code = text(&market.agent("newcomer").await?, "email_code").to_owned();
    steward
        .json(&["agents", "verify-email", "newcomer", "--code", &code])
        .await?;
    let found = steward.json(&["doctor", "live"]).await?;
    ensure!(found["ok"] == true, "{found}");
    every_read_of(stack, 11).await?;

    steward.json(&["agents", "mode", "newcomer", "auto"]).await?;
    market.post(json!({ "count": 1, "auto": true })).await?;
    eventually(SOON, "a delivery that waits for approval", || async {
        let waiting = steward.json(&["approvals", "list"]).await?;
        let held = array(&waiting, "effects");
        ensure!(held.iter().any(|one| text(one, "kind") == "upload"), "{waiting}");
        Ok(())
    })
    .await
}

/// The outcome of a check of `doctor live`.
fn outcome<'found>(found: &'found Value, agent: &str, check: &str) -> &'found str {
    let is = |one: &&Value| text(one, "agent") == agent && text(one, "check") == check;
    array(found, "checks")
        .iter()
        .find(is)
        .map_or("", |one| text(one, "outcome"))
}

async fn everything_is_there(stack: &Stack) -> Result<()> {
    let steward = stack.steward()?;
    let found = steward.json(&["doctor", "live", "newcomer"]).await?;
    for check in ["key", "readiness", "webhook", "test event", "provider", "prices"] {
        ensure!(outcome(&found, "newcomer", check) == "ok", "{check}: {found}");
    }
    ensure!(outcome(&found, "", "marketplace") == "ok", "{found}");
    let missing = steward.run(&["doctor", "live", "nobody"]).await?;
    ensure!(missing.code == 3, "{missing:?}");
    let plain = steward.run(&["doctor"]).await?;
    ensure!(plain.code == 0 && plain.stdout.contains("doctor live"), "{plain:?}");
    Ok(())
}

/// At least this many reads are tried, and all work.
async fn every_read_of(stack: &Stack, least: usize) -> Result<()> {
    let tried = stack.steward()?.json(&["smoke", "--live"]).await?;
    ensure!(
        number(&tried, "failed") == 0 && array(&tried, "reads").len() >= least,
        "{tried}"
    );
    Ok(())
}

async fn every_read_works(stack: &Stack) -> Result<()> {
    let steward = stack.steward()?;
    every_read_of(stack, 22).await?;
    let wrong = steward.run(&["smoke"]).await?;
    ensure!(wrong.code == 2, "{wrong:?}");
    Ok(())
}

async fn a_platform_that_is_down_is_told(stack: &Stack) -> Result<()> {
    let (steward, market) = (stack.steward()?, stack.market()?);
    market
        .break_with(json!([{ "on": "any", "kind": "http_402", "rate": 1.0 }]))
        .await?;
    let down = steward.run(&["doctor", "live", "newcomer", "--json"]).await?;
    let found = down.result()?;
    ensure!(
        down.code == 1 && outcome(&found, "", "marketplace") == "fail",
        "{found}"
    );
    let mended = array(&found, "checks")
        .iter()
        .filter(|one| text(one, "outcome") == "fail")
        .all(|one| !text(one, "fix").is_empty());
    ensure!(mended, "each failure says what mends it: {found}");
    let smoke = steward.run(&["smoke", "--live", "newcomer"]).await?;
    ensure!(smoke.code == 1, "{smoke:?}");
    market.break_with(json!([])).await?;
    for name in ["newcomer", "worker"] {
        steward.json(&["agents", "resume", name]).await?;
    }
    let found = steward.json(&["doctor", "live", "newcomer"]).await?;
    ensure!(found["ok"] == true, "{found}");
    Ok(())
}
