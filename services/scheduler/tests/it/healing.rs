//! What no webhook brought is taken from the marketplace's own log, or found by reads when there is no door.

use std::sync::Arc;
use std::time::Duration;

use clawgig::wire::webhook::WebhookPatch;
use scheduler::marketplace::Marketplace;
use scheduler::reconcile::Reader;
use serde_json::{Value, json};
use testkit::eventually;

use crate::desk::{Bench, PATIENCE};
use crate::webhooks::event;

const STANDING: &str = "scheduler.notices WHERE resolved_at IS NULL AND kind";

fn reader(bench: &Bench) -> Reader {
    let market = Arc::new(Marketplace::new(Arc::clone(&bench.desk)).unwrap());
    Reader::new(Arc::clone(&bench.desk), market)
}

/// The sum of these counts over every webhook the marketplace made.
async fn webhooks(bench: &Bench, kinds: &[&str]) -> u64 {
    let report = bench.market.get("/control/report").await;
    kinds.iter().filter_map(|kind| report["webhooks"][kind].as_u64()).sum()
}

/// A door that says 200 and keeps nothing, where the marketplace sends `demo`'s webhooks from now on.
async fn open_door(bench: &Bench) -> tokio::task::JoinHandle<()> {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let router = axum::Router::new().fallback(async || "ok");
    let door = tokio::task::spawn(async move { axum::serve(listener, router).await.unwrap() });
    let market = Marketplace::new(Arc::clone(&bench.desk)).unwrap();
    let url = WebhookPatch {
        webhook_url: Some(format!("http://{address}/hooks/demo")),
        ..WebhookPatch::default()
    };
    market
        .client("demo")
        .await
        .unwrap()
        .update_webhooks(&url)
        .await
        .unwrap();
    door
}

async fn drop_webhooks(bench: &Bench) {
    let fault = json!([{ "on": "webhook", "kind": "drop", "rate": 1.0, "seed": 1 }]);
    bench.market.put("/control/faults", fault).await;
}

/// Posts gigs whose webhooks are lost, and waits until the marketplace gave them up.
async fn lose(bench: &Bench, gigs: u64) {
    drop_webhooks(bench).await;
    let gig = json!({ "count": gigs, "budget_usdc": 20, "category": "code", "skills_required": ["python"] });
    bench.market.post("/control/gigs", gig).await;
    let gone = async || webhooks(bench, &["failures", "dropped"]).await >= gigs;
    eventually(PATIENCE, "webhooks fail", gone).await.unwrap();
}

async fn messages(bench: &Bench) -> Vec<Value> {
    bench
        .rows("SELECT side, body, unheard FROM scheduler.messages ORDER BY id")
        .await
}

#[tokio::test]
async fn a_webhook_that_never_came_is_taken_from_the_log_and_acted_on_once() {
    let bench = Bench::new().await;
    lose(&bench, 1).await;
    let reader = reader(&bench);
    let soon = reader.deliveries("demo").await.unwrap();
    assert_eq!(soon, bench.desk.config.reconcile.wakeful_every, "the door fares badly");
    let rows = bench.rows("SELECT source, processed_at FROM ingress.inbox").await;
    assert_eq!(rows, [json!({ "source": "reconcile", "processed_at": null })]);
    reader.deliveries("demo").await.unwrap();
    assert_eq!(bench.count("ingress.inbox").await, 1, "the second look healed it again");
    bench.take_in().await;
    assert_eq!(bench.count("scheduler.effects WHERE kind = 'propose'").await, 1);
    assert_eq!(bench.count(&format!("{STANDING} = 'webhooks_failing'")).await, 1);
}

#[tokio::test]
async fn after_a_restore_what_was_acknowledged_and_lost_again_is_taken_in_too() {
    let bench = Bench::new().await;
    let door = open_door(&bench).await;
    bench
        .market
        .post("/control/gigs", json!({ "count": 3, "budget_usdc": 20 }))
        .await;
    let answered = async || webhooks(&bench, &["acks"]).await >= 3;
    eventually(PATIENCE, "the door answers", answered).await.unwrap();
    door.abort();
    // The database was put back to where none of them was in it: the door said 200, and nothing of it is left.
    assert_eq!(bench.count("ingress.inbox").await, 0);
    let reader = reader(&bench);
    let soon = reader.deliveries("demo").await.unwrap();
    assert_eq!(bench.count("ingress.inbox").await, 3);
    assert_eq!(soon, bench.desk.config.reconcile.wakeful_every, "there may be more");
    assert_eq!(bench.count(&format!("{STANDING} = 'webhooks_failing'")).await, 0);
    // Put back once more, to before two of them, and the log's safe time with it.
    bench
        .change("UPDATE scheduler.delivery_log SET safe_at = now() - INTERVAL '1 hour'")
        .await;
    bench
        .change("DELETE FROM ingress.inbox WHERE id NOT IN (SELECT id FROM ingress.inbox ORDER BY id LIMIT 1)")
        .await;
    bench
        .change("DELETE FROM ingress.seen s WHERE NOT EXISTS (SELECT FROM ingress.inbox i WHERE i.body_digest = s.key_hash)")
        .await;
    reader.deliveries("demo").await.unwrap();
    assert_eq!(bench.count("ingress.inbox").await, 3);
}

#[tokio::test]
async fn a_late_webhook_of_what_was_healed_is_a_duplicate() {
    let bench = Bench::new().await;
    lose(&bench, 1).await;
    reader(&bench).deliveries("demo").await.unwrap();
    let healed = &bench.rows("SELECT delivery_id FROM ingress.inbox").await[0];
    let id = healed["delivery_id"].as_str().unwrap();
    let late = store::inbox::told("demo", id, b"the signed bytes, spaced otherwise".to_vec());
    let outcome = store::inbox::accept(&bench.desk.store, &[late]).await.unwrap();
    assert_eq!(outcome, [store::inbox::Outcome::Duplicate]);
}

#[tokio::test]
async fn a_door_that_works_is_looked_after_rarely_and_nobody_is_told() {
    let bench = Bench::new().await;
    let every = reader(&bench).deliveries("demo").await.unwrap();
    assert_eq!(every, bench.desk.config.reconcile.deliveries_every);
    assert_eq!(bench.count(&format!("{STANDING} LIKE 'webhooks%'")).await, 0);
}

#[tokio::test]
async fn a_day_without_webhooks_while_gigs_are_posted_is_told_until_one_comes() {
    let bench = Bench::new().await;
    bench.change("INSERT INTO ingress.doors (agent, created_at) VALUES ('demo', now() - INTERVAL '2 days') ON CONFLICT (agent) DO UPDATE SET created_at = excluded.created_at").await;
    bench.gig().await;
    let reader = reader(&bench);
    reader.deliveries("demo").await.unwrap();
    assert_eq!(bench.count(&format!("{STANDING} = 'webhooks_silent'")).await, 1);
    bench.webhook(event("test", &json!({})), false).await;
    reader.deliveries("demo").await.unwrap();
    assert_eq!(bench.count(&format!("{STANDING} = 'webhooks_silent'")).await, 0);
}

#[tokio::test]
async fn without_a_door_messages_are_found_by_reads_each_once() {
    let bench = Bench::with(&[("RECONCILE__POLL", "true")]).await;
    let (external, contract) = bench.contract().await;
    let say = format!("/control/contracts/{external}/message");
    for text in ["hello", "hello", "which colour?"] {
        bench.market.post(&say, json!({ "content": text })).await;
    }
    let reader = reader(&bench);
    for _ in 0..2 {
        let every = reader.messages("demo").await.unwrap();
        assert!(every <= Duration::from_secs(60), "{every:?}");
        bench.take_in().await;
    }
    let heard: Vec<Value> = messages(&bench).await;
    assert_eq!(heard.len(), 3, "{heard:#?}");
    assert!(
        heard
            .iter()
            .all(|row| row["side"] == "client" && row["unheard"] == true),
        "{heard:#?}"
    );
    // Somebody opens the door after all, and the webhooks of two of them come late.
    for text in ["hello", "which colour?"] {
        let told = json!({ "contract_id": external, "message": text, "sender_type": "client" });
        assert_eq!(bench.told("message.received", told).await, "seen before");
    }
    let thread = store::messages::list(&bench.desk.store, contract).await.unwrap();
    assert_eq!(thread.len(), 3);
}

#[tokio::test]
async fn a_message_told_by_a_webhook_is_not_found_again_by_reads() {
    let bench = Bench::with(&[("RECONCILE__POLL", "true")]).await;
    let (external, contract) = bench.contract().await;
    let say = format!("/control/contracts/{external}/message");
    bench.market.post(&say, json!({ "content": "hello" })).await;
    let told = json!({ "contract_id": external, "message": "hello", "sender_type": "client" });
    assert_eq!(bench.told("message.received", told).await, "message");
    bench.market.post(&say, json!({ "content": "hello" })).await;
    let reader = reader(&bench);
    for _ in 0..2 {
        reader.messages("demo").await.unwrap();
        bench.take_in().await;
    }
    let thread = store::messages::list(&bench.desk.store, contract).await.unwrap();
    assert_eq!(thread.len(), 2, "the client said it twice");
}

#[tokio::test]
async fn while_webhooks_fail_reads_are_made_more_often() {
    let bench = Bench::new().await;
    let usual = bench.desk.config.reconcile.clone();
    let reader = reader(&bench);
    assert_eq!(reader.proposals("demo").await.unwrap(), usual.proposals_every);
    lose(&bench, 1).await;
    reader.deliveries("demo").await.unwrap();
    for every in [
        reader.proposals("demo").await.unwrap(),
        reader.gigs("demo").await.unwrap(),
        reader.contracts("demo").await.unwrap(),
    ] {
        assert!(every <= usual.wakeful_every, "{every:?}");
    }
}
