//! The first process inside the namespaces of a run: makes the private root, gives up every right, starts the agent,
//! reaps whatever is left to it, and ends with the agent. The kernel ends everything else inside with it.

use std::ffi::OsString;
use std::io::{Read as _, Write as _};
use std::os::fd::AsFd as _;
use std::os::unix::net::UnixStream;
use std::os::unix::process::CommandExt as _;
use std::process::{Command, ExitCode, Stdio};

use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::prctl;
use nix::sys::signal::{SigSet, Signal, killpg};
use nix::sys::wait::{WaitPidFlag, WaitStatus, waitpid};
use nix::unistd::{Pid, dup2_stdin, setsid};

use super::launcher::{FAILED_CODE, confine, limit};
use super::policy::Policy;
use super::root;
use super::spaces::{give_up_all_rights, step, wait_for_signals};

/// Reads the policy from standard input, and lives as long as the agent. Without a command it only tries everything.
pub(super) fn live(command: &[OsString]) -> Result<ExitCode, String> {
    let signals = wait_for_signals()?;
    let mut outside = outside()?;
    let mut text = Vec::new();
    step("read the policy", outside.read_to_end(&mut text))?;
    let mut policy: Policy = step("read the policy", serde_json::from_slice(&text))?;
    step("die with the launcher", prctl::set_pdeathsig(Signal::SIGKILL))?;
    still_there(&outside)?;
    step("open a session", setsid())?;
    root::enter(&policy)?;
    give_up_all_rights()?;
    // The launcher and this one are counted too.
    policy.limits.pids = policy.limits.pids.map(|count| count.saturating_add(2));
    step("set the limits", limit(&policy.limits, true))?;
    // Its memory and environment are nobody's business, the agent's neither.
    step("close its own records", prctl::set_dumpable(false))?;
    if let Some(files) = &mut policy.files {
        files.read.push("/proc".into());
        files.write.push("/tmp".into());
    }
    confine(&policy)?;
    let [program, args @ ..] = command else {
        return Ok(ExitCode::SUCCESS);
    };
    let mut agent = Command::new(program);
    agent.args(args).stdin(Stdio::null()).process_group(0);
    // What is blocked here would be blocked there.
    step("let signals through", signals.thread_unblock())?;
    let started = agent.spawn();
    step("wait for signals", signals.thread_block())?;
    let agent = started.map_err(|error| format!("start {}: {error}", program.to_string_lossy()))?;
    let agent = step("start the agent", i32::try_from(agent.id())).map(Pid::from_raw)?;
    until_its_end(&signals, agent, &mut outside)
}

/// The socket to the launcher outside, out of the way of the agent.
fn outside() -> Result<UnixStream, String> {
    let socket = step("reach the launcher", std::io::stdin().as_fd().try_clone_to_owned())?;
    let nothing = step("open /dev/null", std::fs::File::open("/dev/null"))?;
    step("let go of standard input", dup2_stdin(nothing))?;
    Ok(UnixStream::from(socket))
}

/// It may have died just before its death was asked for.
fn still_there(outside: &UnixStream) -> Result<(), String> {
    let mut asked = [PollFd::new(outside.as_fd(), PollFlags::empty())];
    step("look for the launcher", poll(&mut asked, PollTimeout::ZERO))?;
    let gone = asked[0]
        .revents()
        .is_some_and(|found| found.contains(PollFlags::POLLHUP));
    if gone {
        return Err("the launcher is gone".to_owned());
    }
    Ok(())
}

/// Passes signals on to the agent's group and reaps what is left to the first process.
fn until_its_end(signals: &SigSet, agent: Pid, outside: &mut UnixStream) -> Result<ExitCode, String> {
    loop {
        // Before the first wait too: its end may have been told while nobody waited.
        if let Some(end) = reap(agent, outside) {
            return Ok(end);
        }
        match step("wait for signals", signals.wait())? {
            Signal::SIGCHLD => {}
            signal => {
                // It may have ended this moment.
                let _ended = killpg(agent, signal);
            }
        }
    }
}

/// Everything that has ended by now; the agent's end is the answer.
fn reap(agent: Pid, outside: &mut UnixStream) -> Option<ExitCode> {
    let mut end = None;
    loop {
        match waitpid(None, Some(WaitPidFlag::WNOHANG)) {
            Ok(WaitStatus::Exited(pid, code)) if pid == agent => {
                end = Some(ExitCode::from(u8::try_from(code).unwrap_or(FAILED_CODE)));
            }
            Ok(WaitStatus::Signaled(pid, signal, _)) if pid == agent => {
                // The launcher outside ends by the same one. If it is gone, nobody asks.
                let _nobody_asks = outside.write_all(&[u8::try_from(signal as i32).unwrap_or_default()]);
                end = Some(ExitCode::from(FAILED_CODE));
            }
            Ok(WaitStatus::StillAlive) | Err(_) => return end,
            Ok(_other) => {}
        }
    }
}
