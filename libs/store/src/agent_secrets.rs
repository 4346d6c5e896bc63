//! Secrets of agents' own, sealed: billing adds them to calls of the hosts an agent's file names, and nobody else can
//! open them.

use chrono::{DateTime, Utc};
use secrecy::SecretString;

use crate::{Error, Store, Tx, seal::Sealer};

/// Owner name of the key that seals them.
pub const SEAL_OWNER: &str = "agent_secret";
/// Listed at once.
const MOST: i64 = 10_000;

/// That a secret is there; not what it is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Named {
    /// Whose.
    pub agent: String,
    /// Which.
    pub name: String,
    /// When this value was set.
    pub set_at: DateTime<Utc>,
}

/// Seals a value, in the place of an earlier one.
///
/// # Errors
/// When sealing fails, or the statement.
pub async fn set(tx: &mut Tx, sealer: &Sealer, agent: &str, name: &str, value: &SecretString) -> Result<Named, Error> {
    let sealed = sealer.seal(&bound(agent, name), value)?;
    let row = sqlx::query_as!(
        Named,
        "-- agent_secrets::set
        INSERT INTO billing.agent_secrets (agent, name, sealed)
        VALUES ($1, $2, $3)
        ON CONFLICT (agent, name) DO UPDATE SET sealed = excluded.sealed, set_at = now()
        RETURNING agent, name, set_at",
        agent,
        name,
        sealed,
    )
    .fetch_one(tx.connection())
    .await?;
    Ok(row)
}

/// Opens one; `None` when there is none of this name.
///
/// # Errors
/// [`Error::Sealed`] when the key is another one, or the row another's.
pub async fn get(store: &Store, sealer: &Sealer, agent: &str, name: &str) -> Result<Option<SecretString>, Error> {
    let sealed = sqlx::query_scalar!(
        "-- agent_secrets::get
        SELECT sealed FROM billing.agent_secrets WHERE agent = $1 AND name = $2",
        agent,
        name,
    )
    .fetch_optional(&store.pool)
    .await?;
    sealed
        .map(|sealed| sealer.open(&bound(agent, name), &sealed))
        .transpose()
}

/// Those of an agent, or of all.
///
/// # Errors
/// When the query fails.
pub async fn list(store: &Store, agent: Option<&str>) -> Result<Vec<Named>, Error> {
    let all = sqlx::query_as!(
        Named,
        "-- agent_secrets::list
        SELECT agent, name, set_at
        FROM billing.agent_secrets
        WHERE $1::TEXT IS NULL OR agent = $1
        ORDER BY agent, name
        LIMIT $2",
        agent,
        MOST,
    )
    .fetch_all(&store.pool)
    .await?;
    Ok(all)
}

/// Removes one; whether there was one.
///
/// # Errors
/// When the statement fails.
pub async fn remove(tx: &mut Tx, agent: &str, name: &str) -> Result<bool, Error> {
    let removed = sqlx::query!(
        "-- agent_secrets::remove
        DELETE FROM billing.agent_secrets WHERE agent = $1 AND name = $2",
        agent,
        name,
    )
    .execute(tx.connection())
    .await?;
    Ok(removed.rows_affected() > 0)
}

/// What a row is bound to: neither part can hold the slash.
fn bound(agent: &str, name: &str) -> String {
    format!("{agent}/{name}")
}
