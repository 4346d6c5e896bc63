//! Removing a tree whose maker meant it to be hard to remove.
//!
//! An agent may put a hundred thousand folders into each other, or take its own rights to them away. Whoever follows it
//! down by paths runs out of their length; by descriptors, out of those; by calls, out of stack. Here at most [`OPEN`]
//! folders are open at once: what lies deeper is moved up to the top first. Links are removed, never followed.

use std::ffi::{CStr, CString};
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStrExt as _;
use std::path::Path;

use rustix::fs::{AtFlags, CWD, Dir, Mode, OFlags, fchmod, fstat, openat, renameat, unlinkat};
use rustix::io::Errno;

/// Folders open at once.
const OPEN: usize = 64;
/// Times a folder is read again because something in it went, while something else came.
const PASSES: u32 = 1_000_000;
/// Names tried for a folder that is moved up, in a row.
const NAMES: u32 = 1000;

/// A folder on the way down.
struct Step {
    name: CString,
    folder: Dir,
    /// Whether something in it went since it was last read from its begin.
    gone: bool,
    passes: u32,
}

/// Removes a tree, or a file, however deep and with whatever rights. Nothing there is as good. Blocks.
///
/// # Errors
/// The system refuses; what went is gone.
pub fn remove(path: &Path) -> io::Result<()> {
    let name = path.file_name().ok_or(io::ErrorKind::InvalidInput)?;
    let name = CString::new(name.as_bytes())?;
    let parent = path.parent().filter(|parent| !parent.as_os_str().is_empty());
    let parent = parent.unwrap_or_else(|| Path::new("."));
    let parent = match openat(CWD, parent, flags(), Mode::empty()) {
        Err(Errno::NOENT) => return Ok(()),
        opened => opened?,
    };
    match enter(parent.as_fd(), &name) {
        Ok(top) => Ok(clear(&parent, name, top)?),
        Err(Errno::NOENT) => Ok(()),
        // A file, or a link to wherever.
        Err(Errno::NOTDIR | Errno::LOOP) => Ok(unlinkat(&parent, &name, AtFlags::empty())?),
        Err(error) => Err(error.into()),
    }
}

/// Removes a folder on a thread of its own: it may be large, and whoever drops it must not wait.
pub fn remove_aside(folder: std::path::PathBuf) {
    if folder.symlink_metadata().is_ok() {
        let thread = std::thread::Builder::new().name("remove".to_owned());
        // What is left, the next start removes.
        let _removing = thread.spawn(move || remove(&folder));
    }
}

fn clear(parent: &OwnedFd, name: CString, top: OwnedFd) -> rustix::io::Result<()> {
    let mut moved = 0;
    let mut trail = vec![Step::new(name, top)?];
    while let Some(mut step) = trail.pop() {
        if let Some(entry) = step.folder.read() {
            let entry = entry?;
            let name = entry.file_name();
            if name == c"." || name == c".." || step.take(name)? {
                trail.push(step);
                continue;
            }
            // It is a folder with something in it.
            if trail.len() + 1 < OPEN {
                let below = enter(step.folder.fd()?, name)?;
                trail.push(step);
                trail.push(Step::new(name.to_owned(), below)?);
            } else {
                let top = trail.first_mut().ok_or(Errno::INVAL)?;
                lift(step.folder.fd()?, name, top.folder.fd()?, &mut moved)?;
                (top.gone, step.gone) = (true, true);
                trail.push(step);
            }
            continue;
        }
        let above = match trail.last() {
            Some(above) => above.folder.fd()?,
            None => parent.as_fd(),
        };
        match unlinkat(above, &step.name, AtFlags::REMOVEDIR) {
            Ok(()) | Err(Errno::NOENT) => {
                if let Some(above) = trail.last_mut() {
                    above.gone = true;
                }
            }
            Err(Errno::NOTEMPTY | Errno::EXIST) if step.gone && step.passes < PASSES => {
                step.folder.rewind();
                step.gone = false;
                step.passes += 1;
                trail.push(step);
            }
            Err(error) => return Err(error),
        }
    }
    Ok(())
}

impl Step {
    fn new(name: CString, folder: OwnedFd) -> rustix::io::Result<Self> {
        Ok(Self {
            name,
            folder: Dir::new(folder)?,
            gone: false,
            passes: 0,
        })
    }

    /// Removes an entry unless that is a folder with something in it. Whether it is gone.
    fn take(&mut self, name: &CStr) -> rustix::io::Result<bool> {
        let folder = self.folder.fd()?;
        let taken = match unlinkat(folder, name, AtFlags::empty()) {
            // POSIX says so of folders, Linux the other.
            Err(Errno::PERM | Errno::ISDIR) => unlinkat(folder, name, AtFlags::REMOVEDIR),
            taken => taken,
        };
        match taken {
            Ok(()) => self.gone = true,
            Err(Errno::NOENT) => {}
            Err(Errno::NOTEMPTY | Errno::EXIST) => return Ok(false),
            Err(error) => return Err(error),
        }
        Ok(true)
    }
}

/// Moves a folder up to the top, under a name nobody has there.
fn lift(from: BorrowedFd<'_>, name: &CStr, top: BorrowedFd<'_>, moved: &mut u64) -> rustix::io::Result<()> {
    let mut opened = false;
    for _ in 0..NAMES {
        *moved += 1;
        match renameat(from, name, top, format!(".steward-deep-{moved}")) {
            Err(Errno::EXIST | Errno::NOTEMPTY | Errno::NOTDIR | Errno::ISDIR) => {}
            // Its entry for the folder above it is written, which its rights may forbid.
            Err(Errno::ACCESS) if !opened => {
                allow(from, name)?;
                opened = true;
            }
            outcome => return outcome,
        }
    }
    Err(Errno::EXIST)
}

/// Opens a folder for whatever is to be done in it.
fn enter(parent: BorrowedFd<'_>, name: &CStr) -> rustix::io::Result<OwnedFd> {
    let folder = match openat(parent, name, flags(), Mode::empty()) {
        Err(Errno::ACCESS) => {
            allow(parent, name)?;
            openat(parent, name, flags(), Mode::empty())?
        }
        opened => opened?,
    };
    if !Mode::from_raw_mode(fstat(&folder)?.st_mode).contains(Mode::RWXU) {
        // What cannot be done without shows up in what follows.
        let _refused = fchmod(&folder, Mode::RWXU);
    }
    Ok(folder)
}

/// Gives its owner all rights to a folder that cannot be opened, and to nothing a link there leads to.
#[cfg(target_os = "linux")]
fn allow(parent: BorrowedFd<'_>, name: &CStr) -> rustix::io::Result<()> {
    use std::os::fd::AsRawFd as _;
    use std::os::unix::fs::PermissionsExt as _;

    let place = openat(parent, name, flags() | OFlags::PATH, Mode::empty())?;
    let itself = format!("/proc/self/fd/{}", place.as_raw_fd());
    std::fs::set_permissions(itself, std::fs::Permissions::from_mode(0o700)).map_err(|_refused| Errno::ACCESS)
}

#[cfg(not(target_os = "linux"))]
fn allow(parent: BorrowedFd<'_>, name: &CStr) -> rustix::io::Result<()> {
    rustix::fs::chmodat(parent, name, Mode::RWXU, AtFlags::SYMLINK_NOFOLLOW)
}

fn flags() -> OFlags {
    OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC
}

#[cfg(test)]
pub(crate) mod tests {
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;

    /// A chain of folders inside each other.
    pub(crate) fn chain(root: &Path, levels: usize) {
        let mut at = openat(CWD, root, flags(), Mode::empty()).unwrap();
        for _ in 0..levels {
            rustix::fs::mkdirat(&at, c"d", Mode::RWXU).unwrap();
            at = openat(&at, c"d", flags(), Mode::empty()).unwrap();
        }
        rustix::fs::mkdirat(&at, c"closed", Mode::empty()).unwrap();
    }

    #[test]
    fn a_tree_deeper_than_any_path_goes_and_what_lies_beside_it_on_the_way_too() {
        let root = tempfile::tempdir().unwrap();
        let tree = root.path().join("tree");
        for name in ["tree/.steward-deep-1", "tree/side/by/side", "kept"] {
            std::fs::create_dir_all(root.path().join(name)).unwrap();
        }
        std::fs::write(tree.join("side/by/file"), "x").unwrap();
        std::os::unix::fs::symlink("../../kept", tree.join("side/link")).unwrap();
        chain(&tree, 5000);
        remove(&tree).unwrap();
        assert!(!tree.exists() && root.path().join("kept").exists());
        remove(&tree).unwrap();
    }

    #[test]
    fn a_link_is_removed_and_a_closed_folder_at_any_depth() {
        let root = tempfile::tempdir().unwrap();
        let tree = root.path().join("tree");
        let deep = tree.join(vec!["d"; 70].join("/"));
        std::fs::create_dir_all(deep.join("e")).unwrap();
        for folder in [deep.join("e"), deep.clone(), tree.join("d/d"), tree.clone()] {
            std::fs::set_permissions(folder, std::fs::Permissions::from_mode(0o000)).unwrap();
        }
        let link = root.path().join("link");
        std::os::unix::fs::symlink(&tree, &link).unwrap();
        remove(&link).unwrap();
        assert!(link.symlink_metadata().is_err() && tree.exists());
        remove(&tree).unwrap();
        assert!(!tree.exists());
    }
}
