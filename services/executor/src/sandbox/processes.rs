//! Finding and ending the processes of a run, also those that left its group.
//!
//! With a user id of its own nothing of a run can hide. Without, processes are known by group, session, ancestry, by
//! the run's folder in their environment and by their working folder; one that sheds all of these is not found, which
//! `docs/SECURITY.md` says.

use std::collections::HashSet;
use std::path::Path;
use std::time::Duration;

use nix::sys::signal::{Signal, kill};
use nix::sys::wait::{WaitPidFlag, waitpid};
use nix::unistd::Pid;

/// Rounds of killing; each ends all that is seen, so more than a few mean a race with a fork bomb.
const ROUNDS: u32 = 400;
/// Between two rounds.
const PAUSE: Duration = Duration::from_millis(5);
/// An environment longer than this is not read further.
const MAX_ENVIRON: u64 = 256 * 1024;

/// What the processes of one run have in common.
#[derive(Debug, Clone)]
pub struct Footprint {
    leader: Option<Leader>,
    uid: Option<u32>,
    marker: Option<String>,
}

/// A process for ever: its number is somebody else's one day, its number and start time together never are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Leader {
    pid: i32,
    started: u64,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Stat {
    pub(super) pid: i32,
    parent: i32,
    group: i32,
    session: i32,
    pub(super) threads: u64,
    started: u64,
    dead: bool,
}

impl Footprint {
    /// A run: its leader's process id, its user id if it has one of its own, a path in its environment. The leader
    /// must not have been waited for yet: whoever has the number now is taken for it.
    #[must_use]
    pub fn of_run(leader: Option<i32>, uid: Option<u32>, marker: String) -> Self {
        let leader = leader.filter(|pid| *pid > 1).and_then(stat);
        Self {
            leader: leader.map(|stat| Leader {
                pid: stat.pid,
                started: stat.started,
            }),
            uid,
            marker: Some(marker),
        }
    }

    /// Everything under a user id.
    #[must_use]
    pub fn of_user(uid: u32) -> Self {
        Self {
            leader: None,
            uid: Some(uid),
            marker: None,
        }
    }

    /// The leader's process id.
    #[must_use]
    pub fn leader(&self) -> Option<i32> {
        self.leader.map(|leader| leader.pid)
    }

    /// Whether its processes have a user id of their own.
    #[must_use]
    pub fn has_own_user(&self) -> bool {
        self.uid.is_some()
    }

    /// Kills every process of the run until none is left. Blocks for milliseconds, at most a few seconds. Returns
    /// whether none is left.
    pub fn end(&self) -> bool {
        for _round in 0..ROUNDS {
            let alive = self.alive();
            if alive.is_empty() {
                return true;
            }
            for pid in alive {
                // Gone already is as good.
                let _gone = kill(Pid::from_raw(pid), Signal::SIGKILL);
            }
            pause();
        }
        self.alive().is_empty()
    }

    /// Process ids of the run that are not dead.
    #[must_use]
    pub fn alive(&self) -> Vec<i32> {
        self.stats().iter().map(|stat| stat.pid).collect()
    }

    pub(super) fn stats(&self) -> Vec<Stat> {
        let all = all();
        let leader = self.leader.filter(|leader| leader.is_who_it_was(&all));
        let mut mine: HashSet<i32> = all
            .iter()
            .filter(|stat| self.is_mine(leader, stat))
            .map(|stat| stat.pid)
            .collect();
        // Children of mine are mine, to any depth.
        loop {
            let more: Vec<i32> = all
                .iter()
                .filter(|stat| mine.contains(&stat.parent) && !mine.contains(&stat.pid))
                .map(|stat| stat.pid)
                .collect();
            if more.is_empty() {
                break;
            }
            mine.extend(more);
        }
        all.into_iter()
            .filter(|stat| !stat.dead && mine.contains(&stat.pid))
            .collect()
    }

    fn is_mine(&self, leader: Option<Leader>, stat: &Stat) -> bool {
        if i64::from(stat.pid) == i64::from(std::process::id()) || stat.pid <= 1 {
            return false;
        }
        if let Some(uid) = self.uid {
            return real_uid(stat.pid) == Some(uid) || leader.is_some_and(|leader| leader.pid == stat.pid);
        }
        leader.is_some_and(|leader| leader.led(stat))
            || self.marker.as_deref().is_some_and(|marker| carries(stat.pid, marker))
    }
}

impl Leader {
    /// Whether its number is still its own, or nobody's: as long as one is left of its group or session, nobody gets it.
    fn is_who_it_was(self, all: &[Stat]) -> bool {
        let other = |stat: &Stat| stat.pid == self.pid && stat.started != self.started;
        !all.iter().any(other)
    }

    /// Nobody it started is older.
    fn led(self, stat: &Stat) -> bool {
        let ids = [stat.pid, stat.group, stat.session];
        stat.started >= self.started && ids.contains(&self.pid)
    }
}

/// When a process was started, in the kernel's ticks: with its id, it names one process for ever.
#[must_use]
pub fn started(pid: i32) -> Option<u64> {
    stat(pid).filter(|stat| !stat.dead).map(|stat| stat.started)
}

/// Reaps dead processes this one was left with, except those somebody here waits for. Does nothing unless this
/// process is the first of its container, the only one strangers are left with.
pub fn reap_strays(waited_for: &HashSet<i32>) {
    if std::process::id() != 1 {
        return;
    }
    for stat in all() {
        if stat.dead && stat.parent == 1 && !waited_for.contains(&stat.pid) {
            let _status = waitpid(Pid::from_raw(stat.pid), Some(WaitPidFlag::WNOHANG));
        }
    }
}

fn all() -> Vec<Stat> {
    let Ok(entries) = std::fs::read_dir("/proc") else {
        return Vec::new();
    };
    entries
        .filter_map(|entry| entry.ok()?.file_name().to_str()?.parse().ok())
        .filter_map(stat)
        .collect()
}

fn stat(pid: i32) -> Option<Stat> {
    parse(pid, &std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()?)
}

/// The name in parentheses may hold anything, parentheses too: the fields begin after the last one.
fn parse(pid: i32, text: &str) -> Option<Stat> {
    let fields: Vec<&str> = text.rsplit_once(')')?.1.split_ascii_whitespace().collect();
    let number = |at: usize| fields.get(at)?.parse::<i32>().ok();
    Some(Stat {
        pid,
        dead: matches!(*fields.first()?, "Z" | "X"),
        parent: number(1)?,
        group: number(2)?,
        session: number(3)?,
        threads: fields.get(17)?.parse().ok()?,
        started: fields.get(19)?.parse().ok()?,
    })
}

fn real_uid(pid: i32) -> Option<u32> {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix("Uid:"))?;
    line.split_ascii_whitespace().next()?.parse().ok()
}

/// Whether a process was started in the run's folder or with it in its environment.
fn carries(pid: i32, marker: &str) -> bool {
    use std::io::Read as _;

    let mut environ = Vec::new();
    let read = std::fs::File::open(format!("/proc/{pid}/environ"))
        .and_then(|file| file.take(MAX_ENVIRON).read_to_end(&mut environ));
    let found = read.is_ok() && environ.windows(marker.len()).any(|part| part == marker.as_bytes());
    found || std::fs::read_link(format!("/proc/{pid}/cwd")).is_ok_and(|cwd| cwd.starts_with(Path::new(marker)))
}

#[expect(clippy::disallowed_methods, reason = "this runs on a thread for blocking work")]
fn pause() {
    std::thread::sleep(PAUSE);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_process_name_full_of_parentheses_is_read_right() {
        let rest = "S 10 20 30 0 -1 0 0 0 0 0 0 0 0 0 20 0 1 0 4711 0";
        let stat = parse(5, &format!("5 (a) S 1 (b)) {rest}")).unwrap();
        assert_eq!(
            (stat.parent, stat.group, stat.session, stat.started),
            (10, 20, 30, 4711)
        );
        assert!(!stat.dead);
        assert_eq!(parse(5, "nonsense"), None);
    }

    #[test]
    fn a_number_that_is_somebody_elses_by_now_is_left_alone() {
        use std::os::unix::process::CommandExt as _;

        let mut other = std::process::Command::new("sleep")
            .arg("600")
            .process_group(0)
            .spawn()
            .unwrap();
        let pid = i32::try_from(other.id()).unwrap();
        let now = Footprint::of_run(Some(pid), None, "/no/such/marker".to_owned());
        assert_eq!(now.alive(), [pid], "the one it was made of");
        for uid in [None, Some(1_949_999_999)] {
            let mut earlier = now.clone();
            earlier.uid = uid;
            // Its leader had the number, and ended before this one was started.
            earlier.leader = earlier.leader.map(|leader| Leader {
                started: leader.started - 1,
                ..leader
            });
            assert!(earlier.alive().is_empty());
            assert!(earlier.end());
        }
        assert!(other.try_wait().unwrap().is_none(), "it lives");
        assert!(now.end());
        other.wait().unwrap();
    }

    #[test]
    fn a_footprint_never_holds_this_process_nor_the_first() {
        let here = i32::try_from(std::process::id()).unwrap();
        let footprint = Footprint::of_run(Some(1), None, "/no/such/marker".to_owned());
        assert_eq!(footprint.leader(), None);
        assert!(!footprint.alive().contains(&here));
        assert!(!footprint.alive().contains(&1));
    }
}
