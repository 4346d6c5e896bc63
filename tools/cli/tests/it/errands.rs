//! A trial of an agent that calls a host with a key of its own.

use std::fs;
use std::path::PathBuf;
use std::sync::{Arc, Mutex};

use axum::extract::{Request, State};
use axum::http::HeaderMap;
use axum::response::IntoResponse as _;
use serde_json::Value;
use tokio::task::JoinSet;

use crate::trial::{examples, report, steward};

const KEY: &str = "trial-key-0123456789abcdef";
const FILE: &str = r#"
name = "errand"
[run]
command = ["python3", "agent.py"]
[[network.credential]]
host = "api.search.example"
header = "x-search-key"
secret = "search-api"
"#;
const PROGRAM: &str = r#"
import json, os, steward, urllib.error, urllib.request
request = urllib.request.Request(os.environ["STEWARD_EXT_SEARCH_API_URL"] + "/find?q=1", b"asked")
try:
    said = urllib.request.urlopen(request).read().decode()
except urllib.error.HTTPError as error:
    said = f"{error.code} {error.read().decode()}"
found = {name: value for name, value in os.environ.items() if name != "INTERNAL_API_KEY"}
steward.result(notes=json.dumps([said, found]))
"#;

type Heard = Arc<Mutex<Vec<String>>>;

async fn host(heard: &Heard) -> (String, JoinSet<()>) {
    let answer = async |State(heard): State<Heard>, headers: HeaderMap, request: Request| {
        let key = headers["x-search-key"].to_str().unwrap().to_owned();
        heard.lock().unwrap().push(format!("{} {key}", request.uri()));
        format!("found with {key}").into_response()
    };
    let router = axum::Router::new().fallback(answer).with_state(Arc::clone(heard));
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    let mut serving = JoinSet::new();
    serving.spawn(async move { axum::serve(listener, router).await.unwrap() });
    (url, serving)
}

async fn tried(folder: PathBuf, url: &str, key: Option<&'static str>) -> (Value, i32, String) {
    let instead = format!("api.search.example={url}");
    let output = tokio::task::spawn_blocking(move || {
        let args = [
            "agents",
            "test",
            folder.to_str().unwrap(),
            "--json",
            "--instead",
            &instead,
        ];
        let env: Vec<_> = key.iter().map(|key| ("STEWARD_EXT_SEARCH_API_KEY", *key)).collect();
        steward(&args, &env)
    });
    let output = output.await.unwrap();
    let (report, code) = report(&output);
    (report, code, String::from_utf8_lossy(&output.stderr).into_owned())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_key_of_the_agents_own_is_added_outside_of_the_sandbox_or_said_to_be_missing() {
    let dir = tempfile::tempdir().unwrap();
    fs::write(dir.path().join("agent.toml"), FILE).unwrap();
    fs::write(dir.path().join("agent.py"), PROGRAM).unwrap();
    fs::copy(
        examples().join("agents/python/steward.py"),
        dir.path().join("steward.py"),
    )
    .unwrap();
    let heard = Heard::default();
    let (url, _serving) = host(&heard).await;
    let (with, code, _) = tried(dir.path().to_owned(), &url, Some(KEY)).await;
    assert_eq!(code, 0, "{with}");
    let text = with.to_string();
    assert!(
        text.contains(&format!("found with {}", "*".repeat(KEY.len()))),
        "{text}"
    );
    assert!(!text.contains(KEY), "{text}");
    assert_eq!(*heard.lock().unwrap(), [format!("/find?q=1 {KEY}")]);

    let (without, code, said) = tried(dir.path().to_owned(), &url, None).await;
    assert_eq!(code, 0, "{without}");
    assert!(said.contains("without STEWARD_EXT_SEARCH_API_KEY"), "{said}");
    assert!(without.to_string().contains("424"), "{without}");
    assert_eq!(heard.lock().unwrap().len(), 1);
}
