//! Anthropic's messages: the same promises in another protocol, and what is dearer or cannot be priced in it.

mod streamed;

use axum::{
    http::{StatusCode, header},
    response::IntoResponse as _,
};
use outbound::{Method, Response};
use serde_json::{Value, json};
use uuid::Uuid;

use crate::stack::{PROVIDER_KEY, Stack, opening};

const PATH: &str = "/v1/messages";
const MODEL: &str = "claude-haiku-4-5";
/// Pico-dollars of its tokens: read, cached, written.
const READ: i64 = 1_000_000;
const CACHED: i64 = 100_000;
const WRITTEN: i64 = 5_000_000;

fn message(usage: &Value) -> Value {
    json!({
        "id": "msg_1", "type": "message", "role": "assistant", "model": "claude-haiku-4-5-20251001",
        "content": [{"type": "text", "text": "hi \u{e9}"}], "stop_reason": "end_turn", "usage": usage,
    })
}

fn counted(fresh: u64, stored: u64, hour: u64, cached: u64, output: u64) -> Value {
    json!({
        "input_tokens": fresh, "cache_creation_input_tokens": stored + hour, "cache_read_input_tokens": cached,
        "cache_creation": {"ephemeral_5m_input_tokens": stored, "ephemeral_1h_input_tokens": hour},
        "output_tokens": output, "service_tier": "standard",
    })
}

const COST: i64 = 60 * READ + 40 * CACHED + 20 * WRITTEN;

fn question() -> Value {
    json!({"model": MODEL, "max_tokens": 100, "messages": [{"role": "user", "content": "What is it?"}]})
}

fn streamed() -> Value {
    let mut asked = question();
    asked["stream"] = true.into();
    asked
}

async fn refused(response: Response) -> (u16, String, String) {
    let status = response.status().as_u16();
    let body: Value = serde_json::from_str(&response.text().await.unwrap()).unwrap();
    assert_eq!(body["type"], "error", "{body}");
    assert!(body["error"]["message"].is_string(), "{body}");
    let text = |name: &str| body["error"][name].as_str().unwrap_or_default().to_owned();
    (status, text("type"), text("code"))
}

#[tokio::test(flavor = "multi_thread")]
async fn a_message_passes_through_untouched_and_costs_what_its_usage_says() {
    let stack = Stack::start().await;
    let run = stack.open(10_000, &["claude-*"]).await;
    let answer = message(&counted(60, 0, 0, 40, 20)).to_string();
    let sent = answer.clone();
    stack.provider.answers(move || {
        let headers = [
            (header::CONTENT_TYPE.as_str(), "application/json"),
            ("request-id", "req_1"),
            ("anthropic-ratelimit-requests-remaining", "9"),
            ("anthropic-organization-id", "ours"),
        ];
        let answer = (headers, sent.clone()).into_response();
        async move { answer }
    });
    let asked = "{ \"model\":\"claude-haiku-4-5\",\"max_tokens\" : 100,\n\"messages\":[{\"role\":\"user\",\"content\":\"caf\\u00e9\"}],\"x\":1.50e1}";
    let beta = ("anthropic-beta", "context-1m-2025-08-07, pdfs-2024-09-25");
    for (path, headers) in [
        ("/v1/messages", &[][..]),
        (
            "/messages",
            &[
                ("anthropic-version", "2099-01-01"),
                beta,
                ("x-api-key", "steward-placeholder"),
            ],
        ),
        (
            "/v1/messages?beta=true",
            &[
                ("anthropic-beta", "pdfs-2024-09-25"),
                ("anthropic-beta", "effort-2025-11-24"),
            ],
        ),
    ] {
        let got = stack.post(&run, path, headers, asked).await;
        assert_eq!(got.status(), StatusCode::OK);
        assert_eq!(got.headers()["request-id"], "req_1");
        assert_eq!(got.headers()["anthropic-ratelimit-requests-remaining"], "9");
        assert!(!got.headers().contains_key("anthropic-organization-id"));
        assert!(got.headers().contains_key("x-steward-budget-remaining-micro-usd"));
        assert_eq!(got.text().await.unwrap(), answer);
    }
    let calls = stack.provider.calls();
    for (call, version, beta) in [
        (&calls[0], "2023-06-01", None),
        (&calls[1], "2099-01-01", Some("pdfs-2024-09-25")),
        (&calls[2], "2023-06-01", Some("pdfs-2024-09-25,effort-2025-11-24")),
    ] {
        assert_eq!(call.body, asked, "not one byte may change");
        assert_eq!(
            call.headers.get_all("x-api-key").iter().collect::<Vec<_>>(),
            [PROVIDER_KEY]
        );
        assert!(
            !call.headers.contains_key("authorization"),
            "the run's credential stays here"
        );
        assert_eq!(call.headers["anthropic-version"], version);
        let got = call.headers.get("anthropic-beta").map(|value| value.to_str().unwrap());
        assert_eq!(got, beta);
    }
    let usage = stack.usage(&run, 3).await;
    assert!(usage.iter().all(|row| row.cost_pico_usd == COST), "{usage:?}");
    assert_eq!(
        (usage[0].input_tokens, usage[0].cached_tokens, usage[0].output_tokens),
        (100, 40, 20)
    );
    assert_eq!(
        (usage[0].provider.as_str(), usage[0].model_billed.as_str()),
        ("anthropic", "claude-haiku-4-5-20251001")
    );
    let flags: Vec<_> = usage.iter().map(|row| row.flags.join(",")).collect();
    assert_eq!(flags, ["", "rewritten:anthropic-beta", ""]);
    stack.assert_books().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_message_without_a_model_gets_the_runs() {
    let stack = Stack::start().await;
    let mut asked = opening(Uuid::now_v7(), Uuid::now_v7(), 10_000, &[]);
    asked.default_model = MODEL.to_owned();
    let run = stack.open_as(asked).await;
    stack
        .provider
        .answers_json(StatusCode::OK, &message(&counted(1, 0, 0, 0, 1)));
    let got = stack.post(&run, PATH, &[], r#"{"max_tokens":9, "messages":[]}"#).await;
    assert_eq!(got.status(), StatusCode::OK);
    assert_eq!(
        stack.provider.calls()[0].body,
        r#"{"model":"claude-haiku-4-5","max_tokens":9, "messages":[]}"#
    );
    assert_eq!(stack.usage(&run, 1).await[0].flags, ["rewritten:model"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_stored_into_the_cache_costs_more_and_is_set_aside_for() {
    let stack = Stack::start().await;
    let text = "x".repeat(3_000);
    let asked = |control: Value| {
        let content = json!([{"type": "text", "text": text, "cache_control": control}]);
        json!({"model": MODEL, "max_tokens": 1, "messages": [{"role": "user", "content": content}]}).to_string()
    };
    // 64 tokens and a third of the bytes; 1 of answer.
    let hold = |body: &str, quarters: i64| {
        let read = i64::try_from(body.len().div_ceil(3)).unwrap() + 64;
        (read * READ * quarters).div_euclid(4) + WRITTEN
    };
    for (control, quarters, stored, hour) in [
        (Value::Null, 4, 0, 0),
        (json!({"type": "ephemeral"}), 5, 1_000, 0),
        (json!({"type": "ephemeral", "ttl": "5m"}), 5, 900, 0),
        (json!({"type": "ephemeral", "ttl": "1h"}), 8, 300, 500),
    ] {
        let usage = counted(7, stored, hour, 100, 1);
        stack.provider.answers_json(StatusCode::OK, &message(&usage));
        let body = asked(control);
        let needed = hold(&body, quarters);
        let short = stack.open((needed - 1) / 1_000_000, &["claude-*"]).await;
        let got = stack.post(&short, PATH, &[], body.as_str()).await;
        assert_eq!(refused(got).await.2, "budget_exhausted", "{quarters}");
        let run = stack.open(needed / 1_000_000 + 1, &["claude-*"]).await;
        assert_eq!(stack.post(&run, PATH, &[], body).await.status(), StatusCode::OK);
        let row = &stack.usage(&run, 1).await[0];
        let stored_at = |count: u64, quarters: i64| i64::try_from(count).unwrap() * READ * quarters / 4;
        assert_eq!(
            row.cost_pico_usd,
            7 * READ + stored_at(stored, 5) + stored_at(hour, 8) + 100 * CACHED + WRITTEN
        );
        assert_eq!(row.input_tokens, i64::try_from(107 + stored + hour).unwrap());
        let flags: &[&str] = if stored + hour > 0 { &["cache_stored"] } else { &[] };
        assert_eq!(row.flags, flags);
    }
    stack.assert_books().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_cannot_be_priced_is_refused_before_money_moves() {
    let stack = Stack::start().await;
    let run = stack.open(10_000, &["claude-*"]).await;
    for (field, value, code) in [
        (
            "tools",
            json!([{"type": "web_search_20250305", "name": "web_search"}]),
            "unpriced_feature",
        ),
        (
            "tools",
            json!([{"name": "f", "input_schema": {}}, {"type": "code_execution_20250825"}]),
            "unpriced_feature",
        ),
        ("tools", json!([{"type": "bash"}]), "unpriced_feature"),
        ("tools", json!({"type": "web_fetch_20250910"}), "invalid_request"),
        (
            "mcp_servers",
            json!([{"type": "url", "url": "https://x"}]),
            "unpriced_feature",
        ),
        ("container", json!("container_1"), "unpriced_feature"),
        ("service_tier", json!("priority"), "unpriced_feature"),
        ("speed", json!("fast"), "unpriced_feature"),
        ("inference_geo", json!("us"), "unpriced_feature"),
        ("max_tokens", Value::Null, "invalid_request"),
        ("max_tokens", json!(-1), "invalid_request"),
        ("model", json!("claude-opus-5"), "model_not_allowed"),
        ("model", json!(7), "invalid_request"),
    ] {
        let run = if code == "model_not_allowed" {
            stack.open(10_000, &[MODEL]).await
        } else {
            run.clone()
        };
        let mut asked = question();
        asked[field] = value;
        let got = stack.post(&run, PATH, &[], asked.to_string()).await;
        assert_eq!(got.headers()["x-should-retry"], "false", "{asked}");
        let (status, kind, told) = refused(got).await;
        assert_eq!((status, told.as_str()), (400, code), "{asked}");
        assert_eq!(kind, "invalid_request_error");
    }
    let twice = r#"{"max_tokens":1,"tools":[{"type":"custom","type":"web_search_20250305"}]}"#;
    assert_eq!(refused(stack.post(&run, PATH, &[], twice).await).await.0, 400);
    assert!(stack.provider.calls().is_empty());
    assert_eq!(stack.balance(&run).await, (0, 0));

    // What runs at the agent costs tokens and nothing else.
    stack
        .provider
        .answers_json(StatusCode::OK, &message(&counted(1, 0, 0, 0, 1)));
    let mut asked = question();
    asked["tools"] = json!([
        {"name": "f", "input_schema": {}}, {"type": "custom", "name": "g", "input_schema": {}},
        {"type": "bash_20250124", "name": "bash"}, {"type": "text_editor_20250728", "name": "edit"},
    ]);
    asked["service_tier"] = "auto".into();
    asked["mcp_servers"] = json!([]);
    assert_eq!(
        stack.post(&run, PATH, &[], asked.to_string()).await.status(),
        StatusCode::OK
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn every_no_has_anthropics_shape() {
    let stack = Stack::start().await;
    let poor = stack.open(1, &["claude-*"]).await;
    let got = stack.post(&poor, PATH, &[], question().to_string()).await;
    assert_eq!(got.headers()["x-should-retry"], "false");
    let expected = (402, "budget_exhausted".to_owned(), "budget_exhausted".to_owned());
    assert_eq!(refused(got).await, expected);
    let nobody = stack.send(Method::POST, PATH, "x", question().to_string()).await;
    assert_eq!(refused(nobody).await.1, "authentication_error");
    for path in ["/v1/messages/batches", "/messages/count_tokens"] {
        let got = stack.send(Method::POST, path, &poor.credential, "{}").await;
        let (status, kind, code) = refused(got).await;
        assert_eq!(
            (status, kind.as_str(), code.as_str()),
            (404, "not_found_error", "not_found")
        );
    }
    let run = stack.open(10_000, &["claude-*"]).await;
    // The provider's own words pass; those about our account do not.
    let overloaded = json!({"type": "error", "error": {"type": "overloaded_error", "message": "Overloaded"}});
    let status = StatusCode::from_u16(529).unwrap();
    for (answer, told, code) in [(status, 529, ""), (StatusCode::UNAUTHORIZED, 502, "upstream_error")] {
        stack.provider.answers_json(answer, &overloaded);
        for asked in [question(), streamed()] {
            let got = stack.post(&run, PATH, &[], asked.to_string()).await;
            let (status, _, reason) = refused(got).await;
            assert_eq!((status, reason.as_str()), (told, code));
        }
    }
    assert_eq!(stack.balance(&run).await, (0, 0));
}

#[tokio::test(flavor = "multi_thread")]
async fn pictures_and_documents_are_set_aside_for_beyond_their_bytes() {
    let stack = Stack::start().await;
    stack
        .provider
        .answers_json(StatusCode::OK, &message(&counted(1, 0, 0, 0, 1)));
    let mut asked = question();
    let remote = json!({"type": "url", "url": "https://x/y"});
    let plain = json!({"type": "text", "media_type": "text/plain", "data": "x"});
    for (content, fits) in [
        (json!([{"type": "image", "source": remote}]), false),
        (
            json!([{"type": "tool_result", "tool_use_id": "t", "content": [{"type": "document", "source": remote}]}]),
            false,
        ),
        (json!([{"type": "document", "source": plain}]), true),
    ] {
        let run = stack.open(2_000, &["claude-*"]).await;
        asked["messages"][0]["content"] = content;
        let got = stack.post(&run, PATH, &[], asked.to_string()).await;
        assert_eq!(got.status() == StatusCode::OK, fits, "{asked}");
    }
}
