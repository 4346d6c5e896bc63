//! Who gets in, and what is refused before any money moves.

use std::time::Duration;

use axum::http::StatusCode;
use outbound::Method;
use serde_json::{Value, json};
use testkit::eventually;

use crate::{
    provider::{completion, json_answer},
    stack::{SOON, Stack, opening, question, refusal},
};

const CHAT: &str = "/v1/chat/completions";

#[tokio::test(flavor = "multi_thread")]
async fn only_the_credential_of_an_open_run_opens_the_gateway() {
    let stack = Stack::start().await;
    let run = stack.open(10_000, &[]).await;
    for wrong in ["", "x", PROVIDER, &run.id.to_string(), &run.credential.to_uppercase()] {
        let got = stack.send(Method::POST, CHAT, wrong, "{}").await;
        assert_eq!(got.headers()["x-should-retry"], "false");
        let (status, code, _) = refusal(got).await;
        assert_eq!((status, code.as_str()), (401, "invalid_credential"), "{wrong}");
    }
    let url = format!("http://{}{CHAT}", stack.ports.gateway).parse().unwrap();
    let bare = stack.http.send(stack.http.request(Method::POST, url)).await.unwrap();
    assert_eq!(bare.status(), StatusCode::UNAUTHORIZED);

    // A new attempt's credential ends the earlier one's.
    let again = stack.open_for(run.id, run.subject, 10_000, &[]).await;
    assert_eq!(refusal(stack.chat(&run, &question("gpt-4o-mini")).await).await.0, 401);
    assert_eq!(
        stack.chat(&again, &question("gpt-4o-mini")).await.status(),
        StatusCode::OK
    );

    stack.close(&again).await;
    let (status, code, _) = refusal(stack.chat(&again, &question("gpt-4o-mini")).await).await;
    assert_eq!((status, code.as_str()), (403, "run_closed"));

    let mut late = opening(uuid::Uuid::now_v7(), uuid::Uuid::now_v7(), 10_000, &[]);
    late.expires_at = Some(rpc::convert::timestamp(
        chrono::Utc::now() - chrono::TimeDelta::seconds(1),
    ));
    let credential = stack
        .scheduler
        .clone()
        .open_run(late)
        .await
        .unwrap()
        .into_inner()
        .credential;
    let (status, code, _) = refusal(stack.send(Method::POST, CHAT, &credential, "{}").await).await;
    assert_eq!((status, code.as_str()), (403, "run_expired"));
    assert_eq!(stack.provider.calls().len(), 1);
}

const PROVIDER: &str = crate::stack::PROVIDER_KEY;

#[tokio::test(flavor = "multi_thread")]
async fn a_credential_is_stored_as_a_hash_only() {
    let stack = Stack::start().await;
    let run = stack.open(10_000, &[]).await;
    let rows = stack.rows("SELECT * FROM billing.run_accounts").await;
    let secret = run.credential.rsplit('-').next().unwrap();
    assert!(secret.len() == 64 && !format!("{rows:?}").contains(secret));
}

#[tokio::test(flavor = "multi_thread")]
async fn what_the_gateway_does_not_have_is_told_in_json() {
    let stack = Stack::start().await;
    let run = stack.open(10_000, &[]).await;
    for (method, path, status, code) in [
        (Method::POST, "/v1/embeddings", 404, "not_found"),
        (Method::GET, "/v1/responses/resp_1", 404, "not_found"),
        (Method::POST, "/v1/messages/batches", 404, "not_found"),
        (Method::POST, "/v1/messages/count_tokens", 404, "not_found"),
        (Method::GET, "/v1/messages", 405, "method_not_allowed"),
        (Method::GET, "/", 404, "not_found"),
        (Method::GET, CHAT, 405, "method_not_allowed"),
        (Method::POST, "/v1/models", 405, "method_not_allowed"),
    ] {
        let (seen, reason, _) = refusal(stack.send(method, path, &run.credential, "{}").await).await;
        assert_eq!((seen, reason.as_str()), (status, code), "{path}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_request_that_cannot_be_meant_is_refused_before_money_moves() {
    let stack = Stack::start_with(&[("GATEWAY__MAX_BODY_BYTES", "2000")]).await;
    let run = stack.open(10_000, &["gpt-4o"]).await;
    let long = format!("{{\"messages\":\"{}\"}}", "x".repeat(3_000));
    for (body, status, code) in [
        ("", 400, "invalid_request"),
        ("not json", 400, "invalid_request"),
        ("[]", 400, "invalid_request"),
        (r#"{"model":7}"#, 400, "invalid_request"),
        (r#"{"model":"gpt-4o-mini","model":"gpt-4o"}"#, 400, "invalid_request"),
        (r#"{"max_tokens":-1}"#, 400, "invalid_request"),
        (r#"{"max_tokens":18446744073709551615,"n":9}"#, 400, "invalid_request"),
        (r#"{"stream":true,"stream_options":[]}"#, 400, "invalid_request"),
        (r#"{"service_tier":"priority"}"#, 400, "unpriced_feature"),
        (r#"{"web_search_options":{}}"#, 400, "unpriced_feature"),
        (r#"{"audio":{"voice":"x"}}"#, 400, "unpriced_feature"),
        (r#"{"model":"gpt-4.1"}"#, 400, "model_not_allowed"),
        (long.as_str(), 413, "body_too_large"),
    ] {
        let got = stack.send(Method::POST, CHAT, &run.credential, body).await;
        assert_eq!(got.headers()["x-should-retry"], "false", "{body}");
        let (seen, reason, told) = refusal(got).await;
        assert_eq!((seen, reason.as_str()), (status, code), "{body}");
        if code == "model_not_allowed" {
            let message = told["error"]["message"].as_str().unwrap();
            assert!(message.contains("allowed: gpt-4o-mini, gpt-4o"), "{message}");
        }
    }
    assert!(stack.provider.calls().is_empty());
    assert_eq!(stack.balance(&run).await, (0, 0));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_model_without_a_provider_is_told_and_one_of_another_protocol_where_to_ask() {
    let stack = Stack::start().await;
    let run = stack.open(10_000, &["claude-*", "llama"]).await;
    let (status, code, _) = refusal(stack.chat(&run, &question("llama")).await).await;
    assert_eq!((status, code.as_str()), (400, "no_provider"));
    for (path, model, there) in [
        (CHAT, "claude-x", "served by anthropic, which answers POST /v1/messages"),
        ("/v1/responses", "claude-x", "POST /v1/messages"),
        ("/v1/messages", "gpt-4o-mini", "POST /v1/chat/completions"),
    ] {
        let asked = json!({"model": model, "max_tokens": 1, "messages": [], "input": "x"}).to_string();
        let (status, code, told) = refusal(stack.post(&run, path, &[], asked).await).await;
        assert_eq!((status, code.as_str()), (400, "no_provider"), "{path}");
        assert!(told["error"]["message"].as_str().unwrap().contains(there), "{told}");
    }
    assert!(stack.provider.calls().is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_run_sees_the_models_it_may_use() {
    let stack = Stack::start().await;
    let run = stack.open(10_000, &["gpt-4o", "claude-x", "llama"]).await;
    for path in ["/v1/models", "/models"] {
        let got = stack.send(Method::GET, path, &run.credential, "").await;
        assert_eq!(got.headers()["x-steward-budget-remaining-micro-usd"], "10000");
        let list: Value = serde_json::from_str(&got.text().await.unwrap()).unwrap();
        let ids: Vec<&str> = list["data"]
            .as_array()
            .unwrap()
            .iter()
            .map(|model| model["id"].as_str().unwrap())
            .collect();
        assert_eq!(ids, ["gpt-4o-mini", "gpt-4o", "claude-x"]);
        assert_eq!(
            (&list["last_id"], &list["has_more"]),
            (&json!("claude-x"), &json!(false))
        );
    }
    assert_eq!(
        stack.send(Method::GET, "/v1/models", "x", "").await.status(),
        StatusCode::UNAUTHORIZED
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_run_with_too_many_open_calls_waits() {
    let stack = Stack::start_with(&[("GATEWAY__MAX_CALLS_PER_RUN", "1")]).await;
    let run = stack.open(100_000, &[]).await;
    let other = stack.open(100_000, &[]).await;
    let gate = std::sync::Arc::new(tokio::sync::Notify::new());
    let waiting = std::sync::Arc::clone(&gate);
    stack.provider.answers(move || {
        let gate = std::sync::Arc::clone(&waiting);
        async move {
            tokio::time::timeout(SOON, gate.notified()).await.unwrap();
            json_answer(&completion("gpt-4o-mini", 1, 0, 1))
        }
    });
    let asked = question("gpt-4o-mini");
    let (first, ()) = tokio::join!(stack.chat(&run, &asked), async {
        let begun = || async { stack.provider.calls().len() == 1 };
        eventually(SOON, "the first call", begun).await.unwrap();
        let got = stack.chat(&run, &asked).await;
        assert_eq!(got.headers()["retry-after"], "1");
        assert_eq!(refusal(got).await.1, "too_many_calls");
        gate.notify_one();
        let other = tokio::time::timeout(Duration::from_secs(5), async {
            let (answer, ()) = tokio::join!(stack.chat(&other, &asked), async { gate.notify_one() });
            answer
        });
        assert_eq!(
            other.await.unwrap().status(),
            StatusCode::OK,
            "another run is not in its way"
        );
    });
    assert_eq!(first.status(), StatusCode::OK);
    // The place is free again.
    gate.notify_one();
    assert_eq!(stack.chat(&run, &asked).await.status(), StatusCode::OK);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_slow_body_is_not_waited_for() {
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
    let stack = Stack::start_with(&[("GATEWAY__BODY_TIMEOUT", "200ms")]).await;
    let run = stack.open(10_000, &[]).await;
    let mut slow = tokio::net::TcpStream::connect(&stack.ports.gateway).await.unwrap();
    let head = format!(
        "POST {CHAT} HTTP/1.1\r\nhost: x\r\nauthorization: Bearer {}\r\ncontent-length: 100\r\n\r\n{{",
        run.credential
    );
    slow.write_all(head.as_bytes()).await.unwrap();
    let mut answer = vec![0; 12];
    tokio::time::timeout(SOON, slow.read_exact(&mut answer))
        .await
        .unwrap()
        .unwrap();
    assert_eq!(answer, b"HTTP/1.1 408");
}

#[tokio::test(flavor = "multi_thread")]
async fn pictures_are_set_aside_for_beyond_their_bytes() {
    let stack = Stack::start().await;
    let run = stack.open(1_000, &[]).await;
    let picture =
        json!([{"type": "text", "text": "?"}, {"type": "image_url", "image_url": {"url": "https://x/y.png"}}]);
    let mut asked = question("gpt-4o-mini");
    assert_eq!(stack.chat(&run, &asked).await.status(), StatusCode::OK);
    asked["messages"][0]["content"] = picture;
    assert_eq!(refusal(stack.chat(&run, &asked).await).await.0, 402);
}
