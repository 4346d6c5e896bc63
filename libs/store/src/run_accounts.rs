//! A run's right to call models: its budget, and the hash of the credential that proves it.

use chrono::{DateTime, Utc};
use domain::{
    agent_file::Credential,
    day::Share,
    money::{MicroUsd, PicoUsd},
};
use uuid::Uuid;

use crate::{Error, Store, Tx};

mod day;

/// What the cost of a run is attributed to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SubjectKind {
    /// A contract.
    Contract,
    /// A gig, for a run that wrote a proposal.
    Gig,
}

impl SubjectKind {
    /// Its name in the table and on the wire.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Contract => "contract",
            Self::Gig => "gig",
        }
    }

    /// Reads the name.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        [Self::Contract, Self::Gig]
            .into_iter()
            .find(|kind| kind.as_str() == text)
    }
}

/// A right to be given.
#[derive(Debug, Clone)]
pub struct Opening {
    /// The run.
    pub run_id: Uuid,
    /// Contract or gig.
    pub subject_id: Uuid,
    /// Which of both.
    pub subject_kind: SubjectKind,
    /// Whose run.
    pub agent: String,
    /// Bundle hash.
    pub agent_version: String,
    /// SHA-256 of the new credential.
    pub credential_hash: [u8; 32],
    /// Which attempt it is for, from 1; 0 when that is not known.
    pub attempt: u32,
    /// What may be spent from now on.
    pub budget: MicroUsd,
    /// What all runs of the agent together may spend in a day (UTC).
    pub day_limit: Option<MicroUsd>,
    /// When the right ends by itself.
    pub expires_at: DateTime<Utc>,
    /// For calls that name no model.
    pub default_model: String,
    /// Models and `prefix*` patterns allowed beside the default.
    pub allowed_models: Vec<String>,
    /// Hosts the run may call with a secret of its agent's.
    pub credentials: Vec<Credential>,
}

/// What became of an opening.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Opened {
    /// The run may spend this much from now on: its budget, or what the day left of it.
    Granted(MicroUsd),
    /// The run belongs to another agent or subject.
    Differs,
    /// The attempt was closed, or a newer one was opened.
    Over,
    /// Other runs of the agent may still spend the rest of the day's money.
    DayPromised,
    /// The agent's money of the day is used up.
    DaySpent,
}

/// What there is to spend and what was.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Balance {
    /// What may be spent in all.
    pub budget: PicoUsd,
    /// What was.
    pub spent: PicoUsd,
    /// What is set aside for calls under way.
    pub held: PicoUsd,
}

impl Balance {
    /// What is neither spent nor set aside; not below zero.
    #[must_use]
    pub fn left(&self) -> PicoUsd {
        let used = self.spent.0.saturating_add(self.held.0);
        PicoUsd(self.budget.0.saturating_sub(used).max(0))
    }
}

/// Whether a credential may be used.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Right {
    /// It may.
    Open,
    /// Its run was closed.
    Closed,
    /// Its time is over.
    Expired,
}

/// What a credential stands for.
#[derive(Debug, Clone)]
pub struct Access {
    /// The run.
    pub run_id: Uuid,
    /// Whose run.
    pub agent: String,
    /// Whether it may still call models.
    pub right: Right,
    /// For calls that name no model.
    pub default_model: String,
    /// Models and `prefix*` patterns allowed beside the default.
    pub allowed_models: Vec<String>,
    /// Hosts it may call with a secret of its agent's.
    pub credentials: Vec<Credential>,
    /// Its money.
    pub balance: Balance,
}

/// A closed run.
#[derive(Debug, Clone)]
pub struct Closed {
    /// Contract or gig.
    pub subject_id: Uuid,
    /// Bundle hash.
    pub agent_version: String,
    /// What its calls cost so far.
    pub spent: PicoUsd,
    /// It may call models no more: no newer attempt holds its right.
    pub is_over: bool,
}

/// Gives a run its right, or gives it anew: the earlier credential stops working, what was spent stays spent, and the
/// budget counts from here. With a limit of the day, the rights of one agent are given one after the other, each within
/// what those before it left of the day.
///
/// # Errors
/// When a statement fails.
pub async fn open(tx: &mut Tx, opening: &Opening) -> Result<Opened, Error> {
    day::queue_up(tx, &opening.agent).await?;
    let known = sqlx::query!(
        r#"-- run_accounts::open
        SELECT subject_id, agent, attempt, closed_at IS NOT NULL AS "closed!"
        FROM billing.run_accounts
        WHERE run_id = $1
        FOR UPDATE"#,
        opening.run_id,
    )
    .fetch_optional(tx.connection())
    .await?;
    let attempt = i32::try_from(opening.attempt).unwrap_or(i32::MAX);
    if let Some(known) = known {
        if known.subject_id != opening.subject_id || known.agent != opening.agent {
            return Ok(Opened::Differs);
        }
        if attempt > 0 && (attempt < known.attempt || attempt == known.attempt && known.closed) {
            return Ok(Opened::Over);
        }
    }
    let granted = match opening.day_limit {
        None => opening.budget,
        Some(limit) => match day::of(tx, opening, limit).await?.share(opening.budget) {
            Share::Given(granted) => granted,
            Share::Promised => return Ok(Opened::DayPromised),
            Share::Spent => return Ok(Opened::DaySpent),
        },
    };
    give(tx, opening, attempt, granted).await?;
    Ok(Opened::Granted(granted))
}

async fn give(tx: &mut Tx, opening: &Opening, attempt: i32, granted: MicroUsd) -> Result<(), Error> {
    let credentials = serde_json::to_value(&opening.credentials).map_err(|error| unreadable(opening.run_id, &error))?;
    sqlx::query!(
        "-- run_accounts::give
        INSERT INTO billing.run_accounts AS r (run_id, subject_id, subject_kind, agent, agent_version, credential_hash,
            budget_pico, default_model, allowed_models, expires_at, attempt, credentials)
        VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12)
        ON CONFLICT (run_id) DO UPDATE
        SET agent_version = EXCLUDED.agent_version,
            credential_hash = EXCLUDED.credential_hash,
            budget_pico = r.spent_pico + EXCLUDED.budget_pico,
            default_model = EXCLUDED.default_model,
            allowed_models = EXCLUDED.allowed_models,
            expires_at = EXCLUDED.expires_at,
            credentials = EXCLUDED.credentials,
            attempt = GREATEST(r.attempt, EXCLUDED.attempt),
            closed_at = NULL",
        opening.run_id,
        opening.subject_id,
        opening.subject_kind.as_str(),
        opening.agent,
        opening.agent_version,
        &opening.credential_hash,
        granted.pico().0,
        opening.default_model,
        &opening.allowed_models,
        opening.expires_at,
        attempt,
        credentials,
    )
    .execute(tx.connection())
    .await?;
    Ok(())
}

/// What the credential with this hash stands for, if anything.
///
/// # Errors
/// When the query fails.
pub async fn by_credential(store: &Store, hash: &[u8; 32]) -> Result<Option<Access>, Error> {
    let row = sqlx::query!(
        r#"-- run_accounts::by_credential
        SELECT run_id, agent, default_model, allowed_models, budget_pico, spent_pico, held_pico, credentials,
            closed_at IS NOT NULL AS "closed!", expires_at <= now() AS "expired!"
        FROM billing.run_accounts
        WHERE credential_hash = $1"#,
        hash.as_slice(),
    )
    .fetch_optional(&store.pool)
    .await?;
    let Some(row) = row else { return Ok(None) };
    Ok(Some(Access {
        credentials: serde_json::from_value(row.credentials).map_err(|error| unreadable(row.run_id, &error))?,
        run_id: row.run_id,
        agent: row.agent,
        right: match (row.closed, row.expired) {
            (true, _) => Right::Closed,
            (false, true) => Right::Expired,
            (false, false) => Right::Open,
        },
        default_model: row.default_model,
        allowed_models: row.allowed_models,
        balance: Balance {
            budget: PicoUsd(row.budget_pico),
            spent: PicoUsd(row.spent_pico),
            held: PicoUsd(row.held_pico),
        },
    }))
}

fn unreadable(run_id: Uuid, error: &serde_json::Error) -> Error {
    Error::Corrupt {
        what: "a run's hosts",
        key: run_id.to_string(),
        why: error.to_string(),
    }
}

/// Ends the right of a run's attempt and of those before it (0: of any); again does nothing more. A newer attempt keeps
/// its right, and one that was over before its right was opened gets none. `None` when the run never had one.
///
/// # Errors
/// When a statement fails.
pub async fn close(tx: &mut Tx, run_id: Uuid, attempt: u32) -> Result<Option<Closed>, Error> {
    sqlx::query!(
        "-- run_accounts::close
        UPDATE billing.run_accounts
        SET closed_at = COALESCE(closed_at, now()), attempt = GREATEST(attempt, $2)
        WHERE run_id = $1 AND ($2 = 0 OR attempt <= $2)",
        run_id,
        i32::try_from(attempt).unwrap_or(i32::MAX),
    )
    .execute(tx.connection())
    .await?;
    let row = sqlx::query!(
        r#"-- run_accounts::close read
        SELECT subject_id, agent_version, spent_pico, closed_at IS NOT NULL AS "closed!"
        FROM billing.run_accounts
        WHERE run_id = $1"#,
        run_id,
    )
    .fetch_optional(tx.connection())
    .await?;
    Ok(row.map(|row| Closed {
        subject_id: row.subject_id,
        agent_version: row.agent_version,
        spent: PicoUsd(row.spent_pico),
        is_over: row.closed,
    }))
}

/// Ends the rights of all runs of a contract or gig.
///
/// # Errors
/// When the statement fails.
pub async fn close_subject(tx: &mut Tx, subject_id: Uuid) -> Result<(), Error> {
    sqlx::query!(
        "-- run_accounts::close_subject
        UPDATE billing.run_accounts
        SET closed_at = now()
        WHERE subject_id = $1 AND closed_at IS NULL",
        subject_id,
    )
    .execute(tx.connection())
    .await?;
    Ok(())
}
