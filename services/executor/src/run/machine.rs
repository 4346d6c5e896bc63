//! What is the machine's fault and not the agent's: a full disk, and nothing left to start a process with.
//!
//! Such a run is handed back, which costs it no attempt, and for a while nothing new is taken here.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use super::Run;
use super::ending::{Ending, Reason};
use crate::parts::Parts;
use crate::room;
use crate::slots::Hold;
use crate::workspace::Workspace;

/// Less than this, and what failed may have failed for it.
const FULL: u64 = 1 << 20;
/// How long nothing is taken after the first such failure; doubles with each.
const FIRST_PAUSE: Duration = Duration::from_secs(2);
/// The longest it is.
const LONGEST_PAUSE: Duration = Duration::from_secs(120);

/// What the machine lacks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Lack {
    /// Room on the disk.
    Disk,
    /// Processes, memory or descriptors.
    Processes,
}

/// How often in a row a run could not be started for want of something.
#[derive(Debug, Default)]
pub(crate) struct Starts(AtomicU32);

impl Lack {
    /// By the system's words for an error.
    fn named(text: &str) -> Option<Self> {
        let any = |words: &[&str]| words.iter().any(|word| text.contains(word));
        if any(&["(os error 28)", "(os error 122)", "ENOSPC", "EDQUOT"]) {
            return Some(Self::Disk);
        }
        let none_left = [
            "(os error 11)",
            "(os error 12)",
            "(os error 23)",
            "(os error 24)",
            "EAGAIN",
            "ENOMEM",
            "ENFILE",
            "EMFILE",
        ];
        any(&none_left).then_some(Self::Processes)
    }

    /// A word for the completion.
    fn reason(self) -> &'static str {
        match self {
            Self::Disk => "disk_full",
            Self::Processes => "no_resources",
        }
    }
}

impl Starts {
    /// One was started.
    pub(super) fn went_well(&self) {
        self.0.store(0, Ordering::Relaxed);
    }

    /// One could not be started: nothing is taken for a while.
    fn failed(&self, parts: &Arc<Parts>) {
        let times = self.0.fetch_add(1, Ordering::Relaxed).min(16);
        let pause = FIRST_PAUSE.saturating_mul(1 << times).min(LONGEST_PAUSE);
        parts.slots.hold(Hold::Starts, true);
        let (slots, over) = (parts.slots.clone(), parts.over.clone());
        let _resting = parts.tasks.spawn_job("rest", async move {
            let _over = over.run_until_cancelled(tokio::time::sleep(pause)).await;
            slots.hold(Hold::Starts, false);
        });
    }
}

impl Run {
    /// The same, unless the machine was at fault before the agent had begun.
    pub(super) fn by_machine(parts: &Arc<Parts>, ending: Ending) -> Ending {
        let Ending::Failed {
            reason: Reason::Start,
            detail,
        } = &ending
        else {
            return ending;
        };
        let Some(lack) = Lack::named(detail) else { return ending };
        let reason = lack.reason();
        tracing::error!(reason, detail, "the machine could not start a run; it is handed back");
        parts.starts.failed(parts);
        Ending::HandedBack(reason.to_owned())
    }

    /// The same, unless the disk is full: by this run when its workspace holds more than it may, else by others.
    pub(super) async fn by_disk(&self, space: &Workspace, limit: u64, ending: Ending) -> Ending {
        let Ending::Failed { reason, .. } = &ending else {
            return ending;
        };
        if matches!(reason, Reason::OutputCap | Reason::Memory | Reason::Budget) {
            return ending;
        }
        let space = space.clone();
        let looking = self.parts.tasks.spawn_blocking("room", move || {
            let full = room::free(space.folder()).is_some_and(|free| free < FULL);
            // What cannot be measured counts as too much.
            full.then(|| space.usage().map_or(u64::MAX, |held| held.bytes))
        });
        match looking.await.flatten() {
            None => ending,
            Some(bytes) if bytes > limit => {
                let text = format!("its workspace holds more than {limit} bytes");
                Ending::failed(Reason::OutputCap, text)
            }
            Some(_) => {
                self.output.note("the disk of this machine is full");
                Ending::HandedBack(Lack::Disk.reason().to_owned())
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_full_disk_and_a_fork_that_fails_are_known_by_the_systems_own_words() {
        let said = |number| std::io::Error::from_raw_os_error(number).to_string();
        for (number, lack) in [
            (nix::libc::ENOSPC, Some(Lack::Disk)),
            (nix::libc::EDQUOT, Some(Lack::Disk)),
            (nix::libc::EAGAIN, Some(Lack::Processes)),
            (nix::libc::ENOMEM, Some(Lack::Processes)),
            (nix::libc::EMFILE, Some(Lack::Processes)),
            (nix::libc::ENFILE, Some(Lack::Processes)),
            (nix::libc::ENOENT, None),
            (nix::libc::EACCES, None),
        ] {
            assert_eq!(Lack::named(&said(number)), lack, "{}", said(number));
            let errno = nix::errno::Errno::from_raw(number).to_string();
            assert_eq!(Lack::named(&errno), lack, "{errno}");
        }
    }
}
