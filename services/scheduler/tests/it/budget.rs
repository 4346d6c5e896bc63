//! The request budget as answers of the marketplace change it.

use std::sync::Arc;

use chrono::{DateTime, TimeDelta};
use clawgig::{RateInfo, Reply};
use domain::effect::Class;
use scheduler::budget::{Budget, Denied};

use crate::desk::Bench;

#[tokio::test]
async fn a_learned_limit_can_rise_again() {
    let bench = Bench::new().await;
    let budget = Budget::new(Arc::clone(&bench.desk));
    drop(budget.take("demo", Class::Search).await.unwrap());
    let configured = bench.desk.config.marketplace.rate_limit_per_minute;
    for (told, usable) in [(12, 10), (60, 58), (1_000_000, configured)] {
        let answer = Ok(Reply {
            value: (),
            rate: RateInfo {
                limit: Some(told),
                ..RateInfo::default()
            },
        });
        budget.learn("demo", &answer).await;
        let usage = store::budget::usage(&bench.desk.store).await.unwrap();
        assert_eq!(
            usage[0].learned_limit,
            Some(i32::try_from(usable).unwrap()),
            "told {told}"
        );
    }
}

#[tokio::test]
async fn when_somebody_else_used_the_key_up_calls_wait_before_they_are_refused() {
    let bench = Bench::new().await;
    let budget = Budget::new(Arc::clone(&bench.desk));
    let now = DateTime::UNIX_EPOCH;
    let told = |remaining| {
        Ok::<_, clawgig::Error>(Reply {
            value: (),
            rate: RateInfo {
                remaining: Some(remaining),
                reset: Some(now + TimeDelta::seconds(20)),
                server_time: Some(now),
                ..RateInfo::default()
            },
        })
    };
    drop(budget.take("demo", Class::Deliver).await.unwrap());
    budget.learn("demo", &told(1)).await;
    drop(budget.take("demo", Class::Deliver).await.unwrap());
    budget.learn("demo", &told(0)).await;
    let denied = budget.take("demo", Class::Deliver).await.unwrap_err();
    assert!(matches!(denied, Denied::Wait(_)), "{denied}");
}
