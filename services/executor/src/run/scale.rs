//! Whether a run is too heavy: what it holds on disk, and, where no control group limits them, its processes.

use std::path::PathBuf;
use std::time::Duration;

use tokio::time::sleep;

use super::Run;
use super::ending::Why;
use crate::disk::{self, Unknown};
use crate::sandbox::{Footprint, Limits, Process};

/// Between two measurements of the disk.
pub(super) const MEASURE: Duration = Duration::from_secs(3);
/// Between two looks at what processes use.
pub(super) const WEIGH: Duration = Duration::from_millis(400);

/// Memory of what stands beside an agent, which is not the agent's fault; as in a control group.
const BESIDE: u64 = 16 << 20;

/// What one process and all it starts may hold.
#[derive(Debug, Clone)]
pub(super) struct Scale {
    folders: Vec<PathBuf>,
    disk: Room,
    footprint: Footprint,
    /// None where the kernel sees to it.
    memory: Option<u64>,
    pids: Option<u64>,
}

/// How much may lie on disk, and which setting says so.
#[derive(Debug, Clone, Copy)]
pub(super) enum Room {
    /// Of the agent file.
    Run(u64),
    /// Of the executor.
    Setup(u64),
}

impl Room {
    fn bytes(self) -> u64 {
        match self {
            Self::Run(bytes) | Self::Setup(bytes) => bytes,
        }
    }

    fn too_full(self) -> String {
        match self {
            Self::Run(limit) => {
                format!("its workspace holds more than {limit} bytes (limits.disk of the agent file)")
            }
            Self::Setup(limit) => {
                format!("what it installs takes more than {limit} bytes (caps.setup_bytes of the executor)")
            }
        }
    }
}

impl Scale {
    pub(super) fn new(process: &Process, limits: &Limits, disk: Room, folders: Vec<PathBuf>) -> Self {
        let counted = process.is_in_group();
        let footprint = process.footprint().clone();
        Self {
            folders,
            disk,
            memory: limits.memory.filter(|_| !counted),
            // Under a user id or in namespaces of their own the kernel counts them, too.
            pids: limits
                .pids
                .filter(|_| !counted && !footprint.has_own_user() && !process.is_apart()),
            footprint,
        }
    }

    /// Whether its processes have to be weighed.
    pub(super) fn has_to_weigh(&self) -> bool {
        self.memory.is_some() || self.pids.is_some()
    }

    /// Why it holds too much, if it does. Blocks.
    pub(super) fn too_full(&self) -> Option<Why> {
        match self.held() {
            Ok(bytes) if bytes <= self.disk.bytes() => None,
            Ok(_) => Some(Why::TooMuch(self.disk.too_full())),
            Err(unknown) => Some(Why::TooMuch(format!("its workspace holds {unknown}"))),
        }
    }

    /// Why its processes use too much, if they do. Blocks.
    pub(super) fn too_heavy(&self) -> Option<Why> {
        let weight = match self.footprint.weight() {
            Ok(weight) => weight,
            Err(unknown) => return Some(Why::TooMuch(format!("it has {unknown}"))),
        };
        if let Some(limit) = self.memory.filter(|limit| weight.memory > limit.saturating_add(BESIDE)) {
            return Some(Why::Memory(limit));
        }
        let limit = self.pids.filter(|limit| weight.threads > *limit)?;
        Some(Why::TooMuch(format!(
            "it has more than {limit} processes and threads (limits.pids of the agent file)"
        )))
    }

    fn held(&self) -> Result<u64, Unknown> {
        let mut sum = self.footprint.weight()?.removed;
        for folder in &self.folders {
            sum = sum.saturating_add(disk::usage(folder)?.bytes);
        }
        Ok(sum)
    }
}

impl Run {
    /// Waits until a process beside the agent is too heavy, and says why.
    pub(super) async fn too_much(&self, scale: &Scale) -> String {
        let mut measured = Duration::ZERO;
        loop {
            sleep(WEIGH).await;
            measured += WEIGH;
            let (full, scale) = (measured >= MEASURE, scale.clone());
            if full {
                measured = Duration::ZERO;
            }
            let weighing = self.parts.tasks.spawn_blocking("weigh", move || {
                let heavy = if scale.has_to_weigh() { scale.too_heavy() } else { None };
                heavy.or_else(|| if full { scale.too_full() } else { None })
            });
            match weighing.await.flatten() {
                Some(Why::TooMuch(what)) => return what,
                Some(Why::Memory(limit)) => return format!("it uses more memory than {limit} bytes"),
                _ => {}
            }
        }
    }
}
