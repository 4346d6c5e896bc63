//! Rights to call models: one attempt's, and together never more than the agent's day.

use std::time::Duration;

use chrono::{TimeDelta, Utc};
use domain::money::{MicroUsd, PicoUsd};
use store::holds::{self, Hold, Taken};
use store::run_accounts::{self, Opened, Opening, Right, SubjectKind};
use store::usage::Charge;
use store::{Store, run_tx};
use testkit::Database;
use uuid::Uuid;

use crate::store_of;

const DOLLAR: i64 = 1_000_000;

async fn books() -> (Database, Store) {
    let database = Database::create().await.unwrap();
    let store = store_of(&database, "billing");
    (database, store)
}

fn hash() -> [u8; 32] {
    let (one, two) = (Uuid::new_v4(), Uuid::new_v4());
    let bytes = [one.into_bytes(), two.into_bytes()].concat();
    bytes.try_into().unwrap()
}

/// Two dollars of the five a day has.
fn opening(run: Uuid, attempt: u32) -> Opening {
    Opening {
        credentials: Vec::new(),
        run_id: run,
        subject_id: run,
        subject_kind: SubjectKind::Contract,
        agent: "demo".to_owned(),
        agent_version: "v1".to_owned(),
        credential_hash: hash(),
        attempt,
        budget: MicroUsd(2 * DOLLAR),
        day_limit: Some(MicroUsd(5 * DOLLAR)),
        expires_at: Utc::now() + TimeDelta::hours(1),
        default_model: "gpt-4o-mini".to_owned(),
        allowed_models: Vec::new(),
    }
}

async fn open(store: &Store, opening: &Opening) -> Opened {
    run_tx!(store, "open", |tx| run_accounts::open(tx, opening).await).unwrap()
}

async fn close(store: &Store, run: Uuid, attempt: u32) {
    run_tx!(store, "close", |tx| run_accounts::close(tx, run, attempt).await).unwrap();
}

/// One call of this cost, settled but not posted.
async fn spend(store: &Store, opening: &Opening, cost: i64) {
    let hold = Hold {
        id: Uuid::now_v7(),
        run_id: opening.run_id,
        credential_hash: opening.credential_hash,
        amount: MicroUsd(cost).pico(),
        model: "gpt-4o-mini".to_owned(),
        provider: "openai".to_owned(),
        lease: Duration::from_secs(60),
    };
    let taken = run_tx!(store, "take", |tx| holds::take(tx, &hold).await).unwrap();
    assert!(matches!(taken, Taken::Held(_)), "{taken:?}");
    let charge = Charge {
        cost: hold.amount,
        ..Charge::nothing(hold.id, hold.provider, hold.model)
    };
    run_tx!(store, "settle", |tx| holds::settle(tx, &charge).await).unwrap();
}

async fn right(store: &Store, opening: &Opening) -> Option<Right> {
    let access = run_accounts::by_credential(store, &opening.credential_hash)
        .await
        .unwrap();
    access.map(|access| access.right)
}

fn given(micro: i64) -> Opened {
    Opened::Granted(MicroUsd(micro))
}

#[tokio::test]
async fn runs_opened_at_once_never_pass_the_days_limit_together() {
    let (_database, store) = books().await;
    let tries = [(); 12].map(|()| {
        let store = store.clone();
        tokio::task::spawn(async move { open(&store, &opening(Uuid::now_v7(), 1)).await })
    });
    let (mut granted, mut waiting) = (Vec::new(), 0);
    for one in tries {
        match one.await.unwrap() {
            Opened::Granted(money) => granted.push(money.0),
            Opened::DayPromised => waiting += 1,
            other => panic!("{other:?}"),
        }
    }
    granted.sort_unstable();
    assert_eq!(granted, [DOLLAR, 2 * DOLLAR, 2 * DOLLAR]);
    assert_eq!(waiting, 9);
    let mut stranger = opening(Uuid::now_v7(), 1);
    stranger.agent = "other".to_owned();
    assert_eq!(
        open(&store, &stranger).await,
        given(2 * DOLLAR),
        "each agent has a day of its own"
    );
}

#[tokio::test]
async fn what_was_spent_today_counts_before_it_is_posted_and_yesterdays_does_not() {
    let (database, store) = books().await;
    let first = opening(Uuid::now_v7(), 1);
    assert_eq!(open(&store, &first).await, given(2 * DOLLAR));
    spend(&store, &first, 1_500_000).await;
    close(&store, first.run_id, 1).await;
    let second = opening(Uuid::now_v7(), 1);
    assert_eq!(open(&store, &second).await, given(2 * DOLLAR));
    spend(&store, &second, 2 * DOLLAR).await;
    // One and a half dollars are left; the third takes them, and the fourth has to wait.
    let third = opening(Uuid::now_v7(), 1);
    assert_eq!(open(&store, &third).await, given(1_500_000));
    let fourth = opening(Uuid::now_v7(), 1);
    assert_eq!(open(&store, &fourth).await, Opened::DayPromised);
    spend(&store, &third, 1_200_000).await;
    assert_eq!(open(&store, &fourth).await, Opened::DaySpent, "a tenth is the least");
    let yesterday = "UPDATE billing.usage SET at = date_trunc('day', now() AT TIME ZONE 'UTC') AT TIME ZONE 'UTC' \
                     - INTERVAL '1 second'";
    testkit::execute(database.url(), yesterday).await.unwrap();
    assert_eq!(open(&store, &fourth).await, given(2 * DOLLAR));
}

#[tokio::test]
async fn a_next_attempt_replaces_what_the_one_before_was_given() {
    let (_database, store) = books().await;
    let run = Uuid::now_v7();
    let first = opening(run, 1);
    assert_eq!(open(&store, &first).await, given(2 * DOLLAR));
    spend(&store, &first, DOLLAR).await;
    for attempt in 2..6 {
        assert_eq!(open(&store, &opening(run, attempt)).await, given(2 * DOLLAR));
    }
    assert_eq!(open(&store, &opening(Uuid::now_v7(), 1)).await, given(2 * DOLLAR));
    assert_eq!(open(&store, &opening(Uuid::now_v7(), 1)).await, Opened::DayPromised);
}

#[tokio::test]
async fn a_call_under_way_keeps_its_money_when_its_run_is_closed() {
    let (_database, store) = books().await;
    let first = opening(Uuid::now_v7(), 1);
    assert_eq!(open(&store, &first).await, given(2 * DOLLAR));
    let hold = Hold {
        id: Uuid::now_v7(),
        run_id: first.run_id,
        credential_hash: first.credential_hash,
        amount: PicoUsd(2 * DOLLAR * 1_000_000),
        model: "gpt-4o-mini".to_owned(),
        provider: "openai".to_owned(),
        lease: Duration::from_secs(60),
    };
    run_tx!(store, "take", |tx| holds::take(tx, &hold).await).unwrap();
    close(&store, first.run_id, 1).await;
    for expected in [2 * DOLLAR, DOLLAR] {
        assert_eq!(open(&store, &opening(Uuid::now_v7(), 1)).await, given(expected));
    }
    assert_eq!(open(&store, &opening(Uuid::now_v7(), 1)).await, Opened::DayPromised);
}

#[tokio::test]
async fn a_late_close_leaves_a_newer_attempts_right_alone() {
    let (_database, store) = books().await;
    let run = Uuid::now_v7();
    let (first, second) = (opening(run, 1), opening(run, 2));
    open(&store, &first).await;
    open(&store, &second).await;
    assert_eq!(right(&store, &first).await, None, "its credential was replaced");
    close(&store, run, 1).await;
    assert_eq!(right(&store, &second).await, Some(Right::Open));
    close(&store, run, 2).await;
    assert_eq!(right(&store, &second).await, Some(Right::Closed));
}

#[tokio::test]
async fn a_late_opening_gives_an_attempt_that_is_over_nothing() {
    let (_database, store) = books().await;
    let run = Uuid::now_v7();
    let (first, second) = (opening(run, 1), opening(run, 2));
    open(&store, &second).await;
    assert_eq!(open(&store, &first).await, Opened::Over);
    assert_eq!(right(&store, &second).await, Some(Right::Open));
    // Closed before it was opened: the third attempt ended while its opening was on its way.
    close(&store, run, 3).await;
    assert_eq!(open(&store, &opening(run, 3)).await, Opened::Over);
    assert!(matches!(open(&store, &opening(run, 4)).await, Opened::Granted(_)));
}

#[tokio::test]
async fn a_scheduler_that_names_no_attempt_opens_and_closes_as_before() {
    let (_database, store) = books().await;
    let run = Uuid::now_v7();
    open(&store, &opening(run, 3)).await;
    let unnamed = opening(run, 0);
    assert!(matches!(open(&store, &unnamed).await, Opened::Granted(_)));
    assert_eq!(right(&store, &unnamed).await, Some(Right::Open));
    close(&store, run, 0).await;
    assert_eq!(right(&store, &unnamed).await, Some(Right::Closed));
}
