//! The thread every agent is started from.
//!
//! The kernel ends an agent when the *thread* that started it ends. Threads of the runtime come and go; this one stays
//! as long as the process.

use std::collections::HashSet;
use std::process::Stdio;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, mpsc};

use tokio::process::{Child, Command};
use tokio::runtime::Handle;
use tokio::sync::oneshot;

use super::{Error, processes};

/// Starts processes from one long-lived thread, and knows which ones somebody waits for.
#[derive(Debug)]
pub(super) struct Spawner {
    requests: mpsc::Sender<Request>,
    waited_for: Waited,
}

/// Process ids of children that are waited for one by one.
#[derive(Debug, Clone, Default)]
pub(super) struct Waited(Arc<Mutex<HashSet<i32>>>);

struct Request {
    command: Box<Command>,
    stdin: Stdio,
    answer: oneshot::Sender<std::io::Result<Child>>,
}

impl Spawner {
    /// Starts the thread. Must be called on a runtime.
    pub(super) fn start() -> std::io::Result<Self> {
        let runtime = Handle::current();
        let (requests, received) = mpsc::channel::<Request>();
        let waited_for = Waited::default();
        let children = waited_for.clone();
        std::thread::Builder::new().name("spawner".to_owned()).spawn(move || {
            let _on_runtime = runtime.enter();
            while let Ok(mut request) = received.recv() {
                // A caller that gave up meanwhile drops the child, which kills it.
                request.command.stdin(request.stdin);
                let _caller_gone = request.answer.send(children.spawn(&mut request.command));
            }
        })?;
        Ok(Self { requests, waited_for })
    }

    /// Starts a command with this on standard input and pipes on output and error; killed when dropped.
    pub(super) async fn spawn(&self, mut command: Command, stdin: Stdio) -> Result<Child, Error> {
        command.stdout(Stdio::piped()).stderr(Stdio::piped()).kill_on_drop(true);
        let (answer, started) = oneshot::channel();
        let command = Box::new(command);
        self.requests
            .send(Request { command, stdin, answer })
            .map_err(|_gone| Error::Gone)?;
        started.await.map_err(|_gone| Error::Gone)?.map_err(Error::Spawn)
    }

    pub(super) fn waited_for(&self) -> &Waited {
        &self.waited_for
    }
}

impl Waited {
    /// The lock is held over the start, so that no child is seen as a stray in its first moment.
    fn spawn(&self, command: &mut Command) -> std::io::Result<Child> {
        let mut known = self.lock();
        let child = command.spawn()?;
        known.extend(child.id().and_then(|pid| i32::try_from(pid).ok()));
        Ok(child)
    }

    /// Nobody waits for this one any more.
    pub(super) fn forget(&self, pid: i32) {
        self.lock().remove(&pid);
    }

    /// Reaps the dead this process was left with by agents.
    pub(super) fn reap_strays(&self) {
        processes::reap_strays(&self.lock());
    }

    fn lock(&self) -> MutexGuard<'_, HashSet<i32>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
