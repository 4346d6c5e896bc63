//! The outbox: kept once, taken by one courier, moved by its token only.

use std::time::Duration;

use domain::effect::{Command, Kind, State};
use store::effects::{self, Attempt, Note};
use store::{Error, Store, run_tx};
use testkit::Database;
use uuid::Uuid;

use crate::{fixture, store_of};

const LEASE: Duration = Duration::from_secs(60);

async fn desk() -> (Database, Store, Uuid) {
    let database = Database::create().await.unwrap();
    let store = store_of(&database, "scheduler");
    fixture::agent(&store).await;
    let (_gig, contract) = fixture::contract(&store, "c1").await;
    (database, store, contract)
}

async fn insert(store: &Store, kind: Kind, key: &str, contract: Uuid, after: Option<Uuid>) -> Uuid {
    let new = fixture::effect(kind, key, contract, after);
    run_tx!(store, "insert", |tx| effects::insert(tx, &new).await).unwrap()
}

async fn begin(store: &Store, id: Uuid, lease: Duration) -> Option<Uuid> {
    let begun = run_tx!(store, "begin", |tx| effects::begin(tx, id, lease).await).unwrap();
    begun.and_then(|effect| effect.lease_token)
}

async fn advance(store: &Store, id: Uuid, token: Option<Uuid>, command: Command) -> Result<State, Error> {
    run_tx!(store, "advance", |tx| effects::advance(
        tx,
        id,
        token,
        command,
        &Note::default()
    )
    .await)
}

async fn state(store: &Store, id: Uuid) -> State {
    effects::get(store, id).await.unwrap().state
}

#[tokio::test]
async fn the_same_wish_is_kept_once() {
    let (_database, store, contract) = desk().await;
    let first = insert(&store, Kind::Deliver, "c1/0", contract, None).await;
    assert_eq!(insert(&store, Kind::Deliver, "c1/0", contract, None).await, first);
    assert_ne!(insert(&store, Kind::Deliver, "c1/1", contract, None).await, first);
}

#[tokio::test]
async fn one_of_many_couriers_gets_an_effect() {
    let (_database, store, contract) = desk().await;
    let id = insert(&store, Kind::Deliver, "c1/0", contract, None).await;
    let tries = [(); 8].map(|()| {
        let store = store.clone();
        tokio::task::spawn(async move { begin(&store, id, LEASE).await })
    });
    let mut got = 0;
    for one in tries {
        got += usize::from(one.await.unwrap().is_some());
    }
    assert_eq!(got, 1);
}

#[tokio::test]
async fn only_the_token_of_the_lease_moves_what_is_being_sent() {
    let (_database, store, contract) = desk().await;
    let id = insert(&store, Kind::Deliver, "c1/0", contract, None).await;
    let token = begin(&store, id, LEASE).await;
    assert!(matches!(
        advance(&store, id, Some(Uuid::now_v7()), Command::Succeed).await,
        Err(Error::Stale { .. })
    ));
    assert!(matches!(
        advance(&store, id, None, Command::Cancel).await,
        Err(Error::Stale { .. })
    ));
    assert_eq!(advance(&store, id, token, Command::Succeed).await.unwrap(), State::Done);
    assert!(matches!(
        advance(&store, id, token, Command::Succeed).await,
        Err(Error::Stale { .. })
    ));
}

#[tokio::test]
async fn a_chain_goes_on_when_its_head_is_done_and_ends_when_it_is_refused() {
    let (_database, store, contract) = desk().await;
    let upload = insert(&store, Kind::Upload, "u", contract, None).await;
    let deliver = insert(&store, Kind::Deliver, "d", contract, Some(upload)).await;
    let message = insert(&store, Kind::Message, "m", contract, Some(deliver)).await;
    assert_eq!(state(&store, deliver).await, State::Blocked);
    let token = begin(&store, upload, LEASE).await;
    advance(&store, upload, token, Command::Succeed).await.unwrap();
    assert_eq!(state(&store, deliver).await, State::Pending);
    assert_eq!(state(&store, message).await, State::Blocked);
    let token = begin(&store, deliver, LEASE).await;
    advance(&store, deliver, token, Command::Refuse).await.unwrap();
    assert_eq!(state(&store, message).await, State::Cancelled);
    // What is wished for after its predecessor was done need not wait.
    let late = insert(&store, Kind::Message, "m2", contract, Some(upload)).await;
    assert_eq!(state(&store, late).await, State::Pending);
}

#[tokio::test]
async fn a_dead_couriers_delivery_is_verified_and_its_upload_sent_again() {
    let (_database, store, contract) = desk().await;
    let upload = insert(&store, Kind::Upload, "u", contract, None).await;
    let deliver = insert(&store, Kind::Deliver, "d", contract, None).await;
    for id in [upload, deliver] {
        assert!(begin(&store, id, Duration::ZERO).await.is_some());
    }
    let settle = Duration::from_secs(90);
    let expired = run_tx!(store, "expire", |tx| effects::expire_leases(tx, settle).await).unwrap();
    assert_eq!(expired, 2);
    assert_eq!(state(&store, upload).await, State::Pending);
    let unknown = effects::get(&store, deliver).await.unwrap();
    assert_eq!(unknown.state, State::Unknown);
    let maybe_sent = unknown.maybe_sent_at.unwrap();
    assert!(unknown.not_before - maybe_sent >= chrono::Duration::seconds(90));
    let due = effects::due(&store, 10).await.unwrap();
    assert_eq!(
        due.iter().map(|due| due.id).collect::<Vec<_>>(),
        [upload],
        "nothing looks before the settle time"
    );
}

#[tokio::test]
async fn a_dead_letter_is_not_due_until_it_is_revived() {
    let (_database, store, contract) = desk().await;
    let id = insert(&store, Kind::Message, "m", contract, None).await;
    run_tx!(store, "give_up", |tx| effects::give_up(tx, id, "refused too often")
        .await)
    .unwrap();
    assert!(effects::due(&store, 10).await.unwrap().is_empty());
    assert!(begin(&store, id, LEASE).await.is_none());
    run_tx!(store, "revive", |tx| effects::revive(tx, id).await).unwrap();
    assert_eq!(effects::due(&store, 10).await.unwrap().len(), 1);
}

#[tokio::test]
async fn what_was_called_off_may_be_wished_for_anew_and_what_may_have_happened_may_not() {
    let (_database, store, contract) = desk().await;
    let first = insert(&store, Kind::Deliver, "d", contract, None).await;
    advance(&store, first, None, Command::Cancel).await.unwrap();
    let mut again = fixture::effect(Kind::Deliver, "d", contract, None);
    again.payload = serde_json::json!({ "attempt": 2 });
    let wish = async || run_tx!(store, "wish", |tx| effects::insert(tx, &again).await).unwrap();
    assert_eq!(wish().await, first, "one natural key is one effect");
    let wished = effects::get(&store, first).await.unwrap();
    assert_eq!(
        (&wished.state, &wished.payload),
        (&State::Pending, &again.payload),
        "it is about what is wished for now"
    );
    let token = begin(&store, first, LEASE).await;
    for (command, expected) in [
        (None, State::Sending),
        (Some(Command::MaybeDone), State::Unknown),
        (Some(Command::FoundPresent), State::Done),
    ] {
        if let Some(command) = command {
            advance(&store, first, token, command).await.unwrap();
        }
        assert_eq!(wish().await, first);
        assert_eq!(state(&store, first).await, expected, "a wish moved it");
    }
}

#[tokio::test]
async fn a_revived_dead_letter_revives_its_successors() {
    let (_database, store, contract) = desk().await;
    let upload = insert(&store, Kind::Upload, "u", contract, None).await;
    let deliver = insert(&store, Kind::Deliver, "d", contract, Some(upload)).await;
    let message = insert(&store, Kind::Message, "m", contract, Some(deliver)).await;
    let token = begin(&store, upload, LEASE).await;
    advance(&store, upload, token, Command::Refuse).await.unwrap();
    run_tx!(store, "give_up", |tx| effects::give_up(tx, upload, "refused").await).unwrap();
    assert_eq!(state(&store, message).await, State::Cancelled);
    run_tx!(store, "revive", |tx| effects::revive(tx, upload).await).unwrap();
    for (id, expected) in [
        (upload, State::Pending),
        (deliver, State::Blocked),
        (message, State::Blocked),
    ] {
        assert_eq!(state(&store, id).await, expected);
    }
    // What was called off for a reason of its own stays so.
    let token = begin(&store, upload, LEASE).await;
    advance(&store, message, None, Command::Cancel).await.unwrap();
    advance(&store, upload, token, Command::Refuse).await.unwrap();
    run_tx!(store, "give_up", |tx| effects::give_up(tx, upload, "refused").await).unwrap();
    run_tx!(store, "revive", |tx| effects::revive(tx, upload).await).unwrap();
    assert_eq!(state(&store, message).await, State::Cancelled);
}

#[tokio::test]
async fn an_attempt_that_found_nobody_there_is_none() {
    let (_database, store, contract) = desk().await;
    let id = insert(&store, Kind::Deliver, "d", contract, None).await;
    let mut away_since = None;
    for attempt in [
        Attempt::Away,
        Attempt::Away,
        Attempt::Counts,
        Attempt::Held,
        Attempt::Counts,
    ] {
        let token = begin(&store, id, LEASE).await;
        let note = Note {
            attempt,
            ..Note::default()
        };
        let moved = run_tx!(store, "advance", |tx| effects::advance(
            tx,
            id,
            token,
            Command::NotDone,
            &note
        )
        .await);
        moved.unwrap();
        let effect = effects::get(&store, id).await.unwrap();
        assert_eq!(effect.away_since.is_some(), attempt == Attempt::Away);
        // The first of them in a row is what the wait is counted from.
        away_since = away_since.or(effect.away_since);
        assert!(effect.away_since.is_none_or(|since| Some(since) == away_since));
    }
    assert_eq!(effects::get(&store, id).await.unwrap().attempts, 2);
}

/// Sent, with an answer that never came; as whoever verifies it finds it, how often is asked for.
async fn unknown<const N: usize>(store: &Store, id: Uuid) -> [effects::Effect; N] {
    let token = begin(store, id, LEASE).await;
    advance(store, id, token, Command::MaybeDone).await.unwrap();
    let mut taken = Vec::new();
    for _ in 0..N {
        // The time nobody else looks at it is over at once.
        let effect = run_tx!(store, "verify", |tx| effects::begin_verifying(tx, id, Duration::ZERO)
            .await);
        taken.push(effect.unwrap().unwrap());
    }
    taken.try_into().unwrap()
}

async fn absent(store: &Store, effect: &effects::Effect) -> Result<State, Error> {
    run_tx!(store, "absent", |tx| {
        effects::advance_read(tx, effect, Command::FoundAbsent, &Note::default()).await
    })
}

#[tokio::test]
async fn reads_that_overlap_count_as_one() {
    let (_database, store, contract) = desk().await;
    let id = insert(&store, Kind::Deliver, "d", contract, None).await;
    // The first is still walking through its pages when another one takes the effect over.
    let [slow, quick] = unknown(&store, id).await;
    assert_eq!(absent(&store, &quick).await.unwrap(), State::Unknown);
    assert!(matches!(absent(&store, &slow).await, Err(Error::Stale { .. })));
    let put_off = run_tx!(store, "put_off", |tx| {
        effects::put_off(tx, &slow, LEASE, "no page").await
    });
    assert!(matches!(put_off, Err(Error::Stale { .. })));
    let now = effects::get(&store, id).await.unwrap();
    assert_eq!(
        (now.state, now.absent_reads),
        (State::Unknown, 1),
        "one absent read is not two"
    );
}

#[tokio::test]
async fn a_read_made_for_an_earlier_send_says_nothing_of_a_later_one() {
    let (_database, store, contract) = desk().await;
    let id = insert(&store, Kind::Deliver, "d", contract, None).await;
    let [late, first] = unknown(&store, id).await;
    absent(&store, &first).await.unwrap();
    let second = effects::get(&store, id).await.unwrap();
    assert_eq!(absent(&store, &second).await.unwrap(), State::Pending);
    let [_again] = unknown(&store, id).await;
    assert!(matches!(absent(&store, &late).await, Err(Error::Stale { .. })));
    let refused = run_tx!(store, "refuse", |tx| {
        effects::advance_read(tx, &late, Command::Refuse, &Note::default()).await
    });
    assert!(matches!(refused, Err(Error::Stale { .. })));
    let now = effects::get(&store, id).await.unwrap();
    assert_eq!((now.state, now.absent_reads), (State::Unknown, 0));
}
