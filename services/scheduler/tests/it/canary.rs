//! Once a day every read is tried: what fails and what is new is told, until it is well again.

use std::sync::Arc;

use rpc::v1::marketplace_client::MarketplaceClient;
use rpc::v1::{ListDriftRequest, Read as Wire, TryReadRequest};
use scheduler::canary::{self, Read};
use scheduler::marketplace::Marketplace;
use scheduler::onboarding::Caller;
use serde_json::{Value, json};

use crate::api::{OPERATOR, serve, with};
use crate::desk::Bench;

fn caller(bench: &Bench) -> Caller {
    let market = Arc::new(Marketplace::new(Arc::clone(&bench.desk)).unwrap());
    Caller::new(Arc::clone(&bench.desk), market)
}

async fn standing(bench: &Bench, kind: &str) -> Vec<Value> {
    let rows = format!("SELECT body FROM scheduler.notices WHERE kind = '{kind}' AND resolved_at IS NULL");
    bench.rows(&rows).await
}

#[tokio::test]
async fn every_read_works_and_changes_nothing() {
    let bench = Bench::new().await;
    bench.contract().await;
    let channel = serve(&bench).await;
    let mut market = MarketplaceClient::new(with(&channel, OPERATOR));
    let mut gig = String::new();
    for read in 1..=12 {
        let request = TryReadRequest {
            name: "demo".to_owned(),
            read,
            id: if read == i32::from(Wire::Gig) {
                gig.clone()
            } else {
                String::new()
            },
        };
        if read == i32::from(Wire::Gig) && gig.is_empty() {
            continue;
        }
        let tried = market.try_read(request).await.unwrap().into_inner();
        assert!(tried.ok && tried.skipped == 0, "{read}: {tried:?}");
        if read == i32::from(Wire::Gigs) {
            gig = tried.first_id;
        }
    }
    let log = bench.market.get("/control/log").await;
    let writes = log["entries"].as_array().unwrap().iter().filter(|one| {
        let path = one["path"].as_str().unwrap_or_default();
        one["method"] != "GET" && path.starts_with("/api/v1") && !path.ends_with("/register")
    });
    assert_eq!(writes.count(), 0, "{log}");
}

#[tokio::test]
async fn a_read_that_fails_raises_one_notice_that_ends_when_it_passes() {
    let bench = Bench::with(&[("CANARY__EVERY", "24h")]).await;
    let caller = caller(&bench);
    let every = bench.desk.config.canary.every;
    assert_eq!(canary::look(&caller, "demo").await.unwrap(), every);
    assert!(standing(&bench, canary::READS).await.is_empty());
    let all = canary::Read::ALL.len();
    assert!(bench.count("scheduler.api_grants WHERE class = 'search'").await >= i64::try_from(all).unwrap() - 1);

    bench
        .market
        .put(
            "/control/faults",
            json!([{ "on": "list", "kind": "http_500", "count": 2 }]),
        )
        .await;
    assert!(
        canary::look(&caller, "demo").await.unwrap() < every,
        "it is looked again sooner"
    );
    let told = standing(&bench, canary::READS).await;
    assert_eq!(told.len(), 1, "{told:?}");
    let body = told[0]["body"].as_str().unwrap();
    assert!(
        body.contains(Read::Gigs.name()) && body.contains("steward doctor live demo"),
        "{body}"
    );
    canary::look(&caller, "demo").await.unwrap();
    assert!(standing(&bench, canary::READS).await.is_empty(), "it passed");
}

#[tokio::test]
async fn what_is_new_is_told_once_and_by_name() {
    let bench = Bench::new().await;
    let caller = caller(&bench);
    bench.gig().await;
    bench
        .market
        .put("/control/settings", json!({ "dialect": "hostile" }))
        .await;
    // What is said at random is said before long.
    for _ in 0..20 {
        canary::look(&caller, "demo").await.unwrap();
        if !standing(&bench, canary::NEWS).await.is_empty() {
            break;
        }
    }
    let told = standing(&bench, canary::NEWS).await;
    assert_eq!(told.len(), 1);
    assert!(
        told[0]["body"].as_str().unwrap().contains("steward api drift"),
        "{told:?}"
    );
    // The duty was done since; the platform says nothing new any more.
    bench
        .market
        .put("/control/settings", json!({ "dialect": "docs" }))
        .await;
    bench
        .change("INSERT INTO scheduler.duties (duty, key, last_done_at) VALUES ('canary', 'demo', now())")
        .await;
    canary::look(&caller, "demo").await.unwrap();
    let told = standing(&bench, canary::NEWS).await;
    assert!(told.is_empty(), "{told:?}");
}

#[tokio::test]
async fn a_canary_that_is_switched_off_asks_nothing() {
    let bench = Bench::with(&[("CANARY__EVERY", "0s")]).await;
    canary::look(&caller(&bench), "demo").await.unwrap();
    assert_eq!(bench.count("scheduler.api_grants").await, 0);
}

#[tokio::test]
async fn what_a_read_did_not_understand_is_listed_as_soon_as_it_is_told() {
    let bench = Bench::new().await;
    bench.gig().await;
    bench
        .market
        .put("/control/settings", json!({ "dialect": "hostile" }))
        .await;
    let channel = serve(&bench).await;
    let mut market = MarketplaceClient::new(with(&channel, OPERATOR));
    let mut told = Vec::new();
    // What is said at random is said before long.
    for _ in 0..20 {
        let request = TryReadRequest {
            name: "demo".to_owned(),
            read: Wire::Gigs.into(),
            id: String::new(),
        };
        let tried = market.try_read(request).await.unwrap().into_inner();
        told.extend(tried.unknown);
        if !told.is_empty() {
            break;
        }
    }
    assert!(!told.is_empty());
    let listed = market.list_drift(ListDriftRequest {}).await.unwrap().into_inner().drift;
    let names: Vec<_> = listed.iter().map(|one| (&one.what, &one.place, &one.name)).collect();
    for one in &told {
        assert!(
            names.contains(&(&one.what, &one.place, &one.name)),
            "{one:?}: {names:?}"
        );
    }
}
