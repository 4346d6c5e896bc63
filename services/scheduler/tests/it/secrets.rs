//! What looks like a secret in what an agent made waits for a human.

use domain::run::Kind;
use rpc::v1::complete_request::Outcome;
use rpc::v1::contracts_client::ContractsClient;
use rpc::v1::operations_client::OperationsClient;
use rpc::v1::run_event::Kind as Said;
use rpc::v1::{ClientMessage, DecideEffectRequest, RetryContractRequest};
use secrecy::ExposeSecret as _;
use serde_json::{Value, json};

use crate::api::{OPERATOR, with};
use crate::desk::Bench;
use crate::floor::{Hand, serve};
use crate::ledger::Ledger;

const HELD: &str = "scheduler.notices WHERE kind = 'secret_held_back' AND resolved_at IS NULL";

fn message(text: &str) -> Said {
    Said::Message(ClientMessage {
        text: text.to_owned(),
        key: String::new(),
    })
}

fn result(result: &Value) -> Outcome {
    Outcome::ResultJson(result.to_string())
}

async fn effects(bench: &Bench) -> Vec<Value> {
    bench
        .rows("SELECT id, kind, state, error FROM scheduler.effects WHERE kind <> 'settle' ORDER BY id")
        .await
}

#[tokio::test]
async fn a_delivery_with_a_key_in_a_file_waits_whole_until_a_human_releases_it() {
    let bench = Bench::new().await;
    let channel = serve(&bench, &Ledger::default()).await;
    bench.run(Kind::Work, 0).await;
    let mut hand = Hand::new(&channel).await;
    let job = hand.assignment().await;
    hand.put(&job, "a.txt", b"nothing but words").await;
    hand.put(
        &job,
        "b.py",
        b"client = OpenAI(api_key=\"sk-proj-Ab1Cd2Ef3Gh4_Ij5Kl6Mn7-Op8\")\n",
    )
    .await;
    let done = json!({ "type": "result", "notes": "Here it is.", "files": ["a.txt", "b.py"] });
    hand.complete(&job, result(&done), Vec::new()).await.unwrap();
    let held = effects(&bench).await;
    let states: Vec<&Value> = held.iter().map(|effect| &effect["state"]).collect();
    assert_eq!(states, ["held", "blocked", "blocked"], "{held:#?}");
    assert_eq!(held[0]["error"], "b.py holds what looks like an OpenAI key");
    assert_eq!(bench.count(HELD).await, 1);

    let decide = DecideEffectRequest {
        id: held[0]["id"].as_str().unwrap().to_owned(),
        approve: true,
        reason: "an example from their own question".to_owned(),
    };
    let mut operations = OperationsClient::new(with(&channel, OPERATOR));
    operations.decide_effect(decide).await.unwrap();
    assert_eq!(effects(&bench).await[0]["state"], "pending");
    assert_eq!(bench.count(HELD).await, 0);
}

#[tokio::test]
async fn a_refused_delivery_wants_a_human_who_can_have_the_work_done_again() {
    let bench = Bench::new().await;
    let channel = serve(&bench, &Ledger::default()).await;
    let (contract, run) = bench.run(Kind::Work, 0).await;
    let mut hand = Hand::new(&channel).await;
    let job = hand.assignment().await;
    hand.put(&job, "a.txt", b"whsec_b6784623df7946818bda0c43883a510d").await;
    let done = json!({ "type": "result", "notes": "Here it is.", "files": ["a.txt"] });
    hand.complete(&job, result(&done), Vec::new()).await.unwrap();
    let mut contracts = ContractsClient::new(with(&channel, OPERATOR));
    let again = || RetryContractRequest {
        id: contract.to_string(),
        reason: "the agent is mended".to_owned(),
    };
    let early = contracts.retry_contract(again()).await.unwrap_err();
    assert!(early.message().contains("under way, or done"), "{early}");

    let held = effects(&bench).await[0]["id"].as_str().unwrap().to_owned();
    let mut operations = OperationsClient::new(with(&channel, OPERATOR));
    let refuse = DecideEffectRequest {
        // Shared with the delivery behind it, which nobody has to decide about.
        id: held.chars().take(24).collect(),
        approve: false,
        reason: "it leaks".to_owned(),
    };
    operations.decide_effect(refuse).await.unwrap();
    let attention = bench.rows("SELECT attention FROM scheduler.contracts").await;
    let why = attention[0]["attention"].as_str().unwrap();
    assert!(why.contains("refused") && why.contains("contracts retry"), "{why}");
    assert_eq!(
        bench
            .count("scheduler.notices WHERE kind = 'contract' AND resolved_at IS NULL")
            .await,
        1
    );

    let second = contracts.retry_contract(again()).await.unwrap().into_inner();
    assert_ne!(second.id, run.to_string());
    let job = hand.assignment().await;
    hand.put(&job, "a.txt", b"nothing but words").await;
    hand.complete(&job, result(&done), Vec::new()).await.unwrap();
    let states: Vec<Value> = effects(&bench)
        .await
        .into_iter()
        .map(|effect| json!([effect["kind"], effect["state"]]))
        .collect();
    let expected = [["upload", "cancelled"], ["deliver", "blocked"], ["upload", "pending"]];
    assert_eq!(states, expected.map(|effect| json!(effect)), "{states:?}");
    assert_eq!(bench.count("scheduler.contracts WHERE attention IS NOT NULL").await, 0);
}

#[tokio::test]
async fn a_message_or_reply_or_note_with_a_key_waits_and_a_harmless_one_does_not() {
    let bench = Bench::new().await;
    let agent = store::agents::get(&bench.desk.store, "demo").await.unwrap();
    let own = agent.api_key(&bench.desk.marketplace_sealer).unwrap().unwrap();
    let channel = serve(&bench, &Ledger::default()).await;
    let (contract, _run) = bench.run(Kind::Work, 0).await;
    let mut hand = Hand::new(&channel).await;
    let job = hand.assignment().await;
    let said = vec![
        message("I have begun."),
        message(&format!("my key is {}", own.expose_secret())),
    ];
    let done = json!({ "type": "result", "notes": "use ghp_Ab1Cd2Ef3Gh4Ij5Kl6Mn7Op8Qr9St0Uv1Wx2", "files": [] });
    hand.complete(&job, result(&done), said).await.unwrap();
    bench.run_of(contract, Kind::Reply, 0, "v1").await;
    let mut other = Hand::new(&channel).await;
    let job = other.assignment().await;
    let reply = json!({ "type": "result", "text": "-----BEGIN RSA PRIVATE KEY-----" });
    other.complete(&job, result(&reply), Vec::new()).await.unwrap();
    let told: Vec<Value> = effects(&bench)
        .await
        .into_iter()
        .map(|effect| json!([effect["kind"], effect["state"], effect["error"]]))
        .collect();
    let looks_like = |of: &str, what: &str| format!("{of} holds what looks like {what}");
    assert_eq!(
        told,
        [
            json!(["message", "pending", null]),
            json!([
                "message",
                "held",
                looks_like("the message", "the agent's marketplace key")
            ]),
            json!(["deliver", "held", looks_like("the delivery's notes", "a GitHub token")]),
            json!(["message", "held", looks_like("the reply", "a private key")]),
        ]
    );
    assert_eq!(bench.count(HELD).await, 3);
}
