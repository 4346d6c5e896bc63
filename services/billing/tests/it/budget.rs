//! The cap: checked and held in one step, told in a way clients understand.

use axum::http::StatusCode;
use futures_util::future::join_all;
use serde_json::json;

use crate::{
    provider::{completion, json_answer},
    stack::{MICRO, Stack, question, refusal},
};

#[tokio::test(flavor = "multi_thread")]
async fn at_the_cap_a_typed_402_says_what_would_still_fit() {
    let stack = Stack::start().await;
    let run = stack.open(30, &[]).await;
    let got = stack.chat(&run, &question("gpt-4o-mini")).await;
    assert_eq!(got.headers()["x-should-retry"], "false");
    assert_eq!(got.headers()["x-steward-budget-remaining-micro-usd"], "30");
    assert!(!got.headers().contains_key("x-steward-advice"), "nothing is spent yet");
    let (status, code, body) = refusal(got).await;
    assert_eq!((status, code.as_str()), (402, "budget_exhausted"));
    assert_eq!(body["error"]["type"], "budget_exhausted");
    let message = body["error"]["message"].as_str().unwrap();
    let fits: u64 = message
        .split("at most ")
        .nth(1)
        .unwrap()
        .split(' ')
        .next()
        .unwrap()
        .parse()
        .unwrap();
    assert!(stack.provider.calls().is_empty());

    let mut shorter = question("gpt-4o-mini");
    shorter["max_tokens"] = fits.into();
    stack
        .provider
        .answers_json(StatusCode::OK, &completion("gpt-4o-mini", 10, 0, 1));
    assert_eq!(stack.chat(&run, &shorter).await.status(), StatusCode::OK, "{message}");
    shorter["max_tokens"] = (fits + 2_000).into();
    assert_eq!(refusal(stack.chat(&run, &shorter).await).await.0, 402);
}

#[tokio::test(flavor = "multi_thread")]
async fn near_the_cap_finishing_is_advised() {
    let stack = Stack::start().await;
    let run = stack.open(1_000, &[]).await;
    // 16.5 micro of 1,000; then 900 more.
    let first = stack.chat(&run, &question("gpt-4o-mini")).await;
    assert!(!first.headers().contains_key("x-steward-advice"));
    stack
        .provider
        .answers_json(StatusCode::OK, &completion("gpt-4o-mini", 0, 0, 1_500));
    let second = stack.chat(&run, &question("gpt-4o-mini")).await;
    assert_eq!(second.headers()["x-steward-advice"], "finish");
    assert_eq!(second.headers()["x-steward-budget-remaining-micro-usd"], "73");
    let usage = stack.usage(&run, 2).await;
    assert_eq!(
        usage[1].flags,
        ["over_hold"],
        "the truth is charged, whatever was set aside"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn fifty_calls_at_once_never_pass_the_cap() {
    let stack = Stack::start().await;
    // Room for seven holds of about 79 micro; the answers cost as much as can be.
    let run = stack.open(600, &[]).await;
    stack.provider.answers(|| async {
        tokio::time::sleep(std::time::Duration::from_millis(100)).await;
        json_answer(&completion("gpt-4o-mini", 80, 0, 100))
    });
    let asked = question("gpt-4o-mini");
    let answers = join_all((0..50).map(|_| stack.chat(&run, &asked))).await;
    let paid = answers
        .iter()
        .filter(|answer| answer.status() == StatusCode::OK)
        .count();
    let refused = answers
        .iter()
        .filter(|answer| answer.status() == StatusCode::PAYMENT_REQUIRED)
        .count();
    // On a crowded machine the books may keep some waiting for longer than an agent is.
    let later = answers
        .iter()
        .filter(|answer| {
            answer.status() == StatusCode::SERVICE_UNAVAILABLE && answer.headers().contains_key("retry-after")
        })
        .count();
    assert_eq!(paid + refused + later, 50);
    assert!((5..=8).contains(&paid), "{paid} calls went through");
    assert_eq!(stack.provider.calls().len(), paid);
    let (spent, held) = stack.balance(&run).await;
    assert!(spent <= 600 * MICRO, "{spent}");
    assert_eq!(held, 0);
    assert_eq!(spent, i64::try_from(paid).unwrap() * (80 * 150_000 + 100 * 600_000));
    stack.usage(&run, paid).await;
    stack.assert_books().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_new_attempt_may_spend_its_own_budget_on_top_of_what_was_spent() {
    let stack = Stack::start().await;
    let run = stack.open(200, &[]).await;
    stack
        .provider
        .answers_json(StatusCode::OK, &completion("gpt-4o-mini", 100, 0, 250));
    assert_eq!(
        stack.chat(&run, &question("gpt-4o-mini")).await.status(),
        StatusCode::OK
    );
    assert_eq!(stack.close(&run).await, 165);
    let again = stack.open_for(run.id, run.subject, 35, &[]).await;
    let got = stack
        .send(outbound::Method::GET, "/v1/models", &again.credential, "")
        .await;
    assert_eq!(got.headers()["x-steward-budget-remaining-micro-usd"], "35");
    assert_eq!(got.headers()["x-steward-advice"], "finish");
}

#[tokio::test(flavor = "multi_thread")]
async fn every_choice_asked_for_is_set_aside_for() {
    let stack = Stack::start().await;
    let run = stack.open(300, &[]).await;
    let mut asked = question("gpt-4o-mini");
    asked["n"] = json!(10);
    assert_eq!(refusal(stack.chat(&run, &asked).await).await.0, 402);
    asked["n"] = json!(2);
    assert_eq!(stack.chat(&run, &asked).await.status(), StatusCode::OK);
    // Without a limit, 4,096 tokens are.
    asked.as_object_mut().unwrap().remove("max_tokens");
    assert_eq!(refusal(stack.chat(&run, &asked).await).await.0, 402);
}
