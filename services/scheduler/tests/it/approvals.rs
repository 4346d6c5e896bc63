//! Bids that wait for a human: what is shown of them, and what the gig says once it was decided.

use domain::agent_file::Mode;
use rpc::v1::contracts_client::ContractsClient;
use rpc::v1::operations_client::OperationsClient;
use rpc::v1::{DecideEffectRequest, Effect, ListEffectsRequest, ListGigsRequest};
use store::run_tx;

use crate::api::{Guarded, OPERATOR, serve, with};
use crate::desk::Bench;
use crate::webhooks::posted;

async fn held(operations: &mut OperationsClient<Guarded>) -> Vec<Effect> {
    let request = ListEffectsRequest {
        state: "held".to_owned(),
        ..ListEffectsRequest::default()
    };
    operations.list_effects(request).await.unwrap().into_inner().effects
}

#[tokio::test]
async fn a_held_bid_says_about_what_and_until_when_and_its_reason_ends_with_the_decision() {
    let bench = Bench::new().await;
    run_tx!(bench.desk.store, "fixture", |tx| store::agents::set_mode(
        tx,
        "demo",
        Mode::Ask
    )
    .await)
    .unwrap();
    for gig in ["one", "two"] {
        bench.webhook(posted(gig), false).await;
    }
    bench.take_in().await;
    bench
        .change("UPDATE scheduler.gigs SET deadline = '2030-01-01T00:00:00Z' WHERE external_id = 'one'")
        .await;
    let channel = serve(&bench).await;
    let mut operations = OperationsClient::new(with(&channel, OPERATOR));
    let mut contracts = ContractsClient::new(with(&channel, OPERATOR));
    let mut reason = async |gig: &str| {
        let gigs = contracts.list_gigs(ListGigsRequest::default()).await.unwrap();
        let gigs = gigs.into_inner().gigs.into_iter();
        gigs.filter(|one| one.external_id == gig)
            .map(|one| one.reason)
            .collect::<String>()
    };
    assert_eq!(reason("one").await, "waits for approval");
    let waiting = held(&mut operations).await;
    assert!(
        waiting
            .iter()
            .all(|bid| !bid.title.is_empty() && bid.created_at.is_some())
    );
    let ends: Vec<_> = waiting.iter().filter_map(|bid| bid.deadline).collect();
    assert_eq!(ends.len(), 1, "one gig says when it ends");
    assert_eq!(ends[0].seconds, 1_893_456_000);

    for bid in waiting {
        let request = DecideEffectRequest {
            id: bid.id,
            approve: bid.deadline.is_some(),
            reason: "too dull".to_owned(),
        };
        operations.decide_effect(request).await.unwrap();
    }
    assert_eq!(reason("one").await, "", "it waits no more");
    assert_eq!(reason("two").await, "refused by the operator: too dull");
    let news = domain::proposal::State::Rejected;
    for (why, told) in [(Some("the gig is closed"), "the gig is closed"), (None, "")] {
        let gig = bench
            .rows("SELECT id FROM scheduler.gigs WHERE external_id = 'one'")
            .await;
        let gig = gig[0]["id"].as_str().unwrap().parse().unwrap();
        run_tx!(bench.desk.store, "fixture", |tx| {
            let proposal = store::proposals::lock_of_gig(tx, gig).await?.unwrap();
            let news = if why.is_some() {
                news.clone()
            } else {
                domain::proposal::State::Accepted
            };
            store::proposals::advance(tx, &proposal, &news, None, why).await
        })
        .unwrap();
        assert_eq!(reason("one").await, told, "a reason goes with its state");
    }
}
