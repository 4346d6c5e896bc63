//! Agents without a program of their own: a prompt, and an endpoint somewhere else.

use std::sync::{Arc, Mutex};

use axum::body::{Body, Bytes};
use axum::extract::State;
use axum::response::{IntoResponse as _, Response};
use futures_util::StreamExt as _;
use http::{HeaderMap, StatusCode};
use rpc::v1::complete_request::Outcome;
use rpc::v1::{CompleteRequest, InputFile};
use secrecy::ExposeSecret as _;
use serde_json::{Value, json};
use tokio::task::JoinSet;

use crate::harness::model::Mood;
use crate::harness::scheduler::CREDENTIAL;
use crate::harness::{Agent, Job, Options, Stack};

fn result(end: &CompleteRequest) -> Value {
    match &end.outcome {
        Some(Outcome::ResultJson(result)) => serde_json::from_str(result).unwrap(),
        other => panic!("{other:?}\n{}", end.log_tail),
    }
}

fn prompt(template: &str) -> Agent {
    let mut agent = Agent::of(&[("prompt.txt", template.as_bytes())], json!([]));
    agent.spec = json!({
        "run": {"adapter": "prompt"},
        "prompt": {"template": "prompt.txt", "output": "deep/answer.md"},
        "models": {"default": "gpt-4o-mini"},
    });
    agent
}

fn input(path: &str, body: &[u8]) -> (InputFile, Vec<u8>) {
    let file = InputFile {
        path: path.to_owned(),
        sha256: executor::hash::of(body),
        bytes: body.len() as u64,
    };
    (file, body.to_vec())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_prompt_does_every_kind_of_job_through_its_own_gateway() {
    let stack = Stack::start().await;
    let agent = Agent::sample("prompt");
    let work = result(&stack.run(&agent, Job::work()).await);
    assert_eq!(work["files"], json!(["answer.md"]));
    let body = stack.scheduler.state().artefacts["answer.md"].clone();
    assert_eq!(&body[..], b"the model's words\n");
    for (kind, field) in [("revise", "notes"), ("reply", "text"), ("propose", "cover_letter")] {
        let answer = result(&stack.run(&agent, Job::of_kind(kind)).await);
        assert!(
            answer[field].as_str().is_some_and(|text| !text.is_empty()),
            "{kind}: {answer}"
        );
    }
    let calls = stack.model.calls();
    assert_eq!(calls.len(), 4);
    for call in &calls {
        assert_eq!(call.path, "/v1/chat/completions");
        assert_eq!(
            call.headers["authorization"].to_str().unwrap(),
            format!("Bearer {CREDENTIAL}")
        );
        let asked: Value = serde_json::from_slice(&call.body).unwrap();
        assert_eq!(asked["model"], "gpt-4o-mini");
        assert!(
            asked["messages"][0]["content"]
                .as_str()
                .unwrap()
                .contains("careful freelancer"),
            "{asked}"
        );
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_template_sees_the_text_of_the_jobs_files() {
    let stack = Stack::start().await;
    let agent = prompt("{{ gig.title }}: {% for file in attachments %}{{ file.name }}={{ file.text }}{% endfor %}");
    let mut job = Job::work();
    job.inputs = vec![input("inputs/notes.txt", b"hello world\n")];
    let end = stack.run(&agent, job).await;
    assert_eq!(result(&end)["files"], json!(["deep/answer.md"]));
    let asked = String::from_utf8(stack.model.calls()[0].body.to_vec()).unwrap();
    assert!(asked.contains("Summarise an API: notes.txt=hello world"), "{asked}");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_keeps_a_prompt_from_an_answer_is_its_outcome() {
    let stack = Stack::start().await;
    let template = "{% if kind == \"work\" %}{{ gig.title }}{% endif %}";
    for (mood, expected) in [
        (Mood::Status(402), "budget"),
        (Mood::Status(400), "refused the request with 400"),
        (Mood::Later, "RetryLater(RetryLater { after_secs: 120"),
        (Mood::CutShort, "raise prompt.max_tokens"),
    ] {
        stack.model.mood(mood);
        let end = stack.run(&prompt(template), Job::work()).await;
        let outcome = format!("{:?}", end.outcome);
        assert!(outcome.contains(expected), "{mood:?}: {outcome}");
    }
    stack.model.mood(Mood::Answers);
    let broken = stack.run(&prompt("a\n {{ gig.titel }}"), Job::work()).await;
    assert!(
        format!("{:?}", broken.outcome).contains("prompt.txt:2:"),
        "{:?}",
        broken.outcome
    );
    let before = stack.model.calls().len();
    let none = result(&stack.run(&prompt(template), Job::of_kind("reply")).await);
    assert_eq!(none["none"], true);
    let parked = stack
        .run(&prompt("{% if kind == \"reply\" %}x{% endif %}"), Job::work())
        .await;
    assert!(
        format!("{:?}", parked.outcome).contains("CannotDo"),
        "{:?}",
        parked.outcome
    );
    assert_eq!(stack.model.calls().len(), before, "nothing was asked");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_prompt_ends_when_its_run_is_called_off() {
    let stack = Stack::start().await;
    stack.model.mood(Mood::Silent);
    let token = stack.scheduler.assign(&prompt("{{ gig.title }}"), Job::work()).await;
    crate::harness::eventually("a call", || (!stack.model.calls().is_empty()).then_some(())).await;
    let began = std::time::Instant::now();
    stack
        .scheduler
        .say(rpc::v1::scheduler_message::Kind::Cancel(rpc::v1::Cancel {
            run_id: token.trim_start_matches("token-").to_owned(),
            lease_token: token.clone(),
            reason: "cancelled".to_owned(),
        }))
        .await;
    let end = stack.scheduler.completion(&token).await;
    assert!(matches!(end.outcome, Some(Outcome::HandedBack(_))), "{:?}", end.outcome);
    assert!(began.elapsed() < std::time::Duration::from_secs(3));
}

/// An endpoint that answers as told and remembers what it was asked.
#[derive(Clone)]
struct Endpoint {
    url: String,
    asked: Arc<Mutex<Vec<(HeaderMap, Bytes)>>>,
    answers: Arc<Mutex<Vec<(u16, String)>>>,
}

impl Endpoint {
    /// The last answer is given again and again.
    async fn start(serving: &mut JoinSet<()>, answers: &[(u16, &str)]) -> Self {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let endpoint = Self {
            url: format!("http://{}/jobs", listener.local_addr().unwrap()),
            asked: Arc::default(),
            answers: Arc::new(Mutex::new(
                answers
                    .iter()
                    .rev()
                    .map(|(status, text)| (*status, (*text).to_owned()))
                    .collect(),
            )),
        };
        let router = axum::Router::new().fallback(answer).with_state(endpoint.clone());
        serving.spawn(async move { axum::serve(listener, router).await.unwrap() });
        endpoint
    }

    fn agent(&self) -> Agent {
        Agent::endpoint(&self.url)
    }

    fn asked(&self) -> Vec<(HeaderMap, Bytes)> {
        self.asked.lock().unwrap().clone()
    }
}

async fn answer(State(endpoint): State<Endpoint>, headers: HeaderMap, body: Bytes) -> Response {
    endpoint.asked.lock().unwrap().push((headers, body));
    let mut answers = endpoint.answers.lock().unwrap();
    let (status, text) = if answers.len() > 1 {
        answers.pop().unwrap()
    } else {
        answers[0].clone()
    };
    let later = text.parse::<u32>().unwrap_or_default().to_string();
    let body = match text.strip_suffix("!cut") {
        Some(text) => {
            let parts = futures_util::stream::iter([Some(text.to_owned()), None]);
            Body::from_stream(parts.then(|part| async move {
                if part.is_none() {
                    // The beginning is out by then.
                    tokio::time::sleep(std::time::Duration::from_millis(300)).await;
                }
                part.ok_or_else(|| std::io::Error::other("cut"))
            }))
        }
        None => Body::from(text),
    };
    (StatusCode::from_u16(status).unwrap(), [("retry-after", later)], body).into_response()
}

fn private() -> Options {
    Options::default()
        .set("ENDPOINTS__PRIVATE", "true")
        .set("ENDPOINTS__GATEWAY_URL", "http://127.0.0.1:9/")
}

const GOOD: &str = r#"{"type":"progress","text":"begun"}
{"type":"file","name":"a.txt","text":"one "}
{"type":"file","name":"a.txt","base64":"dHdv","append":true}
{"type":"message","text":"nearly there"}
{"type":"result","notes":"done","files":["a.txt"]}"#;

#[tokio::test(flavor = "multi_thread")]
async fn an_endpoint_gets_a_signed_job_and_its_lines_are_the_events() {
    let mut serving = JoinSet::new();
    let endpoint = Endpoint::start(&mut serving, &[(503, "not yet"), (429, "slower"), (200, GOOD)]).await;
    let stack = Stack::with(private()).await;
    let mut job = Job::work();
    job.inputs = vec![input("inputs/notes.txt", b"hello world\n")];
    let token = stack.scheduler.assign(&endpoint.agent(), job).await;
    let end = stack.scheduler.completion(&token).await;
    assert_eq!(result(&end)["notes"], "done");
    assert_eq!(&stack.scheduler.state().artefacts["a.txt"][..], b"one two");
    assert!(stack.scheduler.progress(&token).contains(&"begun".to_owned()));
    assert!(
        end.events
            .iter()
            .any(|event| format!("{event:?}").contains("nearly there"))
    );
    let asked = endpoint.asked();
    assert_eq!(asked.len(), 3, "a server's failure and 429 are tried again");
    let run = token.trim_start_matches("token-");
    let key = rpc::endpoint::key(&secrecy::SecretString::from("executor-token"), "demo");
    for (headers, body) in &asked {
        assert_eq!(headers["idempotency-key"].to_str().unwrap(), format!("{run}-1"));
        let bearer = headers["authorization"]
            .to_str()
            .unwrap()
            .strip_prefix("Bearer ")
            .unwrap();
        let parts: Vec<&str> = bearer.split('.').collect();
        assert_eq!(parts[..3], ["v1", run, "1"]);
        let expires = chrono::DateTime::from_timestamp(parts[3].parse().unwrap(), 0).unwrap();
        assert!(expires > chrono::Utc::now());
        let own = rpc::endpoint::token(&key, run, 1, expires);
        assert_eq!(own.expose_secret(), bearer, "signed with the agent's own key");
        let job: Value = serde_json::from_slice(body).unwrap();
        assert_eq!(
            (job["kind"].as_str(), job["run_id"].as_str()),
            (Some("work"), Some(run))
        );
        assert_eq!(job["attachments"][0]["base64"], "aGVsbG8gd29ybGQK");
        assert_eq!(job["gateway"]["openai_base_url"], "http://127.0.0.1:9/v1");
        assert_eq!(job["gateway"]["token"], CREDENTIAL);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_pause_an_endpoint_asks_for_is_no_silence() {
    let mut serving = JoinSet::new();
    let endpoint = Endpoint::start(&mut serving, &[(503, "4"), (200, GOOD)]).await;
    let stack = Stack::with(private()).await;
    let mut job = Job::work();
    job.idle_secs = 2;
    let end = stack.run(&endpoint.agent(), job).await;
    assert_eq!(result(&end)["notes"], "done");
    assert_eq!(endpoint.asked().len(), 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_answer_that_began_is_never_asked_for_again() {
    let mut serving = JoinSet::new();
    let stack = Stack::with(private()).await;
    for (status, text, expected) in [
        (
            200,
            "{\"type\":\"progress\",\"text\":\"x\"}\n!cut",
            "broke off after 1 lines",
        ),
        (200, "{\"type\":\"progress\",\"text\":\"x\"}\n", "without a result"),
        (
            200,
            "{\"type\":\"file\",\"name\":\"../x\",\"text\":\"\"}\n",
            "leaves its folder",
        ),
        (202, "", "set endpoints.listen and endpoints.public_url"),
        (401, "no such key", "refused the job with 401: no such key"),
        (
            422,
            "not my trade",
            "CannotDo(CannotDo { reason: \"the endpoint cannot do this: not my trade",
        ),
    ] {
        let endpoint = Endpoint::start(&mut serving, &[(status, text)]).await;
        let end = stack.run(&endpoint.agent(), Job::work()).await;
        let outcome = format!("{:?}", end.outcome);
        assert!(outcome.contains(expected), "{status} {text}: {outcome}");
        assert_eq!(endpoint.asked().len(), 1);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_endpoint_in_a_private_network_is_not_called_unless_the_operator_says_so() {
    let mut serving = JoinSet::new();
    let endpoint = Endpoint::start(&mut serving, &[(200, GOOD)]).await;
    let stack = Stack::start().await;
    let end = stack.run(&endpoint.agent(), Job::work()).await;
    assert!(
        format!("{:?}", end.outcome).contains("endpoints.private"),
        "{:?}",
        end.outcome
    );
    assert!(endpoint.asked().is_empty());
}
