//! Every kind of end an attempt can have, as the agent contract says.

use rpc::v1::complete_request::Outcome;
use rpc::v1::{CannotDo, InputFile, RetryLater, Waiting};
use serde_json::Value;

use crate::harness::{Agent, Executor, Job, Options, Stack, eventually, executor::is_root};

#[tokio::test(flavor = "multi_thread")]
async fn a_result_and_its_files_reach_the_scheduler_and_the_workspace_is_gone() {
    let stack = Stack::start().await;
    let agent = Agent::python(
        r#"
import os, steward
os.makedirs("out/deep")
open("out/deep/report.md", "w").write("- done\n" * 100000)
steward.progress("half way")
steward.message("hello client", key="greeting")
steward.result(notes="all done", files=["out/deep/report.md"])
"#,
    );
    let token = stack.scheduler.assign(&agent, Job::work()).await;
    let end = stack.scheduler.completion(&token).await;
    let Some(Outcome::ResultJson(result)) = &end.outcome else {
        panic!("{end:?}")
    };
    let result: Value = serde_json::from_str(result).unwrap();
    assert_eq!(result["notes"], "all done");
    assert_eq!(result["files"], serde_json::json!(["deep/report.md"]));
    assert_eq!(end.artefacts.len(), 1);
    assert_eq!(end.artefacts[0].media_type, "text/markdown");
    assert_eq!(end.artefacts[0].bytes, 700_000);
    assert_eq!(stack.scheduler.state().artefacts["deep/report.md"].len(), 700_000);
    assert_eq!(stack.scheduler.progress(&token), ["half way"]);
    let messages: Vec<_> = end.events.iter().filter_map(|event| event.kind.clone()).collect();
    assert!(
        format!("{messages:?}").contains("greeting"),
        "messages travel with the completion"
    );
    eventually("the workspace is removed", || {
        (stack.executor.workspaces() == 0).then_some(())
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn exit_codes_and_closing_events_have_their_meaning() {
    let stack = Stack::start().await;
    let failed = |reason: &str, word: &str| (reason.to_owned(), word.to_owned());
    let later = |after_secs| {
        Outcome::RetryLater(RetryLater {
            after_secs,
            reason: String::new(),
        })
    };
    let cases = [
        ("echo last words >&2; exit 3", Err(failed("exit", "last words"))),
        ("kill -SEGV $$", Err(failed("signal", "SIGSEGV"))),
        ("exit 0", Err(failed("no_result", "no result"))),
        ("exit 75", Ok(later(60))),
        (
            r#"echo '{"type":"retry","after":"10m"}' > "$STEWARD_EVENTS""#,
            Ok(later(600)),
        ),
        (
            "echo needs a human; exit 77",
            Ok(Outcome::CannotDo(CannotDo {
                reason: "needs a human".to_owned(),
            })),
        ),
        (
            r#"echo '{"type":"wait","for":"message","timeout":"24h"}' > "$STEWARD_EVENTS""#,
            Ok(Outcome::Waiting(Waiting {
                until: "message".to_owned(),
                timeout_secs: 86_400,
            })),
        ),
        (
            r#"echo '{"type":"result","notes":7}' > "$STEWARD_EVENTS""#,
            Err(failed("bad_result", "`notes` must be a text")),
        ),
        (
            r#"echo '{"type":"result","notes":"n","files":["out/missing"]}' > "$STEWARD_EVENTS""#,
            Err(failed("bad_result", "does not exist")),
        ),
    ];
    for (script, expected) in cases {
        let end = stack.run(&Agent::shell(script), Job::work()).await;
        match (end.outcome, expected) {
            (Some(outcome), Ok(expected)) => assert_eq!(outcome, expected, "{script}"),
            (Some(Outcome::Failed(found)), Err((reason, word))) => {
                assert_eq!(found.reason, reason, "{script}: {found:?}");
                assert!(found.detail.contains(&word), "{script}: {found:?}");
            }
            (outcome, _) => panic!("{script}: {outcome:?}"),
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_cannot_be_started_says_why() {
    let stack = Stack::start().await;
    let no_program = Agent::of(&[("x", b"")], serde_json::json!(["no-such-program"]));
    let other_adapter = Agent::shell("").with("run", serde_json::json!({"adapter": "prompt"}));
    let mut unknown = Job::work();
    unknown.bundle_sha256 = Some("0".repeat(64));
    let hostile = Agent {
        bundle: vec![b'x'; 4096],
        ..Agent::shell("")
    };
    for (agent, job, word) in [
        (no_program, Job::work(), "no-such-program"),
        (other_adapter, Job::work(), "[prompt]"),
        (Agent::shell(""), unknown, "no such file"),
        (hostile, Job::work(), "unpack"),
    ] {
        let end = stack.run(&agent, job).await;
        let Some(Outcome::Failed(failed)) = end.outcome else {
            panic!("{word}: {:?}", end.outcome)
        };
        assert_eq!(failed.reason, "start", "{failed:?}");
        assert!(failed.detail.contains(word), "{failed:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn inputs_lie_where_the_job_says_and_damaged_ones_stop_the_start() {
    let stack = Stack::start().await;
    let agent = Agent::python(
        r#"
import steward
steward.result(notes=open("attachments/brief.txt").read())
"#,
    );
    let body = b"the brief".to_vec();
    let input = InputFile {
        path: "attachments/brief.txt".to_owned(),
        sha256: executor::hash::of(&body),
        bytes: body.len() as u64,
    };
    let mut job = Job::work();
    job.inputs = vec![(input.clone(), body)];
    let end = stack.run(&agent, job).await;
    let Some(Outcome::ResultJson(result)) = end.outcome else {
        panic!("{:?}", end.outcome)
    };
    assert!(result.contains("the brief"));

    let mut escaping = Job::work();
    let path = "../outside".to_owned();
    escaping.inputs = vec![(InputFile { path, ..input }, b"x".to_vec())];
    let end = stack.run(&agent, escaping).await;
    assert!(matches!(end.outcome, Some(Outcome::Failed(failed)) if failed.reason == "start"));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_resumed_revision_goes_on_with_what_was_delivered_and_what_was_kept() {
    let stack = Stack::start().await;
    let agent = Agent::python(
        r#"
import steward
before = open("previous/deep/report.md").read()
open("out/part.txt", "a").write(" and " + before)
steward.result(notes="n", files=["out/part.txt"])
"#,
    );
    let input = |path: &str, body: &[u8]| {
        let input = InputFile {
            path: path.to_owned(),
            sha256: executor::hash::of(body),
            bytes: body.len() as u64,
        };
        (input, body.to_vec())
    };
    let mut job = Job::of_kind("revise");
    job.inputs = vec![
        input("previous/deep/report.md", b"delivered"),
        input("out/part.txt", b"kept"),
    ];
    let end = stack.run(&agent, job).await;
    assert!(matches!(end.outcome, Some(Outcome::ResultJson(_))), "{:?}", end.outcome);
    assert_eq!(stack.scheduler.state().artefacts["part.txt"], "kept and delivered");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_start_nobody_answers_is_handed_back_and_no_failure() {
    let stack = Stack::start().await;
    stack.scheduler.state().away = true;
    let end = stack.run(&Agent::shell(""), Job::work()).await;
    assert!(
        matches!(&end.outcome, Some(Outcome::HandedBack(back)) if back.reason == "unreachable"),
        "{:?}",
        end.outcome
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_bundle_is_fetched_and_set_up_once_per_version() {
    let stack = Stack::start().await;
    let agent = Agent::of(
        &[("agent.sh", br#"printf '{"type":"result","notes":"%s"}\n' "$(cat "$STEWARD_BUNDLE/made" | tr '\n' ,)" > "$STEWARD_EVENTS""#)],
        serde_json::json!(["sh", "agent.sh"]),
    )
    .with("run", serde_json::json!({"setup": ["sh", "-c", "echo set-up >> made"]}));
    for _run in 0..2 {
        let end = stack.run(&agent, Job::work()).await;
        let Some(Outcome::ResultJson(result)) = end.outcome else {
            panic!("{:?}", end.outcome)
        };
        assert!(result.contains(r#""set-up,""#), "{result}");
    }
    assert_eq!(stack.scheduler.state().bundle_fetches, 1);
    let broken = agent.with(
        "run",
        serde_json::json!({"setup": ["sh", "-c", "echo no compiler >&2; exit 4"]}),
    );
    let end = stack.run(&broken, Job::work()).await;
    assert!(matches!(end.outcome, Some(Outcome::Failed(failed)) if failed.detail.contains("no compiler")));
}

#[tokio::test(flavor = "multi_thread")]
async fn checkpoints_are_told_with_their_files() {
    let stack = Stack::start().await;
    let agent = Agent::python(
        r#"
import steward
open("out/part.bin", "wb").write(b"1234")
steward.checkpoint({"step": 3}, files=["out/part.bin"])
steward.result(notes="n")
"#,
    );
    let end = stack.run(&agent, Job::work()).await;
    let kinds: Vec<_> = end.events.into_iter().filter_map(|event| event.kind).collect();
    let [rpc::v1::run_event::Kind::CheckpointJson(json)] = kinds.as_slice() else {
        panic!("{kinds:?}")
    };
    let checkpoint: Value = serde_json::from_str(json).unwrap();
    assert_eq!(checkpoint["data"]["step"], 3);
    assert_eq!(checkpoint["files"][0]["name"], "part.bin");
    assert_eq!(checkpoint["files"][0]["bytes"], 4);
    assert_eq!(stack.scheduler.state().artefacts["part.bin"], "1234");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_work_root_agents_cannot_reach_is_worked_around() {
    let stack = Stack::with(Options {
        unreachable: true,
        ..Options::default()
    })
    .await;
    let agent = Agent::python("import steward\nsteward.result(notes=steward.job()['kind'])");
    let end = stack.run(&agent, Job::work()).await;
    assert!(matches!(end.outcome, Some(Outcome::ResultJson(_))), "{:?}", end.outcome);
    if is_root() {
        let hash = executor::hash::of(stack.executor.dir.as_os_str().as_encoded_bytes());
        let elsewhere = std::path::PathBuf::from(format!("/var/tmp/steward-executor-{}", &hash[..16]));
        assert!(elsewhere.join("bundles").is_dir());
        drop::<Executor>(stack.executor);
        std::fs::remove_dir_all(elsewhere).unwrap();
    }
}
