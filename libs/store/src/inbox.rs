//! The inbox: webhooks on their way to disk, each stored once.
//!
//! A webhook is a duplicate when its delivery id or its body was stored before for the same agent. Only the keys of
//! *stored* webhooks are remembered: delivery ids are not signed, so whoever holds one captured request could
//! otherwise burn the ids of webhooks still to come.

use std::{
    collections::HashSet,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
};

use aws_lc_rs::digest;
use bytes::Bytes;
use chrono::{DateTime, Utc};
use uuid::Uuid;

use crate::{AsError, Error, Store, Tx, run_tx};

mod heal;

pub use heal::{heal, missing, told};

/// How often a batch is tried again because another writer stored one of its webhooks meanwhile. Each time somebody
/// else got further, so this is reached only when something is wrong.
const RACES: u32 = 16;
/// How often a batch is tried again because its connection was found dead before anything was stored.
const DEAD_CONNECTIONS: u32 = 2;
/// From this many webhooks on a batch is inserted without looking for its keys first: repeats are rare, and the look
/// costs as much as the insert. In smaller ones the look costs nothing that anybody would notice, and Postgres' log is
/// spared an error for each repeat.
const BLIND_FROM: usize = 8;
/// The primary key of the keys.
const SEEN_KEY: &str = "seen_pkey";
const HASH: usize = 32;

/// One verified webhook.
#[derive(Clone)]
pub struct Arrival {
    /// The row's id.
    pub id: Uuid,
    /// Whose door it came through.
    pub agent: String,
    /// The sender's id of the delivery, if it gave one.
    pub delivery_id: Option<String>,
    /// The signed bytes.
    pub body: Bytes,
    /// Older than the replay window, or of unknown age: a hint for a read.
    pub stale: bool,
    /// When the sender says it sent it.
    pub sent_at: Option<DateTime<Utc>>,
    /// W3C trace context.
    pub traceparent: Option<String>,
}

impl std::fmt::Debug for Arrival {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter
            .debug_struct("Arrival")
            .field("id", &self.id)
            .field("agent", &self.agent)
            .field("bytes", &self.body.len())
            .finish_non_exhaustive()
    }
}

/// What became of a webhook.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outcome {
    /// It is a row, on disk.
    Stored,
    /// It was stored before, or stands earlier in the same batch: that row is on disk.
    Duplicate,
}

/// The keys by which a webhook is known again, and the body's digest for its row.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Keys {
    /// SHA-256 of the body.
    pub body: [u8; HASH],
    /// Hash of the delivery id.
    pub delivery: Option<[u8; HASH]>,
}

impl Keys {
    /// The keys of a body and its delivery id.
    #[must_use]
    pub fn of(body: &[u8], delivery_id: Option<&str>) -> Self {
        let delivery = delivery_id.map(|id| {
            let mut context = digest::Context::new(&digest::SHA256);
            context.update(b"delivery\0");
            context.update(id.as_bytes());
            bytes_of(&context.finish())
        });
        Self {
            body: bytes_of(&digest::digest(&digest::SHA256, body)),
            delivery,
        }
    }

    fn each(&self) -> impl Iterator<Item = [u8; HASH]> {
        std::iter::once(self.body).chain(self.delivery)
    }
}

/// A key as the table holds it.
type Key<'a> = (&'a str, [u8; HASH]);

/// Stores batches. Clones are the same.
#[derive(Debug, Clone)]
pub struct Acceptor {
    store: Store,
    /// The last batch had repeats, so the next one may have some too.
    repeats: Arc<AtomicBool>,
}

impl Acceptor {
    /// Stores into this database.
    #[must_use]
    pub fn new(store: Store) -> Self {
        Self {
            store,
            repeats: Arc::default(),
        }
    }

    /// Stores a batch in one transaction; the outcomes are in the order of the arrivals. When this answers, every
    /// `Stored` row and every row a `Duplicate` repeats is committed and flushed.
    ///
    /// # Errors
    /// When Postgres cannot be reached, or stops answering before the commit is known. Then each webhook may or may not
    /// be stored; offering it again finds out.
    pub async fn accept(&self, arrivals: &[Arrival]) -> Result<Vec<Outcome>, Error> {
        let keys: Vec<Keys> = arrivals
            .iter()
            .map(|arrival| Keys::of(&arrival.body, arrival.delivery_id.as_deref()))
            .collect();
        let mut look = arrivals.len() < BLIND_FROM || self.repeats.load(Ordering::Relaxed);
        let (mut races, mut dead) = (0, 0);
        loop {
            let committing = AtomicBool::new(false);
            match self.attempt(arrivals, &keys, look, &committing).await {
                Ok((outcomes, repeats)) => {
                    self.repeats.store(repeats, Ordering::Relaxed);
                    return Ok(outcomes);
                }
                Err(Failed::Taken) if races < RACES => {
                    metrics::counter!("steward_store_inbox_races_total").increment(1);
                    races += 1;
                    look = true;
                }
                Err(Failed::Taken) => return Err(Error::Stale { what: "a seen key" }),
                Err(Failed::Store(error)) => {
                    // Nothing was stored and the pool drops the connection: the next one may be alive.
                    if !error.is_transient() || committing.into_inner() || dead == DEAD_CONNECTIONS {
                        return Err(error);
                    }
                    dead += 1;
                }
            }
        }
    }

    /// One transaction; also answers whether a key was there before.
    async fn attempt(
        &self,
        arrivals: &[Arrival],
        keys: &[Keys],
        look: bool,
        committing: &AtomicBool,
    ) -> Result<(Vec<Outcome>, bool), Failed> {
        run_tx!(self.store, "inbox_accept", Failed, |tx| {
            let known = if look {
                known(tx, arrivals, keys).await?
            } else {
                HashSet::new()
            };
            let repeats = !known.is_empty();
            let outcomes = decide(arrivals, keys, known);
            insert(tx, arrivals, keys, &outcomes).await?;
            committing.store(true, Ordering::Relaxed);
            Ok((outcomes, repeats))
        })
    }
}

/// [`Acceptor::accept`] for those who store webhooks now and then.
///
/// # Errors
/// As there.
pub async fn accept(store: &Store, arrivals: &[Arrival]) -> Result<Vec<Outcome>, Error> {
    Acceptor::new(store.clone()).accept(arrivals).await
}

/// Which of the keys are already there.
async fn known<'a>(tx: &mut Tx, arrivals: &'a [Arrival], keys: &[Keys]) -> Result<HashSet<Key<'a>>, Error> {
    let asked: Vec<Key<'a>> = pairs(arrivals, keys).collect();
    let agents: Vec<&str> = asked.iter().map(|(agent, _)| *agent).collect();
    let hashes: Vec<&[u8]> = asked.iter().map(|(_, hash)| hash.as_slice()).collect();
    // OFFSET 0 keeps one index probe a key, however the table's size is estimated.
    let found = sqlx::query_scalar!(
        r#"-- inbox::known
        SELECT asked.place AS "place!"
        FROM UNNEST($1::TEXT[], $2::BYTEA[]) WITH ORDINALITY AS asked (agent, key_hash, place)
        WHERE EXISTS (
            SELECT FROM ingress.seen
            WHERE seen.agent = asked.agent AND seen.key_hash = asked.key_hash
            OFFSET 0
        )"#,
        &agents as &[&str],
        &hashes as &[&[u8]],
    )
    .fetch_all(tx.connection())
    .await?;
    let place = |place: i64| {
        usize::try_from(place - 1)
            .ok()
            .and_then(|place| asked.get(place).copied())
    };
    Ok(found.into_iter().filter_map(place).collect())
}

/// Takes the arrivals in order; one that repeats a known key, or a key of one stored before it, is a duplicate.
fn decide<'a>(arrivals: &'a [Arrival], keys: &[Keys], mut taken: HashSet<Key<'a>>) -> Vec<Outcome> {
    let each = arrivals.iter().zip(keys);
    each.map(|(arrival, keys)| {
        let agent = arrival.agent.as_str();
        if keys.each().any(|key| taken.contains(&(agent, key))) {
            return Outcome::Duplicate;
        }
        taken.extend(keys.each().map(|key| (agent, key)));
        Outcome::Stored
    })
    .collect()
}

/// Writes rows and keys of what is to be stored, or answers that one of the keys is there.
async fn insert(tx: &mut Tx, arrivals: &[Arrival], keys: &[Keys], outcomes: &[Outcome]) -> Result<(), Failed> {
    let all = arrivals.iter().zip(keys).zip(outcomes);
    let rows: Vec<(&Arrival, &Keys)> = all
        .filter(|(_, outcome)| **outcome == Outcome::Stored)
        .map(|(row, _)| row)
        .collect();
    if rows.is_empty() {
        return Ok(());
    }
    let mut new: Vec<Key<'_>> = rows
        .iter()
        .flat_map(|(arrival, keys)| keys.each().map(|key| (arrival.agent.as_str(), key)))
        .collect();
    // Writers that take the same keys in the same order wait for each other instead of locking each other out.
    new.sort_unstable();
    let ids: Vec<Uuid> = rows.iter().map(|(row, _)| row.id).collect();
    let agents: Vec<&str> = rows.iter().map(|(row, _)| row.agent.as_str()).collect();
    let delivery_ids: Vec<Option<&str>> = rows.iter().map(|(row, _)| row.delivery_id.as_deref()).collect();
    let bodies: Vec<&[u8]> = rows.iter().map(|(row, _)| &*row.body).collect();
    let digests: Vec<&[u8]> = rows.iter().map(|(_, keys)| keys.body.as_slice()).collect();
    let stale: Vec<bool> = rows.iter().map(|(row, _)| row.stale).collect();
    let sent_at: Vec<Option<DateTime<Utc>>> = rows.iter().map(|(row, _)| row.sent_at).collect();
    let traceparents: Vec<Option<&str>> = rows.iter().map(|(row, _)| row.traceparent.as_deref()).collect();
    let key_agents: Vec<&str> = new.iter().map(|(agent, _)| *agent).collect();
    let key_hashes: Vec<&[u8]> = new.iter().map(|(_, hash)| hash.as_slice()).collect();
    // The last CASE makes this commit wait for the disk even where a role's or database's default says otherwise.
    let written = sqlx::query!(
        r#"-- inbox::accept
        WITH keys AS (
            INSERT INTO ingress.seen (agent, key_hash)
            SELECT given.agent, given.key_hash
            FROM UNNEST($9::TEXT[], $10::BYTEA[]) AS given (agent, key_hash)
        ), stored AS (
            INSERT INTO ingress.inbox (id, agent, delivery_id, body, body_digest, stale, sent_at, traceparent)
            SELECT given.*
            FROM UNNEST($1::UUID[], $2::TEXT[], $3::TEXT[], $4::BYTEA[], $5::BYTEA[], $6::BOOLEAN[],
                        $7::TIMESTAMPTZ[], $8::TEXT[]) AS given
        )
        SELECT CASE current_setting('synchronous_commit')
                   WHEN 'off' THEN set_config('synchronous_commit', 'on', TRUE)
               END AS raised"#,
        &ids,
        &agents as &[&str],
        &delivery_ids as &[Option<&str>],
        &bodies as &[&[u8]],
        &digests as &[&[u8]],
        &stale,
        &sent_at as &[Option<DateTime<Utc>>],
        &traceparents as &[Option<&str>],
        &key_agents as &[&str],
        &key_hashes as &[&[u8]],
    )
    .fetch_one(tx.connection())
    .await;
    match written.map_err(Error::from) {
        Ok(_) => Ok(()),
        // The plain insert does with one descent of the index what ON CONFLICT does with two.
        Err(Error::Refused { constraint, .. }) if constraint == SEEN_KEY => Err(Failed::Taken),
        Err(error) => Err(error.into()),
    }
}

fn pairs<'a>(arrivals: &'a [Arrival], keys: &[Keys]) -> impl Iterator<Item = Key<'a>> {
    let each = arrivals.iter().zip(keys);
    each.flat_map(|(arrival, keys)| keys.each().map(|key| (arrival.agent.as_str(), key)))
}

fn bytes_of(digest: &digest::Digest) -> [u8; HASH] {
    let mut bytes = [0; HASH];
    bytes.copy_from_slice(digest.as_ref());
    bytes
}

/// Why a batch was rolled back.
enum Failed {
    /// One of the keys is there: nobody looked, or another writer committed it after the look.
    Taken,
    Store(Error),
}

impl From<Error> for Failed {
    fn from(error: Error) -> Self {
        Self::Store(error)
    }
}

impl AsError for Failed {
    fn store_error(&self) -> Option<&Error> {
        match self {
            Self::Taken => None,
            Self::Store(error) => Some(error),
        }
    }

    fn into_store_error(self) -> Result<Error, Self> {
        match self {
            Self::Taken => Err(self),
            Self::Store(error) => Ok(error),
        }
    }
}

#[cfg(test)]
mod tests;
