//! Namespaces: the part of the launcher that stays outside.
//!
//! Three processes make a run. This one stands outside: it opens the namespaces, opens the gateway's listener in the
//! new network and hands it to the executor, starts the [`first`](super::first) process inside, and then only passes
//! signals on and the end back. The first process makes the private root, gives up every right and starts the agent.
//! Each dies with the one before it, and with the first process the kernel ends everything inside.

use std::io::{IoSlice, Read as _, Write as _};
use std::mem::MaybeUninit;
use std::net::{Ipv4Addr, Shutdown, TcpListener};
use std::os::fd::{AsFd as _, OwnedFd};
use std::os::unix::net::UnixStream;
use std::process::{Command, ExitCode, Stdio};

use nix::sched::{CloneFlags, unshare};
use nix::sys::signal::{SigSet, Signal, kill, raise};
use nix::sys::socket::{AddressFamily, SockFlag, SockProtocol, SockType, socket};
use nix::sys::wait::{WaitPidFlag, WaitStatus, waitpid};
use nix::unistd::{Pid, dup2_stdin, getegid, geteuid, sethostname};
use rustix::net::{SendAncillaryBuffer, SendAncillaryMessage, SendFlags, sendmsg};
use rustix::thread::{CapabilitySet, CapabilitySets};

use super::launcher::{FAILED_CODE, INIT, Order, die_with_parent};
use super::level::{GATEWAY_PORT, PROXY_PORT};
use super::policy::Policy;

/// What the first process is called to have: mounts, and giving up what it may do.
const INSIDE: [CapabilitySet; 2] = [CapabilitySet::SYS_ADMIN, CapabilitySet::SETPCAP];
/// What every machine is called inside.
const HOST_NAME: &str = "steward";
/// Signals that are passed on, and the news of an end.
const PASSED_ON: [Signal; 4] = [Signal::SIGTERM, Signal::SIGINT, Signal::SIGHUP, Signal::SIGCHLD];

/// Opens a network with its listeners, and hands these out over standard input, a socket to the executor. It is done
/// before it is known for whom: root can open it without a user namespace, and anybody else will not change his user.
pub(super) fn prepare() -> Result<(), String> {
    if geteuid().is_root() {
        step("open namespaces", unshare(outer()))?;
    } else {
        open_as_itself(outer() | inner())?;
    }
    step("name the machine", sethostname(HOST_NAME))?;
    step("switch loopback on", loopback_up())?;
    step("hand out the listeners", hand_out())
}

/// Opens the rest, starts the first process in it and stands by until its end.
pub(super) fn stand_outside(policy: &Policy, order: Option<&Order>) -> Result<ExitCode, String> {
    let signals = wait_for_signals()?;
    step("let go of the socket", let_go_of_standard_input())?;
    // A change of user closes a process's own files in /proc to itself.
    step("open its own records", nix::sys::prctl::set_dumpable(true))?;
    if policy.uid.is_some() {
        open_as_itself(inner())?;
    }
    die_with_parent(policy.parent)?;
    let (mut near, far) = step("open a socket", UnixStream::pair())?;
    let first = start_first(far, order)?;
    give_up_all_rights()?;
    let text = serde_json::to_vec(policy).map_err(|error| error.to_string())?;
    // If it is gone already, its end says more.
    let _gone = near.write_all(&text).and_then(|()| near.shutdown(Shutdown::Write));
    let status = stand_by(&signals, first)?;
    Ok(end_alike(status, near))
}

/// Kinds that need no user namespace when opened by root.
fn outer() -> CloneFlags {
    CloneFlags::CLONE_NEWNET | CloneFlags::CLONE_NEWIPC | CloneFlags::CLONE_NEWUTS
}

/// Kinds that belong to the user of the run.
fn inner() -> CloneFlags {
    CloneFlags::CLONE_NEWUSER | CloneFlags::CLONE_NEWNS | CloneFlags::CLONE_NEWPID | CloneFlags::CLONE_NEWCGROUP
}

/// Opens namespaces in which nobody exists but the user it is.
fn open_as_itself(kinds: CloneFlags) -> Result<(), String> {
    let (uid, gid) = (geteuid(), getegid());
    step("open namespaces", unshare(kinds))?;
    for (file, text) in [
        ("setgroups", "deny".to_owned()),
        ("uid_map", format!("{uid} {uid} 1")),
        ("gid_map", format!("{gid} {gid} 1")),
    ] {
        step(
            "keep its own user id",
            std::fs::write(format!("/proc/self/{file}"), text),
        )?;
    }
    Ok(())
}

/// Blocks what is to be waited for.
pub(super) fn wait_for_signals() -> Result<SigSet, String> {
    let signals: SigSet = PASSED_ON.into_iter().collect();
    step("wait for signals", signals.thread_block())?;
    Ok(signals)
}

/// Takes every right away for good, also those a program could bring.
pub(super) fn give_up_all_rights() -> Result<(), String> {
    let none = CapabilitySets {
        effective: CapabilitySet::empty(),
        permitted: CapabilitySet::empty(),
        inheritable: CapabilitySet::empty(),
    };
    for bit in 0..u64::BITS {
        let right = CapabilitySet::from_bits_retain(1 << bit);
        match rustix::thread::capability_is_in_bounding_set(right) {
            Ok(true) => step(
                "give up a right",
                rustix::thread::remove_capability_from_bounding_set(right),
            )?,
            Ok(false) => {}
            // This kernel knows no more.
            Err(_) => break,
        }
    }
    step("give up rights", rustix::thread::clear_ambient_capability_set())?;
    step("give up rights", rustix::thread::set_capabilities(None, none))
}

/// What was attempted, before why it failed.
pub(super) fn step<T, E: std::fmt::Display>(what: &str, outcome: Result<T, E>) -> Result<T, String> {
    outcome.map_err(|error| format!("{what}: {error}"))
}

/// The request of `ip link set lo up`, which is the first link of every network.
fn loopback_up() -> std::io::Result<()> {
    const NEW_LINK: u16 = 16;
    const REQUEST_AND_ACKNOWLEDGE: u16 = 1 | 4;
    const UP: u32 = 1;
    let mut request = Vec::with_capacity(32);
    request.extend_from_slice(&32_u32.to_ne_bytes());
    request.extend_from_slice(&NEW_LINK.to_ne_bytes());
    request.extend_from_slice(&REQUEST_AND_ACKNOWLEDGE.to_ne_bytes());
    // Sequence and sender; then family and type, which stay open.
    request.extend_from_slice(&[0; 12]);
    request.extend_from_slice(&1_u32.to_ne_bytes());
    request.extend_from_slice(&UP.to_ne_bytes());
    request.extend_from_slice(&UP.to_ne_bytes());
    let protocol = SockProtocol::NetlinkRoute;
    let socket = socket(AddressFamily::Netlink, SockType::Raw, SockFlag::SOCK_CLOEXEC, protocol)?;
    let mut socket = std::fs::File::from(socket);
    socket.write_all(&request)?;
    let mut answer = [0_u8; 256];
    let length = socket.read(&mut answer)?;
    // After a header of 16 bytes, the error as a negative number.
    match answer
        .get(16..20)
        .filter(|_| length >= 20)
        .and_then(|code| code.try_into().ok())
    {
        Some(code) if i32::from_ne_bytes(code) == 0 => Ok(()),
        Some(code) => Err(std::io::Error::from_raw_os_error(-i32::from_ne_bytes(code))),
        None => Err(std::io::Error::other("the kernel's answer is too short")),
    }
}

/// Opens the listeners in this network and sends them over standard input.
fn hand_out() -> std::io::Result<()> {
    let listen = |port| TcpListener::bind((Ipv4Addr::LOCALHOST, port));
    let (gateway, proxy) = (listen(GATEWAY_PORT)?, listen(PROXY_PORT)?);
    let handed = [gateway.as_fd(), proxy.as_fd()];
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(2))];
    let mut control = SendAncillaryBuffer::new(&mut space);
    control.push(SendAncillaryMessage::ScmRights(&handed));
    let executor = std::io::stdin();
    sendmsg(&executor, &[IoSlice::new(b"l")], &mut control, SendFlags::NOSIGNAL)?;
    Ok(())
}

fn let_go_of_standard_input() -> std::io::Result<()> {
    Ok(dup2_stdin(std::fs::File::open("/dev/null")?)?)
}

/// Starts this program again, as the first process inside. It needs rights for a moment, and a program that is started
/// keeps those only that are ambient.
fn start_first(far: UnixStream, order: Option<&Order>) -> Result<Pid, String> {
    let mut rights = step("read its rights", rustix::thread::capabilities(None))?;
    rights.inheritable = INSIDE.into_iter().collect();
    step("pass rights on", rustix::thread::set_capabilities(None, rights))?;
    for right in INSIDE {
        step(
            "pass a right on",
            rustix::thread::configure_capability_in_ambient_set(right, true),
        )?;
    }
    let mut first = Command::new("/proc/self/exe");
    first.arg(INIT).env_clear().stdin(Stdio::from(OwnedFd::from(far)));
    if let Some(order) = order {
        first.args(&order.command);
        // The agent has it from the first process.
        first.envs(order.env.iter().map(|(name, value)| (name, value)));
    }
    let first = step("start the first process", first.spawn())?;
    step("start the first process", i32::try_from(first.id())).map(Pid::from_raw)
}

/// Passes signals on until it has ended.
fn stand_by(signals: &SigSet, first: Pid) -> Result<WaitStatus, String> {
    loop {
        let signal = step("wait for signals", signals.wait())?;
        if signal != Signal::SIGCHLD {
            // It may have ended this moment.
            let _ended = kill(first, signal);
            continue;
        }
        let status = step("wait for its end", waitpid(first, Some(WaitPidFlag::WNOHANG)))?;
        if matches!(status, WaitStatus::Exited(..) | WaitStatus::Signaled(..)) {
            return Ok(status);
        }
    }
}

/// Ends as the agent ended: the first process cannot itself be ended by a signal from inside, so it tells which one.
fn end_alike(status: WaitStatus, mut near: UnixStream) -> ExitCode {
    let mut told = [0_u8; 1];
    let signal = match (near.read(&mut told), status) {
        (Ok(1), _) => Signal::try_from(i32::from(told[0])).ok(),
        (_, WaitStatus::Signaled(_, signal, _)) => Some(signal),
        (_, WaitStatus::Exited(_, code)) => return ExitCode::from(u8::try_from(code).unwrap_or(FAILED_CODE)),
        _ => None,
    };
    if let Some(signal) = signal {
        let _let_through = SigSet::from_iter([signal]).thread_unblock();
        // Twice: of some, the first only ends a handler of the language's own.
        let _ended = raise(signal).and_then(|()| raise(signal));
    }
    // It is one that does not end this process.
    ExitCode::from(FAILED_CODE)
}
