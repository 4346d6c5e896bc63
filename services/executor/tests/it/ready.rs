//! Launchers that stand ready, and the look at what they can do.

use std::os::unix::process::CommandExt as _;
use std::process::Command;

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde_json::{Value, json};

use crate::harness::executor::is_root;
use crate::harness::{Agent, Options, Stack, eventually};
use crate::isolation::{told, unprivileged};

const AGENT: &str = "import json, steward\nsteward.result(notes=json.dumps('done'))";

/// Launchers of an executor that wait for an order.
fn launchers(executor: i32) -> Vec<i32> {
    let children = std::fs::read_dir(format!("/proc/{executor}/task"))
        .into_iter()
        .flatten()
        .flatten();
    let listed = children.filter_map(|thread| std::fs::read_to_string(thread.path().join("children")).ok());
    let pids: Vec<i32> = listed
        .flat_map(|text| {
            text.split_ascii_whitespace()
                .filter_map(|pid| pid.parse().ok())
                .collect::<Vec<_>>()
        })
        .collect();
    let waits = |pid: &i32| {
        std::fs::read_to_string(format!("/proc/{pid}/cmdline")).is_ok_and(|line| line.contains("__sandbox-exec"))
    };
    pids.into_iter().filter(waits).collect()
}

async fn survives_the_death_of_its_launchers(options: Options) {
    let stack = Stack::with(options).await;
    let executor = stack.executor.pid();
    for _round in 0..3 {
        let ready = eventually("two launchers are ready", || {
            Some(launchers(executor)).filter(|all| all.len() == 2)
        })
        .await;
        for pid in &ready {
            kill(Pid::from_raw(*pid), Signal::SIGKILL).unwrap();
        }
        let gone = |pid: &i32| !launchers(executor).contains(pid);
        eventually("they are dead", || ready.iter().all(gone).then_some(())).await;
        assert_eq!(told(&stack, &Agent::python(AGENT)).await, json!("done"));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_launcher_that_was_killed_before_it_was_needed_costs_no_run() {
    survives_the_death_of_its_launchers(Options::default()).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn without_root_neither() {
    survives_the_death_of_its_launchers(unprivileged()).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn more_runs_at_once_than_launchers_all_start() {
    let stack = Stack::with(Options::default().set("WORK__SLOTS", "8")).await;
    let agent = Agent::python(AGENT);
    let runs = (0..8).map(|_| told(&stack, &agent));
    for found in futures_util::future::join_all(runs).await {
        assert_eq!(found, json!("done"));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn launchers_end_with_a_killed_executor() {
    let mut stack = Stack::start().await;
    let executor = stack.executor.pid();
    let ready = eventually("two launchers are ready", || {
        Some(launchers(executor)).filter(|all| all.len() == 2)
    })
    .await;
    stack.executor.signal(Signal::SIGKILL);
    stack.executor.ended().await;
    eventually("they are gone", || {
        let alive = |pid: &i32| {
            let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
            !stat.is_empty() && !stat.contains(") Z ")
        };
        (!ready.iter().any(alive)).then_some(())
    })
    .await;
}

fn look(unprivileged: bool) -> Value {
    let mut command = Command::new(env!("CARGO_BIN_EXE_executor"));
    command.arg("__sandbox-doctor");
    if unprivileged && is_root() {
        command.uid(65534).gid(65534);
    }
    let output = command.output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    serde_json::from_slice(&output.stdout).unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn the_doctor_finds_the_level_that_runs_have_and_says_what_to_do_about_the_rest() {
    for (options, lowly) in [(Options::default(), false), (unprivileged(), true)] {
        let stack = Stack::with(options).await;
        let found = look(lowly);
        assert_eq!(found["level"], stack.scheduler.state().hellos[0].isolation.as_str());
        let layers = found["layers"].as_array().unwrap();
        assert_eq!(layers.len(), 6);
        for layer in layers {
            let fix = layer["fix"].as_str().unwrap();
            assert_eq!(layer["there"] == true, fix.is_empty(), "{layer}");
            assert!(!layer["detail"].as_str().unwrap().is_empty(), "{layer}");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn build_and_metrics_tell_the_isolation_and_each_of_its_layers() {
    let stack = Stack::start().await;
    let level = stack.scheduler.state().hellos[0].isolation.clone();
    let log = stack.executor.log();
    let lines = log.lines().filter_map(|line| serde_json::from_str::<Value>(line).ok());
    let admin = lines
        .filter(|line| line["listener"] == "admin")
        .find_map(|line| line["address"].as_str().map(str::to_owned));
    let admin = admin.unwrap();
    let ask = async |path: &str| {
        let client = outbound::Client::builder("test")
            .guard(outbound::Guard::Any)
            .build()
            .unwrap();
        let request = client.request(outbound::Method::GET, format!("http://{admin}{path}").parse().unwrap());
        let answer = client.send(request).await.unwrap();
        String::from_utf8(outbound::read_limited(answer, 1 << 20).await.unwrap().to_vec()).unwrap()
    };
    let build: Value = serde_json::from_str(&ask("/build").await).unwrap();
    assert_eq!(
        (&build["service"], &build["isolation"]),
        (&json!("executor"), &json!(level))
    );
    let metrics = ask("/metrics").await;
    for layer in ["landlock", "seccomp", "namespaces", "cgroups", "own_user"] {
        let there = build["isolation_layers"][layer].as_bool().unwrap();
        let metric = format!(
            "steward_executor_isolation_layer{{layer=\"{layer}\"}} {}",
            u8::from(there)
        );
        assert!(metrics.contains(&metric), "{metric} is not in {metrics}");
    }
}
