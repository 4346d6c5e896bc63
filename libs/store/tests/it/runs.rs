//! Runs: leased once, fenced, taken back from the dead.

use std::time::Duration;

use domain::run::{Command, Kind, Policy, State};
use store::artefacts::{self, Artefact};
use store::runs::{self, Caps, Note, Room, Run};
use store::{Error, Store, run_tx};
use testkit::{Database, eventually, execute, rows};
use uuid::Uuid;

use crate::{fixture, store_of};

pub const LEASE: Duration = Duration::from_secs(60);
const POLICY: Policy = Policy {
    max_attempts: 3,
    first_pause: Duration::from_secs(10),
    longest_pause: Duration::from_secs(60),
};

pub async fn desk(contracts: usize) -> (Database, Store, Vec<Uuid>) {
    let database = Database::create().await.unwrap();
    let store = store_of(&database, "scheduler");
    fixture::agent(&store).await;
    let mut queued = Vec::new();
    for number in 0..contracts {
        let (_gig, contract) = fixture::contract(&store, &format!("c{number}")).await;
        let new = fixture::run(&format!("work/{contract}/0"), contract);
        queued.push(run_tx!(store, "insert", |tx| runs::insert(tx, &new).await).unwrap());
    }
    (database, store, queued)
}

pub async fn lease(store: &Store, executor: &str, limit: i64, lease: Duration) -> Vec<Run> {
    lease_within(store, executor, limit, &Caps::default(), lease).await
}

pub async fn lease_within(store: &Store, executor: &str, free: i64, caps: &Caps, lease: Duration) -> Vec<Run> {
    let room = Room { slots: 8, free };
    run_tx!(store, "lease", |tx| runs::lease_next(tx, executor, room, caps, lease)
        .await)
    .unwrap()
}

async fn advance(store: &Store, run: &Run, command: Command) -> Result<State, Error> {
    let step = run_tx!(store, "advance", |tx| {
        runs::advance(tx, run.id, run.lease_token, &command, &POLICY, &Note::default()).await
    });
    step.map(|step| step.run.state)
}

#[tokio::test]
async fn no_run_is_leased_to_two_executors() {
    let (_database, store, queued) = desk(12).await;
    let takers = ["a", "b", "c"].map(|executor| {
        let store = store.clone();
        tokio::task::spawn(async move { lease(&store, executor, 12, LEASE).await })
    });
    let mut leased = Vec::new();
    for taker in takers {
        leased.extend(taker.await.unwrap().into_iter().map(|run| run.id));
    }
    // Locked rows are skipped, so one more look takes what is left.
    leased.extend(lease(&store, "d", 12, LEASE).await.into_iter().map(|run| run.id));
    leased.sort_unstable();
    let mut expected = queued;
    expected.sort_unstable();
    assert_eq!(leased, expected);
}

#[tokio::test]
async fn runs_of_one_contract_never_overlap() {
    let (_database, store, _queued) = desk(1).await;
    let first = lease(&store, "a", 5, LEASE).await.remove(0);
    let second = fixture::run("reply/1", first.contract_id.unwrap());
    run_tx!(store, "insert", |tx| runs::insert(tx, &second).await).unwrap();
    assert!(lease(&store, "b", 5, LEASE).await.is_empty());
    advance(&store, &first, Command::Succeed).await.unwrap();
    assert_eq!(lease(&store, "b", 5, LEASE).await.len(), 1);
}

/// One more run of the same contract, an answer that goes first.
async fn reply(store: &Store, contract: Uuid, number: usize) -> Uuid {
    let mut new = fixture::run(&format!("reply/{contract}/{number}"), contract);
    (new.kind, new.priority) = (Kind::Reply, 20);
    run_tx!(store, "insert", |tx| runs::insert(tx, &new).await).unwrap()
}

#[tokio::test]
async fn leasers_at_once_take_one_run_of_each_contract() {
    let (database, store, queued) = desk(6).await;
    for first in &queued {
        let contract = runs::get(&store, *first).await.unwrap().contract_id.unwrap();
        for number in 0..2 {
            reply(&store, contract, number).await;
        }
    }
    let takers = ["a", "b", "c", "d"].map(|executor| {
        let store = store.clone();
        tokio::task::spawn(async move { lease(&store, executor, 18, LEASE).await })
    });
    let mut leased = Vec::new();
    for taker in takers {
        leased.extend(taker.await.unwrap());
    }
    leased.extend(lease(&store, "e", 18, LEASE).await);
    assert!(
        leased.iter().all(|run| run.kind == Kind::Reply),
        "the most important first"
    );
    let held =
        "SELECT count(*) AS runs, count(DISTINCT contract_id) AS contracts FROM scheduler.runs WHERE state = 'leased'";
    let held = rows(database.url(), held).await.unwrap();
    assert_eq!(held, [serde_json::json!({ "runs": 6, "contracts": 6 })]);
}

#[tokio::test]
async fn who_is_slower_by_a_moment_leases_nothing_of_that_contract_and_does_not_fail() {
    let (database, store, queued) = desk(1).await;
    let contract = runs::get(&store, queued[0]).await.unwrap().contract_id.unwrap();
    let mut faster = store.attempts("faster");
    let mut tx = faster.begin().await.unwrap();
    let first = runs::lease_next(&mut tx, "a", Room { slots: 5, free: 5 }, &Caps::default(), LEASE)
        .await
        .unwrap();
    assert_eq!(first.len(), 1);
    // Not committed yet, so the slower one sees only a more important run of a contract that nobody works on.
    let waiting = reply(&store, contract, 0).await;
    let slower = {
        let store = store.clone();
        tokio::task::spawn(async move { lease(&store, "b", 5, LEASE).await })
    };
    let blocked = "SELECT pid FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock'";
    let waits = async || !rows(database.url(), blocked).await.unwrap().is_empty();
    eventually(LEASE, "the slower one to wait", waits).await.unwrap();
    faster.finish(tx, Ok::<_, Error>(())).await.unwrap().unwrap();
    assert!(slower.await.unwrap().is_empty());
    advance(&store, &first[0], Command::Succeed).await.unwrap();
    assert_eq!(lease(&store, "b", 5, LEASE).await[0].id, waiting);
}

#[tokio::test]
async fn nothing_of_a_contract_runs_while_nobody_understands_its_status() {
    let (database, store, queued) = desk(1).await;
    let say = async |state: &str| {
        let said = format!("UPDATE scheduler.contracts SET state = '{state}'");
        testkit::execute(database.url(), &said).await.unwrap();
        lease(&store, "a", 5, LEASE)
            .await
            .iter()
            .map(|run| run.id)
            .collect::<Vec<_>>()
    };
    assert!(say("unknown").await.is_empty());
    assert!(say("of_a_newer_release").await.is_empty());
    assert_eq!(say("funded").await, queued);
}

#[tokio::test]
async fn a_lost_lease_ends_every_right_of_its_holder() {
    let (_database, store, _queued) = desk(1).await;
    let old = lease(&store, "a", 1, Duration::ZERO).await.remove(0);
    let token = old.lease_token.unwrap();
    let expired = run_tx!(store, "expire", |tx| runs::expire_leases(tx).await).unwrap();
    assert_eq!(expired.len(), 1);
    let new = lease(&store, "b", 1, LEASE).await.remove(0);
    assert_eq!(new.id, old.id);
    assert_eq!(new.machine.failures, 0, "a dead executor is not the agent's failure");
    let renewed = run_tx!(store, "renew", |tx| runs::renew(tx, &[(old.id, token)], LEASE).await).unwrap();
    assert!(renewed.is_empty());
    assert!(matches!(
        advance(&store, &old, Command::Succeed).await,
        Err(Error::Stale { .. })
    ));
    let checkpoint = serde_json::json!({ "page": 3 });
    let saved = run_tx!(store, "save", |tx| runs::save_checkpoint(
        tx,
        old.id,
        token,
        &checkpoint
    )
    .await);
    assert!(matches!(saved, Err(Error::Stale { .. })));
    assert_eq!(advance(&store, &new, Command::Succeed).await.unwrap(), State::Succeeded);
}

#[tokio::test]
async fn a_heartbeat_renews_all_its_leases_at_once() {
    let (_database, store, _queued) = desk(5).await;
    let held: Vec<_> = lease(&store, "a", 5, LEASE)
        .await
        .iter()
        .map(|run| (run.id, run.lease_token.unwrap()))
        .collect();
    let renewed = run_tx!(store, "renew", |tx| runs::renew(tx, &held, LEASE).await).unwrap();
    assert_eq!(renewed.len(), 5);
}

#[tokio::test]
async fn a_failed_attempt_waits_and_the_third_is_parked() {
    let (database, store, _queued) = desk(1).await;
    let run = lease(&store, "a", 1, LEASE).await.remove(0);
    assert_eq!(advance(&store, &run, Command::Fail).await.unwrap(), State::Retrying);
    assert!(
        lease(&store, "a", 1, LEASE).await.is_empty(),
        "it was leased again at once"
    );
    for expected in [State::Retrying, State::Parked] {
        let hurry = "UPDATE scheduler.runs SET not_before = now()";
        execute(database.url(), hurry).await.unwrap();
        let run = lease(&store, "a", 1, LEASE).await.remove(0);
        assert_eq!(advance(&store, &run, Command::Fail).await.unwrap(), expected);
    }
}

#[tokio::test]
async fn what_a_run_says_is_kept_once_and_bounded() {
    let (_database, store, queued) = desk(1).await;
    let said = run_tx!(store, "say", |tx| {
        let first = store::run_events::append(tx, queued[0], 1, 1, "progress", "half").await?;
        let again = store::run_events::append(tx, queued[0], 1, 1, "progress", "half").await?;
        let other = store::run_events::append(tx, queued[0], 2, 1, "progress", "half").await?;
        Ok((first, again, other))
    });
    assert_eq!(said.unwrap(), (true, false, true));
    assert_eq!(
        store::run_events::list(&store, queued[0], 0, 10).await.unwrap().len(),
        2
    );
}

#[tokio::test]
async fn the_cap_of_a_runs_lines_spares_messages_checkpoints_and_the_outcome() {
    let (database, store, queued) = desk(1).await;
    let full = format!(
        "INSERT INTO scheduler.run_events (run_id, seq, attempt, kind, body)
         SELECT '{}', n, 1, 'progress', 'x' FROM generate_series(1, 2000) n",
        queued[0]
    );
    execute(database.url(), &full).await.unwrap();
    let mut kept = Vec::new();
    for (seq, kind) in (1..).zip(["progress", "log", "message", "checkpoint", "outcome"]) {
        let said = run_tx!(store, "say", |tx| {
            store::run_events::append(tx, queued[0], 2, seq, kind, "x").await
        });
        kept.push((kind, said.unwrap()));
    }
    assert_eq!(
        kept,
        [
            ("progress", false),
            ("log", false),
            ("message", true),
            ("checkpoint", true),
            ("outcome", true)
        ]
    );
}

#[tokio::test]
async fn a_delivery_is_what_the_last_result_named() {
    let (_database, store, queued) = desk(1).await;
    let run = lease(&store, "a", 1, LEASE).await.remove(0);
    let contract = run.contract_id.unwrap();
    let file = |name: &str| Artefact {
        name: name.to_owned(),
        sha256: "a".repeat(64),
        bytes: 5,
        media_type: "text/plain".to_owned(),
        url: None,
        secret: None,
    };
    let note = Note {
        result: Some(serde_json::json!({ "type": "result", "notes": "Here.", "files": ["report.md"] })),
        ..Note::default()
    };
    run_tx!(store, "succeed", |tx| {
        artefacts::put(tx, queued[0], 1, &file("report.md")).await?;
        artefacts::put(tx, queued[0], 1, &file("half-done.md")).await?;
        runs::advance(tx, run.id, run.lease_token, &Command::Succeed, &POLICY, &note).await
    })
    .unwrap();
    let delivery = artefacts::delivered_before(&store, contract, 1).await.unwrap().unwrap();
    assert_eq!((delivery.revision_no, delivery.notes.as_str()), (0, "Here."));
    assert_eq!(delivery.files, [file("report.md")]);
    assert!(
        artefacts::delivered_before(&store, contract, 0)
            .await
            .unwrap()
            .is_none()
    );
}
