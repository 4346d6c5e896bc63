//! The executor's process.

use std::os::unix::fs::PermissionsExt as _;
use std::os::unix::process::CommandExt as _;
use std::path::PathBuf;
use std::process::{Command, ExitStatus, Stdio};

use nix::sys::signal::{Signal, kill};
use nix::unistd::{Pid, geteuid};

use super::{Model, Scheduler, eventually};

/// How it is started.
#[derive(Default)]
pub struct Options {
    pub env: Vec<(String, String)>,
    /// As a user without rights, when the tests run as root.
    pub unprivileged: bool,
    /// In a folder nobody else may pass through.
    pub unreachable: bool,
    /// On a file system of its own with this many MiB.
    pub disk_mib: Option<u32>,
    /// The scheduler as it reaches it, when that is not its own address.
    pub way: Option<String>,
}

/// A running executor and its work root. Killed when dropped.
pub struct Executor {
    child: tokio::process::Child,
    env: Vec<(String, String)>,
    unprivileged: bool,
    pub dir: PathBuf,
    // Before the folder it lies in.
    _disk: Option<Disk>,
    _root: tempfile::TempDir,
    log: PathBuf,
}

/// A small file system in memory; unmounted when dropped.
struct Disk(PathBuf);

impl Disk {
    fn mount(at: &std::path::Path, mib: u32) -> Self {
        let options = format!("size={mib}m,mode=0755");
        let mounted = Command::new("mount")
            .args(["-t", "tmpfs", "-o", &options, "tmpfs"])
            .arg(at)
            .status();
        assert!(mounted.unwrap().success(), "mount {}", at.display());
        Self(at.to_owned())
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        // Lazily: what is ended just now may still stand in it.
        let _unmounted = Command::new("umount").arg("--lazy").arg(&self.0).status();
    }
}

/// Whether this user may mount.
pub fn may_mount() -> bool {
    let at = tempfile::tempdir().unwrap();
    let mounted = Command::new("mount")
        .args(["-t", "tmpfs", "tmpfs"])
        .arg(at.path())
        .stderr(Stdio::null())
        .status();
    let may = mounted.is_ok_and(|status| status.success());
    if may {
        drop(Disk(at.path().to_owned()));
    }
    may
}

impl Options {
    pub fn set(mut self, name: &str, value: &str) -> Self {
        self.env.push((format!("STEWARD__{name}"), value.to_owned()));
        self
    }
}

pub fn is_root() -> bool {
    geteuid().is_root()
}

impl Executor {
    pub async fn start(scheduler: &Scheduler, model: &Model, options: Options) -> Self {
        let root = tempfile::Builder::new().prefix("executor-it-").tempdir().unwrap();
        let mode = if options.unreachable { 0o700 } else { 0o755 };
        std::fs::set_permissions(root.path(), std::fs::Permissions::from_mode(mode)).unwrap();
        let dir = root.path().join("work");
        std::fs::create_dir(&dir).unwrap();
        let disk = options.disk_mib.map(|mib| Disk::mount(&dir, mib));
        let unprivileged = options.unprivileged && is_root();
        if unprivileged {
            std::os::unix::fs::chown(&dir, Some(65534), Some(65534)).unwrap();
        }
        let mut env: Vec<(String, String)> = [
            ("ADMIN__LISTEN", "127.0.0.1:0"),
            ("SCHEDULER__URL", options.way.as_ref().unwrap_or(&scheduler.url)),
            ("SCHEDULER__TOKEN", "executor-token"),
            ("BILLING__GATEWAY_URL", &model.url),
            ("WORK__DIR", dir.to_str().unwrap()),
            ("WORK__HEARTBEAT", "300ms"),
            ("WORK__KILL_GRACE", "1s"),
            // Far from the default, so that a stack running here is left alone.
            ("ISOLATION__AGENT_UID_BASE", "1960000000"),
        ]
        .map(|(name, value)| (format!("STEWARD__{name}"), value.to_owned()))
        .into();
        env.push(("SECRET_CANARY".to_owned(), "environment-canary-91c2".to_owned()));
        for (name, value) in options.env {
            env.retain(|(other, _)| *other != name);
            env.push((name, value));
        }
        let log = root.path().join("log");
        let child = launch(&env, unprivileged, &log);
        let executor = Self {
            child,
            env,
            unprivileged,
            dir,
            _disk: disk,
            _root: root,
            log,
        };
        eventually("a session", || (!scheduler.state().hellos.is_empty()).then_some(())).await;
        executor
    }

    pub fn pid(&self) -> i32 {
        self.child.id().map(|pid| i32::try_from(pid).unwrap()).unwrap()
    }

    pub fn signal(&self, signal: Signal) {
        kill(Pid::from_raw(self.pid()), signal).unwrap();
    }

    /// Waits for its end.
    pub async fn ended(&mut self) -> ExitStatus {
        tokio::time::timeout(super::PATIENCE, self.child.wait())
            .await
            .unwrap()
            .unwrap()
    }

    /// Starts it again with the same settings, on the same folder.
    pub async fn again(&mut self, scheduler: &Scheduler) {
        let before = scheduler.state().hellos.len();
        self.child = launch(&self.env, self.unprivileged, &self.log);
        eventually("a new session", || {
            (scheduler.state().hellos.len() > before).then_some(())
        })
        .await;
    }

    /// Folders of runs that are still there.
    pub fn workspaces(&self) -> usize {
        std::fs::read_dir(self.dir.join("runs")).map_or(0, Iterator::count)
    }

    pub fn log(&self) -> String {
        std::fs::read_to_string(&self.log).unwrap_or_default()
    }
}

fn launch(env: &[(String, String)], unprivileged: bool, log: &std::path::Path) -> tokio::process::Child {
    let log = std::fs::File::options().create(true).append(true).open(log).unwrap();
    let mut command = Command::new(env!("CARGO_BIN_EXE_executor"));
    command
        .env_clear()
        .envs(env.iter().cloned())
        .stdin(Stdio::null())
        .stdout(log.try_clone().unwrap())
        .stderr(log);
    if unprivileged {
        command.uid(65534).gid(65534);
    }
    let mut command = tokio::process::Command::from(command);
    command.kill_on_drop(true).spawn().unwrap()
}

impl Drop for Executor {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("--- the executor's log\n{}", self.log());
        }
        let Some(pid) = self.child.id() else { return };
        // It is not asked, so it cannot tidy up; the next executor would.
        let _ended = self.child.start_kill();
        let end = std::time::Instant::now() + std::time::Duration::from_secs(5);
        while groups(pid).iter().any(|group| !removed(group)) && std::time::Instant::now() < end {
            std::thread::yield_now();
        }
    }
}

/// Control groups an executor made.
pub fn groups(pid: u32) -> Vec<PathBuf> {
    let own = std::fs::read_to_string("/proc/self/cgroup").unwrap_or_default();
    let bases = own.lines().filter_map(|line| {
        let mut parts = line.splitn(3, ':').skip(1);
        let (names, path) = (parts.next()?, parts.next()?);
        let kind = if names.is_empty() { "" } else { names };
        Some(PathBuf::from(format!("/sys/fs/cgroup/{kind}{path}")))
    });
    let prefix = format!("steward-{pid}-");
    let ours = |base: PathBuf| {
        let entries = std::fs::read_dir(base).into_iter().flatten().flatten();
        let prefix = prefix.clone();
        entries
            .filter(move |entry| entry.file_name().to_string_lossy().starts_with(&prefix))
            .map(|entry| entry.path())
    };
    bases.flat_map(ours).collect()
}

/// Whether a group is gone, with those below it; it goes as soon as nothing runs in it.
fn removed(group: &std::path::Path) -> bool {
    let below = std::fs::read_dir(group).into_iter().flatten().flatten();
    for entry in below.filter(|entry| entry.file_type().is_ok_and(|kind| kind.is_dir())) {
        let _busy = std::fs::remove_dir(entry.path());
    }
    std::fs::remove_dir(group).is_ok()
}
