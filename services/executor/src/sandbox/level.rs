//! How much isolation a host gives, found out by trying.

use std::path::Path;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::launcher::PROBE;
use super::spawner::Spawner;
use super::{Error, Limits, Policy};

/// Trying the launcher may take this long.
const TIMEOUT: Duration = Duration::from_secs(10);

/// Steps of a ladder, weakest first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Level {
    /// Own user id when root, own session, clean environment, limits, no new privileges; system calls refused where
    /// the kernel can.
    Process,
    /// The same, and the kernel's file, port and signal rules; system calls refused for certain.
    Landlock,
}

impl Level {
    /// Its name, as sent to the scheduler.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Process => "process",
            Self::Landlock => "landlock",
        }
    }
}

/// What trying found.
#[derive(Debug, Clone)]
pub(super) struct Probe {
    pub(super) level: Level,
    pub(super) landlock_abi: u32,
    pub(super) seccomp: bool,
    /// Why it is no higher.
    pub(super) reason: String,
}

/// What the launcher answers when it only tries.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct Report {
    pub(super) landlock_abi: u32,
    /// Why system calls cannot be refused, if they cannot.
    pub(super) seccomp: Result<(), String>,
}

pub(super) async fn probe(spawner: &Spawner, launcher: &Path, uid: Option<u32>) -> Result<Probe, Error> {
    let policy = Policy {
        parent: std::process::id(),
        uid,
        cwd: "/".into(),
        limits: Limits::default(),
        files: None,
        connect: None,
        calls: None,
    };
    let text = serde_json::to_string(&policy).map_err(|error| Error::Probe(error.to_string()))?;
    let mut command = tokio::process::Command::new(launcher);
    command.arg(PROBE).arg(text).env_clear();
    let child = spawner.spawn(command).await?;
    let output = tokio::time::timeout(TIMEOUT, child.wait_with_output())
        .await
        .map_err(|_elapsed| Error::Probe("the launcher did not answer".to_owned()))?
        .map_err(|error| Error::Probe(error.to_string()))?;
    let said = String::from_utf8_lossy(&output.stderr).trim().to_owned();
    if !output.status.success() {
        return Err(Error::Probe(format!("{}: {said}", output.status)));
    }
    let report: Report = serde_json::from_slice(&output.stdout)
        .map_err(|error| Error::Probe(format!("the launcher's answer cannot be read: {error}: {said}")))?;
    let (level, reason) = match (report.landlock_abi, &report.seccomp) {
        (0, _) => (
            Level::Process,
            "this kernel has no Landlock, or it is switched off".to_owned(),
        ),
        (_, Err(reason)) => (
            Level::Process,
            format!("system calls cannot be refused (seccomp): {reason}"),
        ),
        _ => (Level::Landlock, String::new()),
    };
    Ok(Probe {
        level,
        landlock_abi: report.landlock_abi,
        seccomp: report.seccomp.is_ok(),
        reason,
    })
}
