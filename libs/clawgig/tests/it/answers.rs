//! How answers are taken.

use clawgig::client::RotatePath;
use clawgig::wire::agent::Registration;
use clawgig::wire::contract::{NewMessage, Sender};
use clawgig::wire::gig::GigSearch;
use clawgig::wire::webhook::DeliveryFilter;
use clawgig::{ContractStatus, GigStatus, Verdict};
use secrecy::ExposeSecret;
use serde_json::json;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

use crate::script::Script;

#[tokio::test]
async fn a_single_thing_is_read_bare_and_wrapped() {
    let (script, client) = Script::start().await;
    let gig = json!({
        "id": "g1", "client_id": "u1", "title": "Parse it", "description": "Long", "category": "code",
        "skills_required": ["python"], "budget_usdc": 25.5, "budget_type": "fixed", "status": "open",
        "moderation_status": "approved", "deadline": null, "max_proposals": null, "proposal_count": 2,
        "created_at": "2026-03-01T12:00:00.000Z", "updated_at": "2026-03-01T12:00:00.000Z",
    });
    for body in [
        gig.clone(),
        json!({"data": gig}),
        json!({"gig": gig}),
        json!({"data": {"gig": gig}}),
    ] {
        script.say(200, &body);
        let read = client.gig("g1").await.unwrap().value;
        assert_eq!(
            (read.id.as_str(), read.budget_micro),
            ("g1", Some(25_500_000)),
            "{body}"
        );
        assert_eq!((read.status, read.max_proposals), (Some(GigStatus::Open), None));
    }
}

#[tokio::test]
async fn a_refusal_whose_words_were_cut_off_is_verified_and_not_believed() {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let base = format!("http://{}/api/v1", listener.local_addr().unwrap());
    tokio::spawn(async move {
        loop {
            let (mut stream, _) = listener.accept().await.unwrap();
            let mut asked = [0; 4096];
            let _some = stream.read(&mut asked).await.unwrap();
            let half = "HTTP/1.1 400 Bad Request\r\ncontent-type: application/json\r\ncontent-length: 99\r\n\r\n{\"err";
            stream.write_all(half.as_bytes()).await.unwrap();
        }
    });
    let http = clawgig::client::http(outbound::Guard::AllowLoopback).build().unwrap();
    let client = clawgig::Client::new(&base, Some(crate::script::KEY.into()), http).unwrap();
    let message = NewMessage {
        content: "hello".to_owned(),
        attachment: None,
    };
    let written = client.send_message("c1", &message).await.unwrap_err();
    assert_eq!(written.verdict(), Verdict::Verify, "{written}");
    let read = client.gig("g1").await.unwrap_err();
    assert_eq!(read.verdict(), Verdict::Retry { after: None }, "{read}");
}

#[tokio::test]
async fn success_with_a_body_that_makes_no_sense_is_verified_for_writes_and_retried_for_reads() {
    let (script, client) = Script::start().await;
    let message = NewMessage {
        content: "hello".to_owned(),
        attachment: None,
    };
    for body in ["<html>", "", "{}", "[]", r#"{"error":"odd"}"#] {
        script.say(200, body);
        let error = client.send_message("c1", &message).await.unwrap_err();
        assert_eq!(error.verdict(), Verdict::Verify, "{body}: {error}");
        script.say(200, body);
        let error = client.gig("g1").await.unwrap_err();
        assert_eq!(error.verdict(), Verdict::Retry { after: None }, "{body}: {error}");
    }
    for body in ["", "{}", r#"{"error":"odd"}"#] {
        script.say(200, body);
        assert!(
            client.list_contracts_page(None, 0).await.is_err(),
            "no list is no empty list: {body}"
        );
    }
}

#[tokio::test]
async fn every_answer_good_or_bad_tells_the_rate_limit() {
    let (script, client) = Script::start().await;
    let headers = vec![
        ("x-ratelimit-limit", "30"),
        ("x-ratelimit-remaining", "3"),
        ("x-ratelimit-reset", "1772366400"),
    ];
    script.say_with(200, headers.clone(), json!([]));
    let page = client.search_gigs_page(&GigSearch::default()).await.unwrap();
    assert_eq!((page.rate.limit, page.rate.remaining), (Some(30), Some(3)));
    assert!(page.value.items.is_empty() && page.rate.reset.is_some());
    for status in [400, 429, 500] {
        script.say_with(status, headers.clone(), "no");
        let error = client.readiness().await.unwrap_err();
        assert_eq!(error.rate().unwrap().remaining, Some(3), "{status}");
    }
    script.say_with(200, headers, "<html>");
    assert_eq!(client.readiness().await.unwrap_err().rate().unwrap().limit, Some(30));
}

#[tokio::test]
async fn a_rate_limit_waits_by_http_date_measured_on_the_servers_clock() {
    let (script, client) = Script::start().await;
    let headers = vec![
        ("date", "Sun, 01 Mar 2026 12:00:00 GMT"),
        ("retry-after", "Sun, 01 Mar 2026 12:00:42 GMT"),
    ];
    script.say_with(429, headers, json!({"error": "slow down"}));
    let verdict = client.readiness().await.unwrap_err().verdict();
    assert_eq!(
        verdict,
        Verdict::Retry {
            after: Some(std::time::Duration::from_secs(42))
        }
    );
}

#[tokio::test]
async fn a_moved_api_parks_and_the_key_is_not_sent_on() {
    let (script, client) = Script::start().await;
    script.say_with(307, vec![("location", "/api/v1/elsewhere")], "");
    let error = client.readiness().await.unwrap_err();
    assert_eq!((error.status(), error.verdict()), (Some(307), Verdict::Park));
    assert_eq!(script.one().line, "GET /agents/me/readiness");
}

#[tokio::test]
async fn secrets_given_once_are_read_and_never_printed() {
    let (script, client) = Script::start().await;
    script.say(
        201,
        json!({
            "agent_id": "a1", "api_key": "cg_newnewnew", "claim_token": "clm_tok",
            "claim_url": "https://x/dashboard/agents/claim/u",
        }),
    );
    let reply = client.register(&Registration::default()).await.unwrap();
    assert_eq!(reply.value.api_key.expose_secret(), "cg_newnewnew");
    let printed = format!("{reply:?}");
    assert!(
        !["newnewnew", "clm_tok", "claim/u"]
            .iter()
            .any(|secret| printed.contains(secret)),
        "{printed}"
    );
    for body in [
        json!({"webhook_secret": "whsec_1"}),
        json!({"data": {"secret": "whsec_1"}}),
        json!({"signingSecret": "whsec_1"}),
    ] {
        script.say(200, &body);
        let reply = client.rotate_secret(RotatePath::Family).await.unwrap();
        assert_eq!(reply.value.expose_secret(), "whsec_1", "{body}");
    }
    assert!(!format!("{client:?}").contains("0123456789abcdef"));
}

#[tokio::test]
async fn lists_of_every_sort_are_read() {
    let (script, client) = Script::start().await;
    script.say(
        200,
        json!({"data": [
        {"id": "c1", "gig_id": "g1", "client_id": "u1", "agent_id": "a1", "proposal_id": null, "amount_usdc": "9.99",
         "status": "paid", "delivered_at": "2026-03-01T12:00:00Z"},
        {"id": "c1", "status": "paid"},
    ], "total": 2}),
    );
    let page = client.list_contracts_page(None, 0).await.unwrap().value;
    assert_eq!((page.items.len(), page.raw, page.skipped), (1, 2, 0), "each id once");
    assert_eq!(
        (&page.items[0].status, page.items[0].amount_micro),
        (&ContractStatus::Approved, Some(9_990_000))
    );

    script.say(
        200,
        json!({"messages": [
            {"id": "m1", "contract_id": "c1", "sender_id": "u1", "sender_agent_id": null, "content": "hi"},
            {"id": "m2", "contract_id": "c1", "sender_agent_id": "a1", "content": "done", "attachment_url": "https://x",
             "attachment_name": "f", "attachment_type": "text/plain", "attachment_size": 3},
        ]}),
    );
    let messages = client.list_messages_page("c1", 0).await.unwrap().value.items;
    assert_eq!(messages[0].sender, Sender::Client(Some("u1".to_owned())));
    assert_eq!(messages[1].sender, Sender::Agent(Some("a1".to_owned())));
    assert_eq!(messages[1].attachment.as_ref().map(|file| file.size), Some(3));

    let payload = json!({"event": "contract.funded", "data": {"contract_id": "c1"}});
    script.say(
        200,
        json!({"data": [
            {"id": "w1", "delivery_id": "d1", "event": "contract.funded", "payload": payload, "success": false,
             "attempt": 2, "max_attempts": 5, "status_code": 503, "next_retry_at": "2026-03-01T12:05:00Z"},
            {"id": "w2", "delivery_id": "d2", "event": "test", "payload": "{\"event\": \"test\"}", "success": true},
        ]}),
    );
    let log = client
        .list_deliveries_page(&DeliveryFilter::default())
        .await
        .unwrap()
        .value
        .items;
    assert_eq!((log[0].success, log[0].attempt), (Some(false), Some(2)));
    assert!(clawgig::Event::parse(log[0].payload.as_ref().unwrap()).is_ok());
    assert_eq!(log[1].payload.as_deref(), Some(br#"{"event": "test"}"#.as_slice()));
}
