//! Room on the disk the executor works on: looked at now and then; with too little, nothing new is taken.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use nix::sys::statvfs::statvfs;
use tokio::time::{MissedTickBehavior, interval};

use crate::metrics;
use crate::parts::Parts;
use crate::slots::Hold;

/// Between two looks.
const EVERY: Duration = Duration::from_secs(2);

/// Bytes this user may still write to the file system of a folder; none when the system cannot say. Blocks, shortly.
#[must_use]
pub fn free(folder: &Path) -> Option<u64> {
    let found = statvfs(folder).ok()?;
    // Their widths differ between systems.
    #[expect(clippy::useless_conversion, reason = "they are narrower on other systems")]
    let (blocks, size) = (u64::from(found.blocks_available()), u64::from(found.fragment_size()));
    Some(blocks.saturating_mul(size))
}

/// Looks as long as the executor lives.
pub(crate) async fn watch(parts: Arc<Parts>) {
    let mut tick = interval(EVERY);
    tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut held = false;
    while parts.over.run_until_cancelled(tick.tick()).await.is_some() {
        let folders = [parts.folders.runs(), parts.folders.completions()];
        let completions = parts.completions.clone();
        let looking = parts.tasks.spawn_blocking("room", move || {
            completions.keep_room();
            folders.iter().filter_map(|folder| free(folder)).min()
        });
        let Some(Some(bytes)) = looking.await else { continue };
        ::metrics::gauge!(metrics::DISK_FREE).set(bytes as f64);
        let wanted = holds(held, bytes, parts.config.work.min_free_bytes);
        if wanted != held {
            tell(wanted, bytes, parts.config.work.min_free_bytes);
            parts.slots.hold(Hold::Room, wanted);
            held = wanted;
        }
    }
}

/// A quarter more than the least must be there before anything is taken again.
fn holds(held: bool, free: u64, least: u64) -> bool {
    let enough = if held { least.saturating_add(least / 4) } else { least };
    free < enough
}

fn tell(held: bool, free: u64, least: u64) {
    if held {
        tracing::error!(
            free,
            least,
            "the disk of work.dir is nearly full: no run is taken until there is room (work.min_free_bytes)"
        );
    } else {
        tracing::info!(free, "there is room on the disk of work.dir again: runs are taken");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_hovers_about_the_least_is_not_taken_and_refused_by_turns() {
        assert!(!holds(false, 100, 100));
        assert!(holds(false, 99, 100));
        assert!(holds(true, 124, 100));
        assert!(!holds(true, 125, 100));
        assert!(!holds(false, 0, 0), "0 switches it off");
    }

    #[test]
    fn every_file_system_says_how_much_room_it_has() {
        assert!(free(Path::new("/tmp")).is_some());
        assert_eq!(free(Path::new("/nowhere/at/all")), None);
    }
}
