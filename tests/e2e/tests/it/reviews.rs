//! A model looks deliveries over, and what it does not accept does not go out.

use std::path::Path;

use anyhow::{Context as _, Result, ensure};
use e2e::{Options, array, number, run, text};
use serde_json::json;
use testkit::eventually;

use crate::LATER;

#[tokio::test]
async fn a_review_lets_out_what_it_accepts_parks_what_it_rejects_and_holds_what_it_cannot_judge() -> Result<()> {
    let root = tempfile::tempdir()?;
    let worker = Path::new(env!("CARGO_MANIFEST_DIR")).join("agents/worker");
    for entry in std::fs::read_dir(&worker)? {
        let entry = entry?;
        std::fs::copy(entry.path(), root.path().join(entry.file_name())).context("copy the worker")?;
    }
    let file = std::fs::read_to_string(worker.join("agent.toml"))?;
    let file = format!("{file}\n[delivery.review]\nmodel = \"gpt-4o-mini\"\n");
    std::fs::write(root.path().join("agent.toml"), file)?;
    let options = Options {
        agents: vec![root.path().join("agent.toml")],
        ..Options::default()
    }
    .settings("scheduler", "[runs]\npause_bidding_after = 0\n");
    run(options, async |stack| {
        let market = stack.market()?;
        let bad = market.post_titled("Please reject this").await?;
        market
            .post(json!({"title": "Please mumble about this", "auto": true}))
            .await?;
        market.post(json!({"title": "A plain wish", "auto": true})).await?;
        let steward = stack.steward()?;
        let held = eventually(LATER, "the one without a verdict waits for a human", || async {
            let waiting = steward.json(&["approvals", "list"]).await?;
            let told = waiting.to_string();
            ensure!(told.contains("came to no verdict"), "{waiting}");
            let first = array(&waiting, "effects").first().context("nothing waits")?;
            Ok(text(first, "id").to_owned())
        })
        .await?;
        eventually(LATER, "the rejected one is parked with what the model said", || async {
            let contract = market.contract_of(&bad).await?;
            let shown = steward.json(&["contracts", "show", text(&contract, "id")]).await?;
            let run = array(&shown, "runs").first().context("no run yet")?;
            ensure!(text(run, "state") == "parked", "{run}");
            ensure!(text(run, "error").contains("asked for it to be rejected"), "{run}");
            Ok(())
        })
        .await?;
        let approved = steward.run(&["approvals", "approve", &held]).await?;
        ensure!(approved.code == 0, "{approved:?}");
        stack.settled(2, LATER).await?;
        let report = market.report().await?;
        ensure!(number(&report, "delivered") == 2, "{report}");
        stack.check_books().await
    })
    .await
}
