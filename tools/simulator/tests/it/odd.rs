//! What goes wrong on a market without anybody's fault.

use reqwest::Method;
use serde_json::{Value, json};
use simulator::signature;

use crate::stage::{Hook, Stage};

async fn secret(stage: &Stage) -> String {
    let rotated = stage
        .api(Method::POST, "/agent/webhooks/rotate-secret", Value::Null)
        .await;
    rotated.body["webhook_secret"].as_str().unwrap().to_owned()
}

fn is_signed(hook: &Hook, secret: &str) -> bool {
    hook.header("x-clawgig-signature") == signature(secret.as_bytes(), &hook.body)
}

#[tokio::test]
async fn a_retry_after_a_rotation_is_signed_as_the_policy_says() {
    for (policy, with_first) in [("at_send", false), ("at_creation", true)] {
        let stage = Stage::set().await;
        stage.settings(json!({"webhook_signing": policy})).await;
        let first = secret(&stage).await;
        stage.answer_hooks(vec![500]);
        stage.gig(json!({})).await;
        stage.wait_report(|report| report["webhooks"]["failures"] == 1).await;
        let second = secret(&stage).await;
        let log = stage.get("/agent/webhooks/deliveries").await.body;
        let id = log["data"][0]["id"].as_str().unwrap();
        let path = format!("/agent/webhooks/deliveries/{id}/retry");
        stage.api(Method::POST, &path, Value::Null).await;
        let hooks = stage.wait_hooks("gig.posted", 2).await;
        assert!(is_signed(&hooks[0], &first));
        assert_eq!(is_signed(&hooks[1], &first), with_first, "{policy}");
        assert_eq!(is_signed(&hooks[1], &second), !with_first, "{policy}");
    }
}

#[tokio::test]
async fn a_webhook_can_be_signed_with_the_secret_before_the_last_rotation() {
    let stage = Stage::set().await;
    let fault = json!([{"on": "webhook", "kind": "old_secret", "count": 1}]);
    stage.faults(fault).await;
    stage.gig(json!({})).await;
    let first = secret(&stage).await;
    let second = secret(&stage).await;
    stage.gig(json!({})).await;
    let hook = stage.wait_hooks("gig.posted", 2).await.remove(1);
    assert!(is_signed(&hook, &first) && !is_signed(&hook, &second));
}

#[tokio::test]
async fn amounts_of_an_approval_can_be_rounded_against_each_other() {
    let stage = Stage::set().await;
    let fault = json!([{"on": "webhook", "kind": "odd_rounding", "args": {"places": 1}}]);
    stage.faults(fault).await;
    let contract = stage.funded(json!(33.33)).await;
    stage.deliver(&contract).await;
    stage.step(&contract, "approve", json!({})).await;
    let hook = stage.wait_hooks("contract.approved", 1).await.remove(0).json();
    assert_eq!(hook["data"]["amount_earned"].to_string(), "29.9");
    assert_eq!(hook["data"]["platform_fee"].to_string(), "3.4");
}

#[tokio::test]
async fn a_gig_can_close_or_fill_up_between_the_look_and_the_bid() {
    let stage = Stage::set().await;
    for (kind, code) in [
        ("gig_closed", "gig_not_open"),
        ("proposal_cap", "proposal_limit_reached"),
    ] {
        let gig = stage.gig(json!({})).await;
        stage.faults(json!([{"on": "propose", "kind": kind, "count": 1}])).await;
        assert_eq!(stage.get(&format!("/gigs/{gig}")).await.body["status"], "open");
        for _ in 0..2 {
            let refused = stage.propose(&gig, json!(5)).await;
            assert_eq!((refused.status, &refused.body["code"]), (400, &json!(code)));
        }
    }
    let refused = stage.control(Method::PUT, "/faults", json!([{"on": "deliver", "kind": "gig_closed"}]));
    assert_eq!(refused.await.status, 400);
}

#[tokio::test]
async fn a_gig_under_moderation_is_seen_by_nobody_until_it_is_approved() {
    let stage = Stage::set().await;
    let gig = stage.gig(json!({"moderation_status": "pending"})).await;
    let moderate = |status: &'static str| {
        let path = format!("/gigs/{gig}/moderate");
        let stage = &stage;
        async move { stage.control(Method::POST, &path, json!({ "status": status })).await }
    };
    assert_eq!(moderate("rejected").await.body["moderation_status"], "rejected");
    assert_eq!(stage.get(&format!("/gigs/{gig}")).await.status, 404);
    assert_eq!(stage.propose(&gig, json!(5)).await.status, 404);
    assert_eq!(moderate("eaten").await.status, 400);
    assert!(stage.hooks().is_empty());
    moderate("approved").await;
    stage.wait_hooks("gig.posted", 1).await;
    assert_eq!(stage.propose(&gig, json!(5)).await.status, 201);
    let closed = stage
        .control(Method::POST, &format!("/gigs/{gig}/close"), json!({}))
        .await;
    assert_eq!(closed.body["status"], "cancelled");
}

#[tokio::test]
async fn a_key_replaced_by_the_operator_is_refused_at_once() {
    let mut stage = Stage::set().await;
    let made = stage
        .control(Method::POST, "/agents/demo/regenerate-key", json!({}))
        .await;
    assert_eq!(stage.get("/agents/me").await.status, 401);
    stage.key = made.body["api_key"].as_str().unwrap().to_owned();
    assert_eq!(stage.get("/agents/me").await.status, 200);
}

#[tokio::test]
async fn a_suspended_agent_reads_but_changes_nothing() {
    let stage = Stage::set().await;
    let contract = stage.funded(json!(10)).await;
    stage.control(Method::POST, "/agents/demo/suspend", json!({})).await;
    assert_eq!(stage.get("/agents/status").await.body["status"], "suspended");
    assert_eq!(stage.get("/agents/me/readiness").await.body["ready"], false);
    let refused = stage.deliver(&contract).await;
    assert_eq!(
        (refused.status, &refused.body["code"]),
        (403, &json!("agent_suspended"))
    );
    stage.control(Method::POST, "/agents/demo/activate", json!({})).await;
    assert_eq!(stage.deliver(&contract).await.status, 200);
}

#[tokio::test]
async fn odd_briefs_arrive_as_odd_as_they_are() {
    let stage = Stage::set().await;
    for (template, holds) in [
        ("empty", " "),
        ("huge", "section"),
        ("unicode", "\u{0000}"),
        ("injection", "<system>"),
    ] {
        let gig = stage.gig(json!({"template": template, "category": "code"})).await;
        let shown = stage.get(&format!("/gigs/{gig}")).await.body;
        assert!(shown["description"].as_str().unwrap().contains(holds), "{template}");
        assert_eq!(stage.propose(&gig, json!(5)).await.status, 201);
    }
    let hooks = stage.wait_hooks("gig.posted", 4).await;
    assert!(hooks.iter().any(|hook| hook.body.len() > 200_000));
    assert!(hooks.iter().all(|hook| hook.body.len() < 256 * 1024));
}

#[tokio::test]
async fn an_agent_that_answers_everything_stops_when_its_rounds_are_over() {
    let stage = Stage::set().await;
    let contract = stage.funded(json!(10)).await;
    assert_eq!(stage.step(&contract, "echo", json!({"rounds": 3})).await.status, 200);
    for _ in 0..5 {
        let path = format!("/contracts/{contract}/messages");
        let sent = stage.api(Method::POST, &path, json!({"content": "Thanks, I will look into it."}));
        assert_eq!(sent.await.status, 201);
    }
    let answers = stage.wait_hooks("message.received", 3).await;
    assert!(answers.iter().all(|hook| hook.json()["data"]["sender_type"] == "agent"));
    let path = format!("/contracts/{contract}");
    let detail = stage.control(Method::GET, &path, Value::Null).await.body;
    assert_eq!(detail["messages"].as_array().unwrap().len(), 8);
}

#[tokio::test]
async fn work_can_be_cancelled_disputed_or_sent_back_whatever_the_agent_does() {
    let stage = Stage::set().await;
    let cancelled = stage.funded(json!(10)).await;
    stage.step(&cancelled, "cancel", json!({})).await;
    let refused = stage.deliver(&cancelled).await;
    assert_eq!(
        (refused.status, &refused.body["code"]),
        (409, &json!("contract_cancelled"))
    );

    let argued = stage.funded(json!(10)).await;
    stage.deliver(&argued).await;
    stage
        .step(&argued, "revise", json!({"message": "Shorter, please"}))
        .await;
    let listed = stage.get("/agents/me/contracts?status=funded").await.body;
    assert_eq!(listed["data"][0]["id"], argued);
    stage.deliver(&argued).await;
    stage.step(&argued, "dispute", json!({})).await;
    let refused = stage.deliver(&argued).await;
    assert_eq!(
        (refused.status, &refused.body["code"]),
        (409, &json!("contract_disputed"))
    );
}
