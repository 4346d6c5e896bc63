//! Which commit this is, and of which service.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};

use chrono::{DateTime, SecondsFormat};
use serde::Serialize;

/// What the compiler knew; made by [`crate::build_info!`] in a service's `main.rs`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Build {
    /// Version of the service's package.
    pub version: &'static str,
    /// Full commit hash, or `unknown` outside a repository.
    pub git_sha: &'static str,
    /// Unix seconds, as text.
    pub built_at: &'static str,
    /// Whether tracked files differed from the commit when the commit was read.
    pub dirty: bool,
}

/// What `/build` answers.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct BuildInfo {
    /// Name of the service.
    pub service: String,
    /// Version of the service's package.
    pub version: String,
    /// Full commit hash, or `unknown` outside a repository.
    pub git_sha: String,
    /// RFC 3339, UTC.
    pub built_at: String,
    /// Whether tracked files differed from the commit when the commit was read.
    pub dirty: bool,
}

/// What a service adds to `/build` once it knows it, such as what its machine gives.
#[derive(Debug, Clone, Default)]
pub struct Facts(Arc<Mutex<BTreeMap<&'static str, serde_json::Value>>>);

impl Facts {
    /// Adds one, under a name of its own.
    pub fn add(&self, name: &'static str, value: impl Into<serde_json::Value>) {
        self.0
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .insert(name, value.into());
    }

    /// All of them.
    #[must_use]
    pub fn all(&self) -> BTreeMap<&'static str, serde_json::Value> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

impl Build {
    /// The commit, for a package of that version.
    #[must_use]
    pub const fn of(version: &'static str) -> Self {
        Self {
            version,
            git_sha: env!("STEWARD_BUILD_SHA"),
            built_at: env!("STEWARD_BUILD_TIME"),
            dirty: matches!(env!("STEWARD_BUILD_DIRTY").as_bytes(), b"true"),
        }
    }

    /// The same under the name of a service.
    #[must_use]
    pub fn info(&self, service: &str) -> BuildInfo {
        let built_at = self
            .built_at
            .parse()
            .ok()
            .and_then(|seconds| DateTime::from_timestamp(seconds, 0));
        BuildInfo {
            service: service.to_owned(),
            version: self.version.to_owned(),
            git_sha: self.git_sha.to_owned(),
            built_at: built_at
                .map(|time| time.to_rfc3339_opts(SecondsFormat::Secs, true))
                .unwrap_or_default(),
            dirty: self.dirty,
        }
    }
}

impl std::fmt::Display for BuildInfo {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let dirty = if self.dirty { ", modified" } else { "" };
        write!(
            formatter,
            "{} {} ({}{dirty}, built {})",
            self.service, self.version, self.git_sha, self.built_at
        )
    }
}

/// The build of the calling package: its version, and the commit `boot` was compiled from.
#[macro_export]
macro_rules! build_info {
    () => {
        $crate::Build::of(env!("CARGO_PKG_VERSION"))
    };
}
