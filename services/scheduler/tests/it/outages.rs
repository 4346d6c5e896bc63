//! A provider of models is down: people are told, bids wait, and it ends by itself.

use chrono::{TimeDelta, Utc};
use domain::effect::State;
use rpc::convert::timestamp;
use rpc::v1::{AgentSecret, Outage, Provider};
use scheduler::outages;
use serde_json::json;

use crate::courier::{proposal, proposals_on_the_market, until};
use crate::desk::{Bench, PATIENCE};
use crate::floor::books;
use crate::ledger::Ledger;

const TOLD: &str = "SELECT body FROM scheduler.notices WHERE kind = 'models' AND resolved_at IS NULL";

fn provider(outage: Option<Outage>) -> Provider {
    Provider {
        name: "openai".to_owned(),
        models: vec!["*".to_owned()],
        has_key: true,
        outage,
    }
}

#[tokio::test]
async fn while_the_models_are_away_people_know_and_no_bid_goes_out_until_they_are_back() {
    let bench = Bench::new().await;
    let ledger = Ledger::default();
    let billing = books(&bench, &ledger).await;
    let now = Utc::now();
    let outage = Outage {
        since: Some(timestamp(now - TimeDelta::minutes(5))),
        failures: 4,
        last_at: Some(timestamp(now)),
        error: "it answers HTTP 503".to_owned(),
    };
    ledger.0.lock().unwrap().providers = vec![provider(Some(outage))];
    outages::look(&bench.desk, &billing).await.unwrap();
    let told = bench.rows(TOLD).await;
    let body = told[0]["body"].as_str().unwrap();
    assert!(
        body.contains("openai") && body.contains("HTTP 503") && body.contains("4 calls"),
        "{body}"
    );

    let (_external, _gig, id) = proposal(&bench).await;
    bench.work();
    testkit::eventually(PATIENCE, "the bid to be held", async || {
        let why = bench.rows("SELECT error FROM scheduler.effects").await;
        why[0] == json!({ "error": "the agent's models cannot be called: held" })
    })
    .await
    .unwrap();
    assert_eq!(proposals_on_the_market(&bench).await, 0);

    ledger.0.lock().unwrap().providers = vec![provider(None)];
    outages::look(&bench.desk, &billing).await.unwrap();
    assert!(bench.rows(TOLD).await.is_empty(), "what is over is told no longer");
    bench.change("UPDATE scheduler.effects SET not_before = now()").await;
    until(&bench, id, State::Done).await;
}

#[tokio::test]
async fn while_a_secret_is_missing_people_know_and_no_bid_goes_out_until_it_is_set() {
    let bench = Bench::new().await;
    let ledger = Ledger::default();
    let billing = books(&bench, &ledger).await;
    let credential = json!([{
        "host": "api.search.example", "header": "authorization", "format": "Bearer {}", "secret": "search-api",
    }]);
    bench
        .change(&format!(
            "UPDATE scheduler.agents SET spec = jsonb_set(spec, '{{network,credential}}', '{credential}')"
        ))
        .await;
    let told = "SELECT body FROM scheduler.notices WHERE kind = 'secrets' AND resolved_at IS NULL";
    outages::look(&bench.desk, &billing).await.unwrap();
    let body = bench.rows(told).await[0]["body"].clone();
    assert!(
        body.as_str().unwrap().contains("`steward secrets set demo search-api`"),
        "{body}"
    );

    let (_external, _gig, id) = proposal(&bench).await;
    bench.work();
    testkit::eventually(PATIENCE, "the bid to be held", async || {
        let why = bench.rows("SELECT error FROM scheduler.effects").await;
        why[0] == json!({ "error": "a secret the agent file names is not set: held" })
    })
    .await
    .unwrap();

    let set = |agent: &str| AgentSecret {
        agent: agent.to_owned(),
        name: "search-api".to_owned(),
        set_at: None,
    };
    ledger.0.lock().unwrap().secrets = vec![set("other")];
    outages::look(&bench.desk, &billing).await.unwrap();
    assert_eq!(bench.rows(told).await.len(), 1, "another's is another's");
    ledger.0.lock().unwrap().secrets = vec![set("other"), set("demo")];
    outages::look(&bench.desk, &billing).await.unwrap();
    assert!(bench.rows(told).await.is_empty());
    bench.change("UPDATE scheduler.effects SET not_before = now()").await;
    until(&bench, id, State::Done).await;
}

#[tokio::test]
async fn runs_that_wait_with_nobody_to_take_them_are_told_until_somebody_comes() {
    let bench = Bench::new().await;
    let billing = books(&bench, &Ledger::default()).await;
    let told = "scheduler.notices WHERE kind = 'no_executor' AND resolved_at IS NULL";
    let look = async || {
        outages::look(&bench.desk, &billing).await.unwrap();
        bench.count(told).await
    };
    bench.run(domain::run::Kind::Work, 0).await;
    assert_eq!(look().await, 0, "it may be on its way");
    bench
        .change("UPDATE scheduler.runs SET not_before = now() - INTERVAL '1 minute'")
        .await;
    assert_eq!(look().await, 1);
    let here = "INSERT INTO scheduler.executors (id, slots, isolation, version, draining) VALUES ('e', 1, 'process', '1', TRUE)";
    bench.change(here).await;
    assert_eq!(look().await, 1, "a drained one takes nothing");
    bench.change("UPDATE scheduler.executors SET draining = FALSE").await;
    assert_eq!(look().await, 0);
}
