//! A machine that runs out of something: nobody's work is lost, no agent is blamed, and the executor lives on.

use std::io::Write as _;
use std::path::Path;
use std::process::Command;

use nix::sys::signal::Signal;
use rpc::v1::CompleteRequest;
use rpc::v1::complete_request::Outcome;

use crate::harness::executor::may_mount;
use crate::harness::{Agent, Job, Options, Stack, eventually};

const FINE: &str = "import steward\nsteward.result(notes='fine')";
/// Writes until it cannot, and says so as any program would.
const FILLER: &str = r#"
import steward
steward.progress("begins")
with open("filler", "wb") as file:
    while True:
        file.write(bytes(1 << 20))
        file.flush()
"#;
/// Goes on until a file says that it may end.
const PATIENT: &str = r#"
import os, steward, time
steward.progress("begins")
while not os.path.exists("tmp/go"):
    time.sleep(0.05)
steward.result(notes="done in time")
"#;

fn handed_back(end: &CompleteRequest) -> &str {
    match &end.outcome {
        Some(Outcome::HandedBack(back)) => &back.reason,
        other => panic!("{other:?}\n{}", end.log_tail),
    }
}

fn is_done(end: &CompleteRequest) -> bool {
    matches!(end.outcome, Some(Outcome::ResultJson(_)))
}

/// An executor on 48 MiB that wants 16 of them free; none where nobody may mount.
async fn on_a_small_disk() -> Option<Stack> {
    if !may_mount() {
        return None;
    }
    let options = Options {
        disk_mib: Some(48),
        ..Options::default()
    };
    Some(Stack::with(options.set("WORK__MIN_FREE_BYTES", "16777216").set("WORK__SLOTS", "2")).await)
}

/// Fills a folder's disk but for this many bytes.
fn fill(folder: &Path, but: u64) -> std::path::PathBuf {
    let path = folder.join("ballast");
    let mut file = std::fs::File::create(&path).unwrap();
    let piece = vec![1; 64 << 10];
    while executor::room::free(folder).unwrap() > but {
        if file.write_all(&piece).is_err() {
            break;
        }
    }
    path
}

/// What the patient agent waits for.
fn go(stack: &Stack, token: &str) -> std::path::PathBuf {
    let run = format!("{}-1", token.trim_start_matches("token-"));
    stack.executor.dir.join("runs").join(run).join("work/tmp/go")
}

async fn offers(stack: &Stack, slots: u32) {
    let what = format!("{slots} slots are offered");
    eventually(&what, || (stack.scheduler.state().free_slots == slots).then_some(())).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_run_on_a_full_disk_is_handed_back_and_nothing_is_taken_until_there_is_room() {
    let Some(stack) = on_a_small_disk().await else { return };
    let end = stack.run(&Agent::python(FILLER), Job::work()).await;
    assert_eq!(handed_back(&end), "disk_full", "{}", end.log_tail);
    offers(&stack, 2).await;

    let ballast = fill(&stack.executor.dir, 8 << 20);
    offers(&stack, 0).await;
    assert!(stack.executor.log().contains("nearly full"));
    std::fs::remove_file(ballast).unwrap();
    offers(&stack, 2).await;
    assert!(is_done(&stack.run(&Agent::python(FINE), Job::work()).await));
}

#[tokio::test(flavor = "multi_thread")]
async fn the_end_of_an_attempt_is_kept_although_the_disk_is_full_and_told_after_a_kill() {
    let Some(mut stack) = on_a_small_disk().await else {
        return;
    };
    let token = stack.scheduler.assign(&Agent::python(PATIENT), Job::work()).await;
    eventually("it runs", || {
        (!stack.scheduler.progress(&token).is_empty()).then_some(())
    })
    .await;
    stack.scheduler.state().deaf = true;
    let go = go(&stack, &token);
    let ballast = fill(&stack.executor.dir, 0);
    assert_eq!(executor::room::free(&stack.executor.dir), Some(0));
    std::fs::create_dir(go).unwrap();
    let completions = stack.executor.dir.join("completions");
    let kept = || {
        let entries = std::fs::read_dir(&completions).into_iter().flatten().flatten();
        entries
            .filter(|entry| entry.path().extension().is_some_and(|kind| kind == "pb"))
            .count()
    };
    eventually("its end is on disk", || (kept() == 1).then_some(())).await;
    stack.executor.signal(Signal::SIGKILL);
    stack.executor.ended().await;
    std::fs::remove_file(ballast).unwrap();
    stack.scheduler.state().deaf = false;
    stack.executor.again(&stack.scheduler).await;
    assert!(is_done(&stack.scheduler.completion(&token).await));
    let reserve = stack.executor.dir.join("reserve");
    eventually("room is kept back again", || reserve.exists().then_some(())).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_machine_that_can_start_nothing_more_hands_runs_back_and_its_neighbours_go_on() {
    let stack = Stack::with(Options::default().set("WORK__SLOTS", "3")).await;
    let patient = stack.scheduler.assign(&Agent::python(PATIENT), Job::work()).await;
    eventually("it runs", || {
        (!stack.scheduler.progress(&patient).is_empty()).then_some(())
    })
    .await;
    let pid = stack.executor.pid().to_string();
    let limit = |most: &str| {
        let most = format!("--nofile={most}");
        let set = Command::new("prlimit").args(["--pid", &pid, &most]).status();
        assert!(set.unwrap().success());
    };
    let open = std::fs::read_dir(format!("/proc/{pid}/fd")).unwrap().count();
    limit(&format!("{open}:"));
    let token = stack.scheduler.assign(&Agent::python(FINE), Job::work()).await;
    let end = stack.scheduler.completion(&token).await;
    assert_eq!(handed_back(&end), "no_resources", "{}", end.log_tail);
    offers(&stack, 0).await;
    limit("1024:");
    offers(&stack, 2).await;
    assert!(is_done(&stack.run(&Agent::python(FINE), Job::work()).await));
    std::fs::create_dir(go(&stack, &patient)).unwrap();
    assert!(
        is_done(&stack.scheduler.completion(&patient).await),
        "a neighbour notices nothing"
    );
}
