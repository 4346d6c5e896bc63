//! What is measured: ways to start one process.

use std::fs::Permissions;
use std::io;
use std::os::unix::fs::PermissionsExt as _;
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result};
use executor::sandbox::{Calls, Claim, Files, GATEWAY_PORT, Groups, Launch, Level, Limits, Policy, Sandbox};
use executor::workspace::Workspace;
use tokio::io::AsyncReadExt as _;
use tokio::process::ChildStdout;

use crate::Args;
use crate::sandlock::Sandlock;

/// Prints at once, and goes on until it is ended.
pub const AGENT: &str = "/usr/bin/yes";
/// More than any start takes.
const PATIENCE: Duration = Duration::from_secs(20);
/// Far from an executor's own, so that a stack running here is left alone.
const USER: u32 = 1_970_000_000;

/// One run of one candidate.
#[derive(Debug, Clone, Copy)]
pub struct Taken {
    /// From the order to the agent's first output.
    pub start: Duration,
    /// From the order to end it until nothing is left.
    pub end: Duration,
    /// Memory of everything beside the agent, bytes.
    pub memory: u64,
    /// Processor time that does not show among the children of this program that ended.
    pub own_cpu: Duration,
}

/// Where runs take place, and as whom.
pub struct Site {
    pub claims: Vec<Claim>,
    pub runs: tempfile::TempDir,
}

/// A way to start a process.
pub enum Candidate {
    Plain,
    Bubblewrap,
    Sandlock(Box<Sandlock>),
    Steward(Box<Sandbox>),
}

impl Site {
    pub fn new() -> Result<Self> {
        Self::with_users(1)
    }

    /// One where each of so many runs has a user id of its own, as root.
    pub fn with_users(users: u32) -> Result<Self> {
        let runs = tempfile::Builder::new()
            .prefix("bench-sandbox-")
            .tempdir_in("/var/tmp")?;
        std::fs::set_permissions(runs.path(), Permissions::from_mode(0o711))?;
        let root = nix::unistd::geteuid().is_root();
        let claims = if root {
            Claim::take_all(USER, users)?
        } else {
            Vec::new()
        };
        Ok(Self { claims, runs })
    }

    pub fn uid(&self) -> Option<u32> {
        self.uid_of(0)
    }

    pub fn uid_of(&self, run: usize) -> Option<u32> {
        self.claims.get(run).map(Claim::id)
    }
}

impl Candidate {
    /// All that this machine gives, the product's levels strongest first.
    pub async fn all(site: &Site, args: &Args, groups: &Result<Groups, String>) -> Result<Vec<Self>> {
        let beside = std::env::current_exe()?.with_file_name("executor");
        let launcher = args.executor.clone().unwrap_or(beside);
        let mut all = vec![Self::Plain];
        if Path::new("/usr/bin/bwrap").exists() {
            all.push(Self::Bubblewrap);
        } else {
            eprintln!("bubblewrap is not installed: it is left out");
        }
        match Sandlock::find(&args.sandlock, site.uid()).await? {
            Some(sandlock) => all.push(Self::Sandlock(Box::new(sandlock))),
            None => eprintln!("{} has no package sandlock: it is left out", args.sandlock.display()),
        }
        for level in [Level::Namespaces, Level::Landlock, Level::Process] {
            let levels = Level::Process..=level;
            let sandbox = Sandbox::probe(launcher.clone(), levels, site.uid())
                .await
                .with_context(|| format!("try {}", launcher.display()))?;
            if sandbox.level() == level {
                all.push(Self::Steward(Box::new(sandbox.with_groups(groups.clone())?)));
            } else {
                eprintln!("this machine has no level {}: {}", level.as_str(), sandbox.reason());
            }
        }
        Ok(all)
    }

    pub fn name(&self) -> String {
        match self {
            Self::Plain => "fork+exec".to_owned(),
            Self::Bubblewrap => "bubblewrap".to_owned(),
            Self::Sandlock(_) => "sandlock".to_owned(),
            Self::Steward(sandbox) => format!("steward {}", sandbox.level().as_str()),
        }
    }

    /// Starts the agent, waits for its first output and ends it.
    pub async fn once(&self, site: &Site, number: usize) -> Result<Taken> {
        let name = format!("run-{number}");
        let space = Workspace::create(site.runs.path(), &name, site.uid(), "{}")?;
        let taken = tokio::time::timeout(PATIENCE, async {
            match self {
                Self::Plain => command(site, AGENT, &[], &space).await,
                Self::Bubblewrap => command(site, "/usr/bin/bwrap", &bubblewrap(&space.work()), &space).await,
                Self::Sandlock(sandlock) => sandlock.once(&space.work()).await,
                Self::Steward(sandbox) => steward(sandbox, &space).await,
            }
        });
        let taken = taken.await.context("nothing happened")?;
        space.remove()?;
        taken
    }
}

/// The nearest it comes to the product's strongest level.
fn bubblewrap(work: &Path) -> Vec<String> {
    let mut words: Vec<String> = "--unshare-all --die-with-parent --new-session --cap-drop ALL --hostname steward \
         --ro-bind /usr /usr --symlink usr/bin /bin --symlink usr/lib /lib --symlink usr/lib64 /lib64 \
         --ro-bind /etc/passwd /etc/passwd --ro-bind /etc/ssl/certs /etc/ssl/certs --proc /proc --dev /dev --tmpfs /tmp"
        .split_ascii_whitespace()
        .map(ToOwned::to_owned)
        .collect();
    let work = work.display().to_string();
    words.extend(["--bind", &work, &work, "--chdir", &work, "--", AGENT].map(ToOwned::to_owned));
    words
}

async fn command(site: &Site, program: &str, args: &[String], space: &Workspace) -> Result<Taken> {
    let began = Instant::now();
    let mut command = std::process::Command::new(program);
    command
        .args(args)
        .current_dir(space.work())
        .env_clear()
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::inherit());
    if let Some(uid) = site.uid() {
        command.uid(uid).gid(uid);
    }
    let mut command = tokio::process::Command::from(command);
    let mut child = command.kill_on_drop(true).spawn()?;
    let mut stdout = child.stdout.take().context("read its output")?;
    first_byte(&mut stdout).await?;
    let start = began.elapsed();
    let memory = beside_the_agent(child.id());
    let began = Instant::now();
    child.start_kill()?;
    child.wait().await?;
    until_closed(stdout).await?;
    let end = began.elapsed();
    Ok(Taken {
        start,
        end,
        memory,
        own_cpu: Duration::ZERO,
    })
}

async fn steward(sandbox: &Sandbox, space: &Workspace) -> Result<Taken> {
    let launch = launch(space);
    let began = Instant::now();
    let mut process = sandbox.start(launch).await?;
    let mut stdout = process.stdout().context("read its output")?;
    if let Err(error) = first_byte(&mut stdout).await {
        let mut said = String::new();
        if let Some(mut stderr) = process.stderr() {
            stderr.read_to_string(&mut said).await?;
        }
        return Err(error).context(said);
    }
    let start = began.elapsed();
    let leader = process.footprint().leader().and_then(|pid| u32::try_from(pid).ok());
    let memory = beside_the_agent(leader);
    let began = Instant::now();
    process.kill();
    process.wait().await?;
    let ended = tokio::task::spawn_blocking(process.end_all()).await?;
    until_closed(stdout).await?;
    let end = began.elapsed();
    anyhow::ensure!(ended.none_left, "some processes are left");
    Ok(Taken {
        start,
        end,
        memory,
        own_cpu: Duration::ZERO,
    })
}

/// As the executor starts an agent.
fn launch(space: &Workspace) -> Launch {
    launch_of(vec![AGENT.to_owned()], space)
}

/// The same for any program.
pub fn launch_of(command: Vec<String>, space: &Workspace) -> Launch {
    Launch {
        command,
        env: Vec::new(),
        policy: Policy {
            parent: 0,
            uid: space.uid(),
            cwd: space.work(),
            limits: Limits {
                memory: Some(512 << 20),
                pids: Some(512),
                file_size: Some(512 << 20),
                cpu_secs: Some(600),
                ..Limits::default()
            },
            files: Some(Files {
                execute: Vec::new(),
                read: vec![space.job()],
                write: vec![space.work()],
                append: vec![space.events()],
            }),
            connect: Some(vec![GATEWAY_PORT]),
            calls: Some(Calls::default()),
            spaces: true,
        },
        marker: space.folder().display().to_string(),
    }
}

async fn first_byte(stdout: &mut ChildStdout) -> io::Result<()> {
    let mut byte = [0; 1];
    stdout.read_exact(&mut byte).await.map(drop)
}

/// Until nobody holds its output any more.
async fn until_closed(mut stdout: ChildStdout) -> io::Result<()> {
    let mut rest = vec![0; 64 * 1024];
    while stdout.read(&mut rest).await? > 0 {}
    Ok(())
}

/// Memory of a process and all below it, without the agent's, each page divided by the number of those who share it.
fn beside_the_agent(pid: Option<u32>) -> u64 {
    let Some(pid) = pid else { return 0 };
    let folder = PathBuf::from(format!("/proc/{pid}"));
    let children = std::fs::read_to_string(folder.join(format!("task/{pid}/children"))).unwrap_or_default();
    let below: u64 = children
        .split_ascii_whitespace()
        .map(|child| beside_the_agent(child.parse().ok()))
        .sum();
    if std::fs::read_link(folder.join("exe")).is_ok_and(|program| program == Path::new(AGENT)) {
        return below;
    }
    let rollup = std::fs::read_to_string(folder.join("smaps_rollup")).unwrap_or_default();
    let own = rollup.lines().find_map(|line| {
        line.strip_prefix("Pss:")?
            .split_ascii_whitespace()
            .next()?
            .parse::<u64>()
            .ok()
    });
    below + own.unwrap_or_default() * 1024
}
