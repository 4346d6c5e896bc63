//! The client and the simulator understand each other.

use std::collections::BTreeSet;
use std::time::Duration;

use axum::body::Bytes;
use axum::http::HeaderMap;
use axum::routing::post;
use chrono::Utc;
use clawgig::client::{RotatePath, WithdrawForm};
use clawgig::signature::{DELIVERY_HEADER, SIGNATURE_HEADER, TIMESTAMP_HEADER};
use clawgig::wire::agent::{PortfolioItem, ProfilePatch};
use clawgig::wire::contract::{Attachment, AttachmentForm, NewMessage, Upload};
use clawgig::wire::gig::GigSearch;
use clawgig::wire::webhook::{DeliveryFilter, WebhookPatch};
use clawgig::{Collector, ContractStatus, Data, Error, Event, Family, Freshness};
use clawgig::{ProposalStatus, Verdict, Verifier};
use outbound::Method;
use serde_json::{Value, json};
use tokio::net::TcpListener;
use tokio::sync::mpsc;

use crate::stage::{Stage, delivery, proposal};

#[tokio::test]
async fn an_agent_gets_ready_step_by_step() {
    let stage = Stage::set().await;
    let client = &stage.client;
    assert!(client.probe_family(Family::AgentsMe).await.unwrap().value);
    assert!(!client.readiness().await.unwrap().value.ready);
    client.verify_email("a@example.com").await.unwrap();
    let agents = stage.ask(Method::GET, "/agents", Value::Null).await;
    let code = agents["data"][0]["email_code"].as_str().unwrap();
    client.confirm_email(code).await.unwrap();
    let item = PortfolioItem {
        title: "A parser".to_owned(),
        ..PortfolioItem::default()
    };
    client.add_portfolio(&item).await.unwrap();
    assert_eq!(client.portfolio().await.unwrap().value.items.len(), 1);
    let patch = ProfilePatch {
        bio: Some("More".to_owned()),
        ..ProfilePatch::default()
    };
    client.update_profile(&patch).await.unwrap();
    stage.ask(Method::POST, "/agents/demo/ready", json!({})).await;
    assert!(client.readiness().await.unwrap().value.ready);
    assert_eq!(client.standing().await.unwrap().value.status, "active");
    assert_eq!(client.profile().await.unwrap().value.name, "Demo agent");
}

#[tokio::test]
async fn a_contract_goes_from_gig_to_approval() {
    let stage = Stage::ready().await;
    let client = &stage.client;
    let contract = stage.contract(false).await;
    let listed = client.list_contracts_page(None, 0).await.unwrap();
    assert!(listed.rate.limit.is_some());
    let listed = &listed.value.items[0];
    assert_eq!(
        (listed.id.as_str(), &listed.status),
        (contract.as_str(), &ContractStatus::Active)
    );
    assert!(!listed.is_funded() && listed.amount_micro == Some(12_250_000));
    let gig = client.gig(listed.gig_id.as_deref().unwrap()).await.unwrap().value;
    assert_eq!(gig.budget_micro, Some(20_000_000));
    let early = client
        .deliver(&contract, &delivery(vec![]), AttachmentForm::Objects)
        .await;
    assert_eq!(early.unwrap_err().verdict(), Verdict::Refuse);
    stage
        .ask(Method::POST, &format!("/contracts/{contract}/fund"), json!({}))
        .await;
    assert!(client.list_contracts_page(Some("funded"), 0).await.unwrap().value.items[0].is_funded());

    let upload = Upload {
        name: "out.csv".to_owned(),
        mime: "text/csv".to_owned(),
        bytes: "a,b\n1,2\n".into(),
        bucket: "attachments".to_owned(),
        contract_id: Some(contract.clone()),
    };
    let url = client.upload(&upload).await.unwrap().value.url;
    let file = Attachment {
        url,
        name: upload.name.clone(),
        mime: upload.mime.clone(),
        size: 8,
    };
    let done = client
        .deliver(&contract, &delivery(vec![file]), AttachmentForm::Objects)
        .await;
    assert_eq!(done.unwrap().value.status, ContractStatus::Delivered);
    let message = NewMessage {
        content: "It is done.".to_owned(),
        attachment: None,
    };
    client.send_message(&contract, &message).await.unwrap();
    let thread = client.list_messages_page(&contract, 0).await.unwrap().value;
    assert!(thread.items.iter().any(|message| message.content == "It is done."));
    stage
        .ask(Method::POST, &format!("/contracts/{contract}/approve"), json!({}))
        .await;
    let last = client.list_contracts_page(None, 0).await.unwrap().value;
    assert_eq!(last.items[0].status, ContractStatus::Approved);
    let proposals = client.list_proposals_page(0).await.unwrap().value.items;
    assert_eq!(proposals[0].status, ProposalStatus::Accepted);
    let report = stage.ask(Method::GET, "/report", Value::Null).await;
    assert_eq!(
        report["etiquette_breaches"].as_array().map(Vec::len),
        Some(1),
        "{report}"
    );
}

#[tokio::test]
async fn webhooks_verify_and_are_read_without_unknown_fields() {
    let stage = Stage::ready().await;
    let (hooks, mut came) = mpsc::unbounded_channel();
    let take = move |headers: HeaderMap, body: Bytes| {
        let taken = hooks.send((headers, body));
        async move { if taken.is_ok() { "ok" } else { "late" } }
    };
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let at = listener.local_addr().unwrap();
    let router = axum::Router::new().route("/hooks/demo", post(take));
    tokio::spawn(async move { axum::serve(listener, router).await });
    let patch = WebhookPatch {
        webhook_url: Some(format!("http://{at}/hooks/demo")),
        events: None,
    };
    stage.client.update_webhooks(&patch).await.unwrap();
    let secret = stage.client.rotate_secret(RotatePath::Family).await.unwrap().value;
    let verifier = Verifier::new([&secret]).unwrap();
    assert!(stage.client.test_webhook().await.unwrap().value.success);
    let contract = stage.contract(true).await;
    stage
        .client
        .deliver(&contract, &delivery(vec![]), AttachmentForm::Objects)
        .await
        .unwrap();
    for step in ["message", "dispute", "resolve", "review"] {
        stage
            .ask(Method::POST, &format!("/contracts/{contract}/{step}"), json!({}))
            .await;
    }
    let second = stage.contract(true).await;
    stage
        .client
        .deliver(&second, &delivery(vec![]), AttachmentForm::Objects)
        .await
        .unwrap();
    stage
        .ask(Method::POST, &format!("/contracts/{second}/approve"), json!({}))
        .await;
    let mut missing: BTreeSet<&str> = [
        "test",
        "gig.posted",
        "proposal.accepted",
        "contract.funded",
        "contract.delivered",
        "message.received",
        "contract.disputed",
        "contract.resolved",
        "review.received",
        "contract.approved",
    ]
    .into();
    while !missing.is_empty() {
        let wait = tokio::time::timeout(Duration::from_secs(20), came.recv()).await;
        let (headers, body) = wait.unwrap_or_else(|_| panic!("never came: {missing:?}")).unwrap();
        let header = |name: &str| headers.get(name).and_then(|value| value.to_str().ok());
        assert_eq!(verifier.verify(header(SIGNATURE_HEADER).unwrap(), &body), Ok(0));
        let fresh = Freshness::read(header(TIMESTAMP_HEADER), Utc::now()).unwrap();
        assert!(!fresh.is_stale() && header(DELIVERY_HEADER).is_some());
        let event = Event::parse(&body).unwrap();
        assert!(
            !matches!(event.data, Data::Unknown { .. }) && event.unknown_fields == 0,
            "{event:?}"
        );
        missing.remove(event.name.as_str());
    }
    let log = stage
        .client
        .list_deliveries_page(&DeliveryFilter::default())
        .await
        .unwrap()
        .value;
    assert!(log.items.iter().any(|entry| entry.success == Some(true)) && log.skipped == 0);
}

#[tokio::test]
async fn a_second_proposal_is_a_conflict_and_a_withdrawn_one_is_listed_so() {
    let stage = Stage::ready().await;
    let posted = stage.ask(Method::POST, "/gigs", json!({})).await;
    let gig = posted["gig_ids"][0].as_str().unwrap();
    let made = stage.client.submit_proposal(gig, &proposal()).await.unwrap().value;
    let twice = stage.client.submit_proposal(gig, &proposal()).await.unwrap_err();
    assert_eq!((twice.verdict(), twice.is_gig_full()), (Verdict::Conflict, false));
    stage
        .client
        .withdraw_proposal(gig, &made.id, WithdrawForm::Path)
        .await
        .unwrap();
    let listed = stage.client.list_proposals_page(0).await.unwrap().value.items;
    assert_eq!(listed[0].status, ProposalStatus::Withdrawn);
}

#[tokio::test]
async fn pages_of_gigs_are_put_together() {
    let stage = Stage::ready().await;
    stage.ask(Method::POST, "/gigs", json!({"count": 75})).await;
    let mut collector = Collector::default();
    let mut requests = 0;
    while let Some(offset) = collector.next_offset() {
        let search = GigSearch {
            offset,
            ..GigSearch::default()
        };
        collector.add(stage.client.search_gigs_page(&search).await.unwrap().value);
        requests += 1;
    }
    assert_eq!((requests, collector.finish().unwrap().len()), (2, 75));
}

#[tokio::test]
async fn a_secret_is_rotated_on_every_documented_path() {
    let stage = Stage::ready().await;
    for path in RotatePath::ALL {
        stage.client.rotate_secret(path).await.unwrap();
    }
    assert_eq!(
        stage.client.webhook_config().await.unwrap().value.has_secret,
        Some(true)
    );
}

#[tokio::test]
async fn each_fault_of_a_delivery_tells_whether_it_may_have_happened() {
    let stage = Stage::ready().await;
    for (kind, verdict) in [
        ("http_429", None),
        ("http_402", Some(Verdict::PlatformDown)),
        ("http_500", Some(Verdict::Verify)),
        ("http_502_html", Some(Verdict::Verify)),
        ("reset_before", Some(Verdict::Verify)),
        ("reset_after_commit", Some(Verdict::Verify)),
        ("garbage", Some(Verdict::Verify)),
        ("stop_midstream", Some(Verdict::Verify)),
    ] {
        let contract = stage.contract(true).await;
        stage.fault("deliver", kind).await;
        let outcome = stage
            .client
            .deliver(&contract, &delivery(vec![]), AttachmentForm::Objects)
            .await;
        let error: Error = outcome.unwrap_err();
        match verdict {
            Some(verdict) => assert_eq!(error.verdict(), verdict, "{kind}: {error}"),
            None => assert!(
                matches!(error.verdict(), Verdict::Retry { after: Some(_) }),
                "{kind}: {error}"
            ),
        }
        let happened = matches!(kind, "reset_after_commit" | "garbage" | "stop_midstream");
        let seen = stage
            .ask(Method::GET, &format!("/contracts/{contract}"), Value::Null)
            .await;
        assert_eq!(seen["status"] == "delivered", happened, "{kind}: {seen}");
    }
    let report = stage.ask(Method::GET, "/report", Value::Null).await;
    assert_eq!(report["delivered_twice"], json!(0), "{report}");
}
