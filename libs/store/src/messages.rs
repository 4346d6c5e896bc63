//! The thread of each contract: what clients, other agents and we said, each message kept once.

use chrono::{DateTime, Utc};
use serde_json::Value;
use uuid::Uuid;

use crate::{Error, Store, Tx};

/// Messages of one thread that are read at once.
const MOST: i64 = 500;
/// Messages whose attachments are asked for at once.
const MOST_TO_READ: i64 = 100;

/// Who spoke.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Side {
    /// The client.
    Client,
    /// Another agent.
    Agent,
    /// We.
    Us,
}

impl Side {
    /// The word in the store and in job files.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Client => "client",
            Self::Agent => "agent",
            Self::Us => "us",
        }
    }
}

/// One message.
#[derive(Debug, Clone)]
pub struct Message {
    /// Ours.
    pub id: Uuid,
    /// client, agent or us.
    pub side: String,
    /// What makes it one message: the platform's id, an inbox row's id, or our own key.
    pub natural_key: String,
    /// Foreign text unless ours.
    pub body: String,
    /// A list of what was sent with it; `None` until the platform was asked.
    pub attachments: Option<Value>,
    /// When we heard of it, or said it.
    pub at: DateTime<Utc>,
}

/// A message whose attachments are not known.
#[derive(Debug, Clone)]
pub struct ToRead {
    /// Ours.
    pub id: Uuid,
    /// Its contract.
    pub contract_id: Uuid,
    /// Its contract, as the platform calls it.
    pub contract: String,
    /// client or agent.
    pub side: String,
    /// The platform's id, if it told one.
    pub natural_key: String,
    /// Foreign text.
    pub body: String,
    /// Seconds since we heard of it.
    pub age_secs: i64,
}

/// Keeps a message, once, with what is known of its attachments. Answers whether it is new.
///
/// # Errors
/// When the insert fails.
pub async fn put(
    tx: &mut Tx,
    contract: Uuid,
    side: Side,
    natural_key: &str,
    body: &str,
    attachments: Option<&Value>,
) -> Result<bool, Error> {
    let put = sqlx::query!(
        "-- messages::put
        INSERT INTO scheduler.messages (id, contract_id, side, natural_key, body, attachments)
        VALUES ($1, $2, $3, $4, $5, $6)
        ON CONFLICT (contract_id, natural_key) DO NOTHING",
        Uuid::now_v7(),
        contract,
        side.name(),
        natural_key,
        body,
        attachments,
    )
    .execute(tx.connection())
    .await?;
    Ok(put.rows_affected() == 1)
}

/// A message as a read or a webhook tells of it.
#[derive(Debug, Clone, Copy)]
pub struct Heard<'a> {
    /// Its contract, as the platform calls it.
    pub contract: &'a str,
    /// Who spoke.
    pub side: Side,
    /// Foreign text.
    pub body: &'a str,
    /// When it was said, if the platform tells.
    pub said_at: Option<DateTime<Utc>>,
}

/// Whether a message that a read tells of is known: by its id, as one whose webhook did not name it, or as our own. The
/// one it is found to be keeps the id.
///
/// # Errors
/// When a query fails.
pub async fn recognise(tx: &mut Tx, agent: &str, external_id: &str, heard: Heard<'_>) -> Result<bool, Error> {
    let known = sqlx::query_scalar!(
        r#"-- messages::recognise
        SELECT EXISTS (
            SELECT FROM scheduler.messages m JOIN scheduler.contracts c ON c.id = m.contract_id
            WHERE c.agent = $1 AND c.external_id = $2 AND (m.natural_key = $3 OR m.external_id = $3)) AS "known!""#,
        agent,
        heard.contract,
        external_id,
    )
    .fetch_one(tx.connection())
    .await?;
    if known {
        return Ok(true);
    }
    let named = sqlx::query!(
        "-- messages::recognise
        UPDATE scheduler.messages SET external_id = $3
        WHERE id = (
            SELECT m.id FROM scheduler.messages m JOIN scheduler.contracts c ON c.id = m.contract_id
            WHERE c.agent = $1 AND c.external_id = $2 AND m.external_id IS NULL AND btrim(m.body) = btrim($4)
              AND m.side = $5 AND m.at BETWEEN COALESCE($6::TIMESTAMPTZ - INTERVAL '1 minute', now() - INTERVAL '72 hours')
                                           AND COALESCE($6, now()) + INTERVAL '72 hours'
            ORDER BY m.id LIMIT 1)",
        agent,
        heard.contract,
        external_id,
        heard.body,
        heard.side.name(),
        heard.said_at,
    )
    .execute(tx.connection())
    .await?;
    Ok(named.rows_affected() == 1)
}

/// A webhook that names no message tells of one that a read had told of: it is the same. Answers whether there was one.
///
/// # Errors
/// When the update fails.
pub async fn heard_again(
    tx: &mut Tx,
    contract: Uuid,
    side: Side,
    body: &str,
    said_at: Option<DateTime<Utc>>,
) -> Result<bool, Error> {
    let same = sqlx::query!(
        "-- messages::heard_again
        UPDATE scheduler.messages SET unheard = FALSE
        WHERE id = (
            SELECT id FROM scheduler.messages
            WHERE contract_id = $1 AND side = $2 AND unheard AND btrim(body) = btrim($3)
              AND at > COALESCE($4::TIMESTAMPTZ - INTERVAL '1 minute', now() - INTERVAL '72 hours')
              AND at < COALESCE($4, now()) + INTERVAL '72 hours'
            ORDER BY id LIMIT 1)",
        contract,
        side.name(),
        body,
        said_at,
    )
    .execute(tx.connection())
    .await?;
    Ok(same.rows_affected() == 1)
}

/// Remembers that only a read told of a message: its webhook may still come.
///
/// # Errors
/// When the update fails.
pub async fn told_by_read(tx: &mut Tx, contract: Uuid, external_id: &str) -> Result<(), Error> {
    sqlx::query!(
        "-- messages::told_by_read
        UPDATE scheduler.messages SET unheard = TRUE, external_id = $2 WHERE contract_id = $1 AND natural_key = $2",
        contract,
        external_id,
    )
    .execute(tx.connection())
    .await?;
    Ok(())
}

/// Messages of the last `seconds` to an agent whose attachments are not known, newest first.
///
/// # Errors
/// When the query fails.
pub async fn to_read(store: &Store, agent: &str, seconds: u32) -> Result<Vec<ToRead>, Error> {
    let rows = sqlx::query_as!(
        ToRead,
        r#"-- messages::to_read
        SELECT m.id, m.contract_id, c.external_id AS contract, m.side, m.natural_key, m.body,
            GREATEST(EXTRACT(EPOCH FROM now() - m.at), 0)::BIGINT AS "age_secs!"
        FROM scheduler.messages m
        JOIN scheduler.contracts c ON c.id = m.contract_id
        WHERE m.attachments IS NULL AND m.side <> 'us' AND m.at > now() - make_interval(secs => $2) AND c.agent = $1
        ORDER BY m.id DESC
        LIMIT $3"#,
        agent,
        f64::from(seconds),
        MOST_TO_READ,
    )
    .fetch_all(&store.pool)
    .await?;
    Ok(rows)
}

/// Keeps what was sent with a message, once.
///
/// # Errors
/// When the update fails.
pub async fn attach(tx: &mut Tx, id: Uuid, attachments: &Value) -> Result<(), Error> {
    sqlx::query!(
        "-- messages::attach
        UPDATE scheduler.messages SET attachments = $2 WHERE id = $1 AND attachments IS NULL",
        id,
        attachments,
    )
    .execute(tx.connection())
    .await?;
    Ok(())
}

/// What came with messages of a contract, newest first: a list for each message that came with anything.
///
/// # Errors
/// When the query fails.
pub async fn attached(tx: &mut Tx, contract: Uuid) -> Result<Vec<Value>, Error> {
    let lists = sqlx::query_scalar!(
        r#"-- messages::attached
        SELECT attachments AS "attachments!"
        FROM scheduler.messages
        WHERE contract_id = $1 AND side <> 'us' AND attachments <> '[]'
        ORDER BY id DESC
        LIMIT $2"#,
        contract,
        MOST,
    )
    .fetch_all(tx.connection())
    .await?;
    Ok(lists)
}

/// A contract's thread, oldest first; of a very long one the newest part.
///
/// # Errors
/// When the query fails.
pub async fn list(store: &Store, contract: Uuid) -> Result<Vec<Message>, Error> {
    let mut messages = sqlx::query_as!(
        Message,
        "-- messages::list
        SELECT id, side, natural_key, body, attachments, at
        FROM scheduler.messages
        WHERE contract_id = $1
        ORDER BY id DESC
        LIMIT $2",
        contract,
        MOST,
    )
    .fetch_all(&store.pool)
    .await?;
    messages.reverse();
    Ok(messages)
}

/// How many messages of ours a contract got in the last `lately` and `today` seconds, sent or about to be, for the limits
/// on automatic answers. Lock the contract first: those who count at once see each other's wishes.
///
/// # Errors
/// When the query fails.
pub async fn ours(tx: &mut Tx, contract: Uuid, lately: u32, today: u32) -> Result<(i64, i64), Error> {
    let count = sqlx::query!(
        r#"-- messages::ours
        WITH unsent AS (
            SELECT count(*) AS n
            FROM scheduler.effects
            WHERE contract_id = $1 AND kind = 'message' AND state NOT IN ('done', 'refused', 'cancelled')
              AND dead_reason IS NULL
        )
        SELECT count(*) FILTER (WHERE at > now() - make_interval(secs => $2)) + (SELECT n FROM unsent) AS "lately!",
               count(*) + (SELECT n FROM unsent) AS "today!"
        FROM scheduler.messages
        WHERE contract_id = $1 AND side = 'us' AND at > now() - make_interval(secs => $3)"#,
        contract,
        f64::from(lately),
        f64::from(today),
    )
    .fetch_one(tx.connection())
    .await?;
    Ok((count.lately, count.today))
}

/// Whether the other side said something in the last `seconds`.
///
/// # Errors
/// When the query fails.
pub async fn heard_since(tx: &mut Tx, contract: Uuid, seconds: u32) -> Result<bool, Error> {
    let heard = sqlx::query_scalar!(
        r#"-- messages::heard_since
        SELECT EXISTS (
            SELECT FROM scheduler.messages
            WHERE contract_id = $1 AND side <> 'us' AND at > now() - make_interval(secs => $2)
        ) AS "heard!""#,
        contract,
        f64::from(seconds),
    )
    .fetch_one(tx.connection())
    .await?;
    Ok(heard)
}

/// What the client said last, if it ever said anything.
///
/// # Errors
/// When the query fails.
pub async fn last_of_client(tx: &mut Tx, contract: Uuid) -> Result<Option<String>, Error> {
    let body = sqlx::query_scalar!(
        "-- messages::last_of_client
        SELECT body
        FROM scheduler.messages
        WHERE contract_id = $1 AND side <> 'us'
        ORDER BY id DESC
        LIMIT 1",
        contract,
    )
    .fetch_optional(tx.connection())
    .await?;
    Ok(body)
}

/// A message came: runs of the contract that wait for one are queued again. Answers how many.
///
/// # Errors
/// When the update fails.
pub async fn wake_runs(tx: &mut Tx, contract: Uuid) -> Result<u64, Error> {
    let woken = sqlx::query!(
        "-- messages::wake_runs
        UPDATE scheduler.runs
        SET state = 'queued', wait_until = NULL, not_before = now(), updated_at = now(), updated_by = $2
        WHERE contract_id = $1 AND state = 'waiting'",
        contract,
        tx.name,
    )
    .execute(tx.connection())
    .await?;
    Ok(woken.rows_affected())
}

/// The number of the present span of `seconds`, by Postgres' clock: the same for all replicas.
///
/// # Errors
/// When the query fails.
pub async fn clock_slot(tx: &mut Tx, seconds: u32) -> Result<i64, Error> {
    let slot = sqlx::query_scalar!(
        r#"-- messages::clock_slot
        SELECT floor(EXTRACT(EPOCH FROM now()) / $1::INT)::BIGINT AS "slot!""#,
        i32::try_from(seconds.max(1)).unwrap_or(i32::MAX),
    )
    .fetch_one(tx.connection())
    .await?;
    Ok(slot)
}
