//! Files an agent delivers: opened without following anything it prepared, hashed, sent up.

use std::fs::File;
use std::io::{Read as _, Seek as _, SeekFrom};
use std::os::unix::fs::MetadataExt as _;
use std::path::Path;

use boot::Tasks;
use bytes::Bytes;
use nix::fcntl::{OFlag, open, openat};
use nix::sys::stat::Mode;
use rpc::v1::put_artefact_request::Kind;
use rpc::v1::{ArtefactHeader, PutArtefactRequest};
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::Status;

use crate::hash::Hasher;
use crate::kinds;
use crate::protocol::name::shorten;
use crate::scheduler::{Client, passes, pauses};

/// Bytes per message.
const PART: usize = 128 * 1024;
/// Parts read ahead of the wire.
const AHEAD: usize = 4;

/// Which run's files these are.
#[derive(Debug, Clone)]
pub struct Owner {
    /// The run.
    pub run_id: String,
    /// Its lease.
    pub lease_token: String,
    /// Its attempt.
    pub attempt: u32,
    /// The user id that must own the files, if the run has one of its own.
    pub uid: Option<u32>,
}

/// Bounds of one result.
#[derive(Debug, Clone, Copy)]
pub struct Bounds {
    /// Files.
    pub files: usize,
    /// Bytes of all of them.
    pub bytes: u64,
}

/// Why files could not be delivered.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The agent named something that may not be delivered.
    #[error("{0}")]
    Refused(String),
    /// The scheduler did not take it.
    #[error("send a file up: {0}")]
    Call(#[from] Box<Status>),
    /// The work was dropped at a hard stop.
    #[error("send a file up: stopped")]
    Stopped,
}

struct Opened {
    name: String,
    file: File,
    sha256: String,
    bytes: u64,
    remark: Option<String>,
}

/// Opens, hashes and sends the named files of `out`; tries again while the scheduler cannot be reached. Names must be
/// checked ones. What is remarkable about a file, and no reason to refuse it, goes to `remark`.
///
/// # Errors
/// See [`Error`].
pub async fn deliver(
    client: &Client,
    tasks: &Tasks,
    owner: &Owner,
    out: &Path,
    names: &[String],
    bounds: Bounds,
    mut remark: impl FnMut(&str),
) -> Result<Vec<ArtefactHeader>, Error> {
    let (out, names, uid) = (out.to_owned(), names.to_owned(), owner.uid);
    let opening = tasks.spawn_blocking("hash", move || open_all(&out, &names, uid, bounds));
    let opened = opening.await.ok_or(Error::Stopped)?.map_err(Error::Refused)?;
    let mut headers = Vec::with_capacity(opened.len());
    for found in opened {
        if let Some(said) = &found.remark {
            remark(said);
        }
        let header = ArtefactHeader {
            run_id: owner.run_id.clone(),
            lease_token: owner.lease_token.clone(),
            attempt: owner.attempt,
            media_type: media_type(&found.name).to_owned(),
            name: found.name,
            sha256: found.sha256,
            bytes: found.bytes,
        };
        send(client, tasks, &header, &found.file).await?;
        headers.push(header);
    }
    Ok(headers)
}

/// Which of these files of `out` are there and empty. Blocks.
#[must_use]
pub fn empty(out: &Path, names: &[String]) -> Vec<String> {
    let is_empty = |name: &&String| {
        let file = open_inside(out, name).and_then(|file| file.metadata().map_err(|error| error.to_string()));
        file.is_ok_and(|file| file.is_file() && file.len() == 0)
    };
    names.iter().filter(is_empty).cloned().collect()
}

async fn send(client: &Client, tasks: &Tasks, header: &ArtefactHeader, file: &File) -> Result<(), Error> {
    let mut pauses = pauses();
    loop {
        let file = file
            .try_clone()
            .map_err(|error| Error::Refused(unreadable(&header.name, &error)))?;
        let (parts, receiver) = mpsc::channel(AHEAD);
        let first = header.clone();
        let reading = tasks.spawn_blocking("read_artefact", move || feed(first, file, &parts));
        let Err(status) = client.put_artefact(ReceiverStream::new(receiver)).await else {
            return Ok(());
        };
        let _read = reading.await;
        if !passes(&status) {
            return Err(Error::Call(Box::new(status)));
        }
        tracing::debug!(%status, "sending a file up failed; it is tried again");
        tokio::time::sleep(pauses.next().unwrap_or_default()).await;
    }
}

/// Ends early when the call ended.
fn feed(header: ArtefactHeader, mut file: File, parts: &mpsc::Sender<PutArtefactRequest>) {
    let mut left = header.bytes;
    let tell = |kind| parts.blocking_send(PutArtefactRequest { kind: Some(kind) }).is_ok();
    if !tell(Kind::Header(header)) || file.seek(SeekFrom::Start(0)).is_err() {
        return;
    }
    let mut part = vec![0; PART];
    while left > 0 {
        let most = part.len().min(usize::try_from(left).unwrap_or(usize::MAX));
        let Some(Ok(read @ 1..)) = part.get_mut(..most).map(|room| file.read(room)) else {
            return;
        };
        left -= read as u64;
        if !tell(Kind::Data(Bytes::copy_from_slice(part.get(..read).unwrap_or_default()))) {
            return;
        }
    }
}

fn open_all(out: &Path, names: &[String], uid: Option<u32>, bounds: Bounds) -> Result<Vec<Opened>, String> {
    if names.len() > bounds.files {
        return Err(format!(
            "the result names {} files; at most {} are allowed",
            names.len(),
            bounds.files
        ));
    }
    let mut left = bounds.bytes;
    let mut opened = Vec::with_capacity(names.len());
    for name in names {
        let mut file = open_inside(out, name)?;
        let metadata = file.metadata().map_err(|error| unreadable(name, &error))?;
        if !metadata.is_file() {
            return Err(format!("out/{name} is not a plain file"));
        }
        if uid.is_some_and(|uid| metadata.uid() != uid) {
            return Err(format!("out/{name} does not belong to the agent"));
        }
        if metadata.len() > left {
            return Err(format!(
                "the files of the result are longer than {} bytes together",
                bounds.bytes
            ));
        }
        let mut head = Vec::new();
        let looked = file.by_ref().take(kinds::HEAD as u64).read_to_end(&mut head);
        looked
            .and_then(|_read| file.rewind())
            .map_err(|error| unreadable(name, &error))?;
        let (sha256, bytes) = hash(&mut file, left).map_err(|error| unreadable(name, &error))?;
        left = left.saturating_sub(bytes);
        opened.push(Opened {
            name: name.clone(),
            file,
            sha256,
            bytes,
            remark: kinds::mismatch(name, &head),
        });
    }
    Ok(opened)
}

/// Opens a file below `out` folder by folder, refusing links on every step: nothing the agent prepares, not even
/// while this runs, leads elsewhere. Opening never waits, also on a pipe.
pub(crate) fn open_inside(out: &Path, name: &str) -> Result<File, String> {
    let folder = OFlag::O_DIRECTORY | OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC | OFlag::O_RDONLY;
    let last = OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC | OFlag::O_RDONLY | OFlag::O_NONBLOCK;
    let failed = |errno: nix::Error| match errno {
        nix::Error::ENOENT => format!("out/{name} does not exist"),
        nix::Error::ELOOP | nix::Error::ENOTDIR | nix::Error::EMLINK => {
            format!("out/{name} is or lies behind a link; deliver the file itself")
        }
        other => format!("open out/{name}: {other}"),
    };
    let mut at = open(out, folder, Mode::empty()).map_err(failed)?;
    let mut parts = name.split('/').peekable();
    while let Some(part) = parts.next() {
        let flags = if parts.peek().is_some() { folder } else { last };
        at = openat(&at, part, flags, Mode::empty()).map_err(failed)?;
    }
    Ok(File::from(at))
}

/// The hash of at most `limit` bytes and how many there were.
fn hash(file: &mut File, limit: u64) -> std::io::Result<(String, u64)> {
    let (mut hasher, mut length) = (Hasher::new(), 0);
    let mut part = vec![0; PART];
    while length < limit {
        let read = file.read(&mut part)?;
        if read == 0 {
            break;
        }
        hasher.update(part.get(..read).unwrap_or_default());
        length += read as u64;
    }
    Ok((hasher.finish(), length))
}

fn unreadable(name: &str, error: &std::io::Error) -> String {
    format!("read out/{}: {error}", shorten(name))
}

/// By the name's ending; what is not known is bytes.
fn media_type(name: &str) -> &'static str {
    let ending = name
        .rsplit_once('.')
        .map_or("", |(_, ending)| ending)
        .to_ascii_lowercase();
    match ending.as_str() {
        "txt" | "log" | "py" | "rs" | "js" | "ts" | "sh" | "toml" | "yaml" | "yml" | "sql" => "text/plain",
        "md" => "text/markdown",
        "html" | "htm" => "text/html",
        "css" => "text/css",
        "csv" => "text/csv",
        "json" => "application/json",
        "xml" => "application/xml",
        "pdf" => "application/pdf",
        "zip" => "application/zip",
        "gz" | "tgz" => "application/gzip",
        "png" => "image/png",
        "jpg" | "jpeg" => "image/jpeg",
        "gif" => "image/gif",
        "webp" => "image/webp",
        "svg" => "image/svg+xml",
        "mp3" => "audio/mpeg",
        "mp4" => "video/mp4",
        _ => "application/octet-stream",
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;

    use super::*;

    const BOUNDS: Bounds = Bounds { files: 3, bytes: 100 };

    fn open(out: &Path, names: &[&str]) -> Result<Vec<Opened>, String> {
        let names: Vec<String> = names.iter().map(|name| (*name).to_owned()).collect();
        open_all(out, &names, None, BOUNDS)
    }

    #[test]
    fn links_pipes_and_folders_are_never_delivered() {
        let root = tempfile::tempdir().unwrap();
        let out = root.path();
        std::fs::write(out.join("secret"), "s").unwrap();
        std::fs::create_dir_all(out.join("real/deep")).unwrap();
        std::fs::write(out.join("real/deep/file"), "x").unwrap();
        symlink("/etc/passwd", out.join("link")).unwrap();
        symlink("real", out.join("folder")).unwrap();
        nix::unistd::mkfifo(&out.join("pipe"), Mode::S_IRWXU).unwrap();
        for (name, word) in [
            ("link", "link"),
            ("folder/deep/file", "link"),
            ("real", "plain"),
            ("pipe", "plain"),
            ("missing", "exist"),
        ] {
            let error = open(out, &[name]).map(drop).unwrap_err();
            assert!(error.contains(word), "{name}: {error}");
        }
        assert_eq!(open(out, &["real/deep/file"]).unwrap()[0].bytes, 1);
    }

    #[test]
    fn too_many_and_too_long_files_are_refused() {
        let root = tempfile::tempdir().unwrap();
        for name in ["a", "b", "c", "d"] {
            std::fs::write(root.path().join(name), vec![b'x'; 40]).unwrap();
        }
        assert!(open(root.path(), &["a", "b"]).is_ok());
        assert!(
            open(root.path(), &["a", "b", "c"])
                .map(drop)
                .unwrap_err()
                .contains("longer")
        );
        assert!(
            open(root.path(), &["a", "b", "c", "d"])
                .map(drop)
                .unwrap_err()
                .contains("at most 3")
        );
    }

    #[test]
    fn files_of_somebody_else_are_refused() {
        let root = tempfile::tempdir().unwrap();
        std::fs::write(root.path().join("a"), "x").unwrap();
        let other = nix::unistd::geteuid().as_raw() + 1;
        let error = open_all(root.path(), &["a".to_owned()], Some(other), BOUNDS)
            .map(drop)
            .unwrap_err();
        assert!(error.contains("belong"), "{error}");
    }
}
