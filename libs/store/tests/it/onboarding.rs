//! Calls whose answer is the only copy of a secret are known of, whoever dies; a claim link is kept until it was shown.

use std::time::Duration;

use domain::effect::Kind;
use domain::onboarding::{Call, Last};
use secrecy::{ExposeSecret as _, SecretString};
use store::messages::{self, Side};
use store::onboarding::{self, End};
use store::seal::Sealer;
use store::{Error, Store, run_tx};
use testkit::Database;
use uuid::Uuid;

use crate::{fixture, store_of};

const PATIENCE: Duration = Duration::from_secs(60);

async fn last(store: &Store) -> Last {
    run_tx!(store, "last", |tx| {
        onboarding::last(tx, "demo", Call::Register, PATIENCE).await
    })
    .unwrap()
    .0
}

async fn begin(store: &Store) -> Uuid {
    run_tx!(store, "begin", |tx| onboarding::begin(tx, "demo", Call::Register).await).unwrap()
}

async fn end(store: &Store, token: Uuid, how: End) -> Result<(), Error> {
    run_tx!(store, "end", |tx| {
        onboarding::end(tx, "demo", Call::Register, token, how, Some("why")).await
    })
}

#[tokio::test]
async fn only_who_began_a_call_ends_it_and_one_nobody_ended_is_lost() {
    let database = Database::create().await.unwrap();
    let store = store_of(&database, "scheduler");
    fixture::agent(&store).await;
    assert_eq!(last(&store).await, Last::None);
    let first = begin(&store).await;
    assert_eq!(last(&store).await, Last::UnderWay);
    let old = "UPDATE scheduler.sole_answers SET begun_at = now() - INTERVAL '61 seconds'";
    testkit::execute(database.url(), old).await.unwrap();
    assert_eq!(last(&store).await, Last::Lost, "whoever made it is gone");

    let second = begin(&store).await;
    assert!(matches!(end(&store, first, End::Kept).await, Err(Error::Stale { .. })));
    assert_eq!(last(&store).await, Last::UnderWay);
    end(&store, second, End::Refused).await.unwrap();
    assert_eq!(last(&store).await, Last::Refused);
    assert!(
        matches!(end(&store, second, End::Kept).await, Err(Error::Stale { .. })),
        "an end is an end"
    );
}

#[tokio::test]
async fn a_claim_link_is_sealed_until_it_was_shown() {
    let database = Database::create().await.unwrap();
    let store = store_of(&database, "scheduler");
    fixture::agent(&store).await;
    let sealer = Sealer::new(store::agents::SEAL_OWNER, &"m".repeat(40).into()).unwrap();
    let link = SecretString::from("https://example.org/claim/canary");
    let keep = async |link: Option<&SecretString>| {
        run_tx!(store, "claim", |tx| onboarding::keep_claim(tx, &sealer, "demo", link)
            .await)
        .unwrap();
    };
    keep(Some(&link)).await;
    run_tx!(store, "url", |tx| {
        onboarding::set_webhook_url(tx, "demo", "https://example.org/hooks/demo").await
    })
    .unwrap();
    let read = async || onboarding::claim(&store, &sealer, "demo").await.unwrap();
    assert_eq!(read().await.unwrap().expose_secret(), link.expose_secret());
    let sealed = "SELECT position('canary'::BYTEA IN claim_sealed) AS at FROM scheduler.onboarding";
    assert_eq!(testkit::rows(database.url(), sealed).await.unwrap()[0]["at"], 0);
    keep(None).await;
    assert!(read().await.is_none());
    let url = onboarding::webhook_url(&store, "demo").await.unwrap();
    assert_eq!(
        url.as_deref(),
        Some("https://example.org/hooks/demo"),
        "the door is still known"
    );
}

#[tokio::test]
async fn messages_about_to_be_sent_count_like_those_that_were() {
    let database = Database::create().await.unwrap();
    let store = store_of(&database, "scheduler");
    fixture::agent(&store).await;
    let (_gig, contract) = fixture::contract(&store, "c-1").await;
    let ours = async || {
        let counted = run_tx!(store, "ours", |tx| messages::ours(tx, contract, 900, 86_400).await);
        counted.unwrap()
    };
    assert_eq!(ours().await, (0, 0));
    for (side, key) in [(Side::Us, "u-1"), (Side::Us, "u-2"), (Side::Client, "c-1")] {
        run_tx!(store, "put", |tx| messages::put(tx, contract, side, key, "text", None)
            .await)
        .unwrap();
    }
    let older = "UPDATE scheduler.messages SET at = now() - INTERVAL '1 hour' WHERE natural_key = 'u-1'";
    testkit::execute(database.url(), older).await.unwrap();
    assert_eq!(ours().await, (1, 2));
    let wish = fixture::effect(Kind::Message, "m-1", contract, None);
    run_tx!(store, "wish", |tx| store::effects::insert(tx, &wish).await).unwrap();
    assert_eq!(ours().await, (2, 3));
    testkit::execute(database.url(), "UPDATE scheduler.effects SET state = 'cancelled'")
        .await
        .unwrap();
    assert_eq!(ours().await, (1, 2), "what was called off is not counted");
}
