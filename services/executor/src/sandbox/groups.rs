//! Control groups: what a run may use in sum, whatever it starts; and the surest way to find and end all of it.
//!
//! Used where this process may make groups below its own (version 2, delegated) or in each of the old hierarchies
//! (version 1). Every run has a leaf, with the same weight as every other: made before its process, which the launcher
//! puts into it as its very first act, and removed when it is empty. What a killed executor left is removed by the next.

mod find;
mod leaf;

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use super::processes::started;
pub use find::Where;
pub use leaf::{Group, Usage};

/// Begin of the names of our folders; the process id and the time of its start follow.
const OURS: &str = "steward-";

/// How many sets of folders this process has made.
static MADE: AtomicU32 = AtomicU32::new(0);

/// Which kind of hierarchy.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Version {
    /// One hierarchy for each kind of limit.
    One,
    /// One hierarchy for all.
    Two,
}

/// A kind of limit.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Controller {
    Memory,
    Pids,
    Cpu,
    /// Counts processor time, in version 1 only.
    CpuTime,
}

/// A folder of the kernel's in which ours stand.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Hierarchy {
    folder: PathBuf,
    controllers: Vec<Controller>,
}

/// Where this process makes groups. Its folders are removed with the last clone.
#[derive(Debug, Clone)]
pub struct Groups(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    version: Version,
    /// Ours, one for each hierarchy.
    own: Vec<Hierarchy>,
    /// How many groups were made.
    runs: AtomicU32,
}

/// What one run may use.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Most {
    /// Memory of all its processes, bytes; files it only read are let go of before anything is ended.
    pub memory: Option<u64>,
    /// Processes and threads.
    pub pids: Option<u64>,
}

impl Groups {
    /// Finds where groups can be made, and removes what dead executors left there. Blocks.
    ///
    /// # Errors
    /// Why there are none, in words.
    pub fn open(wanted: &Where) -> Result<Self, String> {
        let (version, bases) = find::bases(wanted)?;
        for base in &bases {
            remove_leftovers(&base.folder);
        }
        let name = own_name().ok_or("this process cannot tell when it was started")?;
        if version == Version::Two {
            for base in &bases {
                find::enable(&base.folder, &name)?;
            }
        }
        let inner = Inner::make(version, &bases, &name)?;
        let groups = Self(Arc::new(inner));
        // The whole way once: a folder that can be made may still take no limits.
        let tried = Most {
            memory: Some(64 << 20),
            pids: Some(8),
        };
        let trying = groups.make().and_then(|group| group.limit(tried));
        trying.map_err(|error| format!("a control group takes no limits: {error}"))?;
        Ok(groups)
    }

    /// Makes the group of a run, without limits yet.
    ///
    /// # Errors
    /// The system refuses.
    pub fn make(&self) -> io::Result<Group> {
        let number = self.0.runs.fetch_add(1, Ordering::Relaxed);
        Group::make(self.0.version, &self.0.own, &format!("run-{number}"))
    }

    /// Removes the folders before the last clone is gone.
    pub fn remove(&self) {
        self.0.remove();
    }

    /// Which kind.
    #[must_use]
    pub fn version(&self) -> Version {
        self.0.version
    }

    /// The folders in which the groups of runs stand.
    #[must_use]
    pub fn folders(&self) -> Vec<PathBuf> {
        self.0.own.iter().map(|hierarchy| hierarchy.folder.clone()).collect()
    }
}

impl Version {
    /// As told to people.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::One => "v1",
            Self::Two => "v2",
        }
    }
}

impl Inner {
    fn remove(&self) {
        for hierarchy in &self.own {
            // Gone already, or something still runs in it, which the next start finds.
            let _in_use = std::fs::remove_dir(&hierarchy.folder);
        }
    }

    fn make(version: Version, bases: &[Hierarchy], name: &str) -> Result<Self, String> {
        let mut inner = Self {
            version,
            own: Vec::new(),
            runs: AtomicU32::new(0),
        };
        for base in bases {
            let folder = base.folder.join(name);
            let told = |error: io::Error| format!("{}: {error}", folder.display());
            std::fs::create_dir(&folder).map_err(told)?;
            if version == Version::Two {
                find::pass_on(&folder, &base.controllers).map_err(told)?;
            }
            inner.own.push(Hierarchy {
                folder,
                controllers: base.controllers.clone(),
            });
        }
        Ok(inner)
    }
}

impl Drop for Inner {
    fn drop(&mut self) {
        self.remove();
    }
}

/// A name for folders of this process: no other process ever has it, nor another set of this one.
fn own_name() -> Option<String> {
    let pid = i32::try_from(std::process::id()).ok()?;
    let number = MADE.fetch_add(1, Ordering::Relaxed);
    Some(format!("{OURS}{pid}-{}-{number}", started(pid)?))
}

/// Ends what runs in the groups of executors that are gone, and removes them.
fn remove_leftovers(base: &Path) {
    for entry in std::fs::read_dir(base).into_iter().flatten().flatten() {
        let name = entry.file_name();
        let Some(rest) = name.to_str().and_then(|name| name.strip_prefix(OURS)) else {
            continue;
        };
        let mut parts = rest.split(['-', '.']);
        let mut number = || parts.next()?.parse::<u64>().ok();
        let (Some(pid), Some(begin)) = (number(), number()) else {
            continue;
        };
        if i32::try_from(pid).is_ok_and(|pid| started(pid) == Some(begin)) {
            continue;
        }
        let left = std::fs::read_dir(entry.path()).into_iter().flatten().flatten();
        for leaf in left.filter(|leaf| leaf.file_type().is_ok_and(|kind| kind.is_dir())) {
            leaf::clear(&leaf.path());
        }
        leaf::clear(&entry.path());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_dead_executor_left_is_removed_and_a_living_ones_is_not() {
        let base = tempfile::tempdir().unwrap();
        let alive = base.path().join(own_name().unwrap());
        let dead = base.path().join(format!("{OURS}{}-1", std::process::id()));
        let other = base.path().join("docker");
        for folder in [&alive, &dead.join("run-1"), &other] {
            std::fs::create_dir_all(folder).unwrap();
        }
        remove_leftovers(base.path());
        assert!(alive.exists() && other.exists());
        assert!(!dead.exists());
    }
}
