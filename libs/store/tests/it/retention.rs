//! What is old goes, table by table; what something live, an open effect or the books need stays.

use std::time::Duration;

use domain::effect::{Command, Kind};
use domain::proposal::State;
use store::artefacts::Artefact;
use store::effects::{self, Note};
use store::messages::Side;
use store::proposals::NewProposal;
use store::retention::{self, Kept, Table};
use store::{Store, run_tx};
use testkit::{Database, execute, rows};
use uuid::Uuid;

use crate::{fixture, store_of};

const AGE: Duration = Duration::from_secs(90 * 24 * 3600);
/// Smaller than what there is, so that a sweep takes several.
const BATCH: u32 = 2;

/// A contract with one of everything.
async fn worked_on(store: &Store, name: &str) -> Uuid {
    let (gig, contract) = fixture::contract(store, name).await;
    let mut run = fixture::run(&format!("work/{name}"), contract);
    run.version = name.to_owned();
    let artefact = Artefact {
        name: "answer.txt".to_owned(),
        sha256: format!("hash of {name}"),
        bytes: 1,
        media_type: "text/plain".to_owned(),
        url: None,
        secret: None,
    };
    let upload = fixture::effect(Kind::Upload, &format!("{name}/u"), contract, None);
    run_tx!(store, "fixture", |tx| {
        let proposal = proposal(gig, State::Accepted, None);
        store::proposals::insert(tx, &proposal).await?;
        store::bundles::put(tx, name, "demo", 1, &serde_json::json!({}), None).await?;
        let run = store::runs::insert(tx, &run).await?;
        store::run_events::append(tx, run, 1, 1, "progress", "half").await?;
        store::artefacts::put(tx, run, 1, &artefact).await?;
        store::messages::put(tx, contract, Side::Client, "m-1", "hello", None).await?;
        store::contracts::event(tx, contract, "noted", "test", "funded", "funded", None).await?;
        let upload = effects::insert(tx, &upload).await?;
        let deliver = fixture::effect(Kind::Deliver, &format!("{name}/d"), contract, Some(upload));
        let deliver = effects::insert(tx, &deliver).await?;
        for id in [upload, deliver] {
            effects::advance(tx, id, None, Command::Cancel, &Note::default())
                .await
                .ok();
        }
        Ok(())
    })
    .unwrap();
    contract
}

fn proposal(gig_id: Uuid, state: State, reason: Option<&str>) -> NewProposal {
    NewProposal {
        gig_id,
        agent: "demo".to_owned(),
        state,
        score_permille: None,
        score_parts: serde_json::json!({}),
        reason: reason.map(str::to_owned),
        amount: None,
        cover_letter: None,
        estimated_hours: None,
        external_id: None,
    }
}

/// A gig that was decided on and came to nothing else.
async fn decided(store: &Store, name: &str, state: State, reason: Option<&str>) {
    let gig = store::gigs::NewGig {
        agent: "demo".to_owned(),
        external_id: name.to_owned(),
        ..store::gigs::NewGig::default()
    };
    run_tx!(store, "fixture", |tx| {
        let (id, _new) = store::gigs::put(tx, &gig).await?;
        store::proposals::insert(tx, &proposal(id, state.clone(), reason)).await
    })
    .unwrap();
}

/// Makes every row look old.
async fn age(database: &Database) {
    let statement = "
        UPDATE scheduler.gigs SET first_seen_at = now() - INTERVAL '100 days';
        UPDATE scheduler.proposals SET updated_at = now() - INTERVAL '100 days';
        UPDATE scheduler.runs SET state = 'succeeded', finished_at = now() - INTERVAL '100 days';
        UPDATE scheduler.artefacts SET created_at = now() - INTERVAL '100 days';
        UPDATE scheduler.messages SET at = now() - INTERVAL '100 days';
        UPDATE scheduler.contract_events SET at = now() - INTERVAL '100 days';
        UPDATE scheduler.effects SET updated_at = now() - INTERVAL '100 days';
        UPDATE scheduler.bundles SET added_at = now() - INTERVAL '100 days';";
    execute(database.url(), statement).await.unwrap();
}

async fn sweep_all(store: &Store) {
    for table in Table::ALL {
        loop {
            let swept = run_tx!(store, "sweep", |tx| retention::sweep(tx, table, AGE, BATCH).await);
            let swept = swept.unwrap();
            assert!(swept <= u64::from(BATCH), "{}: more than a batch", table.name());
            if swept < u64::from(BATCH) {
                break;
            }
        }
    }
}

async fn left(database: &Database, query: &str) -> Vec<String> {
    let query = format!("SELECT x::TEXT FROM ({query}) AS q (x) ORDER BY 1");
    let found = rows(database.url(), &query).await.unwrap();
    found.iter().map(|row| row["x"].as_str().unwrap().to_owned()).collect()
}

#[tokio::test]
async fn of_a_contract_long_closed_and_booked_only_its_money_is_kept() {
    let database = Database::create().await.unwrap();
    let store = store_of(&database, "scheduler");
    fixture::agent(&store).await;
    for (name, state, closed, settled) in [
        ("booked", "approved", "now() - INTERVAL '91 days'", "now()"),
        ("cancelled", "cancelled", "now() - INTERVAL '91 days'", "NULL"),
        ("unbooked", "approved", "now() - INTERVAL '91 days'", "NULL"),
        ("lately", "approved", "now() - INTERVAL '89 days'", "now()"),
        ("live", "funded", "NULL", "NULL"),
    ] {
        let id = worked_on(&store, name).await;
        let change = format!(
            "UPDATE scheduler.contracts SET state = '{state}', closed_at = {closed}, settled_at = {settled} WHERE id = '{id}'"
        );
        execute(database.url(), &change).await.unwrap();
    }
    age(&database).await;
    sweep_all(&store).await;
    let kept = ["lately", "live", "unbooked"];
    let of_contract = |table: &str| {
        format!(
            "SELECT DISTINCT c.external_id FROM scheduler.{table} t JOIN scheduler.contracts c ON c.id = t.contract_id"
        )
    };
    for table in ["effects", "runs", "messages", "contract_events"] {
        assert_eq!(left(&database, &of_contract(table)).await, kept, "{table}");
    }
    let runs = "SELECT version FROM scheduler.runs WHERE id IN (SELECT run_id FROM scheduler.artefacts)";
    assert_eq!(left(&database, runs).await, kept, "artefacts");
    assert_eq!(left(&database, "SELECT sha256 FROM scheduler.bundles").await, kept);
    let everyone = ["booked", "cancelled", "lately", "live", "unbooked"];
    let contracts = "SELECT external_id FROM scheduler.contracts";
    assert_eq!(left(&database, contracts).await, everyone);
    let gigs = "SELECT substr(g.external_id, 5) FROM scheduler.gigs g JOIN scheduler.proposals p ON p.gig_id = g.id";
    assert_eq!(
        left(&database, gigs).await,
        everyone,
        "a contract names its gig and proposal"
    );
    let asked = ["booked", "live"].map(|name| format!("hash of {name}"));
    let named = retention::referenced(&store, Kept::Artefacts, &asked).await.unwrap();
    assert_eq!(named.into_iter().collect::<Vec<_>>(), ["hash of live"]);
}

#[tokio::test]
async fn gigs_that_came_to_nothing_go_and_those_still_wanted_stay() {
    let database = Database::create().await.unwrap();
    let store = store_of(&database, "scheduler");
    fixture::agent(&store).await;
    for (name, state, reason) in [
        ("skipped", State::Skipped, Some("too cheap")),
        ("rejected", State::Rejected, None),
        ("withdrawn", State::Withdrawn, None),
        ("watched", State::Considered, Some("shadow")),
        ("waiting", State::Considered, Some("waits for approval")),
        ("submitted", State::Submitted, None),
    ] {
        decided(&store, name, state, reason).await;
    }
    age(&database).await;
    decided(&store, "young", State::Skipped, None).await;
    sweep_all(&store).await;
    let gigs = "SELECT external_id FROM scheduler.gigs";
    assert_eq!(left(&database, gigs).await, ["submitted", "waiting", "young"]);
}

#[tokio::test]
async fn open_effects_dead_letters_and_versions_in_use_stay_however_old() {
    let database = Database::create().await.unwrap();
    let store = store_of(&database, "scheduler");
    fixture::agent(&store).await;
    let (_gig, contract) = fixture::contract(&store, "c").await;
    let free = |key: &str, after| store::effects::NewEffect {
        contract_id: None,
        ..fixture::effect(Kind::Message, key, contract, after)
    };
    let change =
        format!("UPDATE scheduler.contracts SET state = 'cancelled', closed_at = '2020-01-01' WHERE id = '{contract}'");
    execute(database.url(), &change).await.unwrap();
    run_tx!(store, "fixture", |tx| {
        for key in ["done", "refused", "dead", "pending", "unknown", "before an open one"] {
            effects::insert(tx, &free(key, None)).await?;
        }
        let before = effects::insert(tx, &free("before an open one", None)).await?;
        effects::insert(tx, &free("open", Some(before))).await?;
        for version in ["v1", "v0"] {
            store::bundles::put(tx, version, "demo", 1, &serde_json::json!({}), None).await?;
        }
        Ok(())
    })
    .unwrap();
    let states = "
        UPDATE scheduler.effects SET state = natural_key WHERE natural_key IN ('done', 'refused', 'unknown');
        UPDATE scheduler.effects SET state = 'done' WHERE natural_key = 'before an open one';
        UPDATE scheduler.effects SET state = 'refused', dead_reason = 'no' WHERE natural_key = 'dead';";
    execute(database.url(), states).await.unwrap();
    age(&database).await;
    sweep_all(&store).await;
    let effects = "SELECT natural_key FROM scheduler.effects";
    assert_eq!(
        left(&database, effects).await,
        ["before an open one", "dead", "open", "pending", "unknown"]
    );
    assert_eq!(left(&database, "SELECT sha256 FROM scheduler.bundles").await, ["v1"]);
}

#[tokio::test]
async fn the_files_of_a_checkpoint_stay_until_its_run_is_over() {
    let database = Database::create().await.unwrap();
    let store = store_of(&database, "scheduler");
    fixture::agent(&store).await;
    worked_on(&store, "live").await;
    let change = async |to: &str| {
        let change = format!("UPDATE scheduler.runs SET {to}");
        execute(database.url(), &change).await.unwrap();
        let asked = ["only here".to_owned(), "nowhere".to_owned()];
        let named = retention::referenced(&store, Kept::Artefacts, &asked).await.unwrap();
        named.into_iter().collect::<Vec<_>>()
    };
    let checkpoint = r#"checkpoint = '{"files": [{"path": "a", "sha256": "only here"}]}'"#;
    assert_eq!(change(checkpoint).await, ["only here"]);
    assert_eq!(change("finished_at = now()").await, Vec::<String>::new());
}
