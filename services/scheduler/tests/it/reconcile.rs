//! What no webhook told is found by reading.

use std::sync::Arc;

use chrono::Utc;
use domain::contract::{Command, State};
use scheduler::contracts::step;
use scheduler::marketplace::Marketplace;
use scheduler::objects::Objects;
use scheduler::payload;
use scheduler::reconcile::Reader;
use serde_json::json;
use store::{contracts, run_tx};
use testkit::eventually;

use crate::attachments;
use crate::desk::{Bench, PATIENCE};
use crate::floor;
use crate::ledger::Ledger;
use crate::webhooks::posted;

fn reader(bench: &Bench) -> Reader {
    let market = Arc::new(Marketplace::new(Arc::clone(&bench.desk)).unwrap());
    Reader::new(Arc::clone(&bench.desk), market)
}

#[tokio::test]
async fn a_contract_no_webhook_told_of_is_found_and_its_work_is_queued() {
    let bench = Bench::new().await;
    let (external, id) = bench.contract().await;
    bench.change("DELETE FROM scheduler.contracts").await;
    let every = reader(&bench).contracts("demo").await.unwrap();
    assert_eq!(every, bench.desk.config.reconcile.contracts_every, "a contract is open");
    let found = contracts::find(&bench.desk.store, &external).await.unwrap();
    assert_ne!(found.id, id);
    assert_eq!(found.machine.state, State::Funded);
    assert!(found.machine.funding_confirmed);
    // Its gig is not known: the courier reads it, and then the work is queued.
    bench.work();
    eventually(PATIENCE, "the work is queued", async || {
        bench
            .count("scheduler.runs WHERE kind = 'work' AND state = 'queued'")
            .await
            == 1
    })
    .await
    .unwrap();
    assert_eq!(bench.count("scheduler.gigs WHERE description <> ''").await, 1);
}

#[tokio::test]
async fn a_second_read_changes_nothing_and_none_is_made_while_nothing_is_open() {
    let bench = Bench::new().await;
    bench.contract().await;
    let reader = reader(&bench);
    reader.contracts("demo").await.unwrap();
    let before = bench.count("scheduler.contract_events").await;
    reader.contracts("demo").await.unwrap();
    assert_eq!(bench.count("scheduler.contract_events").await, before);
    let grants = bench.count("scheduler.api_grants").await;
    reader.proposals("demo").await.unwrap();
    assert_eq!(bench.count("scheduler.api_grants").await, grants, "no proposal is open");
}

#[tokio::test]
async fn what_became_of_a_bid_is_learned_without_webhooks() {
    let bench = Bench::new().await;
    let (external, _gig) = bench.gig().await;
    bench.webhook(posted(&external), false).await;
    bench.take_in().await;
    bench.work();
    eventually(PATIENCE, "the bid is submitted", async || {
        bench.count("scheduler.proposals WHERE state = 'submitted'").await == 1
    })
    .await
    .unwrap();
    bench
        .market
        .post(&format!("/control/gigs/{external}/accept"), json!({}))
        .await;
    reader(&bench).proposals("demo").await.unwrap();
    assert_eq!(bench.count("scheduler.proposals WHERE state = 'accepted'").await, 1);
    reader(&bench).contracts("demo").await.unwrap();
    let rows = bench.rows("SELECT c.state, p.state AS proposal FROM scheduler.contracts c JOIN scheduler.proposals p ON p.id = c.proposal_id").await;
    assert_eq!(rows, [json!({ "state": "accepted", "proposal": "accepted" })]);
}

#[tokio::test]
async fn a_gig_whose_webhook_was_lost_is_found_and_bid_on_once() {
    let bench = Bench::new().await;
    let gig = json!({ "count": 1, "budget_usdc": 20, "category": "code", "skills_required": ["python"] });
    let posted = bench.market.post("/control/gigs", gig).await;
    let reader = reader(&bench);
    reader.gigs("demo").await.unwrap();
    bench.work();
    eventually(PATIENCE, "the bid is submitted", async || {
        bench.count("scheduler.proposals WHERE state = 'submitted'").await == 1
    })
    .await
    .unwrap();
    let told = bench.webhook(crate::webhooks::posted(posted["gig_ids"][0].as_str().unwrap()), false);
    let told = told.await;
    bench.take_in().await;
    assert_eq!(bench.outcome(told).await, "seen before");
    let grants = bench.count("scheduler.api_grants WHERE class = 'search'").await;
    reader.gigs("demo").await.unwrap();
    let report = bench.market.get("/control/report").await;
    assert_eq!(report["proposals"], json!(1), "{report}");
    let asked = bench.count("scheduler.api_grants WHERE class = 'search'").await - grants;
    assert_eq!(asked, 1, "a page without news is the last");
}

#[tokio::test]
async fn gigs_are_not_read_for_an_agent_that_does_not_bid() {
    let bench = Bench::new().await;
    bench.gig().await;
    bench.change("UPDATE scheduler.agents SET paused = TRUE").await;
    reader(&bench).gigs("demo").await.unwrap();
    assert_eq!(bench.count("scheduler.api_grants").await, 0);
}

#[tokio::test]
async fn two_reads_after_a_delivery_open_a_revision_and_an_older_one_none() {
    let bench = Bench::new().await;
    let (external, id) = bench.contract().await;
    let reader = reader(&bench);
    reader.contracts("demo").await.unwrap();
    let proven = Command::DeliveryProven {
        revision_no: 0,
        at: Utc::now(),
    };
    // The marketplace still says "funded": for it nothing was delivered.
    run_tx!(bench.desk.store, "fixture", scheduler::error::Error, |tx| {
        step(tx, id, &proven, "test", None).await
    })
    .unwrap();
    reader.contracts("demo").await.unwrap();
    assert_eq!(
        bench.count("scheduler.runs WHERE kind = 'revise'").await,
        0,
        "one read may be old"
    );
    reader.contracts("demo").await.unwrap();
    let contract = contracts::find(&bench.desk.store, &external).await.unwrap();
    assert_eq!(
        (contract.machine.state, contract.machine.revision_no),
        (State::RevisionRequested, 1)
    );
    assert_eq!(
        bench
            .count("scheduler.runs WHERE kind = 'revise' AND revision_no = 1")
            .await,
        1
    );
}

#[tokio::test]
async fn duties_are_done_by_whoever_claims_them_and_given_back() {
    let bench = Bench::new().await;
    bench.contract().await;
    let reader = Arc::new(reader(&bench));
    let billing = floor::books(&bench, &Ledger::default()).await;
    for _replica in 0..2 {
        let means = scheduler::duties::Means {
            reader: Arc::clone(&reader),
            fetcher: Arc::new(attachments::fetcher(&bench).await),
            objects: Objects::open(&bench.desk.config.objects.dir).await.unwrap(),
            billing: billing.clone(),
        };
        tokio::task::spawn(scheduler::duties::run(Arc::clone(&bench.desk), means));
    }
    // Searches yield to what a read wished for, until it is done.
    bench.work();
    // Proposals, contracts, messages, their files, deliveries, providers, hours and retention; gigs and the canary are due later.
    eventually(PATIENCE, "every duty was done", async || {
        bench
            .count("scheduler.duties WHERE last_done_at IS NOT NULL AND token IS NULL AND due_at > now()")
            .await
            == 8
    })
    .await
    .unwrap();
    let found = bench.count("scheduler.contracts WHERE funding_confirmed").await;
    assert_eq!(found, 1);
}

#[tokio::test]
async fn what_was_sent_with_a_message_is_learned_from_its_thread() {
    let bench = Bench::new().await;
    let (external, contract) = bench.contract().await;
    let said = format!("/control/contracts/{external}/message");
    let file = json!({ "content": "as here", "attachment_text": "a,b", "attachment_name": "sample.csv", "attachment_type": "text/csv" });
    for message in [json!({ "content": "as here" }), file, json!({ "content": "thank you" })] {
        bench.market.post(&said, message.clone()).await;
        let told = json!({ "contract_id": external, "sender_type": "client", "message": message["content"] });
        assert!(bench.told("message.received", told).await.starts_with("message"));
    }
    let idle = reader(&bench).messages("demo").await.unwrap();
    assert_eq!(idle, bench.desk.config.reconcile.contracts_idle_every, "all were found");
    let thread = store::messages::list(&bench.desk.store, contract).await.unwrap();
    let files: Vec<_> = thread
        .iter()
        .map(|message| payload::attachments(message.attachments.as_ref()))
        .collect();
    assert_eq!(files.iter().map(Vec::len).collect::<Vec<_>>(), [0, 1, 0]);
    let file = &files[1][0];
    assert_eq!(
        (file.name.as_str(), file.mime.as_str(), file.size),
        ("sample.csv", "text/csv", 3)
    );
    assert!(file.is_readable(), "{file:?}");
    let grants = bench.count("scheduler.api_grants").await;
    reader(&bench).messages("demo").await.unwrap();
    assert_eq!(
        bench.count("scheduler.api_grants").await,
        grants,
        "nothing is left to be known"
    );
}

#[tokio::test]
async fn a_message_hastens_the_read_of_what_was_sent_with_it() {
    let bench = Bench::new().await;
    let (external, _contract) = bench.contract().await;
    let later = std::time::Duration::from_secs(3600);
    run_tx!(bench.desk.store, "fixture", |tx| {
        store::duties::ensure_later(tx, scheduler::reconcile::MESSAGES, "demo", later).await
    })
    .unwrap();
    let told = json!({ "contract_id": external, "sender_type": "client", "message": "see the file" });
    bench.told("message.received", told).await;
    let due = bench.count("scheduler.duties WHERE duty = 'reconcile_messages' AND due_at <= now()");
    assert_eq!(due.await, 1);
}

#[tokio::test]
async fn a_walk_goes_on_behind_pages_that_are_lost() {
    let bench = Bench::new().await;
    bench.contract().await;
    bench.change("DELETE FROM scheduler.contracts").await;
    let lost = json!([{ "on": "list", "kind": "http_502_html", "rate": 1.0, "count": 2, "seed": 1 }]);
    bench.market.put("/control/faults", lost).await;
    reader(&bench).contracts("demo").await.unwrap();
    assert_eq!(bench.count("scheduler.contracts WHERE state = 'funded'").await, 1);
}
