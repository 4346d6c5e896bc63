//! No public door: reads alone.

use anyhow::Result;
use e2e::{Options, number, run};
use serde_json::json;
use testkit::eventually;

use crate::{LATER, SOON};

const SCHEDULER: &str = "[reconcile]\nwakeful_every = \"1s\"\ncontracts_every = \"1s\"\n";

#[tokio::test]
async fn without_a_door_contracts_and_messages_are_found_by_reads() -> Result<()> {
    let options = Options {
        poll: true,
        ..Options::with_agent("worker").settings("scheduler", SCHEDULER)
    };
    run(options, async |stack| {
        let market = stack.market()?;
        let gigs = market.post_automatic(3).await?;
        stack.delivered(3, LATER).await?;
        stack.settled(3, SOON).await?;
        stack.check_all_delivered_once(3).await?;
        stack.check_books().await?;
        let gig = gigs.first().map(String::as_str).unwrap_or_default();
        let contract = market.contract_of(gig).await?;
        let id = contract["id"].as_str().unwrap_or_default();
        market
            .step(id, "message", json!({"content": "Thank you, that was quick"}))
            .await?;
        eventually(SOON, "the client's words", || async {
            let heard = "SELECT count(*) AS heard FROM scheduler.messages WHERE body LIKE 'Thank you, that%'";
            let heard = stack.rows(heard).await?;
            anyhow::ensure!(heard.first().is_some_and(|row| number(row, "heard") == 1), "{heard:?}");
            Ok(())
        })
        .await?;
        let came = stack
            .rows("SELECT id FROM ingress.inbox WHERE source = 'webhook'")
            .await?;
        anyhow::ensure!(came.is_empty(), "webhooks came: {came:?}");
        Ok(())
    })
    .await
}
