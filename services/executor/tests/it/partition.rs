//! An executor nobody can reach, and runs that want more than their share: what others notice of them.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use rpc::v1::CompleteRequest;
use rpc::v1::complete_request::Outcome;
use serde_json::json;
use testkit::Proxy;

use crate::cancel::processes;
use crate::harness::{Agent, Executor, Job, Options, Stack, eventually};

/// How long a lease is here, seconds.
const LEASE: u32 = 8;

fn is_done(end: &CompleteRequest) -> bool {
    matches!(end.outcome, Some(Outcome::ResultJson(_)))
}

#[tokio::test(flavor = "multi_thread")]
async fn an_executor_cut_off_ends_its_run_before_another_may_take_it_and_its_late_end_counts_for_nothing() {
    let scheduler = crate::harness::Scheduler::start().await;
    let model = crate::harness::Model::start().await;
    scheduler.state().lease_secs = LEASE;
    let host = scheduler.url.trim_start_matches("http://").to_owned();
    let proxy = Proxy::start(&host).await.unwrap();
    let cut_off = Options {
        way: Some(proxy.url(&scheduler.url).unwrap()),
        ..Options::default()
    };
    let first = Executor::start(&scheduler, &model, cut_off).await;
    let script = "sleep 600 & echo steward-test-partition; exec python3 -c \
                  'import signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN); time.sleep(600)' partition-canary-51d";
    let token = scheduler.assign(&Agent::shell(script), Job::work()).await;
    let alive = || !processes("partition-canary-51d").is_empty();
    eventually("it runs", || alive().then_some(())).await;
    let renewals =
        |state: &crate::harness::scheduler::State| state.heartbeats.iter().filter(|runs| !runs.is_empty()).count();
    let before = renewals(&scheduler.state());
    eventually("its lease is renewed", || {
        (renewals(&scheduler.state()) > before + 2).then_some(())
    })
    .await;

    // The last renewal the scheduler can have given is older than this.
    let cut = Instant::now();
    proxy.blackhole();
    eventually("its processes are gone", || (!alive()).then_some(())).await;
    let took = cut.elapsed();
    let lease = Duration::from_secs(u64::from(LEASE));
    assert!(
        took < lease,
        "it was ended {took:?} after the cut, its lease may have ended at {lease:?}"
    );

    // Its lease is over: another does it, once; what the first says afterwards is too late.
    scheduler.state().hellos.clear();
    scheduler.state().free_slots = 0;
    let second = Executor::start(&scheduler, &model, Options::default()).await;
    let again = Agent::python("import steward\nsteward.result(notes='by the second')");
    let done = scheduler.assign(&again, Job::work()).await;
    assert!(is_done(&scheduler.completion(&done).await));
    scheduler.state().leases_gone = true;
    let told = scheduler.state().attempts_to_complete;
    proxy.restore();
    eventually("the first tells its end", || {
        (scheduler.state().attempts_to_complete > told).then_some(())
    })
    .await;
    let left = || std::fs::read_dir(first.dir.join("completions")).map_or(1, Iterator::count);
    eventually("it does not insist", || (left() == 0).then_some(())).await;
    let refused = scheduler
        .state()
        .completions
        .iter()
        .all(|(_, end)| end.lease_token != token);
    assert!(refused, "nothing of it counts");
    drop(second);
}

/// Runs at once beside the bad one.
const NEIGHBOURS: usize = 4;

const ORDINARY: &str = r#"
import hashlib, steward
digest = b""
for _ in range(60):
    digest = hashlib.sha256(digest + bytes(1 << 20)).digest()
with open("out/report.txt", "w") as file:
    file.write(digest.hex())
steward.result(notes="n", files=["report.txt"])
"#;

/// What each does to its neighbours, if it can.
fn hostile() -> BTreeMap<&'static str, &'static str> {
    BTreeMap::from([
        (
            "a fork bomb",
            "import os\nwhile True:\n    try:\n        os.fork()\n    except OSError:\n        pass",
        ),
        (
            "a memory filler",
            "kept = []\nwhile True:\n    kept.append(bytearray(b'x' * (8 << 20)))",
        ),
        (
            "a disk filler",
            "file = open('filler', 'wb')\nwhile True:\n    file.write(bytes(1 << 20))",
        ),
        (
            "a flood of output",
            "import os\nwhile True:\n    os.write(1, b'x' * 65536)",
        ),
        ("a busy loop", "while True:\n    pass"),
    ])
}

/// Has the neighbours run, and says how long it took until all were done.
async fn neighbours(stack: &Stack) -> Duration {
    let began = Instant::now();
    let mut tokens = Vec::new();
    for _ in 0..NEIGHBOURS {
        tokens.push(stack.scheduler.assign(&Agent::python(ORDINARY), Job::work()).await);
    }
    for token in tokens {
        let end = stack.scheduler.completion(&token).await;
        assert!(is_done(&end), "{:?}\n{}", end.outcome, end.log_tail);
    }
    began.elapsed()
}

#[tokio::test(flavor = "multi_thread")]
async fn ordinary_runs_are_done_beside_each_kind_of_hostile_one_and_it_is_measured_how_soon() {
    let slots = (NEIGHBOURS + 1).to_string();
    let stack = Stack::with(Options::default().set("WORK__SLOTS", &slots)).await;
    let groups = crate::harness::executor::groups(u32::try_from(stack.executor.pid()).unwrap());
    let alone = neighbours(&stack).await;
    eprintln!(
        "control groups: {}; {NEIGHBOURS} ordinary runs alone: {alone:.2?}",
        !groups.is_empty()
    );
    for (name, program) in hostile() {
        let limits = json!({"memory": "128MiB", "pids": 32, "disk": "64MiB"});
        let bad = Agent::python(program).with("limits", limits);
        let job = Job {
            timeout_secs: 60,
            idle_secs: 60,
            ..Job::work()
        };
        let token = stack.scheduler.assign(&bad, job).await;
        let beside = neighbours(&stack).await;
        let ratio = beside.as_secs_f64() / alone.as_secs_f64();
        eprintln!("beside {name}: {beside:.2?}, {ratio:.2} times");
        // It ends by its own limits, or is ended.
        let run_id = token.trim_start_matches("token-").to_owned();
        let cancel = rpc::v1::Cancel {
            run_id,
            lease_token: token.clone(),
            reason: "cancelled".to_owned(),
        };
        stack
            .scheduler
            .say(rpc::v1::scheduler_message::Kind::Cancel(cancel))
            .await;
        let end = stack.scheduler.completion(&token).await;
        assert!(!is_done(&end), "{name}");
    }
}
