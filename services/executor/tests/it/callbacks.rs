//! Endpoints that answer a job with 202 and send what comes of it later.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use axum::body::Bytes;
use axum::extract::State;
use axum::response::{IntoResponse as _, Response};
use http::{HeaderMap, Method, StatusCode};
use outbound::{Client, Guard, Url, read_limited};
use rpc::v1::complete_request::Outcome;
use rpc::v1::scheduler_message::Kind;
use rpc::v1::{Cancel, CompleteRequest, InputFile};
use serde_json::{Value, json};
use tokio::task::JoinSet;

use crate::harness::{Agent, Job, Options, Stack, eventually};

const RESULT: &str = r#"{"type":"result","notes":"done","files":["deep/a b.bin","b.txt"]}"#;

/// An endpoint that takes every job, and leaves what comes of it to the test.
#[derive(Clone)]
struct Endpoint {
    url: String,
    asked: Arc<Mutex<Vec<(Method, HeaderMap, Bytes)>>>,
}

impl Endpoint {
    async fn start(serving: &mut JoinSet<()>) -> Self {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let endpoint = Self {
            url: format!("http://{}/jobs", listener.local_addr().unwrap()),
            asked: Arc::default(),
        };
        let router = axum::Router::new().fallback(take).with_state(endpoint.clone());
        serving.spawn(async move { axum::serve(listener, router).await.unwrap() });
        endpoint
    }

    fn agent(&self) -> Agent {
        Agent::endpoint(&self.url)
    }

    /// The job that was posted as the `nth`.
    async fn job(&self, nth: usize) -> Value {
        let find = || {
            let asked = self.asked.lock().unwrap();
            let jobs: Vec<_> = asked.iter().filter(|(method, ..)| method == Method::POST).collect();
            jobs.get(nth).map(|(_, _, body)| serde_json::from_slice(body).unwrap())
        };
        eventually("a job", find).await
    }

    fn farewells(&self) -> Vec<HeaderMap> {
        let asked = self.asked.lock().unwrap();
        let deletes = asked.iter().filter(|(method, ..)| method == Method::DELETE);
        deletes.map(|(_, headers, _)| headers.clone()).collect()
    }
}

async fn take(State(endpoint): State<Endpoint>, method: Method, headers: HeaderMap, body: Bytes) -> Response {
    endpoint.asked.lock().unwrap().push((method, headers, body));
    (StatusCode::ACCEPTED, [("location", "/jobs/7")]).into_response()
}

fn reachable() -> Options {
    Options::default()
        .set("ENDPOINTS__PRIVATE", "true")
        .set("ENDPOINTS__LISTEN", "127.0.0.1:0")
}

/// Asks the executor's door something: status and body.
async fn ask(method: Method, url: &str, key: Option<&str>, body: &[u8]) -> (u16, Vec<u8>) {
    let client = Client::builder("test").guard(Guard::Any).build().unwrap();
    let mut request = client.request(method, url.parse::<Url>().unwrap());
    if let Some(key) = key {
        request = request.header("idempotency-key", key);
    }
    let answer = client.send(request.body(body.to_vec())).await.unwrap();
    let status = answer.status().as_u16();
    (status, read_limited(answer, 1 << 20).await.unwrap().to_vec())
}

async fn post(job: &Value, key: Option<&str>, lines: &str) -> (u16, Value) {
    let url = job["callback_url"].as_str().unwrap();
    let (status, body) = ask(Method::POST, url, key, lines.as_bytes()).await;
    (status, serde_json::from_slice(&body).unwrap())
}

async fn put(job: &Value, name: &str, body: &[u8]) -> (u16, Value) {
    let url = format!("{}/{name}", job["upload_url"].as_str().unwrap());
    let (status, body) = ask(Method::PUT, &url, None, body).await;
    (status, serde_json::from_slice(&body).unwrap())
}

fn result(end: &CompleteRequest) -> Value {
    match &end.outcome {
        Some(Outcome::ResultJson(result)) => serde_json::from_str(result).unwrap(),
        other => panic!("{other:?}\n{}", end.log_tail),
    }
}

fn work_with(path: &str, body: &[u8]) -> Job {
    let file = InputFile {
        path: path.to_owned(),
        sha256: executor::hash::of(body),
        bytes: body.len() as u64,
    };
    let mut job = Job::work();
    job.inputs = vec![(file, body.to_vec())];
    job
}

#[tokio::test(flavor = "multi_thread")]
async fn an_endpoint_answers_later_gets_files_by_address_and_puts_its_own() {
    let mut serving = JoinSet::new();
    let endpoint = Endpoint::start(&mut serving).await;
    let stack = Stack::with(reachable()).await;
    let token = stack
        .scheduler
        .assign(&endpoint.agent(), work_with("inputs/notes.txt", b"hello world\n"))
        .await;
    let job = endpoint.job(0).await;
    assert!(job["attachments"][0]["base64"].is_null());
    let file = job["attachments"][0]["url"].as_str().unwrap();
    assert_eq!(
        ask(Method::GET, file, None, b"").await,
        (200, b"hello world\n".to_vec())
    );
    let large: Vec<u8> = (0..3_000_000_u32).map(|at| at.to_le_bytes()[0]).collect();
    let (status, stored) = put(&job, "deep/a%20b.bin", &large).await;
    assert_eq!((status, stored["bytes"].as_u64()), (201, Some(3_000_000)));
    assert_eq!(stored["sha256"], executor::hash::of(&large));
    let lines = "{\"type\":\"progress\",\"text\":\"begun\"}\n{\"type\":\"file\",\"name\":\"b.txt\",\"text\":\"two\"}";
    let first = post(&job, Some("k-1"), lines).await;
    let message = post(&job, Some("k-2"), r#"{"type":"message","text":"nearly there"}"#).await;
    let again = post(&job, Some("k-2"), r#"{"type":"message","text":"another"}"#).await;
    assert_eq!((first.0, message.0, again.0), (200, 200, 200));
    assert_eq!((&message.1["again"], &again.1["again"]), (&json!(false), &json!(true)));
    assert_eq!(post(&job, Some("k-3"), RESULT).await.0, 200);
    let end = stack.scheduler.completion(&token).await;
    assert_eq!(result(&end)["notes"], "done");
    assert_eq!(&stack.scheduler.state().artefacts["deep/a b.bin"][..], &large[..]);
    assert_eq!(&stack.scheduler.state().artefacts["b.txt"][..], b"two");
    assert!(stack.scheduler.progress(&token).contains(&"begun".to_owned()));
    let events = format!("{:?}", end.events);
    assert!(
        events.contains("nearly there") && !events.contains("another"),
        "{events}"
    );
    let late = post(&job, None, RESULT).await;
    assert_eq!(late, (410, json!({"error": "over", "reason": "ended"})));
    assert_eq!(
        post(&job, Some("k-3"), RESULT).await.0,
        200,
        "what was taken stays taken"
    );
    assert_eq!(put(&job, "late.txt", b"x").await.0, 410);
    assert_eq!(ask(Method::GET, file, None, b"").await.0, 410);
    assert!(endpoint.farewells().is_empty(), "nobody stopped it");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_address_opens_nothing_but_its_own_purpose() {
    let mut serving = JoinSet::new();
    let endpoint = Endpoint::start(&mut serving).await;
    let stack = Stack::with(reachable().set("CAPS__FILES_BYTES", "1000")).await;
    let token = stack
        .scheduler
        .assign(&endpoint.agent(), work_with("inputs/notes.txt", b"hello world\n"))
        .await;
    let job = endpoint.job(0).await;
    let (callback, upload) = (
        job["callback_url"].as_str().unwrap(),
        job["upload_url"].as_str().unwrap(),
    );
    let file = job["attachments"][0]["url"].as_str().unwrap();
    let of_upload = upload.trim_end_matches("/out");
    let mut forged = callback.replace("/events", "");
    let last = forged.pop().unwrap();
    forged.push(if last == '0' { '1' } else { '0' });
    for (method, url) in [
        (Method::POST, format!("{of_upload}/events")),
        (Method::PUT, file.replace("/in/attachments/notes.txt", "/out/x")),
        (Method::GET, file.replace("notes.txt", "other.txt")),
        (Method::GET, file.replace("inputs/notes.txt", "..%2f..%2fjob.json")),
        (Method::POST, format!("{forged}/events")),
        (Method::GET, callback.to_owned()),
        (Method::GET, callback.replace("/runs/", "/walks/")),
    ] {
        let told = ask(method, &url, None, b"").await;
        assert_eq!(told, (404, br#"{"error":"not_found"}"#.to_vec()), "{url}");
    }
    for name in ["..%2fescape", "%2fetc%2fpasswd", "a%00b", "a/../../b", "a%5cb"] {
        let (status, told) = put(&job, name, b"x").await;
        assert!(status == 400 || status == 404, "{name}: {status} {told}");
    }
    assert_eq!(put(&job, "big.bin", &[7; 3000]).await.0, 413);
    let long = format!("{{\"type\":\"progress\",\"text\":\"{}\"}}", "x".repeat(3 << 20));
    let url: Url = callback.parse().unwrap();
    let client = Client::builder("test").guard(Guard::Any).build().unwrap();
    let sent = client.send(client.request(Method::POST, url).body(long)).await;
    assert!(
        sent.map_or(413, |answer| answer.status().as_u16()) == 413,
        "or cut off while sending"
    );
    assert_eq!(
        post(&job, None, r#"{"type":"result","notes":"small","files":[]}"#)
            .await
            .0,
        200
    );
    assert_eq!(result(&stack.scheduler.completion(&token).await)["notes"], "small");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stopped_attempt_is_let_go_of_once_at_its_location_and_takes_nothing_more() {
    let mut serving = JoinSet::new();
    let endpoint = Endpoint::start(&mut serving).await;
    let stack = Stack::with(reachable()).await;
    let token = stack.scheduler.assign(&endpoint.agent(), Job::work()).await;
    let job = endpoint.job(0).await;
    let waits = || {
        let told = stack.scheduler.progress(&token);
        told.iter().any(|text| text.contains("answers later")).then_some(())
    };
    eventually("the 202 to be heard", waits).await;
    let cancel = Cancel {
        run_id: token.trim_start_matches("token-").to_owned(),
        lease_token: token.clone(),
        reason: "cancelled".to_owned(),
    };
    stack.scheduler.say(Kind::Cancel(cancel)).await;
    let end = stack.scheduler.completion(&token).await;
    assert!(matches!(end.outcome, Some(Outcome::HandedBack(_))), "{:?}", end.outcome);
    let farewells = endpoint.farewells();
    assert_eq!(farewells.len(), 1);
    assert!(
        farewells[0]["authorization"]
            .to_str()
            .unwrap()
            .starts_with("Bearer v1.")
    );
    let late = post(&job, None, RESULT).await;
    assert_eq!(late, (410, json!({"error": "over", "reason": "cancelled"})));
    let mut silent = Job::work();
    silent.idle_secs = 1;
    let token = stack.scheduler.assign(&endpoint.agent(), silent).await;
    let end = stack.scheduler.completion(&token).await;
    assert!(
        format!("{:?}", end.outcome).contains("nothing happened for 1s"),
        "{:?}",
        end.outcome
    );
    assert_eq!(post(&endpoint.job(1).await, None, RESULT).await.1["reason"], "idle");
    assert_eq!(endpoint.farewells().len(), 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn addresses_of_an_executor_that_is_gone_are_nothing_to_the_next() {
    let mut serving = JoinSet::new();
    let endpoint = Endpoint::start(&mut serving).await;
    let port = std::net::TcpListener::bind("127.0.0.1:0")
        .unwrap()
        .local_addr()
        .unwrap();
    let mut stack = Stack::with(reachable().set("ENDPOINTS__LISTEN", &port.to_string())).await;
    let _token = stack.scheduler.assign(&endpoint.agent(), Job::work()).await;
    let job = endpoint.job(0).await;
    assert_eq!(
        post(&job, None, "").await.0,
        200,
        "an empty body says that somebody is there"
    );
    stack.executor.signal(nix::sys::signal::Signal::SIGKILL);
    let _killed = stack.executor.ended().await;
    stack.executor.again(&stack.scheduler).await;
    assert_eq!(post(&job, None, RESULT).await, (404, json!({"error": "not_found"})));
}

#[tokio::test(flavor = "multi_thread")]
async fn who_says_nothing_for_long_is_hung_up_on() {
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

    let port = std::net::TcpListener::bind("127.0.0.1:0")
        .unwrap()
        .local_addr()
        .unwrap();
    let _stack = Stack::with(reachable().set("ENDPOINTS__LISTEN", &port.to_string())).await;
    let mut slow = tokio::net::TcpStream::connect(port).await.unwrap();
    slow.write_all(b"POST /runs/x/events HTTP/1.1\r\nHost: x\r\n")
        .await
        .unwrap();
    let mut rest = Vec::new();
    let end = tokio::time::timeout(Duration::from_secs(20), slow.read_to_end(&mut rest)).await;
    assert!(end.is_ok(), "half a head holds a connection open");
}
