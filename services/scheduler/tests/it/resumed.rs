//! What an attempt finds of the ones before it, and how its words are kept.

use domain::run::Kind;
use rpc::v1::complete_request::Outcome;
use rpc::v1::run_event::Kind as Said;
use rpc::v1::{ClientMessage, Failed};
use serde_json::{Value, json};
use tonic::Code;

use crate::desk::Bench;
use crate::floor::{Hand, serve, sha256};
use crate::ledger::Ledger;

fn paths(job: &rpc::v1::Assignment) -> Vec<(&str, &str)> {
    let inputs = job.inputs.iter();
    inputs
        .map(|input| (input.path.as_str(), input.sha256.as_str()))
        .collect()
}

#[tokio::test]
async fn a_revision_gets_what_was_delivered_and_may_read_nothing_else() {
    let bench = Bench::new().await;
    let (contract, _run) = bench.run(Kind::Work, 0).await;
    let mut hand = Hand::new(&serve(&bench, &Ledger::default()).await).await;
    let work = hand.assignment().await;
    hand.put(&work, "report.md", b"a report").await;
    hand.put(&work, "scratch.txt", b"half a thought").await;
    let result = r#"{"type":"result","notes":"One report.","files":["report.md"]}"#.to_owned();
    hand.complete(&work, Outcome::ResultJson(result), Vec::new())
        .await
        .unwrap();
    bench.run_of(contract, Kind::Revise, 1, "v1").await;
    let revise = hand.assignment().await;
    let job: Value = serde_json::from_str(&revise.job_json).unwrap();
    let report = sha256(b"a report");
    let file = json!({
        "path": "previous/report.md", "name": "report.md", "type": "text/plain", "bytes": 8, "sha256": report,
    });
    let previous = json!({ "revision_no": 0, "notes": "One report.", "files": [file], "request": "shorter, please" });
    assert_eq!(job["previous"], previous);
    assert_eq!(paths(&revise), [("previous/report.md", report.as_str())]);
    assert_eq!(hand.fetch(&revise, &report).await.unwrap(), b"a report");
    let other = hand.fetch(&revise, &sha256(b"half a thought")).await.unwrap_err();
    assert_eq!(other.code(), Code::NotFound, "it is stored, but no input of this run");
    let stranger = rpc::v1::Assignment {
        lease_token: uuid::Uuid::now_v7().to_string(),
        ..revise
    };
    let refused = hand.fetch(&stranger, &report).await.unwrap_err();
    assert_eq!(refused.code(), Code::PermissionDenied);
}

#[tokio::test]
async fn a_resumed_run_gets_the_files_of_its_last_checkpoint() {
    let bench = Bench::new().await;
    let (_contract, run) = bench.run(Kind::Work, 0).await;
    let mut hand = Hand::new(&serve(&bench, &Ledger::default()).await).await;
    let first = hand.assignment().await;
    assert!(first.inputs.is_empty());
    hand.put(&first, "part.txt", b"half of it").await;
    let part = sha256(b"half of it");
    let checkpoint = json!({ "data": { "step": 3 }, "files": [{ "name": "part.txt", "sha256": part, "bytes": 10 }] });
    let failed = Outcome::Failed(Failed {
        reason: "exit".to_owned(),
        detail: "it broke".to_owned(),
    });
    let said = vec![Said::CheckpointJson(checkpoint.to_string())];
    hand.complete(&first, failed, said).await.unwrap();
    bench.hurry(run).await;
    let second = hand.assignment().await;
    let job: Value = serde_json::from_str(&second.job_json).unwrap();
    let file = json!({ "path": "out/part.txt", "name": "part.txt", "sha256": part, "bytes": 10 });
    assert_eq!(job["checkpoint"], json!({ "data": { "step": 3 }, "files": [file] }));
    assert_eq!(paths(&second), [("out/part.txt", part.as_str())]);
    assert_eq!(hand.fetch(&second, &part).await.unwrap(), b"half of it");
}

#[tokio::test]
async fn nul_characters_in_an_agents_words_are_left_out_and_stop_nothing() {
    let bench = Bench::new().await;
    let (_contract, run) = bench.run(Kind::Work, 0).await;
    let mut hand = Hand::new(&serve(&bench, &Ledger::default()).await).await;
    let job = hand.assignment().await;
    let said = vec![
        Said::Progress("ha\0lf".to_owned()),
        Said::Message(ClientMessage {
            text: "hel\0lo".to_owned(),
            key: "gree\0ting".to_owned(),
        }),
        Said::CheckpointJson(r#"{"data":{"na\u0000me":"va\u0000lue"},"files":[]}"#.to_owned()),
    ];
    let result = r#"{"type":"result","notes":"do\u0000ne","files":[]}"#.to_owned();
    hand.complete(&job, Outcome::ResultJson(result), said).await.unwrap();
    let kept = bench
        .columns(run, "state, result ->> 'notes' AS notes, checkpoint -> 'data' AS data")
        .await;
    assert_eq!(
        kept,
        json!({ "state": "succeeded", "notes": "done", "data": { "name": "value" } })
    );
    let message = bench
        .rows("SELECT payload ->> 'text' AS text FROM scheduler.effects WHERE kind = 'message'")
        .await;
    assert_eq!(message, [json!({ "text": "hello" })]);
    assert_eq!(bench.count("scheduler.run_events WHERE body = 'half'").await, 1);
}
