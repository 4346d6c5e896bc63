//! What a run holds on disk: what lies in its folders, and what it removed and keeps open.

use std::collections::HashMap;
use std::io::{self, Read as _};
use std::os::unix::fs::MetadataExt as _;
use std::path::Path;

/// Entries looked at; more than this counts as too much.
const MAX_ENTRIES: u64 = 200_000;
/// Bytes of the names of folders that wait to be looked at.
const MAX_WAITING: usize = 32 << 20;
/// Open files looked at.
const MAX_OPEN: usize = 500_000;
/// Of one process's list of what is mapped, bytes.
const MAX_MAPS: u64 = 4 << 20;
/// Ends the name of what was removed.
const REMOVED: &str = " (deleted)";
/// Begins of the names of files that lie in memory.
const IN_MEMORY: [&str; 4] = ["/memfd:", "/dev/shm/", "/SYSV", "/dev/zero"];

/// What lies in a folder.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Usage {
    /// Bytes on disk.
    pub bytes: u64,
    /// Files and folders.
    pub entries: u64,
}

/// Why it cannot be told how much there is: as much as it takes to hide it.
#[derive(Debug, thiserror::Error)]
pub enum Unknown {
    /// Too many.
    #[error("more than {MAX_ENTRIES} files")]
    Entries,
    /// Too many.
    #[error("more than {MAX_OPEN} open files")]
    Open,
    /// Closed, or too deep.
    #[error("a folder that cannot be looked into, so that nobody can tell what it holds: {0}")]
    Closed(io::Error),
}

/// What was removed and is still open, or mapped.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Removed {
    /// Bytes on disk.
    pub disk: u64,
    /// Bytes in memory.
    pub memory: u64,
}

/// What a folder takes on disk. Blocks.
///
/// # Errors
/// It cannot be told, which is for the caller too much.
pub fn usage(folder: &Path) -> Result<Usage, Unknown> {
    let mut found = Usage::default();
    let mut waiting = vec![folder.to_owned()];
    let mut names = 0;
    while let Some(folder) = waiting.pop() {
        names -= folder.as_os_str().len().min(names);
        for entry in entries(&folder).map_err(Unknown::Closed)? {
            let metadata = match entry.and_then(|entry| Ok((entry.path(), entry.path().symlink_metadata()?))) {
                Ok((path, metadata)) => {
                    if metadata.is_dir() {
                        names += path.as_os_str().len();
                        waiting.push(path);
                    }
                    metadata
                }
                // It went meanwhile.
                Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
                Err(error) => return Err(Unknown::Closed(error)),
            };
            found.entries += 1;
            found.bytes = found.bytes.saturating_add(metadata.blocks().saturating_mul(512));
            if found.entries >= MAX_ENTRIES || names > MAX_WAITING {
                return Err(Unknown::Entries);
            }
        }
    }
    Ok(found)
}

/// What is in a folder that may be gone, or something else, by now.
fn entries(folder: &Path) -> io::Result<impl Iterator<Item = io::Result<std::fs::DirEntry>>> {
    let there = match folder.symlink_metadata() {
        Ok(metadata) => metadata.is_dir(),
        Err(error) if error.kind() == io::ErrorKind::NotFound => false,
        Err(error) => return Err(error),
    };
    let listed = match there.then(|| std::fs::read_dir(folder)) {
        Some(Err(error)) if error.kind() == io::ErrorKind::NotFound => None,
        Some(listed) => Some(listed?),
        None => None,
    };
    Ok(listed.into_iter().flatten())
}

/// What these processes removed and keep, as far as this one may look. Blocks.
///
/// # Errors
/// They have more open than is looked at.
pub fn removed(processes: &[i32]) -> Result<Removed, Unknown> {
    // By its number, since the device of a file of an overlay has two names.
    let mut kept: HashMap<u64, (bool, u64)> = HashMap::new();
    let mut looked = 0;
    for pid in processes {
        let open = std::fs::read_dir(format!("/proc/{pid}/fd"));
        for path in open.into_iter().flatten().flatten().map(|entry| entry.path()) {
            looked += 1;
            if looked > MAX_OPEN {
                return Err(Unknown::Open);
            }
            if let Some((number, memory, bytes)) = open_file(&path) {
                kept.insert(number, (memory, bytes));
            }
        }
    }
    let mut closed: HashMap<u64, (bool, u64)> = HashMap::new();
    for (number, memory, bytes) in processes.iter().flat_map(|pid| mapped(*pid)) {
        let (_, most) = closed.entry(number).or_insert((memory, 0));
        *most = bytes.max(*most);
    }
    for (number, held) in closed {
        kept.entry(number).or_insert(held);
    }
    let mut all = Removed::default();
    for (memory, bytes) in kept.into_values() {
        let sum = if memory { &mut all.memory } else { &mut all.disk };
        *sum = sum.saturating_add(bytes);
    }
    Ok(all)
}

/// Number, whether it lies in memory, and bytes of a plain file without a name.
fn open_file(path: &Path) -> Option<(u64, bool, u64)> {
    let name = std::fs::read_link(path).ok()?;
    let name = name.to_str()?;
    if !name.ends_with(REMOVED) {
        return None;
    }
    let file = path.metadata().ok()?;
    let bytes = file.blocks().saturating_mul(512);
    (file.is_file() && file.nlink() == 0).then(|| (file.ino(), in_memory(name), bytes))
}

/// The same of files that are mapped and may be closed; of those only the length of what is mapped is known.
fn mapped(pid: i32) -> Vec<(u64, bool, u64)> {
    let mut text = Vec::new();
    let read =
        std::fs::File::open(format!("/proc/{pid}/maps")).and_then(|file| file.take(MAX_MAPS).read_to_end(&mut text));
    if read.is_err() {
        return Vec::new();
    }
    String::from_utf8_lossy(&text).lines().filter_map(mapping).collect()
}

fn mapping(line: &str) -> Option<(u64, bool, u64)> {
    let name = line.strip_suffix(REMOVED)?;
    let mut fields = name.splitn(6, ' ');
    let (from, to) = fields.next()?.split_once('-')?;
    let offset = fields.nth(1)?;
    let number = fields.nth(1)?.parse().ok()?;
    let hex = |text| u64::from_str_radix(text, 16).ok();
    let name = fields.next()?.trim_start();
    let end = hex(to)?.checked_sub(hex(from)?)?.saturating_add(hex(offset)?);
    // What lies in memory is counted as memory where it is used.
    (!in_memory(name)).then_some((number, false, end))
}

fn in_memory(name: &str) -> bool {
    IN_MEMORY.iter().any(|begin| name.starts_with(begin))
}

#[cfg(test)]
mod tests {
    use std::io::Write as _;
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;

    #[test]
    fn what_lies_deeper_than_a_path_is_long_counts_as_too_much() {
        let root = tempfile::tempdir().unwrap();
        let tree = root.path().join("tree");
        std::fs::create_dir(&tree).unwrap();
        let mut at = rustix::fs::open(&tree, rustix::fs::OFlags::DIRECTORY, rustix::fs::Mode::empty()).unwrap();
        for _ in 0..30 {
            let name = "d".repeat(200);
            rustix::fs::mkdirat(&at, &name, rustix::fs::Mode::RWXU).unwrap();
            at = rustix::fs::openat(&at, &name, rustix::fs::OFlags::DIRECTORY, rustix::fs::Mode::empty()).unwrap();
        }
        assert!(matches!(usage(&tree), Err(Unknown::Closed(_))));
        crate::tree::remove(&tree).unwrap();
    }

    #[test]
    fn a_closed_folder_counts_as_too_much_unless_it_can_be_looked_into() {
        let root = tempfile::tempdir().unwrap();
        let closed = root.path().join("closed");
        std::fs::create_dir(&closed).unwrap();
        std::fs::write(closed.join("file"), vec![7; 100_000]).unwrap();
        std::fs::set_permissions(&closed, std::fs::Permissions::from_mode(0o000)).unwrap();
        match usage(root.path()) {
            Ok(found) => assert!(found.bytes >= 100_000, "root looks into it: {found:?}"),
            Err(error) => assert!(matches!(error, Unknown::Closed(_))),
        }
        crate::tree::remove(&closed).unwrap();
    }

    #[cfg(target_os = "linux")]
    #[test]
    fn a_file_that_was_removed_and_is_open_or_mapped_is_counted_once() {
        let here = [i32::try_from(std::process::id()).unwrap(); 2];
        let before = removed(&here).unwrap();
        let mut file = tempfile::tempfile().unwrap();
        file.write_all(&vec![7; 8 << 20]).unwrap();
        let second = file.try_clone().unwrap();
        let during = removed(&here).unwrap();
        let more = during.disk.saturating_sub(before.disk) + during.memory.saturating_sub(before.memory);
        assert!((8 << 20..16 << 20).contains(&more), "{before:?} {during:?}");
        drop((file, second));
        let maps = "7f0000000000-7f0000100000 rw-s 00200000 fd:01 4711                       /tmp/#4711 (deleted)";
        assert_eq!(mapping(maps), Some((4711, false, 3 << 20)));
        assert_eq!(
            mapping("7f0000000000-7f0000100000 r--p 00000000 fd:01 4711  /usr/lib/x.so"),
            None
        );
    }
}
