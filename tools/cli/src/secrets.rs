//! Who gets which secret: one table for the local stack and for compose, and the folder made from it.
//!
//! A folder of secrets has `origin/NAME` (each secret once, random, never replaced) and `SERVICE/NAME` (what one
//! service may read, made from the origins). A service is given its own subfolder and nothing else.

use std::collections::BTreeMap;
use std::os::unix::fs::chown;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result};
use outbound::Url;

use crate::args::stack::Owner;
use crate::private;

/// What a file holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Content {
    /// The origin of this name.
    Origin(&'static str),
    /// The database's address, as this role with its own password.
    DatabaseUrl(&'static str),
    /// The database's address as its owner.
    OwnerUrl,
    /// Redis' address with its password.
    RedisUrl,
    /// Redis' own configuration with its password.
    RedisConf,
    /// This text until the operator puts in their own.
    Given(&'static str),
}

/// One file of one service.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Entry {
    /// Subfolder: who may read it.
    pub service: &'static str,
    /// Path below it.
    pub name: &'static str,
    /// What is in it.
    pub content: Content,
    /// Others than the owner may read it: an official image drops its rights before it does.
    pub open: bool,
}

/// Role passwords, tokens and keys; each is made once.
pub const ORIGINS: [&str; 13] = [
    "postgres_password",
    "redis_password",
    "ingress_password",
    "scheduler_password",
    "billing_password",
    "backup_password",
    "webhook_key",
    "marketplace_key",
    "executor_token",
    "operator_token",
    "viewer_token",
    "billing_token",
    "secrets_key",
];

/// What stands for a provider's key while models are played by the simulator.
pub const PLACEHOLDER: &str = "simulated";

/// Every file of every service.
pub const LAYOUT: [Entry; 29] = [
    entry("postgres", "superuser_password", Content::Origin("postgres_password")).open(),
    entry("redis", "redis.conf", Content::RedisConf).open(),
    entry("migrate", "database_url", Content::OwnerUrl),
    entry("migrate", "passwords/ingress", Content::Origin("ingress_password")),
    entry("migrate", "passwords/scheduler", Content::Origin("scheduler_password")),
    entry("migrate", "passwords/billing", Content::Origin("billing_password")),
    entry("migrate", "passwords/backup", Content::Origin("backup_password")),
    entry("ingress", "database_url", Content::DatabaseUrl("ingress")),
    entry("ingress", "redis_url", Content::RedisUrl),
    entry("ingress", "webhook_key", Content::Origin("webhook_key")),
    entry("scheduler", "database_url", Content::DatabaseUrl("scheduler")),
    entry("scheduler", "redis_url", Content::RedisUrl),
    entry("scheduler", "webhook_key", Content::Origin("webhook_key")),
    entry("scheduler", "marketplace_key", Content::Origin("marketplace_key")),
    entry("scheduler", "executor_token", Content::Origin("executor_token")),
    entry("scheduler", "operator_token", Content::Origin("operator_token")),
    entry("scheduler", "viewer_token", Content::Origin("viewer_token")),
    entry("scheduler", "billing_token", Content::Origin("billing_token")),
    entry("billing", "database_url", Content::DatabaseUrl("billing")),
    entry("billing", "scheduler_token", Content::Origin("billing_token")),
    entry("billing", "operator_token", Content::Origin("operator_token")),
    entry("billing", "viewer_token", Content::Origin("viewer_token")),
    entry("billing", "secrets_key", Content::Origin("secrets_key")),
    entry("billing", "provider_api_key", Content::Given(PLACEHOLDER)),
    entry("billing", "anthropic_api_key", Content::Given(PLACEHOLDER)),
    entry("executor", "scheduler_token", Content::Origin("executor_token")),
    entry("console", "operator_token", Content::Origin("operator_token")),
    entry("operator", "token", Content::Origin("operator_token")),
    entry("backup", "database_url", Content::DatabaseUrl("backup")),
];

const fn entry(service: &'static str, name: &'static str, content: Content) -> Entry {
    Entry {
        service,
        name,
        content,
        open: false,
    }
}

impl Entry {
    const fn open(mut self) -> Self {
        self.open = true;
        self
    }
}

/// Where the servers are that addresses lead to.
#[derive(Debug, Clone)]
pub struct Places {
    /// The database's address as its owner; user and password are replaced per role.
    pub database: Url,
    /// Redis' address, password included.
    pub redis: Url,
}

/// A folder of secrets.
#[derive(Debug, Clone)]
pub struct Vault {
    root: PathBuf,
    origins: BTreeMap<&'static str, String>,
}

impl Vault {
    /// Opens a folder; makes it and every origin that is missing.
    ///
    /// # Errors
    /// The folder cannot be written, or an origin is empty.
    pub fn open(root: &Path) -> Result<Self> {
        private::folder(root, private::PRIVATE)?;
        let folder = root.join("origin");
        private::folder(&folder, private::PRIVATE)?;
        let mut origins = BTreeMap::new();
        for name in ORIGINS {
            let path = folder.join(name);
            let value = match private::read(&path)? {
                Some(text) => text.trim().to_owned(),
                None => {
                    let value = private::random()?;
                    private::write(&path, value.as_bytes(), 0o600)?;
                    value
                }
            };
            if value.is_empty() {
                anyhow::bail!(
                    "{} is empty: put the secret back, or remove the file for a new one",
                    path.display()
                );
            }
            origins.insert(name, value);
        }
        Ok(Self {
            root: root.to_owned(),
            origins,
        })
    }

    /// A secret by its origin's name; empty for a name that is not in [`ORIGINS`].
    #[must_use]
    pub fn origin(&self, name: &str) -> &str {
        self.origins.get(name).map_or("", String::as_str)
    }

    /// Where a service finds a file of its own.
    #[must_use]
    pub fn path(&self, service: &str, name: &str) -> PathBuf {
        self.root.join(service).join(name)
    }

    /// Writes the files of a service that are missing or, with `refresh`, no longer true. What the operator gave stays.
    /// As root, `owner` gets them. Returns the names of files written.
    ///
    /// # Errors
    /// A file cannot be written or given away.
    pub fn fill(&self, service: &str, places: &Places, owner: Option<Owner>, refresh: bool) -> Result<Vec<String>> {
        let folder = self.root.join(service);
        let give = |path: &Path| match owner {
            Some(owner) => chown(path, Some(owner.uid), Some(owner.gid))
                .with_context(|| format!("give {} to {}:{}", path.display(), owner.uid, owner.gid)),
            None => Ok(()),
        };
        let mut written = Vec::new();
        for entry in LAYOUT.iter().filter(|entry| entry.service == service) {
            let path = folder.join(entry.name);
            let inner = path.parent().unwrap_or(&folder);
            let mode = if entry.open { 0o755 } else { private::PRIVATE };
            if !inner.is_dir() {
                private::folder(inner, mode)?;
                give(inner)?;
                give(&folder)?;
            }
            let value = self.value(entry.content, places)?;
            let stale = match private::read(&path)? {
                None => true,
                Some(_) if matches!(entry.content, Content::Given(_)) => false,
                Some(there) => refresh && there != value,
            };
            if stale {
                private::write(&path, value.as_bytes(), if entry.open { 0o444 } else { 0o400 })?;
                give(&path)?;
                written.push(format!("{service}/{}", entry.name));
            }
        }
        Ok(written)
    }

    fn value(&self, content: Content, places: &Places) -> Result<String> {
        Ok(match content {
            Content::Origin(name) => self.origin(name).to_owned(),
            Content::Given(text) => text.to_owned(),
            Content::OwnerUrl => places.database.to_string(),
            Content::RedisUrl => places.redis.to_string(),
            Content::DatabaseUrl(role) => {
                let password = self.origin(&format!("{role}_password")).to_owned();
                let mut url = places.database.clone();
                url.set_username(role)
                    .and_then(|()| url.set_password(Some(&password)))
                    .map_err(|()| {
                        anyhow::anyhow!("the database's address has no place for a user: write postgres://…")
                    })?;
                url.to_string()
            }
            Content::RedisConf => format!(
                "requirepass {}\nappendonly yes\nappendfsync everysec\nsave \"\"\nmaxmemory-policy noeviction\n",
                self.origin("redis_password")
            ),
        })
    }
}

/// Fills a folder for compose, where the servers are named `postgres` and `redis`. Whatever is there stays.
///
/// # Errors
/// As [`Vault::open`] and [`Vault::fill`].
pub fn fill_for_compose(root: &Path, owner: Option<Owner>) -> Result<Vec<String>> {
    let vault = Vault::open(root)?;
    let places = Places {
        database: address(&format!(
            "postgres://postgres:{}@postgres:5432/steward",
            vault.origin("postgres_password")
        ))?,
        redis: address(&format!("redis://:{}@redis:6379", vault.origin("redis_password")))?,
    };
    let mut written = Vec::new();
    for service in services() {
        written.extend(vault.fill(service, &places, owner, false)?);
    }
    // Services of other users pass through to their own subfolders; they cannot list or read the rest.
    private::folder(root, private::PASSABLE)?;
    Ok(written)
}

/// Everybody who has files, once each.
#[must_use]
pub fn services() -> Vec<&'static str> {
    let mut names: Vec<_> = LAYOUT.iter().map(|entry| entry.service).collect();
    names.dedup();
    names
}

/// Reads an address, without repeating it in the error: it may hold a password.
///
/// # Errors
/// When it is none.
pub fn address(text: &str) -> Result<Url> {
    text.trim()
        .parse()
        .map_err(|_| anyhow::anyhow!("an address cannot be read: write scheme://user:password@host:port/name"))
}
