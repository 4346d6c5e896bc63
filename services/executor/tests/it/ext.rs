//! Other hosts, called with a secret of the agent's that never comes here.

use rpc::v1::complete_request::Outcome;
use rpc::v1::run_event::Kind;
use serde_json::{Value, json};

use crate::harness::scheduler::CREDENTIAL;
use crate::harness::{Agent, Job, Stack, model::Mood};

const CALL: &str = r#"
import http.client, json, os, steward, urllib.parse
base = urllib.parse.urlparse(os.environ["STEWARD_EXT_SEARCH_API_URL"])
def call(path, method="GET", data=None, headers={}):
    connection = http.client.HTTPConnection(base.hostname, base.port)
    connection.request(method, path, data, headers)
    return connection.getresponse().status
"#;

fn agent(program: &str) -> Agent {
    let named = json!([{"host": "api.search.example", "header": "Authorization", "format": "Bearer {}", "secret": "search-api"}]);
    Agent::python(&format!("{CALL}\n{program}")).with("network", json!({ "credential": named }))
}

async fn notes(stack: &Stack, program: &str) -> (Value, String) {
    let end = stack.run(&agent(program), Job::work()).await;
    let Some(Outcome::ResultJson(result)) = &end.outcome else {
        panic!("{:?}\n{}", end.outcome, end.log_tail)
    };
    let result: Value = serde_json::from_str(result).unwrap();
    (
        serde_json::from_str(result["notes"].as_str().unwrap()).unwrap(),
        end.log_tail,
    )
}

#[tokio::test(flavor = "multi_thread")]
async fn a_run_finds_an_address_and_a_placeholder_and_its_calls_carry_the_runs_credential() {
    let stack = Stack::start().await;
    let program = r#"
said = [call(base.path + "/v1/find%20it?q=1", "POST", b"{}", {"X-Own": "kept"}), call(base.path + "/again")]
found = {name: value for name, value in os.environ.items() if name.startswith("STEWARD_EXT_")}
steward.result(notes=json.dumps([said, found]))
"#;
    let (told, log) = notes(&stack, program).await;
    assert_eq!(told[0], json!([200, 200]));
    let url = told[1]["STEWARD_EXT_SEARCH_API_URL"].as_str().unwrap();
    assert!(
        url.starts_with("http://127.0.0.1:") && url.ends_with("/api.search.example"),
        "{url}"
    );
    let key = told[1]["STEWARD_EXT_SEARCH_API_KEY"].as_str().unwrap();
    assert!(key.starts_with("steward-placeholder-") && url.contains(key), "{key}");
    let calls = stack.model.calls();
    assert_eq!(calls[0].path, "/ext/api.search.example/v1/find%20it?q=1");
    assert_eq!(calls[0].headers["authorization"], format!("Bearer {CREDENTIAL}"));
    assert_eq!(
        (&calls[0].headers["x-own"], &calls[0].body[..]),
        (&"kept".parse().unwrap(), &b"{}"[..])
    );
    assert!(
        !calls[1].headers.contains_key("transfer-encoding"),
        "a call without a body has none"
    );
    assert!(
        log.contains("called api.search.example 2 times with the secret search-api"),
        "{log}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn hosts_the_file_does_not_name_and_ways_around_are_refused_and_logged() {
    let stack = Stack::start().await;
    let program = r#"
own = base.path.removesuffix("/api.search.example")
paths = ["/other.example/x", "/", "/api.search.example/../other.example/x",
         "/api.search.example/%2E%2e/other.example/x", "/api.search.example/..%5c/x"]
strange = "/ext/steward-placeholder-" + "0" * 40 + "/api.search.example/x"
steward.result(notes=json.dumps([call(own + path) for path in paths] + [call(strange)]))
"#;
    let (told, log) = notes(&stack, program).await;
    assert_eq!(told, json!([403, 403, 400, 400, 200, 401]));
    assert_eq!(stack.model.calls().len(), 1);
    assert!(
        log.contains("other.example") && log.contains("[[network.credential]]"),
        "{log}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_host_answers_says_nothing_about_models_and_budget() {
    let stack = Stack::start().await;
    stack.model.mood(Mood::Status(402));
    let (told, log) = notes(&stack, r#"steward.result(notes=json.dumps([call(base.path)]))"#).await;
    assert_eq!(told, json!([402]));
    assert!(
        log.contains("once with the secret search-api, 1 of them without success"),
        "{log}"
    );
    // An agent that fails after a host was away is not one whose models are.
    stack.model.mood(Mood::Status(503));
    let end = stack
        .run(&agent("call(base.path)\nraise SystemExit(1)"), Job::work())
        .await;
    let Some(Outcome::Failed(failed)) = &end.outcome else {
        panic!("{:?}", end.outcome)
    };
    assert_eq!(failed.reason, "exit", "{failed:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_decoy_carried_out_raises_an_alarm_that_is_told_again_at_the_end() {
    let stack = Stack::start().await;
    let program = r#"
decoy = os.environ["INTERNAL_API_KEY"]
call(base.path, "POST", decoy.encode())
model = urllib.parse.urlparse(os.environ["ANTHROPIC_BASE_URL"])
connection = http.client.HTTPConnection(model.hostname, model.port)
connection.request("POST", "/v1/messages", json.dumps({"text": decoy}), {"x-api-key": os.environ["ANTHROPIC_API_KEY"]})
connection.getresponse().read()
steward.result(notes="[]")
"#;
    let end = stack.run(&agent(program), Job::work()).await;
    let alarms: Vec<&String> = end
        .events
        .iter()
        .filter_map(|event| match &event.kind {
            Some(Kind::Alarm(text)) => Some(text),
            _ => None,
        })
        .collect();
    assert_eq!(alarms.len(), 2, "{alarms:?}");
    assert!(
        alarms[0].contains("a call of a host") && alarms[1].contains("a model call"),
        "{alarms:?}"
    );
    assert!(end.log_tail.contains("ALARM"), "{}", end.log_tail);
}
