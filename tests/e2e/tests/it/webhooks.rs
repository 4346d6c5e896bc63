//! Webhooks that come often, early, late or strange.

use std::time::Duration;

use anyhow::{Result, ensure};
use e2e::{Door, Options, array, number, run, text};
use serde_json::{Value, json};
use testkit::eventually;
use uuid::Uuid;

use crate::SOON;

/// How long the scheduler may take over one webhook.
const AT_ONCE: Duration = Duration::from_secs(20);

#[tokio::test]
async fn the_same_webhook_five_times_at_once_is_one_row_and_one_bid() -> Result<()> {
    run(Options::with_agent("worker"), async |stack| {
        let market = stack.market()?;
        // The market's own notice is lost; ours comes instead, five times.
        market
            .break_with(json!([{"on": "webhook", "kind": "drop", "args": {"event": "gig.posted"}}]))
            .await?;
        let gig = market.post(json!({})).await?.remove(0);
        let known = market.gig(&gig).await?;
        let body = Door::event("gig.posted", &announced(&known));
        let (door, delivery) = (stack.door()?, Uuid::now_v7());
        let knocks = futures_util::future::try_join_all((0..5).map(|_| door.knock(delivery, &body))).await?;
        ensure!(knocks.iter().all(|knock| knock.status == 200), "{knocks:?}");
        let first = knocks
            .iter()
            .filter(|knock| knock.body["duplicate"] != Value::Bool(true))
            .count();
        ensure!(first == 1, "one is the first: {knocks:?}");
        eventually(AT_ONCE, "the bid", || async {
            let gig = market.gig(&gig).await?;
            ensure!(!array(&gig, "proposals").is_empty(), "{gig}");
            Ok(())
        })
        .await?;
        // Sent again later, under the same id and under another, it is still the same webhook.
        for delivery in [delivery, Uuid::now_v7()] {
            let again = door.knock(delivery, &body).await?;
            ensure!(again.body["duplicate"] == Value::Bool(true), "{again:?}");
        }
        // The market's own may have been taken from its log meanwhile; it is no knock at this door.
        let rows = stack
            .rows("SELECT id FROM ingress.inbox WHERE event = 'gig.posted' AND source = 'webhook'")
            .await?;
        ensure!(rows.len() == 1, "one row: {rows:?}");
        let report = market.report().await?;
        ensure!(number(&report, "proposals") == 1, "one bid: {report}");
        Ok(())
    })
    .await
}

#[tokio::test]
async fn events_out_of_order_or_late_lead_to_the_same_end() -> Result<()> {
    run(Options::with_agent("worker"), async |stack| {
        let market = stack.market()?;
        // "accepted" comes seconds after everything else, "funded" once more after the delivery, the rest in disorder.
        market
            .break_with(json!([
                {"on": "webhook", "kind": "delay", "args": {"event": "proposal.accepted", "ms": 4000}},
                {"on": "webhook", "kind": "reorder", "rate": 0.5, "args": {"ms": 500}},
                {"on": "webhook", "kind": "duplicate", "args": {"copies": 3}}
            ]))
            .await?;
        market.post_automatic(6).await?;
        stack.settled(6, SOON).await?;
        let door = stack.door()?;
        for contract in market.contracts().await? {
            let data = json!({
                "contract_id": contract["id"], "gig_title": "Late", "amount": contract["amount_usdc"],
                "message": "Escrow funded", "deliver_url": "https://example.com/deliver",
            });
            let knock = door
                .knock(Uuid::now_v7(), &Door::event("contract.funded", &data))
                .await?;
            ensure!(knock.status == 200, "{knock:?}");
        }
        stack.settled(6, SOON).await?;
        stack.check_all_delivered_once(6).await?;
        stack.check_books().await?;
        let runs = stack.rows("SELECT id FROM scheduler.runs").await?;
        ensure!(runs.len() == 6, "no contract was worked on again: {runs:?}");
        Ok(())
    })
    .await
}

#[tokio::test]
async fn what_webhooks_told_badly_or_not_at_all_is_found_by_reading() -> Result<()> {
    run(Options::with_agent("worker"), async |stack| {
        let market = stack.market()?;
        let lost = [
            "proposal.accepted",
            "contract.funded",
            "contract.delivered",
            "contract.approved",
        ];
        let lost = lost.map(|event| json!({"on": "webhook", "kind": "drop", "count": 1, "args": {"event": event}}));
        let mut faults = lost.to_vec();
        faults.push(json!({"on": "webhook", "kind": "bad_signature", "count": 4}));
        let stale = json!({"event": "contract.funded"});
        faults.push(json!({"on": "webhook", "kind": "stale_timestamp", "count": 2, "args": stale}));
        market.break_with(Value::Array(faults)).await?;
        market.post_automatic(5).await?;
        stack.settled(5, SOON).await?;
        market.all_struck().await?;
        stack.check_all_delivered_once(5).await?;
        stack.check_books().await?;
        let webhooks = market.report().await?["webhooks"].take();
        let refused = number(&webhooks, "failures");
        ensure!(
            refused == 4,
            "what is signed wrongly is refused, nothing else: {webhooks}"
        );
        Ok(())
    })
    .await
}

#[tokio::test]
async fn what_nobody_understands_is_kept_and_shown_and_disturbs_nobody() -> Result<()> {
    run(Options::with_agent("worker"), async |stack| {
        let door = stack.door()?;
        let strange = [
            Door::event("moon.risen", &json!({"phase": "full"})),
            Door::event("contract.funded", &json!({"contract_id": ["not", "an", "id"]})),
            "{\"event\": \"contract.funded\", \"data\": ".to_owned(),
            "plain text".to_owned(),
        ];
        for body in &strange {
            let knock = door.knock(Uuid::now_v7(), body).await?;
            ensure!(
                knock.status == 200 && knock.body["received"] == Value::Bool(true),
                "{body}: {knock:?}"
            );
        }
        stack.market()?.post_automatic(2).await?;
        stack.settled(2, SOON).await?;
        let steward = stack.steward()?;
        let listed = steward.json(&["inbox", "list"]).await?;
        let outcome = |row: &Value, said: &str| text(row, "outcome").starts_with(said);
        let unreadable = array(&listed, "inbox")
            .iter()
            .filter(|row| outcome(row, "unreadable: "))
            .count();
        ensure!(unreadable == 3, "three cannot be read: {listed}");
        let unknown = array(&listed, "inbox")
            .iter()
            .filter(|row| outcome(row, "unknown_event"));
        ensure!(unknown.count() == 1, "one is unknown: {listed}");
        stack.check_books().await
    })
    .await
}

/// `gig.posted` as the marketplace words it.
fn announced(gig: &Value) -> Value {
    json!({
        "gig_id": gig["id"], "title": gig["title"], "description": gig["description"], "category": gig["category"],
        "budget": gig["budget_usdc"], "budget_usdc": gig["budget_usdc"], "skills": gig["skills_required"],
        "skills_required": gig["skills_required"], "deadline": gig["deadline"],
    })
}
