//! Migrations: a step of its own, forward only, and the check every service makes at its start.

use std::str::FromStr as _;

use secrecy::{ExposeSecret as _, SecretString};
use sqlx::{
    AssertSqlSafe, ConnectOptions as _, Connection as _, PgConnection, Row as _, migrate::Migrator,
    postgres::PgConnectOptions,
};

use crate::{Error, Store};

static MIGRATOR: Migrator = sqlx::migrate!("./migrations");

/// The schema this release brings, and the least it can work with.
pub const SCHEMA_VERSION: i32 = 13;
/// A service of this release starts from this schema on.
pub const REQUIRED_VERSION: i32 = 13;

/// The roles, each with only its rights.
pub const ROLES: [&str; 4] = ["ingress", "scheduler", "billing", "backup"];

/// How often roles are set when another migration of the server sets them at the same time.
const ROLE_ATTEMPTS: u32 = 20;
const ROLE_PAUSE: std::time::Duration = std::time::Duration::from_millis(10);

/// Passwords of the four roles. A role without one keeps what it has.
#[derive(Debug, Clone, Default)]
pub struct RolePasswords {
    /// (role, password)
    pub passwords: Vec<(&'static str, SecretString)>,
}

/// What a migration did.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outcome {
    /// The schema is now at this version.
    Migrated(i32),
    /// The schema is newer than this release and compatible with it: nothing was touched.
    NewerAndCompatible(i32),
}

/// Brings the database behind `url` (the owner's, never through a pooler) to this release's schema. Roles are made
/// where missing; passwords are set where given. Safe to run at the same time from several places.
///
/// # Errors
/// When the schema is newer and no longer compatible with this release, or a migration fails.
pub async fn run(url: &SecretString, roles: &RolePasswords) -> Result<Outcome, Error> {
    let options = PgConnectOptions::from_str(url.expose_secret()).map_err(|_| Error::Url)?;
    let mut connection = options
        .application_name("steward migrate")
        .log_slow_statements(log_level(), slow())
        .connect()
        .await?;
    ensure_roles(&mut connection, roles).await?;
    if let Some((version, min_compatible)) = installed(&mut connection).await?
        && version > SCHEMA_VERSION
    {
        if min_compatible > SCHEMA_VERSION {
            return Err(too_new(version, min_compatible));
        }
        return Ok(Outcome::NewerAndCompatible(version));
    }
    MIGRATOR
        .run_direct(None, &mut connection, false)
        .await
        .map_err(|error| Error::Schema(format!("migrating failed: {error}")))?;
    connection.close().await?;
    Ok(Outcome::Migrated(SCHEMA_VERSION))
}

/// Names this release's schema: another number as soon as any migration is added or edited. For caches of migrated
/// databases.
pub fn fingerprint() -> u64 {
    let checksums = MIGRATOR.iter().flat_map(|migration| migration.checksum.iter());
    // FNV-1a: stable from one build to the next.
    checksums.fold(0xcbf2_9ce4_8422_2325, |hash, byte| {
        (hash ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3)
    })
}

fn log_level() -> tracing::log::LevelFilter {
    tracing::log::LevelFilter::Off
}

fn slow() -> std::time::Duration {
    std::time::Duration::from_secs(1)
}

/// Roles belong to the whole server and locks to one database, so when two databases of a server are migrated at once
/// one of them loses; it looks again.
async fn ensure_roles(connection: &mut PgConnection, roles: &RolePasswords) -> Result<(), Error> {
    let mut attempt = 1;
    loop {
        match set_roles(connection, roles).await {
            Err(error) if attempt < ROLE_ATTEMPTS && is_role_race(&error) => {
                tokio::time::sleep(ROLE_PAUSE * attempt).await;
                attempt += 1;
            }
            other => return other.map_err(Error::from),
        }
    }
}

fn is_role_race(error: &sqlx::Error) -> bool {
    let code = error.as_database_error().and_then(|error| error.code());
    // unique_violation and duplicate_object: it was made meanwhile; XX000: "tuple concurrently updated".
    matches!(code.as_deref(), Some("23505" | "42710" | "XX000"))
}

async fn set_roles(connection: &mut PgConnection, roles: &RolePasswords) -> Result<(), sqlx::Error> {
    let mut tx = connection.begin().await?;
    for role in ROLES {
        let exists: bool = sqlx::query("SELECT EXISTS (SELECT FROM pg_roles WHERE rolname = $1)")
            .bind(role)
            .fetch_one(&mut *tx)
            .await?
            .get(0);
        if !exists {
            sqlx::query(AssertSqlSafe(format!("CREATE ROLE {role} LOGIN")))
                .execute(&mut *tx)
                .await?;
        }
    }
    for (role, password) in &roles.passwords {
        let quoted: String = sqlx::query("SELECT format('ALTER ROLE %I PASSWORD %L', $1::text, $2::text)")
            .bind(role)
            .bind(password.expose_secret())
            .fetch_one(&mut *tx)
            .await?
            .get(0);
        sqlx::query(AssertSqlSafe(quoted)).execute(&mut *tx).await?;
    }
    tx.commit().await
}

async fn installed(connection: &mut PgConnection) -> Result<Option<(i32, i32)>, Error> {
    let there: bool = sqlx::query("SELECT to_regclass('steward.schema_info') IS NOT NULL")
        .fetch_one(&mut *connection)
        .await?
        .get(0);
    if !there {
        return Ok(None);
    }
    let row = sqlx::query("SELECT schema_version, min_compatible FROM steward.schema_info")
        .fetch_optional(connection)
        .await?;
    Ok(row.map(|row| (row.get(0), row.get(1))))
}

fn too_new(version: i32, min_compatible: i32) -> Error {
    Error::Schema(format!(
        "the database has schema {version}, which needs a release of at least schema {min_compatible}; \
         this release has schema {SCHEMA_VERSION}: start a newer release"
    ))
}

impl Store {
    /// Refuses a schema this release cannot work with.
    ///
    /// # Errors
    /// [`Error::Schema`] that says whether to migrate or to start a newer release.
    pub async fn check_schema(&self) -> Result<(), Error> {
        let mut connection = self.pool.acquire().await?;
        let Some((version, min_compatible)) = installed(&mut connection).await? else {
            return Err(Error::Schema(
                "the database has no schema yet: run `steward migrate` first".to_owned(),
            ));
        };
        if version < REQUIRED_VERSION {
            return Err(Error::Schema(format!(
                "the database has schema {version}, this release needs {REQUIRED_VERSION}: run `steward migrate` first"
            )));
        }
        if min_compatible > SCHEMA_VERSION {
            return Err(too_new(version, min_compatible));
        }
        Ok(())
    }
}
