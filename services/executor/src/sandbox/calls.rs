//! The system calls no agent needs: they are where a kernel is widest open, or lead around the other rules.
//!
//! The list denies; it does not allow. What agents do is not known beforehand (interpreters, compilers, browsers), and
//! a call that is refused for no reason is an agent that fails for no reason. Every refusal is an error the caller
//! sees, of the kind it would get on a kernel without the feature, so that libraries take their other way.

use std::collections::BTreeMap;

use nix::libc::{self, c_int, c_long};
use seccompiler::{
    BackendError, BpfProgram, SeccompAction, SeccompCmpArgLen, SeccompCmpOp, SeccompCondition, SeccompFilter,
    SeccompRule, TargetArch, apply_filter,
};

use super::policy::Calls;

/// Why the filter could not be made or put in force.
#[derive(Debug, thiserror::Error)]
pub(super) enum Error {
    #[error("build the filter: {0}")]
    Build(#[from] BackendError),
    #[error("put the filter in force: {0}")]
    Apply(#[from] seccompiler::Error),
}

type Rules = BTreeMap<i64, Vec<SeccompRule>>;

/// Refused whatever the arguments.
const NEVER: &[c_long] = &[
    // Namespaces and mounts.
    libc::SYS_unshare,
    libc::SYS_setns,
    libc::SYS_mount,
    libc::SYS_umount2,
    libc::SYS_pivot_root,
    libc::SYS_chroot,
    libc::SYS_fsopen,
    libc::SYS_fsconfig,
    libc::SYS_fsmount,
    libc::SYS_fspick,
    libc::SYS_open_tree,
    libc::SYS_move_mount,
    libc::SYS_mount_setattr,
    libc::SYS_open_by_handle_at,
    libc::SYS_fanotify_init,
    libc::SYS_quotactl,
    libc::SYS_quotactl_fd,
    libc::SYS_swapon,
    libc::SYS_swapoff,
    // Other processes.
    libc::SYS_ptrace,
    libc::SYS_process_vm_readv,
    libc::SYS_process_vm_writev,
    libc::SYS_process_madvise,
    libc::SYS_pidfd_getfd,
    libc::SYS_kcmp,
    libc::SYS_move_pages,
    libc::SYS_migrate_pages,
    // Keys the kernel keeps: they belong to a user, not to a run.
    libc::SYS_add_key,
    libc::SYS_request_key,
    libc::SYS_keyctl,
    // Programs for the kernel, and the ways in that were abused most.
    libc::SYS_bpf,
    libc::SYS_perf_event_open,
    libc::SYS_userfaultfd,
    libc::SYS_io_uring_setup,
    libc::SYS_io_uring_enter,
    libc::SYS_io_uring_register,
    // The machine.
    libc::SYS_kexec_load,
    libc::SYS_kexec_file_load,
    libc::SYS_init_module,
    libc::SYS_finit_module,
    libc::SYS_delete_module,
    libc::SYS_reboot,
    libc::SYS_syslog,
    libc::SYS_acct,
    libc::SYS_vhangup,
    libc::SYS_settimeofday,
    libc::SYS_clock_settime,
    libc::SYS_clock_adjtime,
    libc::SYS_adjtimex,
    libc::SYS_sethostname,
    libc::SYS_setdomainname,
    libc::SYS_nfsservctl,
    libc::SYS_lookup_dcookie,
    // Kept by Linux for programs of another age, or for one kind of machine.
    #[cfg(target_arch = "x86_64")]
    libc::SYS_iopl,
    #[cfg(target_arch = "x86_64")]
    libc::SYS_ioperm,
    #[cfg(target_arch = "x86_64")]
    libc::SYS_modify_ldt,
    #[cfg(target_arch = "x86_64")]
    libc::SYS_uselib,
    #[cfg(target_arch = "x86_64")]
    libc::SYS_sysfs,
    #[cfg(target_arch = "x86_64")]
    libc::SYS__sysctl,
];

/// Memory, semaphores and queues that have no file: one run could talk to another by them.
const SHARED: &[c_long] = &[
    libc::SYS_shmget,
    libc::SYS_shmat,
    libc::SYS_semget,
    libc::SYS_msgget,
    libc::SYS_mq_open,
];

/// Kinds of namespaces a new process can ask for.
const NAMESPACES: [c_int; 7] = [
    libc::CLONE_NEWNS,
    libc::CLONE_NEWCGROUP,
    libc::CLONE_NEWUTS,
    libc::CLONE_NEWIPC,
    libc::CLONE_NEWUSER,
    libc::CLONE_NEWPID,
    libc::CLONE_NEWNET,
];

/// Requests to a terminal: type for its user, reach the console, change how it is read.
const TERMINAL: [u64; 3] = [0x5412, 0x541c, 0x5423];
/// One process, to `ioprio_set`.
const IO_OF_ONE: u64 = 1;
/// Asks for the present personality and changes nothing.
const ASK: u64 = 0xffff_ffff;
/// Connects with the first data, past the rule about ports.
const FAST_OPEN: u64 = 0x2000_0000;
/// The part of a socket's type that is not a flag.
const TYPE: u64 = 0xf;
const UNIX: u64 = libc::AF_UNIX as u64;
const STREAM: u64 = libc::SOCK_STREAM as u64;
const DATAGRAM: u64 = libc::SOCK_DGRAM as u64;
const TCP: u64 = libc::IPPROTO_TCP as u64;
const UDP: u64 = libc::IPPROTO_UDP as u64;

/// Puts the filter in force, for this process and all it starts, for good.
pub(super) fn restrict(calls: &Calls) -> Result<(), Error> {
    let groups = [
        (libc::EPERM, forbidden(calls)?),
        (libc::ENOSYS, BTreeMap::from([(libc::SYS_clone3, Vec::new())])),
        // Of two refusals of a socket, the first is told.
        (libc::EAFNOSUPPORT, families()?),
        (libc::EPROTONOSUPPORT, protocols(calls)?),
        (libc::EOPNOTSUPP, fast_open()?),
    ];
    #[cfg(target_arch = "x86_64")]
    let mut all = other_numbers();
    #[cfg(not(target_arch = "x86_64"))]
    let mut all = BpfProgram::new();
    for (errno, rules) in groups {
        go_on_with(&mut all, program(errno, rules)?);
    }
    Ok(apply_filter(&all)?)
}

/// Makes one of two: what the first lets through, the second looks at. The kernel compiles each filter anew for each
/// process, so one is five times faster to put in force than five.
fn go_on_with(first: &mut BpfProgram, second: BpfProgram) {
    let let_through = u16::try_from(libc::BPF_RET | libc::BPF_K).unwrap_or_default();
    let onward = u16::try_from(libc::BPF_JMP | libc::BPF_JA).unwrap_or_default();
    let length = first.len();
    for (place, step) in first.iter_mut().enumerate() {
        if step.code == let_through && step.k == libc::SECCOMP_RET_ALLOW {
            step.code = onward;
            step.k = u32::try_from(length - place - 1).unwrap_or_default();
        }
    }
    first.extend(second);
}

/// A call by another architecture's numbers ends the process: nothing here was written for them.
fn program(errno: c_int, rules: Rules) -> Result<BpfProgram, BackendError> {
    let refuse = SeccompAction::Errno(errno.unsigned_abs());
    let arch = TargetArch::try_from(std::env::consts::ARCH)?;
    SeccompFilter::new(rules, SeccompAction::Allow, refuse, arch)?.try_into()
}

fn forbidden(calls: &Calls) -> Result<Rules, BackendError> {
    let mut rules: Rules = NEVER.iter().map(|call| (*call, Vec::new())).collect();
    if !calls.shared {
        rules.extend(SHARED.iter().map(|call| (*call, Vec::new())));
    }
    let namespaces = NAMESPACES.map(|kind| u64::from(kind.unsigned_abs()));
    rules.insert(libc::SYS_clone, any(0, namespaces.map(|kind| (masked(kind), kind)))?);
    rules.insert(
        libc::SYS_ioctl,
        any(1, TERMINAL.map(|request| (SeccompCmpOp::Eq, request)))?,
    );
    rules.insert(libc::SYS_personality, any(0, [(SeccompCmpOp::Ne, ASK)])?);
    // Another's limits: with a shared user id, the executor's.
    let set = SeccompCondition::new(2, SeccompCmpArgLen::Qword, SeccompCmpOp::Ne, 0)?;
    let other = SeccompRule::new(vec![when(0, SeccompCmpOp::Ne, 0)?, set])?;
    rules.insert(libc::SYS_prlimit64, vec![other]);
    others_turn(&mut rules, calls)?;
    Ok(rules)
}

/// When others run, and where: of a group or a user never, of a process only its own, unless no other can be named.
fn others_turn(rules: &mut Rules, calls: &Calls) -> Result<(), BackendError> {
    let named = || any(0, [(SeccompCmpOp::Ne, 0)]);
    for (call, one) in [(libc::SYS_setpriority, 0), (libc::SYS_ioprio_set, IO_OF_ONE)] {
        let mut refused = any(0, [(SeccompCmpOp::Ne, one)])?;
        if !calls.shared {
            refused.extend(any(1, [(SeccompCmpOp::Ne, 0)])?);
        }
        rules.insert(call, refused);
    }
    if calls.shared {
        return Ok(());
    }
    for call in [
        libc::SYS_sched_setscheduler,
        libc::SYS_sched_setparam,
        libc::SYS_sched_setattr,
        libc::SYS_sched_setaffinity,
    ] {
        rules.insert(call, named()?);
    }
    Ok(())
}

/// Sockets to be had: by path, and the internet's.
fn families() -> Result<Rules, BackendError> {
    let internet = [libc::AF_INET, libc::AF_INET6].map(|family| u64::from(family.unsigned_abs()));
    let mut others = vec![when(0, SeccompCmpOp::Ne, UNIX)?];
    for family in internet {
        others.push(when(0, SeccompCmpOp::Ne, family)?);
    }
    Ok(BTreeMap::from([
        (libc::SYS_socket, vec![SeccompRule::new(others)?]),
        (libc::SYS_socketpair, any(0, [(SeccompCmpOp::Ne, UNIX)])?),
    ]))
}

/// Of the internet's, TCP only: the kernel's rule about ports knows no other, not even another kind of stream. And
/// UDP, where names of hosts must be looked up.
fn protocols(calls: &Calls) -> Result<Rules, BackendError> {
    let internet = || when(0, SeccompCmpOp::Ne, UNIX);
    let mut allowed = vec![(STREAM, TCP)];
    if calls.datagrams {
        allowed.push((DATAGRAM, UDP));
    }
    let mut refused = Vec::new();
    for kind in 0..=TYPE {
        let mut conditions = vec![internet()?, when(1, masked(TYPE), kind)?];
        if let Some((_, protocol)) = allowed.iter().find(|(allowed, _)| *allowed == kind) {
            conditions.push(when(2, SeccompCmpOp::Ne, 0)?);
            conditions.push(when(2, SeccompCmpOp::Ne, *protocol)?);
        }
        refused.push(SeccompRule::new(conditions)?);
    }
    Ok(BTreeMap::from([(libc::SYS_socket, refused)]))
}

fn fast_open() -> Result<Rules, BackendError> {
    let flag = || [(masked(FAST_OPEN), FAST_OPEN)];
    Ok(BTreeMap::from([
        (libc::SYS_sendto, any(3, flag())?),
        (libc::SYS_sendmsg, any(2, flag())?),
        (libc::SYS_sendmmsg, any(3, flag())?),
    ]))
}

/// One rule for each value of an argument.
fn any<const N: usize>(argument: u8, values: [(SeccompCmpOp, u64); N]) -> Result<Vec<SeccompRule>, BackendError> {
    let rule = |(operator, value)| SeccompRule::new(vec![when(argument, operator, value)?]);
    values.into_iter().map(rule).collect()
}

/// The kernel reads these arguments as 32 bits, whatever stands above them.
fn when(argument: u8, operator: SeccompCmpOp, value: u64) -> Result<SeccompCondition, BackendError> {
    SeccompCondition::new(argument, SeccompCmpArgLen::Dword, operator, value)
}

fn masked(mask: u64) -> SeccompCmpOp {
    SeccompCmpOp::MaskedEq(mask)
}

/// x32: the same architecture by name, with other numbers for everything.
#[cfg(target_arch = "x86_64")]
fn other_numbers() -> BpfProgram {
    use seccompiler::sock_filter;

    const X32: u32 = 0x4000_0000;
    let step = |code: u32, jt, jf, k| sock_filter {
        code: u16::try_from(code).unwrap_or_default(),
        jt,
        jf,
        k,
    };
    vec![
        // The number is the first word of what a filter sees.
        step(libc::BPF_LD | libc::BPF_W | libc::BPF_ABS, 0, 0, 0),
        step(libc::BPF_JMP | libc::BPF_JGE | libc::BPF_K, 0, 1, X32),
        step(
            libc::BPF_RET | libc::BPF_K,
            0,
            0,
            libc::SECCOMP_RET_ERRNO | libc::ENOSYS.unsigned_abs(),
        ),
        step(libc::BPF_RET | libc::BPF_K, 0, 0, libc::SECCOMP_RET_ALLOW),
    ]
}
