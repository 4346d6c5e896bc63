//! Agents that hang, sleep, flood and lie.

use std::time::{Duration, Instant};

use rpc::v1::Failed;
use rpc::v1::complete_request::Outcome;

use crate::harness::{Agent, Job, Options, Stack, eventually, model::Mood};

async fn failure(stack: &Stack, agent: &Agent, job: Job) -> Failed {
    let end = stack.run(agent, job).await;
    match end.outcome {
        Some(Outcome::Failed(failed)) => failed,
        other => panic!("{other:?}"),
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn one_that_hangs_is_ended_by_the_wall_clock() {
    let stack = Stack::start().await;
    // It stays busy, ignores the polite signal and hides a child.
    let agent = Agent::shell("trap '' TERM; (while :; do echo busy; sleep 0.1; done) & while :; do sleep 0.1; done");
    let mut job = Job::work();
    job.timeout_secs = 1;
    let began = Instant::now();
    let failed = failure(&stack, &agent, job).await;
    assert_eq!(failed.reason, "timeout");
    assert!(failed.detail.contains("1s"), "{failed:?}");
    assert!(began.elapsed() < Duration::from_secs(10));
    eventually("the workspace is removed", || {
        (stack.executor.workspaces() == 0).then_some(())
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn one_that_finishes_within_the_grace_is_heard() {
    let stack = Stack::start().await;
    let agent = Agent::python(
        r#"
import signal, steward
def stop(*_):
    steward.result(notes="partial")
    raise SystemExit(0)
signal.signal(signal.SIGTERM, stop)
steward.progress("waiting")
signal.pause()
"#,
    );
    let mut job = Job::work();
    job.timeout_secs = 1;
    let end = stack.run(&agent, job).await;
    assert!(matches!(end.outcome, Some(Outcome::ResultJson(_))), "{:?}", end.outcome);
}

#[tokio::test(flavor = "multi_thread")]
async fn one_that_does_nothing_is_idle_and_one_that_waits_for_a_model_is_not() {
    let stack = Stack::start().await;
    let mut job = Job::work();
    job.idle_secs = 1;
    let failed = failure(&stack, &Agent::shell("sleep 30"), job).await;
    assert_eq!(failed.reason, "idle");

    stack.model.mood(Mood::Streams(Duration::from_millis(900)));
    let agent = Agent::python(
        r#"
import os, steward, urllib.request
answer = urllib.request.urlopen(urllib.request.Request(os.environ["OPENAI_BASE_URL"] + "/chat/completions", b"{}", {"Authorization": "Bearer " + os.environ["OPENAI_API_KEY"]})).read()
steward.result(notes=answer.decode())
"#,
    );
    let mut job = Job::work();
    job.idle_secs = 1;
    let end = stack.run(&agent, job).await;
    assert!(matches!(end.outcome, Some(Outcome::ResultJson(_))), "{:?}", end.outcome);
}

#[tokio::test(flavor = "multi_thread")]
async fn one_that_floods_its_output_its_events_or_the_disk_is_ended() {
    let options = Options::default()
        .set("CAPS__OUTPUT_BYTES", "100000")
        .set("CAPS__EVENT_BYTES", "100000");
    let stack = Stack::with(options).await;
    let floods = [
        ("yes", "printed"),
        (r#"yes > "$STEWARD_EVENTS""#, "events"),
        (
            "while :; do echo x >> log; mkdir -p d; head -c 4000000 /dev/zero > d/$$.$(date +%N); done",
            "workspace",
        ),
    ];
    for (script, word) in floods {
        let agent = Agent::shell(script).with("limits", serde_json::json!({"disk": "20MiB"}));
        let failed = failure(&stack, &agent, Job::work()).await;
        assert_eq!(failed.reason, "output_cap", "{script}: {failed:?}");
        assert!(failed.detail.contains(word), "{script}: {failed:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn one_that_takes_too_much_memory_or_too_large_a_file_fails_alone() {
    let stack = Stack::start().await;
    let agent = Agent::python("x = bytearray(300 << 20)").with("limits", serde_json::json!({"memory": "100MiB"}));
    let failed = failure(&stack, &agent, Job::work()).await;
    assert!(failed.detail.contains("MemoryError"), "{failed:?}");
    let agent = Agent::shell("head -c 3000000 /dev/zero > big").with("limits", serde_json::json!({"disk": "1MiB"}));
    let end = stack.run(&agent, Job::work()).await;
    assert!(matches!(end.outcome, Some(Outcome::Failed(_))), "{:?}", end.outcome);
}

#[tokio::test(flavor = "multi_thread")]
async fn links_in_out_lead_nowhere() {
    let stack = Stack::start().await;
    let secret = stack.executor.dir.join("secret.txt");
    std::fs::write(&secret, "stack secret").unwrap();
    for target in ["/etc/passwd", secret.to_str().unwrap(), "/proc/self/environ"] {
        let agent = Agent::shell(&format!(
            r#"ln -s {target} out/report.md
echo '{{"type":"result","notes":"n","files":["out/report.md"]}}' > "$STEWARD_EVENTS""#
        ));
        let failed = failure(&stack, &agent, Job::work()).await;
        assert_eq!(failed.reason, "bad_result");
        assert!(failed.detail.contains("link"), "{failed:?}");
    }
    let agent = Agent::shell(
        r#"rm -r out; ln -s /etc out
echo '{"type":"result","notes":"n","files":["passwd"]}' > "$STEWARD_EVENTS""#,
    );
    let failed = failure(&stack, &agent, Job::work()).await;
    assert_eq!(failed.reason, "bad_result");
    assert!(stack.scheduler.state().artefacts.is_empty());
}
