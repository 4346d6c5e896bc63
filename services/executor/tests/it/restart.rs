//! What survives the executor's own end.

use nix::sys::signal::Signal;
use rpc::v1::complete_request::Outcome;

use crate::cancel::{processes, stubborn};
use crate::harness::{Agent, Job, Options, Stack, eventually};

#[tokio::test(flavor = "multi_thread")]
async fn an_end_nobody_acknowledged_is_told_by_the_next_process() {
    let mut stack = Stack::start().await;
    stack.scheduler.state().deaf = true;
    let agent = Agent::python("import steward\nsteward.message('hi')\nsteward.result(notes='kept')");
    let token = stack.scheduler.assign(&agent, Job::work()).await;
    eventually("it was tried", || {
        (stack.scheduler.state().attempts_to_complete > 1).then_some(())
    })
    .await;
    stack.executor.signal(Signal::SIGKILL);
    assert!(!stack.executor.ended().await.success());
    stack.executor.again(&stack.scheduler).await;
    let holding = stack.scheduler.state().hellos.last().unwrap().holding.clone();
    assert!(
        holding.iter().any(|lease| lease.lease_token == token),
        "the lease is still held: {holding:?}"
    );
    stack.scheduler.state().deaf = false;
    let end = stack.scheduler.completion(&token).await;
    assert!(matches!(end.outcome, Some(Outcome::ResultJson(_))), "{:?}", end.outcome);
    assert_eq!(end.events.len(), 1, "its message too");
    let completions = stack.executor.dir.join("completions");
    eventually("it is forgotten", || {
        (std::fs::read_dir(&completions).unwrap().count() == 0).then_some(())
    })
    .await;
}

async fn a_killed_executor_leaves_nothing(options: Options) {
    let mut stack = Stack::with(options).await;
    let (run_id, _) = stubborn(&stack).await;
    let marker = format!("steward-test-{run_id}");
    stack.executor.signal(Signal::SIGKILL);
    stack.executor.ended().await;
    let agents = || processes(&format!("{run_id}-1/policy.json")).is_empty() && processes("agent.py").is_empty();
    eventually("the agent itself dies with its executor", || agents().then_some(())).await;
    stack.executor.again(&stack.scheduler).await;
    assert!(
        processes(&marker).is_empty(),
        "before the first session everything is ended"
    );
    assert_eq!(stack.executor.workspaces(), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn after_a_sigkill_no_process_and_no_workspace_of_a_run_is_left() {
    a_killed_executor_leaves_nothing(Options::default()).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn after_a_sigkill_without_root_nothing_is_left_either() {
    let options = Options {
        unprivileged: true,
        ..Options::default()
    };
    a_killed_executor_leaves_nothing(options).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_lost_session_is_opened_again_and_runs_go_on() {
    let stack = Stack::start().await;
    let agent = Agent::python(
        "import os, steward, time\nsteward.progress('up')\nwhile not os.path.exists('go'): time.sleep(0.05)\nsteward.result(notes='n')",
    );
    let token = stack.scheduler.assign(&agent, Job::work()).await;
    eventually("it runs", || {
        (!stack.scheduler.progress(&token).is_empty()).then_some(())
    })
    .await;
    stack.scheduler.end_session();
    eventually("a second session", || {
        (stack.scheduler.state().hellos.len() > 1).then_some(())
    })
    .await;
    let holding = stack.scheduler.state().hellos.last().unwrap().holding.clone();
    assert_eq!(holding.len(), 1, "the run is still held");
    let run = token.trim_start_matches("token-");
    let workspace = stack.executor.dir.join(format!("runs/{run}-1")).join("work");
    std::fs::write(workspace.join("go"), "").unwrap();
    let end = stack.scheduler.completion(&token).await;
    assert!(matches!(end.outcome, Some(Outcome::ResultJson(_))), "{:?}", end.outcome);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_session_outlives_the_deadline_of_calls() {
    let stack = Stack::with(Options::default().set("SCHEDULER__DEADLINE", "1s")).await;
    let agent = Agent::python("import steward, time\ntime.sleep(2.5)\nsteward.result(notes='n')");
    let end = stack.run(&agent, Job::work()).await;
    assert!(matches!(end.outcome, Some(Outcome::ResultJson(_))), "{:?}", end.outcome);
    assert_eq!(stack.scheduler.state().hellos.len(), 1);
}
