//! Limits, and calls that go wrong.

use std::time::{Duration, Instant};

use reqwest::Method;
use serde_json::{Value, json};
use simulator::Options;

use crate::stage::Stage;

#[tokio::test]
async fn every_answer_tells_the_limit_and_the_call_above_it_waits() {
    let stage = Stage::set().await;
    let first = stage.get("/agents/me").await;
    assert_eq!(first.headers["x-ratelimit-limit"], "30");
    assert_eq!(first.headers["x-ratelimit-remaining"], "29");
    let reset: i64 = first.headers["x-ratelimit-reset"].to_str().unwrap().parse().unwrap();
    assert!((0..=61).contains(&(reset - chrono::Utc::now().timestamp())));
    for _ in 0..29 {
        assert_eq!(stage.get("/agents/me").await.status, 200);
    }
    let refused = stage.get("/agents/me").await;
    assert_eq!(refused.status, 429);
    let wait: u64 = refused.headers["retry-after"].to_str().unwrap().parse().unwrap();
    assert!((1..=60).contains(&wait));
    assert_eq!(refused.body["retryAfter"], wait);
    assert!(refused.body["error"].is_string());
    assert_eq!(refused.headers["x-ratelimit-remaining"], "0");

    let public = stage.get("/gigs").await;
    assert_eq!(
        (public.status, &public.headers["x-ratelimit-limit"]),
        (200, &"100".parse().unwrap())
    );
    let report = stage.report().await;
    assert_eq!(report["rate_limited"], 1);
    assert_eq!(report["etiquette_breaches"][0]["what"], "over_the_limit");
    let unknown = stage.get("/nothing").await;
    assert!(unknown.headers.contains_key("x-ratelimit-limit"));
}

#[tokio::test]
async fn a_call_before_the_wait_is_over_is_a_breach_unless_it_may_have_crossed() {
    let stage = Stage::set().await;
    let slowly = json!([{"on": "list", "kind": "http_429", "count": 1, "args": {"retry_after": 30}}]);
    stage.faults(slowly).await;
    let told = stage.get("/agents/me").await;
    assert_eq!(
        (told.status, &told.headers["retry-after"]),
        (429, &"30".parse().unwrap())
    );
    stage.get("/agents/me").await;
    assert_eq!(stage.report().await["etiquette_breaches"], json!([]));
    stage.settings(json!({"rate_limit_per_minute": 6000})).await;
    crate::stage::eventually("a breach", || async {
        stage.get("/agents/me").await;
        let report = stage.report().await;
        (report["etiquette_breaches"][0]["what"] == "call_before_retry_after").then_some(())
    })
    .await;
}

#[tokio::test]
async fn retry_after_comes_in_every_form() {
    let stage = Stage::set().await;
    stage
        .faults(json!([
            {"on": "list", "kind": "http_429", "count": 1, "args": {"retry_after": "none"}},
            {"on": "list", "kind": "http_429", "count": 1, "args": {"retry_after": "http_date", "secs": 5}},
        ]))
        .await;
    let bare = stage.get("/agents/me").await;
    assert_eq!(bare.status, 429);
    assert!(!bare.headers.contains_key("retry-after"));
    let dated = stage.get("/agents/me").await;
    let date = dated.headers["retry-after"].to_str().unwrap();
    let date = chrono::DateTime::parse_from_rfc2822(date).unwrap().to_utc();
    assert!((4..=6).contains(&(date - chrono::Utc::now()).num_seconds()));
}

#[tokio::test]
async fn after_a_reset_after_commit_it_is_done_and_after_a_reset_before_it_is_not() {
    let stage = Stage::set().await;
    let contract = stage.funded(json!(10)).await;
    let path = format!("/contracts/{contract}/deliver");
    let deliver = || stage.try_api(Method::POST, &path, json!({"delivery_notes": "Done"}));
    let status = || async {
        let path = format!("/contracts/{contract}");
        stage.control(Method::GET, &path, Value::Null).await.body["status"].clone()
    };
    stage
        .faults(json!([
            {"on": "deliver", "kind": "reset_before", "count": 1},
            {"on": "deliver", "kind": "reset_after_commit", "count": 1},
        ]))
        .await;
    let cut = deliver().await;
    assert!(cut.is_err(), "the client sees no answer");
    assert_eq!(status().await, "funded");
    let cut = deliver().await;
    assert!(cut.is_err(), "the client sees no answer");
    assert_eq!(status().await, "delivered");
    assert_eq!(stage.report().await["deliveries_by_contract"][&contract], 1);
}

#[tokio::test]
async fn error_faults_do_nothing_and_say_so_in_their_form() {
    let stage = Stage::set().await;
    let contract = stage.funded(json!(10)).await;
    stage
        .faults(json!([
            {"on": "deliver", "kind": "http_500", "count": 1},
            {"on": "any", "kind": "http_502_html", "count": 1},
            {"on": "deliver", "kind": "http_402", "count": 1},
        ]))
        .await;
    let first = stage.deliver(&contract).await;
    assert_eq!((first.status, &first.body["code"]), (500, &json!("internal_error")));
    let second = stage.deliver(&contract).await;
    assert_eq!((second.status, second.body), (502, Value::Null));
    assert!(
        second.headers["content-type"]
            .to_str()
            .unwrap()
            .starts_with("text/html")
    );
    let third = stage.deliver(&contract).await;
    assert_eq!((third.status, &third.body["error"]["code"]), (402, &json!("402")));
    assert!(third.headers.contains_key("x-ratelimit-limit"));
    assert_eq!(stage.report().await["contracts"]["funded"], 1);
    stage.control(Method::DELETE, "/faults", Value::Null).await;
    assert_eq!(stage.deliver(&contract).await.status, 200);
}

#[tokio::test]
async fn a_slow_call_commits_though_the_caller_has_left() {
    let stage = Stage::set().await;
    for when in ["after", "before"] {
        let contract = stage.funded(json!(10)).await;
        let late = json!({"ms": 300, "when": when});
        stage
            .faults(json!([{"on": "deliver", "kind": "slow", "count": 1, "args": late}]))
            .await;
        let began = Instant::now();
        let call = stage
            .client
            .post(format!("{}/api/v1/contracts/{contract}/deliver", stage.url))
            .bearer_auth(&stage.key)
            .json(&json!({"delivery_notes": "Done"}))
            .timeout(Duration::from_millis(100));
        assert!(call.send().await.unwrap_err().is_timeout());
        assert!(began.elapsed() < Duration::from_millis(290));
        stage
            .wait_report(|report| report["deliveries_by_contract"][&contract] == 1)
            .await;
    }
}

#[tokio::test]
async fn nonsense_on_the_control_surface_is_refused_by_name() {
    let stage = Stage::set().await;
    for (path, body, named) in [
        ("/faults", json!([{"on": "deliver", "kind": "eaten"}]), "eaten"),
        ("/faults", json!([{"on": "deliver", "kind": "duplicate"}]), "duplicate"),
        ("/settings", json!({"dialect": "klingon"}), "klingon"),
        ("/settings", json!({"spped": 1}), "spped"),
    ] {
        let reply = stage.control(Method::PUT, path, body).await;
        let error = reply.body["error"].as_str().unwrap();
        assert_eq!(reply.status, 400);
        assert!(error.contains(named), "{error}");
    }
    let reply = stage.control(Method::POST, "/gigs", json!({"tittle": "x"})).await;
    assert_eq!(reply.status, 400);
}

#[tokio::test]
async fn an_unknown_dialect_does_not_start() {
    use clap::Parser;
    let told = Options::try_parse_from(["simulator", "--dialect", "klingon"]).unwrap_err();
    assert!(told.to_string().contains("klingon"), "{told}");
    assert!(Options::try_parse_from(["simulator", "--dialect", "hostile"]).is_ok());
}
