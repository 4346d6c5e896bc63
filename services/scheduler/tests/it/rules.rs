//! What the marketplace would refuse never goes out; the attempt fails, and the next one is told why.

use domain::run::Kind;
use rpc::v1::Assignment;
use rpc::v1::complete_request::Outcome;
use serde_json::{Value, json};

use crate::desk::Bench;
use crate::floor::{Hand, serve};
use crate::ledger::Ledger;

fn result(files: &[&str]) -> Outcome {
    Outcome::ResultJson(json!({ "type": "result", "notes": "n", "files": files }).to_string())
}

fn failure(job: &Assignment) -> Value {
    let job: Value = serde_json::from_str(&job.job_json).unwrap();
    job["failure"].clone()
}

#[tokio::test]
async fn a_delivery_against_the_rules_fails_the_attempt_and_the_last_one_parks() {
    let bench = Bench::with(&[("OBJECTS__DELIVERY_FILES", "2")]).await;
    let (contract, run) = bench.run(Kind::Work, 0).await;
    let mut hand = Hand::new(&serve(&bench, &Ledger::default()).await).await;
    let first = hand.assignment().await;
    assert_eq!(failure(&first), Value::Null);
    hand.put(&first, "tool.txt", b"\x7fELF\x02\x01\x01").await;
    hand.put(&first, "empty.md", b"").await;
    // What only a checkpoint holds is nobody's business.
    hand.put(&first, "state.bin", b"MZ\x90\0").await;
    hand.complete(&first, result(&["tool.txt", "empty.md"]), Vec::new())
        .await
        .unwrap();
    let told = bench.columns(run, "state, failures, error").await;
    assert_eq!((&told["state"], &told["failures"]), (&json!("retrying"), &json!(1)));
    let why = told["error"].as_str().unwrap();
    assert!(
        why.starts_with("delivery: ") && why.contains("tool.txt is a program") && why.contains("empty.md is empty")
    );
    for files in [["a", "b", "c"], ["a", "b", "c.pdf"]] {
        bench.hurry(run).await;
        let job = hand.assignment().await;
        assert!(failure(&job).as_str().unwrap().starts_with("delivery: "), "it is told");
        for name in files {
            hand.put(&job, name, b"words").await;
        }
        hand.complete(&job, result(&files), Vec::new()).await.unwrap();
    }
    let parked = bench.columns(run, "state, failures").await;
    assert_eq!(parked, json!({ "state": "parked", "failures": 3 }));
    assert_eq!(
        bench
            .count("scheduler.effects WHERE kind IN ('upload', 'deliver')")
            .await,
        0
    );
    let attention = store::contracts::get(&bench.desk.store, contract)
        .await
        .unwrap()
        .attention
        .unwrap();
    assert!(
        attention.contains("at most 2 are taken") && attention.contains("c.pdf is named like"),
        "{attention}"
    );
}

#[tokio::test]
async fn a_delivery_within_the_rules_goes_out_once_however_often_it_is_told() {
    let bench = Bench::new().await;
    let (_contract, run) = bench.run(Kind::Work, 0).await;
    let mut hand = Hand::new(&serve(&bench, &Ledger::default()).await).await;
    let job = hand.assignment().await;
    hand.put(&job, "report.md", b"# Report").await;
    for _ in 0..2 {
        hand.complete(&job, result(&["report.md"]), Vec::new()).await.unwrap();
    }
    assert_eq!(bench.columns(run, "state").await, json!({ "state": "succeeded" }));
    assert_eq!(bench.count("scheduler.effects WHERE kind = 'deliver'").await, 1);
}

#[tokio::test]
async fn what_a_review_did_not_accept_waits_for_a_human_and_says_why() {
    let bench = Bench::new().await;
    let (_contract, run) = bench.run(Kind::Work, 0).await;
    let mut hand = Hand::new(&serve(&bench, &Ledger::default()).await).await;
    let job = hand.assignment().await;
    hand.put(&job, "report.md", b"# Report").await;
    let why = "the review by m came to no verdict: it answered 503";
    let result = json!({ "type": "result", "notes": "n", "files": ["report.md"], "hold": why });
    hand.complete(&job, Outcome::ResultJson(result.to_string()), Vec::new())
        .await
        .unwrap();
    assert_eq!(bench.columns(run, "state").await, json!({ "state": "succeeded" }));
    for (what, rows) in [
        (
            format!("effects WHERE kind = 'upload' AND state = 'held' AND error = '{why}'"),
            1,
        ),
        ("effects WHERE kind = 'deliver' AND state = 'blocked'".to_owned(), 1),
        (format!("notices WHERE resolved_at IS NULL AND body LIKE '%{why}%'"), 1),
    ] {
        assert_eq!(bench.count(&format!("scheduler.{what}")).await, rows, "{what}");
    }
}
