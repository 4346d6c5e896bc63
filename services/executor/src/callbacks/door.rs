//! What one attempt takes from its endpoint, until it is over.

use std::collections::{HashMap, VecDeque};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use boot::{CancellationToken, Tasks};
use tokio::io::AsyncWriteExt as _;
use tokio::net::unix::pipe::{OpenOptions, Receiver};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc};

use super::server::Refusal;
use super::{Attempt, Uploads};
use crate::hash;
use crate::run::Activity;

/// Requests of one attempt at the same time.
const AT_ONCE: usize = 8;
/// Requests of one attempt in a second.
const PER_SECOND: u32 = 50;
/// Bodies of lines on their way to the run.
const WAITING: usize = 4;
/// `Idempotency-Key`s remembered of an attempt.
const KEYS: usize = 1000;
/// And of one that is over.
const LAST_KEYS: usize = 16;
/// Attempts that are over and still answered with the reason.
const OVER: usize = 256;
/// Uploads of an attempt for every file a result may have: the rest is repeats.
const REPEATS: usize = 4;

/// The doors of one executor.
#[derive(Default)]
pub(super) struct Doors(Mutex<Book>);

#[derive(Default)]
struct Book {
    doors: HashMap<(String, u32), Arc<Shared>>,
    /// Oldest first.
    over: VecDeque<(String, u32)>,
}

/// The door of one attempt. Closed when dropped.
pub(crate) struct Door {
    name: (String, u32),
    shared: Arc<Shared>,
    doors: Arc<Doors>,
}

pub(super) struct Shared {
    /// Ours, beside the workspace and on the same file system.
    pub(super) folder: PathBuf,
    pub(super) work: PathBuf,
    pub(super) out: PathBuf,
    pub(super) uid: Option<u32>,
    pub(super) activity: Arc<Activity>,
    pub(super) closed: CancellationToken,
    lines: mpsc::Sender<Vec<u8>>,
    places: Arc<Semaphore>,
    state: Mutex<State>,
}

pub(super) struct State {
    /// Why nothing is taken any more.
    over: Option<String>,
    keys: VecDeque<String>,
    second: Instant,
    requests: u32,
    files_left: usize,
    bytes_left: u64,
}

/// One request that was let in.
pub(super) struct Entered {
    pub(super) shared: Arc<Shared>,
    _place: OwnedSemaphorePermit,
}

impl Doors {
    pub(super) fn add(self: &Arc<Self>, run_id: &str, attempt: u32, shared: Arc<Shared>) -> Door {
        let name = (run_id.to_owned(), attempt);
        self.lock().doors.insert(name.clone(), Arc::clone(&shared));
        Door {
            name,
            shared,
            doors: Arc::clone(self),
        }
    }

    /// Lets a request in, or says why not. The name comes from a good signature: what is not known here is long over.
    pub(super) fn enter(&self, name: &(String, u32), key: Option<&str>) -> Result<Entered, Refusal> {
        let shared = self.lock().doors.get(name).map(Arc::clone);
        let shared = shared.ok_or_else(|| Refusal::Over("ended".to_owned()))?;
        shared.ask(key)?;
        let place = Arc::clone(&shared.places).try_acquire_owned();
        let _place = place.map_err(|_full| Refusal::TooMany)?;
        Ok(Entered { shared, _place })
    }

    fn forget_oldest(&self, name: (String, u32)) {
        let mut book = self.lock();
        book.over.push_back(name);
        while book.over.len() > OVER {
            if let Some(oldest) = book.over.pop_front() {
                book.doors.remove(&oldest);
            }
        }
    }

    fn lock(&self) -> MutexGuard<'_, Book> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Door {
    /// Takes nothing more; the first reason counts.
    pub(crate) fn close(&self, reason: &str) {
        self.shared.close(reason);
    }
}

impl Drop for Door {
    fn drop(&mut self) {
        self.close("ended");
        self.doors.forget_oldest(std::mem::take(&mut self.name));
    }
}

impl Shared {
    pub(super) fn open(attempt: &Attempt<'_>, lines: &Path, uploads: Uploads, tasks: &Tasks) -> io::Result<Arc<Self>> {
        // A pipe cannot be opened for writing while nobody reads.
        let held = OpenOptions::new().open_receiver(lines)?;
        let pipe = OpenOptions::new().open_sender(lines)?;
        let (sender, waiting) = mpsc::channel(WAITING);
        let closed = CancellationToken::new();
        let space = attempt.space;
        let shared = Self {
            folder: space.folder().to_owned(),
            work: space.work(),
            out: space.out(),
            uid: space.uid(),
            activity: Arc::clone(&attempt.activity),
            closed: closed.clone(),
            lines: sender,
            places: Arc::new(Semaphore::new(AT_ONCE)),
            state: Mutex::new(State {
                over: None,
                keys: VecDeque::new(),
                second: Instant::now(),
                requests: 0,
                files_left: uploads.files.saturating_mul(REPEATS),
                bytes_left: uploads.bytes.saturating_mul(2),
            }),
        };
        let writing = tasks.spawn_job("callback_lines", async move {
            closed.run_until_cancelled(pass_on(waiting, pipe, held)).await
        });
        drop(writing);
        Ok(Arc::new(shared))
    }

    /// A place in the queue to the run; nobody may come first with the same key.
    pub(super) async fn take(&self, key: Option<&str>, body: Vec<u8>) -> Result<bool, Refusal> {
        let place = self.lines.reserve().await;
        let place = place.map_err(|_closed| self.over())?;
        let mut state = self.lock();
        if let Some(reason) = &state.over {
            return Err(Refusal::Over(reason.clone()));
        }
        if let Some(key) = key.map(|key| hash::of(key.as_bytes())) {
            if state.keys.contains(&key) {
                return Ok(false);
            }
            state.keys.push_back(key);
            if state.keys.len() > KEYS {
                state.keys.pop_front();
            }
        }
        place.send(body);
        Ok(true)
    }

    /// Whether this key was taken before.
    pub(super) fn knows(&self, key: Option<&str>) -> bool {
        key.is_some_and(|key| self.lock().keys.contains(&hash::of(key.as_bytes())))
    }

    /// Counts another upload against what the attempt may send.
    pub(super) fn begin_upload(&self) -> Result<(), Refusal> {
        let mut state = self.lock();
        state.files_left = state.files_left.checked_sub(1).ok_or(Refusal::TooLarge)?;
        Ok(())
    }

    pub(super) fn count(&self, bytes: u64) -> Result<(), Refusal> {
        let mut state = self.lock();
        state.bytes_left = state.bytes_left.checked_sub(bytes).ok_or(Refusal::TooLarge)?;
        Ok(())
    }

    /// Does this while the attempt cannot end.
    pub(super) fn while_open<T>(&self, what: impl FnOnce() -> Result<T, Refusal>) -> Result<T, Refusal> {
        let state = self.lock();
        if let Some(reason) = &state.over {
            return Err(Refusal::Over(reason.clone()));
        }
        let done = what();
        drop(state);
        done
    }

    /// Why nothing is taken, for a request the end overtook.
    pub(super) fn over(&self) -> Refusal {
        Refusal::Over(self.lock().over.clone().unwrap_or_else(|| "ended".to_owned()))
    }

    /// A repeat of what was taken is let in also after the end.
    fn ask(&self, key: Option<&str>) -> Result<(), Refusal> {
        let known = self.knows(key);
        let mut state = self.lock();
        if state.second.elapsed() >= Duration::from_secs(1) {
            (state.second, state.requests) = (Instant::now(), 0);
        }
        state.requests += 1;
        if state.requests > PER_SECOND {
            return Err(Refusal::TooMany);
        }
        match &state.over {
            Some(reason) if !known => Err(Refusal::Over(reason.clone())),
            _ => Ok(()),
        }
    }

    fn close(&self, reason: &str) {
        let mut state = self.lock();
        if state.over.is_some() {
            return;
        }
        state.over = Some(reason.to_owned());
        let too_many = state.keys.len().saturating_sub(LAST_KEYS);
        state.keys.drain(..too_many);
        drop(state);
        self.closed.cancel();
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Whole bodies, one after the other. Holding a reading end of our own lets the adapter open its own when it gets there.
async fn pass_on(mut waiting: mpsc::Receiver<Vec<u8>>, mut pipe: tokio::net::unix::pipe::Sender, _held: Receiver) {
    while let Some(body) = waiting.recv().await {
        if let Err(error) = pipe.write_all(&body).await {
            tracing::warn!(%error, "lines of an endpoint could not be handed to their run");
            return;
        }
    }
}
