//! What people should know: one row per kind and key while it stands.

use chrono::{DateTime, Utc};
use uuid::Uuid;

use crate::{Error, Store, Tx};

/// Standing notices read at once.
const MOST: i64 = 500;

/// A standing notice.
#[derive(Debug, Clone)]
pub struct Notice {
    /// Its id.
    pub id: Uuid,
    /// What sort of thing.
    pub kind: String,
    /// About what.
    pub key: String,
    /// A sentence for people.
    pub body: String,
    /// Since when.
    pub raised_at: DateTime<Utc>,
}

/// Raises a notice; one that stands already gets the new text and keeps its time. Answers whether it is new.
///
/// # Errors
/// When the insert fails.
pub async fn raise(tx: &mut Tx, kind: &str, key: &str, body: &str) -> Result<bool, Error> {
    let fresh = sqlx::query_scalar!(
        r#"-- notices::raise
        INSERT INTO scheduler.notices (id, kind, key, body)
        VALUES ($1, $2, $3, $4)
        ON CONFLICT (kind, key) WHERE resolved_at IS NULL DO UPDATE SET body = excluded.body
        RETURNING (xmax = 0) AS "fresh!""#,
        Uuid::now_v7(),
        kind,
        key,
        body,
    )
    .fetch_one(tx.connection())
    .await?;
    Ok(fresh)
}

/// Whether a notice stands.
///
/// # Errors
/// When the query fails.
pub async fn stands(tx: &mut Tx, kind: &str, key: &str) -> Result<bool, Error> {
    let stands = sqlx::query_scalar!(
        r#"-- notices::stands
        SELECT EXISTS (
            SELECT FROM scheduler.notices WHERE kind = $1 AND key = $2 AND resolved_at IS NULL
        ) AS "stands!""#,
        kind,
        key,
    )
    .fetch_one(tx.connection())
    .await?;
    Ok(stands)
}

/// Resolves a notice. Answers whether one stood.
///
/// # Errors
/// When the update fails.
pub async fn resolve(tx: &mut Tx, kind: &str, key: &str) -> Result<bool, Error> {
    let resolved = sqlx::query!(
        "-- notices::resolve
        UPDATE scheduler.notices
        SET resolved_at = now()
        WHERE kind = $1 AND key = $2 AND resolved_at IS NULL",
        kind,
        key,
    )
    .execute(tx.connection())
    .await?;
    Ok(resolved.rows_affected() == 1)
}

/// Resolves a notice about a contract, whose attention then says what still stands instead. Answers whether one stood.
///
/// # Errors
/// When an update fails.
pub async fn resolve_of_contract(tx: &mut Tx, kind: &str, contract: Uuid) -> Result<bool, Error> {
    let body = sqlx::query_scalar!(
        "-- notices::resolve_of_contract
        UPDATE scheduler.notices
        SET resolved_at = now()
        WHERE kind = $1 AND key = $2 AND resolved_at IS NULL
        RETURNING body",
        kind,
        contract.to_string(),
    )
    .fetch_optional(tx.connection())
    .await?;
    if let Some(body) = &body {
        forget(tx, contract, body).await?;
    }
    Ok(body.is_some())
}

/// Resolves the standing notice with this id; answers it as it was. Where it was about a contract, that one's attention
/// then says what still stands instead.
///
/// # Errors
/// [`Error::NotFound`] when no such notice stands.
pub async fn resolve_one(tx: &mut Tx, id: Uuid) -> Result<Notice, Error> {
    let notice = sqlx::query_as!(
        Notice,
        "-- notices::resolve_one
        UPDATE scheduler.notices
        SET resolved_at = now()
        WHERE id = $1 AND resolved_at IS NULL
        RETURNING id, kind, key, body, raised_at",
        id,
    )
    .fetch_optional(tx.connection())
    .await?;
    let notice = notice.ok_or_else(|| Error::NotFound {
        what: "standing notice",
        key: id.to_string(),
    })?;
    if let Ok(contract) = Uuid::try_parse(&notice.key) {
        forget(tx, contract, &notice.body).await?;
    }
    Ok(notice)
}

/// The notices that stand, oldest first.
///
/// # Errors
/// When the query fails.
pub async fn standing(store: &Store) -> Result<Vec<Notice>, Error> {
    let notices = sqlx::query_as!(
        Notice,
        "-- notices::standing
        SELECT id, kind, key, body, raised_at
        FROM scheduler.notices
        WHERE resolved_at IS NULL
        ORDER BY raised_at
        LIMIT $1",
        MOST,
    )
    .fetch_all(&store.pool)
    .await?;
    Ok(notices)
}

/// Takes a resolved notice's words off its contract.
async fn forget(tx: &mut Tx, contract: Uuid, body: &str) -> Result<(), Error> {
    sqlx::query!(
        "-- notices::forget
        UPDATE scheduler.contracts
        SET attention = (
                SELECT body FROM scheduler.notices
                WHERE key = $1::UUID::TEXT AND resolved_at IS NULL
                ORDER BY raised_at DESC
                LIMIT 1
            ),
            updated_at = now(), updated_by = $3
        WHERE id = $1 AND attention = $2",
        contract,
        body,
        tx.name,
    )
    .execute(tx.connection())
    .await?;
    Ok(())
}
