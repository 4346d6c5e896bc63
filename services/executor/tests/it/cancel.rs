//! Stopping: by the scheduler, by a lost lease, by a drain.

use std::time::{Duration, Instant};

use nix::sys::signal::Signal;
use rpc::v1::complete_request::Outcome;
use rpc::v1::scheduler_message::Kind;
use rpc::v1::{Cancel, CompleteRequest};

use crate::harness::{Agent, Job, Options, Stack, eventually};
use crate::isolation::unprivileged;

/// Leaves its group and session, forgets its parent, and ignores what it is asked.
pub const STUBBORN: &str = r#"
import os, signal, steward, sys, time
marker = "steward-test-" + steward.job()["run_id"]
signal.signal(signal.SIGTERM, signal.SIG_IGN)
if os.fork() == 0:
    os.setsid()
    if os.fork() == 0:
        os.execvp("python3", ["python3", "-c", "import time, signal; signal.signal(signal.SIGTERM, signal.SIG_IGN); time.sleep(600)", marker])
    os._exit(0)
os.wait()
steward.progress("forked")
time.sleep(600)
"#;

/// Processes whose command line holds this text.
pub fn processes(word: &str) -> Vec<i32> {
    let Ok(entries) = std::fs::read_dir("/proc") else {
        return Vec::new();
    };
    let pids = entries.filter_map(|entry| entry.ok()?.file_name().to_str()?.parse::<i32>().ok());
    pids.filter(|pid| {
        std::fs::read(format!("/proc/{pid}/cmdline"))
            .is_ok_and(|line| line.windows(word.len()).any(|part| part == word.as_bytes()))
    })
    .collect()
}

/// Starts the stubborn agent and waits until its grandchild stands alone.
pub async fn stubborn(stack: &Stack) -> (String, String) {
    let token = stack.scheduler.assign(&Agent::python(STUBBORN), Job::work()).await;
    let run = token.trim_start_matches("token-").to_owned();
    let marker = format!("steward-test-{run}");
    eventually("the grandchild runs", || (!processes(&marker).is_empty()).then_some(())).await;
    eventually("the agent reports", || {
        (!stack.scheduler.progress(&token).is_empty()).then_some(())
    })
    .await;
    (run, token)
}

fn handed_back(end: &CompleteRequest) -> &str {
    match &end.outcome {
        Some(Outcome::HandedBack(back)) => &back.reason,
        other => panic!("{other:?}"),
    }
}

async fn cancel_leaves_nothing(options: Options) {
    let stack = Stack::with(options).await;
    let (run_id, lease_token) = stubborn(&stack).await;
    let began = Instant::now();
    let cancel = Cancel {
        run_id: run_id.clone(),
        lease_token: lease_token.clone(),
        reason: "cancelled".to_owned(),
    };
    stack.scheduler.say(Kind::Cancel(cancel)).await;
    let marker = format!("steward-test-{run_id}");
    eventually("nothing is left", || processes(&marker).is_empty().then_some(())).await;
    assert!(began.elapsed() < Duration::from_secs(2), "{:?}", began.elapsed());
    let end = stack.scheduler.completion(&lease_token).await;
    assert_eq!(handed_back(&end), "cancelled");
    eventually("the workspace is removed", || {
        (stack.executor.workspaces() == 0).then_some(())
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_cancelled_run_is_gone_within_two_seconds_also_its_runaway_grandchild() {
    cancel_leaves_nothing(Options::default()).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_same_without_root() {
    cancel_leaves_nothing(unprivileged()).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_same_without_namespaces() {
    cancel_leaves_nothing(Options::default().set("ISOLATION__MAXIMUM", "landlock")).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_same_without_either() {
    cancel_leaves_nothing(unprivileged().set("ISOLATION__MAXIMUM", "landlock")).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_run_whose_lease_cannot_be_renewed_is_stopped_before_it_ends() {
    let stack = Stack::start().await;
    stack.scheduler.state().lease_secs = 4;
    // A new session, for the new terms.
    stack.scheduler.state().hellos.clear();
    let mut executor = stack.executor;
    executor.signal(Signal::SIGTERM);
    assert!(executor.ended().await.success());
    executor.again(&stack.scheduler).await;
    let stack = Stack { executor, ..stack };
    let token = stack
        .scheduler
        .assign(&Agent::shell("echo up; sleep 600"), Job::work())
        .await;
    let renewed = || {
        stack
            .scheduler
            .state()
            .heartbeats
            .iter()
            .filter(|runs| !runs.is_empty())
            .count()
    };
    eventually("renewals", || (renewed() > 2).then_some(())).await;
    let last = Instant::now();
    stack.scheduler.state().silent = true;
    let end = stack.scheduler.completion(&token).await;
    assert_eq!(handed_back(&end), "lease_lost");
    assert!(
        last.elapsed() < Duration::from_secs(4) + Duration::from_millis(500),
        "{:?}",
        last.elapsed()
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_lost_lease_told_by_the_scheduler_stops_the_run_and_its_end_is_dropped() {
    let stack = Stack::start().await;
    let (run_id, lease_token) = stubborn(&stack).await;
    stack.scheduler.state().leases_gone = true;
    let marker = format!("steward-test-{run_id}");
    let reason = "lease_lost".to_owned();
    let cancel = Cancel {
        run_id,
        lease_token,
        reason,
    };
    stack.scheduler.say(Kind::Cancel(cancel)).await;
    eventually("nothing is left", || processes(&marker).is_empty().then_some(())).await;
    eventually("the end is told", || {
        (stack.scheduler.state().attempts_to_complete > 0).then_some(())
    })
    .await;
    let completions = stack.executor.dir.join("completions");
    let left = || std::fs::read_dir(&completions).map_or(1, Iterator::count);
    eventually("it is not told again", || (left() == 0).then_some(())).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_drain_waits_for_what_finishes_and_hands_back_the_rest() {
    let options = Options::default().set("WORK__DRAIN", "2s").set("WORK__SLOTS", "2");
    let mut stack = Stack::with(options).await;
    let quick = Agent::python("import steward, time\nsteward.progress('up')\ntime.sleep(1)\nsteward.result(notes='n')");
    let quick = stack.scheduler.assign(&quick, Job::work()).await;
    let (_, slow) = stubborn(&stack).await;
    eventually("both run", || {
        (!stack.scheduler.progress(&quick).is_empty()).then_some(())
    })
    .await;
    stack.executor.signal(Signal::SIGTERM);
    eventually("nothing is offered", || {
        (stack.scheduler.state().free_slots == 0).then_some(())
    })
    .await;
    let heartbeats = stack.scheduler.state().heartbeats.len();
    let done = stack.scheduler.completion(&quick).await;
    assert!(
        matches!(done.outcome, Some(Outcome::ResultJson(_))),
        "{:?}",
        done.outcome
    );
    let back = stack.scheduler.completion(&slow).await;
    assert_eq!(handed_back(&back), "drain");
    assert!(stack.executor.ended().await.success());
    let renewed = stack.scheduler.state().heartbeats[heartbeats..]
        .iter()
        .filter(|runs| !runs.is_empty())
        .count();
    assert!(renewed > 2, "leases are renewed until the end");
}
