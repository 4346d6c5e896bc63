//! What an operator does himself: words to the client, calling a run off, an agent that stays where it was taken back to.

use domain::run::Kind;
use rpc::v1::agents_client::AgentsClient;
use rpc::v1::contracts_client::ContractsClient;
use rpc::v1::{CancelRunRequest, PutAgentRequest, RollbackRequest, SendMessageRequest};
use serde_json::json;
use store::run_tx;
use tonic::Code;

use crate::api::{OPERATOR, VIEWER, parts, serve, sha256, with};
use crate::desk::Bench;
use crate::floor::{self, Hand};
use crate::ledger::Ledger;

fn words(contract: uuid::Uuid, text: &str, key: &str) -> SendMessageRequest {
    SendMessageRequest {
        contract_id: contract.to_string(),
        text: text.to_owned(),
        key: key.to_owned(),
    }
}

#[tokio::test]
async fn a_question_handed_over_is_answered_by_hand_once_per_key() {
    let bench = Bench::new().await;
    let (contract, _run) = bench.run(Kind::Work, 0).await;
    run_tx!(bench.desk.store, "fixture", scheduler::error::Error, |tx| {
        scheduler::contracts::hand_over(tx, contract, domain::message::HandOver::Question).await
    })
    .unwrap();
    let channel = serve(&bench).await;
    let mut client = ContractsClient::new(with(&channel, OPERATOR));
    let mut send = async |text: &str, key: &str| client.send_message(words(contract, text, key)).await;
    let first = send("By Friday.", "k").await.unwrap().into_inner();
    assert_eq!((first.kind.as_str(), first.state.as_str()), ("message", "pending"));
    assert_eq!(send("By Friday.", "k").await.unwrap().into_inner().id, first.id);
    let told = "scheduler.notices WHERE kind = 'messages' AND resolved_at IS NULL";
    assert_eq!(bench.count(told).await, 0, "the question is answered");
    assert_eq!(bench.count("scheduler.contracts WHERE attention IS NOT NULL").await, 0);
    // What looks like a key waits like everything else that does.
    let key = "ghp_a1B2c3D4e5F6g7H8i9J0k1L2m3N4o5P6q7R8";
    assert_eq!(send(key, "leak").await.unwrap().into_inner().state, "held");
    for wrong in [
        send("", "x").await,
        send("x", "").await,
        send(&"x".repeat(5001), "y").await,
    ] {
        assert_eq!(wrong.unwrap_err().code(), Code::InvalidArgument);
    }
    bench.change("UPDATE scheduler.contracts SET state = 'cancelled'").await;
    assert_eq!(send("x", "z").await.unwrap_err().code(), Code::FailedPrecondition);
    let mut viewer = ContractsClient::new(with(&channel, VIEWER));
    let refused = viewer.send_message(words(contract, "x", "v")).await;
    assert_eq!(refused.unwrap_err().code(), Code::PermissionDenied);
}

#[tokio::test]
async fn a_run_called_off_is_stopped_and_its_contract_says_how_to_go_on() {
    let bench = Bench::new().await;
    let ledger = Ledger::default();
    let (contract, run) = bench.run(Kind::Work, 0).await;
    let channel = floor::serve(&bench, &ledger).await;
    let mut hand = Hand::new(&channel).await;
    let job = hand.assignment().await;
    let mut client = ContractsClient::new(with(&channel, OPERATOR));
    let request = CancelRunRequest {
        id: run.to_string(),
        reason: "a wrong brief".to_owned(),
    };
    let shown = client.cancel_run(request.clone()).await.unwrap().into_inner();
    assert_eq!(shown.state, "cancelled");
    hand.told_to_stop(&job).await;
    // The command ends its right, and so may the heartbeat that stops it: that changes nothing.
    let closed = ledger.0.lock().unwrap().closed.clone();
    assert!(
        !closed.is_empty() && closed.iter().all(|closed| *closed == run.to_string()),
        "it may call no model any more: {closed:?}"
    );
    let why = store::contracts::get(&bench.desk.store, contract)
        .await
        .unwrap()
        .attention;
    assert!(why.unwrap().contains("steward contracts retry"));
    let again = client.cancel_run(request).await;
    assert_eq!(again.unwrap_err().code(), Code::FailedPrecondition, "it is over");
    let retry = rpc::v1::RetryContractRequest {
        id: contract.to_string(),
        reason: String::new(),
    };
    assert_eq!(client.retry_contract(retry).await.unwrap().into_inner().state, "queued");
    let audited = bench
        .rows("SELECT action FROM scheduler.audit ORDER BY id LIMIT 1")
        .await;
    assert_eq!(audited, [json!({ "action": "runs.cancel" })]);
}

#[tokio::test]
async fn a_start_of_the_stack_undoes_no_rollback_and_a_change_of_the_folder_does() {
    let bench = Bench::new().await;
    let channel = serve(&bench).await;
    let mut agents = AgentsClient::new(with(&channel, OPERATOR));
    let bundles: [&'static [u8]; 3] = [b"first", b"second", b"third"];
    let put = |bytes: &[u8], keep_rollback| PutAgentRequest {
        file: "name = \"second\"\n[run]\ncommand = [\"true\"]\n".to_owned(),
        bundle_sha256: sha256(bytes),
        simulated: true,
        label: String::new(),
        keep_rollback,
    };
    for bytes in bundles {
        agents
            .put_bundle(tokio_stream::iter(parts(bytes, sha256(bytes))))
            .await
            .unwrap();
    }
    for bytes in &bundles[..2] {
        agents.put_agent(put(bytes, true)).await.unwrap();
    }
    let back = RollbackRequest {
        agent: "second".to_owned(),
        version: String::new(),
    };
    agents.rollback(back).await.unwrap();
    let started = agents.put_agent(put(bundles[1], true)).await.unwrap().into_inner();
    assert_eq!(started.version, sha256(bundles[0]));
    let changed = agents.put_agent(put(bundles[2], true)).await.unwrap().into_inner();
    assert_eq!(changed.version, sha256(bundles[2]));
    let asked_for = agents.put_agent(put(bundles[1], false)).await.unwrap().into_inner();
    assert_eq!(asked_for.version, sha256(bundles[1]));
}
