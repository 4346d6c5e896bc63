//! Webhooks that never came, taken from what the platform itself says it sent.

use uuid::Uuid;

use super::{Arrival, Keys};
use crate::{Error, Tx};

/// Stores what a read told as if it had come through the door, marked as such, unless its delivery id or body is known.
/// Answers whether it was stored.
///
/// Nobody signed it: it was read with the agent's own key. A webhook that comes late after all is a duplicate.
///
/// # Errors
/// When an insert fails.
pub async fn heal(tx: &mut Tx, told: &Arrival) -> Result<bool, Error> {
    let keys = Keys::of(&told.body, told.delivery_id.as_deref());
    let mut hashes: Vec<Vec<u8>> = keys.each().map(|key| key.to_vec()).collect();
    hashes.sort_unstable();
    let taken = sqlx::query!(
        "-- inbox::heal
        INSERT INTO ingress.seen (agent, key_hash)
        SELECT $1, given.key_hash FROM UNNEST($2::BYTEA[]) AS given (key_hash)
        WHERE NOT EXISTS (SELECT FROM ingress.seen s WHERE s.agent = $1 AND s.key_hash = ANY($2))
        ON CONFLICT DO NOTHING",
        told.agent,
        &hashes,
    )
    .execute(tx.connection())
    .await?;
    // Fewer than all: somebody stored it at this moment, and this transaction is the one that gives way.
    if taken.rows_affected() < hashes.len() as u64 {
        return Ok(false);
    }
    sqlx::query!(
        "-- inbox::heal
        INSERT INTO ingress.inbox (id, agent, delivery_id, body, body_digest, sent_at, source, traceparent)
        VALUES ($1, $2, $3, $4, $5, $6, 'reconcile', $7)",
        told.id,
        told.agent,
        told.delivery_id,
        &told.body[..],
        &keys.body[..],
        told.sent_at,
        told.traceparent,
    )
    .execute(tx.connection())
    .await?;
    Ok(true)
}

/// Of these delivery ids, those whose webhook is not in the inbox.
///
/// # Errors
/// When the query fails.
pub async fn missing(tx: &mut Tx, agent: &str, delivery_ids: &[&str]) -> Result<Vec<String>, Error> {
    let hashes: Vec<Vec<u8>> = delivery_ids
        .iter()
        .map(|id| {
            Keys::of(b"", Some(id))
                .delivery
                .map_or_else(Vec::new, |key| key.to_vec())
        })
        .collect();
    let places = sqlx::query_scalar!(
        r#"-- inbox::missing
        SELECT asked.place AS "place!"
        FROM UNNEST($2::BYTEA[]) WITH ORDINALITY AS asked (key_hash, place)
        WHERE NOT EXISTS (SELECT FROM ingress.seen s WHERE s.agent = $1 AND s.key_hash = asked.key_hash OFFSET 0)"#,
        agent,
        &hashes,
    )
    .fetch_all(tx.connection())
    .await?;
    let of = |place: i64| {
        delivery_ids
            .get(usize::try_from(place - 1).ok()?)
            .map(|id| (*id).to_owned())
    };
    Ok(places.into_iter().filter_map(of).collect())
}

/// An arrival that a read told of.
#[must_use]
pub fn told(agent: &str, delivery_id: &str, body: Vec<u8>) -> Arrival {
    Arrival {
        id: Uuid::now_v7(),
        agent: agent.to_owned(),
        delivery_id: Some(delivery_id.to_owned()),
        body: body.into(),
        stale: false,
        sent_at: None,
        traceparent: None,
    }
}
