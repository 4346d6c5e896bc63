//! What secrets are known by where none may be known: keyed digests, for the scan of what goes out.
//!
//! Whoever keeps a secret notes it here. The key is made of the token scheduler and billing share; with another token
//! both note everything anew at their start, and what the old key made is passed over.

use std::time::Duration;

use aws_lc_rs::{digest, hmac};
use domain::secret_scan::{LONGEST, Roll, SHORTEST};

use crate::{Error, Store, Tx};

/// Read at once; more are an error, never a silent cut.
const MOST: i64 = 200_000;

/// Makes digests and the short hashes that find where one is worth a look.
pub struct ScanKey {
    id: [u8; 16],
    roll: Roll,
    key: hmac::Key,
}

/// Whose secret it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// An agent's key of the marketplace.
    Marketplace,
    /// What an agent's webhooks are signed with.
    Webhook,
    /// The operator's key at a provider of models.
    Provider,
    /// An agent's own.
    Agent,
}

/// A secret as others may know it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Known {
    /// Whose.
    pub kind: Kind,
    /// The agent, or the provider.
    pub owner: String,
    /// Which of the owner's.
    pub name: String,
    /// Bytes that are digested.
    pub length: usize,
    /// Their short hash.
    pub print: u32,
    /// Their digest.
    pub digest: [u8; 32],
}

/// Which secret.
#[derive(Debug, Clone, Copy)]
pub struct Which<'a> {
    /// Whose.
    pub kind: Kind,
    /// The agent, or the provider.
    pub owner: &'a str,
    /// Which of the owner's.
    pub name: &'a str,
}

impl std::fmt::Debug for ScanKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("ScanKey").finish_non_exhaustive()
    }
}

impl ScanKey {
    /// The key of those who share this token.
    #[must_use]
    pub fn of_token(token: &str) -> Self {
        let derived = |what: &str| {
            let mut context = digest::Context::new(&digest::SHA256);
            context.update(b"steward known secrets v1\0");
            context.update(what.as_bytes());
            context.update(b"\0");
            context.update(token.as_bytes());
            let mut bytes = [0; 32];
            bytes.copy_from_slice(context.finish().as_ref());
            bytes
        };
        let mut id = [0; 16];
        id.copy_from_slice(&derived("id")[..16]);
        let mut base = [0; 8];
        base.copy_from_slice(&derived("roll")[..8]);
        Self {
            id,
            roll: Roll::new(u64::from_be_bytes(base)),
            key: hmac::Key::new(hmac::HMAC_SHA256, &derived("digest")),
        }
    }

    /// The hash that rolls.
    #[must_use]
    pub fn roll(&self) -> Roll {
        self.roll
    }

    /// The digest of some bytes.
    #[must_use]
    pub fn digest(&self, bytes: &[u8]) -> [u8; 32] {
        let mut digest = [0; 32];
        digest.copy_from_slice(hmac::sign(&self.key, bytes).as_ref());
        digest
    }
}

impl Kind {
    fn as_str(self) -> &'static str {
        match self {
            Self::Marketplace => "marketplace",
            Self::Webhook => "webhook",
            Self::Provider => "provider",
            Self::Agent => "agent",
        }
    }

    fn parse(text: &str) -> Option<Self> {
        [Self::Marketplace, Self::Webhook, Self::Provider, Self::Agent]
            .into_iter()
            .find(|kind| kind.as_str() == text)
    }
}

/// What of a secret is digested: of a long one, its beginning.
#[must_use]
pub fn looked_at(secret: &str) -> &[u8] {
    let secret = secret.as_bytes();
    secret.get(..secret.len().min(LONGEST)).unwrap_or_default()
}

/// Notes a secret. Too short a one is found in any text, and is not noted. Noting it again keeps it for good. What else
/// has this name is forgotten after `others`, if that is said.
///
/// # Errors
/// When a statement fails.
pub async fn note(
    tx: &mut Tx,
    key: &ScanKey,
    which: Which<'_>,
    secret: &str,
    others: Option<Duration>,
) -> Result<(), Error> {
    if let Some(keep) = others {
        forget(tx, which, keep).await?;
    }
    let looked_at = looked_at(secret);
    if looked_at.len() < SHORTEST {
        return Ok(());
    }
    let digest = key.digest(looked_at);
    // A new row, with a number of its own: who saw it end learns that it is back.
    sqlx::query!(
        "-- known_secrets::note clear
        DELETE FROM steward.known_secrets WHERE kind = $1 AND owner = $2 AND name = $3 AND digest = $4",
        which.kind.as_str(),
        which.owner,
        which.name,
        digest.as_slice(),
    )
    .execute(tx.connection())
    .await?;
    sqlx::query!(
        "-- known_secrets::note
        INSERT INTO steward.known_secrets (kind, owner, name, key_id, length, print, digest)
        VALUES ($1, $2, $3, $4, $5, $6, $7)
        ON CONFLICT (kind, owner, name, digest) DO UPDATE SET forget_at = NULL",
        which.kind.as_str(),
        which.owner,
        which.name,
        key.id.as_slice(),
        i32::try_from(looked_at.len()).unwrap_or(i32::MAX),
        i64::from(key.roll.print(looked_at)),
        digest.as_slice(),
    )
    .execute(tx.connection())
    .await?;
    Ok(())
}

/// Whether this very secret is noted for good.
///
/// # Errors
/// When the query fails.
pub async fn is_noted(store: &Store, key: &ScanKey, which: Which<'_>, secret: &str) -> Result<bool, Error> {
    let looked_at = looked_at(secret);
    if looked_at.len() < SHORTEST {
        return Ok(true);
    }
    let digest = key.digest(looked_at);
    let noted = sqlx::query_scalar!(
        r#"-- known_secrets::is_noted
        SELECT EXISTS (
            SELECT FROM steward.known_secrets
            WHERE kind = $1 AND owner = $2 AND name = $3 AND digest = $4 AND forget_at IS NULL
        ) AS "noted!""#,
        which.kind.as_str(),
        which.owner,
        which.name,
        digest.as_slice(),
    )
    .fetch_one(&store.pool)
    .await?;
    Ok(noted)
}

/// Forgets what has this name after a while, and what is past its time at once.
///
/// # Errors
/// When a statement fails.
pub async fn forget(tx: &mut Tx, which: Which<'_>, keep: Duration) -> Result<(), Error> {
    sqlx::query!(
        "-- known_secrets::forget
        UPDATE steward.known_secrets
        SET forget_at = LEAST(forget_at, now() + make_interval(secs => $4))
        WHERE kind = $1 AND owner = $2 AND name = $3",
        which.kind.as_str(),
        which.owner,
        which.name,
        keep.as_secs_f64(),
    )
    .execute(tx.connection())
    .await?;
    sqlx::query!(
        "-- known_secrets::forget past
        DELETE FROM steward.known_secrets WHERE forget_at < now()",
    )
    .execute(tx.connection())
    .await?;
    Ok(())
}

/// Forgets the other secrets of this kind and owner after a while.
///
/// # Errors
/// When the statement fails.
pub async fn forget_others(tx: &mut Tx, kind: Kind, owner: &str, but: &str, keep: Duration) -> Result<(), Error> {
    sqlx::query!(
        "-- known_secrets::forget_others
        UPDATE steward.known_secrets
        SET forget_at = LEAST(forget_at, now() + make_interval(secs => $4))
        WHERE kind = $1 AND owner = $2 AND name <> $3",
        kind.as_str(),
        owner,
        but,
        keep.as_secs_f64(),
    )
    .execute(tx.connection())
    .await?;
    Ok(())
}

/// The last number there is: a higher one than before means news.
///
/// # Errors
/// When the query fails.
pub async fn last(store: &Store) -> Result<i64, Error> {
    last_of(&store.pool).await
}

/// The same, inside a transaction.
///
/// # Errors
/// When the query fails.
pub async fn last_within(tx: &mut Tx) -> Result<i64, Error> {
    last_of(tx.connection()).await
}

async fn last_of(executor: impl sqlx::PgExecutor<'_>) -> Result<i64, Error> {
    let last = sqlx::query_scalar!(
        r#"-- known_secrets::last
        SELECT COALESCE(max(seq), 0) AS "last!" FROM steward.known_secrets"#,
    )
    .fetch_one(executor)
    .await?;
    Ok(last)
}

/// All that this key made and that is not past its time.
///
/// # Errors
/// When the query fails, or there are more than one process can hold.
pub async fn all(store: &Store, key: &ScanKey) -> Result<Vec<Known>, Error> {
    all_of(&store.pool, key).await
}

/// The same, inside a transaction.
///
/// # Errors
/// As [`all`].
pub async fn all_within(tx: &mut Tx, key: &ScanKey) -> Result<Vec<Known>, Error> {
    all_of(tx.connection(), key).await
}

async fn all_of(executor: impl sqlx::PgExecutor<'_>, key: &ScanKey) -> Result<Vec<Known>, Error> {
    let rows = sqlx::query!(
        "-- known_secrets::all
        SELECT kind, owner, name, length, print, digest
        FROM steward.known_secrets
        WHERE key_id = $1 AND (forget_at IS NULL OR forget_at > now())
        ORDER BY seq
        LIMIT $2",
        key.id.as_slice(),
        MOST + 1,
    )
    .fetch_all(executor)
    .await?;
    let corrupt = |key: &str, why: &str| Error::Corrupt {
        what: "known secret",
        key: key.to_owned(),
        why: why.to_owned(),
    };
    if i64::try_from(rows.len()).is_ok_and(|rows| rows > MOST) {
        return Err(corrupt("", "there are more than can be looked for"));
    }
    let all = rows.into_iter().map(|row| {
        let wrong = || corrupt(&row.owner, "its figures cannot be read");
        Ok(Known {
            kind: Kind::parse(&row.kind).ok_or_else(wrong)?,
            length: usize::try_from(row.length).map_err(|_| wrong())?,
            print: u32::try_from(row.print).map_err(|_| wrong())?,
            digest: row.digest.as_slice().try_into().map_err(|_| wrong())?,
            name: row.name.clone(),
            owner: row.owner.clone(),
        })
    });
    all.collect()
}
