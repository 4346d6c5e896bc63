//! The work root: where bundles, workspaces and completions lie, and how a new process tidies up after a killed one.

use std::io;
use std::os::unix::fs::{DirBuilderExt as _, MetadataExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};

use nix::fcntl::{Flock, FlockArg};
use nix::unistd::geteuid;
use serde::{Deserialize, Serialize};

use crate::sandbox::{Claim, Footprint};
use crate::{bundles, sandbox, tree};

/// Where agents' folders go when their user ids cannot reach the work root.
const REACHABLE: &str = "/var/tmp";
/// Others may pass through, not list.
const PASSABLE: u32 = 0o711;
/// Only this user.
const PRIVATE: u32 = 0o700;

/// Why the work root cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// Something else uses it.
    #[error("lock {path}: another executor works in this folder; give each one a work.dir of its own")]
    Busy {
        /// The lock file.
        path: PathBuf,
    },
    /// A folder of that name belongs to somebody else.
    #[error("use {path}: it belongs to another user or others may write to it; remove it or set work.dir")]
    Foreign {
        /// The folder.
        path: PathBuf,
    },
    /// The system refuses.
    #[error("prepare {path}: {source}; set work.dir to a folder this user may write to")]
    Io {
        /// The folder or file.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
}

/// The folders of this process. The lock is held as long as it lives.
#[derive(Debug)]
pub struct Folders {
    root: PathBuf,
    agents: PathBuf,
    _lock: Flock<std::fs::File>,
}

/// Written beside a workspace while its process may live.
#[derive(Debug, Serialize, Deserialize)]
struct Record {
    pid: Option<i32>,
    started: Option<u64>,
    uid: Option<u32>,
}

impl Folders {
    /// Makes the folders and locks them. With `own_uids`, the folders agents use must be reachable by anybody.
    ///
    /// # Errors
    /// A root that is in use, foreign or not writable.
    pub fn open(root: &Path, own_uids: bool) -> Result<Self, Error> {
        std::fs::DirBuilder::new()
            .recursive(true)
            .mode(if own_uids { PASSABLE } else { PRIVATE })
            .create(root)
            .map_err(|source| io_error(root, source))?;
        let root = root.canonicalize().map_err(|source| io_error(root, source))?;
        let lock = lock(&root.join("lock"))?;
        let agents = if own_uids && !reachable(&root) {
            let agents = elsewhere(&root);
            tracing::info!(
                folder = %agents.display(),
                "agents' user ids cannot reach work.dir: workspaces and bundles go elsewhere"
            );
            agents
        } else {
            root.clone()
        };
        let folders = Self {
            root,
            agents,
            _lock: lock,
        };
        let outer = if own_uids { PASSABLE } else { PRIVATE };
        own_folder(&folders.agents, outer)?;
        own_folder(&folders.runs(), outer)?;
        own_folder(&folders.bundles(), outer)?;
        own_folder(&folders.completions(), PRIVATE)?;
        // What was begun here, nobody will finish.
        let begun = folders.begun();
        bundles::clear_raw(&begun, &folders.bundles()).map_err(|source| io_error(&begun, source))?;
        tree::remove(&begun).map_err(|source| io_error(&begun, source))?;
        own_folder(&begun, outer)?;
        Ok(folders)
    }

    /// All that is this process's own lies below these.
    #[must_use]
    pub fn roots(&self) -> [&Path; 2] {
        [&self.root, &self.agents]
    }

    /// One folder per attempt.
    #[must_use]
    pub fn runs(&self) -> PathBuf {
        self.agents.join("runs")
    }

    /// Unpacked bundles by hash.
    #[must_use]
    pub fn bundles(&self) -> PathBuf {
        self.agents.join("bundles")
    }

    /// Things half done, emptied at each start; on the same file system as bundles and runs.
    #[must_use]
    pub fn begun(&self) -> PathBuf {
        self.agents.join("begun")
    }

    /// This program, where the users of runs can reach it.
    #[must_use]
    pub fn runner(&self) -> PathBuf {
        self.agents.join("runner")
    }

    /// Ends of attempts nobody acknowledged yet.
    #[must_use]
    pub fn completions(&self) -> PathBuf {
        self.root.join("completions")
    }

    /// A file whose room ends of attempts may have when the disk is full.
    #[must_use]
    pub fn reserve(&self) -> PathBuf {
        self.root.join("reserve")
    }

    /// Ends what an earlier process left running, and removes its workspaces. Returns how many there were. Blocks.
    ///
    /// # Errors
    /// The folder cannot be listed.
    pub fn clear_leftovers(&self) -> Result<usize, Error> {
        let runs = self.runs();
        let entries = std::fs::read_dir(&runs).map_err(|source| io_error(&runs, source))?;
        let mut found = 0;
        for folder in entries.filter_map(|entry| Some(entry.ok()?.path())) {
            found += 1;
            end_leftover(&folder);
            if let Err(error) = tree::remove(&folder) {
                tracing::warn!(folder = %folder.display(), %error, "a left-over workspace could not be removed");
            }
        }
        Ok(found)
    }
}

/// Notes which process works in a run's folder, for the next start.
///
/// # Errors
/// The file cannot be written.
pub fn record(folder: &Path, pid: Option<i32>, uid: Option<u32>) -> io::Result<()> {
    let started = pid.and_then(sandbox::started);
    let record = serde_json::to_vec(&Record { pid, started, uid })?;
    std::fs::write(folder.join("process.json"), record)
}

fn end_leftover(folder: &Path) {
    let record: Option<Record> = std::fs::read(folder.join("process.json"))
        .ok()
        .and_then(|text| serde_json::from_slice(&text).ok());
    let leader = record.as_ref().and_then(|record| {
        // The same number may be somebody else by now; number and start time together cannot.
        record
            .pid
            .filter(|pid| record.started.is_some() && sandbox::started(*pid) == record.started)
    });
    Footprint::of_run(leader, None, folder.display().to_string()).end();
    // Claiming ends what runs under the id. If it is claimed, its holder has done so.
    let _swept = record.and_then(|record| record.uid).and_then(Claim::take);
}

fn lock(path: &Path) -> Result<Flock<std::fs::File>, Error> {
    let file = std::fs::File::options()
        .create(true)
        .truncate(false)
        .write(true)
        .open(path)
        .map_err(|source| io_error(path, source))?;
    Flock::lock(file, FlockArg::LockExclusiveNonblock).map_err(|_held| Error::Busy { path: path.to_owned() })
}

/// Whether anybody may pass through all folders on the way.
fn reachable(path: &Path) -> bool {
    path.ancestors()
        .all(|folder| folder.metadata().is_ok_and(|metadata| metadata.mode() & 0o001 != 0))
}

/// The same place at each start of the same executor.
fn elsewhere(root: &Path) -> PathBuf {
    let hash = crate::hash::of(root.as_os_str().as_encoded_bytes());
    Path::new(REACHABLE).join(format!("steward-executor-{}", &hash[..16]))
}

/// Makes a folder, or makes sure that an existing one is a real folder, ours, and written by nobody else.
fn own_folder(path: &Path, mode: u32) -> Result<(), Error> {
    match std::fs::DirBuilder::new().mode(mode).create(path) {
        Ok(()) => {}
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
        Err(source) => return Err(io_error(path, source)),
    }
    let metadata = path.symlink_metadata().map_err(|source| io_error(path, source))?;
    if !metadata.is_dir() || metadata.uid() != geteuid().as_raw() {
        return Err(Error::Foreign { path: path.to_owned() });
    }
    // The umask may have taken some of it, and an older release may have given more.
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(mode)).map_err(|source| io_error(path, source))
}

fn io_error(path: &Path, source: io::Error) -> Error {
    Error::Io {
        path: path.to_owned(),
        source,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn two_executors_never_share_a_folder() {
        let root = tempfile::tempdir().unwrap();
        let first = Folders::open(root.path(), false).unwrap();
        assert!(matches!(Folders::open(root.path(), false), Err(Error::Busy { .. })));
        drop(first);
        assert!(Folders::open(root.path(), false).is_ok());
    }

    /// What a run of [`MANY_IN_EACH_OTHER`] folders leaves, met by a process that may open a thousand files.
    #[cfg(target_os = "linux")]
    #[test]
    fn a_hundred_thousand_folders_in_each_other_do_not_keep_the_next_start() {
        const MANY_IN_EACH_OTHER: usize = 100_000;
        const FEW: u64 = 1024;

        let (most, _) = nix::sys::resource::getrlimit(nix::sys::resource::Resource::RLIMIT_NOFILE).unwrap();
        if most > FEW {
            let own = std::env::current_exe().unwrap();
            let name = "folders::tests::a_hundred_thousand_folders_in_each_other_do_not_keep_the_next_start";
            let limited = std::process::Command::new("sh")
                .args(["-c", "ulimit -n 1024 && exec \"$0\" --exact \"$1\" --nocapture"])
                .arg(own)
                .arg(name)
                .output()
                .unwrap();
            let said = String::from_utf8_lossy(&limited.stdout);
            assert!(limited.status.success() && said.contains("1 passed"), "{limited:?}");
            return;
        }
        // In memory, where that can be: on a busy disk this takes minutes.
        let root = tempfile::tempdir_in("/dev/shm")
            .or_else(|_none| tempfile::tempdir())
            .unwrap();
        let folders = Folders::open(root.path(), false).unwrap();
        let work = folders.runs().join("r-1/work");
        std::fs::create_dir_all(&work).unwrap();
        tree::tests::chain(&work, MANY_IN_EACH_OTHER);
        assert_eq!(folders.clear_leftovers().unwrap(), 1);
        assert_eq!(std::fs::read_dir(folders.runs()).unwrap().count(), 0);
    }

    #[test]
    fn what_was_half_done_is_gone_at_the_next_start() {
        let root = tempfile::tempdir().unwrap();
        let first = Folders::open(root.path(), false).unwrap();
        std::fs::write(first.begun().join("half.tar"), "x").unwrap();
        std::fs::create_dir(first.runs().join("r-1")).unwrap();
        drop(first);
        let second = Folders::open(root.path(), false).unwrap();
        assert_eq!(std::fs::read_dir(second.begun()).unwrap().count(), 0);
        assert_eq!(second.clear_leftovers().unwrap(), 1);
        assert_eq!(std::fs::read_dir(second.runs()).unwrap().count(), 0);
    }
}
