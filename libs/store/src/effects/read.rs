//! Reading effects.

use chrono::{DateTime, Utc};
use domain::effect::{Kind, State};
use serde_json::Value;
use uuid::Uuid;

use super::Effect;
use crate::{Error, Store, Tx};

/// Which effects to list; empty fields match all.
#[derive(Debug, Clone, Default)]
pub struct Filter {
    /// Of this agent.
    pub agent: Option<String>,
    /// In this state.
    pub state: Option<String>,
    /// About this contract.
    pub contract_id: Option<Uuid>,
    /// Created before this effect (the last of the page before).
    pub before: Option<Uuid>,
}

struct Row {
    id: Uuid,
    agent: String,
    kind: String,
    natural_key: String,
    state: String,
    after_id: Option<Uuid>,
    payload: Value,
    gig_id: Option<Uuid>,
    contract_id: Option<Uuid>,
    run_id: Option<Uuid>,
    not_before: DateTime<Utc>,
    attempts: i32,
    away_since: Option<DateTime<Utc>>,
    lease_token: Option<Uuid>,
    maybe_sent_at: Option<DateTime<Utc>>,
    absent_reads: i32,
    proof: Option<Value>,
    error: Option<String>,
    dead_reason: Option<String>,
    traceparent: Option<String>,
    created_at: DateTime<Utc>,
    updated_at: DateTime<Utc>,
}

impl From<Row> for Effect {
    fn from(row: Row) -> Self {
        Self {
            id: row.id,
            agent: row.agent,
            kind: Kind::from_name(&row.kind),
            kind_name: row.kind,
            natural_key: row.natural_key,
            state: State::from_name(&row.state),
            after: row.after_id,
            payload: row.payload,
            gig_id: row.gig_id,
            contract_id: row.contract_id,
            run_id: row.run_id,
            not_before: row.not_before,
            attempts: row.attempts,
            away_since: row.away_since,
            lease_token: row.lease_token,
            maybe_sent_at: row.maybe_sent_at,
            absent_reads: row.absent_reads,
            proof: row.proof,
            error: row.error,
            dead_reason: row.dead_reason,
            traceparent: row.traceparent,
            created_at: row.created_at,
            updated_at: row.updated_at,
        }
    }
}

pub(super) async fn get_in_tx(tx: &mut Tx, id: Uuid) -> Result<Effect, Error> {
    one(tx.connection(), id).await
}

/// One effect, locked until the transaction ends.
///
/// # Errors
/// [`Error::NotFound`] when there is none.
pub async fn get_locked(tx: &mut Tx, id: Uuid) -> Result<Effect, Error> {
    sqlx::query!(
        "-- effects::get_locked
        SELECT id FROM scheduler.effects WHERE id = $1 FOR UPDATE",
        id,
    )
    .fetch_optional(tx.connection())
    .await?;
    get_in_tx(tx, id).await
}

/// One effect.
///
/// # Errors
/// [`Error::NotFound`] when there is none.
pub async fn get(store: &Store, id: Uuid) -> Result<Effect, Error> {
    let mut connection = store.pool.acquire().await?;
    one(&mut connection, id).await
}

async fn one(connection: &mut sqlx::PgConnection, id: Uuid) -> Result<Effect, Error> {
    let found = many(connection, &[id]).await?.pop();
    found.ok_or_else(|| Error::NotFound {
        what: "effect",
        key: id.to_string(),
    })
}

/// Those of these that there are, in this transaction, oldest first.
pub(super) async fn of_ids(tx: &mut Tx, ids: &[Uuid]) -> Result<Vec<Effect>, Error> {
    many(tx.connection(), ids).await
}

async fn many(connection: &mut sqlx::PgConnection, ids: &[Uuid]) -> Result<Vec<Effect>, Error> {
    let rows = sqlx::query_as!(
        Row,
        "-- effects::get
        SELECT id, agent, kind, natural_key, state, after_id, payload, gig_id, contract_id, run_id, not_before, attempts,
               away_since, lease_token, maybe_sent_at, absent_reads, proof, error, dead_reason, traceparent, created_at,
               updated_at
        FROM scheduler.effects WHERE id = ANY($1) ORDER BY created_at, id",
        ids,
    )
    .fetch_all(connection)
    .await?;
    Ok(rows.into_iter().map(Effect::from).collect())
}

/// Effects, newest first.
///
/// # Errors
/// When the query fails.
pub async fn list(store: &Store, filter: &Filter, limit: i64) -> Result<Vec<Effect>, Error> {
    let rows = sqlx::query_as!(
        Row,
        "-- effects::list
        SELECT id, agent, kind, natural_key, state, after_id, payload, gig_id, contract_id, run_id, not_before, attempts,
               away_since, lease_token, maybe_sent_at, absent_reads, proof, error, dead_reason, traceparent, created_at,
               updated_at
        FROM scheduler.effects
        WHERE ($1::text IS NULL OR agent = $1)
          AND ($2::text IS NULL OR state = $2)
          AND ($3::uuid IS NULL OR contract_id = $3)
          AND ($4::uuid IS NULL OR id < $4)
        ORDER BY id DESC
        LIMIT $5",
        filter.agent,
        filter.state,
        filter.contract_id,
        filter.before,
        limit,
    )
    .fetch_all(&store.pool)
    .await?;
    Ok(rows.into_iter().map(Effect::from).collect())
}

/// What an effect is about.
#[derive(Debug, Clone)]
pub struct About {
    /// The effect.
    pub id: Uuid,
    /// Title of its contract, else of its gig; foreign text.
    pub title: String,
    /// What the contract, else the bid brings, micro-USDC.
    pub amount_micro: i64,
    /// When the contract's work, else the gig's, has to be done; as the marketplace says it.
    pub deadline: Option<DateTime<Utc>>,
}

/// What these effects are about.
///
/// # Errors
/// When the query fails.
pub async fn about(store: &Store, ids: &[Uuid]) -> Result<Vec<About>, Error> {
    let rows = sqlx::query_as!(
        About,
        r#"-- effects::about
        SELECT e.id AS "id!", COALESCE(NULLIF(c.title, ''), g.title, '') AS "title!",
               COALESCE(c.amount_micro, p.amount_micro, 0) AS "amount_micro!",
               COALESCE(c.deadline, g.deadline) AS deadline
        FROM scheduler.effects AS e
        LEFT JOIN scheduler.contracts AS c ON c.id = e.contract_id
        LEFT JOIN scheduler.gigs AS g ON g.id = e.gig_id
        LEFT JOIN scheduler.proposals AS p ON p.gig_id = e.gig_id
        WHERE e.id = ANY($1)"#,
        ids,
    )
    .fetch_all(&store.pool)
    .await?;
    Ok(rows)
}

/// What is said of a delivery that was refused by hand, before the reason.
pub const REFUSED_BY_HAND: &str = "refused by the operator: ";

/// Why a human refused the last delivery somebody wished for on a contract, if one did and said it.
///
/// # Errors
/// When the query fails.
pub async fn refused_because(tx: &mut Tx, contract: Uuid) -> Result<Option<String>, Error> {
    let error = sqlx::query_scalar!(
        "-- effects::refused_because
        SELECT error FROM scheduler.effects
        WHERE contract_id = $1 AND kind IN ('upload', 'deliver') AND state = 'cancelled' AND starts_with(error, $2)
        ORDER BY updated_at DESC LIMIT 1",
        contract,
        REFUSED_BY_HAND,
    )
    .fetch_optional(tx.connection())
    .await?
    .flatten();
    let reason = error.as_deref().and_then(|error| error.strip_prefix(REFUSED_BY_HAND));
    Ok(reason.filter(|reason| !reason.trim().is_empty()).map(str::to_owned))
}
