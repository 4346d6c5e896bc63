//! Runs that hide what they hold, or make it hard to remove.

use rpc::v1::Failed;
use rpc::v1::complete_request::Outcome;
use serde_json::{Value, json};

use crate::harness::{Agent, Job, Options, Stack, eventually};
use crate::isolation::{at_level, told, unprivileged};

async fn failure(stack: &Stack, program: &str, limits: Value) -> Failed {
    let end = stack
        .run(&Agent::python(program).with("limits", limits), Job::work())
        .await;
    match end.outcome {
        Some(Outcome::Failed(failed)) => failed,
        other => panic!("{other:?}\n{}", end.log_tail),
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_hundred_thousand_folders_in_each_other_are_removed_and_the_next_run_is_as_any() {
    for options in [Options::default(), unprivileged()] {
        let stack = Stack::with(options).await;
        let deep = r#"
import os, steward
os.chdir("out")
for n in range(100_000):
    os.mkdir("d")
    os.chdir("d")
os.mkdir("closed", 0)
steward.result(notes="n")
"#;
        let before = stack.executor.pid();
        // Whether it was measured before its end or not.
        let _end = stack.run(&Agent::python(deep), Job::work()).await;
        eventually("the workspace is removed", || {
            (stack.executor.workspaces() == 0).then_some(())
        })
        .await;
        let next = told(&stack, &Agent::python("import steward\nsteward.result(notes='1')")).await;
        assert_eq!((next, stack.executor.pid()), (json!(1), before));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_run_hides_on_disk_counts() {
    let removed = r#"
import tempfile, time
kept = [tempfile.TemporaryFile() for _ in range(4)]
for file in kept:
    file.write(b"x" * (20 << 20))
    file.flush()
time.sleep(60)
"#;
    let closed = r#"
import os, time
os.mkdir("closed")
for n in range(4):
    open(f"closed/{n}", "wb").write(b"x" * (20 << 20))
os.chmod("closed", 0)
time.sleep(60)
"#;
    let deep = r#"
import os, time
for n in range(30):
    os.mkdir("d" * 200)
    os.chdir("d" * 200)
for n in range(4):
    open(str(n), "wb").write(b"x" * (20 << 20))
time.sleep(60)
"#;
    for options in [Options::default(), unprivileged()] {
        let stack = Stack::with(options).await;
        for program in [removed, closed, deep] {
            let failed = failure(&stack, program, json!({"disk": "40MiB"})).await;
            assert_eq!(failed.reason, "output_cap", "{failed:?} of {program}");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn without_control_groups_shared_memory_is_counted_too_and_the_limit_is_named() {
    let shared = r#"
import mmap, time
kept = []
while True:
    kept.append(mmap.mmap(-1, 4 << 20))
    kept[-1].write(b"x" * (4 << 20))
    time.sleep(0.02)
"#;
    let never_mapped = r#"
import os, time
file = os.memfd_create("x")
while True:
    os.write(file, b"x" * (4 << 20))
    time.sleep(0.02)
"#;
    for options in [Options::default(), unprivileged()] {
        let stack = Stack::with(options.set("ISOLATION__CGROUPS", "off")).await;
        for program in [shared, never_mapped] {
            let limits = json!({"memory": "64MiB", "disk": "10GiB"});
            let failed = failure(&stack, program, limits).await;
            assert_eq!(failed.reason, "memory", "{failed:?} of {program}");
            assert!(failed.detail.contains("out of memory: limit 64MiB"), "{failed:?}");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn without_root_namespaces_or_control_groups_processes_are_counted_and_there_is_one_slot() {
    let options = || unprivileged().set("ISOLATION__CGROUPS", "off").set("WORK__SLOTS", "3");
    let Some(chosen) = at_level("landlock", options()).await else {
        return;
    };
    let slots = |stack: &Stack| stack.scheduler.state().hellos[0].slots;
    assert_eq!(slots(&chosen), 3, "who asks for less than landlock has chosen it");
    let stack = at_level("landlock", options().set("ISOLATION__MINIMUM", "landlock"))
        .await
        .unwrap();
    assert_eq!(slots(&stack), 1);
    let many = "import subprocess, time\nkept = [subprocess.Popen(['sleep', '60']) for _ in range(40)]\ntime.sleep(60)";
    let failed = failure(&stack, many, json!({"pids": 20})).await;
    assert_eq!(failed.reason, "output_cap", "{failed:?}");
    assert!(failed.detail.contains("limits.pids"), "{failed:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_agent_goes_before_the_stack_when_memory_is_short_and_cannot_change_that() {
    let stack = Stack::start().await;
    let program = r#"
import json, steward
try:
    open("/proc/self/oom_score_adj", "w").write("-1000")
    changed = True
except OSError:
    changed = False
steward.result(notes=json.dumps([open("/proc/self/oom_score_adj").read().strip(), changed]))
"#;
    assert_eq!(told(&stack, &Agent::python(program)).await, json!(["1000", false]));
}
