//! An agent's limit of the day, as the scheduler is told.

use axum::http::StatusCode;
use rpc::error::reason;
use rpc::v1;
use tonic::Code;
use uuid::Uuid;

use crate::{
    provider::completion,
    stack::{Stack, opening, question},
};

fn limited(budget: i64, limit: i64) -> v1::OpenRunRequest {
    v1::OpenRunRequest {
        day_limit_micro_usd: Some(limit),
        attempt: 1,
        ..opening(Uuid::now_v7(), Uuid::now_v7(), budget, &[])
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_day_is_given_out_to_its_last_cent_and_the_rest_is_told_why() {
    let stack = Stack::start().await;
    let mut scheduler = stack.scheduler.clone();
    let first = scheduler.open_run(limited(600, 1_000)).await.unwrap().into_inner();
    assert_eq!(first.granted_micro_usd, Some(600));
    let asked = limited(600, 1_000);
    let second = scheduler.open_run(asked.clone()).await.unwrap().into_inner();
    assert_eq!(second.granted_micro_usd, Some(400));
    let run = crate::stack::Run {
        id: asked.run_id.parse().unwrap(),
        subject: asked.subject_id.parse().unwrap(),
        credential: second.credential,
    };
    let models = stack.send(outbound::Method::GET, "/v1/models", &run.credential, "");
    assert_eq!(
        models.await.headers()["x-steward-budget-remaining-micro-usd"],
        "400",
        "the gateway keeps to what was granted"
    );
    let third = scheduler.open_run(limited(600, 1_000)).await.unwrap_err();
    assert_eq!(
        (third.code(), reason(&third).as_deref()),
        (Code::ResourceExhausted, Some("DAY_PROMISED"))
    );

    // The day's rest is spent, and more: nothing of it is posted yet.
    stack
        .provider
        .answers_json(StatusCode::OK, &completion("gpt-4o-mini", 0, 0, 1_600));
    assert_eq!(
        stack.chat(&run, &question("gpt-4o-mini")).await.status(),
        StatusCode::OK
    );
    let fourth = scheduler.open_run(limited(600, 1_000)).await.unwrap_err();
    assert_eq!(
        (fourth.code(), reason(&fourth).as_deref()),
        (Code::ResourceExhausted, Some("DAY_SPENT"))
    );
    let unlimited = opening(Uuid::now_v7(), Uuid::now_v7(), 600, &[]);
    let unlimited = scheduler.open_run(unlimited).await.unwrap().into_inner();
    assert_eq!(unlimited.granted_micro_usd, Some(600));
}

#[tokio::test(flavor = "multi_thread")]
async fn an_attempt_that_is_over_is_neither_opened_nor_does_its_end_harm_the_next() {
    let stack = Stack::start().await;
    let mut scheduler = stack.scheduler.clone();
    let attempt = |attempt, run: &v1::OpenRunRequest| v1::OpenRunRequest { attempt, ..run.clone() };
    let run = opening(Uuid::now_v7(), Uuid::now_v7(), 600, &[]);
    let second = scheduler.open_run(attempt(2, &run)).await.unwrap().into_inner();
    let late = scheduler.open_run(attempt(1, &run)).await.unwrap_err();
    assert_eq!(
        (late.code(), reason(&late).as_deref()),
        (Code::FailedPrecondition, Some("ATTEMPT_OVER"))
    );
    let close = |attempt| v1::CloseRunRequest {
        run_id: run.run_id.clone(),
        attempt,
    };
    for (ends, status) in [(1, StatusCode::OK), (2, StatusCode::FORBIDDEN)] {
        scheduler.close_run(close(ends)).await.unwrap();
        let models = stack
            .send(outbound::Method::GET, "/v1/models", &second.credential, "")
            .await;
        assert_eq!(models.status(), status, "after the end of attempt {ends}");
    }
}
