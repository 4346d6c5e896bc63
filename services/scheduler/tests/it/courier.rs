//! The courier against the simulated marketplace: each effect happens once, whatever becomes of the answers.

use std::time::Duration;

use domain::contract::Command as Step;
use domain::effect::{Kind, State, key};
use domain::proposal;
use scheduler::{contracts, payload};
use serde_json::{Value, json};
use store::effects::{self, NewEffect};
use store::proposals::NewProposal;
use store::run_tx;
use store::runs::NewRun;
use testkit::eventually;
use uuid::Uuid;

use crate::desk::{Bench, PATIENCE};

pub fn effect(kind: Kind, natural_key: String, payload: Value) -> NewEffect {
    NewEffect {
        agent: "demo".to_owned(),
        kind,
        natural_key,
        held: None,
        after: None,
        payload,
        gig_id: None,
        contract_id: None,
        run_id: None,
        worth: domain::money::MicroUsdc::ZERO,
        pause: Duration::ZERO,
        traceparent: None,
    }
}

pub async fn insert(bench: &Bench, new: NewEffect) -> Uuid {
    run_tx!(bench.desk.store, "fixture", |tx| effects::insert(tx, &new).await).unwrap()
}

pub async fn until(bench: &Bench, id: Uuid, wanted: State) {
    eventually(PATIENCE, "the effect comes to rest", async || {
        effects::get(&bench.desk.store, id)
            .await
            .is_ok_and(|effect| effect.state == wanted)
    })
    .await
    .unwrap();
}

pub async fn fault(bench: &Bench, on: &str, kind: &str, args: Value) {
    let fault = json!([{ "on": on, "kind": kind, "rate": 1.0, "count": 1, "seed": 1, "args": args }]);
    bench.market.put("/control/faults", fault).await;
}

pub async fn proposal(bench: &Bench) -> (String, Uuid, Uuid) {
    let (external_id, gig) = bench.gig().await;
    let new = NewProposal {
        gig_id: gig,
        agent: "demo".to_owned(),
        state: proposal::State::Considered,
        score_permille: None,
        score_parts: json!({}),
        reason: None,
        amount: None,
        cover_letter: None,
        estimated_hours: None,
        external_id: None,
    };
    let proposal_id = run_tx!(bench.desk.store, "fixture", |tx| store::proposals::insert(tx, &new)
        .await)
    .unwrap();
    let propose = payload::Propose {
        proposal_id: proposal_id.unwrap(),
        gig_external_id: external_id.clone(),
        amount_micro: 15_500_000,
        cover_letter: "I would like to do this, and here is how I would go about it.".to_owned(),
        estimated_hours: Some(1),
    };
    let mut new = effect(Kind::Propose, key::propose(&external_id), payload::to_value(&propose));
    new.gig_id = Some(gig);
    (external_id, gig, insert(bench, new).await)
}

pub async fn proposals_on_the_market(bench: &Bench) -> u64 {
    bench.market.get("/control/report").await["proposals"].as_u64().unwrap()
}

#[tokio::test]
async fn a_proposal_goes_out_and_its_id_is_kept() {
    let bench = Bench::new().await;
    let (_external, gig, id) = proposal(&bench).await;
    bench.work();
    until(&bench, id, State::Done).await;
    let kept = store::proposals::of_gig(&bench.desk.store, gig).await.unwrap();
    assert_eq!(kept.state, proposal::State::Submitted);
    assert!(kept.external_id.is_some());
    assert_eq!(proposals_on_the_market(&bench).await, 1);
}

#[tokio::test]
async fn one_walk_through_the_list_tells_of_all_lost_bids() {
    let bench = Bench::with(&[("MARKETPLACE__SETTLE", "5m"), ("BREAKER__FAILURES", "50")]).await;
    let lost = json!([{ "on": "propose", "kind": "reset_after_commit", "count": 5 }]);
    bench.market.put("/control/faults", lost).await;
    let mut ids = Vec::new();
    for _ in 0..5 {
        ids.push(proposal(&bench).await.2);
    }
    bench.work();
    for id in &ids {
        until(&bench, *id, State::Unknown).await;
    }
    let spent = bench.count("scheduler.api_grants").await;
    bench
        .change("UPDATE scheduler.effects SET not_before = now() WHERE state = 'unknown'")
        .await;
    for id in &ids {
        until(&bench, *id, State::Done).await;
    }
    assert_eq!(
        bench.count("scheduler.api_grants").await - spent,
        1,
        "one request for all"
    );
    assert_eq!(proposals_on_the_market(&bench).await, 5);
}

#[tokio::test]
async fn a_proposal_whose_answer_was_lost_is_found_by_a_read() {
    let bench = Bench::new().await;
    fault(&bench, "propose", "reset_after_commit", json!({})).await;
    let (_external, gig, id) = proposal(&bench).await;
    bench.work();
    until(&bench, id, State::Done).await;
    assert_eq!(proposals_on_the_market(&bench).await, 1);
    let kept = store::proposals::of_gig(&bench.desk.store, gig).await.unwrap();
    assert_eq!(kept.state, proposal::State::Submitted);
    assert_eq!(
        effects::get(&bench.desk.store, id).await.unwrap().attempts,
        1,
        "it was sent again"
    );
}

#[tokio::test]
async fn a_call_that_never_arrived_is_sent_again_after_two_absent_reads() {
    let bench = Bench::new().await;
    fault(&bench, "propose", "reset_before", json!({})).await;
    let (_external, _gig, id) = proposal(&bench).await;
    bench.work();
    until(&bench, id, State::Done).await;
    assert_eq!(proposals_on_the_market(&bench).await, 1);
    assert_eq!(effects::get(&bench.desk.store, id).await.unwrap().attempts, 2);
}

#[tokio::test]
async fn too_many_requests_is_waited_out_without_a_breach() {
    let bench = Bench::new().await;
    fault(&bench, "propose", "http_429", json!({ "retry_after": 2 })).await;
    let (_external, _gig, id) = proposal(&bench).await;
    bench.work();
    until(&bench, id, State::Done).await;
    let report = bench.market.get("/control/report").await;
    assert_eq!(report["etiquette_breaches"], json!([]), "{report}");
}

#[tokio::test]
async fn a_platform_that_wants_money_is_not_paid_but_left_alone_until_a_read_works_again() {
    let bench = Bench::new().await;
    fault(&bench, "propose", "http_402", json!({})).await;
    let (_external, _gig, id) = proposal(&bench).await;
    bench.work();
    eventually(PATIENCE, "calls wait and a human is told", async || {
        let usage = store::budget::usage(&bench.desk.store).await.unwrap();
        let notices = store::notices::standing(&bench.desk.store).await.unwrap();
        let told =
            |notice: &&store::notices::Notice| notice.kind == "marketplace_failing" && notice.body.contains("402");
        usage.iter().all(|usage| usage.breaker.is_some()) && notices.iter().filter(told).count() == 1
    })
    .await
    .unwrap();
    until(&bench, id, State::Done).await;
    assert_eq!(proposals_on_the_market(&bench).await, 1);
    let notices = store::notices::standing(&bench.desk.store).await.unwrap();
    assert!(notices.is_empty(), "{notices:?}");
}

#[tokio::test]
async fn funding_is_believed_only_after_a_read_which_brings_gig_and_amount() {
    let bench = Bench::new().await;
    let (_external, contract) = bench.contract().await;
    run_tx!(bench.desk.store, "fixture", scheduler::error::Error, |tx| {
        contracts::step(tx, contract, &Step::FundedEvent, "inbox/1", None).await
    })
    .unwrap();
    bench.work();
    eventually(PATIENCE, "the work is queued", async || {
        let filter = store::runs::Filter {
            contract_id: Some(contract),
            ..store::runs::Filter::default()
        };
        store::runs::list(&bench.desk.store, &filter, 10).await.unwrap().len() == 1
    })
    .await
    .unwrap();
    let kept = run_tx!(bench.desk.store, "look", |tx| store::contracts::lock(tx, contract)
        .await)
    .unwrap();
    assert!(kept.machine.may_spend());
    assert!(kept.gig_id.is_some());
    assert_eq!(kept.amount.0, 20_000_000);
}

/// A contract confirmed as funded, with a finished run whose delivery is wished for.
pub async fn delivery(bench: &Bench) -> (String, Uuid, Uuid) {
    let (external_id, contract) = bench.contract().await;
    let sent_at = store::observations::clock(&bench.desk.store).await.unwrap();
    let observed = Step::Observed {
        status: domain::contract::Status::Funded,
        sent_at,
    };
    let run = NewRun {
        agent: "demo".to_owned(),
        kind: domain::run::Kind::Work,
        contract_id: Some(contract),
        gig_id: None,
        natural_key: format!("work/{contract}"),
        version: "v1".to_owned(),
        revision_no: 0,
        priority: 0,
        max_attempts: 3,
        deadline: None,
        timeout: Duration::from_secs(60),
        budget_micro: 0,
        request: None,
        traceparent: None,
    };
    let deliver = payload::Deliver {
        contract_external_id: external_id.clone(),
        revision_no: 0,
        attempt: 1,
        notes: "here it is".to_owned(),
    };
    let mut new = effect(Kind::Deliver, key::deliver(contract, 0), payload::to_value(&deliver));
    let id = run_tx!(bench.desk.store, "fixture", scheduler::error::Error, |tx| {
        contracts::step(tx, contract, &observed, "read/1", None).await?;
        let mut new = new.clone();
        new.contract_id = Some(contract);
        new.run_id = Some(store::runs::insert(tx, &run).await?);
        Ok(effects::insert(tx, &new).await?)
    })
    .unwrap();
    new.contract_id = Some(contract);
    (external_id, contract, id)
}

pub async fn delivered_once(bench: &Bench, external_id: &str) {
    let report = bench.market.get("/control/report").await;
    assert_eq!(report["deliveries_by_contract"][external_id], json!(1), "{report}");
    assert_eq!(report["etiquette_breaches"], json!([]), "{report}");
}

#[tokio::test]
async fn a_delivery_whose_answer_was_lost_is_not_sent_twice() {
    let bench = Bench::new().await;
    fault(&bench, "deliver", "reset_after_commit", json!({})).await;
    let (external_id, contract, id) = delivery(&bench).await;
    bench.work();
    until(&bench, id, State::Done).await;
    delivered_once(&bench, &external_id).await;
    let kept = run_tx!(bench.desk.store, "look", |tx| store::contracts::lock(tx, contract)
        .await)
    .unwrap();
    assert_eq!(kept.machine.state, domain::contract::State::Delivered);
}

#[tokio::test]
async fn a_delivery_answered_after_our_timeout_is_not_sent_twice() {
    let bench = Bench::new().await;
    fault(&bench, "deliver", "slow", json!({ "ms": 1500, "when": "before" })).await;
    let (external_id, _contract, id) = delivery(&bench).await;
    bench.work();
    until(&bench, id, State::Done).await;
    delivered_once(&bench, &external_id).await;
}

#[tokio::test]
async fn a_courier_that_died_while_sending_is_followed_by_a_read() {
    let bench = Bench::new().await;
    let (external_id, _contract, id) = delivery(&bench).await;
    // As a courier leaves it that is killed right after its call: sending, under a lease that ends.
    run_tx!(bench.desk.store, "fixture", |tx| effects::begin(tx, id, Duration::ZERO)
        .await)
    .unwrap()
    .unwrap();
    let effect = effects::get(&bench.desk.store, id).await.unwrap();
    assert_eq!(effect.state, State::Sending);
    bench.work();
    until(&bench, id, State::Done).await;
    delivered_once(&bench, &external_id).await;
    assert_eq!(
        effects::get(&bench.desk.store, id).await.unwrap().attempts,
        2,
        "two absent reads let it be sent"
    );
}

#[tokio::test]
async fn a_disputed_contract_is_delivered_nothing() {
    let bench = Bench::new().await;
    let (external_id, contract, id) = delivery(&bench).await;
    run_tx!(bench.desk.store, "fixture", scheduler::error::Error, |tx| {
        contracts::step(tx, contract, &Step::DisputedEvent, "inbox/2", None).await
    })
    .unwrap();
    bench.work();
    until(&bench, id, State::Cancelled).await;
    let report = bench.market.get("/control/report").await;
    assert_eq!(report["deliveries_by_contract"].get(&external_id), None, "{report}");
}
