//! Unknown things are counted by name and forgotten after a year or so.

use store::{drift, run_tx};
use testkit::Database;

use crate::store_of;

#[tokio::test]
async fn sights_add_up_and_only_the_first_is_news() {
    let database = Database::create().await.unwrap();
    let store = store_of(&database, "scheduler");
    for (sights, news) in [(2, true), (3, false)] {
        let fresh = run_tx!(store, "drift", |tx| {
            drift::add(tx, "event", "webhook", "work.done", sights).await
        });
        assert_eq!(fresh.unwrap(), news);
    }
    let seen = drift::list(&store).await.unwrap();
    assert_eq!((seen.len(), seen[0].seen, seen[0].name.as_str()), (1, 5, "work.done"));
}

#[tokio::test]
async fn what_was_not_seen_for_long_is_forgotten() {
    let database = Database::create().await.unwrap();
    let store = store_of(&database, "scheduler");
    for name in ["old", "new"] {
        run_tx!(store, "drift", |tx| drift::add(tx, "field", "gig", name, 1).await).unwrap();
    }
    let old = "UPDATE scheduler.api_drift SET last_at = now() - INTERVAL '401 days' WHERE name = 'old'";
    sqlx::query(old)
        .execute(&mut database.connect().await.unwrap())
        .await
        .unwrap();
    run_tx!(store, "drift", |tx| drift::forget(tx).await).unwrap();
    let left: Vec<String> = drift::list(&store)
        .await
        .unwrap()
        .into_iter()
        .map(|one| one.name)
        .collect();
    assert_eq!(left, ["new"]);
}
