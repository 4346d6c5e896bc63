//! The control side: who may call what, and prices.

use axum::http::StatusCode;
use rpc::{error::reason, v1};
use testkit::eventually;
use tonic::Code;
use uuid::Uuid;

use crate::{
    provider::completion,
    stack::{Ports, SOON, Stack, environment, invocation, opening, question, service, start_again},
};

#[tokio::test(flavor = "multi_thread")]
async fn each_role_may_do_its_own_and_nothing_else() {
    let stack = Stack::start().await;
    let (id, subject) = (Uuid::now_v7(), Uuid::now_v7());
    for mut client in [stack.operator.clone(), stack.viewer.clone()] {
        let opened = client.open_run(opening(id, subject, 1, &[])).await;
        assert_eq!(opened.unwrap_err().code(), Code::PermissionDenied);
        let close = v1::CloseRunRequest {
            run_id: id.to_string(),
            attempt: 1,
        };
        let closed = client.close_run(close).await;
        assert_eq!(closed.unwrap_err().code(), Code::PermissionDenied);
        let settled = client.settle(v1::SettleRequest::default()).await;
        assert_eq!(settled.unwrap_err().code(), Code::PermissionDenied);
    }
    for mut client in [stack.scheduler.clone(), stack.viewer.clone()] {
        let set = client.set_price(v1::Price::default()).await;
        assert_eq!(set.unwrap_err().code(), Code::PermissionDenied);
    }
    for mut client in [stack.scheduler.clone(), stack.operator.clone(), stack.viewer.clone()] {
        assert!(client.list_prices(v1::ListPricesRequest {}).await.is_ok());
        assert!(client.check_ledger(v1::CheckLedgerRequest {}).await.is_ok());
    }
    let mut stranger = stack.ports.client("token-of-nobody").await;
    let listed = stranger.list_prices(v1::ListPricesRequest {}).await;
    assert_eq!(listed.unwrap_err().code(), Code::Unauthenticated);
}

#[tokio::test(flavor = "multi_thread")]
async fn wrong_arguments_are_named() {
    let stack = Stack::start().await;
    let (id, subject) = (Uuid::now_v7(), Uuid::now_v7());
    let good = || opening(id, subject, 1, &[]);
    let wrong = [
        (
            "BAD_ID",
            v1::OpenRunRequest {
                run_id: "x".into(),
                ..good()
            },
        ),
        (
            "BAD_SUBJECT_KIND",
            v1::OpenRunRequest {
                subject_kind: "x".into(),
                ..good()
            },
        ),
        (
            "BAD_NAME",
            v1::OpenRunRequest {
                agent: String::new(),
                ..good()
            },
        ),
        (
            "BAD_NAME",
            v1::OpenRunRequest {
                agent: "a/b".into(),
                ..good()
            },
        ),
        (
            "BAD_NAME",
            v1::OpenRunRequest {
                default_model: String::new(),
                ..good()
            },
        ),
        (
            "BAD_BUDGET",
            v1::OpenRunRequest {
                budget_micro_usd: -1,
                ..good()
            },
        ),
        (
            "BAD_BUDGET",
            v1::OpenRunRequest {
                budget_micro_usd: i64::MAX,
                ..good()
            },
        ),
        (
            "BAD_DAY_LIMIT",
            v1::OpenRunRequest {
                day_limit_micro_usd: Some(-1),
                ..good()
            },
        ),
        (
            "BAD_EXPIRY",
            v1::OpenRunRequest {
                expires_at: None,
                ..good()
            },
        ),
        (
            "BAD_MODELS",
            v1::OpenRunRequest {
                allowed_models: vec![String::new()],
                ..good()
            },
        ),
    ];
    for (word, asked) in wrong {
        let refused = stack.scheduler.clone().open_run(asked).await.unwrap_err();
        assert_eq!(refused.code(), Code::InvalidArgument);
        assert_eq!(reason(&refused).as_deref(), Some(word));
    }
    stack.scheduler.clone().open_run(good()).await.unwrap();
    let other = v1::OpenRunRequest {
        agent: "other".into(),
        ..good()
    };
    let refused = stack.scheduler.clone().open_run(other).await.unwrap_err();
    assert_eq!(reason(&refused).as_deref(), Some("RUN_DIFFERS"));
    let many = v1::SubjectCostsRequest {
        subject_ids: vec![id.to_string(); 501],
    };
    assert!(stack.scheduler.clone().subject_costs(many).await.is_err());
}

fn price(from: i64, input: i64) -> v1::Price {
    v1::Price {
        provider: "openai".to_owned(),
        model: "gpt-4o-mini".to_owned(),
        effective_from: Some(rpc::convert::timestamp(
            chrono::Utc::now() + chrono::TimeDelta::seconds(from),
        )),
        input_micro_usd_per_million: input,
        cached_micro_usd_per_million: 0,
        output_micro_usd_per_million: input,
        source: "a test".to_owned(),
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_price_in_force_counts_and_none_is_ever_changed() {
    let stack = Stack::start().await;
    let run = stack.open(100_000, &[]).await;
    stack
        .provider
        .answers_json(StatusCode::OK, &completion("gpt-4o-mini", 10, 0, 0));
    let mut operator = stack.operator.clone();
    assert_eq!(
        stack.chat(&run, &question("gpt-4o-mini")).await.status(),
        StatusCode::OK
    );
    let now = price(-60, 1_000_000);
    let set = operator.set_price(now.clone()).await.unwrap().into_inner();
    assert_eq!(
        operator.set_price(set.clone()).await.unwrap().into_inner(),
        set,
        "again is the same"
    );
    let taken = operator
        .set_price(v1::Price {
            input_micro_usd_per_million: 7,
            ..set
        })
        .await
        .unwrap_err();
    assert_eq!(reason(&taken).as_deref(), Some("PRICE_EXISTS"));
    operator.set_price(price(3_600, 9_000_000)).await.unwrap();
    assert_eq!(
        stack.chat(&run, &question("gpt-4o-mini")).await.status(),
        StatusCode::OK
    );
    let costs: Vec<i64> = stack
        .usage(&run, 2)
        .await
        .iter()
        .map(|usage| usage.cost_pico_usd)
        .collect();
    assert_eq!(
        costs,
        [10 * 150_000, 10 * 1_000_000],
        "the one of the moment, not the old and not the coming one"
    );
    for bad in [
        v1::Price {
            source: String::new(),
            ..price(0, 1)
        },
        v1::Price {
            model: " ".to_owned(),
            ..price(0, 1)
        },
        price(0, -1),
        price(0, i64::MAX),
    ] {
        assert_eq!(operator.set_price(bad).await.unwrap_err().code(), Code::InvalidArgument);
    }
    let listed = operator
        .list_prices(v1::ListPricesRequest {})
        .await
        .unwrap()
        .into_inner()
        .prices;
    let mine: Vec<i64> = listed
        .iter()
        .filter(|price| price.model == "gpt-4o-mini")
        .map(|price| price.input_micro_usd_per_million)
        .collect();
    assert_eq!(mine, [9_000_000, 1_000_000, 150_000], "newest first");
}

#[tokio::test(flavor = "multi_thread")]
async fn usage_is_listed_page_by_page() {
    let stack = Stack::start().await;
    let run = stack.open(100_000, &[]).await;
    for _ in 0..5 {
        assert_eq!(
            stack.chat(&run, &question("gpt-4o-mini")).await.status(),
            StatusCode::OK
        );
    }
    let (mut seen, mut cursor) = (Vec::new(), String::new());
    loop {
        let asked = v1::ListUsageRequest {
            subject_id: run.subject.to_string(),
            page: Some(v1::Page { limit: 2, cursor }),
            ..Default::default()
        };
        let page = stack.viewer.clone().list_usage(asked).await.unwrap().into_inner();
        seen.extend(page.usage.into_iter().map(|usage| usage.id));
        cursor = page.next;
        if cursor.is_empty() {
            break;
        }
    }
    let mut distinct = seen.clone();
    distinct.dedup();
    assert_eq!((seen.len(), distinct.len()), (5, 5));
    let other = v1::ListUsageRequest {
        run_id: Uuid::now_v7().to_string(),
        ..Default::default()
    };
    assert!(
        stack
            .viewer
            .clone()
            .list_usage(other)
            .await
            .unwrap()
            .into_inner()
            .usage
            .is_empty()
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn each_start_is_recorded_and_the_price_list_written_once() {
    let stack = Stack::start().await;
    let starts = stack.rows("SELECT service FROM steward.deployments").await;
    assert_eq!((starts.len(), &starts[0]["service"]), (1, &"billing".into()));
    let before = stack.count("billing.prices").await;
    let ports = Ports::free();
    let env = environment(&ports, &stack.database.url_for("billing"), &stack.provider.url);
    let (_stop, second) = start_again(env);
    let both = || async { stack.count("steward.deployments").await == 2 && ports.is_ready(&stack.http).await };
    eventually(SOON, "the second start", both).await.unwrap();
    assert!(before > 10);
    assert_eq!(stack.count("billing.prices").await, before);
    second.abort();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_database_without_a_schema_ends_the_start_with_a_reason() {
    let _capture = telemetry::testing::capture();
    let database = testkit::Database::create_empty().await.unwrap();
    let mut env = environment(&Ports::free(), database.url(), "http://127.0.0.1:1/v1");
    env.insert("STEWARD__DATABASE__CONNECT_DEADLINE".to_owned(), "500ms".to_owned());
    let (_handle, stop) = boot::Stop::by_handle();
    let exit = boot::run_with(service(), invocation(env), stop, billing::run).await;
    assert_eq!(exit, boot::Exit::Failed);
}
