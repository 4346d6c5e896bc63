//! What one process may do, as the executor tells the launcher.

use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use super::Most;

/// Open files of an agent when nothing else is said.
const OPEN_FILES: u64 = 1024;

/// Everything the launcher applies.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Policy {
    /// The executor's process: when it is not the parent any more, nothing is started.
    pub parent: u32,
    /// User and group id to become; none when the executor is not root.
    pub uid: Option<u32>,
    /// Where to start.
    pub cwd: PathBuf,
    /// Kernel limits.
    pub limits: Limits,
    /// File rules; none where the kernel has none.
    pub files: Option<Files>,
    /// TCP ports it may connect to; none means any. Only where the kernel knows port rules.
    pub connect: Option<Vec<u16>>,
    /// Refused system calls; none where the kernel cannot filter them.
    pub calls: Option<Calls>,
    /// Whether it has namespaces of its own, or stays in the machine's.
    pub spaces: bool,
}

impl Policy {
    /// What all its processes together may use.
    pub(super) fn most(&self) -> Most {
        Most {
            memory: self.limits.memory,
            pids: self.limits.pids,
        }
    }
}

/// What is let through besides the calls every agent may make.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Calls {
    /// UDP, for the names of hosts it may connect to.
    pub datagrams: bool,
    /// System V memory, semaphores and queues, and POSIX queues: only where they are the run's own.
    pub shared: bool,
}

/// Kernel limits of one process and its children.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Limits {
    /// Writable private memory per process (RLIMIT_DATA), bytes. Address space is not limited: interpreters with a
    /// compiler reserve far more of it than they use.
    pub memory: Option<u64>,
    /// Processes of its user id; applied only with an own one, since it counts per user.
    pub pids: Option<u64>,
    /// Largest file, bytes.
    pub file_size: Option<u64>,
    /// Open files per process.
    pub open_files: u64,
    /// Processor time per process, seconds: the end of one that nothing else found.
    pub cpu_secs: Option<u64>,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            memory: None,
            pids: None,
            file_size: None,
            open_files: OPEN_FILES,
            cpu_secs: None,
        }
    }
}

/// What it may touch, besides the system's programs and libraries, which every agent may read and execute.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Files {
    /// Folders to read and execute.
    pub execute: Vec<PathBuf>,
    /// Files to read.
    pub read: Vec<PathBuf>,
    /// Folders to do anything in.
    pub write: Vec<PathBuf>,
    /// Files and pipes to read and write, but not to remove.
    pub append: Vec<PathBuf>,
}
