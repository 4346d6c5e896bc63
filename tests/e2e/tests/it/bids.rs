//! An agent that writes its own bids.

use std::path::Path;

use anyhow::{Context as _, Result, ensure};
use e2e::{Options, Stack, array, number, run, text};
use serde_json::json;

use crate::LATER;

const GIGS: usize = 3;

/// The sample agent, asked for its bids.
fn writer(folder: &Path) -> Result<Options> {
    let sample = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../examples/agents/python");
    for name in ["agent.py", "steward.py"] {
        std::fs::copy(sample.join(name), folder.join(name))?;
    }
    let file = std::fs::read_to_string(sample.join("agent.toml"))?;
    let (mode, asked) = ("mode = \"auto\"", "mode = \"auto\"\nwrite = \"agent\"");
    ensure!(file.contains(mode), "{file}");
    std::fs::write(folder.join("agent.toml"), file.replace(mode, asked))?;
    Ok(Options {
        agents: vec![folder.join("agent.toml")],
        ..Options::default()
    })
}

#[tokio::test]
async fn an_agent_that_writes_its_own_bids_wins_with_them_and_their_cost_is_in_the_books() -> Result<()> {
    let folder = tempfile::tempdir()?;
    run(writer(folder.path())?, async |stack| {
        let market = stack.market()?;
        let order = json!({"count": GIGS, "title": "Please work", "budget_usdc": 20, "auto": true});
        let gigs = market.post(order).await?;
        stack.settled(GIGS as i64, LATER).await?;
        stack.check_all_delivered_once(GIGS as i64).await?;
        stack.check_books().await?;
        for gig in &gigs {
            let bid = market.gig(gig).await?;
            let bid = array(&bid, "proposals").first().cloned().context("find the bid")?;
            let letter = text(&bid, "cover_letter");
            ensure!(!letter.contains("How I would go about it"), "the template wrote: {bid}");
            let shown = stack.steward()?.json(&["gigs", "show", gig]).await?;
            // Nine tenths of the budget is this agent's own idea of a price.
            ensure!(number(&shown, "proposed_micro_usdc") == 18_000_000, "{shown}");
            ensure!(text(&shown, "cover_letter") == letter, "{shown}");
        }
        what_bids_cost_is_the_agents_cost_without_a_contract(stack).await
    })
    .await
}

async fn what_bids_cost_is_the_agents_cost_without_a_contract(stack: &Stack) -> Result<()> {
    let cost = "SELECT (SELECT count(*) FROM scheduler.runs WHERE kind = 'propose' AND state = 'succeeded') AS runs, \
                (SELECT count(*) FROM billing.usage u JOIN scheduler.gigs g ON g.id = u.subject_id) AS calls, \
                (SELECT sum(t.posted_micro)::BIGINT FROM billing.subject_costs t \
                 JOIN scheduler.gigs g ON g.id = t.subject_id) AS bids, \
                (SELECT sum(cost_micro)::BIGINT FROM scheduler.contracts) AS contracts";
    let cost = stack.rows(cost).await?.remove(0);
    ensure!(
        number(&cost, "runs") == GIGS as i64 && number(&cost, "calls") == GIGS as i64,
        "{cost}"
    );
    ensure!(number(&cost, "bids") > 0, "{cost}");
    let earnings = stack.steward()?.json(&["earnings"]).await?;
    let all = number(&cost, "bids") + number(&cost, "contracts");
    ensure!(number(&earnings, "cost_micro_usd") == all, "{earnings} but {cost}");
    Ok(())
}
