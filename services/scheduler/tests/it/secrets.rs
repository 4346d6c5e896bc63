//! What looks like a secret in what an agent made waits for a human.

use domain::run::Kind;
use rpc::v1::agents_client::AgentsClient;
use rpc::v1::complete_request::Outcome;
use rpc::v1::contracts_client::ContractsClient;
use rpc::v1::operations_client::OperationsClient;
use rpc::v1::run_event::Kind as Said;
use rpc::v1::{
    AddWebhookSecretRequest, ClientMessage, DecideEffectRequest, RetryContractRequest, SetCredentialsRequest,
};
use secrecy::ExposeSecret as _;
use serde_json::{Value, json};
use store::known_secrets::{self, Kind as Whose, ScanKey, Which};
use store::run_tx;

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
    let file: Value = serde_json::from_str(&job.job_json).unwrap();
    let request = file["request"].as_str().unwrap();
    assert!(
        request.contains("refused") && request.ends_with("it leaks"),
        "{request}"
    );
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
async fn work_that_is_done_again_sends_the_file_again_that_was_refused() {
    let bench = Bench::new().await;
    let channel = serve(&bench, &Ledger::default()).await;
    let (contract, run) = bench.run(Kind::Work, 0).await;
    let mut hand = Hand::new(&channel).await;
    let done = json!({ "type": "result", "notes": "Here it is.", "files": ["a.txt"] });
    let job = hand.assignment().await;
    hand.put(&job, "a.txt", b"words").await;
    hand.complete(&job, result(&done), Vec::new()).await.unwrap();
    // As the courier leaves them.
    for change in [
        "SET state = 'refused', dead_reason = 'refused' WHERE kind = 'upload'",
        "SET state = 'cancelled', error = 'its predecessor did not happen' WHERE kind = 'deliver'",
    ] {
        bench.change(&format!("UPDATE scheduler.effects {change}")).await;
    }
    let again = RetryContractRequest {
        id: contract.to_string(),
        reason: "the marketplace takes such files now".to_owned(),
    };
    let mut contracts = ContractsClient::new(with(&channel, OPERATOR));
    let second = contracts.retry_contract(again).await.unwrap().into_inner();
    assert_ne!(second.id, run.to_string());
    let job = hand.assignment().await;
    hand.put(&job, "a.txt", b"words").await;
    hand.complete(&job, result(&done), Vec::new()).await.unwrap();
    let states: Vec<Value> = effects(&bench)
        .await
        .into_iter()
        .map(|effect| json!([effect["kind"], effect["state"]]))
        .collect();
    let expected = [["upload", "pending"], ["deliver", "blocked"]];
    assert_eq!(states, expected.map(|effect| json!(effect)), "{states:?}");
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

async fn note(bench: &Bench, kind: Whose, owner: &str, name: &str, secret: &str) {
    let key = ScanKey::of_token(bench.desk.config.billing.token.expose());
    let which = Which { kind, owner, name };
    run_tx!(bench.desk.store, "note", |tx| known_secrets::note(
        tx, &key, which, secret, None
    )
    .await)
    .unwrap();
}

#[tokio::test]
async fn any_secret_that_is_kept_is_found_in_what_any_agent_sends_and_told_by_its_owner_alone() {
    let bench = Bench::new().await;
    let channel = serve(&bench, &Ledger::default()).await;
    // As billing notes them; none looks like a key.
    let (own, provider) = ("horse battery staple", "a plain sentence that is a key");
    note(&bench, Whose::Agent, "other", "search-api", own).await;
    note(&bench, Whose::Provider, "openai", "openai", provider).await;
    let mut agents = AgentsClient::new(with(&channel, OPERATOR));
    let key = SetCredentialsRequest {
        name: "demo".to_owned(),
        marketplace_id: String::new(),
        api_key: "marketplace words of demo".to_owned(),
    };
    agents.set_credentials(key.clone()).await.unwrap();
    let newer = SetCredentialsRequest {
        api_key: "newer words of demo".to_owned(),
        ..key
    };
    agents.set_credentials(newer).await.unwrap();
    let webhook = AddWebhookSecretRequest {
        name: "demo".to_owned(),
        secret: "webhooks of demo are signed so".to_owned(),
        retire_others_after_secs: Some(3600),
    };
    agents.add_webhook_secret(webhook).await.unwrap();

    let (_contract, _run) = bench.run(Kind::Work, 0).await;
    let mut hand = Hand::new(&channel).await;
    let job = hand.assignment().await;
    let mut file = vec![b'.'; 300_000];
    file.splice(65_530..65_530, provider.bytes());
    hand.put(&job, "found.bin", file.leak()).await;
    let said = vec![
        message("nothing but harmless words"),
        message(&format!("they call it <{own}>")),
        message("older: marketplace words of demo"),
        message("webhooks of demo are signed so"),
    ];
    let done = json!({ "type": "result", "notes": "Here it is.", "files": ["found.bin"] });
    hand.complete(&job, result(&done), said).await.unwrap();
    let told = effects(&bench).await;
    let errors: Vec<&str> = told.iter().filter_map(|effect| effect["error"].as_str()).collect();
    let looks_like = |of: &str, what: &str| format!("{of} holds what looks like {what}");
    assert_eq!(
        errors,
        [
            looks_like("the message", "the secret search-api of other"),
            looks_like("the message", "the marketplace key of demo"),
            looks_like("the message", "a webhook secret of demo"),
            looks_like("found.bin", "the operator's key at openai"),
        ]
    );
    let notices = bench.rows("SELECT body FROM scheduler.notices").await;
    let notices = serde_json::to_string(&notices).unwrap();
    assert!(!notices.contains(own) && !notices.contains(provider), "{notices}");
}

#[tokio::test]
async fn a_cover_letter_with_a_kept_secret_waits() {
    let bench = Bench::new().await;
    // The built-in letter repeats the gig's title, which is somebody's secret here.
    note(&bench, Whose::Agent, "other", "search-api", "Clean a spreadsheet").await;
    bench.webhook(crate::webhooks::posted("one"), false).await;
    bench.take_in().await;
    let letters = bench.rows("SELECT state, error FROM scheduler.effects").await;
    assert_eq!(letters[0]["state"], "held", "{letters:?}");
    assert_eq!(
        letters[0]["error"],
        "the cover letter holds what looks like the secret search-api of other"
    );
}

#[tokio::test]
async fn a_notice_about_what_is_held_back_ends_when_it_is_called_off() {
    let bench = Bench::new().await;
    let channel = serve(&bench, &Ledger::default()).await;
    let (contract, _run) = bench.run(Kind::Work, 0).await;
    let mut hand = Hand::new(&channel).await;
    let job = hand.assignment().await;
    let said = vec![message("use ghp_Ab1Cd2Ef3Gh4Ij5Kl6Mn7Op8Qr9St0Uv1Wx2")];
    let done = json!({ "type": "result", "notes": "whsec_b6784623df7946818bda0c43883a510d", "files": [] });
    hand.complete(&job, result(&done), said).await.unwrap();
    assert_eq!(bench.count(HELD).await, 2);
    run_tx!(bench.desk.store, "call_off", |tx| {
        store::effects::cancel_unsent_of_contract(tx, contract, "the client cancelled").await
    })
    .unwrap();
    assert_eq!(bench.count(HELD).await, 0);
}

#[tokio::test]
async fn an_alarm_of_a_run_raises_a_notice_and_stands_in_its_log() {
    let bench = Bench::new().await;
    let channel = serve(&bench, &Ledger::default()).await;
    let (_contract, run) = bench.run(Kind::Work, 0).await;
    let mut hand = Hand::new(&channel).await;
    let job = hand.assignment().await;
    let alarm = "ALARM: the decoy key laid out for this run was carried out by a model call";
    let done = json!({ "type": "result", "notes": "Here it is.", "files": [] });
    hand.complete(&job, result(&done), vec![Said::Alarm(alarm.to_owned())])
        .await
        .unwrap();
    let notices = bench
        .rows("SELECT kind, key, body FROM scheduler.notices WHERE resolved_at IS NULL")
        .await;
    let raised = notices.iter().find(|notice| notice["kind"] == "alarm").unwrap();
    assert_eq!(raised["key"], run.to_string());
    let body = raised["body"].as_str().unwrap();
    assert!(
        body.contains("demo") && body.contains(alarm) && body.contains("steward runs show"),
        "{body}"
    );
    let told = format!("scheduler.run_events WHERE kind = 'log' AND body = '{alarm}'");
    assert_eq!(bench.count(&told).await, 1);
}
