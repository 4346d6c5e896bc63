//! From an agent file to an agent that may bid, and what is told when an answer is lost on the way.

use std::sync::Arc;

use domain::agent_file::{AgentFile, Mode};
use domain::onboarding::No;
use rpc::v1::marketplace_client::MarketplaceClient;
use rpc::v1::{GetClaimLinkRequest, GetReadinessRequest, RegisterAgentRequest, SetWebhookRequest};
use scheduler::marketplace::Marketplace;
use scheduler::onboarding::examine::{Check, Found};
use scheduler::onboarding::{Error, Onboarding, Order};
use serde_json::{Value, json};
use store::run_tx;
use tonic::Code;

use crate::api::{OPERATOR, VIEWER, serve, with};
use crate::desk::Bench;

const FILE: &str = r#"
name = "second"
[run]
command = ["true"]
[profile]
name = "Second"
description = "Writes short texts and small programs."
avatar_url = "https://example.org/a.png"
languages = ["en"]
contact_email = "second@example.org"
portfolio = ["A parser of invoices https://example.org/parser", "A report"]
[bidding]
skills = ["python"]
"#;
const DOOR: &str = "http://127.0.0.1:9";

/// An agent known here and to nobody else.
async fn known(bench: &Bench, file: &str) -> Onboarding {
    let spec = AgentFile::parse(file).unwrap().with_defaults(true);
    let json = serde_json::to_value(&spec).unwrap();
    run_tx!(bench.desk.store, "fixture", |tx| {
        store::agents::put(tx, &spec, Mode::Auto, "v1", None).await?;
        store::bundles::put(tx, "v1", "second", 1, &json, None).await?;
        store::doors::open(tx, "second").await
    })
    .unwrap();
    let market = Arc::new(Marketplace::new(Arc::clone(&bench.desk)).unwrap());
    Onboarding::new(Arc::clone(&bench.desk), market)
}

fn order(again: bool) -> Order {
    Order {
        name: "second".to_owned(),
        webhook_url: DOOR.to_owned(),
        username: None,
        again,
    }
}

/// The agents the marketplace has under a username.
async fn there(bench: &Bench, username: &str) -> Vec<Value> {
    let listed = bench.market.get("/control/agents").await;
    let all = listed["data"].as_array().cloned().unwrap();
    all.into_iter().filter(|agent| agent["username"] == username).collect()
}

async fn fault(bench: &Bench, on: &str, kind: &str, count: u32) {
    let spec = json!([{ "on": on, "kind": kind, "count": count }]);
    bench.market.put("/control/faults", spec).await;
}

#[tokio::test]
async fn what_the_marketplace_would_refuse_is_refused_before_any_call() {
    let bench = Bench::new().await;
    let file = FILE.replace("Writes short texts and small programs.", "Too short.");
    let onboarding = known(&bench, &file).await;
    let refused = onboarding.register(order(false), "operator").await.unwrap_err();
    let Error::Profile { problems, .. } = &refused else {
        panic!("{refused}")
    };
    assert!(
        problems.len() == 1 && problems[0].starts_with("profile.description"),
        "{problems:?}"
    );
    let bad = Order {
        webhook_url: "https://example.org/hooks/other".to_owned(),
        ..order(false)
    };
    let onboarding = known(&bench, FILE).await;
    assert!(matches!(
        onboarding.register(bad, "operator").await,
        Err(Error::Invalid(_))
    ));
    assert!(there(&bench, "second").await.is_empty());
    assert_eq!(bench.count("scheduler.api_grants").await, 0, "nobody was called");
    assert_eq!(bench.count("scheduler.sole_answers").await, 0);
}

#[tokio::test]
async fn an_agent_is_registered_once_and_walks_to_ready() {
    let bench = Bench::new().await;
    let onboarding = known(&bench, FILE).await;
    let registered = onboarding.register(order(false), "operator").await.unwrap();
    assert_eq!(registered.webhook_url, format!("{DOOR}/hooks/second"));
    assert!(registered.has_claim_link && !registered.has_webhook_secret);
    let agent = store::agents::get(&bench.desk.store, "second").await.unwrap();
    assert!(agent.api_key_sealed.is_some());
    let there = there(&bench, "second").await;
    assert_eq!(there[0]["id"].as_str(), agent.marketplace_id.as_deref());
    assert_eq!(there[0]["webhook_url"], registered.webhook_url);
    assert_eq!(bench.count("scheduler.duties WHERE key = 'second'").await, 7);

    let again = onboarding.register(order(true), "operator").await.unwrap_err();
    assert!(matches!(again, Error::No { no: No::Registered, .. }), "{again}");

    let webhook = onboarding
        .webhook("second", None, true, false, "operator")
        .await
        .unwrap();
    assert_eq!((webhook.rotated, webhook.has_secret), (true, Some(true)));
    let sent = onboarding.send_profile("second", "operator").await.unwrap();
    assert_eq!(sent.works, ["A parser of invoices", "A report"]);
    let sent = onboarding.send_profile("second", "operator").await.unwrap();
    assert!(sent.works.is_empty(), "what is there is not added again");

    assert_eq!(
        onboarding.send_code("second", None).await.unwrap(),
        "second@example.org"
    );
    let missing = onboarding.readiness("second").await.unwrap();
    assert!(
        !missing.readiness.ready && missing.claimed == Some(false),
        "{missing:?}"
    );
    assert_eq!(missing.readiness.missing, ["email_verified"]);
    assert!(onboarding.confirm("second", "12 34", "operator").await.is_err());
    let code = self::there(&bench, "second").await[0]["email_code"]
        .as_str()
        .unwrap()
        .to_owned();
    onboarding.confirm("second", &code, "operator").await.unwrap();
    // A complete profile that nobody claimed may not bid either.
    let Found::Fail(why, fix) = onboarding.examine("second", Check::Readiness).await.unwrap() else {
        panic!("nobody claimed it")
    };
    assert!(
        why.contains("claim") && fix.contains("claim-link second"),
        "{why}: {fix}"
    );

    let link = onboarding.claim_link("second").await.unwrap().unwrap();
    let link = secrecy::ExposeSecret::expose_secret(&link);
    let token = link.rsplit('/').next().unwrap();
    bench.market.get(&format!("/api/v1/agents/claim/{token}")).await;
    let ready = onboarding.readiness("second").await.unwrap();
    assert!(ready.readiness.ready && ready.claimed == Some(true), "{ready:?}");
    assert!(
        onboarding.claim_link("second").await.unwrap().is_none(),
        "the link of a claimed agent is kept no longer"
    );
    let audited = bench
        .rows("SELECT action FROM scheduler.audit WHERE detail IS NOT NULL AND detail LIKE '%cg\\_%'")
        .await;
    assert!(audited.is_empty(), "no key in the audit: {audited:?}");
}

#[tokio::test]
async fn a_lost_answer_is_told_and_never_repeated_without_a_word() {
    let bench = Bench::new().await;
    let onboarding = known(&bench, FILE).await;
    fault(&bench, "any", "reset_after_commit", 1).await;
    let lost = onboarding.register(order(false), "operator").await.unwrap_err();
    assert!(matches!(&lost, Error::Lost(why) if why.contains("--again")), "{lost}");
    let made = there(&bench, "second").await;
    assert_eq!(made.len(), 1, "the marketplace did make it");

    let second = onboarding.register(order(false), "operator").await.unwrap_err();
    assert!(matches!(&second, Error::No { no: No::Lost, .. }), "{second}");
    assert!(second.to_string().contains("--again"), "{second}");
    // The username is taken by the agent nobody has the key of.
    let taken = onboarding.register(order(true), "operator").await.unwrap_err();
    assert!(matches!(taken, Error::Said(_)), "{taken}");
    let other = Order {
        username: Some("second-2".to_owned()),
        ..order(true)
    };
    onboarding.register(other, "operator").await.unwrap();
    assert_eq!(there(&bench, "second-2").await.len(), 1);
}

#[tokio::test]
async fn whoever_stops_waiting_the_answer_is_kept() {
    let bench = Bench::new().await;
    let onboarding = known(&bench, FILE).await;
    let spec = json!([{ "on": "any", "kind": "slow", "count": 1, "args": { "ms": 900 } }]);
    bench.market.put("/control/faults", spec).await;
    let begun = testkit::eventually(crate::desk::PATIENCE, "the call", async || {
        bench.market.get("/control/faults").await[0]["struck"] == 1
    });
    tokio::select! {
        answer = onboarding.register(order(false), "operator") => panic!("it was not given up before {answer:?}"),
        begun = begun => begun.unwrap(),
    }
    testkit::eventually(crate::desk::PATIENCE, "the key", async || {
        let agent = store::agents::get(&bench.desk.store, "second").await.unwrap();
        agent.api_key_sealed.is_some()
    })
    .await
    .unwrap();
}

#[tokio::test]
async fn a_rotation_whose_answer_is_lost_is_repaired_once_and_then_told() {
    let bench = Bench::new().await;
    let onboarding = known(&bench, FILE).await;
    onboarding.register(order(false), "operator").await.unwrap();
    let secrets = async || store::doors::secrets(&bench.desk.store, "second").await.unwrap().len();
    fault(&bench, "rotate", "reset_after_commit", 1).await;
    onboarding
        .webhook("second", None, true, false, "operator")
        .await
        .unwrap();
    assert_eq!(secrets().await, 1, "the second rotation's secret is known");

    fault(&bench, "rotate", "reset_after_commit", 2).await;
    let lost = onboarding.webhook("second", None, true, false, "operator").await;
    assert!(matches!(lost, Err(Error::Lost(_))), "{lost:?}");
    let refused = onboarding
        .webhook("second", None, true, false, "operator")
        .await
        .unwrap_err();
    assert!(matches!(&refused, Error::No { no: No::Lost, .. }), "{refused}");
    assert_eq!(secrets().await, 1);
    onboarding
        .webhook("second", None, true, true, "operator")
        .await
        .unwrap();
    assert_eq!(secrets().await, 2);
}

#[tokio::test]
async fn every_check_says_what_mends_it() {
    let bench = Bench::with(&[("BREAKER__LONGEST_PAUSE", "10m")]).await;
    let onboarding = known(&bench, FILE).await;
    let look = async |check| onboarding.examine("second", check).await.unwrap();
    assert!(matches!(look(Check::Marketplace).await, Found::Ok(_)));
    assert!(matches!(look(Check::Clock).await, Found::Ok(_)));
    let Found::Fail(_, fix) = look(Check::Key).await else {
        panic!("it has no key")
    };
    assert!(fix.starts_with("steward agents register second"), "{fix}");
    assert!(matches!(look(Check::Readiness).await, Found::Skip(_)));

    onboarding.register(order(false), "operator").await.unwrap();
    assert!(matches!(look(Check::Key).await, Found::Ok(_)));
    let Found::Fail(why, fix) = look(Check::Readiness).await else {
        panic!("it is not ready")
    };
    assert!(
        why.contains("portfolio") && fix.contains("agents readiness second"),
        "{why}: {fix}"
    );
    let Found::Fail(why, fix) = look(Check::Webhook).await else {
        panic!("no secret is known")
    };
    assert!(why.contains("secret") && fix.ends_with("--rotate"), "{why}: {fix}");
    onboarding
        .webhook("second", None, true, false, "operator")
        .await
        .unwrap();
    assert!(matches!(look(Check::Webhook).await, Found::Ok(_)));
    let Found::Fail(why, _) = look(Check::TestEvent).await else {
        panic!("nobody listens at its door")
    };
    assert!(why.contains("test event"), "{why}");

    fault(&bench, "any", "http_402", 1).await;
    let Found::Fail(why, _) = look(Check::Marketplace).await else {
        panic!("402 is down")
    };
    assert!(why.contains("402"), "{why}");
    fault(&bench, "any", "http_402", 1).await;
    assert!(matches!(look(Check::Key).await, Found::Fail(..)));
    // The platform's breaker is open for everybody.
    let Found::Fail(_, fix) = look(Check::Key).await else {
        panic!("calls wait")
    };
    assert!(fix.contains("steward agents resume second"), "{fix}");
    onboarding.resume("second", "operator").await.unwrap();
    assert!(matches!(look(Check::Key).await, Found::Ok(_)));
}

#[tokio::test]
async fn a_stack_that_reads_is_not_told_that_its_door_is_broken() {
    let bench = Bench::with(&[("RECONCILE__POLL", "true")]).await;
    let onboarding = known(&bench, FILE).await;
    onboarding.register(order(false), "operator").await.unwrap();
    for check in [Check::Webhook, Check::TestEvent] {
        let found = onboarding.examine("second", check).await.unwrap();
        assert!(matches!(found, Found::Skip(_)), "{found:?}");
    }
}

#[tokio::test]
async fn the_claim_link_is_for_operators_and_is_shown_until_somebody_saw_it() {
    let bench = Bench::new().await;
    let _known = known(&bench, FILE).await;
    let channel = serve(&bench).await;
    let register = RegisterAgentRequest {
        name: "second".to_owned(),
        webhook_url: DOOR.to_owned(),
        ..RegisterAgentRequest::default()
    };
    let mut viewer = MarketplaceClient::new(with(&channel, VIEWER));
    let refused = viewer.register_agent(register.clone()).await.unwrap_err();
    assert_eq!(refused.code(), Code::PermissionDenied);
    let mut operator = MarketplaceClient::new(with(&channel, OPERATOR));
    let made = operator.register_agent(register).await.unwrap().into_inner();
    assert!(made.has_claim_link && made.agent.unwrap().has_key);
    let wanted = |shown| GetClaimLinkRequest {
        name: "second".to_owned(),
        shown,
    };
    assert_eq!(
        viewer.get_claim_link(wanted(false)).await.unwrap_err().code(),
        Code::PermissionDenied
    );
    for _ in 0..2 {
        let link = operator.get_claim_link(wanted(false)).await.unwrap().into_inner().link;
        assert!(link.contains("/claim/"), "{link}");
    }
    operator.get_claim_link(wanted(true)).await.unwrap();
    assert_eq!(
        operator.get_claim_link(wanted(false)).await.unwrap_err().code(),
        Code::NotFound
    );
    let ready = GetReadinessRequest {
        name: "second".to_owned(),
    };
    let ready = operator.get_readiness(ready).await.unwrap().into_inner();
    let fix = |what: &str| {
        ready
            .missing
            .iter()
            .find(|one| one.what == what)
            .map(|one| one.fix.clone())
    };
    assert_eq!(fix("email_verified").unwrap(), "steward agents verify-email second");
    let portfolio = fix("portfolio").unwrap();
    assert!(portfolio.contains("stands in its agent file"), "{portfolio}");
}

#[tokio::test]
async fn a_rotation_tells_which_secret_is_in_use_and_until_when_the_old_one_counts() {
    let bench = Bench::new().await;
    let onboarding = known(&bench, FILE).await;
    onboarding.register(order(false), "operator").await.unwrap();
    let channel = serve(&bench).await;
    let mut operator = MarketplaceClient::new(with(&channel, OPERATOR));
    let mut rotate = async |rotate| {
        let request = SetWebhookRequest {
            name: "second".to_owned(),
            rotate,
            ..SetWebhookRequest::default()
        };
        operator.set_webhook(request).await.unwrap().into_inner().known
    };
    assert!(rotate(false).await.is_empty());
    assert!(rotate(true).await.iter().all(|one| one.retires_at.is_none()));
    let known = rotate(true).await;
    let until: Vec<_> = known.iter().map(|one| one.retires_at.is_some()).collect();
    assert_eq!(until, [false, true], "the new one first, then the one it replaced");
    bench
        .change(
            "UPDATE ingress.webhook_secrets SET retires_at = now() - INTERVAL '1 second' WHERE retires_at IS NOT NULL",
        )
        .await;
    assert_eq!(rotate(false).await.len(), 1, "what is accepted no more is not told");
}
