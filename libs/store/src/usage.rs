//! One row per model call that may have cost money, and the running total per contract or gig. Rows are never changed.

use std::fmt;

use chrono::{DateTime, Utc};
use domain::{metering::Tokens, money::PicoUsd};
use uuid::Uuid;

use crate::{Error, Store, Tx, holds::balance, run_accounts::Balance};

/// What was unusual about a call, for people and reports.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Flag {
    /// Nobody knows the price: the highest known one was taken.
    UnknownPrice,
    /// The answer's usage never came: the whole hold was charged.
    UsageLost,
    /// The hold was charged by the sweeper.
    ExpiredHold,
    /// The agent hung up before the end.
    ClientGone,
    /// The call cost more than was set aside.
    OverHold,
    /// Another model than the one asked for answered, and it has no price.
    ModelSubstituted,
    /// The gateway set `model`.
    RewrittenModel,
    /// The gateway set `stream_options.include_usage`.
    RewrittenStreamOptions,
    /// The gateway left names out of `anthropic-beta`.
    RewrittenBeta,
    /// Tokens were stored into the provider's cache, which costs more than reading them.
    CacheStored,
}

impl Flag {
    /// All of them, for metrics.
    pub const ALL: [Self; 10] = [
        Self::UnknownPrice,
        Self::UsageLost,
        Self::ExpiredHold,
        Self::ClientGone,
        Self::OverHold,
        Self::ModelSubstituted,
        Self::RewrittenModel,
        Self::RewrittenStreamOptions,
        Self::RewrittenBeta,
        Self::CacheStored,
    ];

    /// Its name in the table.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::UnknownPrice => "unknown_price",
            Self::UsageLost => "usage_lost",
            Self::ExpiredHold => "expired_hold",
            Self::ClientGone => "client_gone",
            Self::OverHold => "over_hold",
            Self::ModelSubstituted => "model_substituted",
            Self::RewrittenModel => "rewritten:model",
            Self::RewrittenStreamOptions => "rewritten:stream_options",
            Self::RewrittenBeta => "rewritten:anthropic-beta",
            Self::CacheStored => "cache_stored",
        }
    }
}

impl fmt::Display for Flag {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// What a call came to.
#[derive(Debug, Clone)]
pub struct Charge {
    /// The hold's id.
    pub id: Uuid,
    /// Who is owed.
    pub provider: String,
    /// Model asked for.
    pub model_requested: String,
    /// Model whose price was taken.
    pub model_billed: String,
    /// What the provider counted; zeros when that was lost.
    pub tokens: Tokens,
    /// Exact cost.
    pub cost: PicoUsd,
    /// The price taken, if it was a known one.
    pub price_id: Option<Uuid>,
    /// What was unusual.
    pub flags: Vec<Flag>,
    /// Whether the answer was a stream.
    pub streamed: bool,
    /// HTTP status of the provider's answer; 0 when there was none.
    pub status: i32,
    /// From the request's first byte to the answer's last.
    pub duration_ms: i64,
}

impl Charge {
    /// A charge of nothing, to be filled in.
    #[must_use]
    pub fn nothing(id: Uuid, provider: String, model: String) -> Self {
        Self {
            id,
            provider,
            model_billed: model.clone(),
            model_requested: model,
            tokens: Tokens::default(),
            cost: PicoUsd::ZERO,
            price_id: None,
            flags: Vec::new(),
            streamed: false,
            status: 0,
            duration_ms: 0,
        }
    }
}

/// One usage row.
#[derive(Debug, Clone)]
pub struct Usage {
    /// The hold's id; sorts by time.
    pub id: Uuid,
    /// The run that paid.
    pub run_id: Uuid,
    /// Contract or gig.
    pub subject_id: Uuid,
    /// Who is owed.
    pub provider: String,
    /// Model asked for.
    pub model_requested: String,
    /// Model whose price was taken.
    pub model_billed: String,
    /// Tokens read.
    pub input_tokens: i64,
    /// Of these, from the cache.
    pub cached_tokens: i64,
    /// Tokens written.
    pub output_tokens: i64,
    /// Exact cost in pico-dollars.
    pub cost_pico: i64,
    /// What was unusual.
    pub flags: Vec<String>,
    /// When it was settled.
    pub at: DateTime<Utc>,
}

/// Usage of a contract or gig, of a run, or of everything; newest first, older than `before`.
///
/// # Errors
/// When the query fails.
pub async fn list(
    store: &Store,
    subject_id: Option<Uuid>,
    run_id: Option<Uuid>,
    before: Option<Uuid>,
    limit: i64,
) -> Result<Vec<Usage>, Error> {
    let rows = sqlx::query_as!(
        Usage,
        "-- usage::list
        SELECT id, run_id, subject_id, provider, model_requested, model_billed, input_tokens, cached_tokens,
            output_tokens, cost_pico, flags, at
        FROM billing.usage
        WHERE ($1::UUID IS NULL OR subject_id = $1)
            AND ($2::UUID IS NULL OR run_id = $2)
            AND ($3::UUID IS NULL OR id < $3)
        ORDER BY id DESC
        LIMIT $4",
        subject_id,
        run_id,
        before,
        limit,
    )
    .fetch_all(&store.pool)
    .await?;
    Ok(rows)
}

/// Writes the usage row and moves the money from held to spent, on the run and on what it is attributed to.
pub(crate) async fn charge(tx: &mut Tx, run_id: Uuid, held: PicoUsd, charge: &Charge) -> Result<Balance, Error> {
    let run = sqlx::query!(
        "-- usage::charge run
        UPDATE billing.run_accounts
        SET held_pico = held_pico - $2, spent_pico = spent_pico + $3
        WHERE run_id = $1
        RETURNING subject_id, agent, agent_version, budget_pico, spent_pico, held_pico",
        run_id,
        held.0,
        charge.cost.0,
    )
    .fetch_optional(tx.connection())
    .await?
    .ok_or(Error::Stale { what: "run account" })?;
    let flags: Vec<String> = charge.flags.iter().map(ToString::to_string).collect();
    sqlx::query!(
        "-- usage::charge insert
        INSERT INTO billing.usage (id, run_id, subject_id, agent, agent_version, provider, model_requested,
            model_billed, input_tokens, cached_tokens, output_tokens, cost_pico, price_id, flags, streamed, status,
            duration_ms)
        VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15, $16, $17)",
        charge.id,
        run_id,
        run.subject_id,
        run.agent,
        run.agent_version,
        charge.provider,
        charge.model_requested,
        charge.model_billed,
        count(charge.tokens.input),
        count(charge.tokens.cached),
        count(charge.tokens.output),
        charge.cost.0,
        charge.price_id,
        &flags,
        charge.streamed,
        charge.status,
        charge.duration_ms,
    )
    .execute(tx.connection())
    .await?;
    sqlx::query!(
        "-- usage::charge subject
        INSERT INTO billing.subject_costs AS s (subject_id, agent, provider, agent_version, cost_pico)
        VALUES ($1, $2, $3, $4, $5)
        ON CONFLICT (subject_id, agent, provider) DO UPDATE
        SET cost_pico = s.cost_pico + EXCLUDED.cost_pico,
            agent_version = EXCLUDED.agent_version,
            updated_at = now()",
        run.subject_id,
        run.agent,
        charge.provider,
        run.agent_version,
        charge.cost.0,
    )
    .execute(tx.connection())
    .await?;
    Ok(balance(run.budget_pico, run.spent_pico, run.held_pico))
}

pub(crate) async fn exists(tx: &mut Tx, id: Uuid) -> Result<bool, Error> {
    let row = sqlx::query_scalar!(
        r#"-- usage::exists
        SELECT EXISTS (SELECT FROM billing.usage WHERE id = $1) AS "there!""#,
        id,
    )
    .fetch_one(tx.connection())
    .await?;
    Ok(row)
}

fn count(tokens: u64) -> i64 {
    i64::try_from(tokens).unwrap_or(i64::MAX)
}
