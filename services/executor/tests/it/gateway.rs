//! The way to the models.

use rpc::v1::complete_request::Outcome;
use serde_json::Value;

use crate::harness::scheduler::CREDENTIAL;
use crate::harness::{Agent, Job, Stack, model::Mood};

const TRACE: &str = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";

async fn notes(stack: &Stack, program: &str) -> Value {
    let mut job = Job::work();
    job.traceparent = TRACE.to_owned();
    let end = stack.run(&Agent::python(program), job).await;
    let Some(Outcome::ResultJson(result)) = &end.outcome else {
        panic!("{:?}\n{}", end.outcome, end.log_tail)
    };
    let result: Value = serde_json::from_str(result).unwrap();
    serde_json::from_str(result["notes"].as_str().unwrap()).unwrap()
}

const CALL: &str = r#"
import http.client, json, os, steward, urllib.error, urllib.parse, urllib.request
base = urllib.parse.urlparse(os.environ["ANTHROPIC_BASE_URL"])
def call(path, data=b"{}", headers={}):
    connection = http.client.HTTPConnection(base.hostname, base.port)
    connection.request("POST", path, data, {"X-Api-Key": os.environ["ANTHROPIC_API_KEY"], **headers})
    answer = connection.getresponse()
    try:
        return [answer.status, answer.read().decode()]
    except http.client.IncompleteRead:
        return [answer.status, "broken"]
    except ConnectionError:
        return [answer.status, "broken"]
"#;

#[tokio::test(flavor = "multi_thread")]
async fn calls_carry_the_runs_credential_and_trace_and_nothing_the_agent_says_about_itself() {
    let stack = Stack::start().await;
    let program = format!(
        r#"{CALL}
own = {{"Authorization": "Bearer stolen", "Api-Key": "stolen", "traceparent": "00-stolen", "Cookie": "a=b",
       "X-Forwarded-For": "1.2.3.4", "Connection": "x-hop", "X-Hop": "1", "OpenAI-Beta": "kept",
       "Anthropic-Version": "kept", "Anthropic-Beta": "kept", "Content-Type": "application/json"}}
paths = ["/v1/chat/completions?a=1", "/chat/completions", "/v1/v1/messages", "/v1/%2e%2e/admin"]
steward.result(notes=json.dumps([call(path, b'{{"model":"m"}}', own)[0] for path in paths]))
"#
    );
    let statuses = notes(&stack, &program).await;
    assert_eq!(statuses, serde_json::json!([200, 200, 200, 404]));
    let calls = stack.model.calls();
    let paths: Vec<&str> = calls.iter().map(|call| call.path.as_str()).collect();
    assert_eq!(
        paths,
        ["/v1/chat/completions?a=1", "/v1/chat/completions", "/v1/messages"]
    );
    for call in &calls {
        assert_eq!(call.headers["authorization"], format!("Bearer {CREDENTIAL}"));
        assert_eq!(call.headers.get_all("authorization").iter().count(), 1);
        let trace = call.headers["traceparent"].to_str().unwrap();
        assert!(trace.starts_with("00-0af7651916cd43dd8448eb211c80319c-"), "{trace}");
        for name in ["x-api-key", "api-key", "cookie", "x-forwarded-for", "x-hop"] {
            assert!(!call.headers.contains_key(name), "{name} was passed on");
        }
        for name in ["openai-beta", "anthropic-version", "anthropic-beta"] {
            assert_eq!(call.headers[name], "kept", "{name}");
        }
        assert_eq!(call.body, r#"{"model":"m"}"#);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn answers_of_every_mood_come_through_as_they_are() {
    let stack = Stack::start().await;
    let program = format!("{CALL}\nsteward.result(notes=json.dumps(call('/v1/chat/completions')))");
    stack.model.mood(Mood::Streams(std::time::Duration::from_millis(50)));
    let streamed = notes(&stack, &program).await;
    assert_eq!(
        streamed,
        serde_json::json!([200, "data: one\n\ndata: two\n\ndata: [DONE]\n\n"])
    );
    for code in [429, 500] {
        stack.model.mood(Mood::Status(code));
        assert_eq!(
            notes(&stack, &program).await,
            serde_json::json!([code, "<html>no</html>"])
        );
    }
    stack.model.mood(Mood::StopsMidway);
    assert_eq!(
        notes(&stack, &program).await[1],
        "broken",
        "a cut answer must not look whole"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn whoever_does_not_show_the_runs_own_key_is_refused_before_anything_is_spent() {
    let stack = Stack::start().await;
    let program = format!(
        r#"{CALL}
own = os.environ["OPENAI_API_KEY"]
strange = ["", "stolen", "steward-placeholder", own[:-1] + ("0" if own[-1] != "0" else "1")]
answers = [call("/v1/messages", b"{{}}", {{"X-Api-Key": key}}) for key in strange]
answers.append(call("/v1/messages", b"{{}}", {{"X-Api-Key": "", "Authorization": "Bearer " + own}}))
steward.result(notes=json.dumps([own, answers]))
"#
    );
    let first = notes(&stack, &program).await;
    for answer in &first[1].as_array().unwrap()[..4] {
        assert_eq!(answer[0], 401);
        let body: Value = serde_json::from_str(answer[1].as_str().unwrap()).unwrap();
        // As Anthropic's and OpenAI's clients read it.
        assert_eq!(
            (&body["type"], &body["error"]["type"]),
            (&"error".into(), &"authentication_error".into())
        );
        assert!(body["error"]["message"].as_str().unwrap().contains("OPENAI_API_KEY"));
    }
    assert_eq!(first[1][4][0], 200);
    assert_eq!(stack.model.calls().len(), 1, "the others reached the model");
    let second = notes(&stack, &program).await;
    assert!(first[0].as_str().unwrap().starts_with("steward-placeholder-"));
    assert_ne!(first[0], second[0], "each run has its own");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_spent_budget_is_told_as_such() {
    let stack = Stack::start().await;
    stack.model.mood(Mood::Status(402));
    let program = format!("{CALL}\ncall('/v1/chat/completions')\nraise SystemExit(1)");
    let end = stack.run(&Agent::python(&program), Job::work()).await;
    assert!(matches!(end.outcome, Some(Outcome::Failed(failed)) if failed.reason == "budget"));
}

#[tokio::test(flavor = "multi_thread")]
async fn an_agent_that_fails_for_want_of_a_model_is_started_again_and_loses_no_attempt() {
    let stack = Stack::start().await;
    for code in [429, 502, 503] {
        stack.model.mood(Mood::Status(code));
        let program = format!("{CALL}\ncall('/v1/chat/completions')\nraise SystemExit('what now?')");
        let end = stack.run(&Agent::python(&program), Job::work()).await;
        let Some(Outcome::RetryLater(later)) = end.outcome else {
            panic!("{code}: {:?}", end.outcome)
        };
        assert!(
            later.reason.contains("no model answered") && later.reason.contains("what now?"),
            "{later:?}"
        );
    }
    stack.model.mood(Mood::Answers);
    let end = stack
        .run(
            &Agent::python(&format!("{CALL}\ncall('/x')\nraise SystemExit(1)")),
            Job::work(),
        )
        .await;
    assert!(
        matches!(end.outcome, Some(Outcome::Failed(_))),
        "a model answered: {:?}",
        end.outcome
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn an_unreachable_gateway_and_an_oversized_request_are_answered_in_words() {
    let options = crate::harness::Options::default()
        .set("BILLING__GATEWAY_URL", "http://127.0.0.1:9")
        .set("BILLING__MAX_REQUEST_BYTES", "1000");
    let stack = Stack::with(options).await;
    let program = format!(
        "{CALL}\nsteward.result(notes=json.dumps([call('/v1/chat/completions'), call('/v1/chat/completions', b'x' * 5000)]))"
    );
    let answers = notes(&stack, &program).await;
    assert_eq!(answers[0][0], 503);
    assert!(answers[0][1].as_str().unwrap().contains("gateway_unreachable"));
    assert_eq!(answers[1][0], 413);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_run_is_a_span_between_the_assignment_and_the_model_call() {
    // The collector is the same kind of server: it takes anything.
    let collector = crate::harness::Model::start().await;
    let options = crate::harness::Options::default().set("TELEMETRY__OTLP_ENDPOINT", &collector.url);
    let stack = Stack::with(options).await;
    let program = format!("{CALL}\nsteward.result(notes=json.dumps(call('/v1/chat/completions')[0]))");
    notes(&stack, &program).await;
    let trace = stack.model.calls()[0].headers["traceparent"]
        .to_str()
        .unwrap()
        .to_owned();
    assert!(
        trace.starts_with("00-0af7651916cd43dd8448eb211c80319c-"),
        "the same trace: {trace}"
    );
    assert!(!trace.contains("b7ad6b7169203331"), "but a span of our own: {trace}");
    let id = const_hex::decode("0af7651916cd43dd8448eb211c80319c").unwrap();
    crate::harness::eventually("the span is exported", || {
        let calls = collector.calls();
        let mut sent = calls.iter().filter(|call| call.path == "/v1/traces");
        sent.any(|call| call.body.windows(id.len()).any(|part| part == id))
            .then_some(())
    })
    .await;
}
