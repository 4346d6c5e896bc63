//! What `setup` of a bundle can reach: it installs things, and no run's words are there yet.

use rpc::v1::complete_request::Outcome;
use serde_json::{Value, json};

use crate::harness::{Agent, Job, Options};
use crate::isolation::at_level;

const SETUP: &str = r#"
import json, os, socket, sys
def reached(what):
    try:
        what()
        return True
    except OSError:
        return False
def connects(family, address):
    with socket.socket(family, socket.SOCK_STREAM) as one:
        one.settimeout(5)
        one.connect(address)
json.dump({
    "loopback": reached(lambda: connects(socket.AF_INET, ("127.0.0.1", int(sys.argv[1])))),
    "datagrams": reached(lambda: socket.socket(socket.AF_INET, socket.SOCK_DGRAM).close()),
    "runs": reached(lambda: os.listdir(sys.argv[2])),
    "token": sorted(name for name in os.environ if "STEWARD" in name or "KEY" in name),
    "writes": reached(lambda: open("/tmp/of-setup", "w").close()),
}, open("found.json", "w"))
"#;

#[tokio::test(flavor = "multi_thread")]
async fn setup_has_the_machines_network_and_neither_a_job_nor_a_credential_nor_others_files() {
    let Some(stack) = at_level("landlock", Options::default()).await else {
        return;
    };
    let port = stack
        .model
        .url
        .rsplit(':')
        .next()
        .unwrap()
        .trim_end_matches('/')
        .to_owned();
    let others = stack.executor.dir.join("completions").display().to_string();
    let agent = Agent::of(
        &[
            ("setup.py", SETUP.as_bytes()),
            (
                "agent.py",
                br#"
import json, os
found = open(os.environ["STEWARD_BUNDLE"] + "/found.json").read()
with open(os.environ["STEWARD_EVENTS"], "w") as events:
    events.write(json.dumps({"type": "result", "notes": found}) + "\n")
"#,
            ),
        ],
        json!(["python3", "agent.py"]),
    )
    .with("run", json!({"setup": ["python3", "setup.py", port, others]}));
    let end = stack.run(&agent, Job::work()).await;
    let Some(Outcome::ResultJson(result)) = &end.outcome else {
        panic!("{:?}\n{}", end.outcome, end.log_tail)
    };
    let result: Value = serde_json::from_str(result).unwrap();
    let found: Value = serde_json::from_str(result["notes"].as_str().unwrap()).unwrap();
    assert_eq!(
        (&found["loopback"], &found["datagrams"]),
        (&json!(true), &json!(true)),
        "{found}"
    );
    assert_eq!(
        found["token"],
        json!(["STEWARD_BUNDLE"]),
        "no gateway, no job, no placeholder"
    );
    assert_eq!(
        (&found["runs"], &found["writes"]),
        (&json!(false), &json!(false)),
        "{found}"
    );
}
