//! How long the courier tries: outages cost no attempts, refusals do, and everything ends with somebody told.

use domain::contract::{Command as Step, State as Contract, Status};
use domain::effect::{Kind, State, key};
use scheduler::{contracts, payload};
use serde_json::json;
use store::effects;
use store::run_tx;
use testkit::eventually;
use uuid::Uuid;

use crate::courier::{delivered_once, delivery, effect, fault, insert, proposal, until};
use crate::desk::{Bench, PATIENCE};

/// One attempt, and the next soon.
const HASTY: [(&str, &str); 2] = [("COURIER__MAX_ATTEMPTS", "1"), ("COURIER__LONGEST_PAUSE", "200ms")];

async fn faults(bench: &Bench, on: &str, kind: &str, count: u32) {
    let fault =
        json!([{ "on": on, "kind": kind, "rate": 1.0, "count": count, "seed": 1, "args": { "retry_after": 1 } }]);
    bench.market.put("/control/faults", fault).await;
}

async fn confirming(bench: &Bench, contract: Uuid) -> Uuid {
    let mut new = effect(Kind::Confirm, key::confirm(contract, "test"), json!({}));
    new.contract_id = Some(contract);
    insert(bench, new).await
}

async fn observed(bench: &Bench, contract: Uuid, status: Status) {
    let sent_at = store::observations::clock(&bench.desk.store).await.unwrap();
    let command = Step::Observed { status, sent_at };
    run_tx!(bench.desk.store, "fixture", scheduler::error::Error, |tx| {
        contracts::step(tx, contract, &command, "read/test", None).await
    })
    .unwrap();
}

async fn dead(bench: &Bench, id: Uuid) -> String {
    let reason = eventually(PATIENCE, "the effect is given up", async || {
        effects::get(&bench.desk.store, id).await.ok()?.dead_reason
    });
    let reason = reason.await.unwrap();
    // Its neighbours may have been given up as well.
    let notices = format!("scheduler.notices WHERE kind = 'dead_letter' AND key = '{id}' AND resolved_at IS NULL");
    assert_eq!(bench.count(&notices).await, 1, "nobody was told");
    reason
}

#[tokio::test]
async fn an_outage_uses_up_no_attempts() {
    let bench = Bench::with(&HASTY).await;
    let (_external, contract) = bench.contract().await;
    let id = confirming(&bench, contract).await;
    faults(&bench, "list", "http_500", 4).await;
    bench.work();
    until(&bench, id, State::Done).await;
    let effect = effects::get(&bench.desk.store, id).await.unwrap();
    assert_eq!((effect.attempts, effect.away_since), (1, None));
}

#[tokio::test]
async fn too_many_requests_uses_up_no_attempts() {
    let bench = Bench::with(&HASTY).await;
    let (_external, _gig, id) = proposal(&bench).await;
    faults(&bench, "propose", "http_429", 2).await;
    bench.work();
    until(&bench, id, State::Done).await;
    assert_eq!(effects::get(&bench.desk.store, id).await.unwrap().attempts, 1);
}

#[tokio::test]
async fn an_outage_longer_than_patience_is_told_to_a_human() {
    let settings = [("COURIER__LONGEST_PAUSE", "200ms"), ("COURIER__PATIENCE", "1s")];
    let bench = Bench::with(&settings).await;
    let (_external, contract) = bench.contract().await;
    let id = confirming(&bench, contract).await;
    faults(&bench, "list", "http_500", 1000).await;
    bench.work();
    let reason = dead(&bench, id).await;
    assert!(reason.contains("courier.patience"), "{reason}");
}

#[tokio::test]
async fn giving_up_raises_a_notice() {
    let bench = Bench::with(&HASTY).await;
    let (_external, contract) = bench.contract().await;
    bench
        .change("UPDATE scheduler.contracts SET external_id = 'nowhere'")
        .await;
    let id = confirming(&bench, contract).await;
    bench.work();
    let reason = dead(&bench, id).await;
    assert!(reason.contains("not in the marketplace's list"), "{reason}");
}

#[tokio::test]
async fn an_effect_that_can_never_be_verified_ends() {
    let bench = Bench::with(&[("MARKETPLACE__SETTLE", "10s")]).await;
    fault(&bench, "deliver", "reset_before", json!({})).await;
    let (external, _contract, id) = delivery(&bench).await;
    bench.work();
    until(&bench, id, State::Unknown).await;
    bench
        .market
        .post(&format!("/control/contracts/{external}/cancel"), json!({}))
        .await;
    bench.change("UPDATE scheduler.effects SET not_before = now()").await;
    let reason = dead(&bench, id).await;
    assert!(reason.contains("cancelled without it"), "{reason}");
    assert_eq!(effects::get(&bench.desk.store, id).await.unwrap().state, State::Refused);
}

#[tokio::test]
async fn an_effect_no_read_tells_of_ends_with_patience() {
    let settings = [
        ("COURIER__LONGEST_PAUSE", "200ms"),
        ("COURIER__PATIENCE", "1s"),
        ("MARKETPLACE__SETTLE", "10s"),
    ];
    let bench = Bench::with(&settings).await;
    fault(&bench, "deliver", "reset_after_commit", json!({})).await;
    let (_external, _contract, id) = delivery(&bench).await;
    bench.work();
    until(&bench, id, State::Unknown).await;
    faults(&bench, "list", "http_500", 1000).await;
    bench.change("UPDATE scheduler.effects SET not_before = now()").await;
    dead(&bench, id).await;
    let given_up = effects::get(&bench.desk.store, id).await.unwrap();
    assert_eq!(given_up.state, State::Unknown, "it may have happened: never sent again");
}

#[tokio::test]
async fn a_delivery_is_held_while_the_contracts_status_is_unknown() {
    let bench = Bench::with(&HASTY).await;
    let (external, contract, id) = delivery(&bench).await;
    observed(&bench, contract, Status::Unknown("mediation".to_owned())).await;
    // The read of the brief, which would tell that it is funded after all.
    bench
        .change("DELETE FROM scheduler.effects WHERE kind = 'confirm'")
        .await;
    bench.work();
    for _look in 0..2 {
        bench
            .change("UPDATE scheduler.effects SET not_before = now(), error = NULL")
            .await;
        eventually(PATIENCE, "it is held", async || {
            let effect = effects::get(&bench.desk.store, id).await.unwrap();
            let held = effect.error.as_ref().is_some_and(|error| error.contains("held"));
            let held = held && effect.state == State::Pending;
            held.then_some(()).ok_or(format!("{effect:?}"))
        })
        .await
        .unwrap();
    }
    observed(&bench, contract, Status::Funded).await;
    bench.change("UPDATE scheduler.effects SET not_before = now()").await;
    until(&bench, id, State::Done).await;
    delivered_once(&bench, &external).await;
    assert_eq!(effects::get(&bench.desk.store, id).await.unwrap().attempts, 1);
    let kept = store::contracts::get(&bench.desk.store, contract).await.unwrap();
    assert_eq!(kept.machine.state, Contract::Delivered);
}

#[tokio::test]
async fn a_stale_budget_grant_is_taken_anew() {
    let bench = Bench::with(&HASTY).await;
    let (external, contract, id) = delivery(&bench).await;
    // A busy database: between its grant and its call the courier waits for the contract's row, longer than a grant
    // may wait.
    let hold = format!(
        "BEGIN; SELECT FROM scheduler.contracts WHERE id = '{contract}' FOR UPDATE; SELECT pg_sleep(6); COMMIT"
    );
    let url = bench.database.url().to_owned();
    let holding = tokio::task::spawn(async move { testkit::execute(&url, &hold).await });
    eventually(PATIENCE, "the row is held", async || {
        bench
            .count("pg_stat_activity WHERE query LIKE 'BEGIN; SELECT FROM%' AND wait_event = 'PgSleep'")
            .await
            == 1
    })
    .await
    .unwrap();
    bench.work();
    until(&bench, id, State::Done).await;
    holding.await.unwrap().unwrap();
    delivered_once(&bench, &external).await;
    assert_eq!(effects::get(&bench.desk.store, id).await.unwrap().attempts, 1);
    let used = bench.count("scheduler.api_grants WHERE class = 'deliver' AND granted_at > '-infinity'");
    let given_back = bench.count("scheduler.api_grants WHERE class = 'deliver' AND granted_at = '-infinity'");
    assert_eq!(used.await, 1);
    assert!(given_back.await > 0, "nothing was stale");
}

#[tokio::test]
async fn a_lost_message_is_found_on_a_later_page_of_a_long_thread() {
    let bench = Bench::new().await;
    let (external, contract) = bench.contract().await;
    for _ in 0..60 {
        let said = json!({ "content": "one more thing" });
        bench
            .market
            .post(&format!("/control/contracts/{external}/message"), said)
            .await;
    }
    fault(&bench, "message", "reset_after_commit", json!({})).await;
    let message = payload::Message {
        contract_external_id: external.clone(),
        text: "It is taken into account.".to_owned(),
        by_hand: false,
    };
    let mut new = effect(
        Kind::Message,
        key::message(contract, "test"),
        payload::to_value(&message),
    );
    new.contract_id = Some(contract);
    let id = insert(&bench, new).await;
    bench.work();
    until(&bench, id, State::Done).await;
    let shown = bench.market.get(&format!("/control/contracts/{external}")).await;
    let thread = shown["messages"].as_array().unwrap().iter();
    let ours = thread.filter(|said| said["content"] == json!(message.text)).count();
    assert_eq!(ours, 1, "it was sent again");
}

#[tokio::test]
async fn time_in_which_the_key_was_stopped_or_nobody_looked_does_not_count() {
    let bench = Bench::new().await;
    let (_external, _contract, id) = delivery(&bench).await;
    let old = "UPDATE scheduler.effects SET not_before = now() - INTERVAL '4 days', away_since = NULL";
    let still = async || {
        scheduler::sweeper::sweep(&bench.desk).await.unwrap();
        let effect = effects::get(&bench.desk.store, id).await.unwrap();
        assert_eq!((effect.state, effect.dead_reason), (State::Pending, None));
    };
    bench.change("INSERT INTO scheduler.api_budget (key, stopped_reason) VALUES ('demo', '401') ON CONFLICT (key) DO UPDATE SET stopped_reason = '401'").await;
    bench.change(old).await;
    still().await;
    run_tx!(bench.desk.store, "fixture", |tx| store::budget::resume(tx, "demo")
        .await)
    .unwrap();
    still().await;
    // As after days in which everything was off.
    bench.change(old).await;
    still().await;
    bench
        .change("UPDATE scheduler.effects SET away_since = now() - INTERVAL '4 days'")
        .await;
    scheduler::sweeper::sweep(&bench.desk).await.unwrap();
    assert!(dead(&bench, id).await.contains("courier.patience"));
}
