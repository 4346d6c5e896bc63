//! Against the simulator's provider, which keeps a count of its own.

use axum::http::StatusCode;
use futures_util::future::join_all;
use outbound::Method;
use serde_json::{Value, json};
use simulator::Options;

use crate::{
    provider::spawn,
    stack::{Stack, question, refusal, streamed_question},
};

struct Simulated {
    stack: Stack,
    url: String,
    stop: boot::CancellationToken,
}

impl Drop for Simulated {
    fn drop(&mut self) {
        self.stop.cancel();
    }
}

impl Simulated {
    async fn start() -> Self {
        let server = simulator::bind(Options::local()).await.unwrap();
        let url = server.url();
        let stop = boot::CancellationToken::new();
        let stopping = stop.clone();
        spawn(async move {
            server.serve(stopping).await.unwrap();
        });
        let upstreams =
            format!(
            "[{{name=\"openai\", base_url=\"{url}/llm/openai/v1\", api_key=\"k\", models=[\"*\"]}},
              {{name=\"anthropic\", api=\"anthropic\", base_url=\"{url}/llm/anthropic/v1\", api_key=\"k\", models=[\"claude-*\"]}}]"
        );
        let stack = Stack::start_with(&[("UPSTREAMS", upstreams.as_str())]).await;
        Self { stack, url, stop }
    }

    async fn control(&self, method: Method, path: &str, body: Value) -> Value {
        let url = format!("{}/control/{path}", self.url).parse().unwrap();
        let request = self
            .stack
            .http
            .request(method, url)
            .header("content-type", "application/json")
            .body(body.to_string());
        let answer = self.stack.http.send(request).await.unwrap();
        assert!(answer.status().is_success(), "{path}: {}", answer.status());
        serde_json::from_str(&answer.text().await.unwrap()).unwrap_or_default()
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn both_sides_count_the_same_tokens() {
    let simulated = Simulated::start().await;
    let stack = &simulated.stack;
    simulated
        .control(Method::PUT, "settings", json!({"llm_cached_percent": 30}))
        .await;
    let run = stack.open(1_000_000, &["gpt-4o"]).await;
    let calls = (0..20).map(|number| {
        let model = if number % 2 == 0 { "gpt-4o-mini" } else { "gpt-4o" };
        let mut asked = if number % 3 == 0 {
            streamed_question(model)
        } else {
            question(model)
        };
        asked["messages"][0]["content"] = format!("Question number {number}, at some length.").into();
        let run = &run;
        async move {
            let answer = stack.chat(run, &asked).await;
            assert_eq!(answer.status(), StatusCode::OK);
            answer.text().await.unwrap()
        }
    });
    join_all(calls).await;
    let usage = stack.usage(&run, 20).await;
    let sum = |of: fn(&rpc::v1::Usage) -> i64| usage.iter().map(of).sum::<i64>();
    let report = simulated.control(Method::GET, "report", Value::Null).await;
    let counted = &report["llm"]["by_run"][run.id.to_string()];
    let text = report["llm"].to_string();
    assert_eq!(counted["calls"], 20, "{text}");
    assert_eq!(counted["input_tokens"], sum(|usage| usage.input_tokens), "{text}");
    assert_eq!(counted["output_tokens"], sum(|usage| usage.output_tokens), "{text}");
    assert_eq!(counted["cached_tokens"], sum(|usage| usage.cached_tokens), "{text}");
    assert!(sum(|usage| usage.cached_tokens) > 0);
    stack.close(&run).await;
    stack.assert_books().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn both_sides_count_the_same_in_every_protocol() {
    let simulated = Simulated::start().await;
    let stack = &simulated.stack;
    simulated
        .control(Method::PUT, "settings", json!({"llm_cached_percent": 30}))
        .await;
    let run = stack.open(1_000_000, &["claude-haiku-4-5"]).await;
    let text = "A question of some length, so that there are tokens to count.";
    let calls = (0..12).map(|number| {
        let control = if number % 2 == 0 {
            json!({"type": "ephemeral"})
        } else {
            Value::Null
        };
        let (path, mut asked, end) = match number % 3 {
            0 => (
                "/v1/messages",
                json!({"model": "claude-haiku-4-5", "max_tokens": 50, "cache_control": control,
                "messages": [{"role": "user", "content": text}]}),
                "event: message_stop",
            ),
            1 => (
                "/v1/responses",
                json!({"model": "gpt-4o-mini", "max_output_tokens": 5, "input": text}),
                "event: response.incomplete",
            ),
            _ => ("/v1/chat/completions", question("gpt-4o-mini"), "data: [DONE]"),
        };
        let streamed = number % 4 < 2;
        asked["stream"] = streamed.into();
        let run = &run;
        async move {
            let answer = stack.post(run, path, &[], asked.to_string()).await;
            assert_eq!(answer.status(), StatusCode::OK, "{path}");
            let text = answer.text().await.unwrap();
            assert_eq!(text.contains(end), streamed, "{path}: {text}");
        }
    });
    join_all(calls).await;
    let usage = stack.usage(&run, 12).await;
    let sum = |of: fn(&rpc::v1::Usage) -> i64| usage.iter().map(of).sum::<i64>();
    let report = simulated.control(Method::GET, "report", Value::Null).await;
    let counted = &report["llm"]["by_run"][run.id.to_string()];
    assert_eq!(counted["calls"], 12);
    assert_eq!(counted["input_tokens"], sum(|usage| usage.input_tokens));
    assert_eq!(counted["output_tokens"], sum(|usage| usage.output_tokens));
    assert_eq!(counted["cached_tokens"], sum(|usage| usage.cached_tokens));
    assert!(counted["stored_tokens"].as_i64().unwrap() > 0);
    let stored = usage
        .iter()
        .filter(|row| row.flags.iter().any(|flag| flag == "cache_stored"))
        .count();
    assert_eq!(stored, 2);
    stack.close(&run).await;
    stack.assert_books().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_simulators_faults_end_as_they_should() {
    let simulated = Simulated::start().await;
    let stack = &simulated.stack;
    for (kind, streamed, status, code, flags) in [
        ("http_429", false, 429, None, None),
        ("http_500", true, 500, None, None),
        ("http_502_html", false, 502, Some("upstream_error"), None),
        ("reset_before", false, 502, Some("upstream_cut"), Some("usage_lost")),
        (
            "reset_after_commit",
            true,
            502,
            Some("upstream_cut"),
            Some("usage_lost"),
        ),
        ("garbage", false, 502, Some("upstream_garbage"), Some("usage_lost")),
        ("stop_midstream", false, 502, Some("upstream_cut"), Some("usage_lost")),
    ] {
        let run = stack.open(10_000, &[]).await;
        let fault = json!([{"on": "llm", "kind": kind, "count": 1}]);
        simulated.control(Method::PUT, "faults", fault).await;
        let asked = if streamed {
            streamed_question("gpt-4o-mini")
        } else {
            question("gpt-4o-mini")
        };
        let (seen, told, _) = refusal(stack.chat(&run, &asked).await).await;
        assert_eq!(seen, status, "{kind}");
        if let Some(code) = code {
            assert_eq!(told, code, "{kind}");
        }
        let usage = stack.usage(&run, usize::from(flags.is_some())).await;
        if let Some(flag) = flags {
            assert_eq!(usage[0].flags, [flag], "{kind}");
        }
        let again = stack.chat(&run, &asked).await;
        assert_eq!(again.status(), StatusCode::OK, "{kind}");
        again.text().await.unwrap();
    }
    stack.assert_books().await;
}
