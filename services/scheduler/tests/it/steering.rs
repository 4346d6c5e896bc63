//! What operators decide: held bids, dead letters, parked runs.

use domain::effect::Kind;
use rpc::v1::agents_client::AgentsClient;
use rpc::v1::contracts_client::ContractsClient;
use rpc::v1::operations_client::OperationsClient;
use rpc::v1::{
    DeadLetterRef, DecideEffectRequest, DropDeadLetterRequest, GetContractRequest, ListDeadLettersRequest,
    ListEffectsRequest, ListGigsRequest, RetryContractRequest, SetAgentModeRequest,
};
use store::effects::{self, NewEffect};
use store::run_tx;
use tonic::Code;

use crate::api::{OPERATOR, VIEWER, serve, with};
use crate::desk::Bench;
use crate::webhooks::posted;

#[tokio::test]
async fn a_held_bid_goes_out_or_not_as_the_operator_says() {
    let bench = Bench::new().await;
    let channel = serve(&bench).await;
    let mut agents = AgentsClient::new(with(&channel, OPERATOR));
    let ask = SetAgentModeRequest {
        name: "demo".to_owned(),
        mode: "ask".to_owned(),
    };
    agents.set_agent_mode(ask).await.unwrap();
    bench.webhook(posted("gig-1"), false).await;
    bench.webhook(posted("gig-2"), false).await;
    bench.take_in().await;
    let mut operations = OperationsClient::new(with(&channel, OPERATOR));
    let held = ListEffectsRequest {
        state: "held".to_owned(),
        ..ListEffectsRequest::default()
    };
    let held = operations.list_effects(held).await.unwrap().into_inner().effects;
    assert_eq!(held.len(), 2);
    let decide = |id: &str, approve| DecideEffectRequest {
        id: id.to_owned(),
        approve,
        reason: "because".to_owned(),
    };
    let short = operations.decide_effect(decide(&held[0].id[..8], true)).await;
    assert_eq!(
        short.unwrap_err().code(),
        Code::InvalidArgument,
        "many ids begin like this"
    );
    let released = operations
        .decide_effect(decide(&held[0].id[..35], true))
        .await
        .unwrap()
        .into_inner();
    assert_eq!(released.state, "pending");
    let refused = operations
        .decide_effect(decide(&held[1].id, false))
        .await
        .unwrap()
        .into_inner();
    assert_eq!(refused.state, "cancelled");
    let twice = operations.decide_effect(decide(&held[1].id, true)).await.unwrap_err();
    assert_eq!(twice.code(), Code::FailedPrecondition);
    let mut contracts = ContractsClient::new(with(&channel, VIEWER));
    let skipped = ListGigsRequest {
        state: "skipped".to_owned(),
        ..ListGigsRequest::default()
    };
    let gigs = contracts.list_gigs(skipped).await.unwrap().into_inner().gigs;
    assert_eq!(gigs.len(), 1);
    assert!(
        gigs[0].reason.contains("because") && gigs[0].score_parts_json.contains("skills"),
        "{:?}",
        gigs[0]
    );
}

#[tokio::test]
async fn a_refused_delivery_goes_out_after_all_only_behind_what_it_follows() {
    let bench = Bench::new().await;
    let channel = serve(&bench).await;
    let mut operations = OperationsClient::new(with(&channel, OPERATOR));
    let (_external, contract) = bench.contract().await;
    let mut after = None;
    for kind in [Kind::Upload, Kind::Deliver] {
        let effect = NewEffect {
            agent: "demo".to_owned(),
            kind,
            natural_key: contract.to_string(),
            held: after.is_none().then(|| "looked at first".to_owned()),
            after,
            payload: serde_json::json!({}),
            gig_id: None,
            contract_id: Some(contract),
            run_id: None,
            worth: domain::money::MicroUsdc::ZERO,
            pause: std::time::Duration::ZERO,
            traceparent: None,
        };
        let inserted = run_tx!(bench.desk.store, "fixture", |tx| effects::insert(tx, &effect).await);
        after = Some(inserted.unwrap());
    }
    let deliver = after.unwrap();
    let upload = effects::get(&bench.desk.store, deliver).await.unwrap().after.unwrap();
    let decide = |id: uuid::Uuid, approve| DecideEffectRequest {
        id: id.to_string(),
        approve,
        reason: "not yet".to_owned(),
    };
    operations.decide_effect(decide(upload, false)).await.unwrap();
    let behind = operations.decide_effect(decide(deliver, true)).await.unwrap_err();
    assert_eq!(behind.code(), Code::FailedPrecondition, "{behind}");
    operations.decide_effect(decide(upload, true)).await.unwrap();
    let states = bench.rows("SELECT state FROM scheduler.effects ORDER BY id").await;
    let state = |state: &str| serde_json::json!({ "state": state });
    assert_eq!(states, [state("pending"), state("blocked")]);
    let twice = operations.decide_effect(decide(upload, true)).await.unwrap_err();
    assert_eq!(twice.code(), Code::FailedPrecondition);
}

#[tokio::test]
async fn dead_letters_are_tried_again_or_given_up_with_a_record() {
    let bench = Bench::new().await;
    let channel = serve(&bench).await;
    let mut operations = OperationsClient::new(with(&channel, OPERATOR));
    let (one, two) = (
        bench.webhook(posted("gig-1"), false).await,
        bench.webhook(posted("gig-2"), false).await,
    );
    bench
        .change("UPDATE ingress.inbox SET dead_reason = 'it failed', attempts = 8")
        .await;
    let letters = operations
        .list_dead_letters(ListDeadLettersRequest::default())
        .await
        .unwrap()
        .into_inner();
    assert_eq!(letters.dead_letters.len(), 2);
    let letter = |id: uuid::Uuid| DeadLetterRef {
        kind: "inbox".to_owned(),
        id: id.to_string(),
    };
    operations.retry_dead_letter(letter(one)).await.unwrap();
    let drop = DropDeadLetterRequest {
        letter: Some(letter(two)),
        reason: "no use".to_owned(),
    };
    operations.drop_dead_letter(drop.clone()).await.unwrap();
    assert_eq!(
        operations.drop_dead_letter(drop).await.unwrap_err().code(),
        Code::NotFound
    );
    bench.take_in().await;
    assert_eq!(bench.outcome(one).await, "bid");
    assert_eq!(bench.outcome(two).await, "dropped: no use");
    assert_eq!(
        bench.count("scheduler.audit WHERE action LIKE 'dead_letters.%'").await,
        2
    );
    assert!(
        operations
            .list_dead_letters(ListDeadLettersRequest::default())
            .await
            .unwrap()
            .into_inner()
            .dead_letters
            .is_empty()
    );
}

#[tokio::test]
async fn a_dropped_effect_is_closed_and_never_verified_again() {
    let bench = Bench::new().await;
    let channel = serve(&bench).await;
    for gig in 1..=3 {
        bench.webhook(posted(&format!("gig-{gig}")), false).await;
    }
    bench.take_in().await;
    let states = ["pending", "unknown", "refused"];
    let effects = bench.rows("SELECT id FROM scheduler.effects ORDER BY id").await;
    let mut operations = OperationsClient::new(with(&channel, OPERATOR));
    for (effect, state) in effects.iter().zip(states) {
        let id = effect["id"].as_str().unwrap();
        bench
            .change(&format!(
                "UPDATE scheduler.effects SET state = '{state}', dead_reason = 'x' WHERE id = '{id}'"
            ))
            .await;
        let letter = Some(DeadLetterRef {
            kind: "effect".to_owned(),
            id: id.to_owned(),
        });
        operations
            .drop_dead_letter(DropDeadLetterRequest {
                letter,
                reason: "enough".to_owned(),
            })
            .await
            .unwrap();
    }
    let left = bench
        .rows("SELECT DISTINCT state, dead_reason, error FROM scheduler.effects ORDER BY state")
        .await;
    let closed = |state: &str| serde_json::json!({ "state": state, "dead_reason": null, "error": "dropped: enough" });
    assert_eq!(left, [closed("cancelled"), closed("refused")]);
}

#[tokio::test]
async fn a_parked_run_is_queued_again_and_a_contract_without_money_is_not() {
    let bench = Bench::new().await;
    let channel = serve(&bench).await;
    let (external, id) = bench.contract().await;
    let mut contracts = ContractsClient::new(with(&channel, OPERATOR));
    let retry = || RetryContractRequest {
        id: external.clone(),
        reason: "try again".to_owned(),
    };
    assert_eq!(
        contracts.retry_contract(retry()).await.unwrap_err().code(),
        Code::FailedPrecondition,
        "not funded"
    );
    let (_external, gig) = bench.gig().await;
    bench
        .change(&format!(
            "UPDATE scheduler.contracts SET state = 'funded', funding_confirmed = TRUE, gig_id = '{gig}'"
        ))
        .await;
    let run = contracts.retry_contract(retry()).await.unwrap().into_inner();
    assert_eq!((run.kind.as_str(), run.state.as_str()), ("work", "queued"));
    bench
        .change("UPDATE scheduler.runs SET state = 'parked', failures = 3, error = 'it broke'")
        .await;
    let again = contracts.retry_contract(retry()).await.unwrap().into_inner();
    assert_eq!((again.id, again.state.as_str()), (run.id, "queued"));
    let detail = contracts
        .get_contract(GetContractRequest { id: id.to_string() })
        .await
        .unwrap()
        .into_inner();
    assert_eq!(detail.contract.unwrap().external_id, external);
    assert_eq!(detail.runs.len(), 1);
}

#[tokio::test]
async fn a_retry_is_of_the_work_not_of_an_answer() {
    let bench = Bench::new().await;
    let channel = serve(&bench).await;
    let (contract, work) = bench.run(domain::run::Kind::Work, 0).await;
    bench.run_of(contract, domain::run::Kind::Reply, 0, "v1").await;
    bench
        .change("UPDATE scheduler.runs SET state = 'parked', failures = 3, error = 'it broke'")
        .await;
    let mut contracts = ContractsClient::new(with(&channel, OPERATOR));
    let retry = || RetryContractRequest {
        id: contract.to_string(),
        reason: "try again".to_owned(),
    };
    let again = contracts.retry_contract(retry()).await.unwrap().into_inner();
    assert_eq!((again.id, again.state.as_str()), (work.to_string(), "queued"));
    bench
        .change("UPDATE scheduler.runs SET state = 'succeeded' WHERE kind = 'work'")
        .await;
    let done = contracts.retry_contract(retry()).await.unwrap_err();
    assert_eq!(done.code(), Code::FailedPrecondition, "what is done is not done again");
}
