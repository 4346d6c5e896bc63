//! Runs on their way to an executor and back: what stops them, and what that costs them.

use domain::agent_file::AgentFile;
use domain::run::Kind;
use rpc::v1::complete_request::Outcome;
use rpc::v1::run_event::Kind as Said;
use rpc::v1::{Assignment, CannotDo, HandedBack, RetryLater, Waiting};
use scheduler::billing::Billing;
use serde_json::{Value, json};
use store::messages::Side;
use store::{run_tx, runs};
use testkit::eventually;

use crate::desk::{Bench, PATIENCE};
use crate::floor::{Hand, serve, serve_with, sha256};
use crate::ledger::Ledger;

fn handed_back(reason: &str) -> Outcome {
    Outcome::HandedBack(HandedBack {
        reason: reason.to_owned(),
    })
}

#[tokio::test]
async fn a_run_billing_always_refuses_pauses_and_is_parked_with_a_notice() {
    let bench = Bench::new().await;
    let ledger = Ledger::default();
    ledger.0.lock().unwrap().refuses = true;
    let (contract, run) = bench.run(Kind::Work, 0).await;
    let _hand = Hand::new(&serve(&bench, &ledger).await).await;
    let columns = "state, hand_backs > 0 AS counted, failures, not_before > updated_at AS pauses";
    let back = json!({ "state": "queued", "counted": true, "failures": 0, "pauses": true });
    bench.run_is(run, columns, back).await;
    bench
        .change("UPDATE scheduler.runs SET hand_backs = 11, not_before = now()")
        .await;
    let parked = json!({ "state": "parked", "hand_backs": 12, "error": "billing: not for this one" });
    bench.run_is(run, "state, hand_backs, error", parked).await;
    let notices = bench
        .rows("SELECT body FROM scheduler.notices WHERE kind = 'run'")
        .await;
    assert!(notices[0]["body"].as_str().unwrap().contains("not for this one"));
    let told = bench
        .count(&format!(
            "scheduler.contracts WHERE id = '{contract}' AND attention IS NOT NULL"
        ))
        .await;
    assert_eq!(told, 1);
}

#[tokio::test]
async fn an_outage_of_billing_costs_a_run_a_pause_and_nothing_else() {
    let bench = Bench::new().await;
    let (_contract, run) = bench.run(Kind::Work, 0).await;
    // Nobody listens there.
    let (billing, keep_resolving) = Billing::open(&bench.desk.config.billing).unwrap();
    tokio::task::spawn(keep_resolving);
    let _hand = Hand::new(&serve_with(&bench, billing).await).await;
    let columns = "state, attempt, hand_backs, failures, not_before > now() AS pauses";
    let off = json!({ "state": "queued", "attempt": 1, "hand_backs": 0, "failures": 0, "pauses": true });
    bench.run_is(run, columns, off).await;
}

#[tokio::test]
async fn a_drain_costs_a_run_nothing_and_other_hand_backs_are_counted() {
    let bench = Bench::new().await;
    let (_contract, run) = bench.run(Kind::Work, 0).await;
    let mut hand = Hand::new(&serve(&bench, &Ledger::default()).await).await;
    for (reason, expected) in [("drain", 0), ("drain", 0), ("lease_lost", 1), ("no free slot", 1)] {
        let job = hand.assignment().await;
        hand.complete(&job, handed_back(reason), Vec::new()).await.unwrap();
        let found = bench.columns(run, "hand_backs, failures").await;
        assert_eq!(found, json!({ "hand_backs": expected, "failures": 0 }), "{reason}");
    }
    assert_eq!(hand.assignment().await.attempt, 5);
}

/// A version whose runs may spend this much in a day, all together.
async fn limited(bench: &Bench, per_day_usd: &str) {
    let text = format!("name = \"demo\"\n[run]\ncommand = [\"true\"]\n[budget]\nper_day_usd = {per_day_usd}\n");
    let spec = AgentFile::parse(&text).unwrap().with_defaults(true);
    let file = serde_json::to_value(&spec).unwrap();
    let put = run_tx!(bench.desk.store, "fixture", |tx| {
        store::bundles::put(tx, "v2", "demo", 1, &file, None).await
    });
    put.unwrap();
}

/// What its job file says may be spent.
fn remaining(job: &Assignment) -> i64 {
    let file: Value = serde_json::from_str(&job.job_json).unwrap();
    file["budget"]["remaining_micro_usd"].as_i64().unwrap()
}

#[tokio::test]
async fn runs_assigned_together_share_the_days_money_and_the_next_waits_for_one_to_end() {
    let bench = Bench::new().await;
    let ledger = Ledger::default();
    limited(&bench, "10.0").await;
    let mut runs = Vec::new();
    for _ in 0..4 {
        runs.push(bench.run(Kind::Work, 0).await.1);
    }
    bench.change("UPDATE scheduler.runs SET version = 'v2'").await;
    let channel = serve(&bench, &ledger).await;
    let mut hands = [
        Hand::new(&channel).await,
        Hand::new(&channel).await,
        Hand::new(&channel).await,
    ];
    let mut given = Vec::new();
    let mut jobs = Vec::new();
    for hand in &mut hands {
        let job = hand.assignment().await;
        given.push(remaining(&job));
        jobs.push(job);
    }
    given.sort_unstable();
    assert_eq!(given, [1_000_000, 4_500_000, 4_500_000]);
    let mut fourth = Hand::new(&channel).await;
    let begun: Vec<&str> = jobs.iter().map(|job| job.run_id.as_str()).collect();
    let left = runs
        .into_iter()
        .find(|run| !begun.contains(&run.to_string().as_str()))
        .unwrap();
    let columns = "state, hand_backs, not_before > now() AND not_before < now() + INTERVAL '1 minute' AS soon";
    let off = json!({ "state": "queued", "hand_backs": 0, "soon": true });
    bench.run_is(left, columns, off).await;
    assert_eq!(bench.count("scheduler.notices WHERE kind = 'budget'").await, 0);
    // One ends without having spent anything.
    let freed = remaining(&jobs[0]);
    let cannot = Outcome::CannotDo(CannotDo {
        reason: "no".to_owned(),
    });
    hands[0].complete(&jobs[0], cannot, Vec::new()).await.unwrap();
    let ended = async || ledger.0.lock().unwrap().rights.len() == 2;
    eventually(PATIENCE, "its share to be free", ended).await.unwrap();
    bench.hurry(left).await;
    let job = tokio::select! {
        job = fourth.assignment() => job,
        job = hands[0].assignment() => job,
    };
    assert_eq!((job.run_id.clone(), remaining(&job)), (left.to_string(), freed));
}

#[tokio::test]
async fn a_late_end_of_an_attempt_leaves_the_next_ones_right_alone() {
    let bench = Bench::new().await;
    let ledger = Ledger::default();
    let (_contract, run) = bench.run(Kind::Work, 0).await;
    let mut hand = Hand::new(&serve(&bench, &ledger).await).await;
    let job = hand.assignment().await;
    hand.complete(&job, handed_back("drain"), Vec::new()).await.unwrap();
    assert_eq!(hand.assignment().await.attempt, 2);
    let closed = async || !ledger.0.lock().unwrap().closed.is_empty();
    eventually(PATIENCE, "the first attempt to be closed", closed)
        .await
        .unwrap();
    let rights = ledger.0.lock().unwrap().rights.clone();
    assert_eq!(
        rights[&run.to_string()].0,
        2,
        "its right was ended with the first one's"
    );
}

#[tokio::test]
async fn with_the_days_money_used_up_a_run_waits_for_midnight_and_it_is_said_once() {
    let bench = Bench::new().await;
    let ledger = Ledger::default();
    limited(&bench, "5.0").await;
    let (contract, first) = bench.run(Kind::Work, 0).await;
    bench.change("UPDATE scheduler.runs SET version = 'v2'").await;
    ledger.0.lock().unwrap().today = 4_900_000;
    let mut hand = Hand::new(&serve(&bench, &ledger).await).await;
    let columns = "state, hand_backs, not_before >= date_trunc('day', now() AT TIME ZONE 'UTC') AT TIME ZONE 'UTC' \
                   + INTERVAL '1 day' - INTERVAL '1 minute' AS tomorrow";
    let off = json!({ "state": "queued", "hand_backs": 0, "tomorrow": true });
    bench.run_is(first, columns, off.clone()).await;
    let second = bench.run_of(contract, Kind::Revise, 1, "v2").await;
    bench.run_is(second, columns, off).await;
    assert_eq!(bench.count("scheduler.notices WHERE kind = 'budget'").await, 1);
    assert!(ledger.0.lock().unwrap().opened.is_empty());
    ledger.0.lock().unwrap().today = 2_000_000;
    bench.hurry(first).await;
    let job = hand.assignment().await;
    assert_eq!(job.run_id, first.to_string());
    assert_eq!(remaining(&job), 3_000_000);
    assert_eq!(ledger.0.lock().unwrap().rights[&first.to_string()].1, 3_000_000);
    assert_eq!(
        bench
            .count("scheduler.notices WHERE kind = 'budget' AND resolved_at IS NULL")
            .await,
        0
    );
}

#[tokio::test]
async fn a_run_called_off_at_work_may_spend_no_more() {
    let bench = Bench::new().await;
    let ledger = Ledger::default();
    let (contract, run) = bench.run(Kind::Work, 0).await;
    let mut hand = Hand::new(&serve(&bench, &ledger).await).await;
    let job = hand.assignment().await;
    let off = run_tx!(bench.desk.store, "cancel", |tx| {
        runs::cancel_of_contract(tx, contract, "the contract is disputed").await
    });
    assert_eq!(off.unwrap(), 1);
    hand.told_to_stop(&job).await;
    let closed = async || ledger.0.lock().unwrap().closed.contains(&run.to_string());
    eventually(PATIENCE, "its right to end", closed).await.unwrap();
    ledger.0.lock().unwrap().closed.clear();
    let late = hand.complete(&job, handed_back("lease_lost"), Vec::new()).await;
    assert_eq!(late.unwrap_err().code(), tonic::Code::FailedPrecondition);
    assert!(ledger.0.lock().unwrap().closed.contains(&run.to_string()));
}

#[tokio::test]
async fn a_wait_sees_the_messages_that_came_meanwhile() {
    let bench = Bench::new().await;
    let (contract, run) = bench.run(Kind::Work, 0).await;
    let mut hand = Hand::new(&serve(&bench, &Ledger::default()).await).await;
    let wait = || {
        Outcome::Waiting(Waiting {
            until: "message".to_owned(),
            timeout_secs: 3600,
        })
    };
    let job = hand.assignment().await;
    let say = run_tx!(bench.desk.store, "fixture", |tx| {
        store::messages::put(tx, contract, Side::Client, "m-1", "blue, please", None).await
    });
    say.unwrap();
    hand.complete(&job, wait(), Vec::new()).await.unwrap();
    let again = hand.assignment().await;
    assert!(again.job_json.contains("blue, please"));
    bench
        .change("UPDATE scheduler.messages SET at = now() - INTERVAL '1 hour'")
        .await;
    hand.complete(&again, wait(), Vec::new()).await.unwrap();
    assert_eq!(bench.columns(run, "state").await, json!({ "state": "waiting" }));
}

#[tokio::test]
async fn files_sent_with_messages_are_told_to_the_agent() {
    let bench = Bench::with(&[("ATTACHMENTS__PATIENCE", "0s")]).await;
    let sent = json!([{ "url": "https://files.example.com/1", "name": "a.csv", "mime": "text/csv", "size": 3 }]);
    let lost = json!([{ "url": "", "name": "b.csv", "mime": "", "size": 0 }]);
    let channel = serve(&bench, &Ledger::default()).await;
    for files in [&sent, &lost] {
        let (contract, _run) = bench.run(Kind::Work, 0).await;
        let put = run_tx!(bench.desk.store, "fixture", |tx| {
            store::messages::put(tx, contract, Side::Client, "m-1", "as here", Some(files)).await
        });
        put.unwrap();
        let mut hand = Hand::new(&channel).await;
        let job = hand.assignment().await;
        let file: Value = serde_json::from_str(&job.job_json).unwrap();
        assert_eq!(&file["messages"][0]["attachments"], files);
        assert!(
            file["attachments"][0]["error"].is_string(),
            "why it is missing: {}",
            file["attachments"]
        );
        let cannot = Outcome::CannotDo(CannotDo {
            reason: "no".to_owned(),
        });
        hand.complete(&job, cannot, Vec::new()).await.unwrap();
    }
}

#[tokio::test]
async fn a_run_put_off_beyond_its_deadline_is_started_while_one_attempt_fits_and_people_are_told() {
    let bench = Bench::new().await;
    let (_contract, run) = bench.run(Kind::Work, 0).await;
    bench
        .change("UPDATE scheduler.runs SET timeout_secs = 1800, deadline = now() + INTERVAL '2 hours'")
        .await;
    let mut hand = Hand::new(&serve(&bench, &Ledger::default()).await).await;
    let month = 30 * 24 * 3600;
    let outcomes = [
        Outcome::RetryLater(RetryLater {
            after_secs: month,
            ..RetryLater::default()
        }),
        Outcome::Waiting(Waiting {
            timeout_secs: month,
            ..Waiting::default()
        }),
    ];
    for outcome in outcomes {
        let job = hand.assignment().await;
        hand.complete(&job, outcome, Vec::new()).await.unwrap();
        let columns =
            "not_before BETWEEN deadline - INTERVAL '31 minutes' AND deadline - INTERVAL '29 minutes' AS in_time";
        assert_eq!(bench.columns(run, columns).await, json!({ "in_time": true }));
        bench.hurry(run).await;
        bench
            .change("UPDATE scheduler.runs SET state = 'queued' WHERE state = 'waiting'")
            .await;
    }
    assert_eq!(bench.count("scheduler.notices WHERE kind = 'run_late'").await, 1);
    // Too late for a whole attempt: its wish stands, or it would be woken again and again.
    let job = hand.assignment().await;
    bench
        .change("UPDATE scheduler.runs SET deadline = now() + INTERVAL '10 minutes'")
        .await;
    hand.complete(
        &job,
        Outcome::Waiting(Waiting {
            timeout_secs: month,
            ..Waiting::default()
        }),
        Vec::new(),
    )
    .await
    .unwrap();
    let columns = "state, not_before > now() + INTERVAL '29 days' AS as_wished";
    let waits = json!({ "state": "waiting", "as_wished": true });
    assert_eq!(bench.columns(run, columns).await, waits);
}

#[tokio::test]
async fn a_checkpoint_names_only_what_its_run_sent_up() {
    let bench = Bench::new().await;
    let mut hand = Hand::new(&serve(&bench, &Ledger::default()).await).await;
    let (_contract, _first) = bench.run(Kind::Work, 0).await;
    let theirs = hand.assignment().await;
    hand.put(&theirs, "theirs.txt", b"another client's").await;
    let done = Outcome::ResultJson(json!({ "notes": "done", "files": ["theirs.txt"] }).to_string());
    hand.complete(&theirs, done, Vec::new()).await.unwrap();
    let (_contract, run) = bench.run(Kind::Work, 0).await;
    let job = hand.assignment().await;
    assert_eq!(job.run_id, run.to_string());
    hand.put(&job, "own.txt", b"own").await;
    let file = |name: &str, body: &[u8]| json!({ "name": name, "sha256": sha256(body), "bytes": body.len() });
    let checkpoint = json!({ "data": 1, "files": [file("own.txt", b"own"), file("x.txt", b"another client's")] });
    let said = vec![Said::CheckpointJson(checkpoint.to_string())];
    hand.complete(&job, handed_back("drain"), said).await.unwrap();
    let again = hand.assignment().await;
    let paths: Vec<&str> = again.inputs.iter().map(|input| input.path.as_str()).collect();
    assert_eq!(paths, ["out/own.txt"]);
    assert!(hand.fetch(&again, &sha256(b"another client's")).await.is_err());
}
