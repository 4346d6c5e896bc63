//! How the providers of models fare, told by the calls of every billing.

use chrono::{DateTime, Utc};

use crate::{Error, Store, Tx};

/// How one provider fares.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Health {
    /// Which.
    pub provider: String,
    /// Failures in a row, until a call works.
    pub failures: i32,
    /// The first of them.
    pub failing_since: Option<DateTime<Utc>>,
    /// The last of them, or of those before a call worked.
    pub last_failed_at: Option<DateTime<Utc>>,
    /// What was wrong with it, in our words.
    pub last_error: Option<String>,
}

/// Adds `failures` that came one after the other.
///
/// # Errors
/// When the row cannot be written.
pub async fn failed(tx: &mut Tx, provider: &str, failures: i32, error: &str) -> Result<(), Error> {
    sqlx::query!(
        "-- provider_health::failed
        INSERT INTO billing.provider_health AS h (provider, failures, failing_since, last_failed_at, last_error)
        VALUES ($1, $2, now(), now(), $3)
        ON CONFLICT (provider) DO UPDATE
        SET failures = LEAST(h.failures::BIGINT + $2, 1000000)::INTEGER,
            failing_since = COALESCE(h.failing_since, now()), last_failed_at = now(), last_error = $3",
        provider,
        failures,
        error,
    )
    .execute(tx.connection())
    .await?;
    Ok(())
}

/// A call worked: what failed before is over.
///
/// # Errors
/// When the row cannot be written.
pub async fn worked(tx: &mut Tx, provider: &str) -> Result<(), Error> {
    sqlx::query!(
        "-- provider_health::worked
        INSERT INTO billing.provider_health (provider, last_ok_at) VALUES ($1, now())
        ON CONFLICT (provider) DO UPDATE SET failures = 0, failing_since = NULL, last_ok_at = now()",
        provider,
    )
    .execute(tx.connection())
    .await?;
    Ok(())
}

/// All that is known.
///
/// # Errors
/// When the query fails.
pub async fn all(store: &Store) -> Result<Vec<Health>, Error> {
    let all = sqlx::query_as!(
        Health,
        "-- provider_health::all
        SELECT provider, failures, failing_since, last_failed_at, last_error
        FROM billing.provider_health
        ORDER BY provider
        LIMIT 1000",
    )
    .fetch_all(&store.pool)
    .await?;
    Ok(all)
}
