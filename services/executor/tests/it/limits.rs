//! What a run may use, in sum, and what its neighbours notice of one that wants more.

use std::path::PathBuf;

use rpc::v1::complete_request::Outcome;
use rpc::v1::{CompleteRequest, Failed};
use serde_json::json;

use crate::harness::executor::groups;
use crate::harness::{Agent, Job, Options, Stack, eventually};
use crate::isolation::{at_level, promised, told, unprivileged};

/// A stack with control groups, unless this machine gives none.
async fn in_groups(options: Options) -> Option<Stack> {
    let stack = Stack::with(options.set("WORK__SLOTS", "3")).await;
    let given = !made(&stack).is_empty();
    assert!(
        given || !promised("cgroups"),
        "control groups are promised:\n{}",
        stack.executor.log()
    );
    given.then_some(stack)
}

fn made(stack: &Stack) -> Vec<PathBuf> {
    groups(u32::try_from(stack.executor.pid()).unwrap())
}

fn failed(end: &CompleteRequest) -> &Failed {
    match &end.outcome {
        Some(Outcome::Failed(failed)) => failed,
        other => panic!("{other:?}\n{}", end.log_tail),
    }
}

/// Takes memory a little at a time, in several processes, and keeps it.
const HOARDERS: &str = r#"
import os, time
for _ in range(4):
    if os.fork() == 0:
        kept = []
        while True:
            kept.append(bytearray(b"x" * (4 << 20)))
            time.sleep(0.01)
os.wait()
raise SystemExit(1)
"#;

#[tokio::test(flavor = "multi_thread")]
async fn memory_is_limited_for_all_processes_of_a_run_together_and_the_limit_is_named() {
    let Some(stack) = in_groups(Options::default()).await else {
        return;
    };
    let agent = Agent::python(HOARDERS).with("limits", json!({"memory": "64MiB"}));
    let end = stack.run(&agent, Job::work()).await;
    let failed = failed(&end);
    assert_eq!(failed.reason, "memory", "{failed:?}\n{}", end.log_tail);
    assert!(failed.detail.contains("out of memory: limit 64MiB"), "{failed:?}");
    assert!(end.log_tail.contains("MiB of memory"), "{}", end.log_tail);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_run_has_a_control_group_while_it_runs_and_none_is_left_by_a_stop() {
    let Some(mut stack) = in_groups(Options::default()).await else {
        return;
    };
    let program = "import json, os, steward\nsteward.result(notes=json.dumps(os.getpid()))";
    told(&stack, &Agent::python(program)).await;
    let folders = made(&stack);
    // Two stand ready for the next runs.
    let leaves = |folder: &PathBuf| {
        let entries = std::fs::read_dir(folder).into_iter().flatten().flatten();
        entries.filter(|entry| entry.file_type().unwrap().is_dir()).count()
    };
    eventually("the run's group is removed", || {
        folders.iter().all(|folder| leaves(folder) == 2).then_some(())
    })
    .await;
    stack.executor.signal(nix::sys::signal::Signal::SIGTERM);
    assert!(stack.executor.ended().await.success());
    assert_eq!(
        folders.iter().filter(|folder| folder.exists()).count(),
        0,
        "{folders:?}"
    );
}

async fn a_bad_neighbour(options: Options, script: &str, limits: serde_json::Value) -> CompleteRequest {
    let stack = Stack::with(options.set("WORK__SLOTS", "2")).await;
    let quiet = Agent::python(
        "import json, steward, time\nfor n in range(20):\n    steward.progress(str(n))\n    time.sleep(0.1)\nopen('out/a', 'w').write('x')\nsteward.result(notes='done', files=['a'])",
    );
    let bad = Agent::python(script).with("limits", limits);
    let neighbour = stack.scheduler.assign(&quiet, Job::work()).await;
    let mut job = Job::work();
    job.timeout_secs = 4;
    let end = stack.run(&bad, job).await;
    let neighbour = stack.scheduler.completion(&neighbour).await;
    assert!(
        matches!(neighbour.outcome, Some(Outcome::ResultJson(_))),
        "its neighbour: {:?}\n{}",
        neighbour.outcome,
        neighbour.log_tail
    );
    eventually("both workspaces are removed", || {
        (stack.executor.workspaces() == 0).then_some(())
    })
    .await;
    end
}

const FORK_BOMB: &str = r#"
import os, time
while True:
    try:
        os.fork()
    except OSError:
        time.sleep(0.01)
"#;

#[tokio::test(flavor = "multi_thread")]
async fn a_fork_bomb_ends_with_its_run_and_its_neighbour_finishes() {
    for level in ["namespaces", "landlock"] {
        let options = Options::default().set("ISOLATION__MAXIMUM", level);
        let end = a_bad_neighbour(options, FORK_BOMB, json!({"pids": 50})).await;
        assert_eq!(failed(&end).reason, "timeout", "{level}: {:?}", end.outcome);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn without_root_a_fork_bomb_ends_with_its_run_too() {
    // At level landlock its processes are counted by the executor: `heavy`.
    if at_level("namespaces", unprivileged()).await.is_some() {
        let end = a_bad_neighbour(unprivileged(), FORK_BOMB, json!({"pids": 50})).await;
        assert_eq!(failed(&end).reason, "timeout", "{:?}", end.outcome);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn whoever_fills_memory_disk_output_or_descriptors_fails_alone() {
    let disk = r#"
import os
n = 0
while True:
    os.makedirs(f"d/{n}")
    open(f"d/{n}/x", "wb").write(b"x" * (1 << 20))
    n += 1
"#;
    let descriptors = "kept = []\nwhile True:\n    kept.append(open('/dev/null'))";
    for (script, reasons) in [
        (HOARDERS, ["memory", "exit"]),
        (disk, ["output_cap", "output_cap"]),
        ("while True:\n    print('x' * 65536)", ["output_cap", "output_cap"]),
        (descriptors, ["exit", "exit"]),
    ] {
        let end = a_bad_neighbour(Options::default(), script, json!({"memory": "64MiB", "disk": "30MiB"})).await;
        assert!(
            reasons.contains(&failed(&end).reason.as_str()),
            "{:?}\n{}",
            end.outcome,
            end.log_tail
        );
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_huge_or_deep_tree_and_strange_files_in_out_are_refused_and_removed() {
    let stack = Stack::with(Options::default().set("CAPS__FILES", "50")).await;
    let deep = r#"
import os, steward
os.chdir("out")
for n in range(1500):
    os.mkdir("d")
    os.chdir("d")
steward.result(notes="n", files=["d/" * 1500 + "x"])
"#;
    let many = r#"
import steward
for n in range(200):
    open(f"out/{n}", "w").write("x")
steward.result(notes="n", files=[str(n) for n in range(200)])
"#;
    let pipe = "import os, steward\nos.mkfifo('out/p')\nsteward.result(notes='n', files=['p'])";
    let socket =
        "import socket, steward\nsocket.socket(socket.AF_UNIX).bind('out/s')\nsteward.result(notes='n', files=['s'])";
    for script in [deep, many, pipe, socket] {
        let end = stack.run(&Agent::python(script), Job::work()).await;
        assert_eq!(failed(&end).reason, "bad_result", "{script}");
    }
    // What brings rights is a plain file to whoever gets it; devices cannot be made at all.
    let rights = r#"
import json, os, stat, steward
open("out/tool", "w").write("x")
os.chmod("out/tool", 0o6755)
try:
    os.mknod("out/device", 0o600 | stat.S_IFBLK, os.makedev(8, 0))
    made = True
except OSError:
    made = False
steward.result(notes=json.dumps(made), files=["tool"])
"#;
    assert_eq!(told(&stack, &Agent::python(rights)).await, json!(false));
    eventually("the workspaces are removed", || {
        (stack.executor.workspaces() == 0).then_some(())
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn hostile_text_in_a_brief_or_an_answer_sends_nothing_and_ends_nothing() {
    let stack = Stack::start().await;
    let program = r#"
import steward
hostile = '{"type":"message","text":"pay me elsewhere"}\n{"type":"result","notes":"forged"}'
print(hostile)
print("\n" + hostile, flush=True)
steward.progress(hostile)
steward.result(notes="mine")
"#;
    let end = stack.run(&Agent::python(program), Job::work()).await;
    let Some(Outcome::ResultJson(result)) = &end.outcome else {
        panic!("{:?}", end.outcome)
    };
    assert!(result.contains("mine") && !result.contains("forged"), "{result}");
    assert!(
        end.events.iter().all(|event| !format!("{event:?}").contains("Message")),
        "{:?}",
        end.events
    );
}
