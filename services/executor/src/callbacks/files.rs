//! Files of an attempt: what its endpoint sends, and what it may get.

use std::io;
use std::os::fd::{AsFd as _, OwnedFd};
use std::path::Path;
use std::sync::Arc;

use axum::body::Body;
use futures_util::StreamExt as _;
use nix::fcntl::{AT_FDCWD, OFlag, open, openat, renameat};
use nix::sys::stat::{Mode, fchmod, mkdirat};
use nix::unistd::{Gid, Uid, fchown};
use tokio::io::AsyncWriteExt as _;

use super::door::Shared;
use super::server::{Refusal, next_part};
use crate::hash::Hasher;

/// Only the run's user.
const PRIVATE: Mode = Mode::S_IRWXU;

/// What arrived.
#[derive(Debug, serde::Serialize)]
pub(super) struct Stored {
    name: String,
    bytes: u64,
    sha256: String,
}

/// Writes a body beside the workspace, and moves it below `out/` when all of it is there. `name` must be a checked one.
pub(super) async fn store(shared: &Arc<Shared>, name: String, body: Body) -> Result<Stored, Refusal> {
    shared.begin_upload()?;
    let temporary = tempfile::Builder::new().prefix("upload-").tempfile_in(&shared.folder);
    let (file, path) = temporary.map_err(|error| refused(&error))?.into_parts();
    let mut file = tokio::fs::File::from_std(file);
    let (mut hasher, mut bytes) = (Hasher::new(), 0_u64);
    let mut parts = body.into_data_stream();
    while let Some(part) = next_part(&mut parts).await? {
        shared.activity.touch();
        shared.count(part.len() as u64)?;
        bytes = bytes.saturating_add(part.len() as u64);
        hasher.update(&part);
        file.write_all(&part).await.map_err(|error| refused(&error))?;
    }
    file.flush().await.map_err(|error| refused(&error))?;
    let file = file.into_std().await;
    let placing = tokio::task::spawn_blocking({
        let (shared, name) = (Arc::clone(shared), name.clone());
        move || {
            let placed = shared.while_open(|| {
                place(&shared.out, &name, &path, &file, shared.uid).map_err(|error| match error.raw_os_error() {
                    Some(nix::libc::ELOOP | nix::libc::ENOTDIR | nix::libc::EISDIR | nix::libc::ENOTEMPTY) => {
                        Refusal::Bad("there is a folder, or a file where a folder would have to be".to_owned())
                    }
                    _ => refused(&error),
                })
            });
            if placed.is_ok() {
                // It has another name by now.
                let _moved = path.keep();
            }
            placed
        }
    });
    placing.await.map_err(|_stopped| shared.over())??;
    let sha256 = hasher.finish();
    Ok(Stored { name, bytes, sha256 })
}

/// A file of the job, to be read from its start, and its length.
pub(super) fn input(shared: &Shared, path: &str) -> Option<(std::fs::File, u64)> {
    let file = crate::artefacts::open_inside(&shared.work, path).ok()?;
    let metadata = file.metadata().ok().filter(std::fs::Metadata::is_file)?;
    Some((file, metadata.len()))
}

/// A file as a body that ends with its attempt. Every part that goes out is activity.
pub(super) fn body(shared: &Arc<Shared>, file: std::fs::File) -> Body {
    let shared = Arc::clone(shared);
    let parts = tokio_util::io::ReaderStream::with_capacity(tokio::fs::File::from_std(file), 64 * 1024);
    let until = shared.closed.clone();
    let parts = parts.inspect(move |_part| shared.activity.touch());
    Body::from_stream(parts.take_until(async move { until.cancelled().await }))
}

/// Gives a finished file its name below `out`: folder by folder, refusing links on every step. What stood there before is
/// replaced; a link would be, not what it names.
fn place(out: &Path, name: &str, from: &Path, file: &std::fs::File, uid: Option<u32>) -> io::Result<()> {
    let folder = OFlag::O_DIRECTORY | OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC | OFlag::O_RDONLY;
    let owner = uid.map(|id| (Uid::from_raw(id), Gid::from_raw(id)));
    let give = |what: &OwnedFd| match owner {
        Some((uid, gid)) => fchown(what, Some(uid), Some(gid)),
        None => Ok(()),
    };
    let mut at = open(out, folder, Mode::empty())?;
    let (folders, last) = name
        .rsplit_once('/')
        .map_or(("", name), |(folders, last)| (folders, last));
    for part in folders.split('/').filter(|part| !part.is_empty()) {
        let made = mkdirat(&at, part, PRIVATE);
        let next = openat(&at, part, folder, Mode::empty())?;
        match made {
            Ok(()) => give(&next)?,
            Err(nix::Error::EEXIST) => {}
            Err(error) => return Err(error.into()),
        }
        at = next;
    }
    if let Some((uid, gid)) = owner {
        fchown(file.as_fd(), Some(uid), Some(gid))?;
    }
    fchmod(file.as_fd(), Mode::S_IRUSR | Mode::S_IWUSR)?;
    renameat(AT_FDCWD, from, &at, last)?;
    Ok(())
}

fn refused(error: &io::Error) -> Refusal {
    if matches!(error.raw_os_error(), Some(nix::libc::ENOSPC | nix::libc::EDQUOT)) {
        return Refusal::Full;
    }
    tracing::warn!(%error, "a file of an endpoint could not be stored");
    Refusal::Broken
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;

    use super::*;

    #[test]
    fn a_file_that_arrives_follows_no_link_and_replaces_what_was_there() {
        let root = tempfile::tempdir().unwrap();
        let (out, outside) = (root.path().join("out"), root.path().join("outside"));
        std::fs::create_dir(&out).unwrap();
        std::fs::create_dir(&outside).unwrap();
        std::fs::write(outside.join("kept"), "kept").unwrap();
        symlink(&outside, out.join("folder")).unwrap();
        symlink(outside.join("kept"), out.join("link")).unwrap();
        let from = root.path().join("from");
        let put = |name: &str| {
            std::fs::write(&from, "new").unwrap();
            place(&out, name, &from, &std::fs::File::open(&from).unwrap(), None)
        };
        assert!(put("folder/x").is_err() && !outside.join("x").exists());
        put("link").unwrap();
        assert_eq!(std::fs::read_to_string(outside.join("kept")).unwrap(), "kept");
        assert!(!out.join("link").symlink_metadata().unwrap().is_symlink());
        put("a/b/c.txt").unwrap();
        put("a/b/c.txt").unwrap();
        assert_eq!(std::fs::read_to_string(out.join("a/b/c.txt")).unwrap(), "new");
        assert!(put("a/b").is_err(), "a folder stays a folder");
        assert!(put("a/b/c.txt/d").is_err(), "a file is no folder");
    }
}
