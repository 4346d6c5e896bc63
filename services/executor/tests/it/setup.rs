//! What `setup` of a bundle can reach: it installs things, and no run's words are there yet.

use rpc::v1::complete_request::Outcome;
use serde_json::{Value, json};

use crate::harness::{Agent, Job, Options, Stack};
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
def asked(place):
    proxy = os.environ.get("HTTPS_PROXY")
    if not proxy:
        return None
    place = place if ":" in place else "localhost:" + place
    host, port = proxy.removeprefix("http://").rsplit(":", 1)
    with socket.create_connection((host, int(port)), 5) as one:
        one.sendall(f"CONNECT {place} HTTP/1.1\r\n\r\n".encode())
        return one.recv(4096).decode()
json.dump({
    "loopback": reached(lambda: connects(socket.AF_INET, ("127.0.0.1", int(sys.argv[1])))),
    "datagrams": reached(lambda: socket.socket(socket.AF_INET, socket.SOCK_DGRAM).close()),
    "runs": reached(lambda: os.listdir(sys.argv[2])),
    "token": sorted(name for name in os.environ if "STEWARD" in name or "KEY" in name),
    "writes": reached(lambda: open("/tmp/of-setup", "w").close()),
    "proxied": [asked(place) for place in (sys.argv[1], "[::1]:" + sys.argv[1], "169.254.169.254:80")],
}, open("found.json", "w"))
"#;

/// What `setup` found at this level, with this as `network.setup`.
async fn found(level: &str, network: &str) -> Option<Value> {
    let stack = at_level(level, Options::default().set("NETWORK__SETUP", network)).await?;
    let port = stack.model.port().to_string();
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
    Some(serde_json::from_str(result["notes"].as_str().unwrap()).unwrap())
}

fn has_nothing_of_a_run(found: &Value) {
    assert_eq!(
        found["token"],
        json!(["STEWARD_BUNDLE"]),
        "no gateway, no job, no placeholder"
    );
    assert_eq!(found["runs"], json!(false), "{found}");
}

#[tokio::test(flavor = "multi_thread")]
async fn setup_reaches_where_packages_are_and_nothing_of_this_machine() {
    for (level, tmp_of_its_own) in [("namespaces", true), ("landlock", false)] {
        let Some(found) = found(level, "outside").await else {
            continue;
        };
        has_nothing_of_a_run(&found);
        assert_eq!(
            (&found["loopback"], &found["datagrams"], &found["writes"]),
            (&json!(false), &json!(false), &json!(tmp_of_its_own)),
            "{level}: {found}"
        );
        for answer in found["proxied"].as_array().unwrap() {
            let answer = answer.as_str().unwrap();
            assert!(
                answer.starts_with("HTTP/1.1 403") && answer.contains("network.setup"),
                "{level}: {answer}"
            );
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn where_the_operator_says_so_setup_reaches_a_mirror_in_the_private_network() {
    let Some(found) = found("landlock", "any").await else {
        return;
    };
    has_nothing_of_a_run(&found);
    assert_eq!(found["loopback"], json!(false), "{found}");
    let answer = found["proxied"][0].as_str().unwrap();
    assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
}

#[tokio::test(flavor = "multi_thread")]
async fn with_the_machines_network_setup_has_no_others_files_nor_a_job() {
    let Some(found) = found("landlock", "machine").await else {
        return;
    };
    has_nothing_of_a_run(&found);
    assert_eq!(
        (&found["loopback"], &found["datagrams"], &found["writes"]),
        (&json!(true), &json!(true), &json!(false)),
        "{found}"
    );
    assert_eq!(found["proxied"][0], Value::Null);
}

#[tokio::test(flavor = "multi_thread")]
async fn setup_that_installs_too_much_is_ended_and_told_with_the_setting() {
    let stack = Stack::with(Options::default().set("CAPS__SETUP_BYTES", "10000000")).await;
    let script = b"for n in 1 2 3 4 5; do head -c 4000000 /dev/zero > part-$n; done; sleep 600";
    let files: [(&str, &[u8]); 2] = [("setup.sh", script), ("agent.sh", b"exit 1")];
    let agent = Agent::of(&files, json!(["sh", "agent.sh"])).with("run", json!({"setup": ["sh", "setup.sh"]}));
    let end = stack.run(&agent, Job::work()).await;
    let Some(Outcome::Failed(failure)) = &end.outcome else {
        panic!("{:?}", end.outcome)
    };
    assert!(
        failure
            .detail
            .contains("more than 10000000 bytes (caps.setup_bytes of the executor)"),
        "{failure:?}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn what_setup_was_refused_is_told_with_its_failure() {
    let stack = Stack::with(Options::default()).await;
    let script = b"import os, socket
host, port = os.environ['HTTPS_PROXY'].removeprefix('http://').rsplit(':', 1)
with socket.create_connection((host, int(port)), 5) as proxy:
    proxy.sendall(b'CONNECT 10.1.2.3:443 HTTP/1.1\\r\\n\\r\\n')
    proxy.recv(4096)
raise SystemExit(1)
";
    let files: [(&str, &[u8]); 2] = [("setup.py", script), ("agent.sh", b"exit 1")];
    let agent = Agent::of(&files, json!(["sh", "agent.sh"])).with("run", json!({"setup": ["python3", "setup.py"]}));
    let end = stack.run(&agent, Job::work()).await;
    let Some(Outcome::Failed(failure)) = &end.outcome else {
        panic!("{:?}", end.outcome)
    };
    let told = "refused (network): 10.1.2.3:443 has no address outside this machine";
    assert!(failure.detail.contains(told), "{failure:?}");
}
