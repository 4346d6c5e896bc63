//! What operators see before they decide, and what follows when they do: pauses, retries, files, ids, leaving agents.

use domain::agent_file::{AgentFile, Mode};
use domain::run::Kind;
use rpc::v1::agents_client::AgentsClient;
use rpc::v1::complete_request::Outcome;
use rpc::v1::contracts_client::ContractsClient;
use rpc::v1::operations_client::OperationsClient;
use rpc::v1::{
    AddWebhookSecretRequest, CannotDo, DeadLetterRef, Failed, GetArtefactRequest, GetEffectRequest, GetRunRequest,
    ListAgentsRequest, ListEffectsRequest, RemoveAgentRequest, RetryContractRequest, SetAgentModeRequest,
};
use serde_json::json;
use store::run_tx;
use tonic::Code;
use tonic::transport::Channel;

use crate::api::{OPERATOR, VIEWER, with};
use crate::desk::Bench;
use crate::floor::{self, Hand};
use crate::ledger::Ledger;

const REPORT: &[u8] = b"what was asked for";

/// The agent's file with this added, as that version.
async fn put(bench: &Bench, version: &str, more: &str) {
    let text = format!("name = \"demo\"\n[run]\ncommand = [\"true\"]\ntimeout = \"7m\"\nidle = \"5m\"\n{more}");
    let spec = AgentFile::parse(&text).unwrap().with_defaults(true);
    let file = serde_json::to_value(&spec).unwrap();
    run_tx!(bench.desk.store, "fixture", |tx| {
        store::agents::put(tx, &spec, Mode::Auto, version, None).await?;
        store::bundles::put(tx, version, "demo", 1, &file, None).await
    })
    .unwrap();
}

fn cannot() -> Outcome {
    Outcome::CannotDo(CannotDo {
        reason: "not for me".to_owned(),
    })
}

async fn set_mode(channel: &Channel, mode: &str) {
    let request = SetAgentModeRequest {
        name: "demo".to_owned(),
        mode: mode.to_owned(),
    };
    let mut agents = AgentsClient::new(with(channel, OPERATOR));
    agents.set_agent_mode(request).await.unwrap();
}

#[tokio::test]
async fn bidding_pauses_after_runs_parked_in_a_row_and_says_how_to_go_on() {
    let bench = Bench::with(&[("RUNS__PAUSE_BIDDING_AFTER", "2")]).await;
    let channel = floor::serve(&bench, &Ledger::default()).await;
    let mode = async || bench.rows("SELECT mode FROM scheduler.agents").await[0]["mode"].clone();
    let done = || Outcome::ResultJson(r#"{"type":"result","notes":"n","files":[]}"#.to_owned());
    // One that is done between two parked ones breaks the row.
    for (outcome, expected) in [
        (cannot(), "auto"),
        (done(), "auto"),
        (cannot(), "auto"),
        (cannot(), "shadow"),
    ] {
        bench.run(Kind::Work, 0).await;
        let mut hand = Hand::new(&channel).await;
        let job = hand.assignment().await;
        hand.complete(&job, outcome, Vec::new()).await.unwrap();
        assert_eq!(mode().await, expected);
    }
    let said = "SELECT body FROM scheduler.notices WHERE kind = 'bidding_paused' AND resolved_at IS NULL";
    let body = bench.rows(said).await.remove(0)["body"].to_string();
    assert!(body.contains("steward agents mode demo auto"), "{body}");

    set_mode(&channel, "auto").await;
    assert!(bench.rows(said).await.is_empty(), "whoever goes on has read it");
    bench.run(Kind::Work, 0).await;
    let mut hand = Hand::new(&channel).await;
    let job = hand.assignment().await;
    hand.complete(&job, cannot(), Vec::new()).await.unwrap();
    assert_eq!(mode().await, "auto", "counting begins anew");
}

#[tokio::test]
async fn a_retry_by_hand_takes_the_current_version_and_one_by_itself_does_not() {
    let bench = Bench::new().await;
    let channel = floor::serve(&bench, &Ledger::default()).await;
    let (contract, run) = bench.run(Kind::Work, 0).await;
    put(&bench, "v2", "").await;
    let mut hand = Hand::new(&channel).await;
    let job = hand.assignment().await;
    let failed = Outcome::Failed(Failed {
        reason: "exit".to_owned(),
        detail: "it broke".to_owned(),
    });
    hand.complete(&job, failed, Vec::new()).await.unwrap();
    bench
        .run_is(run, "state, version", json!({ "state": "retrying", "version": "v1" }))
        .await;

    let mut contracts = ContractsClient::new(with(&channel, OPERATOR));
    let retry = RetryContractRequest {
        id: contract.to_string(),
        reason: String::new(),
    };
    let again = contracts.retry_contract(retry).await.unwrap().into_inner();
    assert_eq!((again.version.as_str(), again.state.as_str()), ("v2", "queued"));
    assert_eq!(bench.columns(run, "timeout_secs").await["timeout_secs"], 420);

    put(&bench, "v3", "").await;
    bench
        .change("UPDATE scheduler.runs SET state = 'parked', lease_until = NULL, lease_token = NULL")
        .await;
    bench
        .change("UPDATE scheduler.contracts SET attention = 'the work run of demo is parked'")
        .await;
    let mut operations = OperationsClient::new(with(&channel, OPERATOR));
    let letter = DeadLetterRef {
        kind: "run".to_owned(),
        id: run.to_string(),
    };
    let letter = operations.retry_dead_letter(letter).await.unwrap().into_inner();
    assert_eq!(letter.version, "v3", "whoever retries is told which version it takes");
    let calm = bench.rows("SELECT attention FROM scheduler.contracts").await;
    assert_eq!(calm, [json!({ "attention": null })], "whoever retries has read why");
    assert_eq!(bench.columns(run, "version").await["version"], "v3");
}

#[tokio::test]
async fn what_waits_for_approval_is_shown_with_its_files_and_they_can_be_read() {
    let bench = Bench::new().await;
    put(&bench, "v1", "[delivery]\napprove_above_usdc = 0.0\n").await;
    let channel = floor::serve(&bench, &Ledger::default()).await;
    let (_contract, run) = bench.run(Kind::Work, 0).await;
    let mut hand = Hand::new(&channel).await;
    let job = hand.assignment().await;
    hand.put(&job, "report.md", REPORT).await;
    hand.put(&job, "scratch.txt", b"not delivered").await;
    let result = r#"{"type":"result","notes":"Here it is.","files":["report.md"]}"#.to_owned();
    hand.complete(&job, Outcome::ResultJson(result), Vec::new())
        .await
        .unwrap();

    let mut operations = OperationsClient::new(with(&channel, VIEWER));
    let held = ListEffectsRequest {
        state: "held".to_owned(),
        ..ListEffectsRequest::default()
    };
    let held = operations.list_effects(held).await.unwrap().into_inner().effects;
    assert_eq!(held.len(), 1);
    let effect = &held[0];
    assert_eq!((effect.title.as_str(), effect.amount_micro_usdc), ("a gig", 20_000_000));
    let files: Vec<_> = effect
        .files
        .iter()
        .map(|file| (file.name.as_str(), file.bytes))
        .collect();
    assert_eq!(files, [("report.md", REPORT.len() as u64)]);
    let shown = operations.get_effect(GetEffectRequest { id: effect.id.clone() }).await;
    assert!(shown.unwrap().into_inner().payload_json.contains("report.md"));

    let wanted = |name: &str| GetArtefactRequest {
        run_id: run.to_string(),
        name: name.to_owned(),
    };
    let mut contracts = ContractsClient::new(with(&channel, OPERATOR));
    let mut pieces = contracts.get_artefact(wanted("report.md")).await.unwrap().into_inner();
    let mut read = Vec::new();
    while let Some(piece) = pieces.message().await.unwrap() {
        read.extend_from_slice(&piece.data);
    }
    assert_eq!(read, REPORT);
    for other in ["other.md", "../report.md", ""] {
        let refused = contracts.get_artefact(wanted(other)).await.unwrap_err();
        assert_eq!(refused.code(), Code::NotFound, "{other}");
    }
    let mut viewer = ContractsClient::new(with(&channel, VIEWER));
    let refused = viewer.get_artefact(wanted("report.md")).await.unwrap_err();
    assert_eq!(
        refused.code(),
        Code::PermissionDenied,
        "a client's goods are not for viewers"
    );
}

#[tokio::test]
async fn what_is_said_with_a_delivery_waits_for_the_delivery() {
    let bench = Bench::new().await;
    put(&bench, "v1", "[delivery]\napprove_above_usdc = 0.0\n").await;
    let channel = floor::serve(&bench, &Ledger::default()).await;
    bench.run(Kind::Work, 0).await;
    let mut hand = Hand::new(&channel).await;
    let job = hand.assignment().await;
    let result = r#"{"type":"result","notes":"Here it is.","files":[],"message":"You have it."}"#.to_owned();
    hand.complete(&job, Outcome::ResultJson(result), Vec::new())
        .await
        .unwrap();
    let chain = "SELECT e.kind, e.state, b.kind AS after FROM scheduler.effects e
                 LEFT JOIN scheduler.effects b ON b.id = e.after_id WHERE e.kind <> 'confirm' ORDER BY e.kind";
    let expected = [
        json!({ "kind": "deliver", "state": "held", "after": null }),
        json!({ "kind": "message", "state": "blocked", "after": "deliver" }),
    ];
    assert_eq!(bench.rows(chain).await, expected);
}

#[tokio::test]
async fn the_beginning_of_an_id_names_one_row_or_lists_those_it_fits() {
    let bench = Bench::new().await;
    let channel = floor::serve(&bench, &Ledger::default()).await;
    let (_, one) = bench.run(Kind::Work, 0).await;
    let (_, _other) = bench.run(Kind::Work, 0).await;
    bench
        .change(&format!(
            "UPDATE scheduler.runs SET id = CASE WHEN id = '{one}' THEN 'aaaaaaaa-0000-7000-8000-000000000001'::uuid
                                                ELSE 'aaaaaaaa-1000-7000-8000-000000000002'::uuid END"
        ))
        .await;
    let mut contracts = ContractsClient::new(with(&channel, VIEWER));
    let mut get = async |id: &str| {
        contracts
            .get_run(GetRunRequest {
                id: id.to_owned(),
                after_seq: 0,
            })
            .await
    };
    let found = get("AAAAAAAA-0").await.unwrap().into_inner().run.unwrap();
    assert_eq!(found.id, "aaaaaaaa-0000-7000-8000-000000000001");
    let several = get("aaaaaaaa").await.unwrap_err();
    assert_eq!(several.code(), Code::InvalidArgument);
    assert!(
        several.message().contains(&found.id) && several.message().contains("aaaaaaaa-1000"),
        "{several}"
    );
    assert_eq!(get("bbbb").await.unwrap_err().code(), Code::NotFound);
    assert_eq!(get("not-an-id").await.unwrap_err().code(), Code::InvalidArgument);
}

#[tokio::test]
async fn an_agent_leaves_only_when_nothing_is_open() {
    let bench = Bench::new().await;
    let channel = floor::serve(&bench, &Ledger::default()).await;
    let mut agents = AgentsClient::new(with(&channel, OPERATOR));
    let secret = |text: &str| AddWebhookSecretRequest {
        name: "demo".to_owned(),
        secret: text.to_owned(),
        retire_others_after_secs: Some(0),
    };
    for text in ["whsec_one", "whsec_two", "whsec_three"] {
        agents.add_webhook_secret(secret(text)).await.unwrap();
    }
    let listed = async |agents: &mut AgentsClient<_>| {
        let answer = agents.list_agents(ListAgentsRequest {}).await.unwrap();
        answer.into_inner().agents
    };
    assert_eq!(
        listed(&mut agents).await[0].webhook_secrets,
        1,
        "the others are retired"
    );

    bench.run(Kind::Work, 0).await;
    let remove = || RemoveAgentRequest {
        name: "demo".to_owned(),
    };
    let refused = agents.remove_agent(remove()).await.unwrap_err();
    assert_eq!(refused.code(), Code::FailedPrecondition);
    assert!(refused.message().contains("steward agents mode demo off"), "{refused}");
    bench
        .change("UPDATE scheduler.contracts SET state = 'cancelled', closed_at = now()")
        .await;
    bench
        .change(
            "INSERT INTO ingress.inbox (id, agent, body, body_digest) VALUES (gen_random_uuid(), 'demo', '{}', '\\x00')",
        )
        .await;
    let refused = agents.remove_agent(remove()).await.unwrap_err();
    assert!(
        refused.message().contains("1 webhooks nobody has acted on"),
        "{refused}"
    );
    bench.change("UPDATE ingress.inbox SET processed_at = now()").await;
    bench
        .change(
            "INSERT INTO scheduler.effects (id, agent, kind, natural_key, state, payload, updated_by) \
             VALUES (gen_random_uuid(), 'demo', 'propose', 'propose/demo/g', 'held', '{}', 'fixture')",
        )
        .await;
    agents.remove_agent(remove()).await.unwrap();
    assert_eq!(
        bench.count("scheduler.effects WHERE state = 'held'").await,
        0,
        "nobody may approve it"
    );
    let mode = SetAgentModeRequest {
        name: "demo".to_owned(),
        mode: "auto".to_owned(),
    };
    let refused = agents.set_agent_mode(mode).await.unwrap_err();
    assert!(refused.message().contains("was removed"), "{refused}");
    assert!(listed(&mut agents).await.is_empty());
    let left = bench.rows("SELECT mode, api_key_sealed FROM scheduler.agents").await;
    assert_eq!(left, [json!({ "mode": "off", "api_key_sealed": null })]);
    assert_eq!(bench.count("scheduler.duties WHERE key = 'demo'").await, 0);
    let in_force = "ingress.webhook_secrets WHERE retires_at IS NULL OR retires_at > now()";
    assert_eq!(
        bench.count(in_force).await,
        0,
        "what was signed with them opens nothing"
    );
    let nobody = RemoveAgentRequest {
        name: "nobody".to_owned(),
    };
    assert_eq!(agents.remove_agent(nobody).await.unwrap_err().code(), Code::NotFound);
}

#[tokio::test]
async fn what_was_earned_is_booked_though_the_agent_left_and_nothing_waits_for_it() {
    let bench = Bench::new().await;
    let channel = floor::serve(&bench, &Ledger::default()).await;
    bench.run(Kind::Work, 0).await;
    for change in [
        "UPDATE scheduler.contracts SET state = 'approved', closed_at = now()",
        "INSERT INTO scheduler.effects (id, agent, kind, natural_key, state, payload, updated_by) \
         VALUES (gen_random_uuid(), 'demo', 'settle', 'settle/c', 'pending', '{}', 'fixture')",
        "INSERT INTO scheduler.proposals (id, gig_id, agent, state, updated_by) \
         SELECT gen_random_uuid(), id, 'demo', 'considered', 'fixture' FROM scheduler.gigs LIMIT 1 \
         ON CONFLICT (gig_id) DO UPDATE SET state = 'considered'",
    ] {
        bench.change(change).await;
    }
    let remove = RemoveAgentRequest {
        name: "demo".to_owned(),
    };
    let mut agents = AgentsClient::new(with(&channel, OPERATOR));
    agents.remove_agent(remove).await.unwrap();
    let booked = "scheduler.effects WHERE kind = 'settle' AND state = 'pending'";
    assert_eq!(bench.count(booked).await, 1);
    let proposals = bench.rows("SELECT state, reason FROM scheduler.proposals").await;
    assert_eq!(
        proposals,
        [json!({ "state": "skipped", "reason": "the agent was removed" })]
    );
}
