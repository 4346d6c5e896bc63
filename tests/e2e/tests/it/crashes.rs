//! Parts die without warning, and nothing is lost.

use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use e2e::{Door, Options, number, run};
use serde_json::json;
use testkit::eventually;
use uuid::Uuid;

use crate::{LATER, SLOW};

#[tokio::test]
async fn each_service_killed_in_turn_loses_nothing_of_twenty_contracts_in_flight() -> Result<()> {
    run(Options::with_agent("worker"), async |stack| {
        stack
            .market()?
            .post(json!({"count": 20, "title": SLOW, "auto": true}))
            .await?;
        let victims = ["scheduler", "executor", "billing", "ingress", "console"];
        for (index, victim) in victims.into_iter().enumerate() {
            // Each dies at another moment of the story.
            stack.delivered(2 * index as i64, LATER).await?;
            let report = stack.market()?.report().await?;
            ensure!(
                number(&report, "approved") < 20,
                "{victim} would die when all was over: {report}"
            );
            stack.kill_and_see_it_return(victim).await.context(victim)?;
        }
        stack.settled(20, LATER).await?;
        stack.check_all_delivered_once(20).await?;
        stack.check_books().await
    })
    .await
}

#[tokio::test]
async fn postgres_killed_in_mid_flight_costs_503s_and_nothing_else() -> Result<()> {
    run(Options::with_agent("worker"), async |stack| {
        let market = stack.market()?.clone();
        market.post(json!({"count": 8, "title": SLOW, "auto": true})).await?;
        stack.delivered(2, LATER).await?;
        let before = number(&market.report().await?["webhooks"], "failures");
        let door = stack.door()?;
        // With the supervisor standing still, Postgres stays dead until we have seen enough.
        stack.freeze_supervisor()?;
        stack.kill("postgres")?;
        market.post_automatic(4).await?;
        let body = Door::event("contract.message", &json!({"note": "while Postgres is away"}));
        let delivery = Uuid::now_v7();
        eventually(Duration::from_secs(30), "webhooks answered 503", || async {
            let knock = door.knock(delivery, &body).await?;
            ensure!(knock.status == 503 && knock.retry_after, "{knock:?}");
            let report = market.report().await?;
            ensure!(number(&report["webhooks"], "failures") > before, "{report}");
            Ok(())
        })
        .await?;
        stack.thaw_supervisor().await?;
        eventually(LATER, "the refused webhook stored", || async {
            let knock = door.knock(delivery, &body).await?;
            ensure!(knock.status == 200, "{knock:?}");
            Ok(())
        })
        .await?;
        stack.settled(12, LATER).await?;
        let report = market.report().await?;
        ensure!(
            number(&report["webhooks"], "retries") > 0,
            "refused webhooks come again: {report}"
        );
        stack.check_all_delivered_once(12).await?;
        stack.check_books().await
    })
    .await
}

#[tokio::test]
async fn steward_up_killed_and_started_again_goes_on_where_it_was() -> Result<()> {
    run(Options::with_agent("worker"), async |stack| {
        stack
            .market()?
            .post(json!({"count": 10, "title": SLOW, "auto": true}))
            .await?;
        stack.delivered(2, LATER).await?;
        stack.kill_supervisor()?;
        let status = stack.steward()?.run(&["status", "--json"]).await?.result()?;
        ensure!(
            number(&status, "unwatched") > 5,
            "what runs unwatched is said: {status}"
        );
        // While nobody supervises, one more dies.
        stack.kill("scheduler")?;
        let report = stack.market()?.report().await?;
        ensure!(
            number(&report, "delivered") < 10,
            "there is nothing left to go on with: {report}"
        );
        stack.start().await?;
        stack.market()?.post_automatic(2).await?;
        stack.settled(12, LATER).await?;
        stack.check_all_delivered_once(12).await?;
        stack.check_books().await
    })
    .await
}
