//! How much isolation a host gives, found out by trying.

use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::process::Stdio;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::launcher::PROBE;
use super::spawner::Spawner;
use super::{Calls, Error, Files, Limits, Policy, receive};

/// Trying the launcher may take this long.
const TIMEOUT: Duration = Duration::from_secs(10);
/// Where a run's gateway listens in a network of its own. Nobody else is there.
pub const GATEWAY_PORT: u16 = 8087;
/// From this version on Landlock has rules for ports.
pub const PORTS: u32 = 4;
/// From this version on it has rules for signals and for sockets without a path.
const SIGNALS: u32 = 6;
/// Where its way to allowed hosts listens, there too.
pub const PROXY_PORT: u16 = 8086;

/// Steps of a ladder, weakest first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Level {
    /// Own user id when root, own session, clean environment, limits, no new privileges; system calls refused where
    /// the kernel can.
    Process,
    /// The same, and the kernel's file, port and signal rules; system calls refused for certain.
    Landlock,
    /// The same in user, mount, process, network, message and name spaces of its own, with a root folder that holds
    /// nothing else and a network that holds its gateway alone.
    Namespaces,
}

impl Level {
    /// Its name, as sent to the scheduler.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Process => "process",
            Self::Landlock => "landlock",
            Self::Namespaces => "namespaces",
        }
    }
}

/// What trying found.
#[derive(Debug, Clone)]
pub(super) struct Probe {
    pub(super) level: Level,
    pub(super) landlock_abi: u32,
    /// Whether its rules about files are used.
    pub(super) files: bool,
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

/// Tries each level up to `most`.
pub(super) async fn probe(spawner: &Spawner, launcher: &Path, most: Level, uid: Option<u32>) -> Result<Probe, Error> {
    let mut policy = Policy {
        parent: std::process::id(),
        uid,
        cwd: "/".into(),
        limits: Limits::default(),
        files: None,
        connect: None,
        calls: None,
        spaces: false,
    };
    let (stdout, said) = ask(spawner, launcher, &policy, Stdio::null())
        .await
        .map_err(Error::Probe)?;
    let report: Report = serde_json::from_slice(&stdout)
        .map_err(|error| Error::Probe(format!("the launcher's answer cannot be read: {error}: {said}")))?;
    let (mut level, mut reason) = match lacks(&report, uid.is_some()) {
        Some(reason) => (Level::Process, reason),
        None => (Level::Landlock, String::new()),
    };
    // A network and processes of its own need no rules about ports and signals.
    if report.landlock_abi > 0 && report.seccomp.is_ok() && most >= Level::Namespaces {
        policy.files = Some(Files::default());
        policy.connect = Some(vec![GATEWAY_PORT]);
        policy.calls = Some(Calls::default());
        policy.spaces = true;
        match ask_inside(spawner, launcher, &policy).await {
            Ok(()) => level = Level::Namespaces,
            Err(why) if reason.is_empty() => reason = format!("namespaces cannot be opened: {why}"),
            Err(why) => reason = format!("{reason}; namespaces cannot be opened: {why}"),
        }
    }
    if level >= most {
        (level, reason) = (most, String::new());
    }
    Ok(Probe {
        level,
        landlock_abi: report.landlock_abi,
        files: report.landlock_abi > 0 && most >= Level::Landlock,
        seccomp: report.seccomp.is_ok(),
        reason,
    })
}

/// What the level `landlock` needs and this kernel has not. Signals are kept apart by user ids, where runs have them.
fn lacks(report: &Report, own_user: bool) -> Option<String> {
    match (report.landlock_abi, &report.seccomp) {
        (0, _) => Some("this kernel has no Landlock, or it is switched off".to_owned()),
        (abi, _) if abi < PORTS => Some(format!(
            "this kernel's Landlock (version {abi}) has no rules about ports, so an agent could connect to anything; \
             Linux 6.7 has"
        )),
        (abi, _) if abi < SIGNALS && !own_user => Some(format!(
            "this kernel's Landlock (version {abi}) has no rules about signals, so agents under this user id could end \
             each other and the executor; Linux 6.12 has, or run the executor as root"
        )),
        (_, Err(reason)) => Some(format!("system calls cannot be refused (seccomp): {reason}")),
        _ => None,
    }
}

/// The whole way, without an agent at its end.
async fn ask_inside(spawner: &Spawner, launcher: &Path, policy: &Policy) -> Result<(), String> {
    let (near, far) = UnixStream::pair().map_err(|error| error.to_string())?;
    ask(spawner, launcher, policy, Stdio::from(OwnedFd::from(far))).await?;
    match receive(near).await {
        Ok(Some(_listeners)) => Ok(()),
        Ok(None) => Err("the launcher handed no listener out".to_owned()),
        Err(error) => Err(error.to_string()),
    }
}

/// Runs the launcher to its end. Its output and what it said on the side, or why it did not work.
async fn ask(spawner: &Spawner, launcher: &Path, policy: &Policy, stdin: Stdio) -> Result<(Vec<u8>, String), String> {
    let text = serde_json::to_string(policy).map_err(|error| error.to_string())?;
    let mut command = tokio::process::Command::new(launcher);
    command.arg(PROBE).arg(text).env_clear();
    let child = spawner.spawn(command, stdin).await.map_err(|error| error.to_string())?;
    let output = tokio::time::timeout(TIMEOUT, child.wait_with_output())
        .await
        .map_err(|_elapsed| "the launcher did not answer".to_owned())?
        .map_err(|error| error.to_string())?;
    let said = String::from_utf8_lossy(&output.stderr).trim().to_owned();
    if output.status.success() {
        Ok((output.stdout, said))
    } else {
        Err(format!("{}: {said}", output.status))
    }
}
