//! What each call sends: one request, in the canonical form of the path family spoken.

use chrono::DateTime;
use clawgig::client::{RotatePath, WithdrawForm};
use clawgig::wire::agent::{PortfolioItem, ProfilePatch, Registration};
use clawgig::wire::contract::{Attachment, AttachmentForm, Delivery, NewMessage, Upload};
use clawgig::wire::gig::{GigSearch, NewProposal};
use clawgig::wire::webhook::{DeliveryFilter, WebhookPatch};
use clawgig::{Error, Family, Verdict};
use outbound::Sent;
use serde_json::{Value, json};

use crate::script::{KEY, Script};

const LETTER: &str = "I have done this before and can start now.";

/// Makes each call, and checks the request line it comes to.
macro_rules! sends {
    ($script:ident, $( $line:literal => $call:expr ),+ $(,)?) => {
        $(
            let _ = $call.await;
            assert_eq!($script.one().line, $line);
        )+
    };
}

#[tokio::test]
async fn reads_go_to_the_family_spoken() {
    let (script, client) = Script::start().await;
    sends! { script,
        "GET /agents/me/readiness" => client.readiness(),
        "GET /agents/status" => client.standing(),
        "GET /agents/me" => client.profile(),
        "GET /agents/me/portfolio" => client.portfolio(),
        "GET /agents/me/proposals?limit=50&offset=0" => client.list_proposals_page(0),
        "GET /agents/me/proposals/p1" => client.proposal("p1"),
        "GET /agents/me/contracts?limit=50&offset=50" => client.list_contracts_page(None, 50),
        "GET /agents/me/contracts?limit=50&offset=0&status=funded" => client.list_contracts_page(Some("funded"), 0),
        "GET /agents/me/messages?limit=50&offset=0" => client.list_inbox_page(0),
        "GET /agents/me/webhooks" => client.webhook_config(),
        "GET /gigs/g1" => client.gig("g1"),
        "GET /contracts/c1/messages?limit=50&offset=50" => client.list_messages_page("c1", 50),
    }
    client.set_family(Some(Family::Agent));
    sends! { script,
        "GET /agent/readiness" => client.readiness(),
        "GET /agent/status" => client.standing(),
        "GET /agent/profile" => client.profile(),
        "GET /agent/contracts?limit=50&offset=0" => client.list_contracts_page(None, 0),
        "PATCH /agent/profile" => client.update_profile(&ProfilePatch::default()),
        "POST /agent/confirm-email" => client.confirm_email("123456"),
        "POST /agent/webhooks/rotate-secret" => client.rotate_secret(RotatePath::Family),
        "POST /agents/me/webhooks/rotate-secret" => client.rotate_secret(RotatePath::OtherFamily),
    }
}

#[tokio::test]
async fn writes_go_to_the_family_spoken() {
    let (script, client) = Script::start().await;
    sends! { script,
        "PATCH /agents/me" => client.update_profile(&ProfilePatch::default()),
        "POST /agents/me/verify-email" => client.verify_email("a@b.c"),
        "POST /agents/me/verify-email/confirm" => client.confirm_email("123456"),
        "POST /agents/me/portfolio" => client.add_portfolio(&PortfolioItem::default()),
        "PATCH /agents/me/webhooks" => client.update_webhooks(&WebhookPatch::default()),
        "POST /agents/me/webhooks/rotate-secret" => client.rotate_secret(RotatePath::Family),
        "POST /agent/webhooks/rotate-secret" => client.rotate_secret(RotatePath::OtherFamily),
        "POST /webhooks/secret/rotate" => client.rotate_secret(RotatePath::Plain),
        "POST /agents/me/webhooks/deliveries/d1/retry" => client.retry_delivery("d1"),
        "POST /agents/me/webhooks/test" => client.test_webhook(),
        "DELETE /gigs/g1/proposals/p1" => client.withdraw_proposal("g1", "p1", WithdrawForm::Path),
        "DELETE /gigs/g1/proposals?proposal_id=p1" => client.withdraw_proposal("g1", "p1", WithdrawForm::Query),
        "POST /agents/register" => client.register(&Registration::default()),
    }
}

#[tokio::test]
async fn queries_carry_what_was_asked_for() {
    let (script, client) = Script::start().await;
    let search = GigSearch {
        q: Some("csv & more".to_owned()),
        category: Some("code".to_owned()),
        skills: vec!["python".to_owned(), "api".to_owned()],
        min_budget_micro: Some(1_500_000),
        max_budget_micro: None,
        offset: 50,
    };
    let _ = client.search_gigs_page(&search).await;
    let line = script.one().line;
    assert_eq!(
        line,
        "GET /gigs?limit=50&offset=50&sort=newest&q=csv+%26+more&category=code&skills=python%2Capi&min_budget=1.5"
    );
    let filter = DeliveryFilter {
        event: None,
        success: Some(false),
        since: DateTime::from_timestamp(1_772_366_400, 0),
        offset: 0,
    };
    let _ = client.list_deliveries_page(&filter).await;
    let line = script.one().line;
    assert!(line.ends_with("deliveries?limit=50&offset=0&success=false&since=2026-03-01T12%3A00%3A00.000Z"));
}

#[tokio::test]
async fn every_request_carries_the_key_and_money_as_an_exact_number() {
    let (script, client) = Script::start().await;
    let proposal = NewProposal {
        amount_micro: 25_500_001,
        cover_letter: LETTER.to_owned(),
        estimated_hours: Some(3),
    };
    script.say(
        201,
        json!({"id": "p1", "gig_id": "g1", "proposed_amount_usdc": 25.500001, "status": "pending"}),
    );
    let reply = client.submit_proposal("g1", &proposal).await.unwrap();
    assert_eq!(reply.value.amount_micro, Some(25_500_001));
    let asked = script.one();
    assert_eq!(asked.line, "POST /gigs/g1/proposals");
    assert_eq!(asked.auth.as_deref(), Some(format!("Bearer {KEY}").as_str()));
    let text = String::from_utf8(asked.body.to_vec()).unwrap();
    assert!(text.contains(r#""proposed_amount_usdc":25.500001"#), "{text}");
    assert_eq!(asked.json()["estimated_hours"], 3);
}

#[tokio::test]
async fn a_delivery_refused_for_its_attachments_asks_for_the_other_form() {
    let (script, client) = Script::start().await;
    let file = Attachment {
        url: "https://x/f".to_owned(),
        name: "f.txt".to_owned(),
        mime: "text/plain".to_owned(),
        size: 3,
    };
    let delivery = Delivery {
        notes: "Done. ref: 1".to_owned(),
        url: Some("https://x".to_owned()),
        attachments: vec![file],
    };
    script.say(400, json!({"error": "attachments must be an array of strings"}));
    let error = client
        .deliver("c1", &delivery, AttachmentForm::Objects)
        .await
        .unwrap_err();
    assert!(matches!(error, Error::AttachmentsAsUrls(_)), "{error}");
    let body = script.one().json();
    let object = json!({"url": "https://x/f", "name": "f.txt", "type": "text/plain", "size": 3});
    assert_eq!(body["attachments"], json!([object]));
    assert_eq!(
        (&body["delivery_notes"], &body["deliverables_url"]),
        (&json!("Done. ref: 1"), &json!("https://x"))
    );

    script.say(400, json!({"error": "attachments must be an array of objects"}));
    let error = client.deliver("c1", &delivery, AttachmentForm::Urls).await.unwrap_err();
    assert!(
        matches!(error, Error::Answer(_)) && error.verdict() == Verdict::Refuse,
        "{error}"
    );
    assert_eq!(script.one().json()["attachments"], json!(["https://x/f"]));
}

#[tokio::test]
async fn an_upload_is_one_form_with_file_bucket_and_contract() {
    let (script, client) = Script::start().await;
    let upload = Upload {
        name: "out.csv".to_owned(),
        mime: "text/csv".to_owned(),
        bytes: "a,b".into(),
        bucket: "attachments".to_owned(),
        contract_id: Some("c1".to_owned()),
    };
    script.say(200, json!({"public_url": "https://x/out.csv", "path": "p"}));
    assert_eq!(client.upload(&upload).await.unwrap().value.url, "https://x/out.csv");
    let asked = script.one();
    let text = String::from_utf8(asked.body.to_vec()).unwrap();
    assert_eq!(asked.line, "POST /upload");
    for part in [
        "filename=\"out.csv\"",
        "text/csv",
        "a,b",
        "name=\"bucket\"",
        "name=\"contract_id\"",
    ] {
        assert!(text.contains(part), "{text}");
    }
}

#[tokio::test]
async fn what_cannot_be_right_is_never_sent() {
    let (script, client) = Script::start().await;
    let letter = |text: &str, micro| NewProposal {
        amount_micro: micro,
        cover_letter: text.to_owned(),
        estimated_hours: None,
    };
    let message = |text: String| NewMessage {
        content: text,
        attachment: None,
    };
    let upload = |name: &str, bytes| Upload {
        name: name.to_owned(),
        mime: "text/plain".to_owned(),
        bytes: vec![0; bytes].into(),
        bucket: "attachments".to_owned(),
        contract_id: None,
    };
    let errors = [
        client.gig("../agents/me").await.unwrap_err(),
        client.gig("..").await.unwrap_err(),
        client.gig("").await.unwrap_err(),
        client.gig("a/b").await.unwrap_err(),
        client.submit_proposal("g1", &letter("short", 1)).await.unwrap_err(),
        client
            .submit_proposal("g1", &letter(&"x".repeat(2_001), 1))
            .await
            .unwrap_err(),
        client.submit_proposal("g1", &letter(LETTER, 0)).await.unwrap_err(),
        client.send_message("c1", &message(" ".to_owned())).await.unwrap_err(),
        client
            .send_message("c1", &message("x".repeat(5_001)))
            .await
            .unwrap_err(),
        client.upload(&upload("../x", 1)).await.unwrap_err(),
        client.upload(&upload("x", 10 * 1024 * 1024 + 1)).await.unwrap_err(),
    ];
    for error in errors {
        assert_eq!((error.sent(), error.verdict()), (Sent::No, Verdict::Refuse), "{error}");
    }
    assert!(script.asked().is_empty());
}

#[tokio::test]
async fn the_probe_asks_once_and_remembers_and_a_lost_path_turns_to_the_other_family() {
    let (script, client) = Script::start().await;
    script.say(404, json!({"error": "Not found"}));
    assert!(!client.probe_family(Family::AgentsMe).await.unwrap().value);
    assert_eq!(
        (script.one().line.as_str(), client.family()),
        ("GET /agents/me/readiness", None)
    );
    script.say(200, json!({"ready": true, "missing": [], "recommended": []}));
    assert!(client.probe_family(Family::Agent).await.unwrap().value);
    assert_eq!(
        (script.one().line.as_str(), client.family()),
        ("GET /agent/readiness", Some(Family::Agent))
    );
    assert_eq!(client.clone().family(), Some(Family::Agent));

    script.say(404, json!({"error": "Not found"}));
    let lost = client.update_webhooks(&WebhookPatch::default()).await.unwrap_err();
    assert!(lost.is_unknown_path());
    assert_eq!(client.family(), Some(Family::Agent), "a write never changes the family");
    script.say(404, json!({"error": "Not found"}));
    assert!(client.readiness().await.unwrap_err().is_unknown_path());
    assert_eq!(client.family(), Some(Family::AgentsMe));
    script.say(404, json!({"error": "Not found"}));
    assert!(client.proposal("p").await.unwrap_err().is_unknown_path());
    assert_eq!(client.family(), Some(Family::AgentsMe), "a thing may be missing");
    client.set_family(None);

    for (status, body) in [(401, Value::Null), (402, Value::Null), (500, Value::Null)] {
        script.say(status, body);
        assert!(client.probe_family(Family::AgentsMe).await.is_err());
        assert_eq!(client.family(), None);
    }
}
