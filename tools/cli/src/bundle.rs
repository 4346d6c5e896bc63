//! Packing an agent's folder: the same folder gives the same archive, byte for byte, whoever packs it and when.
//!
//! Ignore files (`.gitignore`, `.stewardignore`) of the folder itself are respected, those above it are not. What
//! looks like a secret is refused rather than left out: an agent that needs it would fail later and less clearly.

use std::io::Read as _;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Component, Path, PathBuf};

use anyhow::{Context as _, Result};
use domain::agent_file::AgentFile;
use ignore::WalkBuilder;
use tar::{Builder, EntryType, Header};

use crate::failure::Failure;
use crate::private::sha256;

pub mod runnable;

/// Bytes of all files together; the scheduler takes no larger bundle.
const MOST_BYTES: u64 = 256 * 1024 * 1024;
/// Entries of one bundle.
const MOST_FILES: usize = 20_000;
/// The longest agent file.
const LONGEST_FILE: u64 = 256 * 1024;
/// Nobody means to ship these.
const LEFT_OUT: [&str; 6] = [".git", ".hg", ".steward", "__pycache__", ".DS_Store", ".stewardignore"];
/// Names of private keys.
const KEY_NAMES: [&str; 6] = ["id_rsa", "id_ecdsa", "id_ed25519", "id_dsa", ".netrc", ".pgpass"];
const KEY_KINDS: [&str; 5] = ["pem", "key", "p12", "pfx", "keystore"];
/// How a private key begins, whatever its name.
const KEY_MARK: &[u8] = b"PRIVATE KEY-----";

/// An agent ready to be added.
#[derive(Debug, Clone)]
pub struct Packed {
    /// The agent file, read.
    pub agent: AgentFile,
    /// The agent file as written.
    pub text: String,
    /// SHA-256 of the archive: the agent's version.
    pub sha256: String,
    /// The archive.
    pub archive: Vec<u8>,
    /// What is in it, sorted.
    pub names: Vec<String>,
    /// The folder it was packed from.
    pub folder: PathBuf,
}

/// The agent file of a path: its own, or the one in the folder it names.
#[must_use]
pub fn agent_file(path: &Path) -> PathBuf {
    if path.is_dir() {
        path.join("agent.toml")
    } else {
        path.to_owned()
    }
}

/// Refuses an agent whose command cannot run as it is written; `way_out` ends the sentence.
///
/// # Errors
/// [`Failure::Refused`] with each reason and what to do about it.
pub fn runnable(packed: &Packed, place: runnable::Place, way_out: &str) -> Result<()> {
    let problems = runnable::problems(packed, place);
    if problems.is_empty() {
        return Ok(());
    }
    let name = &packed.agent.name;
    let list = problems.join("\n  - ");
    Err(refused(format!(
        "{name} could not run as its agent file says:\n  - {list}{way_out}"
    )))
}

/// Reads an agent file and packs the folder it lies in. Blocks.
///
/// # Errors
/// [`Failure::Usage`] for a file that cannot be used, [`Failure::Refused`] for a folder that must not be packed.
pub fn pack(file: &Path) -> Result<Packed> {
    let text = read_agent_file(file)?;
    let agent = AgentFile::parse(&text).map_err(|error| usage(format!("{}: {error}", file.display())))?;
    let folder = match file.parent() {
        Some(folder) if !folder.as_os_str().is_empty() => folder,
        _ => Path::new("."),
    };
    let folder = folder
        .canonicalize()
        .with_context(|| format!("find {}", folder.display()))?;
    let entries = entries(&folder)?;
    let archive = archive(&entries)?;
    Ok(Packed {
        agent,
        text,
        sha256: sha256(&archive),
        archive,
        names: entries.into_iter().map(|entry| entry.name).collect(),
        folder,
    })
}

/// One thing to pack.
struct Entry {
    name: String,
    path: PathBuf,
    kind: Kind,
}

enum Kind {
    File { bytes: u64, executable: bool },
    Link { to: PathBuf },
}

/// What to say of an agent file that cannot be opened or read.
#[must_use]
pub fn unreadable(file: &Path, error: &std::io::Error) -> Failure {
    let mend = if error.kind() == std::io::ErrorKind::NotFound {
        ": name a folder that holds an agent.toml, or such a file; `steward agents init FOLDER` makes one"
    } else {
        ""
    };
    usage(format!("read the agent file {}: {error}{mend}", file.display()))
}

fn read_agent_file(file: &Path) -> Result<String> {
    let opened = std::fs::File::open(file).map_err(|error| unreadable(file, &error))?;
    let mut text = String::new();
    let read = opened
        .take(LONGEST_FILE + 1)
        .read_to_string(&mut text)
        .map_err(|error| unreadable(file, &error))?;
    if read as u64 > LONGEST_FILE {
        return Err(usage(format!("{} is longer than {LONGEST_FILE} bytes", file.display())).into());
    }
    Ok(text)
}

fn entries(folder: &Path) -> Result<Vec<Entry>> {
    let mut walk = WalkBuilder::new(folder);
    walk.standard_filters(false)
        .git_ignore(true)
        .require_git(false)
        .add_custom_ignore_filename(".stewardignore")
        .filter_entry(|entry| {
            !entry
                .file_name()
                .to_str()
                .is_some_and(|name| entry.depth() > 0 && LEFT_OUT.contains(&name))
        });
    let mut found = Vec::new();
    let mut left = MOST_BYTES;
    for entry in walk.build() {
        let entry = entry.context("list the agent's folder")?;
        if entry.file_type().is_none_or(|kind| kind.is_dir()) {
            continue;
        }
        if found.len() >= MOST_FILES {
            return Err(refused(format!(
                "the folder has more than {MOST_FILES} files: name what is not needed in .stewardignore"
            )));
        }
        let entry = examine(folder, entry.path())?;
        if let Kind::File { bytes, .. } = entry.kind {
            left = left.checked_sub(bytes).ok_or_else(|| {
                refused(format!(
                    "the folder holds more than {} MiB: name what is not needed in .stewardignore",
                    MOST_BYTES >> 20
                ))
            })?;
        }
        found.push(entry);
    }
    // The walk's own order depends on the file system.
    found.sort_by(|a, b| a.name.cmp(&b.name));
    Ok(found)
}

fn examine(folder: &Path, path: &Path) -> Result<Entry> {
    let inner = path.strip_prefix(folder).context("a file lies in its folder")?;
    let name = inner
        .to_str()
        .ok_or_else(|| {
            refused(format!(
                "{}: a name that is not UTF-8 cannot be packed",
                inner.display()
            ))
        })?
        .to_owned();
    let metadata = path.symlink_metadata().with_context(|| format!("look at {name}"))?;
    let kind = if metadata.is_symlink() {
        let to = std::fs::read_link(path).with_context(|| format!("read the link {name}"))?;
        if leaves(inner, &to) {
            return Err(refused(format!(
                "{name} is a link that leaves the folder: remove it or copy what it shows"
            )));
        }
        Kind::Link { to }
    } else if metadata.is_file() {
        refuse_secret(&name, path)?;
        Kind::File {
            bytes: metadata.len(),
            executable: metadata.permissions().mode() & 0o111 != 0,
        }
    } else {
        return Err(refused(format!("{name} is neither a file nor a link: remove it")));
    };
    Ok(Entry {
        name,
        path: path.to_owned(),
        kind,
    })
}

/// Whether a link of this name leads out of the folder, judged by its text alone, as whoever unpacks it does.
fn leaves(name: &Path, to: &Path) -> bool {
    let mut depth = name.components().count() as i64 - 1;
    to.components().any(|part| {
        depth += match part {
            Component::Normal(_) => 1,
            Component::CurDir => 0,
            Component::ParentDir => -1,
            Component::RootDir | Component::Prefix(_) => i64::MIN / 2,
        };
        depth < 0
    })
}

fn refuse_secret(name: &str, path: &Path) -> Result<()> {
    let last = path.file_name().and_then(|name| name.to_str()).unwrap_or_default();
    let advice = "an agent gets no secret; remove it, or name it in .stewardignore";
    let is_environment = last == ".env" || (last.starts_with(".env.") && !last.ends_with(".example"));
    let kind = path.extension().and_then(|kind| kind.to_str()).unwrap_or_default();
    if is_environment {
        return Err(refused(format!("{name} holds an environment: {advice}")));
    }
    if KEY_NAMES.contains(&last) || KEY_KINDS.contains(&kind) {
        return Err(refused(format!("{name} is named like a private key: {advice}")));
    }
    let mut start = Vec::new();
    std::fs::File::open(path)
        .and_then(|file| file.take(4096).read_to_end(&mut start))
        .with_context(|| format!("read {name}"))?;
    let is_key = start.trim_ascii_start().starts_with(b"-----BEGIN")
        && start.windows(KEY_MARK.len()).any(|window| window == KEY_MARK);
    if is_key {
        return Err(refused(format!("{name} holds a private key: {advice}")));
    }
    Ok(())
}

fn archive(entries: &[Entry]) -> Result<Vec<u8>> {
    let mut builder = Builder::new(Vec::new());
    for entry in entries {
        let mut header = Header::new_gnu();
        header.set_mtime(0);
        header.set_uid(0);
        header.set_gid(0);
        match &entry.kind {
            Kind::File { bytes, executable } => {
                header.set_entry_type(EntryType::Regular);
                header.set_mode(if *executable { 0o755 } else { 0o644 });
                header.set_size(*bytes);
                let mut content = Vec::new();
                std::fs::File::open(&entry.path)
                    .and_then(|file| file.take(bytes + 1).read_to_end(&mut content))
                    .with_context(|| format!("read {}", entry.name))?;
                if content.len() as u64 != *bytes {
                    anyhow::bail!("{} changed while it was packed: try again", entry.name);
                }
                builder.append_data(&mut header, &entry.name, content.as_slice())?;
            }
            Kind::Link { to } => {
                header.set_entry_type(EntryType::Symlink);
                header.set_mode(0o777);
                header.set_size(0);
                builder.append_link(&mut header, &entry.name, to)?;
            }
        }
    }
    builder.into_inner().context("finish the archive")
}

fn usage(text: String) -> Failure {
    Failure::Usage(text)
}

fn refused(text: String) -> anyhow::Error {
    Failure::Refused(text).into()
}
