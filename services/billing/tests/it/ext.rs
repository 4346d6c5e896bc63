//! Calls of other hosts with secrets of agents' own: the host gets the key, the run never does.

use std::sync::{Arc, Mutex};

use axum::{
    Router,
    body::Body,
    extract::{Request, State},
    http::HeaderMap,
    response::{IntoResponse as _, Response},
};
use futures_util::stream;
use outbound::Method;
use rpc::v1;
use tokio::net::TcpListener;
use uuid::Uuid;

use crate::{
    provider::spawn,
    stack::{MICRO, Run, Stack, opening, refusal},
};

const HOST: &str = "api.search.example";
pub const KEY: &str = "search-key-0123456789abcdef";

/// How, where, with which headers and body.
type Call = (Method, String, HeaderMap, String);

#[derive(Clone, Default)]
struct Calls(Arc<Mutex<Vec<Call>>>);

/// A host that tells everything it was told.
async fn host() -> (String, Calls) {
    let calls = Calls::default();
    let router = Router::new().fallback(answer).with_state(calls.clone());
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    spawn(async move { axum::serve(listener, router).await.unwrap() });
    (url, calls)
}

async fn answer(State(calls): State<Calls>, request: Request) -> Response {
    let (parts, body) = request.into_parts();
    let body = axum::body::to_bytes(body, usize::MAX).await.unwrap();
    let path = parts.uri.path_and_query().unwrap().to_string();
    let body = String::from_utf8(body.to_vec()).unwrap();
    calls
        .0
        .lock()
        .unwrap()
        .push((parts.method, path.clone(), parts.headers.clone(), body));
    let said = parts.headers["authorization"].to_str().unwrap().to_owned();
    match path.split('?').next().unwrap() {
        // Cut in the middle of the key.
        "/echo" => {
            let text = format!("you said {said}, you did");
            let (one, other) = text.split_at(25);
            let pieces = [one.to_owned(), other.to_owned()].map(Ok::<_, std::io::Error>);
            ([("x-said", said)], Body::from_stream(stream::iter(pieces))).into_response()
        }
        "/packed" => ([("content-encoding", "br")], "packed").into_response(),
        "/moved" => (http::StatusCode::FOUND, [("location", "/there?a=b")]).into_response(),
        "/elsewhere" => (http::StatusCode::FOUND, [("location", "http://elsewhere.example/")]).into_response(),
        "/long" => vec![b'x'; 3000].into_response(),
        "/silent" => std::future::pending().await,
        _ => "words".into_response(),
    }
}

pub struct Bench {
    pub stack: Stack,
    calls: Calls,
    run: Run,
}

impl Bench {
    pub async fn new(settings: &[(&str, &str)]) -> Self {
        let (url, calls) = host().await;
        let instead = format!("[{{host = \"{HOST}\", url = \"{url}\"}}]");
        let mut all = vec![
            ("EXT__INSTEAD", instead.as_str()),
            ("SECRETS__KEY", "the-key-that-seals-agents-secrets"),
        ];
        all.extend(settings);
        let stack = Stack::start_with(&all).await;
        let run = open(&stack, "demo").await;
        Self { stack, calls, run }
    }

    pub async fn set(&self, value: &str) -> v1::AgentSecret {
        set(&self.stack, "demo", "search-api", value).await.unwrap()
    }

    async fn call(&self, method: Method, path: &str, headers: &[(&str, &str)], body: &str) -> outbound::Response {
        let url = format!("http://{}/ext/{HOST}{path}", self.stack.ports.gateway);
        let mut request = self
            .stack
            .http
            .request(method, url.parse().unwrap())
            .header("authorization", format!("Bearer {}", self.run.credential))
            .body(body.to_owned());
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        self.stack.http.send(request).await.unwrap()
    }

    fn made(&self) -> usize {
        self.calls.0.lock().unwrap().len()
    }
}

async fn open(stack: &Stack, agent: &str) -> Run {
    let (id, subject) = (Uuid::now_v7(), Uuid::now_v7());
    let named = v1::HostCredential {
        host: HOST.to_owned(),
        header: "Authorization".to_owned(),
        format: "Token {}".to_owned(),
        secret: "search-api".to_owned(),
    };
    let asked = v1::OpenRunRequest {
        agent: agent.to_owned(),
        credentials: vec![named],
        ..opening(id, subject, MICRO, &[])
    };
    stack.open_as(asked).await
}

pub async fn set(stack: &Stack, agent: &str, name: &str, value: &str) -> Result<v1::AgentSecret, tonic::Status> {
    let asked = v1::SetSecretRequest {
        agent: agent.to_owned(),
        name: name.to_owned(),
        value: value.to_owned(),
    };
    stack
        .operator
        .clone()
        .set_secret(asked)
        .await
        .map(tonic::Response::into_inner)
}

#[tokio::test(flavor = "multi_thread")]
async fn the_host_gets_the_key_over_what_the_run_said_and_the_run_gets_the_answer() {
    let bench = Bench::new(&[]).await;
    bench.set(KEY).await;
    let own = [
        ("x-api-key", "own"),
        ("cookie", "own=1"),
        ("range", "bytes=0-5"),
        ("x-forwarded-for", "1.2.3.4"),
        ("x-steward-run", "other"),
        ("traceparent", "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"),
        ("notion-version", "2022"),
        ("content-type", "text/plain"),
    ];
    let answer = bench.call(Method::PUT, "/v1/a%2Fb?q=x%20y", &own, "body").await;
    assert_eq!(answer.status(), 200);
    assert_eq!(answer.text().await.unwrap(), "words");
    let calls = bench.calls.0.lock().unwrap().clone();
    let (method, path, headers, body) = &calls[0];
    assert_eq!(
        (method, path.as_str(), body.as_str()),
        (&Method::PUT, "/v1/a%2Fb?q=x%20y", "body")
    );
    assert_eq!(headers["authorization"], format!("Token {KEY}"));
    assert_eq!(headers.get_all("authorization").iter().count(), 1);
    assert_eq!(
        (&headers["notion-version"], &headers["content-type"]),
        (&"2022".parse().unwrap(), &"text/plain".parse().unwrap())
    );
    for name in [
        "x-api-key",
        "cookie",
        "range",
        "x-forwarded-for",
        "x-steward-run",
        "traceparent",
    ] {
        assert!(!headers.contains_key(name), "{name} was passed on");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_key_that_is_echoed_is_cut_out_and_redirects_stay_within_reach() {
    let bench = Bench::new(&[]).await;
    bench.set(KEY).await;
    let answer = bench.call(Method::GET, "/echo", &[], "").await;
    let stars = "*".repeat(KEY.len());
    assert_eq!(answer.headers()["x-said"], format!("Token {stars}"));
    assert_eq!(answer.text().await.unwrap(), format!("you said Token {stars}, you did"));
    let moved = bench.call(Method::GET, "/moved", &[], "").await;
    assert_eq!(moved.status(), 302);
    assert_eq!(moved.headers()["location"], format!("/ext/{HOST}/there?a=b"));
    let elsewhere = bench.call(Method::GET, "/elsewhere", &[], "").await;
    assert_eq!(elsewhere.headers()["location"], "http://elsewhere.example/");
    assert_eq!(bench.made(), 3, "none was followed");
    let (status, code, _) = refusal(bench.call(Method::GET, "/packed", &[], "").await).await;
    assert_eq!((status, code.as_str()), (502, "host_garbage"));
    let (status, code, _) = refusal(bench.call(Method::TRACE, "/echo", &[], "").await).await;
    assert_eq!((status, code.as_str()), (405, "method_not_allowed"));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_missing_secret_is_told_with_the_command_and_a_new_value_counts_at_once() {
    let bench = Bench::new(&[]).await;
    let (status, code, body) = refusal(bench.call(Method::GET, "/", &[], "").await).await;
    assert_eq!((status, code.as_str()), (424, "secret_missing"));
    assert!(
        body.to_string().contains("steward secrets set demo search-api"),
        "{body}"
    );
    for value in [KEY, "another-key-0123456789"] {
        bench.set(value).await;
        assert_eq!(bench.call(Method::GET, "/", &[], "").await.status(), 200);
        let said = bench.calls.0.lock().unwrap().last().unwrap().2["authorization"].clone();
        assert_eq!(said, format!("Token {value}"));
    }
    // Another agent's secret of the same name is its own, also when the rows are exchanged.
    set(&bench.stack, "other", "search-api", "not-for-everybody-else")
        .await
        .unwrap();
    bench
        .stack
        .execute(
            "UPDATE billing.agent_secrets SET sealed = (SELECT sealed FROM billing.agent_secrets WHERE agent = 'other') \
             WHERE agent = 'demo'",
        )
        .await;
    let (status, _, body) = refusal(bench.call(Method::GET, "/", &[], "").await).await;
    assert_eq!(status, 503, "{body}");
    let asked = v1::RemoveSecretRequest {
        agent: "demo".to_owned(),
        name: "search-api".to_owned(),
    };
    bench.stack.operator.clone().remove_secret(asked.clone()).await.unwrap();
    let (status, ..) = refusal(bench.call(Method::GET, "/", &[], "").await).await;
    assert_eq!(status, 424);
    let again = bench.stack.operator.clone().remove_secret(asked).await.unwrap_err();
    assert_eq!(again.code(), tonic::Code::NotFound);
    assert_eq!(bench.made(), 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn only_named_hosts_of_open_runs_are_called() {
    let bench = Bench::new(&[]).await;
    bench.set(KEY).await;
    let gateway = &bench.stack;
    let other = gateway
        .send(Method::GET, "/ext/other.example/", &bench.run.credential, "")
        .await;
    let (status, code, _) = refusal(other).await;
    assert_eq!((status, code.as_str()), (403, "host_not_named"));
    let stranger = gateway.send(Method::GET, &format!("/ext/{HOST}/"), "nobody", "").await;
    assert_eq!(refusal(stranger).await.0, 401);
    gateway.close(&bench.run).await;
    let (status, code, _) = refusal(bench.call(Method::GET, "/", &[], "").await).await;
    assert_eq!((status, code.as_str()), (403, "run_closed"));
    assert_eq!(bench.made(), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_host_that_leads_inside_is_refused() {
    let stack = Stack::start_with(&[("SECRETS__KEY", "the-key-that-seals-agents-secrets")]).await;
    set(&stack, "demo", "search-api", KEY).await.unwrap();
    // `localhost.` resolves to this machine wherever there is a resolver at all.
    let named = v1::HostCredential {
        host: "localhost".to_owned(),
        header: "x-api-key".to_owned(),
        format: "{}".to_owned(),
        secret: "search-api".to_owned(),
    };
    let asked = v1::OpenRunRequest {
        credentials: vec![named],
        ..opening(Uuid::now_v7(), Uuid::now_v7(), MICRO, &[])
    };
    let credential = stack.open_as(asked).await.credential;
    let answer = stack.send(Method::GET, "/ext/localhost/", &credential, "").await;
    let (status, code, body) = refusal(answer).await;
    assert_eq!((status, code.as_str()), (403, "host_refused"), "{body}");
}

#[tokio::test(flavor = "multi_thread")]
async fn bodies_answers_time_and_calls_at_once_are_bounded() {
    let bench = Bench::new(&[
        ("EXT__MAX_BODY_BYTES", "100"),
        ("EXT__MAX_ANSWER_BYTES", "2000"),
        ("EXT__MAX_CALLS_PER_RUN", "1"),
        ("EXT__CONNECT_TIMEOUT", "500ms"),
        ("EXT__IDLE_TIMEOUT", "1s"),
        ("EXT__TOTAL_TIMEOUT", "1s"),
    ])
    .await;
    bench.set(KEY).await;
    let long = bench.call(Method::POST, "/", &[], &"x".repeat(101)).await;
    assert_eq!(refusal(long).await.0, 413);
    let answer = bench.call(Method::GET, "/long", &[], "").await;
    assert!(answer.bytes().await.is_err(), "it broke off");
    let (silent, second) = tokio::join!(bench.call(Method::GET, "/silent", &[], ""), async {
        testkit::eventually(crate::stack::SOON, "the first call", || async { bench.made() >= 2 })
            .await
            .unwrap();
        bench.call(Method::GET, "/", &[], "").await
    });
    assert_eq!(refusal(second).await.1, "too_many_calls");
    let (status, code, _) = refusal(silent).await;
    assert_eq!((status, code.as_str()), (504, "host_timeout"));
    testkit::eventually(crate::stack::SOON, "the place to be free", || async {
        bench.call(Method::GET, "/", &[], "").await.status() == 200
    })
    .await
    .unwrap();
}
