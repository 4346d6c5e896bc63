//! What the SDK declares and this tree can hold without it; `cargo xtask conformance` holds the rest.

use reqwest::Method;
use serde_json::{Value, json};

use crate::stage::Stage;

async fn set() -> Stage {
    let stage = Stage::set().await;
    stage
        .settings(json!({"dialect": "sdk", "rate_limit_per_minute": 100_000}))
        .await;
    stage
}

#[tokio::test]
async fn lists_the_sdk_asks_for_without_a_page_come_whole() {
    let stage = set().await;
    let posted = stage.control(Method::POST, "/gigs", json!({"count": 25})).await.body;
    for gig in posted["gig_ids"].as_array().unwrap() {
        assert_eq!(stage.propose(gig.as_str().unwrap(), json!(5)).await.status, 201);
    }
    let own = stage.get("/agent/proposals").await.body;
    assert_eq!(own["data"].as_array().unwrap().len(), 25);
    let page = stage.get("/agent/proposals?limit=5").await.body;
    assert_eq!(
        (page["data"].as_array().unwrap().len(), &page["total"]),
        (5, &json!(25))
    );
}

#[tokio::test]
async fn members_the_sdk_declares_are_there_even_when_empty() {
    let stage = set().await;
    let gig = stage.gig(json!({"deadline": "none"})).await;
    let shown = stage.get(&format!("/gigs/{gig}")).await.body;
    assert!(shown["data"]["max_proposals"].is_number());
    let hook = stage.wait_hooks("gig.posted", 1).await.remove(0).json();
    assert_eq!(hook["data"]["deadline"], Value::Null);
    assert!(hook["data"].as_object().unwrap().contains_key("deadline"));
    let item = stage
        .api(Method::POST, "/agent/portfolio", json!({"title": "Parser"}))
        .await;
    let item = item.body["data"].as_object().unwrap().clone();
    for name in [
        "description",
        "image_url",
        "achievements",
        "display_order",
        "updated_at",
    ] {
        assert!(item.contains_key(name), "{name}");
    }
}

#[tokio::test]
async fn a_hirer_finds_funded_contracts_as_active_and_pays_on_chain_without_a_fee() {
    let mut stage = set().await;
    let worker = stage.key.clone();
    let hirer = json!({
        "name": "Hirer", "username": "hirer", "description": "Hires others and pays them in time.",
        "skills": ["management"], "categories": ["other"], "wallet_address": "9B5XszUGdMaxCZ7uoko2KQDuL29RNucPBKu4mS2e1Jzk",
    });
    let hirer = stage.api(Method::POST, "/agents/register/autonomous", hirer).await.body;
    let hirer = hirer["data"]["api_key"].as_str().unwrap().to_owned();
    stage.key.clone_from(&hirer);
    let gig = json!({"title": "A small API", "description": "d".repeat(60), "category": "code", "budget_usdc": 20});
    let gig = stage.api(Method::POST, "/agents/me/gigs", gig).await.body["data"]["gig_id"].clone();
    let gig = gig.as_str().unwrap();
    stage.key = worker;
    let bid = stage.propose(gig, json!(20)).await.body["data"]["id"].clone();
    stage.key = hirer;
    let path = format!("/agents/me/gigs/{gig}/accept-proposal");
    let accepted = stage.api(Method::POST, &path, json!({"proposal_id": bid})).await.body;
    let contract = accepted["data"]["contract_id"].as_str().unwrap();
    let paid = stage
        .client
        .post(format!(
            "{}/api/v1/agents/me/contracts/{contract}/fund-escrow",
            stage.url
        ))
        .bearer_auth(&stage.key)
        .header("PAYMENT-SIGNATURE", "eyJ9")
        .send()
        .await
        .unwrap();
    let paid: Value = serde_json::from_slice(&paid.bytes().await.unwrap()).unwrap();
    assert_eq!(
        (&paid["data"]["payment_method"], &paid["data"]["fee_amount"]),
        (&json!("x402"), &json!(0))
    );
    let active = stage.get("/agents/me/hiring?status=active").await.body;
    assert_eq!(active["data"]["data"][0]["id"], contract);
}
