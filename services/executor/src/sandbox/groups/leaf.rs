//! The group of one run.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use super::{Controller, Hierarchy, Most, Version};

/// Memory of what stands beside an agent (the launcher, the first process inside), which is not the agent's fault.
const BESIDE: u64 = 16 << 20;
/// Processes beside it.
const OTHERS: u64 = 2;
/// Rounds of killing, or of removing, before it is given up.
const ROUNDS: u32 = 1000;
/// Between the first rounds; later ones wait longer, up to a hundred times that.
const PAUSE: Duration = Duration::from_micros(100);

/// The group of one run. When dropped, all in it is ended and it is removed, on a thread if that takes longer.
#[derive(Debug)]
pub struct Group {
    version: Version,
    leaves: Vec<Hierarchy>,
    /// The limit of memory, bytes; 0 for none.
    memory: AtomicU64,
}

/// What a run used, as far as the kernel counted it.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Usage {
    /// The most memory at one time, bytes.
    pub memory: Option<u64>,
    /// Processor time of all its processes.
    pub cpu: Option<Duration>,
    /// Processes that were killed because the memory was used up.
    pub out_of_memory: u64,
    /// Times a process could not be started because there were too many.
    pub too_many: u64,
    /// The limit of memory, bytes.
    pub limit: Option<u64>,
}

impl Group {
    pub(super) fn make(version: Version, own: &[Hierarchy], name: &str) -> io::Result<Self> {
        let mut group = Self {
            version,
            leaves: Vec::with_capacity(own.len()),
            memory: AtomicU64::new(0),
        };
        for hierarchy in own {
            let folder = hierarchy.folder.join(name);
            fs::create_dir(&folder)?;
            // What is made so far goes with the group if the next fails.
            group.leaves.push(Hierarchy {
                folder,
                controllers: hierarchy.controllers.clone(),
            });
        }
        Ok(group)
    }

    /// Limits all that is in it.
    ///
    /// # Errors
    /// The system refuses.
    pub fn limit(&self, most: Most) -> io::Result<()> {
        self.memory.store(most.memory.unwrap_or_default(), Ordering::Relaxed);
        self.leaves.iter().try_for_each(|leaf| leaf.limit(self.version, most))
    }

    /// Files into which a process writes 0 to belong to the group.
    #[must_use]
    pub fn doors(&self) -> Vec<PathBuf> {
        self.leaves
            .iter()
            .map(|leaf| leaf.folder.join("cgroup.procs"))
            .collect()
    }

    /// Ends everything in it. Blocks until nothing is left, at most seconds; returns whether nothing is left.
    #[must_use]
    pub fn end(&self) -> bool {
        for leaf in &self.leaves {
            if leaf.controllers.contains(&Controller::Pids) {
                // Whoever is quick cannot go on for ever.
                let _gone = fs::write(leaf.folder.join("pids.max"), "0");
            }
        }
        self.leaves.first().is_none_or(|leaf| end(&leaf.folder))
    }

    /// What it used so far.
    #[must_use]
    pub fn usage(&self) -> Usage {
        let mut usage = Usage {
            limit: Some(self.memory.load(Ordering::Relaxed)).filter(|bytes| *bytes > 0),
            ..Usage::default()
        };
        for leaf in &self.leaves {
            leaf.count(self.version, &mut usage);
        }
        usage
    }
}

impl Drop for Group {
    fn drop(&mut self) {
        let mut busy: Vec<PathBuf> = self.leaves.drain(..).map(|leaf| leaf.folder).collect();
        busy.retain(|folder| fs::remove_dir(folder).is_err_and(|error| error.raw_os_error() == Some(nix::libc::EBUSY)));
        if busy.is_empty() {
            return;
        }
        let thread = std::thread::Builder::new().name("group".to_owned());
        // Without a thread the next start finds it.
        let _clearing = thread.spawn(move || busy.iter().for_each(|folder| clear(folder)));
    }
}

impl Hierarchy {
    fn limit(&self, version: Version, most: Most) -> io::Result<()> {
        for controller in &self.controllers {
            match (controller, version) {
                (Controller::Memory, Version::One) => self.limit_memory_of_old(most.memory)?,
                (Controller::Memory, Version::Two) => {
                    // The whole run or nothing: half of it would only hang.
                    self.write("memory.oom.group", "1")?;
                    if let Some(bytes) = most.memory {
                        self.write("memory.max", &bytes.saturating_add(BESIDE).to_string())?;
                        // Not every machine counts what is swapped out.
                        let _not_counted = self.write("memory.swap.max", "0");
                    }
                }
                (Controller::Pids, _) => {
                    if let Some(count) = most.pids {
                        self.write("pids.max", &count.saturating_add(OTHERS).to_string())?;
                    }
                }
                // Each run has the same weight, which is what a new group has.
                (Controller::Cpu | Controller::CpuTime, _) => {}
            }
        }
        Ok(())
    }

    fn limit_memory_of_old(&self, bytes: Option<u64>) -> io::Result<()> {
        let Some(bytes) = bytes else { return Ok(()) };
        let bytes = bytes.saturating_add(BESIDE).to_string();
        self.write("memory.limit_in_bytes", &bytes)?;
        // Not every machine counts what is swapped out.
        let _not_counted = self.write("memory.memsw.limit_in_bytes", &bytes);
        Ok(())
    }

    fn count(&self, version: Version, usage: &mut Usage) {
        for controller in &self.controllers {
            match (controller, version) {
                (Controller::Memory, Version::One) => {
                    usage.memory = self.number("memory.max_usage_in_bytes");
                    usage.out_of_memory = self.field("memory.oom_control", "oom_kill").unwrap_or_default();
                }
                (Controller::Memory, Version::Two) => {
                    usage.memory = self.number("memory.peak");
                    usage.out_of_memory = self.field("memory.events", "oom_kill").unwrap_or_default();
                }
                (Controller::Pids, _) => usage.too_many = self.field("pids.events", "max").unwrap_or_default(),
                (Controller::Cpu, Version::Two) => {
                    usage.cpu = self.field("cpu.stat", "usage_usec").map(Duration::from_micros);
                }
                (Controller::CpuTime, _) => usage.cpu = self.number("cpuacct.usage").map(Duration::from_nanos),
                (Controller::Cpu, Version::One) => {}
            }
        }
    }

    fn write(&self, file: &str, text: &str) -> io::Result<()> {
        let path = self.folder.join(file);
        let told = |error: io::Error| io::Error::new(error.kind(), format!("{}: {error}", path.display()));
        fs::write(&path, text).map_err(told)
    }

    fn number(&self, file: &str) -> Option<u64> {
        fs::read_to_string(self.folder.join(file)).ok()?.trim().parse().ok()
    }

    fn field(&self, file: &str, name: &str) -> Option<u64> {
        let text = fs::read_to_string(self.folder.join(file)).ok()?;
        let mut fields = text.lines().filter_map(|line| line.split_once(' '));
        fields.find(|(other, _)| *other == name)?.1.trim().parse().ok()
    }
}

/// Ends everything in a group and removes it. Only as far as that goes: the next start tries again.
pub(super) fn clear(folder: &Path) {
    for round in 0..ROUNDS {
        match fs::remove_dir(folder) {
            Err(error) if error.raw_os_error() == Some(nix::libc::EBUSY) => {}
            _removed_or_not_ours => return,
        }
        if !end(folder) {
            return;
        }
        pause(round);
    }
}

/// Kills all that is in a group until nothing is. Whether nothing is.
fn end(folder: &Path) -> bool {
    for round in 0..ROUNDS {
        let alive = processes(folder);
        if alive.is_empty() {
            return true;
        }
        // At once, where the kernel can; a group is never this process's own.
        if round > 0
            || fs::OpenOptions::new()
                .write(true)
                .open(folder.join("cgroup.kill"))
                .and_then(|mut file| io::Write::write_all(&mut file, b"1"))
                .is_err()
        {
            for pid in alive {
                let _gone = kill(pid, Signal::SIGKILL);
            }
        }
        pause(round);
    }
    processes(folder).is_empty()
}

fn processes(folder: &Path) -> Vec<Pid> {
    let text = fs::read_to_string(folder.join("cgroup.procs")).unwrap_or_default();
    let here = i32::try_from(std::process::id()).unwrap_or_default();
    // 0 is a process this one cannot see.
    text.lines()
        .filter_map(|line| line.parse().ok())
        .filter(|pid| *pid > 1 && *pid != here)
        .map(Pid::from_raw)
        .collect()
}

#[expect(clippy::disallowed_methods, reason = "this runs on a thread for blocking work")]
fn pause(round: u32) {
    std::thread::sleep(PAUSE.saturating_mul(round.clamp(1, 100)));
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A folder that looks like a hierarchy. A real one cannot be had on every machine.
    fn of(controllers: &[Controller]) -> (tempfile::TempDir, Vec<Hierarchy>) {
        let root = tempfile::tempdir().unwrap();
        let own = vec![Hierarchy {
            folder: root.path().to_owned(),
            controllers: controllers.to_vec(),
        }];
        (root, own)
    }

    #[test]
    fn in_the_new_hierarchy_a_run_is_limited_in_sum_and_ended_as_one() {
        let (root, own) = of(&[Controller::Memory, Controller::Pids, Controller::Cpu]);
        let most = Most {
            memory: Some(100 << 20),
            pids: Some(10),
        };
        let group = Group::make(Version::Two, &own, "run-1").unwrap();
        group.limit(most).unwrap();
        let leaf = root.path().join("run-1");
        let read = |file: &str| fs::read_to_string(leaf.join(file)).unwrap();
        assert_eq!(read("memory.max"), (116 << 20).to_string());
        assert_eq!(
            (read("memory.oom.group").as_str(), read("pids.max").as_str()),
            ("1", "12")
        );
        fs::write(leaf.join("memory.peak"), "12345\n").unwrap();
        fs::write(
            leaf.join("memory.events"),
            "low 0\nmax 7\noom 3\noom_kill 2\noom_group_kill 1\n",
        )
        .unwrap();
        fs::write(leaf.join("cpu.stat"), "usage_usec 1500\nuser_usec 1000\n").unwrap();
        fs::write(leaf.join("pids.events"), "max 4\n").unwrap();
        let used = group.usage();
        assert_eq!((used.memory, used.out_of_memory, used.too_many), (Some(12345), 2, 4));
        assert_eq!(used.cpu, Some(Duration::from_micros(1500)));
        assert_eq!(group.doors(), [leaf.join("cgroup.procs")]);
    }

    #[test]
    fn in_the_old_ones_each_kind_of_limit_has_its_folder() {
        let (root, own) = of(&[Controller::Memory]);
        let most = Most {
            memory: Some(1 << 20),
            pids: None,
        };
        let group = Group::make(Version::One, &own, "run-1").unwrap();
        group.limit(most).unwrap();
        let leaf = root.path().join("run-1");
        let limit = fs::read_to_string(leaf.join("memory.limit_in_bytes")).unwrap();
        assert_eq!(limit, (17 << 20).to_string());
        fs::write(
            leaf.join("memory.oom_control"),
            "oom_kill_disable 0\nunder_oom 0\noom_kill 1\n",
        )
        .unwrap();
        assert_eq!(group.usage().out_of_memory, 1);
    }
}
