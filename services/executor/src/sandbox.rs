//! Locking an agent in: what it may read, write, reach and use, and how its processes end.
//!
//! A process is started by a launcher (this same program, started again): single-threaded, it is told a [`Policy`], gives
//! up everything the policy does not grant, and becomes the agent; or, in namespaces, stands by while a first process
//! inside does that. The executor decides, the launcher applies; a stronger isolation is a new field of the policy, a
//! step of the launcher and a [`Level`], and nothing else changes.
//!
//! What a level keeps and what it does not stands in `docs/SECURITY.md`.

#[cfg(all(target_os = "linux", any(target_arch = "x86_64", target_arch = "aarch64")))]
mod calls;
#[cfg(target_os = "linux")]
mod first;
mod groups;
#[cfg(target_os = "linux")]
mod handed;
mod launcher;
mod level;
mod policy;
mod process;
mod processes;
#[cfg(target_os = "linux")]
mod root;
#[cfg(target_os = "linux")]
mod rules;
#[cfg(target_os = "linux")]
mod spaces;
mod spawner;
mod uids;
mod weight;

use std::ops::RangeInclusive;
use std::path::PathBuf;
use std::sync::Arc;

pub use groups::{Group, Groups, Most, Usage, Where};
pub use launcher::{COMPLAINT, FAILED, launched};
pub use level::{GATEWAY_PORT, Level, PORTS, PROXY_PORT};
pub use policy::{Calls, Files, Limits, Policy};
pub use process::{Ended, Listeners, Process};
pub use processes::{Footprint, started};
pub use uids::Claim;
pub use weight::Weight;

use launcher::Order;
use level::Probe;
use spawner::{Kind, Spawner};

/// Why an agent could not be locked in.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The host gives less than the operator's minimum.
    #[error(
        "the isolation this host gives is {found:?}, isolation.minimum asks for {minimum:?}: {reason}; run on a kernel \
         with Landlock (6.7 or newer; 6.12 when not root), seccomp and user namespaces for everybody, or set isolation.minimum to less \
         (\"landlock\", \"process\") after reading docs/SECURITY.md"
    )]
    Weak {
        /// What there is.
        found: Level,
        /// What is asked for.
        minimum: Level,
        /// Why it is no more.
        reason: String,
    },
    /// The launcher does not work at all here.
    #[error(
        "probe the sandbox: {0}; as root, isolation.agent_uid_base must name user ids this machine (or container) has, and \
         the right to change to them"
    )]
    Probe(String),
    /// No user ids are left for agents.
    #[error(
        "claim user ids for {slots} slots from {base} on: {reason}; set isolation.agent_uid_base to a range of this \
         machine nobody uses"
    )]
    Uids {
        /// Ids wanted.
        slots: u32,
        /// First id.
        base: u32,
        /// What was in the way.
        reason: String,
    },
    /// A process could not be started.
    #[error("start a process: {0}")]
    Spawn(#[source] std::io::Error),
    /// The thread that starts processes is gone.
    #[error("start a process: the starting thread is gone")]
    Gone,
    /// The control group of a run could not be made.
    #[error("make a run's control group: {0}; isolation.cgroups = \"off\" does without")]
    Group(#[source] std::io::Error),
    /// The policy could not be written for the launcher.
    #[error("write the policy of a run: {0}")]
    Policy(#[source] std::io::Error),
}

/// One process to start.
#[derive(Debug)]
pub struct Launch {
    /// Program and arguments, already resolved.
    pub command: Vec<String>,
    /// The whole environment.
    pub env: Vec<(String, String)>,
    /// What it may do.
    pub policy: Policy,
    /// A path that occurs in the environment of all its processes and of no other's.
    pub marker: String,
}

/// The sandbox of this host: probed once, then used for every process.
#[derive(Debug, Clone)]
pub struct Sandbox {
    spawner: Arc<Spawner>,
    kind: Kind,
    probe: Probe,
    groups: Result<Groups, String>,
}

impl Sandbox {
    /// Tries the launcher on this host. `launcher` is this program, `uid` an agent's user id when running as root.
    /// The strongest of `levels` that works is used.
    ///
    /// # Errors
    /// A host weaker than the least of `levels`, or where the launcher does not work.
    pub async fn probe(launcher: PathBuf, levels: RangeInclusive<Level>, uid: Option<u32>) -> Result<Self, Error> {
        let spawner = Arc::new(Spawner::start().map_err(Error::Spawn)?);
        let (minimum, most) = levels.into_inner();
        let probe = level::probe(&spawner, &launcher, most, uid).await?;
        if probe.level < minimum {
            return Err(Error::Weak {
                found: probe.level,
                minimum,
                reason: probe.reason,
            });
        }
        let kind = Kind {
            launcher,
            apart: probe.level >= Level::Namespaces,
        };
        spawner.get_ready(kind.clone(), None)?;
        Ok(Self {
            spawner,
            kind,
            probe,
            groups: Err("none were asked for".to_owned()),
        })
    }

    /// The same with a control group for every process, where there are any; else why there are none.
    ///
    /// # Errors
    /// The thread that starts processes is gone.
    pub fn with_groups(mut self, groups: Result<Groups, String>) -> Result<Self, Error> {
        self.spawner.get_ready(self.kind.clone(), groups.clone().ok())?;
        self.groups = groups;
        Ok(self)
    }

    /// Leaves nothing behind: the last thing done with it.
    pub async fn close(&self) {
        self.spawner.close().await;
        if let Ok(groups) = &self.groups {
            groups.remove();
        }
    }

    /// Where control groups are made, or why there are none.
    ///
    /// # Errors
    /// The reason, in words.
    pub fn groups(&self) -> Result<&Groups, &str> {
        self.groups.as_ref().map_err(String::as_str)
    }

    /// What this host gives.
    #[must_use]
    pub fn level(&self) -> Level {
        self.probe.level
    }

    /// The version of Landlock in force; 0 without.
    #[must_use]
    pub fn landlock_abi(&self) -> u32 {
        self.probe.landlock_abi
    }

    /// Why it is not the next level.
    #[must_use]
    pub fn reason(&self) -> &str {
        &self.probe.reason
    }

    /// Whether system calls are filtered.
    #[must_use]
    pub fn seccomp(&self) -> bool {
        self.probe.seccomp
    }

    /// Starts a process inside its policy, with standard output and error on pipes and nothing on standard input.
    ///
    /// # Errors
    /// The policy cannot be written or the launcher not started. What goes wrong inside the launcher is an exit code.
    pub async fn start(&self, mut launch: Launch) -> Result<Process, Error> {
        launch.policy.parent = std::process::id();
        if !self.probe.files {
            launch.policy.files = None;
        }
        if !self.probe.seccomp {
            launch.policy.calls = None;
        }
        launch.policy.spaces &= self.probe.level >= Level::Namespaces;
        let (uid, most, apart) = (launch.policy.uid, launch.policy.most(), launch.policy.spaces);
        let order = Order {
            policy: launch.policy,
            command: launch.command,
            env: launch.env,
        };
        let started = self.spawner.launch(order, most).await?;
        let waited_for = self.spawner.waited_for().clone();
        let mut process = Process::new(started.child, uid, launch.marker, waited_for, started.group);
        if apart {
            process.listens_by(receive(started.socket).await.map_err(Error::Spawn)?);
        }
        Ok(process)
    }
}

#[cfg(target_os = "linux")]
use handed::receive;

#[cfg(not(target_os = "linux"))]
async fn receive(_socket: std::os::unix::net::UnixStream) -> std::io::Result<Option<Listeners>> {
    Ok(None)
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;

    /// A launcher that finds this.
    fn finds(report: &str) -> (tempfile::TempDir, PathBuf) {
        let root = tempfile::tempdir().unwrap();
        let path = root.path().join("launcher");
        std::fs::write(&path, format!("#!/bin/sh\necho '{report}'\n")).unwrap();
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o755)).unwrap();
        (root, path)
    }

    #[tokio::test]
    async fn a_host_weaker_than_the_minimum_is_refused_and_says_what_to_do() {
        let (_root, launcher) = finds(r#"{"landlock_abi":0,"seccomp":{"Ok":null}}"#);
        let error = Sandbox::probe(launcher.clone(), Level::Landlock..=Level::Namespaces, None)
            .await
            .unwrap_err()
            .to_string();
        for word in ["Landlock", "isolation.minimum", "SECURITY.md"] {
            assert!(error.contains(word), "{error}");
        }
        let weak = Sandbox::probe(launcher, Level::Process..=Level::Namespaces, None)
            .await
            .unwrap();
        assert_eq!((weak.level(), weak.landlock_abi()), (Level::Process, 0));
    }

    #[tokio::test]
    async fn file_rules_without_a_filter_of_system_calls_are_not_enough_for_the_level() {
        let (_root, launcher) = finds(r#"{"landlock_abi":7,"seccomp":{"Err":"not here"}}"#);
        let error = Sandbox::probe(launcher.clone(), Level::Landlock..=Level::Namespaces, None)
            .await
            .unwrap_err()
            .to_string();
        assert!(error.contains("seccomp") && error.contains("not here"), "{error}");
        let weak = Sandbox::probe(launcher, Level::Process..=Level::Namespaces, None)
            .await
            .unwrap();
        assert_eq!((weak.level(), weak.seccomp()), (Level::Process, false));
    }

    #[tokio::test]
    async fn a_kernel_without_rules_about_ports_or_without_root_about_signals_is_refused() {
        let levels = Level::Landlock..=Level::Landlock;
        for (abi, uid, missing) in [
            (3, None, Some("ports")),
            (3, Some(1_900_000_000), Some("ports")),
            (5, None, Some("signals")),
            (5, Some(1_900_000_000), None),
            (6, None, None),
        ] {
            let report = format!(r#"{{"landlock_abi":{abi},"seccomp":{{"Ok":null}}}}"#);
            let (_root, launcher) = finds(&report);
            let found = Sandbox::probe(launcher.clone(), levels.clone(), uid).await;
            match (found, missing) {
                (Ok(sandbox), None) => assert_eq!(sandbox.level(), Level::Landlock),
                (Err(error @ Error::Weak { .. }), Some(word)) => {
                    assert!(error.to_string().contains(word), "{error}");
                    let weak = Sandbox::probe(launcher, Level::Process..=Level::Landlock, uid)
                        .await
                        .unwrap();
                    assert_eq!(weak.level(), Level::Process);
                }
                (found, _) => panic!("Landlock {abi}, {uid:?}: {found:?}"),
            }
        }
    }

    #[tokio::test]
    async fn namespaces_count_only_when_the_whole_way_works() {
        let (_root, launcher) = finds(r#"{"landlock_abi":7,"seccomp":{"Ok":null}}"#);
        let levels = |least| least..=Level::Namespaces;
        let less = Sandbox::probe(launcher.clone(), levels(Level::Landlock), None)
            .await
            .unwrap();
        assert_eq!(less.level(), Level::Landlock, "nothing was handed out");
        let error = Sandbox::probe(launcher, levels(Level::Namespaces), None)
            .await
            .unwrap_err();
        assert!(error.to_string().contains("no listener"), "{error}");
    }

    #[tokio::test]
    async fn a_launcher_that_fails_is_told_with_its_own_words() {
        let error = Sandbox::probe("/bin/false".into(), Level::Process..=Level::Process, None)
            .await
            .unwrap_err();
        assert!(matches!(error, Error::Probe(_)), "{error}");
    }
}
