//! The programs of a trial, and the folder they work in.

use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail};
use nix::sys::signal::{Signal, kill};
use nix::unistd::{Pid, geteuid};
use outbound::Url;
use tempfile::TempDir;
use tokio::process::{Child, Command};

use super::floor::Floor;
use super::{START, local};
use crate::http::Http;
use crate::up::programs;

/// Where every user can pass through.
const REACHABLE: &str = "/var/tmp";
/// Far from the ids of a stack that runs beside.
const UID_BASE: &str = "1970000000";
/// How long a stop may take.
const STOP: Duration = Duration::from_secs(10);
/// Between two looks.
const LOOK: Duration = Duration::from_millis(50);
/// What is shown of a log, in bytes.
const TAIL: usize = 2000;

/// The folder of a trial; gone with it unless it is kept.
pub(super) struct Place {
    folder: TempDir,
    keep: bool,
}

impl Place {
    pub(super) fn new(keep: bool) -> Result<Self> {
        let mut builder = tempfile::Builder::new();
        builder.prefix("steward-trial-").disable_cleanup(keep);
        let folder = if geteuid().is_root() {
            builder.tempdir_in(REACHABLE)
        } else {
            builder.tempdir()
        };
        let folder = folder.context("make a folder for the trial")?;
        if geteuid().is_root() {
            // The run has a user of its own.
            std::fs::set_permissions(folder.path(), std::fs::Permissions::from_mode(0o711))?;
        }
        std::fs::create_dir(folder.path().join("work"))?;
        Ok(Self { folder, keep })
    }

    /// Where runs have their folders.
    pub(super) fn runs(&self) -> PathBuf {
        self.folder.path().join("work/runs")
    }

    /// The workspace, when it stays.
    pub(super) fn kept(&self) -> Option<PathBuf> {
        let mut runs = std::fs::read_dir(self.runs()).ok()?.flatten();
        self.keep.then(|| runs.next().map(|run| run.path().join("work")))?
    }

    pub(super) fn log_tail(&self) -> String {
        let text = std::fs::read_to_string(self.log()).unwrap_or_default();
        let from = (text.len().saturating_sub(TAIL)..=text.len()).find(|at| text.is_char_boundary(*at));
        text.get(from.unwrap_or(0)..).unwrap_or_default().trim().to_owned()
    }

    fn log(&self) -> PathBuf {
        self.folder.path().join("log")
    }
}

/// Starts the model providers, played.
pub(super) async fn simulator(place: &Place) -> Result<(Child, Url)> {
    let port = std::net::TcpListener::bind("127.0.0.1:0")?.local_addr()?.port();
    let mut command = Command::new(programs::service("simulator")?);
    command.args(["--listen", &format!("127.0.0.1:{port}")]);
    let mut child = start(command, &place.folder.path().join("simulator.log"))?;
    let url = local(port)?;
    let http = Http::new(Duration::from_secs(2))?;
    let end = Instant::now() + START;
    loop {
        if http
            .get(&format!("{url}ready"))
            .await
            .is_ok_and(|answer| answer.status == 200)
        {
            return Ok((child, url));
        }
        if let Some(status) = child.try_wait()? {
            bail!("the simulator, which plays the models, ended by itself ({status})");
        }
        if Instant::now() > end {
            bail!("the simulator, which plays the models, did not start");
        }
        tokio::time::sleep(LOOK).await;
    }
}

/// Starts the executor.
pub(super) async fn executor(place: &Place, floor: &Floor, gateway: &Url, isolation: &str) -> Result<Child> {
    let scheduler = local(floor.port)?;
    let work = place.folder.path().join("work");
    let keep = if place.keep { "true" } else { "false" };
    let mut command = Command::new(programs::service("executor")?);
    command.env_clear();
    for (name, value) in [
        ("ADMIN__LISTEN", "127.0.0.1:0"),
        ("LOG__FORMAT", "text"),
        ("LOG__FILTER", "warn"),
        ("SCHEDULER__URL", scheduler.as_str().trim_end_matches('/')),
        ("SCHEDULER__TOKEN", &floor.token),
        ("BILLING__GATEWAY_URL", gateway.as_str()),
        ("ENDPOINTS__PRIVATE", "true"),
        ("ENDPOINTS__LISTEN", "127.0.0.1:0"),
        ("ENDPOINTS__GATEWAY_URL", gateway.as_str()),
        ("WORK__DIR", &work.to_string_lossy()),
        ("WORK__SLOTS", "1"),
        ("WORK__KEEP_ALL", keep),
        ("WORK__DRAIN", "1s"),
        ("ISOLATION__MINIMUM", "process"),
        ("ISOLATION__MAXIMUM", isolation),
        ("ISOLATION__AGENT_UID_BASE", UID_BASE),
    ] {
        command.env(format!("STEWARD__{name}"), value);
    }
    start(command, &place.log())
}

/// Asks a program to stop, and ends it if it does not.
pub(super) async fn stop(child: &mut Child) {
    if let Some(pid) = child.id().and_then(|pid| i32::try_from(pid).ok()) {
        // It may have ended this moment.
        let _ended = kill(Pid::from_raw(pid), Signal::SIGTERM);
    }
    if tokio::time::timeout(STOP, child.wait()).await.is_err() {
        let _ended = child.kill().await;
    }
}

fn start(mut command: Command, log: &Path) -> Result<Child> {
    let log = std::fs::File::create(log).with_context(|| format!("write {}", log.display()))?;
    let program = command.as_std().get_program().to_string_lossy().into_owned();
    command
        .stdin(Stdio::null())
        .stdout(log.try_clone()?)
        .stderr(log)
        .kill_on_drop(true);
    // A Ctrl-C at the terminal is ours to pass on.
    command.process_group(0);
    command.spawn().with_context(|| format!("start {program}"))
}
