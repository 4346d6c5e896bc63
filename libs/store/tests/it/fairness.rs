//! Which run goes first, and how many at once.

use store::runs::{self, Caps};
use testkit::Database;

use crate::runs::{LEASE, desk, lease, lease_within};

async fn change(database: &Database, statement: &str) {
    testkit::execute(database.url(), statement).await.unwrap();
}

#[tokio::test]
async fn what_pays_more_or_is_due_sooner_goes_first_and_waiting_wins_in_the_end() {
    let (database, store, queued) = desk(4).await;
    let contract = async |nth: usize| runs::get(&store, queued[nth]).await.unwrap().contract_id.unwrap();
    // 0 is dear, 1 is due, 2 has waited for an hour, 3 is none of these.
    let dear = contract(0).await;
    change(
        &database,
        &format!("UPDATE scheduler.contracts SET amount_micro = 500000000 WHERE id = '{dear}'"),
    )
    .await;
    change(
        &database,
        "UPDATE scheduler.runs SET deadline = NULL, not_before = now()",
    )
    .await;
    change(
        &database,
        &format!(
            "UPDATE scheduler.runs SET deadline = now() + INTERVAL '1 hour' WHERE id = '{}'",
            queued[1]
        ),
    )
    .await;
    change(
        &database,
        &format!(
            "UPDATE scheduler.runs SET not_before = now() - INTERVAL '1 hour' WHERE id = '{}'",
            queued[2]
        ),
    )
    .await;
    let mut order = Vec::new();
    for _ in 0..4 {
        order.extend(lease(&store, "a", 1, LEASE).await.into_iter().map(|run| run.id));
    }
    assert_eq!(order, [queued[2], queued[1], queued[0], queued[3]]);
}

#[tokio::test]
async fn caps_of_agent_client_and_value_class_hold_over_all_executors() {
    let (database, store, _queued) = desk(6).await;
    change(
        &database,
        "UPDATE scheduler.agents SET spec = jsonb_set(spec, '{limits}', '{\"runs\": 3}')",
    )
    .await;
    assert_eq!(lease(&store, "a", 2, LEASE).await.len(), 2);
    assert_eq!(
        lease(&store, "b", 5, LEASE).await.len(),
        1,
        "the agent's third is its last"
    );
    assert_eq!(lease(&store, "b", 5, LEASE).await.len(), 0);
    change(
        &database,
        "UPDATE scheduler.agents SET spec = jsonb_set(spec, '{limits}', '{}')",
    )
    .await;
    let one_client = Caps {
        per_client: 4,
        ..Caps::default()
    };
    change(&database, "UPDATE scheduler.gigs SET client_name = 'Ada'").await;
    assert_eq!(
        lease_within(&store, "b", 5, &one_client, LEASE).await.len(),
        1,
        "the client's fourth"
    );
    let cheap = Caps {
        classes: vec![(1_000_000, 1), (1_000_000_000, 5)],
        ..Caps::default()
    };
    assert_eq!(
        lease_within(&store, "b", 5, &cheap, LEASE).await.len(),
        1,
        "the fifth of its class"
    );
    assert_eq!(
        lease(&store, "b", 5, LEASE).await.len(),
        1,
        "without caps the last goes too"
    );
}

#[tokio::test]
async fn a_run_its_agent_may_not_begin_takes_no_place_of_its_class_from_others() {
    let (database, store, queued) = desk(6).await;
    // All but the last belong to an agent that may have one run, and have waited longer.
    change(
        &database,
        "INSERT INTO scheduler.agents SELECT (jsonb_populate_record(a, '{\"name\": \"other\"}')).* FROM scheduler.agents a;
         UPDATE scheduler.agents SET spec = jsonb_set(spec, '{limits}', '{\"runs\": 1}') WHERE name <> 'other';
         UPDATE scheduler.runs SET not_before = now() - INTERVAL '1 hour'",
    )
    .await;
    let last = queued[5];
    change(
        &database,
        &format!("UPDATE scheduler.runs SET agent = 'other', not_before = now() WHERE id = '{last}'"),
    )
    .await;
    let two_at_once = Caps {
        classes: vec![(1_000_000_000, 2)],
        ..Caps::default()
    };
    let leased = lease_within(&store, "a", 5, &two_at_once, LEASE).await;
    assert_eq!(leased.len(), 2);
    assert!(
        leased.iter().any(|run| run.id == last),
        "it waits behind runs that cannot begin"
    );
}

#[tokio::test]
async fn a_deadline_in_another_century_stops_nobody() {
    let (database, store, _queued) = desk(2).await;
    change(
        &database,
        "UPDATE scheduler.runs SET deadline = '2199-01-01' WHERE id = (SELECT min(id::TEXT)::UUID FROM scheduler.runs)",
    )
    .await;
    assert_eq!(lease(&store, "a", 5, LEASE).await.len(), 2);
}

#[tokio::test]
async fn a_heavy_run_is_not_overtaken_for_ever_and_waits_for_an_executor_that_can() {
    let (database, store, queued) = desk(3).await;
    change(
        &database,
        "UPDATE scheduler.agents SET spec = jsonb_set(spec, '{limits}', '{\"slots\": 3}')",
    )
    .await;
    assert_eq!(
        lease(&store, "a", 2, LEASE).await.len(),
        0,
        "there is no room for it now"
    );
    assert_eq!(
        lease(&store, "a", 7, LEASE).await.len(),
        2,
        "two of three slots each fit into seven"
    );
    let mut tx_store = store.attempts("held");
    let mut tx = tx_store.begin().await.unwrap();
    assert_eq!(runs::held_by(&mut tx, "a").await.unwrap(), 6);
    drop(tx);
    change(
        &database,
        "UPDATE scheduler.agents SET spec = jsonb_set(spec, '{limits}', '{\"slots\": 9}')",
    )
    .await;
    assert_eq!(
        lease(&store, "b", 8, LEASE).await.len(),
        0,
        "this executor never has room for it"
    );
    assert_eq!(queued.len(), 3);
}
