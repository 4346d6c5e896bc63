//! Agents' code: fetched once per version, checked, unpacked read-only, set up once, kept for the next run.

mod unpack;

use std::collections::HashMap;
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _, lchown};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::SystemTime;

use boot::Tasks;
use uuid::Uuid;

use crate::scheduler::{Client, FetchError};
use crate::{hash, metrics, tree};

/// Folders of a bundle that is set up, in each other.
const MAX_LEVELS: usize = 128;
/// Ends the name of a note that a bundle is not set up yet.
const RAW: &str = ".raw";

/// Why a bundle cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// It was not fetched.
    #[error("get the bundle: {0}")]
    Fetch(#[from] FetchError),
    /// It is not one.
    #[error("unpack the bundle {sha256}: {reason}")]
    Unpack {
        /// The version.
        sha256: String,
        /// What is wrong with it.
        reason: String,
    },
    /// Its `setup` failed.
    #[error("set up the bundle {sha256}: {reason}")]
    Setup {
        /// The version.
        sha256: String,
        /// What happened.
        reason: String,
    },
    /// The system refuses.
    #[error("keep the bundle {sha256}: {source}")]
    Io {
        /// The version.
        sha256: String,
        /// What the system said.
        source: std::io::Error,
    },
}

/// The bundles on this machine; clones are the same set.
#[derive(Debug, Clone)]
pub struct Bundles(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    folder: PathBuf,
    begun: PathBuf,
    limit: u64,
    kept: usize,
    tasks: Tasks,
    /// One at a time per version: the second run waits for the first one's unpacking.
    gates: Mutex<HashMap<String, Arc<Gate>>>,
}

#[derive(Debug, Default)]
struct Gate(tokio::sync::Mutex<()>);

/// A bundle in use: not removed while this lives.
#[derive(Debug)]
pub struct Bundle {
    path: PathBuf,
    _used: Arc<Gate>,
}

impl Bundle {
    /// Its folder.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }
}

impl Bundles {
    /// Keeps bundles in `folder`, works in `begun`.
    #[must_use]
    pub fn new(folder: PathBuf, begun: PathBuf, limit: u64, kept: usize, tasks: Tasks) -> Self {
        let gates = Mutex::default();
        Self(Arc::new(Inner {
            folder,
            begun,
            limit,
            kept,
            tasks,
            gates,
        }))
    }

    /// The unpacked bundle of that hash. `setup_key` tells apart versions that are set up differently (empty: not at
    /// all); `setup` is called with the folder at its place before it becomes read-only, once per version and key.
    ///
    /// # Errors
    /// See [`Error`]. A failed one leaves nothing behind.
    pub async fn get<F>(
        &self,
        client: &Client,
        sha256: &str,
        setup_key: &str,
        setup: impl FnOnce(PathBuf) -> F,
    ) -> Result<Bundle, Error>
    where
        F: Future<Output = Result<(), String>>,
    {
        if !hash::looks_right(sha256) {
            let reason = "its name is not a SHA-256".to_owned();
            return Err(Error::Unpack {
                sha256: sha256.to_owned(),
                reason,
            });
        }
        let name = match setup_key {
            "" => sha256.to_owned(),
            key => format!("{sha256}-{}", &hash::of(key.as_bytes())[..16]),
        };
        let path = self.0.folder.join(&name);
        let gate = self.gate(&name);
        let turn = gate.0.lock().await;
        if !path.is_dir() {
            let outcome = self.fetch(client, sha256, &path, !setup_key.is_empty(), setup).await;
            let label = if outcome.is_ok() { "fetched" } else { "failed" };
            ::metrics::counter!(metrics::BUNDLES, "outcome" => label).increment(1);
            outcome?;
        }
        self.0.touch(&path);
        drop(turn);
        Ok(Bundle { path, _used: gate })
    }

    async fn fetch<F>(
        &self,
        client: &Client,
        sha256: &str,
        path: &Path,
        set_up: bool,
        setup: impl FnOnce(PathBuf) -> F,
    ) -> Result<(), Error>
    where
        F: Future<Output = Result<(), String>>,
    {
        self.prune().await;
        let begun = Begun::new(&self.0.begun);
        client.fetch_bundle(sha256, &begun.archive, self.0.limit).await?;
        let (archive, folder, limit) = (begun.archive.clone(), begun.folder.clone(), self.0.limit);
        let unpacking = self
            .0
            .tasks
            .spawn_blocking("unpack", move || unpack::unpack(&archive, &folder, limit));
        let unpacked = unpacking
            .await
            .unwrap_or_else(|| Err("unpacking was stopped".to_owned()));
        unpacked.map_err(|reason| Error::Unpack {
            sha256: sha256.to_owned(),
            reason,
        })?;
        let io = |source| Error::Io {
            sha256: sha256.to_owned(),
            source,
        };
        if !set_up {
            let (from, to) = (begun.folder.clone(), path.to_owned());
            let sealing = self.blocking("seal", move || {
                seal(&from, MAX_LEVELS)?;
                std::fs::rename(&from, &to)
            });
            return sealing.await.map_err(io);
        }
        // What is made here may hold its own path (virtual environments do): it is set up where it stays.
        let raw = Raw::put(&begun.folder, path, &self.0.begun).map_err(io)?;
        setup(path.to_owned()).await.map_err(|reason| Error::Setup {
            sha256: sha256.to_owned(),
            reason,
        })?;
        let to = path.to_owned();
        self.blocking("seal", move || seal(&to, MAX_LEVELS)).await.map_err(io)?;
        raw.done().map_err(io)
    }

    async fn blocking(
        &self,
        name: &'static str,
        work: impl FnOnce() -> std::io::Result<()> + Send + 'static,
    ) -> std::io::Result<()> {
        let working = self.0.tasks.spawn_blocking(name, work);
        working.await.unwrap_or_else(|| Err(std::io::Error::other("stopped")))
    }

    fn gate(&self, name: &str) -> Arc<Gate> {
        let mut gates = self.0.lock();
        gates.retain(|_, gate| Arc::strong_count(gate) > 1);
        Arc::clone(gates.entry(name.to_owned()).or_default())
    }

    /// Removes the bundles longest unused, so that with one more no more than `kept` lie here.
    async fn prune(&self) {
        let inner = Arc::clone(&self.0);
        let pruning = self.0.tasks.spawn_blocking("prune", move || {
            for path in inner.surplus() {
                if let Err(error) = tree::remove(&path) {
                    tracing::warn!(bundle = %path.display(), %error, "an old bundle could not be removed");
                }
            }
        });
        let _done = pruning.await;
    }
}

impl Inner {
    fn lock(&self) -> MutexGuard<'_, HashMap<String, Arc<Gate>>> {
        self.gates.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Marks a bundle as used now.
    fn touch(&self, path: &Path) {
        let touched = std::fs::File::open(path).and_then(|folder| folder.set_modified(SystemTime::now()));
        if let Err(error) = touched {
            tracing::debug!(bundle = %path.display(), %error, "noting a bundle's use failed");
        }
    }

    fn surplus(&self) -> Vec<PathBuf> {
        let used: Vec<String> = {
            let gates = self.lock();
            let used = gates.iter().filter(|(_, gate)| Arc::strong_count(gate) > 1);
            used.map(|(name, _)| name.clone()).collect()
        };
        let mut found: Vec<(SystemTime, PathBuf)> = std::fs::read_dir(&self.folder)
            .into_iter()
            .flatten()
            .flatten()
            .filter_map(|entry| Some((entry.metadata().ok()?.modified().ok()?, entry.path())))
            .collect();
        let surplus = (found.len() + 1).saturating_sub(self.kept);
        found.sort();
        found.retain(|(_, path)| {
            let name = path.file_name().unwrap_or_default().to_string_lossy();
            !used.iter().any(|used| *used == name)
        });
        found.into_iter().take(surplus).map(|(_, path)| path).collect()
    }
}

/// Something half done; gone when dropped.
struct Begun {
    archive: PathBuf,
    folder: PathBuf,
}

impl Begun {
    fn new(begun: &Path) -> Self {
        let id = Uuid::now_v7();
        Self {
            archive: begun.join(format!("{id}.tar")),
            folder: begun.join(id.to_string()),
        }
    }
}

impl Drop for Begun {
    fn drop(&mut self) {
        // What cannot be removed now is at the next start.
        let _archive = std::fs::remove_file(&self.archive);
        tree::remove_aside(std::mem::take(&mut self.folder));
    }
}

/// A bundle at its place that is not set up yet: gone from there when dropped, or at the next start.
struct Raw {
    path: PathBuf,
    note: PathBuf,
    /// Where it goes if it is not finished, to be removed.
    away: PathBuf,
    done: bool,
}

impl Raw {
    fn put(from: &Path, path: &Path, begun: &Path) -> std::io::Result<Self> {
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        let note = begun.join(format!("{name}{RAW}"));
        // Before it stands there: it is never taken for a finished one.
        std::fs::File::create(&note)?.sync_all()?;
        let raw = Self {
            path: path.to_owned(),
            note,
            away: begun.join(Uuid::now_v7().to_string()),
            done: false,
        };
        std::fs::rename(from, path)?;
        Ok(raw)
    }

    fn done(mut self) -> std::io::Result<()> {
        self.done = true;
        std::fs::remove_file(&self.note)
    }
}

impl Drop for Raw {
    fn drop(&mut self) {
        if self.done {
            return;
        }
        // Whoever set it up may have closed it.
        let _refused = std::fs::set_permissions(&self.path, std::fs::Permissions::from_mode(0o700));
        // At its place it would be taken for a finished one. The note stays with what cannot be moved.
        if std::fs::rename(&self.path, &self.away).is_ok() {
            let _note = std::fs::remove_file(&self.note);
            tree::remove_aside(std::mem::take(&mut self.away));
        }
    }
}

/// Removes the bundles an earlier process began to set up at their place. Blocks.
///
/// # Errors
/// One cannot be removed.
pub fn clear_raw(begun: &Path, bundles: &Path) -> std::io::Result<()> {
    let entries = match std::fs::read_dir(begun) {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(()),
        entries => entries?,
    };
    for name in entries.filter_map(|entry| entry.ok()?.file_name().into_string().ok()) {
        if let Some(bundle) = name.strip_suffix(RAW) {
            tree::remove(&bundles.join(bundle))?;
        }
    }
    Ok(())
}

/// Makes a tree ours and read-only. Links are owned, never followed.
fn seal(path: &Path, levels: usize) -> std::io::Result<()> {
    let levels = levels
        .checked_sub(1)
        .ok_or_else(|| std::io::Error::other(format!("folders lie in each other more than {MAX_LEVELS} deep")))?;
    let metadata = path.symlink_metadata()?;
    if metadata.uid() != nix::unistd::geteuid().as_raw() {
        lchown(path, Some(0), Some(0))?;
    }
    if metadata.is_symlink() {
        return Ok(());
    }
    if metadata.is_dir() {
        for entry in std::fs::read_dir(path)? {
            seal(&entry?.path(), levels)?;
        }
    }
    let runs = metadata.is_dir() || metadata.mode() & 0o111 != 0;
    let mode = if metadata.is_dir() {
        // Ours to rename and to remove; writing for nobody else.
        0o755
    } else if runs {
        0o555
    } else {
        0o444
    };
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(mode))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bundle_that_was_not_set_up_to_its_end_is_never_found_again() {
        let root = tempfile::tempdir().unwrap();
        let (begun, bundles) = (root.path().join("begun"), root.path().join("bundles"));
        let put = |name: &str| {
            std::fs::create_dir_all(begun.join("unpacked")).unwrap();
            std::fs::create_dir_all(&bundles).unwrap();
            Raw::put(&begun.join("unpacked"), &bundles.join(name), &begun).unwrap()
        };
        drop(put("failed"));
        put("finished").done().unwrap();
        // A process that was killed drops nothing.
        std::mem::forget(put("killed"));
        clear_raw(&begun, &bundles).unwrap();
        let left: Vec<_> = std::fs::read_dir(&bundles)
            .unwrap()
            .map(|entry| entry.unwrap().file_name())
            .collect();
        assert_eq!(left, ["finished"]);
    }
}
