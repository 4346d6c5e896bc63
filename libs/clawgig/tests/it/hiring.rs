//! An agent that hires, and what an agent keeps besides its work: portfolio, services, keys.

use clawgig::wire::agent::PortfolioItem;
use clawgig::wire::contract::AttachmentForm;
use clawgig::wire::gig::ProposalPatch;
use clawgig::wire::hiring::{AutonomousRegistration, NewGig};
use clawgig::wire::service::ServiceSearch;
use clawgig::{Client, ContractStatus, Verdict};
use outbound::Method;
use serde_json::json;
use simulator::Dialect;

use crate::stage::{Stage, delivery, proposal};

fn registration() -> AutonomousRegistration {
    AutonomousRegistration {
        name: "Hiring agent".to_owned(),
        username: "hirer".to_owned(),
        description: "Buys small programs from other agents.".to_owned(),
        skills: vec!["buying".to_owned()],
        categories: vec!["code".to_owned()],
        wallet_address: "9B5XszUGdMaxCZ7uoko2KQDuL29RNucPBKu4mS2e1Jzk".to_owned(),
        webhook_url: None,
    }
}

fn gig() -> NewGig {
    NewGig {
        title: "Write a CSV reader".to_owned(),
        description: "A reader for files of comma separated values, with tests and a page of documentation.".to_owned(),
        category: "code".to_owned(),
        skills: vec!["python".to_owned()],
        budget_micro: 100_000_000,
        ..NewGig::default()
    }
}

/// A hiring agent with money.
async fn hirer(stage: &Stage) -> Client {
    let registered = stage.client.register_autonomous(&registration()).await.unwrap().value;
    let hirer = stage.client.with_key(registered.api_key).unwrap();
    let agents = stage.ask(Method::GET, "/agents", json!(null)).await;
    assert!(
        agents["data"]
            .as_array()
            .unwrap()
            .iter()
            .any(|one| one["is_autonomous"] == true)
    );
    hirer
}

#[tokio::test]
async fn an_agent_hires_another_and_every_micro_unit_is_accounted_for() {
    for dialect in Dialect::ALL {
        let stage = Stage::speaking(dialect).await;
        stage.get_ready().await;
        let hirer = hirer(&stage).await;
        stage
            .ask(Method::POST, "/agents/hirer/credit", json!({"amount_usdc": 30}))
            .await;
        let gig_id = hirer.post_gig(&gig()).await.unwrap().value.gig_id;
        let bid = stage.client.submit_proposal(&gig_id, &proposal()).await.unwrap().value;
        let hired = hirer.accept_proposal(&gig_id, &bid.id).await.unwrap().value;
        assert_eq!(hired.amount_micro, Some(12_250_000));
        let funded = hirer.fund_escrow(&hired.contract_id).await.unwrap().value;
        assert_eq!(
            (funded.escrow_micro, funded.fee_micro),
            (Some(12_250_000), Some(612_500))
        );
        let balance = hirer.balance().await.unwrap().value;
        assert_eq!((balance.free_micro, balance.escrow_micro), (17_137_500, 12_250_000));
        stage
            .client
            .deliver(&hired.contract_id, &delivery(vec![]), AttachmentForm::Objects)
            .await
            .unwrap();
        let paid = hirer.approve_delivery(&hired.contract_id).await.unwrap().value;
        assert_eq!((paid.payout_micro, paid.fee_micro), (Some(11_025_000), Some(1_225_000)));
        let listed = hirer.list_hired_page(None, 0).await.unwrap().value;
        assert_eq!(listed.items[0].status, ContractStatus::Approved, "{dialect}");
    }
}

#[tokio::test]
async fn only_an_agent_without_an_operator_hires_and_only_with_money() {
    let stage = Stage::ready().await;
    let refused = stage.client.post_gig(&gig()).await.unwrap_err();
    assert_eq!((refused.status(), refused.verdict()), (Some(403), Verdict::Park));
    let hirer = hirer(&stage).await;
    let gig_id = hirer.post_gig(&gig()).await.unwrap().value.gig_id;
    let bid = stage.client.submit_proposal(&gig_id, &proposal()).await.unwrap().value;
    let hired = hirer.accept_proposal(&gig_id, &bid.id).await.unwrap().value;
    let poor = hirer.fund_escrow(&hired.contract_id).await.unwrap_err();
    assert_eq!(poor.verdict(), Verdict::Refuse);
    let short = hirer.dispute(&hired.contract_id, "bad").await.unwrap_err();
    assert_eq!(short.verdict(), Verdict::Refuse);
}

#[tokio::test]
async fn a_portfolio_is_changed_and_a_pending_proposal_is_edited() {
    let stage = Stage::ready().await;
    let client = &stage.client;
    let mut item = PortfolioItem {
        title: "A parser".to_owned(),
        ..PortfolioItem::default()
    };
    let id = client.add_portfolio(&item).await.unwrap().value.id;
    item.title = "A better parser".to_owned();
    assert_eq!(
        client.update_portfolio(&id, &item).await.unwrap().value.title,
        item.title
    );
    client.delete_portfolio(&id).await.unwrap();
    let left = client.portfolio().await.unwrap().value.items;
    assert!(left.iter().all(|one| one.id != id));

    let posted = stage.ask(Method::POST, "/gigs", json!({})).await;
    let made = client
        .submit_proposal(posted["gig_ids"][0].as_str().unwrap(), &proposal())
        .await
        .unwrap();
    let patch = ProposalPatch {
        amount_micro: Some(9_500_000),
        ..ProposalPatch::default()
    };
    let edited = client.edit_proposal(&made.value.id, &patch).await.unwrap().value;
    assert_eq!(edited.amount_micro, Some(9_500_000));
}

#[tokio::test]
async fn services_are_found_by_category_in_every_wrapping() {
    for dialect in Dialect::ALL {
        let stage = Stage::speaking(dialect).await;
        let service = json!({"agent": "demo", "title": "Logo", "category": "design", "starting_price": 12.5});
        stage.ask(Method::POST, "/services", service).await;
        let search = |category: &str| ServiceSearch {
            category: Some(category.to_owned()),
            ..ServiceSearch::default()
        };
        let found = stage
            .client
            .list_services_page(&search("design"))
            .await
            .unwrap()
            .value
            .items;
        assert_eq!(found[0].starting_price_micro, Some(12_500_000), "{dialect}");
        let read = stage.client.service(&found[0].id).await.unwrap().value;
        assert_eq!(read.title, "Logo");
        assert!(
            stage
                .client
                .list_services_page(&search("code"))
                .await
                .unwrap()
                .value
                .items
                .is_empty()
        );
    }
}

#[tokio::test]
async fn a_new_key_ends_the_old_one() {
    let stage = Stage::ready().await;
    let me = stage.client.profile().await.unwrap().value.id;
    let key = stage.client.regenerate_key(&me).await.unwrap().value;
    let old = stage.client.readiness().await.unwrap_err();
    assert_eq!(old.verdict(), Verdict::Unauthorized);
    assert!(
        stage
            .client
            .with_key(key)
            .unwrap()
            .readiness()
            .await
            .unwrap()
            .value
            .ready
    );
}
