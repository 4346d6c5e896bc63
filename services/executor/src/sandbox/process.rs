//! A started agent: its pipes, its end, and the end of everything it started.

use std::process::ExitStatus;
use std::sync::Arc;

use nix::sys::signal::{Signal, killpg};
use nix::unistd::Pid;
use tokio::net::TcpListener;
use tokio::process::{Child, ChildStderr, ChildStdout};

use super::spawner::Waited;
use super::{Footprint, Group, Usage};

/// A running agent. Dropping it kills its group.
#[derive(Debug)]
pub struct Process {
    child: Child,
    footprint: Footprint,
    waited_for: Waited,
    listeners: Option<Listeners>,
    apart: bool,
    group: Option<Arc<Group>>,
    ended: bool,
    swept: bool,
}

/// What listens in a run's own network.
#[derive(Debug)]
pub struct Listeners {
    /// For its gateway.
    pub gateway: TcpListener,
    /// For its way to allowed hosts.
    pub proxy: TcpListener,
}

/// How a run's processes were ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Ended {
    /// Whether none is left.
    pub none_left: bool,
    /// What they used; none without a control group.
    pub used: Option<Usage>,
}

impl Process {
    pub(super) fn new(
        child: Child,
        uid: Option<u32>,
        marker: String,
        waited_for: Waited,
        group: Option<Group>,
    ) -> Self {
        let leader = child.id().and_then(|pid| i32::try_from(pid).ok());
        Self {
            child,
            footprint: Footprint::of_run(leader, uid, marker),
            waited_for,
            listeners: None,
            apart: false,
            group: group.map(Arc::new),
            ended: false,
            swept: false,
        }
    }

    pub(super) fn listens_by(&mut self, listeners: Option<Listeners>) {
        self.listeners = listeners;
        self.apart = true;
    }

    /// The listeners in its own network, once; none when it has no network of its own.
    pub fn listeners(&mut self) -> Option<Listeners> {
        self.listeners.take()
    }

    /// What its processes have in common.
    #[must_use]
    pub fn footprint(&self) -> &Footprint {
        &self.footprint
    }

    /// Whether it is in namespaces of its own.
    #[must_use]
    pub fn is_apart(&self) -> bool {
        self.apart
    }

    /// Whether a control group counts and limits what they use together.
    #[must_use]
    pub fn is_in_group(&self) -> bool {
        self.group.is_some()
    }

    /// Its standard output, once.
    pub fn stdout(&mut self) -> Option<ChildStdout> {
        self.child.stdout.take()
    }

    /// Its standard error, once.
    pub fn stderr(&mut self) -> Option<ChildStderr> {
        self.child.stderr.take()
    }

    /// Waits for the leader's end. Safe to drop and call again.
    ///
    /// # Errors
    /// The system cannot say.
    pub async fn wait(&mut self) -> std::io::Result<ExitStatus> {
        let status = self.child.wait().await;
        self.ended = true;
        self.forget();
        status
    }

    /// Asks its group to finish.
    pub fn terminate(&self) {
        self.signal(Signal::SIGTERM);
    }

    /// Ends its group at once. Those that left the group are ended by [`Process::end_all`].
    pub fn kill(&self) {
        self.signal(Signal::SIGKILL);
    }

    /// Ends everything it started, wherever that went. Blocks for moments.
    pub fn end_all(&mut self) -> impl FnOnce() -> Ended + Send + 'static {
        self.swept = true;
        let (footprint, waited_for) = (self.footprint.clone(), self.waited_for.clone());
        let group = self.group.take();
        move || {
            // Whoever is somebody else cannot leave his control group; others are looked for, too.
            let none_in_group = group.as_ref().is_none_or(|group| group.end());
            let elsewhere = group.is_none() || !footprint.has_own_user();
            let none_left = (!elsewhere || footprint.end()) && none_in_group;
            waited_for.reap_strays();
            let used = group.as_ref().map(|group| group.usage());
            Ended { none_left, used }
        }
    }

    fn forget(&self) {
        if let Some(leader) = self.footprint.leader() {
            self.waited_for.forget(leader);
        }
    }

    fn signal(&self, signal: Signal) {
        // Once it was waited for, its number may be anybody's: what is left is looked for by more than that.
        if self.ended {
            return;
        }
        if let Some(leader) = self.footprint.leader() {
            let group = Pid::from_raw(leader);
            // In its first moments the launcher has no group yet.
            if killpg(group, signal).is_err() {
                let _gone = nix::sys::signal::kill(group, signal);
            }
        }
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        self.kill();
        self.forget();
        // Under a user id of its own, the next run of the slot sweeps before it starts.
        if !self.swept && !self.footprint.has_own_user() {
            let footprint = self.footprint.clone();
            let thread = std::thread::Builder::new().name("sweep".to_owned());
            // Without a thread the group is dead at least.
            let _sweeping = thread.spawn(move || footprint.end());
        }
    }
}
