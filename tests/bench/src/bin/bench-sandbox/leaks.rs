//! What may be left when all runs are over: nothing.

use std::collections::BTreeSet;
use std::path::Path;

use serde_json::{Value, json};

/// What there is of each kind.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Count {
    processes: usize,
    namespaces: usize,
    mounts: usize,
    folders: usize,
    groups: usize,
    descriptors: usize,
}

impl Count {
    /// Counts what belongs to this process or to the agents' user.
    pub fn now(runs: &Path, uid: Option<u32>, groups: &[std::path::PathBuf]) -> Self {
        let mine: Vec<u32> = processes().filter(|pid| is_mine(*pid, uid)).collect();
        let own = namespaces(std::process::id());
        let strange: BTreeSet<String> = mine
            .iter()
            .flat_map(|pid| namespaces(*pid))
            .filter(|name| !own.contains(name))
            .collect();
        let mounts = std::fs::read_to_string("/proc/self/mountinfo").unwrap_or_default();
        Self {
            processes: mine.len(),
            namespaces: strange.len(),
            mounts: mounts.lines().count(),
            folders: entries(runs),
            groups: groups.iter().map(|group| entries(group)).sum(),
            descriptors: entries(Path::new("/proc/self/fd")),
        }
    }

    /// What came since `before`.
    pub fn since(&self, before: &Self) -> Vec<(&'static str, usize)> {
        let more = |now: usize, then: usize| now.saturating_sub(then);
        vec![
            ("processes", more(self.processes, before.processes)),
            ("namespaces", more(self.namespaces, before.namespaces)),
            ("mounts", more(self.mounts, before.mounts)),
            ("folders", more(self.folders, before.folders)),
            ("control groups", more(self.groups, before.groups)),
            ("descriptors", more(self.descriptors, before.descriptors)),
        ]
    }
}

/// As JSON.
pub fn json(left: &[(&'static str, usize)]) -> Value {
    left.iter()
        .map(|(what, count)| ((*what).to_owned(), json!(count)))
        .collect::<serde_json::Map<_, _>>()
        .into()
}

fn processes() -> impl Iterator<Item = u32> {
    let all = std::fs::read_dir("/proc").into_iter().flatten().flatten();
    all.filter_map(|entry| entry.file_name().to_str()?.parse().ok())
}

/// A child of this process, or one under the agents' user id.
fn is_mine(pid: u32, uid: Option<u32>) -> bool {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
    let field = |name: &str| -> Option<u32> {
        let line = status.lines().find_map(|line| line.strip_prefix(name))?;
        line.split_ascii_whitespace().next()?.parse().ok()
    };
    field("PPid:") == Some(std::process::id()) || (uid.is_some() && field("Uid:") == uid)
}

fn namespaces(pid: u32) -> BTreeSet<String> {
    let all = std::fs::read_dir(format!("/proc/{pid}/ns"))
        .into_iter()
        .flatten()
        .flatten();
    all.filter_map(|entry| Some(std::fs::read_link(entry.path()).ok()?.to_str()?.to_owned()))
        .collect()
}

/// Folders and, where they are not the kernel's own, files.
fn entries(folder: &Path) -> usize {
    std::fs::read_dir(folder).map_or(0, Iterator::count)
}
