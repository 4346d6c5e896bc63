//! What the door takes and what it refuses.

use chrono::{TimeDelta, Utc};
use clawgig::signature::{DELIVERY_HEADER, SIGNATURE_HEADER, TIMESTAMP_HEADER};
use tokio::net::TcpStream;

use crate::client::{Request, event, webhook};
use crate::door::{AGENT, SECRET, Setup, add_door};

fn signed(number: usize) -> Request {
    webhook(AGENT, SECRET, &format!("d-{number}"), event(number))
}

#[tokio::test]
async fn a_signed_webhook_is_a_row_when_it_is_acknowledged() {
    let setup = Setup::new().await;
    let parent = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";
    let answer = setup.send(&signed(1).with("traceparent", parent)).await;
    assert!(answer.is_stored(), "{answer:?}");
    assert_eq!(answer.header("content-type"), Some("application/json"));
    let rows = setup.rows().await;
    assert_eq!(rows.len(), 1);
    let row = &rows[0];
    assert_eq!(
        (row["agent"].as_str(), row["delivery_id"].as_str()),
        (Some(AGENT), Some("d-1"))
    );
    assert_eq!(row["body"].as_str().unwrap(), event(1));
    assert_eq!(row["stale"], false);
    assert_eq!(row["traceparent"], parent, "the trace goes on over the inbox");
    assert!(row["received_at"].is_string() && row["sent_at"].is_string());
    assert!(row["processed_at"].is_null());
    assert_eq!(
        setup
            .door
            .metric(r#"steward_ingress_webhooks_total{outcome="stored"}"#)
            .await,
        1.0
    );
}

#[tokio::test]
async fn every_form_of_a_right_signature_is_taken() {
    let setup = Setup::new().await;
    let value = |request: &Request| {
        request
            .headers
            .iter()
            .find(|(name, _)| name == SIGNATURE_HEADER)
            .unwrap()
            .1
            .clone()
    };
    let (one, two, three) = (signed(1), signed(2), signed(3));
    let forms = [
        one.clone().with(SIGNATURE_HEADER, &format!("sha256={}", value(&one))),
        two.clone().with(SIGNATURE_HEADER, &value(&two).to_uppercase()),
        three
            .clone()
            .with(SIGNATURE_HEADER, &format!("SHA256={} ", value(&three))),
    ];
    for request in &forms {
        let answer = setup.send(request).await;
        assert!(answer.is_stored(), "{request:?}: {answer:?}");
    }
}

#[tokio::test]
async fn what_is_not_signed_with_a_secret_of_the_agent_is_refused() {
    let setup = Setup::new().await;
    add_door(&setup.database.url_for("scheduler"), "other", "whsec_of_another").await;
    let without_prefix = SECRET.strip_prefix("whsec_").unwrap();
    let mut tampered = signed(4);
    tampered.body.push(b' ');
    let refused = [
        signed(1).without(SIGNATURE_HEADER),
        signed(2).with(SIGNATURE_HEADER, ""),
        signed(3).with(SIGNATURE_HEADER, "not hex at all"),
        tampered,
        webhook(AGENT, "whsec_of_another", "d-5", event(5)),
        webhook(AGENT, without_prefix, "d-6", event(6)),
        signed(7).with(SIGNATURE_HEADER, &"0".repeat(64)),
    ];
    for request in &refused {
        let answer = setup.send(request).await;
        assert_eq!(answer.status, 401, "{request:?}");
        assert_eq!(answer.json(), serde_json::json!({"error": "Invalid signature"}));
    }
    assert_eq!(setup.rows().await.len(), 0);
}

#[tokio::test]
async fn the_senders_clock_may_be_late_or_missing_but_not_early() {
    let setup = Setup::new().await;
    let at = |number, seconds: i64| {
        let time = Utc::now() + TimeDelta::seconds(seconds);
        signed(number).with(TIMESTAMP_HEADER, &time.to_rfc3339())
    };
    let unix = |number, seconds: i64| {
        let time = Utc::now() + TimeDelta::seconds(seconds);
        signed(number).with(TIMESTAMP_HEADER, &time.timestamp_millis().to_string())
    };
    for early in [at(1, 360), unix(2, 400)] {
        assert_eq!(setup.send(&early).await.status, 401);
    }
    let taken = [
        (at(3, 240), false),
        (unix(4, 0), false),
        (at(5, -301), true),
        (at(6, -200_000), true),
        (signed(7).without(TIMESTAMP_HEADER), true),
        (signed(8).with(TIMESTAMP_HEADER, "yesterday"), true),
        // No time of any delivery, and beyond what a column can hold.
        (signed(9).with(TIMESTAMP_HEADER, "-5000-01-01T00:00:00"), true),
    ];
    for (request, _) in &taken {
        let answer = setup.send(request).await;
        assert!(answer.is_stored(), "{request:?}: {answer:?}");
    }
    let stale: Vec<bool> = setup
        .rows()
        .await
        .iter()
        .map(|row| row["stale"].as_bool().unwrap())
        .collect();
    let expected: Vec<bool> = taken.iter().map(|(_, stale)| *stale).collect();
    assert_eq!(stale, expected);
}

#[tokio::test]
async fn whatever_a_signed_body_says_it_is_stored() {
    let setup = Setup::new().await;
    let bodies: [&[u8]; 6] = [
        b"",
        b"not json",
        br#"{"event":"no.such.event","data":{}}"#,
        br#"{"event":"contract.funded"}"#,
        b"[[[[[[[[",
        b"\x00\xff\xfe",
    ];
    for (number, body) in bodies.iter().enumerate() {
        let answer = setup.send(&webhook(AGENT, SECRET, &format!("d-{number}"), *body)).await;
        assert!(answer.is_stored(), "{body:?}: {answer:?}");
    }
    assert_eq!(setup.rows().await.len(), bodies.len());
}

#[tokio::test]
async fn the_same_webhook_again_is_a_duplicate_by_id_or_by_body() {
    let setup = Setup::new().await;
    assert!(setup.send(&signed(1)).await.is_stored());
    let again = [
        signed(1),
        // A replay of a captured request with fresh headers: neither is signed.
        signed(1).with(DELIVERY_HEADER, "fresh"),
        signed(1).without(DELIVERY_HEADER),
        webhook(AGENT, SECRET, "d-1", event(2)),
    ];
    for request in &again {
        let answer = setup.send(request).await;
        assert!(answer.is_duplicate(), "{request:?}: {answer:?}");
    }
    assert_eq!(setup.rows().await.len(), 1);
    // The replay did not burn the delivery id it brought.
    assert!(setup.send(&webhook(AGENT, SECRET, "fresh", event(3))).await.is_stored());
    assert_eq!(
        setup
            .door
            .metric(r#"steward_ingress_webhooks_total{outcome="duplicate"}"#)
            .await,
        4.0
    );
}

#[tokio::test]
async fn delivery_ids_that_cannot_be_kept_count_as_none() {
    let setup = Setup::new().await;
    let long = "x".repeat(201);
    for (number, id) in [(1, long.as_str()), (2, &long), (3, ""), (4, " ")] {
        assert!(
            setup.send(&signed(number).with(DELIVERY_HEADER, id)).await.is_stored(),
            "{id:?}"
        );
    }
    assert!(setup.rows().await.iter().all(|row| row["delivery_id"].is_null()));
}

#[tokio::test]
async fn two_agents_do_not_share_what_was_seen() {
    let setup = Setup::new().await;
    add_door(&setup.database.url_for("scheduler"), "other", SECRET).await;
    assert!(setup.send(&signed(1)).await.is_stored());
    assert!(setup.send(&webhook("other", SECRET, "d-1", event(1))).await.is_stored());
    assert_eq!(setup.rows().await.len(), 2);
}

#[tokio::test]
async fn the_same_webhook_five_times_at_once_is_one_row() {
    let setup = Setup::new().await;
    for number in 0..20 {
        let mut senders = tokio::task::JoinSet::new();
        for _ in 0..5 {
            let (request, to) = (signed(number), setup.door.public);
            senders.spawn(async move { request.send(to).await.unwrap() });
        }
        let answers = senders.join_all().await;
        let stored = answers.iter().filter(|answer| answer.is_stored()).count();
        let duplicates = answers.iter().filter(|answer| answer.is_duplicate()).count();
        assert_eq!((stored, duplicates), (1, 4), "{answers:?}");
    }
    assert_eq!(setup.rows().await.len(), 20);
}

#[tokio::test]
async fn nothing_else_is_served_on_the_public_port() {
    let setup = Setup::new().await;
    assert_eq!(setup.send(&Request::get("/live")).await.status, 200);
    for path in [
        "/",
        "/metrics",
        "/ready",
        "/build",
        "/log-filter",
        "/hooks",
        "/hooks/",
        "/hooks/demo/x",
        "/hooks/demo/",
    ] {
        assert_eq!(setup.send(&Request::get(path)).await.status, 404, "{path}");
    }
    for method in ["GET", "PUT", "DELETE", "PATCH", "OPTIONS"] {
        let request = Request { method, ..signed(1) };
        assert_eq!(setup.send(&request).await.status, 405, "{method}");
    }
    assert_eq!(setup.rows().await.len(), 0);
}

#[tokio::test]
async fn one_connection_carries_many_webhooks_also_after_a_refusal() {
    let setup = Setup::new().await;
    let mut stream = TcpStream::connect(setup.door.public).await.unwrap();
    for number in 0..5 {
        let answer = signed(number).send_over(&mut stream).await.unwrap();
        assert!(answer.is_stored(), "{answer:?}");
        let answer = signed(number)
            .without(SIGNATURE_HEADER)
            .send_over(&mut stream)
            .await
            .unwrap();
        assert_eq!(answer.status, 401);
    }
    assert_eq!(setup.rows().await.len(), 5);
}

#[tokio::test]
async fn a_chunked_body_is_as_good_as_another() {
    let setup = Setup::new().await;
    let mut request = signed(1).with("transfer-encoding", "chunked");
    let (first, second) = request.body.split_at(40);
    let mut chunked = Vec::new();
    for part in [first, second, b""] {
        chunked.extend_from_slice(format!("{:x}\r\n", part.len()).as_bytes());
        chunked.extend_from_slice(part);
        chunked.extend_from_slice(b"\r\n");
    }
    request.body = chunked;
    assert!(setup.send(&request).await.is_stored());
    assert_eq!(setup.rows().await[0]["body"], event(1));
}

#[tokio::test]
async fn neither_bodies_nor_secrets_are_ever_logged() {
    let setup = Setup::new().await;
    let canary = r#"{"event":"message.received","data":{"message":"canary-in-the-body"}}"#;
    assert!(setup.send(&webhook(AGENT, SECRET, "d", canary)).await.is_stored());
    assert_eq!(
        setup.send(&webhook(AGENT, "whsec_wrong", "e", canary)).await.status,
        401
    );
    let log = setup.door.log_with(r#""outcome":"bad_signature""#).await;
    assert_eq!(
        log.matches("webhook answered").count(),
        2,
        "one line a webhook at debug:\n{log}"
    );
    for canary in ["canary-in-the-body", SECRET, crate::door::KEY, "test-ingress"] {
        assert!(!log.contains(canary), "{canary} is in\n{log}");
    }
}

/// The published test vector: the body of 305 bytes that `SECRET` signs as `HEX`.
const BODY: &str = "{\"event\":\"contract.funded\",\"timestamp\":\"2026-03-01T12:00:00.000Z\",\"data\":{\"contract_id\":\
                    \"11111111-1111-4111-8111-111111111111\",\"gig_title\":\"Café — résumé parser\",\"amount\":25.5,\
                    \"message\":\"Escrow funded\",\"deliver_url\":\"https://clawgig.ai/api/v1/contracts/\
                    11111111-1111-4111-8111-111111111111/deliver\"}}";
const HEX: &str = "ce2d70f9892fd6b0cf8532665b4bff5c127679fdd369162dd9f0b762d24db655";
/// The same body signed with the secret without its prefix.
const WITHOUT_PREFIX: &str = "40d9c23618464a07e60bb0713c8a3cc90ed942c05617e371c1cc02d82e0fc225";

#[tokio::test]
async fn the_whole_matrix_of_signatures_and_times_holds_at_the_door() {
    assert_eq!(BODY.len(), 305, "the published vector");
    let at = |seconds: i64| Utc::now() + TimeDelta::seconds(seconds);
    let iso = |seconds: i64| Some(at(seconds).to_rfc3339_opts(chrono::SecondsFormat::Millis, true));
    let upper = HEX.to_uppercase();
    let prefixed = format!("sha256={HEX}");
    // What is signed how, when it says it was sent; what is answered, and whether it counts as stale.
    let matrix = [
        ("bare lowercase hex, now", HEX, iso(0), 200, false),
        ("sha256= in front", &prefixed, iso(0), 200, false),
        ("upper case", &upper, iso(0), 200, false),
        ("four minutes early", HEX, iso(240), 200, false),
        ("six minutes early", HEX, iso(360), 401, false),
        ("301 seconds late", HEX, iso(-301), 200, true),
        ("three days late", HEX, iso(-3 * 86_400), 200, true),
        ("unix seconds", HEX, Some(at(0).timestamp().to_string()), 200, false),
        (
            "unix milliseconds",
            HEX,
            Some(at(0).timestamp_millis().to_string()),
            200,
            false,
        ),
        (
            "unix seconds, six minutes early",
            HEX,
            Some(at(360).timestamp().to_string()),
            401,
            false,
        ),
        ("no time at all", HEX, None, 200, true),
        ("the secret without its prefix", WITHOUT_PREFIX, iso(0), 401, false),
        ("prefixed twice", "sha256=sha256=ce2d", iso(0), 401, false),
        ("one digit short", &HEX[1..], iso(0), 401, false),
        (
            "one digit long",
            "0ce2d70f9892fd6b0cf8532665b4bff5c127679fdd369162dd9f0b762d24db655",
            iso(0),
            401,
            false,
        ),
        ("no signature", "", iso(0), 401, false),
    ];
    let setup = Setup::new().await;
    for (what, signature, time, status, stale) in matrix {
        // The same body twice is a duplicate: each begins anew.
        let anew = "TRUNCATE ingress.inbox, ingress.seen";
        testkit::execute(setup.database.url(), anew).await.unwrap();
        let mut request = webhook(AGENT, SECRET, "vector", BODY).with(SIGNATURE_HEADER, signature);
        request = match &time {
            Some(time) => request.with(TIMESTAMP_HEADER, time),
            None => request.without(TIMESTAMP_HEADER),
        };
        let answer = setup.send(&request).await;
        assert_eq!(answer.status, status, "{what}: {answer:?}");
        let rows = setup.rows().await;
        assert_eq!(rows.len(), usize::from(status == 200), "{what}");
        if let Some(row) = rows.first() {
            assert_eq!(row["stale"], stale, "{what}");
            let same = format!("SELECT body = convert_to($${BODY}$$, 'UTF8') AS same FROM ingress.inbox");
            let same = testkit::rows(setup.database.url(), &same).await.unwrap();
            assert_eq!(same[0]["same"], true, "{what}: byte for byte");
        }
    }
}
