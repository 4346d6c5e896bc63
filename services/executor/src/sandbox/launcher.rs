//! The other life of this program: apply a policy to itself, then become the agent.
//!
//! It runs in a fresh process with one thread, so that every step is an ordinary call and no code has to run between a
//! fork and an exec.

use std::ffi::OsString;
use std::io::{Read as _, Write as _};
use std::os::unix::process::CommandExt as _;
use std::process::{Command, ExitCode};

use nix::sys::resource::{Resource, getrlimit, setrlimit};
use nix::sys::stat::{Mode, umask};
use nix::unistd::{Gid, Uid, dup2_stdin, getppid, setgid, setsid, setuid};

use serde::{Deserialize, Serialize};

use super::level::Report;
use super::{Calls, Files, Limits, Policy};
#[cfg(target_os = "linux")]
use super::{first, spaces};

/// What a launcher is told to become.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct Order {
    pub(super) policy: Policy,
    /// Program and arguments.
    pub(super) command: Vec<String>,
    /// The whole environment.
    pub(super) env: Vec<(String, String)>,
}

/// First argument that makes this program the launcher; its parent, whether it is
/// to have namespaces, and the doors of its control groups follow.
pub(super) const EXEC: &str = "__sandbox-exec";
/// Second argument of one whose agent will have namespaces of its own.
pub(super) const APART: &str = "apart";
/// Second argument of any other.
pub(super) const TOGETHER: &str = "together";
/// First argument that makes it try everything and report.
pub(super) const PROBE: &str = "__sandbox-probe";
/// First argument that makes it the first process inside namespaces.
pub(super) const INIT: &str = "__sandbox-first";
/// Exit code of a launcher that could not do its work. An agent may use it too; the line below tells them apart.
pub const FAILED: i32 = FAILED_CODE as i32;
/// The same, as a process gives it.
pub(super) const FAILED_CODE: u8 = 125;
/// Memory a process may keep from being swapped out, bytes: enough for keys, not for more.
const LOCKED_MEMORY: u64 = 64 * 1024;
/// Begin of the launcher's own complaint on standard error.
pub const COMPLAINT: &str = "steward launcher: ";

/// Runs as the launcher if this process was started as one. Call it first thing in `main`.
#[must_use]
pub fn launched() -> Option<ExitCode> {
    let mut args = std::env::args_os().skip(1);
    let outcome = match args.next()?.to_str()? {
        EXEC => wait_for_order(args),
        PROBE => args
            .next()
            .and_then(|text| text.into_string().ok())
            .ok_or_else(|| "no policy given".to_owned())
            .and_then(|text| try_all(&text)),
        INIT => live_inside(&args.collect::<Vec<_>>()),
        _ => return None,
    };
    match outcome {
        Ok(code) => Some(code),
        Err(reason) => {
            // Nobody else could be told.
            let _nobody_reads = writeln!(std::io::stderr(), "{COMPLAINT}{reason}");
            Some(ExitCode::from(FAILED_CODE))
        }
    }
}

/// Gets ready: enters the control groups it is given, opens what namespaces it can, and waits on standard input to be
/// told what to become.
fn wait_for_order(mut args: impl Iterator<Item = OsString>) -> Result<ExitCode, String> {
    let parent = args.next().and_then(|text| text.to_str()?.parse().ok());
    let parent = parent.ok_or_else(|| "no parent given".to_owned())?;
    let apart = args.next().is_some_and(|word| word == APART);
    for door in args {
        // Before anything else, so that nothing is ever outside; and while it may still.
        std::fs::write(&door, "0")
            .map_err(|error| format!("enter the control group {}: {error}", door.to_string_lossy()))?;
    }
    // When the machine runs out of memory, it is an agent that goes and nothing of the stack.
    let _as_before = std::fs::write("/proc/self/oom_score_adj", "1000");
    close_inherited();
    if apart {
        prepare_spaces()?;
    }
    die_with_parent(parent)?;
    let mut text = Vec::new();
    let read = std::io::stdin().lock().read_to_end(&mut text);
    read.map_err(|error| format!("read the order: {error}"))?;
    if text.is_empty() {
        // It is not needed any more.
        return Ok(ExitCode::SUCCESS);
    }
    let order: Order = serde_json::from_slice(&text).map_err(|error| format!("read the order: {error}"))?;
    become_agent(&order)
}

/// Returns only when something failed, or when an agent in namespaces of its own has ended.
fn become_agent(order: &Order) -> Result<ExitCode, String> {
    let policy = &order.policy;
    let [program, args @ ..] = order.command.as_slice() else {
        return Err("no command given".to_owned());
    };
    if policy.spaces {
        return stand_outside(policy, Some(order));
    }
    let nothing = std::fs::File::open("/dev/null").and_then(|nothing| Ok(dup2_stdin(nothing)?));
    nothing.map_err(|error| format!("let go of standard input: {error}"))?;
    apply(policy)?;
    let mut agent = Command::new(program);
    agent
        .args(args)
        .env_clear()
        .envs(order.env.iter().map(|(name, value)| (name, value)));
    Err(format!("start {program}: {}", agent.exec()))
}

/// Applies a policy and says what the kernel made of it.
fn try_all(policy: &str) -> Result<ExitCode, String> {
    let mut policy: Policy = serde_json::from_str(policy).map_err(|error| format!("read the policy: {error}"))?;
    if policy.spaces {
        prepare_spaces()?;
        return stand_outside(&policy, None);
    }
    let files = Files::default();
    (policy.files, policy.calls) = (None, None);
    apply(&policy)?;
    let landlock_abi = restrict(&files, Some(&[]))?;
    let seccomp = filter(&Calls::default());
    let report = Report { landlock_abi, seccomp };
    let report = serde_json::to_string(&report).map_err(|error| error.to_string())?;
    writeln!(std::io::stdout(), "{report}").map_err(|error| error.to_string())?;
    Ok(ExitCode::SUCCESS)
}

fn apply(policy: &Policy) -> Result<(), String> {
    close_inherited();
    std::env::set_current_dir(&policy.cwd).map_err(|error| format!("enter the workspace: {error}"))?;
    limit(&policy.limits, policy.uid.is_some()).map_err(|error| format!("set the limits: {error}"))?;
    become_its_user(policy)?;
    confine(policy)
}

/// Alone, as the user of the run, with no way to more.
fn become_its_user(policy: &Policy) -> Result<(), String> {
    // A session of its own: its group can be killed as one. It fails only when it is one already.
    let _session = setsid();
    umask(Mode::from_bits_truncate(0o077));
    if let Some(id) = policy.uid {
        drop_root(id).map_err(|error| format!("become user {id}: {error}"))?;
    }
    // After the change of user, which clears it.
    die_with_parent(policy.parent)
}

/// The kernel's rules for what comes after, for good.
pub(super) fn confine(policy: &Policy) -> Result<(), String> {
    if let Some(files) = &policy.files {
        let abi = restrict(files, policy.connect.as_deref())?;
        if abi == 0 {
            return Err("the kernel does not apply file rules any more".to_owned());
        }
    }
    // Last: it takes away what the steps before it need.
    if let Some(calls) = &policy.calls {
        filter(calls).map_err(|error| format!("refuse system calls: {error}"))?;
    }
    Ok(())
}

/// Closes everything but the three standard streams: whatever started the executor may have left something open.
fn close_inherited() {
    let open: Vec<i32> = std::fs::read_dir("/proc/self/fd").map_or_else(
        |_no_proc| (3..1024).collect(),
        |entries| {
            let names = entries.filter_map(|entry| entry.ok()?.file_name().to_str()?.parse().ok());
            names.filter(|fd| *fd > 2).collect()
        },
    );
    for fd in open {
        // Among them is the one the list was read from, closed already.
        let _closed = nix::unistd::close(fd);
    }
}

/// `own_user` says that nobody else's processes are counted with the run's.
pub(super) fn limit(limits: &Limits, own_user: bool) -> nix::Result<()> {
    // Never more than there is, which only root could take.
    let set = |resource, value: u64| {
        let (_, most) = getrlimit(resource)?;
        setrlimit(resource, value.min(most), value.min(most))
    };
    set(Resource::RLIMIT_CORE, 0)?;
    set(Resource::RLIMIT_MEMLOCK, LOCKED_MEMORY)?;
    set(Resource::RLIMIT_NOFILE, limits.open_files)?;
    if let Some(bytes) = limits.file_size {
        set(Resource::RLIMIT_FSIZE, bytes)?;
    }
    if let Some(bytes) = limits.memory {
        set(Resource::RLIMIT_DATA, bytes)?;
    }
    if let Some(seconds) = limits.cpu_secs {
        set(Resource::RLIMIT_CPU, seconds)?;
    }
    #[cfg(target_os = "linux")]
    for none in [
        Resource::RLIMIT_NICE,
        Resource::RLIMIT_RTPRIO,
        Resource::RLIMIT_MSGQUEUE,
    ] {
        set(none, 0)?;
    }
    #[cfg(target_os = "linux")]
    if let Some(count) = limits.pids.filter(|_| own_user) {
        set(Resource::RLIMIT_NPROC, count)?;
    }
    #[cfg(not(target_os = "linux"))]
    let _counted_per_user_only_on_linux = own_user;
    Ok(())
}

fn drop_root(id: u32) -> nix::Result<()> {
    #[cfg(not(target_vendor = "apple"))]
    nix::unistd::setgroups(&[])?;
    setgid(Gid::from_raw(id))?;
    setuid(Uid::from_raw(id))
}

#[cfg(target_os = "linux")]
pub(super) fn die_with_parent(parent: u32) -> Result<(), String> {
    use nix::sys::prctl;

    prctl::set_pdeathsig(nix::sys::signal::Signal::SIGKILL)
        .map_err(|error| format!("die with the executor: {error}"))?;
    prctl::set_no_new_privs().map_err(|error| format!("give up new privileges: {error}"))?;
    // It may have died just before.
    if u32::try_from(getppid().as_raw()) == Ok(parent) {
        Ok(())
    } else {
        Err("the executor is gone".to_owned())
    }
}

#[cfg(not(target_os = "linux"))]
fn die_with_parent(parent: u32) -> Result<(), String> {
    if u32::try_from(getppid().as_raw()) == Ok(parent) {
        Ok(())
    } else {
        Err("the executor is gone".to_owned())
    }
}

#[cfg(target_os = "linux")]
fn prepare_spaces() -> Result<(), String> {
    spaces::prepare()
}

#[cfg(target_os = "linux")]
fn stand_outside(policy: &Policy, order: Option<&Order>) -> Result<ExitCode, String> {
    become_its_user(policy)?;
    spaces::stand_outside(policy, order)
}

#[cfg(target_os = "linux")]
fn live_inside(command: &[OsString]) -> Result<ExitCode, String> {
    first::live(command)
}

#[cfg(not(target_os = "linux"))]
fn prepare_spaces() -> Result<(), String> {
    Err("namespaces are Linux's".to_owned())
}

#[cfg(not(target_os = "linux"))]
fn stand_outside(_policy: &Policy, _order: Option<&Order>) -> Result<ExitCode, String> {
    Err("namespaces are Linux's".to_owned())
}

#[cfg(not(target_os = "linux"))]
fn live_inside(_command: &[OsString]) -> Result<ExitCode, String> {
    Err("namespaces are Linux's".to_owned())
}

#[cfg(target_os = "linux")]
fn restrict(files: &Files, connect: Option<&[u16]>) -> Result<u32, String> {
    super::rules::restrict(files, connect).map_err(|error| format!("apply the file rules: {error}"))
}

#[cfg(not(target_os = "linux"))]
fn restrict(_files: &Files, _connect: Option<&[u16]>) -> Result<u32, String> {
    Ok(0)
}

#[cfg(all(target_os = "linux", any(target_arch = "x86_64", target_arch = "aarch64")))]
fn filter(calls: &Calls) -> Result<(), String> {
    super::calls::restrict(calls).map_err(|error| error.to_string())
}

#[cfg(not(all(target_os = "linux", any(target_arch = "x86_64", target_arch = "aarch64"))))]
fn filter(_calls: &Calls) -> Result<(), String> {
    Err("no filter is written for this system".to_owned())
}
