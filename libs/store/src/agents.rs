//! Agents: their files, modes, versions and sealed marketplace keys.

use chrono::{DateTime, Utc};
use domain::agent_file::{AgentFile, Mode};
use secrecy::SecretString;
use serde_json::Value;

use crate::{Error, Store, Tx, seal::Sealer, tx::exactly_one};

mod leaving;
mod rest;

pub use leaving::{Open, PAUSED, come_back, has_left, leave, open, pause_if_failing};
pub use rest::{Activity, Resting, resting, resting_one, set_activity};

/// Owner name of the key that seals marketplace keys.
pub const SEAL_OWNER: &str = "marketplace";
/// Kind of the notice that an agent is paused or winding down; its key is the agent's name.
pub const RESTS: &str = "rests";
/// Agents read at once; more are an error, never a silent cut.
const MOST: i64 = 10_000;

/// One agent.
#[derive(Debug, Clone)]
pub struct Agent {
    /// Its slug.
    pub name: String,
    /// Its file, with the defaults filled in.
    pub spec: AgentFile,
    /// Whether its bids go out; the operator's last word, whatever the file says.
    pub mode: Mode,
    /// Nothing new is begun for it.
    pub paused: bool,
    /// It bids no more, and finishes what was accepted.
    pub winding_down: bool,
    /// Why it is paused or winding down, if its operator said.
    pub rest_reason: Option<String>,
    /// Since when it is paused or winding down.
    pub rest_since: Option<DateTime<Utc>>,
    /// SHA-256 of the bundle new runs use.
    pub version: String,
    /// Its id on the marketplace.
    pub marketplace_id: Option<String>,
    /// Its marketplace key, sealed.
    pub api_key_sealed: Option<Vec<u8>>,
    /// Text of the cover letter's template, from the bundle; `None` means the built-in one.
    pub cover_letter: Option<String>,
    /// When it was added.
    pub created_at: DateTime<Utc>,
}

impl Agent {
    /// Opens its marketplace key; `None` when it has none.
    ///
    /// # Errors
    /// [`Error::Sealed`] when the sealer's key is another one.
    pub fn api_key(&self, sealer: &Sealer) -> Result<Option<SecretString>, Error> {
        self.api_key_sealed
            .as_deref()
            .map(|sealed| sealer.open(&self.name, sealed))
            .transpose()
    }
}

struct Row {
    name: String,
    spec: Value,
    mode: String,
    paused: bool,
    winding_down: bool,
    rest_reason: Option<String>,
    rest_since: Option<DateTime<Utc>>,
    version: String,
    marketplace_id: Option<String>,
    api_key_sealed: Option<Vec<u8>>,
    cover_letter: Option<String>,
    created_at: DateTime<Utc>,
}

impl TryFrom<Row> for Agent {
    type Error = Error;

    fn try_from(row: Row) -> Result<Self, Error> {
        let corrupt = |why: String| Error::Corrupt {
            what: "agent",
            key: row.name.clone(),
            why,
        };
        let spec = serde_json::from_value(row.spec).map_err(|error| corrupt(error.to_string()))?;
        let mode =
            Mode::from_name(&row.mode).ok_or_else(|| corrupt(format!("the mode {:?} is not known", row.mode)))?;
        Ok(Self {
            spec,
            mode,
            name: row.name,
            paused: row.paused,
            winding_down: row.winding_down,
            rest_reason: row.rest_reason,
            rest_since: row.rest_since,
            version: row.version,
            marketplace_id: row.marketplace_id,
            api_key_sealed: row.api_key_sealed,
            cover_letter: row.cover_letter,
            created_at: row.created_at,
        })
    }
}

/// Adds an agent, or gives a known one a new file and version. A known one keeps the mode its operator set.
///
/// # Errors
/// When the insert fails.
pub async fn put(
    tx: &mut Tx,
    spec: &AgentFile,
    mode: Mode,
    version: &str,
    cover_letter: Option<&str>,
) -> Result<(), Error> {
    let json = serde_json::to_value(spec).map_err(|error| Error::Corrupt {
        what: "agent",
        key: spec.name.clone(),
        why: error.to_string(),
    })?;
    sqlx::query!(
        "-- agents::put
        INSERT INTO scheduler.agents (name, spec, mode, version, cover_letter, updated_by)
        VALUES ($1, $2, $3, $4, $5, $6)
        ON CONFLICT (name) DO UPDATE
        SET spec = excluded.spec, version = excluded.version, cover_letter = excluded.cover_letter, updated_at = now(),
            updated_by = excluded.updated_by",
        spec.name,
        json,
        mode.name(),
        version,
        cover_letter,
        tx.name,
    )
    .execute(tx.connection())
    .await?;
    Ok(())
}

/// One agent.
///
/// # Errors
/// [`Error::NotFound`] when there is none.
pub async fn get(store: &Store, name: &str) -> Result<Agent, Error> {
    let row = sqlx::query_as!(
        Row,
        "-- agents::get
        SELECT name, spec, mode, paused, winding_down, rest_reason, rest_since, version, marketplace_id, api_key_sealed,
               cover_letter, created_at
        FROM scheduler.agents
        WHERE name = $1",
        name,
    )
    .fetch_optional(&store.pool)
    .await?;
    row.ok_or_else(|| unknown(name))?.try_into()
}

/// One agent, while a transaction goes on.
///
/// # Errors
/// [`Error::NotFound`] when there is none.
pub async fn read(tx: &mut Tx, name: &str) -> Result<Agent, Error> {
    let row = sqlx::query_as!(
        Row,
        "-- agents::read
        SELECT name, spec, mode, paused, winding_down, rest_reason, rest_since, version, marketplace_id, api_key_sealed,
               cover_letter, created_at
        FROM scheduler.agents
        WHERE name = $1",
        name,
    )
    .fetch_optional(tx.connection())
    .await?;
    row.ok_or_else(|| unknown(name))?.try_into()
}

/// One agent, locked until the transaction ends: caps counted under this lock hold across replicas. Rows that refer to
/// the agent can still be added by others.
///
/// # Errors
/// [`Error::NotFound`] when there is none.
pub async fn lock(tx: &mut Tx, name: &str) -> Result<Agent, Error> {
    let row = sqlx::query_as!(
        Row,
        "-- agents::lock
        SELECT name, spec, mode, paused, winding_down, rest_reason, rest_since, version, marketplace_id, api_key_sealed,
               cover_letter, created_at
        FROM scheduler.agents
        WHERE name = $1
        FOR NO KEY UPDATE",
        name,
    )
    .fetch_optional(tx.connection())
    .await?;
    row.ok_or_else(|| unknown(name))?.try_into()
}

/// All agents, by name.
///
/// # Errors
/// When the query fails, or there are more than one process can hold.
pub async fn list(store: &Store) -> Result<Vec<Agent>, Error> {
    let rows = sqlx::query_as!(
        Row,
        "-- agents::list
        SELECT name, spec, mode, paused, winding_down, rest_reason, rest_since, version, marketplace_id, api_key_sealed,
               cover_letter, created_at
        FROM scheduler.agents
        ORDER BY name
        LIMIT $1",
        MOST + 1,
    )
    .fetch_all(&store.pool)
    .await?;
    if i64::try_from(rows.len()).is_ok_and(|rows| rows > MOST) {
        return Err(Error::Corrupt {
            what: "the list of agents",
            key: String::new(),
            why: format!("it has more than {MOST} entries"),
        });
    }
    rows.into_iter().map(Agent::try_from).collect()
}

/// Sets whether its bids go out.
///
/// # Errors
/// [`Error::Stale`] when there is no such agent.
pub async fn set_mode(tx: &mut Tx, name: &str, mode: Mode) -> Result<(), Error> {
    let set = sqlx::query!(
        "-- agents::set_mode
        UPDATE scheduler.agents
        SET mode = $2, updated_at = now(), updated_by = $3
        WHERE name = $1",
        name,
        mode.name(),
        tx.name,
    )
    .execute(tx.connection())
    .await?;
    found(name, set.rows_affected())
}

/// Seals and stores its marketplace key, and its id there.
///
/// # Errors
/// When sealing fails, or there is no such agent.
pub async fn set_credentials(
    tx: &mut Tx,
    sealer: &Sealer,
    name: &str,
    marketplace_id: &str,
    api_key: &SecretString,
) -> Result<(), Error> {
    let sealed = sealer.seal(name, api_key)?;
    let set = sqlx::query!(
        "-- agents::set_credentials
        UPDATE scheduler.agents
        SET marketplace_id = NULLIF($2, ''), api_key_sealed = $3, updated_at = now(), updated_by = $4
        WHERE name = $1",
        name,
        marketplace_id,
        sealed,
        tx.name,
    )
    .execute(tx.connection())
    .await?;
    found(name, set.rows_affected())
}

fn found(name: &str, rows: u64) -> Result<(), Error> {
    exactly_one("agent", rows).map_err(|_| unknown(name))
}

fn unknown(name: &str) -> Error {
    Error::NotFound {
        what: "agent",
        key: name.to_owned(),
    }
}
