//! Ways out of namespaces of one's own, tried by real agents; and that agents end there as they end elsewhere.

use std::collections::HashSet;

use rpc::v1::complete_request::Outcome;
use serde_json::json;

use crate::cancel::processes;
use crate::harness::{Agent, Job, Options, Stack, eventually};
use crate::isolation::{at_level, notes, told, unprivileged};

const KINDS: [&str; 7] = ["user", "mnt", "pid", "net", "ipc", "uts", "cgroup"];

/// Of the machine, and nobody's business.
const CLOSED: [&str; 12] = [
    "/root",
    "/home",
    "/boot",
    "/mnt",
    "/opt",
    "/run",
    "/srv",
    "/var/lib",
    "/.machine",
    "/sys/kernel",
    "/etc/shadow",
    "/dev/kmsg",
];
const DEVICES: [&str; 10] = [
    "fd", "full", "null", "random", "shm", "stderr", "stdin", "stdout", "urandom", "zero",
];

/// A stack whose agents get namespaces, unless this machine has none to give.
async fn apart(options: Options) -> Option<Stack> {
    at_level("namespaces", options).await
}

fn own_namespaces() -> Vec<(String, String)> {
    let name = |kind: &str| {
        let link = std::fs::read_link(format!("/proc/self/ns/{kind}")).unwrap();
        (kind.to_owned(), link.to_str().unwrap().to_owned())
    };
    KINDS.map(name).into()
}

async fn everything_is_its_own(options: Options) {
    let Some(stack) = apart(options).await else { return };
    let program = format!(
        r#"
import json, os, socket, steward
def fails(action):
    try:
        action()
        return "done"
    except OSError as error:
        return error.strerror
status = dict(line.split(":\t", 1) for line in open("/proc/self/status").read().splitlines() if ":\t" in line)
open("/tmp/steward-was-here", "w").write("x")
steward.result(notes=json.dumps({{
    "spaces": {{kind: os.readlink("/proc/self/ns/" + kind) for kind in {KINDS:?}}},
    "rights": [status[name].strip("0") for name in ("CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb")],
    "filtered": [status["NoNewPrivs"], status["Seccomp"]],
    "host": socket.gethostname(),
    "processes": len([name for name in os.listdir("/proc") if name.isdigit()]),
    "links": [line.split(":")[0].strip() for line in open("/proc/net/dev").read().splitlines()[2:]],
    "there": [path for path in {CLOSED:?} if os.path.lexists(path)],
    "missing": [path for path in {DEVICES:?} if not os.path.lexists("/dev/" + path)],
    "written": [place for place in ("", "/etc", "/usr", "/dev", "/proc") if fails(lambda: os.mkdir(place + "/x")) == "done"],
    "first": [name for name in ("environ", "mem", "fd", "root") if fails(lambda: os.open("/proc/1/" + name, 0)) == "done"],
    "keys": open("/proc/keys").read() + open("/proc/kallsyms").read(),
    "name": fails(lambda: socket.getaddrinfo("example.org", 443)),
    "internet": fails(lambda: socket.create_connection(("1.1.1.1", 443), 2)),
    "metadata": fails(lambda: socket.create_connection(("169.254.169.254", 80), 2)),
    "user": os.getuid() != 0,
}}))
"#
    );
    let found = notes(&stack, &program).await;
    for (kind, name) in own_namespaces() {
        assert_ne!(found["spaces"][&kind], json!(name), "the machine's {kind} namespace");
    }
    assert_eq!(found["rights"], json!(["", "", "", "", ""]));
    assert_eq!(found["filtered"], json!(["1", "2"]));
    assert_eq!(found["host"], "steward");
    assert_eq!(found["processes"], 2, "the first process and the agent");
    assert_eq!(found["links"], json!(["lo"]));
    for none in ["there", "missing", "written", "first"] {
        assert_eq!(found[none], json!([]), "{none}");
    }
    assert_eq!(found["keys"], "");
    for unreachable in ["name", "internet", "metadata"] {
        assert_ne!(found[unreachable], "done", "{unreachable}");
    }
    assert_eq!(found["user"], true);
    assert!(
        !std::path::Path::new("/tmp/steward-was-here").exists(),
        "/tmp is the machine's"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn in_namespaces_an_agent_sees_a_machine_of_its_own() {
    everything_is_its_own(Options::default()).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn without_root_it_sees_the_same() {
    everything_is_its_own(unprivileged()).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_run_leaves_behind_on_purpose_ends_with_it_also_without_root() {
    let Some(stack) = apart(unprivileged()).await else {
        return;
    };
    // Group, session, parent, environment, folder and name are shed.
    let program = r#"
import os, steward
if os.fork() == 0:
    os.setsid()
    if os.fork() == 0:
        os.chdir("/")
        os.execve("/usr/bin/env", ["env", "-i", "sleep", "47110815"], {"PATH": "/usr/bin:/bin"})
    os._exit(0)
os.wait()
while not any(open(f"/proc/{pid}/cmdline").read().startswith("sleep") for pid in os.listdir("/proc") if pid.isdigit() and pid != "1"):
    pass
steward.result(notes="up")
"#;
    let end = stack.run(&Agent::python(program), Job::work()).await;
    assert!(
        matches!(end.outcome, Some(Outcome::ResultJson(_))),
        "{:?}\n{}",
        end.outcome,
        end.log_tail
    );
    assert_eq!(processes("47110815"), [0; 0]);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_number_of_processes_is_limited_per_run_also_without_root() {
    let Some(stack) = apart(unprivileged()).await else {
        return;
    };
    let program = r#"
import json, os, steward, time
count = 1
try:
    while count < 100:
        if os.fork() == 0:
            time.sleep(600)
        count += 1
except BlockingIOError:
    pass
steward.result(notes=json.dumps(count))
"#;
    let agent = Agent::python(program).with("limits", json!({"pids": 12}));
    assert_eq!(told(&stack, &agent).await, json!(12));
}

/// Listening sockets of a process, on the machine.
fn listeners(pid: i32) -> usize {
    let folder = std::fs::read_dir(format!("/proc/{pid}/fd")).unwrap();
    let sockets: HashSet<String> = folder
        .filter_map(|entry| {
            std::fs::read_link(entry.ok()?.path())
                .ok()?
                .to_str()
                .map(ToOwned::to_owned)
        })
        .filter_map(|link| Some(link.strip_prefix("socket:[")?.trim_end_matches(']').to_owned()))
        .collect();
    let tables = ["tcp", "tcp6"].map(|table| std::fs::read_to_string(format!("/proc/net/{table}")).unwrap_or_default());
    let lines = tables.iter().flat_map(|table| table.lines().skip(1));
    let fields = lines.map(|line| line.split_ascii_whitespace().collect::<Vec<_>>());
    fields
        .filter(|fields| fields[3] == "0A" && sockets.contains(fields[9]))
        .count()
}

#[tokio::test(flavor = "multi_thread")]
async fn the_gateway_of_a_run_cannot_be_reached_by_anybody_else() {
    let Some(stack) = apart(Options::default().set("WORK__SLOTS", "2")).await else {
        return;
    };
    let before = listeners(stack.executor.pid());
    let waiting = Agent::python("import steward, time\nsteward.progress('up')\ntime.sleep(600)");
    let token = stack.scheduler.assign(&waiting, Job::work()).await;
    eventually("it runs", || {
        (!stack.scheduler.progress(&token).is_empty()).then_some(())
    })
    .await;
    assert_eq!(
        listeners(stack.executor.pid()),
        before,
        "a listener on the machine's loopback"
    );
    // Both runs name the same address, and each has its own there.
    let program = r#"
import json, os, steward, urllib.request
def call(base):
    request = urllib.request.Request(base + "/chat/completions", b"{}", {"Content-Type": "application/json", "Authorization": "Bearer " + os.environ["OPENAI_API_KEY"]})
    return urllib.request.urlopen(request, timeout=10).status
steward.result(notes=json.dumps(call(os.environ["OPENAI_BASE_URL"])))
"#;
    assert_eq!(notes(&stack, program).await, json!(200));
    assert_eq!(stack.model.calls().len(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_agent_ends_in_namespaces_as_it_ends_elsewhere() {
    let elsewhere = Stack::with(Options::default().set("ISOLATION__MAXIMUM", "landlock")).await;
    let Some(apart) = apart(Options::default()).await else {
        return;
    };
    for script in [
        "exit 7",
        "kill -SEGV $$",
        "kill -KILL $$",
        "kill -TERM $$",
        "exit 125",
        "echo words; exit 69",
    ] {
        let agent = Agent::shell(script);
        let outcome = apart.run(&agent, Job::work()).await.outcome;
        assert_eq!(outcome, elsewhere.run(&agent, Job::work()).await.outcome, "{script}");
    }
    let absent = Agent::of(&[("x", b"")], json!(["no-such-program"]));
    let outcome = format!("{:?}", apart.run(&absent, Job::work()).await.outcome);
    assert!(
        outcome.contains("could not be started") && outcome.contains("no-such-program"),
        "{outcome}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_wish_to_end_reaches_the_agent_inside() {
    let Some(stack) = apart(Options::default()).await else {
        return;
    };
    let agent = Agent::python(
        "import signal, steward, sys, time\nsignal.signal(signal.SIGTERM, lambda *_: (print('asked to end'), sys.exit(3)))\nsteward.progress('up')\ntime.sleep(600)",
    );
    let mut job = Job::work();
    job.timeout_secs = 2;
    let end = stack.run(&agent, job).await;
    assert!(
        end.log_tail.contains("asked to end"),
        "{:?}\n{}",
        end.outcome,
        end.log_tail
    );
}
