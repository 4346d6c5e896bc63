//! A hundred runs at once on whatever machine this is.

use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use e2e::{Options, Stack, agent, number, run};
use serde_json::json;
use testkit::eventually;

use crate::SLOW;

const CROWD: i64 = 100;
/// A hundred contracts take their time on two cores.
const LONG: Duration = Duration::from_secs(420);
/// A model that answers after all of them have asked, however slow the machine; less than the gateway waits.
const ANSWER_MS: u32 = 110_000;

#[tokio::test]
async fn a_hundred_runs_at_once_survive_their_executors_death_and_none_is_delivered_twice() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let options = Options {
        agents: vec![patient(folder.path())?],
        ..Options::default()
    };
    let options = options.settings("executor", "[work]\nslots = 100\n");
    run(options, async |stack| {
        let market = stack.market()?.clone();
        // Nobody works until all are there; then every model takes its time.
        stack.freeze_supervisor()?;
        stack.kill("executor")?;
        market
            .break_with(json!([{"on": "llm", "kind": "slow", "args": {"ms": ANSWER_MS}}]))
            .await?;
        market
            .post(json!({"count": CROWD, "title": SLOW, "auto": true}))
            .await?;
        count(stack, CROWD, "state = 'queued'").await?;
        stack.thaw_supervisor().await?;
        let working = "state = 'leased' AND id IN (SELECT run_id FROM scheduler.run_events WHERE kind = 'progress')";
        count(stack, CROWD, working).await?;
        stack.kill("executor")?;
        market.break_with(json!([])).await?;
        stack.settled(CROWD, LONG).await?;
        stack.check_all_delivered_once(CROWD).await?;
        let lost = stack
            .rows("SELECT count(*) AS n FROM scheduler.runs WHERE failures > 0 OR state <> 'succeeded'")
            .await?;
        ensure!(
            number(&lost[0], "n") == 0,
            "a dead executor is nobody's failure: {lost:?}"
        );
        stack.check_books().await
    })
    .await
}

/// The worker, with patience for a slow model.
fn patient(folder: &Path) -> Result<PathBuf> {
    let worker = agent("worker");
    let file = std::fs::read_to_string(&worker).context("read the worker's file")?;
    let file = file
        .replace("timeout = \"60s\"", "timeout = \"10m\"")
        .replace("idle = \"30s\"", "idle = \"5m\"");
    let program = std::fs::read_to_string(worker.with_file_name("agent.py")).context("read its program")?;
    let patient = program.replace("timeout=30", "timeout=300");
    ensure!(
        patient != program,
        "the worker's program waits for its model in another way"
    );
    std::fs::write(folder.join("agent.py"), patient).context("write its program")?;
    let patient = folder.join("agent.toml");
    std::fs::write(&patient, file).context("write the agent file")?;
    Ok(patient)
}

/// Waits until this many runs are like this.
async fn count(stack: &Stack, runs: i64, like: &str) -> Result<()> {
    eventually(LONG, &format!("{runs} runs with {like}"), || async {
        let found = stack
            .rows(&format!("SELECT count(*) AS n FROM scheduler.runs WHERE {like}"))
            .await?;
        let found = found.first().map_or(0, |row| number(row, "n"));
        ensure!(found == runs, "{found} of {runs}");
        Ok(())
    })
    .await
}
