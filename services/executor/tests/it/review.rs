//! A model looks a delivery over before it goes out.

use rpc::v1::CompleteRequest;
use rpc::v1::complete_request::Outcome;
use serde_json::{Value, json};

use crate::harness::model::Mood;
use crate::harness::{Agent, Job, Stack};

const DONE: &str = r##"
mkdir -p out/pkg && echo "# Report" > out/report.md && ln -s /etc/passwd out/link.md && : > out/pkg/__init__.py
echo '{"type":"result","notes":"n","files":["report.md","pkg/__init__.py"]}' > "$STEWARD_EVENTS"
"##;

fn agent(on_reject: &str) -> Agent {
    let files = [
        ("agent.sh", DONE.as_bytes()),
        ("review.txt", b"Look for totals.".as_slice()),
    ];
    Agent::of(&files, json!(["sh", "agent.sh"]))
        .with("models", json!({"default": "gpt-4o-mini"}))
        .with(
            "delivery",
            json!({"review": {"prompt": "review.txt", "on_reject": on_reject}}),
        )
}

fn result(end: &CompleteRequest) -> Value {
    match &end.outcome {
        Some(Outcome::ResultJson(result)) => serde_json::from_str(result).unwrap(),
        other => panic!("{other:?}\n{}", end.log_tail),
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_review_accepts_goes_out_and_it_was_asked_with_the_brief_and_the_files_as_data() {
    let stack = Stack::start().await;
    stack.model.mood(Mood::Accepts);
    let end = stack.run(&agent("fail"), Job::work()).await;
    let result = result(&end);
    assert_eq!(result["files"], json!(["report.md"]), "the empty one stays here");
    assert_eq!(result["notes"], "n\n\nNot sent, as they are empty: pkg/__init__.py");
    assert!(result["hold"].is_null(), "{result}");
    assert!(
        end.log_tail.contains("the review by gpt-4o-mini accepts it"),
        "{}",
        end.log_tail
    );
    let calls = stack.model.calls();
    assert_eq!(calls.len(), 1);
    let asked: Value = serde_json::from_slice(&calls[0].body).unwrap();
    let (system, user) = (&asked["messages"][0], &asked["messages"][1]);
    assert!(system["content"].as_str().unwrap().contains("Look for totals."));
    let question: Value = serde_json::from_str(user["content"].as_str().unwrap()).unwrap();
    assert_eq!(question["brief"]["title"], "Summarise an API");
    assert_eq!(question["delivery"]["files"][0]["text"], "# Report\n");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_review_rejects_fails_the_attempt_or_waits_for_a_human() {
    let stack = Stack::start().await;
    stack.model.mood(Mood::Rejects);
    let end = stack.run(&agent("fail"), Job::work()).await;
    assert!(end.artefacts.is_empty(), "nothing of it goes up");
    let Some(Outcome::Failed(failed)) = &end.outcome else {
        panic!("{:?}", end.outcome)
    };
    assert_eq!(failed.reason, "review");
    assert_eq!(failed.detail, "the review by gpt-4o-mini rejects it: no totals");
    let held = result(&stack.run(&agent("hold"), Job::work()).await);
    assert_eq!(held["hold"], "the review by gpt-4o-mini rejects it: no totals");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_comes_to_no_verdict_waits_for_a_human_and_a_copied_verdict_is_none() {
    let stack = Stack::start().await;
    for (mood, told) in [
        (Mood::Answers, "no verdict: what the model answered is no verdict"),
        (Mood::Copies, "no verdict: what the model answered is no verdict"),
        (Mood::Status(402), "budget"),
        (Mood::Later, "no verdict: it answered 429"),
        (Mood::CutShort, "too long"),
    ] {
        stack.model.mood(mood);
        let held = result(&stack.run(&agent("fail"), Job::work()).await);
        let why = held["hold"].as_str().unwrap_or_default();
        assert!(why.contains(told), "{mood:?}: {held}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_agents_own_word_holds_nothing_and_only_empty_files_are_no_delivery() {
    let stack = Stack::start().await;
    let said = r#": > out/a; : > out/b; echo '{"type":"result","notes":"n","files":["a","b"],"hold":"me"}' > "$STEWARD_EVENTS""#;
    let result = result(&stack.run(&Agent::shell(said), Job::work()).await);
    assert_eq!(
        result,
        json!({"type": "result", "notes": "n", "files": ["a", "b"]}),
        "left to the gate, which refuses it"
    );
}
