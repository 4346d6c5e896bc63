//! OpenAI's responses: the same promises, and what is kept at the provider.

use axum::http::StatusCode;
use outbound::Method;
use serde_json::{Value, json};

use crate::{
    provider::gated,
    stack::{PROVIDER_KEY, Stack, refusal},
};

const PATH: &str = "/v1/responses";
/// 60 tokens read, 40 from the cache, 20 written.
const COST: i64 = 60 * 150_000 + 40 * 75_000 + 20 * 600_000;

fn response(status: &str, counted: bool) -> Value {
    let usage = json!({
        "input_tokens": 100, "input_tokens_details": {"cached_tokens": 40},
        "output_tokens": 20, "output_tokens_details": {"reasoning_tokens": 5}, "total_tokens": 120,
    });
    json!({
        "id": "resp_1", "object": "response", "status": status, "model": "gpt-4o-mini-2024-07-18",
        "output": [], "usage": if counted { usage } else { Value::Null },
    })
}

fn event(kind: &str, mut data: Value) -> String {
    data["type"] = kind.into();
    format!("event: {kind}\ndata: {data}\n\n")
}

fn words() -> Vec<String> {
    vec![
        event("response.created", json!({"response": response("in_progress", false)})),
        event(
            "response.output_text.delta",
            json!({"delta": "Hello", "output_index": 0}),
        ),
    ]
}

fn events(last: &str, counted: bool) -> Vec<String> {
    let status = last.strip_prefix("response.").unwrap();
    let mut events = words();
    events.push(event(last, json!({"response": response(status, counted)})));
    events
}

fn question() -> Value {
    json!({"model": "gpt-4o-mini", "max_output_tokens": 100, "input": "What is it?"})
}

fn streamed() -> String {
    let mut asked = question();
    asked["stream"] = true.into();
    asked.to_string()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_response_passes_through_untouched_and_costs_what_its_usage_says() {
    let stack = Stack::start().await;
    let run = stack.open(10_000, &[]).await;
    let answer = response("completed", true);
    stack.provider.answers_json(StatusCode::OK, &answer);
    let asked = "{ \"model\":\"gpt-4o-mini\", \"input\" : \"caf\\u00e9\",\"store\":true,\"max_output_tokens\":1e2}";
    for path in ["/v1/responses", "/responses"] {
        let got = stack.send(Method::POST, path, &run.credential, asked).await;
        // A limit that is no whole number is refused, since nothing can be set aside for it.
        assert_eq!(refusal(got).await.0, 400);
        let asked = asked.replace("1e2", "100");
        let got = stack.send(Method::POST, path, &run.credential, asked.as_str()).await;
        assert_eq!(got.status(), StatusCode::OK);
        assert_eq!(got.text().await.unwrap(), answer.to_string());
        let call = stack.provider.calls().pop().unwrap();
        assert_eq!(call.body, asked, "not one byte may change");
        assert_eq!(call.headers["authorization"], format!("Bearer {PROVIDER_KEY}"));
    }
    let missing = stack
        .send(Method::POST, PATH, &run.credential, r#"{"input":"x"}"#)
        .await;
    assert_eq!(missing.status(), StatusCode::OK);
    assert_eq!(
        stack.provider.calls().pop().unwrap().body,
        r#"{"model":"gpt-4o-mini","input":"x"}"#
    );
    let usage = stack.usage(&run, 3).await;
    assert!(usage.iter().all(|row| row.cost_pico_usd == COST), "{usage:?}");
    assert_eq!(usage[2].flags, ["rewritten:model"]);
    stack.assert_books().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_event_that_tells_the_usage_waits_for_the_books() {
    let stack = Stack::start().await;
    for (last, counted, cost) in [
        ("response.completed", true, Some(COST)),
        ("response.incomplete", true, Some(COST)),
        ("response.failed", true, Some(COST)),
        // Nobody says what it used: what was set aside is charged.
        ("response.failed", false, None),
    ] {
        let run = stack.open(10_000, &[]).await;
        let sent = events(last, counted);
        let gate = std::sync::Arc::new(tokio::sync::Notify::new());
        let (first, rest) = (sent[..2].to_vec(), sent[2..].to_vec());
        let opened = std::sync::Arc::clone(&gate);
        stack.provider.answers(move || {
            let answer = gated(first.clone(), std::sync::Arc::clone(&opened), rest.clone());
            async move { answer }
        });
        let mut got = stack.send(Method::POST, PATH, &run.credential, streamed()).await;
        let mut text = String::new();
        while !text.contains("Hello") {
            text += &String::from_utf8_lossy(&got.chunk().await.unwrap().unwrap());
        }
        assert_eq!(stack.balance(&run).await.0, 0, "not settled before its end");
        gate.notify_one();
        while !text.contains(last) {
            text += &String::from_utf8_lossy(&got.chunk().await.unwrap().unwrap());
        }
        // As soon as the agent sees the end, the books have it.
        let (spent, held) = stack.balance(&run).await;
        assert_eq!(held, 0);
        while let Some(piece) = got.chunk().await.unwrap() {
            text += &String::from_utf8_lossy(&piece);
        }
        assert_eq!(text, sent.concat());
        match cost {
            Some(cost) => assert_eq!(spent, cost, "{last}"),
            None => assert_eq!(stack.usage(&run, 1).await[0].flags, ["usage_lost"]),
        }
    }
    stack.assert_books().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_broken_stream_says_so_in_words_its_clients_read() {
    let stack = Stack::start().await;
    let run = stack.open(10_000, &[]).await;
    stack.provider.streams(&words(), true);
    let got = stack.send(Method::POST, PATH, &run.credential, streamed()).await;
    let text = got.text().await.unwrap();
    let last = text.strip_prefix(&words().concat()).unwrap();
    let told: Value = serde_json::from_str(last.strip_prefix("event: error\ndata: ").unwrap()).unwrap();
    assert_eq!(
        (&told["type"], &told["code"], &told["error"]["code"]),
        (&json!("error"), &json!("upstream_cut"), &json!("upstream_cut"))
    );
    assert_eq!(stack.usage(&run, 1).await[0].flags, ["usage_lost"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_nobody_can_count_beforehand_is_refused() {
    let stack = Stack::start().await;
    let run = stack.open(10_000, &[]).await;
    for (field, value, words) in [
        ("background", json!(true), "background"),
        ("previous_response_id", json!("resp_1"), "`previous_response_id`"),
        ("conversation", json!({"id": "conv_1"}), "`conversation`"),
        ("prompt", json!({"id": "pmpt_1"}), "`prompt`"),
        ("service_tier", json!("priority"), "`service_tier`"),
        (
            "input",
            json!([{"role": "user", "content": "x"}, {"type": "item_reference", "id": "msg_1"}]),
            "item_reference",
        ),
        ("input", json!([{"id": "msg_1"}]), "item_reference"),
        (
            "tools",
            json!([{"type": "function", "name": "f"}, {"type": "web_search"}]),
            "web_search",
        ),
        ("tools", json!([{"type": "file_search"}]), "file_search"),
        ("tools", json!([{"type": "code_interpreter"}]), "code_interpreter"),
        (
            "tools",
            json!([{"type": "computer_use_preview"}]),
            "computer_use_preview",
        ),
        ("tools", json!([{"type": "mcp"}]), "mcp"),
        ("tools", json!([{"type": "image_generation"}]), "image_generation"),
    ] {
        let mut asked = question();
        asked[field] = value;
        let got = stack.send(Method::POST, PATH, &run.credential, asked.to_string()).await;
        assert_eq!(got.headers()["x-should-retry"], "false");
        let (status, code, told) = refusal(got).await;
        assert_eq!((status, code.as_str()), (400, "unpriced_feature"), "{asked}");
        assert!(told["error"]["message"].as_str().unwrap().contains(words), "{told}");
    }
    let picture = json!([{"role": "user", "content": [{"type": "input_image", "image_url": "https://x/y"}]}]);
    let poor = stack.open(1_000, &[]).await;
    let mut asked = question();
    asked["input"] = picture;
    assert_eq!(
        refusal(
            stack
                .send(Method::POST, PATH, &poor.credential, asked.to_string())
                .await
        )
        .await
        .0,
        402
    );
    assert!(stack.provider.calls().is_empty());

    stack
        .provider
        .answers_json(StatusCode::OK, &response("completed", true));
    let mut asked = question();
    asked["tools"] = json!([{"type": "function", "name": "f", "parameters": {}}, {"type": "custom", "name": "g"}]);
    asked["input"] = json!([
        {"role": "user", "content": "x"}, {"type": "reasoning", "id": "rs_1", "summary": [], "encrypted_content": "y"},
        {"type": "message", "id": "msg_1", "role": "assistant", "content": []},
    ]);
    asked["previous_response_id"] = Value::Null;
    asked["background"] = false.into();
    let got = stack.send(Method::POST, PATH, &run.credential, asked.to_string()).await;
    assert_eq!(got.status(), StatusCode::OK);
}
