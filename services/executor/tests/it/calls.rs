//! System calls an agent is refused, and what goes on working without them.

use nix::libc;
use serde_json::{Value, json};

use crate::harness::{Agent, Options, Stack};
use crate::isolation::{notes, told};

#[tokio::test(flavor = "multi_thread")]
async fn when_others_run_is_theirs_to_say() {
    let options = crate::isolation::unprivileged().set("ISOLATION__MAXIMUM", "landlock");
    let stack = Stack::with(options.set("ISOLATION__MINIMUM", "process")).await;
    let mask = "ctypes.addressof(mask)";
    let calls = [
        ("a user's", libc::SYS_setpriority, "2, 0, 5".to_owned(), "EPERM"),
        ("a group's", libc::SYS_setpriority, "1, 0, 5".to_owned(), "EPERM"),
        (
            "another's",
            libc::SYS_setpriority,
            "0, os.getppid(), 5".to_owned(),
            "EPERM",
        ),
        ("its own", libc::SYS_setpriority, "0, 0, 19".to_owned(), "done"),
        (
            "a user's disk",
            libc::SYS_ioprio_set,
            "3, 0, 0x6000".to_owned(),
            "EPERM",
        ),
        ("its own disk", libc::SYS_ioprio_set, "1, 0, 0x6000".to_owned(), "done"),
        (
            "another's place",
            libc::SYS_sched_setaffinity,
            format!("os.getppid(), 128, {mask}"),
            "EPERM",
        ),
        (
            "its own place",
            libc::SYS_sched_setaffinity,
            format!("0, 128, {mask}"),
            "done",
        ),
        (
            "another's turn",
            libc::SYS_sched_setscheduler,
            "os.getppid(), 3, 0".to_owned(),
            "EPERM",
        ),
        (
            "another's turns",
            libc::SYS_sched_setattr,
            "os.getppid(), 0, 0".to_owned(),
            "EPERM",
        ),
        (
            "another's weight",
            libc::SYS_sched_setparam,
            "os.getppid(), 0".to_owned(),
            "EPERM",
        ),
    ];
    let tried: String = calls
        .iter()
        .map(|(name, number, arguments, _)| format!("    {name:?}: call({number}, {arguments}),\n"))
        .collect();
    let program =
        format!("{CALL}\nmask = (ctypes.c_ubyte * 128)(*[255] * 128)\nsteward.result(notes=json.dumps({{\n{tried}}}))");
    let found = notes(&stack, &program).await;
    for (name, _, _, expected) in calls {
        assert_eq!(found[name], expected, "{name}: {found}");
    }
}

/// `call(number, …)` makes a system call and gives the name of its error, or "done".
const CALL: &str = r#"
import ctypes, errno, fcntl, json, os, socket, steward
libc = ctypes.CDLL(None, use_errno=True)
def call(number, *arguments):
    ctypes.set_errno(0)
    if libc.syscall(ctypes.c_long(number), *[ctypes.c_ulong(argument) for argument in arguments]) == -1:
        return errno.errorcode[ctypes.get_errno()]
    return "done"
def fails(action):
    try:
        action()
        return "done"
    except OSError as error:
        return errno.errorcode[error.errno]
"#;

#[tokio::test(flavor = "multi_thread")]
async fn calls_that_lead_around_the_rules_are_refused() {
    let user = libc::CLONE_NEWUSER;
    let refused = [
        ("unshare", libc::SYS_unshare, format!("{user}")),
        ("clone", libc::SYS_clone, format!("{user} | 17, 0, 0, 0, 0")),
        ("setns", libc::SYS_setns, "0, 0".to_owned()),
        ("mount", libc::SYS_mount, "0, 0, 0, 0, 0".to_owned()),
        ("umount2", libc::SYS_umount2, "0, 0".to_owned()),
        ("open_tree", libc::SYS_open_tree, "0, 0, 0".to_owned()),
        ("fsopen", libc::SYS_fsopen, "0, 0".to_owned()),
        ("ptrace", libc::SYS_ptrace, "0, 0, 0, 0".to_owned()),
        (
            "process_vm_readv",
            libc::SYS_process_vm_readv,
            "os.getpid(), 0, 0, 0, 0, 0".to_owned(),
        ),
        ("kcmp", libc::SYS_kcmp, "os.getpid(), os.getpid(), 1, 0, 0".to_owned()),
        ("keyctl", libc::SYS_keyctl, "0, 0xfffffffd, 0".to_owned()),
        ("add_key", libc::SYS_add_key, "0, 0, 0, 0, 0".to_owned()),
        ("bpf", libc::SYS_bpf, "0, 0, 0".to_owned()),
        ("perf_event_open", libc::SYS_perf_event_open, "0, 0, 0, 0, 0".to_owned()),
        ("userfaultfd", libc::SYS_userfaultfd, "1".to_owned()),
        ("io_uring_setup", libc::SYS_io_uring_setup, "1, 0".to_owned()),
        ("open_by_handle_at", libc::SYS_open_by_handle_at, "0, 0, 0".to_owned()),
        ("clock_settime", libc::SYS_clock_settime, "0, 0".to_owned()),
        ("adjtimex", libc::SYS_adjtimex, "0".to_owned()),
        ("personality", libc::SYS_personality, "0x40000".to_owned()),
        (
            "another's limits",
            libc::SYS_prlimit64,
            "os.getppid(), 7, 1, 0".to_owned(),
        ),
    ];
    let attempts: String = refused
        .iter()
        .map(|(name, number, arguments)| format!("    {name:?}: call({number}, {arguments}),\n"))
        .collect();
    let program = format!(
        r#"{CALL}
outcomes = {{
{attempts}    "terminal": fails(lambda: fcntl.ioctl(1, 0x5412, b"x")),
}}
steward.result(notes=json.dumps({{
    "refused": outcomes,
    "clone3": call({clone3}, 0, 0),
    "asking": call({personality}, 0xffffffff),
    "own limits": call({prlimit}, 0, 7, 0, 0),
}}))
"#,
        clone3 = libc::SYS_clone3,
        personality = libc::SYS_personality,
        prlimit = libc::SYS_prlimit64,
    );
    let stack = Stack::start().await;
    let found = notes(&stack, &program).await;
    for (name, outcome) in found["refused"].as_object().unwrap() {
        assert_eq!(outcome, "EPERM", "{name}");
    }
    assert_eq!(found["clone3"], "ENOSYS", "libraries take the older call");
    assert_eq!(found["asking"], "done");
    assert_eq!(found["own limits"], "done");
}

/// Kinds of sockets, and one that connects with its first data.
const SOCKETS: &str = r#"
def open_socket(*kind):
    return fails(lambda: socket.socket(*kind).close())
def fast_open():
    with socket.socket() as it:
        it.sendto(b"x", 0x20000000, ("127.0.0.1", 9))
found = {
    "tcp": open_socket(socket.AF_INET, socket.SOCK_STREAM),
    "tcp6": open_socket(socket.AF_INET6, socket.SOCK_STREAM),
    "unix": open_socket(socket.AF_UNIX, socket.SOCK_DGRAM),
    "udp": open_socket(socket.AF_INET, socket.SOCK_DGRAM),
    "udp6": open_socket(socket.AF_INET6, socket.SOCK_DGRAM),
    "ping": open_socket(socket.AF_INET, socket.SOCK_DGRAM, 1),
    "raw": open_socket(socket.AF_INET, socket.SOCK_RAW, 1),
    "multipath": open_socket(socket.AF_INET, socket.SOCK_STREAM, 262),
    "sctp": open_socket(socket.AF_INET, socket.SOCK_STREAM, 132),
    "netlink": open_socket(socket.AF_NETLINK, socket.SOCK_RAW, 0),
    "packet": open_socket(socket.AF_PACKET, socket.SOCK_RAW),
    "vsock": open_socket(socket.AF_VSOCK, socket.SOCK_STREAM),
    "kernel crypto": open_socket(socket.AF_ALG, socket.SOCK_SEQPACKET),
    "fast open": fails(fast_open),
}
steward.result(notes=json.dumps(found))
"#;

fn sockets(udp: &str) -> Value {
    json!({
        "tcp": "done", "tcp6": "done", "unix": "done", "udp": udp, "udp6": udp, "ping": "EPROTONOSUPPORT",
        "raw": "EPROTONOSUPPORT", "multipath": "EPROTONOSUPPORT", "sctp": "EPROTONOSUPPORT",
        "netlink": "EAFNOSUPPORT", "packet": "EAFNOSUPPORT", "vsock": "EAFNOSUPPORT",
        "kernel crypto": "EAFNOSUPPORT", "fast open": "ENOTSUP",
    })
}

#[tokio::test(flavor = "multi_thread")]
async fn tcp_and_local_sockets_are_the_only_ones() {
    let stack = Stack::start().await;
    let found = notes(&stack, &format!("{CALL}{SOCKETS}")).await;
    assert_eq!(found, sockets("EPROTONOSUPPORT"));
}

#[tokio::test(flavor = "multi_thread")]
async fn an_agent_that_may_reach_hosts_has_no_more_kinds_of_sockets() {
    let stack = Stack::start().await;
    let agent = Agent::python(&format!("{CALL}{SOCKETS}")).with("network", json!({"allow": ["example.org:443"]}));
    assert_eq!(told(&stack, &agent).await, sockets("EPROTONOSUPPORT"));
}

#[tokio::test(flavor = "multi_thread")]
async fn runs_share_no_memory_or_queues_without_a_file() {
    let stack = Stack::with(Options::default().set("ISOLATION__MAXIMUM", "landlock")).await;
    let program = format!(
        r#"{CALL}
import multiprocessing.dummy
steward.result(notes=json.dumps([call({shm}, 77, 4096, 0o1777), call({msg}, 77, 0o1777), call({sem}, 77, 1, 0o1777)]))
"#,
        shm = libc::SYS_shmget,
        msg = libc::SYS_msgget,
        sem = libc::SYS_semget,
    );
    assert_eq!(notes(&stack, &program).await, json!(["EPERM", "EPERM", "EPERM"]));
}

#[tokio::test(flavor = "multi_thread")]
async fn what_programs_usually_do_still_works() {
    let stack = Stack::start().await;
    let program = r#"
import concurrent.futures, json, os, resource, socket, steward, subprocess, tempfile, urllib.request
with concurrent.futures.ThreadPoolExecutor(4) as pool:
    threads = list(pool.map(lambda n: n * n, range(8)))
model = urllib.request.Request(os.environ["OPENAI_BASE_URL"] + "/chat/completions", b"{}", {"Content-Type": "application/json", "Authorization": "Bearer " + os.environ["OPENAI_API_KEY"]})
near, far = socket.socketpair()
near.send(b"x")
steward.result(notes=json.dumps({
    "threads": threads[-1],
    "name": socket.getaddrinfo("localhost", 80, type=socket.SOCK_STREAM)[0][4][1],
    "model": urllib.request.urlopen(model, timeout=10).status,
    "shell": subprocess.run("echo a | tr a b", shell=True, capture_output=True, text=True).stdout.strip(),
    "pair": far.recv(1).decode(),
    "limits": resource.getrlimit(resource.RLIMIT_CPU)[1] > 60,
    "locked": resource.getrlimit(resource.RLIMIT_MEMLOCK)[1] <= 65536,
}))
"#;
    let expected = json!({
        "threads": 49, "name": 80, "model": 200, "shell": "b", "pair": "x", "limits": true, "locked": true,
    });
    assert_eq!(notes(&stack, program).await, expected);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_node_agent_reaches_its_model() {
    if !["/usr/local/bin/node", "/usr/bin/node"]
        .iter()
        .any(|path| std::path::Path::new(path).exists())
    {
        return;
    }
    let program = r#"
const fs = require("fs");
require("dns").promises.lookup("localhost").then(async (found) => {
  const answer = await fetch(process.env.OPENAI_BASE_URL + "/chat/completions", {method: "POST", body: "{}", headers: {authorization: "Bearer " + process.env.OPENAI_API_KEY}});
  await answer.text();
  const child = require("child_process").execSync("echo child").toString().trim();
  const notes = JSON.stringify([answer.status, found.address.length > 2, child]);
  fs.writeFileSync(process.env.STEWARD_EVENTS, JSON.stringify({type: "result", notes}) + "\n");
});
"#;
    let stack = Stack::start().await;
    let agent = Agent::of(&[("agent.js", program.as_bytes())], json!(["node", "agent.js"]))
        .with("limits", json!({"memory": "2GiB"}));
    assert_eq!(told(&stack, &agent).await, json!([200, true, "child"]));
}
