//! The operator's checks stand between a result and its delivery.

use rpc::v1::complete_request::Outcome;
use rpc::v1::{CompleteRequest, Failed};
use serde_json::json;

use crate::harness::{Agent, Job, Options, Stack};

const DONE: &str = r##"
echo "# Report" > out/report.md
echo '{"type":"result","notes":"n","files":["report.md"]}' > "$STEWARD_EVENTS"
"##;

fn agent(checks: &[&str]) -> Agent {
    Agent::shell(DONE).with("delivery", json!({ "checks": checks }))
}

fn failed(end: CompleteRequest) -> Failed {
    assert!(end.artefacts.is_empty(), "nothing of it goes up");
    match end.outcome {
        Some(Outcome::Failed(failed)) => failed,
        other => panic!("{other:?}"),
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_result_that_passes_every_check_is_delivered_as_the_checks_left_it() {
    let stack = Stack::start().await;
    let checks = [
        "test -s report.md && echo well",
        r#"grep -q '"kind"' "$STEWARD_JOB" && test "$PWD" = "$STEWARD_OUT" && test -f "$STEWARD_BUNDLE/agent.sh""#,
        "echo checked >> report.md",
    ];
    let end = stack.run(&agent(&checks), Job::work()).await;
    assert!(matches!(end.outcome, Some(Outcome::ResultJson(_))), "{:?}", end.outcome);
    let report = stack.scheduler.state().artefacts["report.md"].clone();
    assert_eq!(report, "# Report\nchecked\n");
    assert!(
        end.log_tail.contains("check 1 of 3") && end.log_tail.contains("well"),
        "{}",
        end.log_tail
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn the_first_check_that_fails_is_the_attempts_failure_with_its_last_line() {
    let stack = Stack::start().await;
    let checks = [
        "true",
        "echo looking; echo 'no summary in report.md' >&2; exit 3",
        "touch never",
    ];
    let end = failed(stack.run(&agent(&checks), Job::work()).await);
    assert_eq!(end.reason, "check");
    assert!(
        end.detail.ends_with("ended with 3: no summary in report.md"),
        "{}",
        end.detail
    );
    let silent = failed(stack.run(&agent(&["test -s other.md"]), Job::of_kind("revise")).await);
    assert!(
        silent.detail.ends_with("ended with 1 and printed nothing"),
        "{}",
        silent.detail
    );
    // A reply delivers nothing.
    let reply = r#"echo '{"type":"result","text":"yes"}' > "$STEWARD_EVENTS""#;
    let reply = Agent::shell(reply).with("delivery", json!({ "checks": ["false"] }));
    let end = stack.run(&reply, Job::of_kind("reply")).await;
    assert!(matches!(end.outcome, Some(Outcome::ResultJson(_))), "{:?}", end.outcome);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_check_has_its_own_time_no_network_and_leaves_nothing_running() {
    let options = Options::default().set("WORK__CHECK_TIMEOUT", "1s");
    let stack = Stack::with(options).await;
    let slow = failed(stack.run(&agent(&["sleep 300 & sleep 300"]), Job::work()).await);
    assert!(slow.detail.ends_with("took longer than 1s"), "{}", slow.detail);
    let port = stack.model.port();
    let dial = format!("python3 -c 'import socket; socket.create_connection((\"127.0.0.1\", {port}), 0.5)' || exit 7");
    let dialled = failed(stack.run(&agent(&[&dial]), Job::work()).await);
    assert!(dialled.detail.contains("ended with 7"), "{}", dialled.detail);
}
