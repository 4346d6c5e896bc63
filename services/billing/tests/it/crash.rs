//! Billing is killed, or stopped, in the middle of a call.

use std::{process::Command, sync::Arc};

use axum::http::StatusCode;
use boot::Exit;
use serde_json::Value;
use testkit::{Process, eventually};
use tokio::sync::Notify;

use crate::{
    provider::{completion, json_answer},
    stack::{Ports, Run, SOON, Stack, environment, question},
};

#[tokio::test(flavor = "multi_thread")]
async fn a_call_whose_billing_was_killed_is_charged_whole_once() {
    // The tables, a provider, and the billing that comes after.
    let stack = Stack::start_with(&[("GATEWAY__HOLD_LEASE", "5s")]).await;
    let never = Arc::new(Notify::new());
    stack.provider.answers(move || {
        let never = Arc::clone(&never);
        async move {
            never.notified().await;
            json_answer(&Value::Null)
        }
    });
    let run = stack.open(10_000, &[]).await;
    let ports = Ports::free();
    let folder = std::env::temp_dir().join(format!("steward-billing-{}", run.id));
    let mut command = Command::new(env!("CARGO_BIN_EXE_billing"));
    let mut env = environment(&ports, &stack.database.url_for("billing"), &stack.provider.url);
    env.insert("STEWARD__GATEWAY__HOLD_LEASE".to_owned(), "5s".to_owned());
    command.envs(env);
    let mut killed = Process::spawn("billing", &mut command, &folder).unwrap();
    let up = || ports.is_ready(&stack.http);
    eventually(SOON, "the second billing", up).await.unwrap();

    let url = format!("http://{}/v1/chat/completions", ports.gateway).parse().unwrap();
    let call = stack
        .http
        .request(outbound::Method::POST, url)
        .header("authorization", format!("Bearer {}", run.credential))
        .body(question("gpt-4o-mini").to_string());
    let (answer, ()) = tokio::join!(stack.http.send(call), async {
        let begun = || async { !stack.provider.calls().is_empty() };
        eventually(SOON, "the call to reach the provider", begun).await.unwrap();
        killed.kill().unwrap();
    });
    assert!(answer.is_err(), "{answer:?}");
    std::fs::remove_file(folder).ok();
    let (spent, held) = stack.balance(&run).await;
    assert!(spent == 0 && held > 0);
    stack.assert_books().await;

    // Nobody renews its hold any more: seconds later, not the minutes a call may take.
    let usage = stack.usage(&run, 1).await;
    assert_eq!(usage[0].flags, ["usage_lost", "expired_hold"]);
    assert_eq!(usage[0].cost_pico_usd, held);
    assert_eq!(stack.balance(&run).await, (held, 0));
    stack.close(&run).await;
    stack.assert_books().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_long_call_keeps_its_hold_while_it_lives() {
    let stack = Stack::start_with(&[("GATEWAY__HOLD_LEASE", "5s")]).await;
    let run = stack.open(10_000, &[]).await;
    let gate = stack
        .provider
        .answers_when_let_go(completion("gpt-4o-mini", 100, 0, 20));
    let asked = question("gpt-4o-mini");
    let (answer, ()) = tokio::join!(stack.chat(&run, &asked), async {
        let long = || async {
            stack
                .count("billing.holds WHERE held_at < now() - INTERVAL '7 seconds'")
                .await
                == 1
        };
        eventually(SOON, "a call longer than a lease", long).await.unwrap();
        gate.notify_one();
    });
    assert_eq!(answer.status(), StatusCode::OK);
    let usage = stack.usage(&run, 1).await;
    assert!(usage[0].flags.is_empty(), "{usage:?}");
    assert_eq!(stack.balance(&run).await, (100 * 150_000 + 20 * 600_000, 0));
}

async fn begin_to_stop(stack: &mut Stack, run: &Run, gate: &Notify) -> (outbound::Response, Exit) {
    let asked = question("gpt-4o-mini");
    let url = format!("http://{}/v1/chat/completions", stack.ports.gateway)
        .parse()
        .unwrap();
    let request = stack
        .http
        .request(outbound::Method::POST, url)
        .header("authorization", format!("Bearer {}", run.credential))
        .body(asked.to_string());
    let http = stack.http.clone();
    let sending = http.send(request);
    tokio::pin!(sending);
    let begun = || async { stack.provider.calls().len() == 1 };
    tokio::select! {
        early = &mut sending => panic!("{early:?}"),
        begun = eventually(SOON, "the call", begun) => begun.unwrap(),
    }
    stack.ask_to_stop();
    eventually(SOON, "draining", || async { !stack.is_ready().await })
        .await
        .unwrap();
    gate.notify_one();
    let answer = sending.await.unwrap();
    let exit = stack.stopped().await;
    (answer, exit)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stop_finishes_open_calls_and_ends_cleanly() {
    let mut stack = Stack::start().await;
    let run = stack.open(10_000, &[]).await;
    let gate = stack
        .provider
        .answers_when_let_go(completion("gpt-4o-mini", 100, 0, 20));
    let (answer, exit) = begin_to_stop(&mut stack, &run, &gate).await;
    assert_eq!(answer.status(), StatusCode::OK);
    assert_eq!(exit, Exit::Clean);
    assert_eq!(stack.balance(&run).await, (100 * 150_000 + 20 * 600_000, 0));
}
