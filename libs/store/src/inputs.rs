//! Files clients sent, on their way to the agents: what is known of each is part of its message's row, so that whatever
//! was fetched once is fetched for every attempt and every replica.
//!
//! A file is still to be fetched while its entry has an address and neither `sha256` nor `error`.

use std::time::Duration;

use serde_json::Value;
use uuid::Uuid;

use crate::{Error, Store, Tx};

/// Messages of one contract whose files are looked at.
const MOST: i64 = 500;
/// Messages with files to be fetched, at once.
const MOST_TO_FETCH: i64 = 100;
/// And of one contract.
const MOST_OF_CONTRACT: i64 = 10;

/// A message that came with files.
#[derive(Debug, Clone)]
pub struct Sent {
    /// The message.
    pub id: Uuid,
    /// Its contract.
    pub contract_id: Uuid,
    /// A list of what is known of each.
    pub attachments: Value,
}

/// Messages of an agent's open contracts with files still to be fetched: those first whose files were tried least, then
/// the oldest, and of one contract a few only, so that nobody fills the list.
///
/// # Errors
/// When the query fails.
pub async fn to_fetch(store: &Store, agent: &str) -> Result<Vec<Sent>, Error> {
    let rows = sqlx::query_as!(
        Sent,
        r#"-- inputs::to_fetch
        SELECT id AS "id!", contract_id AS "contract_id!", attachments AS "attachments!"
        FROM (
            SELECT m.id, m.contract_id, m.attachments, awaited.tries,
                   row_number() OVER (PARTITION BY m.contract_id ORDER BY awaited.tries, m.id) AS nth
            FROM scheduler.contracts c
            JOIN scheduler.messages m ON m.contract_id = c.id
            CROSS JOIN LATERAL (
                SELECT min(COALESCE((file ->> 'tries')::BIGINT, 0)) AS tries
                FROM jsonb_array_elements(m.attachments) AS file
                WHERE file ->> 'url' LIKE 'http%' AND file ->> 'sha256' IS NULL AND file ->> 'error' IS NULL
            ) AS awaited
            WHERE c.agent = $1 AND c.closed_at IS NULL AND m.side <> 'us' AND awaited.tries IS NOT NULL
        ) AS due
        WHERE nth <= $3
        ORDER BY tries, id
        LIMIT $2"#,
        agent,
        MOST_TO_FETCH,
        MOST_OF_CONTRACT,
    )
    .fetch_all(&store.pool)
    .await?;
    Ok(rows)
}

/// What came with messages of a contract, oldest first.
///
/// # Errors
/// When the query fails.
pub async fn of_contract(store: &Store, contract: Uuid) -> Result<Vec<Sent>, Error> {
    let mut rows = sqlx::query_as!(
        Sent,
        r#"-- inputs::of_contract
        SELECT id, contract_id, attachments AS "attachments!"
        FROM scheduler.messages
        WHERE contract_id = $1 AND side <> 'us' AND attachments <> '[]'
        ORDER BY id DESC
        LIMIT $2"#,
        contract,
        MOST,
    )
    .fetch_all(&store.pool)
    .await?;
    rows.reverse();
    Ok(rows)
}

/// Whether something a contract's messages came with may still arrive: the thread of a message heard of within `unread`
/// was not read, or a file of one heard of within `unfetched` is to be fetched.
///
/// # Errors
/// When the query fails.
pub async fn awaited(store: &Store, contract: Uuid, unread: Duration, unfetched: Duration) -> Result<bool, Error> {
    let awaited = sqlx::query_scalar!(
        r#"-- inputs::awaited
        SELECT EXISTS (
            SELECT FROM scheduler.messages m
            WHERE m.contract_id = $1 AND m.side <> 'us'
              AND (m.attachments IS NULL AND m.at > now() - make_interval(secs => $2)
                   OR m.at > now() - make_interval(secs => $3) AND EXISTS (
                       SELECT FROM jsonb_array_elements(m.attachments) AS file
                       WHERE file ->> 'url' LIKE 'http%' AND file ->> 'sha256' IS NULL AND file ->> 'error' IS NULL))
        ) AS "awaited!""#,
        contract,
        unread.as_secs_f64(),
        unfetched.as_secs_f64(),
    )
    .fetch_one(&store.pool)
    .await?;
    Ok(awaited)
}

/// Keeps what became of a message's files, unless the row says something else by now. Answers whether it was kept.
///
/// # Errors
/// When the update fails.
pub async fn keep(tx: &mut Tx, before: &Sent, now: &Value) -> Result<bool, Error> {
    let kept = sqlx::query!(
        "-- inputs::keep
        UPDATE scheduler.messages SET attachments = $3 WHERE id = $1 AND attachments = $2",
        before.id,
        before.attachments,
        now,
    )
    .execute(tx.connection())
    .await?;
    Ok(kept.rows_affected() == 1)
}
