//! The thread every agent is started from, with launchers ready for the next ones.
//!
//! The kernel ends an agent when the *thread* that started it ends. Threads of the runtime come and go; this one stays
//! as long as the process.
//!
//! A launcher is started before it is needed: it enters its control group, which can take the kernel 20 milliseconds,
//! opens a network, and then waits to be told what to become. Soon after it is taken, another is started.

use std::collections::{HashSet, VecDeque};
use std::ffi::OsStr;
use std::io::Write as _;
use std::net::Shutdown;
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::process::Stdio;
use std::sync::mpsc::{self, RecvTimeoutError};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::process::{Child, Command};
use tokio::runtime::Handle;
use tokio::sync::oneshot;

use super::launcher::{APART, EXEC, Order, TOGETHER};
use super::{Error, Group, Groups, Most, processes};

/// Launchers kept ready: one for each run of an executor of the default size.
const READY: usize = 2;
/// After a launch, before another launcher is made.
const REST: Duration = Duration::from_millis(20);
/// A launcher reads its order at once, unless it is not there any more.
const PATIENCE: Duration = Duration::from_secs(10);

/// Starts processes from one long-lived thread, and knows which ones somebody waits for.
#[derive(Debug)]
pub(super) struct Spawner {
    requests: mpsc::Sender<Request>,
    waited_for: Waited,
}

/// A launcher that was told what to become.
pub(super) struct Started {
    pub(super) child: Child,
    pub(super) group: Option<Group>,
    /// Over which it hands out what it opened.
    pub(super) socket: UnixStream,
}

/// Process ids of children that are waited for one by one.
#[derive(Debug, Clone, Default)]
pub(super) struct Waited(Arc<Mutex<HashSet<i32>>>);

enum Request {
    /// Any program.
    Command {
        command: Box<Command>,
        stdin: Stdio,
        answer: oneshot::Sender<std::io::Result<Child>>,
    },
    /// Have a launcher ready from now on, in a group of these.
    Ready { kind: Kind, groups: Option<Groups> },
    /// Keep none ready any more, and let go of the groups.
    Close { answer: oneshot::Sender<()> },
    /// Tell the launcher.
    Launch {
        order: Box<Order>,
        most: Most,
        answer: oneshot::Sender<Result<Started, Error>>,
    },
}

/// What is kept ready.
#[derive(Debug, Clone, Default)]
pub(super) struct Kind {
    /// The program.
    pub(super) launcher: PathBuf,
    /// Whether it opens namespaces.
    pub(super) apart: bool,
}

/// What belongs to the thread.
struct Desk {
    waited_for: Waited,
    kind: Kind,
    groups: Option<Groups>,
    ready: VecDeque<Started>,
    open: bool,
}

impl Spawner {
    /// Starts the thread. Must be called on a runtime.
    pub(super) fn start() -> std::io::Result<Self> {
        let runtime = Handle::current();
        let (requests, received) = mpsc::channel::<Request>();
        let waited_for = Waited::default();
        let mut desk = Desk {
            waited_for: waited_for.clone(),
            kind: Kind::default(),
            groups: None,
            ready: VecDeque::with_capacity(READY),
            open: true,
        };
        std::thread::Builder::new().name("spawner".to_owned()).spawn(move || {
            let _on_runtime = runtime.enter();
            while let Some(request) = desk.next(&received) {
                desk.answer(request);
            }
        })?;
        Ok(Self { requests, waited_for })
    }

    /// Starts a command with this on standard input and pipes on output and error; killed when dropped.
    pub(super) async fn spawn(&self, command: Command, stdin: Stdio) -> Result<Child, Error> {
        let (answer, started) = oneshot::channel();
        self.ask(Request::Command {
            command: Box::new(command),
            stdin,
            answer,
        })?;
        started.await.map_err(|_gone| Error::Gone)?.map_err(Error::Spawn)
    }

    /// Has a launcher ready for [`Spawner::launch`] from now on.
    pub(super) fn get_ready(&self, kind: Kind, groups: Option<Groups>) -> Result<(), Error> {
        self.ask(Request::Ready { kind, groups })
    }

    /// Ends the launcher that is ready, and lets go of the groups.
    pub(super) async fn close(&self) {
        let (answer, closed) = oneshot::channel();
        if self.ask(Request::Close { answer }).is_ok() {
            // If the thread is gone, so is what it had.
            let _gone = closed.await;
        }
    }

    /// Has a launcher become this, inside a group of its own with these limits.
    pub(super) async fn launch(&self, order: Order, most: Most) -> Result<Started, Error> {
        let (answer, started) = oneshot::channel();
        let order = Box::new(order);
        self.ask(Request::Launch { order, most, answer })?;
        started.await.map_err(|_gone| Error::Gone)?
    }

    pub(super) fn waited_for(&self) -> &Waited {
        &self.waited_for
    }

    fn ask(&self, request: Request) -> Result<(), Error> {
        self.requests.send(request).map_err(|_gone| Error::Gone)
    }
}

impl Desk {
    fn answer(&mut self, request: Request) {
        match request {
            Request::Command {
                mut command,
                stdin,
                answer,
            } => {
                // A caller that gave up meanwhile drops the child, which kills it.
                let _caller_gone = answer.send(self.waited_for.spawn(&mut command, stdin));
            }
            Request::Ready { kind, groups } => {
                self.dismiss();
                (self.kind, self.groups) = (kind, groups);
                self.get_ready(READY);
            }
            Request::Close { answer } => {
                self.dismiss();
                self.open = false;
                self.groups = None;
                let _caller_gone = answer.send(());
            }
            Request::Launch { order, most, answer } => {
                let _caller_gone = answer.send(self.launch(&order, most));
            }
        }
    }

    /// Waits for a request. A launcher that was taken is replaced only once nobody has asked for a while: its agent
    /// has the processors until it runs. The last one is replaced at once: whoever asks next would wait for longer.
    fn next(&mut self, received: &mpsc::Receiver<Request>) -> Option<Request> {
        if self.open && self.ready.is_empty() {
            self.get_ready(1);
        }
        if self.open && self.ready.len() < READY {
            match received.recv_timeout(REST) {
                Ok(request) => return Some(request),
                Err(RecvTimeoutError::Timeout) => self.get_ready(READY),
                Err(RecvTimeoutError::Disconnected) => return None,
            }
        }
        received.recv().ok()
    }

    /// If one cannot be made, the next who asks is told.
    fn get_ready(&mut self, count: usize) {
        while self.open && self.ready.len() < count {
            match self.make(self.kind.apart) {
                Ok(started) => self.ready.push_back(started),
                Err(_told_when_asked_for) => return,
            }
        }
    }

    /// One that is ready may have been ended by somebody; when none is left, a new one is made once.
    fn launch(&mut self, order: &Order, most: Most) -> Result<Started, Error> {
        let text = serde_json::to_vec(order).map_err(|error| Error::Policy(error.into()))?;
        let apart = order.policy.spaces;
        while apart == self.kind.apart
            && let Some(started) = self.ready.pop_front()
        {
            if let Ok(started) = self.tell(started, &text, most) {
                return Ok(started);
            }
        }
        let started = self.make(apart)?;
        self.tell(started, &text, most)
    }

    fn tell(&self, started: Started, text: &[u8], most: Most) -> Result<Started, Error> {
        let told = started.group.as_ref().map_or(Ok(()), |group| group.limit(most));
        let told = told.map_err(Error::Group).and_then(|()| {
            let mut socket = &started.socket;
            let written = socket.write_all(text).and_then(|()| socket.shutdown(Shutdown::Write));
            written.map_err(Error::Spawn)
        });
        match told {
            Ok(()) => Ok(started),
            Err(error) => {
                self.forget(&started);
                Err(error)
            }
        }
    }

    fn make(&self, apart: bool) -> Result<Started, Error> {
        let group = self.groups.as_ref().map(Groups::make);
        let group = group.transpose().map_err(Error::Group)?;
        let (near, far) = UnixStream::pair().map_err(Error::Spawn)?;
        near.set_write_timeout(Some(PATIENCE)).map_err(Error::Spawn)?;
        let mut command = Command::new(&self.kind.launcher);
        let how = if apart { APART } else { TOGETHER };
        command.args([EXEC, &std::process::id().to_string(), how]).env_clear();
        let doors = group.as_ref().map(Group::doors).unwrap_or_default();
        command.args(doors.iter().map(|door| -> &OsStr { door.as_ref() }));
        let stdin = Stdio::from(OwnedFd::from(far));
        let child = self.waited_for.spawn(&mut command, stdin).map_err(Error::Spawn)?;
        Ok(Started {
            child,
            group,
            socket: near,
        })
    }

    fn dismiss(&mut self) {
        while let Some(started) = self.ready.pop_front() {
            self.forget(&started);
            // Here and now: nothing may be left of it when this returns.
            let _ended = started.group.as_ref().map(Group::end);
        }
    }

    fn forget(&self, started: &Started) {
        if let Some(pid) = started.child.id().and_then(|pid| i32::try_from(pid).ok()) {
            self.waited_for.forget(pid);
        }
    }
}

impl Waited {
    /// With pipes on output and error, killed when dropped. The lock is held over the start, so that no child is seen
    /// as a stray in its first moment.
    fn spawn(&self, command: &mut Command, stdin: Stdio) -> std::io::Result<Child> {
        command
            .stdin(stdin)
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .kill_on_drop(true);
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
