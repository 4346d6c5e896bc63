//! Agent versions: each a bundle named by the SHA-256 of its bytes, which lie in the object store.

use chrono::{DateTime, Utc};
use serde_json::Value;

use crate::{Error, Store, Tx};

/// One version.
#[derive(Debug, Clone)]
pub struct Bundle {
    /// Its name, hex.
    pub sha256: String,
    /// Whose.
    pub agent: String,
    /// Size.
    pub bytes: i64,
    /// The agent file it came with.
    pub spec: Value,
    /// What people call it.
    pub label: Option<String>,
    /// When it was added.
    pub added_at: DateTime<Utc>,
}

/// Keeps a version; answers false when it was there already. Its age begins anew, and it keeps its label unless it gets
/// a new one.
///
/// # Errors
/// When the insert fails.
pub async fn put(
    tx: &mut Tx,
    sha256: &str,
    agent: &str,
    bytes: i64,
    spec: &Value,
    label: Option<&str>,
) -> Result<bool, Error> {
    let added = sqlx::query_scalar!(
        r#"-- bundles::put
        INSERT INTO scheduler.bundles AS b (sha256, agent, bytes, spec, label) VALUES ($1, $2, $3, $4, $5)
        ON CONFLICT (sha256) DO UPDATE SET added_at = now(), label = COALESCE(excluded.label, b.label)
        RETURNING (xmax = 0) AS "fresh!""#,
        sha256,
        agent,
        bytes,
        spec,
        label,
    )
    .fetch_one(tx.connection())
    .await?;
    Ok(added)
}

/// The agent file of one version.
///
/// # Errors
/// [`Error::NotFound`] when there is none.
pub async fn get(store: &Store, sha256: &str) -> Result<Bundle, Error> {
    let bundle = sqlx::query_as!(
        Bundle,
        "-- bundles::get
        SELECT sha256, agent, bytes, spec, label, added_at FROM scheduler.bundles WHERE sha256 = $1",
        sha256,
    )
    .fetch_optional(&store.pool)
    .await?;
    bundle.ok_or_else(|| Error::NotFound {
        what: "agent version",
        key: sha256.to_owned(),
    })
}

/// The versions of an agent, the newest first.
///
/// # Errors
/// When the query fails.
pub async fn of_agent(store: &Store, agent: &str, limit: i64) -> Result<Vec<Bundle>, Error> {
    let bundles = sqlx::query_as!(
        Bundle,
        "-- bundles::of_agent
        SELECT sha256, agent, bytes, spec, label, added_at
        FROM scheduler.bundles
        WHERE agent = $1
        ORDER BY added_at DESC, sha256
        LIMIT $2",
        agent,
        limit,
    )
    .fetch_all(&store.pool)
    .await?;
    Ok(bundles)
}
