//! What the processes of a run use at one time, where no control group counts it.

use std::io::Read as _;

use super::Footprint;
use crate::disk::{self, Unknown};

/// A list of figures longer than this is not read further.
const MAX_FIGURES: u64 = 64 * 1024;

/// What they use now.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Weight {
    /// Processes and threads.
    pub threads: u64,
    /// Bytes of memory: what they wrote, what they share counted once as far as this process may look, and files in
    /// memory that have no name. Not what they read of files on disk.
    pub memory: u64,
    /// Bytes on disk of files they removed and keep.
    pub removed: u64,
}

impl Footprint {
    /// What the run's processes use now. Blocks.
    ///
    /// # Errors
    /// They have more files open than are looked at.
    pub fn weight(&self) -> Result<Weight, Unknown> {
        let stats = self.stats();
        let processes: Vec<i32> = stats.iter().map(|stat| stat.pid).collect();
        let removed = disk::removed(&processes)?;
        let (mut own, mut shared) = (0_u64, 0_u64);
        for pid in processes {
            let (mine, ours) = memory(pid);
            own = own.saturating_add(mine);
            shared = shared.saturating_add(ours);
        }
        Ok(Weight {
            threads: stats.iter().map(|stat| stat.threads).sum(),
            // A file in memory may be mapped, or only written.
            memory: own.saturating_add(shared.max(removed.memory)),
            removed: removed.disk,
        })
    }
}

/// Bytes of one process: its own, and its part of what it shares.
fn memory(pid: i32) -> (u64, u64) {
    let parts = read(pid, "smaps_rollup");
    let sum = |text: &str, names: &[&str]| names.iter().map(|name| figure(text, name)).sum();
    if parts.is_empty() {
        // Everybody may read this one; what is shared counts with each.
        let text = read(pid, "status");
        return (sum(&text, &["RssAnon:", "VmSwap:"]), sum(&text, &["RssShmem:"]));
    }
    (sum(&parts, &["Pss_Anon:", "SwapPss:"]), sum(&parts, &["Pss_Shmem:"]))
}

fn read(pid: i32, file: &str) -> String {
    let mut text = String::new();
    let read = std::fs::File::open(format!("/proc/{pid}/{file}"))
        .and_then(|file| file.take(MAX_FIGURES).read_to_string(&mut text));
    if read.is_ok() { text } else { String::new() }
}

/// A line such as `Pss_Anon:   12 kB`, in bytes.
fn figure(text: &str, name: &str) -> u64 {
    let line = text.lines().find_map(|line| line.strip_prefix(name));
    let number = line.and_then(|rest| rest.split_ascii_whitespace().next()?.parse::<u64>().ok());
    number.unwrap_or_default().saturating_mul(1024)
}

#[cfg(all(test, target_os = "linux"))]
mod tests {
    use std::io::Write as _;

    use super::*;

    #[test]
    fn memory_that_is_shared_and_files_in_memory_that_nobody_maps_are_counted() {
        let here = Footprint::of_run(
            Some(i32::try_from(std::process::id()).unwrap()),
            None,
            "/no/such/marker".to_owned(),
        );
        // This process is never part of a run, and its child is.
        assert_eq!(here.weight().unwrap(), Weight::default());
        let program = "import os, mmap, sys\n\
            fd = os.memfd_create('x')\n\
            os.write(fd, b'x' * (24 << 20))\n\
            kept = b'x' * (8 << 20)\n\
            shared = mmap.mmap(-1, 16 << 20)\n\
            shared.write(b'x' * (16 << 20))\n\
            print('up', flush=True)\n\
            sys.stdin.read()";
        let mut child = std::process::Command::new("python3")
            .args(["-c", program])
            .stdin(std::process::Stdio::piped())
            .stdout(std::process::Stdio::piped())
            .spawn()
            .unwrap();
        let mut up = [0; 3];
        std::io::Read::read_exact(child.stdout.as_mut().unwrap(), &mut up).unwrap();
        let run = Footprint::of_run(i32::try_from(child.id()).ok(), None, "/no/such/marker".to_owned());
        let weight = run.weight().unwrap();
        assert!((32 << 20..128 << 20).contains(&weight.memory), "{weight:?}");
        assert_eq!(weight.threads, 1);
        child.stdin.take().unwrap().write_all(b"end").unwrap();
        child.wait().unwrap();
    }
}
