//! Postgres goes away: nothing is spent unbooked, nothing that was spent is forgotten, and it comes back by itself.

use std::{sync::Arc, time::Duration};

use axum::http::StatusCode;
use testkit::{Database, Proxy, eventually};
use tokio::sync::Notify;

use crate::{
    provider::{completion, events, gated, json_answer},
    stack::{SOON, Stack, question, refusal, streamed_question},
};

/// A billing that reaches its database through a cable we can cut.
async fn start() -> (Stack, Proxy) {
    start_with(&[]).await
}

async fn start_with(settings: &[(&str, &str)]) -> (Stack, Proxy) {
    let database = Database::create().await.unwrap();
    let url = database.url_for("billing");
    let host = url.rsplit('@').next().unwrap().split('/').next().unwrap().to_owned();
    let proxy = Proxy::start(&host).await.unwrap();
    let url = proxy.url(&url).unwrap();
    (Stack::start_on(database, &url, settings).await, proxy)
}

#[tokio::test(flavor = "multi_thread")]
async fn without_its_books_the_gateway_answers_503_and_comes_back_by_itself() {
    let (stack, proxy) = start().await;
    let run = stack.open(10_000, &[]).await;
    assert_eq!(
        stack.chat(&run, &question("gpt-4o-mini")).await.status(),
        StatusCode::OK
    );
    proxy.cut();
    let got = stack.chat(&run, &question("gpt-4o-mini")).await;
    assert_eq!(got.headers()["retry-after"], "2");
    let (status, code, _) = refusal(got).await;
    assert_eq!((status, code.as_str()), (503, "books_unavailable"));
    eventually(SOON, "not ready", || async { !stack.is_ready().await })
        .await
        .unwrap();
    let opened = stack
        .scheduler
        .clone()
        .open_run(crate::stack::opening(run.id, run.subject, 1, &[]))
        .await;
    assert_eq!(
        rpc::error::reason(&opened.unwrap_err()).as_deref(),
        Some("BOOKS_UNAVAILABLE")
    );
    proxy.restore();
    eventually(SOON, "ready again", || stack.is_ready()).await.unwrap();
    assert_eq!(
        stack.chat(&run, &question("gpt-4o-mini")).await.status(),
        StatusCode::OK
    );
    assert_eq!(
        stack.provider.calls().len(),
        2,
        "no provider was asked while nothing could be booked"
    );
    assert_eq!(stack.balance(&run).await.1, 0);
    stack.usage(&run, 2).await;
    stack.assert_books().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_answer_waits_for_the_books_when_they_go_away_in_the_middle() {
    let (stack, proxy) = start().await;
    for streamed in [false, true] {
        let run = stack.open(10_000, &[]).await;
        let gate = Arc::new(Notify::new());
        let opened = Arc::clone(&gate);
        stack.provider.answers(move || {
            let gate = Arc::clone(&opened);
            async move {
                if streamed {
                    let mut first = events("gpt-4o-mini", 100, 40, 20);
                    let last = first.split_off(2);
                    return gated(first, gate, last);
                }
                gate.notified().await;
                json_answer(&completion("gpt-4o-mini", 100, 40, 20))
            }
        });
        let before = stack.provider.calls().len();
        let asked = if streamed {
            streamed_question("gpt-4o-mini")
        } else {
            question("gpt-4o-mini")
        };
        let calling = async { stack.chat(&run, &asked).await.text().await.unwrap() };
        let (text, ()) = tokio::join!(calling, async {
            let begun = || async { stack.provider.calls().len() > before };
            eventually(SOON, "the call to reach the provider", begun).await.unwrap();
            proxy.cut();
            gate.notify_one();
            // Long enough for a first try to fail.
            eventually(SOON, "not ready", || async { !stack.is_ready().await })
                .await
                .unwrap();
            proxy.restore();
        });
        assert!(text.contains("\"cached_tokens\":40"), "{text}");
        assert_eq!(text.ends_with("data: [DONE]\n\n"), streamed, "{text}");
        let usage = stack.usage(&run, 1).await;
        assert_eq!(usage[0].cost_pico_usd, 60 * 150_000 + 40 * 75_000 + 20 * 600_000);
        assert!(usage[0].flags.is_empty(), "{usage:?}");
    }
    stack.assert_books().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_settlement_whose_answer_was_lost_is_not_written_twice() {
    let (stack, proxy) = start().await;
    let run = stack.open(10_000, &[]).await;
    stack.provider.answers(|| async {
        tokio::time::sleep(Duration::from_millis(200)).await;
        json_answer(&completion("gpt-4o-mini", 100, 40, 20))
    });
    let asked = question("gpt-4o-mini");
    let (got, ()) = tokio::join!(stack.chat(&run, &asked), async {
        let begun = || async { !stack.provider.calls().is_empty() };
        eventually(SOON, "the call to reach the provider", begun).await.unwrap();
        proxy.lose_answers();
        eventually(SOON, "not ready", || async { !stack.is_ready().await })
            .await
            .unwrap();
        proxy.restore();
    });
    assert_eq!(got.status(), StatusCode::OK);
    stack.usage(&run, 1).await;
    stack.assert_books().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_call_that_outlives_an_outage_is_charged_what_it_cost() {
    let (stack, proxy) = start_with(&[("GATEWAY__HOLD_LEASE", "6s")]).await;
    let run = stack.open(10_000, &[]).await;
    let gate = stack
        .provider
        .answers_when_let_go(completion("gpt-4o-mini", 100, 40, 20));
    let asked = question("gpt-4o-mini");
    let (got, ()) = tokio::join!(stack.chat(&run, &asked), async {
        let begun = || async { !stack.provider.calls().is_empty() };
        eventually(SOON, "the call to reach the provider", begun).await.unwrap();
        proxy.cut();
        // Nobody can renew its hold, and nobody can charge it.
        let expired = || async { stack.count("billing.holds WHERE expires_at < now()").await == 1 };
        eventually(SOON, "its hold to expire", expired).await.unwrap();
        proxy.restore();
        let renewed = || async { stack.count("billing.holds WHERE expires_at > now()").await == 1 };
        eventually(SOON, "its hold to be renewed", renewed).await.unwrap();
        gate.notify_one();
    });
    assert_eq!(got.status(), StatusCode::OK);
    let usage = stack.usage(&run, 1).await;
    assert!(usage[0].flags.is_empty(), "{usage:?}");
    stack.assert_books().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_provider_that_fails_three_times_in_a_row_is_told_of_until_a_call_works() {
    let stack = Stack::start().await;
    let run = stack.open(1_000_000, &[]).await;
    let outage = async || {
        let listed = stack
            .viewer
            .clone()
            .list_providers(rpc::v1::ListProvidersRequest {})
            .await;
        listed.unwrap().into_inner().providers.remove(0).outage
    };
    let cases = [
        (StatusCode::SERVICE_UNAVAILABLE, "{}", "HTTP 503"),
        (StatusCode::UNAUTHORIZED, "{}", "refuses the operator's key"),
        (
            StatusCode::TOO_MANY_REQUESTS,
            r#"{"error":{"code":"insufficient_quota"}}"#,
            "nothing left",
        ),
        (
            StatusCode::BAD_REQUEST,
            r#"{"type":"error","error":{"message":"Your credit balance is too low to access the API."}}"#,
            "credit balance",
        ),
    ];
    for (status, body, why) in cases {
        let body: serde_json::Value = serde_json::from_str(body).unwrap();
        stack.provider.answers_json(status, &body);
        for _ in 0..3 {
            stack.chat(&run, &question("gpt-4o-mini")).await;
        }
        eventually(SOON, "the outage is told", || async {
            outage()
                .await
                .is_some_and(|told| told.error.contains(why) && told.failures >= 3)
        })
        .await
        .unwrap();
    }
    // What is about one request says nothing of the others.
    stack.provider.answers_json(
        StatusCode::BAD_REQUEST,
        &serde_json::json!({"error": {"message": "no"}}),
    );
    stack.chat(&run, &question("gpt-4o-mini")).await;
    eventually(SOON, "it is over", || async { outage().await.is_none() })
        .await
        .unwrap();
}
