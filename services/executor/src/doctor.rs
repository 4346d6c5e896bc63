//! `executor __sandbox-doctor`: what this machine, or this container, gives to keep agents in; for `steward doctor
//! sandbox`. Nothing is started but the launcher, and nothing is left.

use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use serde::Serialize;

use crate::room;
use crate::sandbox::{Groups, Level, PORTS, Sandbox, Where};

/// First argument that asks for it.
const ASKED: &str = "__sandbox-doctor";
/// A user id to try with as root. Nobody has it.
const NOBODY: u32 = 1_980_000_000;
/// Where an executor works when nothing else is said.
const USUAL: &str = "/var/lib/steward/executor";
/// Less room than this is told, bytes: what `work.min_free_bytes` is when nothing else is said.
const LEAST_ROOM: u64 = 256 << 20;

/// One layer.
#[derive(Debug, Serialize)]
struct Layer {
    layer: &'static str,
    there: bool,
    detail: String,
    /// What to do about it; empty when it is there.
    fix: String,
}

/// What is told.
#[derive(Debug, Serialize)]
struct Findings {
    level: &'static str,
    /// Whether it is enough for real money.
    live: bool,
    layers: Vec<Layer>,
}

/// Where this runs: each has its own way to allow more.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Place {
    Machine,
    Container,
    Kubernetes,
}

/// Looks and tells, if this program was started for that. Call it before anything else is done in `main`.
#[must_use]
pub fn asked() -> Option<ExitCode> {
    if std::env::args_os().nth(1)? != ASKED {
        return None;
    }
    let folder = std::env::args_os()
        .nth(2)
        .map_or_else(|| PathBuf::from(USUAL), PathBuf::from);
    let told = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(|error| error.to_string())
        .and_then(|runtime| runtime.block_on(look(&folder)))
        .and_then(|findings| serde_json::to_string(&findings).map_err(|error| error.to_string()));
    Some(match told {
        // If nobody reads, nobody is told.
        Ok(text) => writeln!(std::io::stdout(), "{text}").map_or(ExitCode::FAILURE, |()| ExitCode::SUCCESS),
        Err(reason) => {
            let _nobody_reads = writeln!(std::io::stderr(), "{reason}");
            ExitCode::FAILURE
        }
    })
}

async fn look(folder: &Path) -> Result<Findings, String> {
    let root = nix::unistd::geteuid().is_root();
    let levels = Level::Process..=Level::Namespaces;
    let sandbox = Sandbox::probe(crate::launcher(), levels, root.then_some(NOBODY)).await;
    let sandbox = sandbox.map_err(|error| error.to_string())?;
    let place = Place::here();
    let groups = Groups::open(&Where::Own);
    let layers = vec![
        users(root),
        landlock(sandbox.landlock_abi()),
        seccomp(&sandbox, place),
        namespaces(&sandbox, place),
        control_groups(&groups, place),
        disk(folder),
    ];
    let findings = Findings {
        level: sandbox.level().as_str(),
        live: sandbox.level() >= Level::Landlock,
        layers,
    };
    sandbox.close().await;
    Ok(findings)
}

fn users(root: bool) -> Layer {
    let (detail, fix) = if root {
        ("as root, each run has a user id of its own", "")
    } else {
        (
            "not as root, agents run under this user id",
            "nothing needs doing at level namespaces; below it, run the executor as root in a container or a machine of its own",
        )
    };
    layer("user ids", root, detail.to_owned(), fix)
}

fn landlock(abi: u32) -> Layer {
    let there = abi >= PORTS;
    let (detail, fix) = match abi {
        0 => (
            "this kernel has no Landlock, or it is switched off".to_owned(),
            "a kernel from 6.7 on with landlock in its list `lsm=`",
        ),
        abi if !there => (
            format!("version {abi}: rules about files, none about ports"),
            "a kernel from 6.7 on",
        ),
        abi => (
            format!("version {abi}: files, ports, signals as far as it knows them"),
            "",
        ),
    };
    layer("landlock", there, detail, fix)
}

fn seccomp(sandbox: &Sandbox, place: Place) -> Layer {
    let there = sandbox.seccomp();
    let detail = if there {
        "system calls are filtered"
    } else {
        sandbox.reason()
    };
    let fix = match place {
        Place::Machine => "a kernel with CONFIG_SECCOMP_FILTER",
        Place::Container | Place::Kubernetes => "a container runtime that lets seccomp filters be made (not gVisor)",
    };
    layer("seccomp", there, detail.to_owned(), fix)
}

fn namespaces(sandbox: &Sandbox, place: Place) -> Layer {
    let there = sandbox.level() >= Level::Namespaces;
    let detail = if there {
        "a root folder, processes and a network of each run's own".to_owned()
    } else {
        sandbox.reason().to_owned()
    };
    layer("namespaces", there, detail, place.namespaces_by())
}

fn control_groups(groups: &Result<Groups, String>, place: Place) -> Layer {
    let detail = match groups {
        Ok(groups) => format!(
            "{}: memory, processes and processor time in sum",
            groups.version().as_str()
        ),
        Err(reason) => reason.clone(),
    };
    let fix = match place {
        Place::Machine => {
            "systemd: Delegate=yes in the executor's unit, or isolation.cgroups = \"/sys/fs/cgroup/…\" set apart for it"
        }
        Place::Container | Place::Kubernetes => {
            "none can be had in an ordinary container: limit the container, as compose.yaml and docker/security/kubernetes.yaml do"
        }
    };
    layer("control groups", groups.is_ok(), detail, fix)
}

/// Of the folder, or of the nearest above it that is there.
fn disk(folder: &Path) -> Layer {
    let there = folder
        .ancestors()
        .find(|folder| folder.exists())
        .unwrap_or(Path::new("/"));
    let free = room::free(there).unwrap_or_default();
    let detail = format!("{} MiB free at {}", free >> 20, there.display());
    let fix = "make room: with less than work.min_free_bytes an executor takes no run";
    layer("disk", free >= LEAST_ROOM, detail, fix)
}

fn layer(layer: &'static str, there: bool, detail: String, fix: &str) -> Layer {
    let fix = if there { String::new() } else { fix.to_owned() };
    Layer {
        layer,
        there,
        detail,
        fix,
    }
}

impl Place {
    fn here() -> Self {
        let is = |path: &str| Path::new(path).exists();
        if is("/var/run/secrets/kubernetes.io") {
            Self::Kubernetes
        } else if is("/.dockerenv") || is("/run/.containerenv") {
            Self::Container
        } else {
            Self::Machine
        }
    }

    /// What allows namespaces here.
    fn namespaces_by(self) -> &'static str {
        match self {
            Self::Container => {
                "for the executor alone: --security-opt seccomp=docker/security/seccomp.json --security-opt \
                 systempaths=unconfined, and where AppArmor is in force --security-opt apparmor=steward-executor \
                 (docker/security/apparmor)"
            }
            Self::Kubernetes => "the securityContext of docker/security/kubernetes.yaml, for the executor alone",
            Self::Machine => {
                let set = |file: &str, value: &str| {
                    std::fs::read_to_string(format!("/proc/sys/{file}")).is_ok_and(|text| text.trim() == value)
                };
                if set("kernel/apparmor_restrict_unprivileged_userns", "1") {
                    "load docker/security/apparmor (apparmor_parser -r), which lets the executor's program open them"
                } else if set("kernel/unprivileged_userns_clone", "0") {
                    "sysctl -w kernel.unprivileged_userns_clone=1"
                } else if set("user/max_user_namespaces", "0") {
                    "sysctl -w user.max_user_namespaces=10000"
                } else {
                    "a kernel with user namespaces for everybody"
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_missing_comes_with_what_to_do_and_what_is_there_does_not() {
        assert!(landlock(7).fix.is_empty() && landlock(7).there);
        for old in [0, 3] {
            assert!(!landlock(old).there && landlock(old).fix.contains("6.7"), "{old}");
        }
        let none = control_groups(&Err("read-only".to_owned()), Place::Machine);
        assert!(none.detail.contains("read-only") && none.fix.contains("Delegate"));
        let full = disk(Path::new("/proc/nowhere"));
        assert!(!full.there && full.detail.contains("0 MiB free at /proc"), "{full:?}");
        assert!(full.fix.contains("work.min_free_bytes"));
        for (place, named) in [
            (Place::Container, "seccomp.json"),
            (Place::Kubernetes, "kubernetes.yaml"),
        ] {
            assert!(place.namespaces_by().contains(named));
        }
    }
}
