//! Ends of attempts, on disk before they are told and until they are acknowledged.
//!
//! A completion is what a run was for: it outlives this process. It is sent again until the scheduler has it, which is
//! safe because the scheduler knows it by run and lease token.

use std::collections::BTreeMap;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use boot::CancellationToken;
use prost::Message as _;
use rpc::error::Code;
use rpc::v1::{CompleteRequest, LeaseRef};
use tokio::sync::watch;

use crate::leases::Leases;
use crate::scheduler::{Client, lease_lost, pauses};
use crate::{hash, metrics};

/// Completions waiting on disk; more than this means that something refuses them, and the oldest go.
const MAX_WAITING: usize = 10_000;
/// Room kept back for the time when the disk is full, bytes: some tens of the longest, hundreds of usual ones.
const RESERVE: usize = 4 * 1024 * 1024;
/// The longest file read back.
const MAX_BYTES: u64 = 8 * 1024 * 1024;

/// The completions of this work root; clones are the same set.
#[derive(Debug, Clone)]
pub struct Completions(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    folder: PathBuf,
    reserve: PathBuf,
    waiting: Mutex<BTreeMap<String, CompleteRequest>>,
    changed: watch::Sender<usize>,
}

impl Completions {
    /// Reads what an earlier process left, and takes the room of `reserve` for when the disk is full. Blocks.
    ///
    /// # Errors
    /// The folder cannot be listed. Files that are no completion are reported and passed over.
    pub fn open(folder: PathBuf, reserve: PathBuf) -> std::io::Result<Self> {
        let mut waiting = BTreeMap::new();
        for entry in std::fs::read_dir(&folder)? {
            let path = entry?.path();
            if path.extension().is_none_or(|ending| ending != "pb") {
                continue;
            }
            match read(&path) {
                Ok(request) => drop(waiting.insert(name(&request), request)),
                Err(reason) => tracing::error!(file = %path.display(), reason, "a stored completion cannot be read"),
            }
        }
        let changed = watch::Sender::new(waiting.len());
        ::metrics::gauge!(metrics::COMPLETIONS_PENDING).set(waiting.len() as f64);
        Ok(Self(Arc::new(Inner {
            folder,
            reserve: reserved(reserve),
            waiting: Mutex::new(waiting),
            changed,
        })))
    }

    /// The leases of those that wait.
    #[must_use]
    pub fn leases(&self) -> Vec<LeaseRef> {
        let waiting = self.0.lock();
        let leases = waiting.values().map(|request| LeaseRef {
            run_id: request.run_id.clone(),
            lease_token: request.lease_token.clone(),
        });
        leases.collect()
    }

    /// Writes one down, durably. Blocks. It is sent by [`Completions::relay`].
    ///
    /// # Errors
    /// The disk refuses; the completion is sent all the same, and lost only if this process ends first.
    pub fn add(&self, request: CompleteRequest) -> std::io::Result<()> {
        let name = name(&request);
        let written = self.0.write(&name, &request.encode_to_vec());
        let count = {
            let mut waiting = self.0.lock();
            waiting.insert(name, request);
            while waiting.len() > MAX_WAITING {
                if let Some((name, _)) = waiting.pop_first() {
                    tracing::error!(completion = name, "too many completions wait; the oldest is given up");
                    self.0.forget(&name);
                }
            }
            waiting.len()
        };
        self.0.tell(count);
        written
    }

    /// Sends what waits until it is acknowledged, for as long as `over` is not cancelled.
    pub async fn relay(self, client: Client, leases: Leases, over: CancellationToken) {
        let mut changed = self.0.changed.subscribe();
        let mut pauses = pauses();
        loop {
            let round = self.send_all(&client, &leases);
            match over.run_until_cancelled(round).await {
                None => return,
                Some(true) => {
                    pauses = self::pauses();
                    // New ones wake this up; none can be lost between the round and here, the watch remembers.
                    if *changed.borrow_and_update() == 0 && over.run_until_cancelled(changed.changed()).await.is_none()
                    {
                        return;
                    }
                }
                Some(false) => {
                    let pause = tokio::time::sleep(pauses.next().unwrap_or_default());
                    if over.run_until_cancelled(pause).await.is_none() {
                        return;
                    }
                }
            }
        }
    }

    /// Takes the room again that a full disk had taken, once nothing waits. Blocks.
    pub fn keep_room(&self) {
        let enough = || crate::room::free(&self.0.folder).is_some_and(|free| free > 4 * RESERVE as u64);
        if self.0.lock().is_empty() && !self.0.reserve.exists() && enough() {
            reserved(self.0.reserve.clone());
        }
    }

    /// Waits until nothing waits.
    pub async fn all_acknowledged(&self) {
        let mut changed = self.0.changed.subscribe();
        // The sender lives in self.
        let _open = changed.wait_for(|count| *count == 0).await;
    }

    /// One round, oldest first. One that is refused does not keep back the others. Returns whether all are gone.
    async fn send_all(&self, client: &Client, leases: &Leases) -> bool {
        let waiting: Vec<(String, CompleteRequest)> = {
            let waiting = self.0.lock();
            waiting
                .iter()
                .map(|(name, request)| (name.clone(), request.clone()))
                .collect()
        };
        let mut all = true;
        for (name, request) in waiting {
            let (run, token) = (request.run_id.clone(), request.lease_token.clone());
            match client.complete(request).await {
                Ok(answer) => tracing::debug!(run.id = run, duplicate = answer.duplicate, "completion acknowledged"),
                Err(status) if lease_lost(&status) => {
                    ::metrics::counter!(metrics::LEASES_LOST).increment(1);
                    tracing::warn!(
                        run.id = run,
                        "the lease was lost before the end was told; another attempt counts"
                    );
                }
                Err(status) if matches!(Code::of(&status), Code::Invalid | Code::NotFound | Code::Refused) => {
                    tracing::error!(run.id = run, %status, "the scheduler refuses a completion; it is given up");
                }
                Err(status) => {
                    tracing::debug!(run.id = run, %status, "telling a completion failed; it is tried again");
                    all = false;
                    continue;
                }
            }
            leases.release(&token);
            self.0.forget(&name);
            let count = {
                let mut waiting = self.0.lock();
                waiting.remove(&name);
                waiting.len()
            };
            self.0.tell(count);
        }
        all
    }
}

impl Inner {
    fn lock(&self) -> MutexGuard<'_, BTreeMap<String, CompleteRequest>> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// When the disk is full, in the room that was kept back for this.
    fn write(&self, name: &str, bytes: &[u8]) -> std::io::Result<()> {
        let written = write(&self.folder, name, bytes);
        let full = |error: &std::io::Error| {
            matches!(
                error.kind(),
                std::io::ErrorKind::StorageFull | std::io::ErrorKind::QuotaExceeded
            )
        };
        if !written.as_ref().is_err_and(full) {
            return written;
        }
        tracing::error!("the disk is full: the end of an attempt takes the room kept back for it");
        std::fs::remove_file(&self.reserve)?;
        write(&self.folder, name, bytes)
    }

    fn tell(&self, count: usize) {
        ::metrics::gauge!(metrics::COMPLETIONS_PENDING).set(count as f64);
        self.changed.send_replace(count);
    }

    fn forget(&self, name: &str) {
        if let Err(error) = std::fs::remove_file(self.folder.join(name)) {
            tracing::warn!(completion = name, %error, "an acknowledged completion could not be removed; it is sent again");
        }
    }
}

/// One file per run and lease; runs are named by time, so the order is theirs.
fn name(request: &CompleteRequest) -> String {
    let key = format!("{} {}", request.run_id, request.lease_token);
    let run: String = request
        .run_id
        .chars()
        .filter(char::is_ascii_alphanumeric)
        .take(32)
        .collect();
    format!("{run}-{}.pb", &hash::of(key.as_bytes())[..16])
}

/// Takes room on the disk, unless it is taken already; without any, nothing is kept back.
fn reserved(path: PathBuf) -> PathBuf {
    if !path.metadata().is_ok_and(|there| there.len() == RESERVE as u64)
        && let Err(error) = std::fs::write(&path, vec![0x5a; RESERVE])
    {
        tracing::warn!(file = %path.display(), %error, "no room could be kept back for ends of attempts");
        // What there is of it helps nobody.
        let _gone = std::fs::remove_file(&path);
    }
    path
}

fn write(folder: &Path, name: &str, bytes: &[u8]) -> std::io::Result<()> {
    let half = folder.join(format!("{name}.half"));
    let mut file = std::fs::File::create(&half)?;
    file.write_all(bytes)?;
    file.sync_all()?;
    std::fs::rename(&half, folder.join(name))?;
    std::fs::File::open(folder)?.sync_all()
}

fn read(path: &Path) -> Result<CompleteRequest, String> {
    use std::io::Read as _;

    let mut bytes = Vec::new();
    let file = std::fs::File::open(path).map_err(|error| error.to_string())?;
    file.take(MAX_BYTES)
        .read_to_end(&mut bytes)
        .map_err(|error| error.to_string())?;
    CompleteRequest::decode(bytes.as_slice()).map_err(|error| error.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_completion_is_there_again_after_a_restart_and_a_half_one_is_not() {
        let (root, reserve) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        let open = || Completions::open(root.path().to_owned(), reserve.path().join("reserve")).unwrap();
        let first = open();
        let request = CompleteRequest {
            run_id: "r".to_owned(),
            lease_token: "t".to_owned(),
            ..CompleteRequest::default()
        };
        first.add(request).unwrap();
        std::fs::write(root.path().join("x.pb.half"), "half").unwrap();
        std::fs::write(root.path().join("y.pb"), [0xff, 0xff]).unwrap();
        let second = open();
        assert_eq!(second.leases().len(), 1);
        assert_eq!(second.leases()[0].lease_token, "t");
    }
}
