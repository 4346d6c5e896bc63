//! The request budget: never more than the limit in any 60 seconds, however many ask.

use std::time::Duration;

use domain::breaker::{Change, Outcome, Policy};
use domain::effect::{Class, Kind};
use store::budget::{self, Answer, Limit};
use store::{Store, effects, run_tx};
use testkit::Database;

use crate::{fixture, store_of};

const LIMIT: Limit<'_> = Limit {
    host: "@market",
    probe_lease: Duration::from_secs(30),
    per_minute: 10,
    reserve_permille: 200,
};

const POLICY: Policy = Policy {
    failures: 3,
    share_permille: 500,
    of_calls: 20,
    first_pause: Duration::from_secs(60),
    longest_pause: Duration::from_secs(600),
};

async fn take(store: &Store, class: Class) -> Answer {
    run_tx!(store, "take", |tx| budget::take(tx, "demo", class, LIMIT).await).unwrap()
}

async fn take_all(store: Store) -> usize {
    let mut granted = 0;
    while let Answer::Granted(_) = take(&store, Class::Deliver).await {
        granted += 1;
    }
    granted
}

#[tokio::test]
async fn three_replicas_together_never_exceed_the_budget() {
    let database = Database::create().await.unwrap();
    let replicas = [(); 3].map(|()| store_of(&database, "scheduler"));
    let counts = replicas.map(|store| tokio::task::spawn(take_all(store)));
    let mut all = 0;
    for count in counts {
        all += count.await.unwrap();
    }
    assert_eq!(all, 10);
}

#[tokio::test]
async fn searching_never_touches_what_is_kept_for_deliveries() {
    let database = Database::create().await.unwrap();
    let store = store_of(&database, "scheduler");
    for _ in 0..8 {
        assert!(matches!(take(&store, Class::Deliver).await, Answer::Granted(_)));
    }
    assert!(matches!(take(&store, Class::Search).await, Answer::Wait(_)));
    assert!(matches!(take(&store, Class::Propose).await, Answer::Wait(_)));
    assert!(matches!(take(&store, Class::Deliver).await, Answer::Granted(_)));
}

#[tokio::test]
async fn lesser_requests_are_spread_over_the_minute() {
    let database = Database::create().await.unwrap();
    let store = store_of(&database, "scheduler");
    assert!(matches!(take(&store, Class::Search).await, Answer::Granted(_)));
    let Answer::Wait(wait) = take(&store, Class::Search).await else {
        panic!("two searches in a row")
    };
    assert!(
        wait > Duration::from_secs(5) && wait <= Duration::from_secs(6),
        "{wait:?}"
    );
    assert!(matches!(take(&store, Class::Deliver).await, Answer::Granted(_)));
}

#[tokio::test]
async fn searches_let_what_is_due_go_first_and_are_not_starved_by_it() {
    let database = Database::create().await.unwrap();
    let store = store_of(&database, "scheduler");
    fixture::agent(&store).await;
    let (_gig, contract) = fixture::contract(&store, "c1").await;
    let bid = fixture::effect(Kind::Message, "c1/1", contract, None);
    run_tx!(store, "insert", |tx| effects::insert(tx, &bid).await).unwrap();
    let later = async || {
        let past = "UPDATE scheduler.api_budget SET last_paced_at = now() - INTERVAL '1 minute'";
        testkit::execute(database.url(), past).await.unwrap();
    };
    assert!(matches!(take(&store, Class::Search).await, Answer::Granted(_)));
    later().await;
    let Answer::Wait(wait) = take(&store, Class::Search).await else {
        panic!("a message is due")
    };
    assert!(wait <= Duration::from_secs(5), "{wait:?}");
    assert!(matches!(take(&store, Class::Message).await, Answer::Granted(_)));
    later().await;
    let past = "UPDATE scheduler.api_grants SET granted_at = granted_at - INTERVAL '5 seconds'";
    testkit::execute(database.url(), past).await.unwrap();
    assert!(matches!(take(&store, Class::Search).await, Answer::Granted(_)));
    later().await;
    let sent = "UPDATE scheduler.effects SET state = 'done'";
    testkit::execute(database.url(), sent).await.unwrap();
    assert!(
        matches!(take(&store, Class::Search).await, Answer::Granted(_)),
        "nothing is due"
    );
}

#[tokio::test]
async fn a_grant_given_back_can_be_given_again_once() {
    let database = Database::create().await.unwrap();
    let store = store_of(&database, "scheduler");
    let Answer::Granted(first) = take(&store, Class::Deliver).await else {
        panic!("no grant")
    };
    assert_eq!(take_all(store.clone()).await, 9);
    run_tx!(store, "back", |tx| budget::give_back(tx, &first, LIMIT.host).await).unwrap();
    assert_eq!(take_all(store).await, 1);
}

#[tokio::test]
async fn a_block_or_a_stop_holds_for_everybody() {
    let database = Database::create().await.unwrap();
    let (one, other) = (store_of(&database, "scheduler"), store_of(&database, "scheduler"));
    assert!(matches!(take(&one, Class::Deliver).await, Answer::Granted(_)));
    run_tx!(one, "block", |tx| budget::block(tx, "demo", Duration::from_secs(30))
        .await)
    .unwrap();
    let Answer::Wait(wait) = take(&other, Class::Deliver).await else {
        panic!("the block was ignored")
    };
    assert!(wait > Duration::from_secs(25), "{wait:?}");
    assert!(
        run_tx!(one, "stop", |tx| budget::stop(
            tx,
            "demo",
            "401",
            Duration::from_secs(1)
        )
        .await)
        .unwrap()
    );
    assert!(
        !run_tx!(one, "stop", |tx| budget::stop(
            tx,
            "demo",
            "401",
            Duration::from_secs(1)
        )
        .await)
        .unwrap()
    );
    assert_eq!(take(&other, Class::Deliver).await, Answer::Stopped("401".to_owned()));
}

async fn record(store: &Store, key: &str, outcome: Outcome) -> (Change, Change) {
    run_tx!(store, "record", |tx| budget::record(
        tx, key, "@market", outcome, &POLICY
    )
    .await)
    .unwrap()
}

/// As if the breakers' pause were over.
async fn let_pauses_pass(database: &Database) {
    let past = "UPDATE scheduler.api_budget SET open_until = now() - INTERVAL '1 second' WHERE open_until IS NOT NULL";
    testkit::execute(database.url(), past).await.unwrap();
}

#[tokio::test]
async fn a_refusal_of_a_call_made_with_the_key_before_stops_nothing() {
    let database = Database::create().await.unwrap();
    let store = store_of(&database, "scheduler");
    take(&store, Class::Deliver).await;
    let late = Duration::from_secs(30);
    let stop = async || run_tx!(store, "stop", |tx| budget::stop(tx, "demo", "401", late).await).unwrap();
    run_tx!(store, "resume", |tx| budget::resume(tx, "demo").await).unwrap();
    assert!(!stop().await);
    assert!(
        matches!(take(&store, Class::Deliver).await, Answer::Wait(_)),
        "the next look is a little later"
    );
    let later = "UPDATE scheduler.api_budget SET resumed_at = now() - INTERVAL '31 seconds'";
    testkit::execute(database.url(), later).await.unwrap();
    assert!(stop().await);
}

#[tokio::test]
async fn a_platform_that_fails_with_any_key_is_left_alone_by_all() {
    let database = Database::create().await.unwrap();
    let store = store_of(&database, "scheduler");
    for key in ["demo", "other"] {
        run_tx!(store, "take", |tx| budget::take(tx, key, Class::Deliver, LIMIT).await).unwrap();
    }
    assert_eq!(
        record(&store, "other", Outcome::Fails).await,
        (Change::None, Change::None)
    );
    assert_eq!(
        record(&store, "demo", Outcome::Fails).await,
        (Change::None, Change::None)
    );
    assert_eq!(
        record(&store, "other", Outcome::Fails).await,
        (Change::None, Change::Opened)
    );
    let third = run_tx!(store, "take", |tx| budget::take(tx, "third", Class::Deliver, LIMIT)
        .await)
    .unwrap();
    assert!(matches!(third, Answer::Failing(_)), "{third:?}");
}

#[tokio::test]
async fn after_a_pause_one_read_is_tried_by_one_of_all_replicas() {
    let database = Database::create().await.unwrap();
    let (one, other) = (store_of(&database, "scheduler"), store_of(&database, "scheduler"));
    take(&one, Class::Deliver).await;
    for _ in 0..3 {
        record(&one, "demo", Outcome::Fails).await;
    }
    assert!(matches!(take(&one, Class::Deliver).await, Answer::Failing(_)));
    let_pauses_pass(&database).await;
    let Answer::Probe(unused) = take(&one, Class::Deliver).await else {
        panic!("a write was let through, or nothing was")
    };
    assert!(matches!(take(&other, Class::Search).await, Answer::Failing(_)));
    run_tx!(one, "back", |tx| budget::give_back(tx, &unused, LIMIT.host).await).unwrap();
    assert!(matches!(take(&other, Class::Search).await, Answer::Granted(grant) if grant.probe));
    assert!(matches!(take(&one, Class::Deliver).await, Answer::Failing(_)));
    assert_eq!(
        record(&other, "demo", Outcome::Works).await,
        (Change::Recovering, Change::Recovering)
    );
    assert!(matches!(take(&one, Class::Deliver).await, Answer::Granted(_)));
    let Answer::Wait(gap) = take(&one, Class::Deliver).await else {
        panic!("what piled up went out at once")
    };
    assert!(gap <= Duration::from_secs(1), "{gap:?}");
    for _ in 0..5 {
        record(&one, "demo", Outcome::Works).await;
    }
    assert!(
        budget::usage(&one)
            .await
            .unwrap()
            .iter()
            .all(|usage| usage.breaker.is_none())
    );
}

#[tokio::test]
async fn a_key_whose_calls_fail_by_half_waits_though_some_work() {
    let database = Database::create().await.unwrap();
    let store = store_of(&database, "scheduler");
    let many = Limit {
        per_minute: 1000,
        ..LIMIT
    };
    let mut changes = Vec::new();
    for call in 0..40 {
        run_tx!(store, "take", |tx| budget::take(tx, "demo", Class::Deliver, many).await).unwrap();
        let outcome = if call % 2 == 0 { Outcome::Fails } else { Outcome::Works };
        changes.push(record(&store, "demo", outcome).await.0);
    }
    let opened = changes.iter().position(|change| *change == Change::Opened);
    assert!(opened.is_some_and(|call| (18..24).contains(&call)), "{opened:?}");
}

#[tokio::test]
async fn uploads_are_a_third_of_the_requests_at_most() {
    let database = Database::create().await.unwrap();
    let store = store_of(&database, "scheduler");
    for _ in 0..3 {
        assert!(matches!(take(&store, Class::Upload).await, Answer::Granted(_)));
    }
    assert!(matches!(take(&store, Class::Upload).await, Answer::Wait(wait) if wait > Duration::from_secs(50)));
    assert!(matches!(take(&store, Class::Deliver).await, Answer::Granted(_)));
}

#[tokio::test]
async fn headers_of_the_platform_only_lower_the_limit() {
    let database = Database::create().await.unwrap();
    let store = store_of(&database, "scheduler");
    take(&store, Class::Deliver).await;
    run_tx!(store, "learn", |tx| budget::learn_limit(tx, "demo", 6).await).unwrap();
    assert_eq!(
        take_all(store.clone()).await,
        3,
        "six less a margin of two, one was taken"
    );
    run_tx!(store, "learn", |tx| budget::learn_limit(tx, "demo", 1000).await).unwrap();
    assert_eq!(take_all(store).await, 6, "the configured limit stands");
}

#[tokio::test]
async fn an_agent_whose_key_is_stopped_does_not_starve_the_others() {
    let database = Database::create().await.unwrap();
    let store = store_of(&database, "scheduler");
    fixture::agent(&store).await;
    let (_gig, contract) = fixture::contract(&store, "c1").await;
    let other = "INSERT INTO scheduler.agents (name, spec, mode, version, updated_by)
                 SELECT 'other', spec, mode, version, 'test' FROM scheduler.agents";
    testkit::execute(database.url(), other).await.unwrap();
    let mut waiting = fixture::effect(Kind::Message, "other/1", contract, None);
    waiting.agent = "other".to_owned();
    let wished = run_tx!(store, "insert", |tx| {
        for number in 0..5 {
            effects::insert(
                tx,
                &fixture::effect(Kind::Deliver, &format!("c1/{number}"), contract, None),
            )
            .await?;
        }
        let settle = effects::insert(tx, &fixture::effect(Kind::Settle, "c1", contract, None)).await?;
        Ok((settle, effects::insert(tx, &waiting).await?))
    });
    let (settle, others) = wished.unwrap();
    take(&store, Class::Deliver).await;
    run_tx!(store, "stop", |tx| budget::stop(
        tx,
        "demo",
        "the key was refused",
        Duration::from_secs(1)
    )
    .await)
    .unwrap();
    let due = effects::due(&store, 2).await.unwrap();
    let mut due: Vec<_> = due.iter().map(|due| due.id).collect();
    due.sort_unstable();
    let mut expected = [settle, others];
    expected.sort_unstable();
    assert_eq!(due, expected, "what needs no key goes on, and so do other agents");
    run_tx!(store, "resume", |tx| budget::resume(tx, "demo").await).unwrap();
    assert_eq!(effects::due(&store, 10).await.unwrap().len(), 7);
}
