//! The model providers.

use serde_json::{Value, json};
use simulator::Options;

use crate::stage::Stage;

async fn ask(stage: &Stage, path: &str, body: &Value) -> reqwest::Response {
    stage
        .client
        .post(format!("{}/llm/{path}", stage.url))
        .bearer_auth("placeholder")
        .header("x-api-key", "placeholder")
        .header("anthropic-version", "2023-06-01")
        .header("x-steward-run", "run-1")
        .json(body)
        .send()
        .await
        .unwrap()
}

/// The data of each event; the closing mark left out.
fn events(text: &str) -> Vec<Value> {
    text.split("\n\n")
        .filter_map(|event| event.split("data: ").nth(1))
        .filter(|data| *data != "[DONE]")
        .map(|data| serde_json::from_str(data).unwrap())
        .collect()
}

fn chat(question: &str) -> Value {
    let content = json!([{"role": "system", "content": "abcdefgh"}, {"role": "user", "content": question}]);
    json!({"model": "gpt-4o-mini", "messages": content})
}

#[tokio::test]
async fn the_same_seed_gives_the_same_bytes_and_another_does_not() {
    let (one, two) = (
        Stage::empty(Options::local()).await,
        Stage::empty(Options::local()).await,
    );
    let other = Options {
        seed: 2,
        ..Options::local()
    };
    let other = Stage::empty(other).await;
    for path in ["openai/v1/chat/completions", "anthropic/v1/messages"] {
        for stream in [false, true] {
            let mut body = chat("What is a ledger?");
            body["stream"] = json!(stream);
            body["max_tokens"] = json!(4096);
            let answer = async |stage: &Stage| ask(stage, path, &body).await.text().await.unwrap();
            let first = answer(&one).await;
            assert_eq!(first, answer(&one).await);
            assert_eq!(first, answer(&two).await);
            assert_ne!(first, answer(&other).await);
        }
    }
}

#[tokio::test]
async fn plain_and_streamed_answers_agree_and_usage_is_exact() {
    let stage = Stage::empty(Options::local()).await;
    stage.settings(json!({"llm_cached_percent": 50})).await;
    let mut body = chat("12345");
    let plain: Value = ask(&stage, "openai/v1/chat/completions", &body)
        .await
        .json()
        .await
        .unwrap();
    let text = plain["choices"][0]["message"]["content"].as_str().unwrap();
    let output = text.len().div_ceil(4);
    assert_eq!(plain["usage"]["prompt_tokens"], 4, "13 bytes of text");
    assert_eq!(plain["usage"]["completion_tokens"], output);
    assert_eq!(plain["usage"]["prompt_tokens_details"]["cached_tokens"], 2);

    body["stream"] = json!(true);
    body["stream_options"] = json!({"include_usage": true});
    let streamed = ask(&stage, "openai/v1/chat/completions", &body)
        .await
        .text()
        .await
        .unwrap();
    assert!(streamed.ends_with("data: [DONE]\n\n"));
    let events = events(&streamed);
    let said: String = events
        .iter()
        .filter_map(|event| event["choices"][0]["delta"]["content"].as_str())
        .collect();
    assert_eq!(said, text);
    let last = events.last().unwrap();
    assert_eq!((&last["usage"], &last["choices"]), (&plain["usage"], &json!([])));

    let report = stage.report().await;
    let expected = json!({
        "calls": 2, "input_tokens": 8, "output_tokens": 2 * output, "cached_tokens": 4,
        "stored_tokens": 0,
    });
    assert_eq!(report["llm"]["by_model"]["gpt-4o-mini"], expected);
    assert_eq!(report["llm"]["by_run"]["run-1"], expected);
    assert_eq!(report["llm"]["calls"], 2);
}

#[tokio::test]
async fn the_other_two_apis_answer_in_their_own_shapes() {
    let stage = Stage::empty(Options::local()).await;
    let mut body = json!({"model": "claude-sonnet-4", "max_tokens": 1024, "system": "abcd",
        "messages": [{"role": "user", "content": [{"type": "text", "text": "efgh"}]}]});
    let plain: Value = ask(&stage, "anthropic/v1/messages", &body).await.json().await.unwrap();
    assert_eq!(plain["usage"]["input_tokens"], 2);
    body["stream"] = json!(true);
    let streamed = ask(&stage, "anthropic/v1/messages", &body).await.text().await.unwrap();
    let stream = events(&streamed);
    let said: String = stream
        .iter()
        .filter_map(|event| event["delta"]["text"].as_str())
        .collect();
    assert_eq!(said, plain["content"][0]["text"].as_str().unwrap());
    let delta = stream.iter().find(|event| event["type"] == "message_delta").unwrap();
    assert_eq!(delta["usage"]["output_tokens"], plain["usage"]["output_tokens"]);
    assert_eq!(stream.last().unwrap()["type"], "message_stop");

    body["cache_control"] = json!({"type": "ephemeral"});
    body["stream"] = json!(false);
    let stored: Value = ask(&stage, "anthropic/v1/messages", &body).await.json().await.unwrap();
    assert_eq!(
        (
            &stored["usage"]["input_tokens"],
            &stored["usage"]["cache_creation_input_tokens"]
        ),
        (&json!(0), &json!(2))
    );

    let mut body = json!({"model": "gpt-5", "input": "abcd", "instructions": "efgh"});
    let plain: Value = ask(&stage, "openai/v1/responses", &body).await.json().await.unwrap();
    assert_eq!(
        (&plain["status"], &plain["usage"]["input_tokens"]),
        (&json!("completed"), &json!(2))
    );
    body["stream"] = json!(true);
    let streamed = ask(&stage, "openai/v1/responses", &body).await.text().await.unwrap();
    let stream = events(&streamed);
    assert_eq!(stream.last().unwrap()["response"], plain);
    let said: String = stream
        .iter()
        .filter(|event| event["type"] == "response.output_text.delta")
        .filter_map(|event| event["delta"].as_str())
        .collect();
    assert_eq!(said, plain["output"][0]["content"][0]["text"].as_str().unwrap());
}

#[tokio::test]
async fn bad_calls_are_refused_in_the_providers_words() {
    let stage = Stage::empty(Options::local()).await;
    let url = format!("{}/llm/openai/v1/chat/completions", stage.url);
    let naked = stage.client.post(&url).json(&chat("x")).send().await.unwrap();
    assert_eq!(naked.status(), 401);
    let empty = json!({"model": "m", "messages": []});
    let refused = ask(&stage, "openai/v1/chat/completions", &empty).await;
    assert_eq!(refused.status(), 400);
    let refused: Value = refused.json().await.unwrap();
    assert_eq!(refused["error"]["type"], "invalid_request_error");
    let refused = ask(&stage, "anthropic/v1/messages", &empty).await;
    let refused: Value = refused.json().await.unwrap();
    assert_eq!(refused["type"], "error");
    // Neither provider takes the other's header for a key.
    let url = format!("{}/llm/anthropic/v1/messages", stage.url);
    let bearer = stage.client.post(url).bearer_auth("x").json(&chat("x")).send();
    assert_eq!(bearer.await.unwrap().status(), 401);
    assert_eq!(stage.report().await["llm"]["calls"], 0);
}

#[tokio::test]
async fn model_faults_reach_the_caller_as_providers_fail() {
    let stage = Stage::empty(Options::local()).await;
    stage
        .faults(json!([
            {"on": "llm", "kind": "http_429", "count": 1, "args": {"retry_after": 7}},
            {"on": "llm", "kind": "http_500", "count": 1},
            {"on": "llm", "kind": "garbage", "count": 1},
            {"on": "llm", "kind": "stop_midstream", "count": 1},
        ]))
        .await;
    let mut body = chat("x");
    body["stream"] = json!(true);
    let call = || ask(&stage, "openai/v1/chat/completions", &body);
    let limited = call().await;
    assert_eq!(
        (limited.status().as_u16(), &limited.headers()["retry-after"]),
        (429, &"7".parse().unwrap())
    );
    assert_eq!(call().await.status(), 500);
    let garbage = call().await;
    assert_eq!(garbage.status(), 200);
    assert!(garbage.json::<Value>().await.is_err());
    let mut cut = call().await;
    assert_eq!(cut.status(), 200);
    let mut seen = Vec::new();
    let error = loop {
        match cut.chunk().await {
            Ok(Some(chunk)) => seen.extend_from_slice(&chunk),
            Ok(None) => break None,
            Err(error) => break Some(error),
        }
    };
    assert!(error.is_some(), "the stream breaks off instead of ending");
    assert!(!seen.is_empty() && !seen.ends_with(b"[DONE]\n\n"));
}
