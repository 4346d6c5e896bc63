//! Files a client sent lie in the workspace of every attempt, or the job says why not.

use std::sync::Arc;

use domain::run::Kind;
use rpc::v1::complete_request::Outcome;
use rpc::v1::{Assignment, Failed};
use scheduler::attachments::{FILES, Fetcher};
use scheduler::objects::{Folder, Objects};
use scheduler::payload::{self, Attachment};
use serde_json::{Value, json};
use store::messages::Side;
use store::run_tx;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use uuid::Uuid;

use crate::desk::Bench;
use crate::floor::{Hand, serve, sha256};
use crate::ledger::Ledger;

const NOTICE: &str = "scheduler.notices WHERE kind = 'attachments' AND resolved_at IS NULL";

pub async fn fetcher(bench: &Bench) -> Fetcher {
    let objects = Objects::open(&bench.desk.config.objects.dir).await.unwrap();
    Fetcher::new(Arc::clone(&bench.desk), objects).unwrap()
}

/// A file on the marketplace; answers its address.
async fn kept(bench: &Bench, name: &str, text: &str) -> String {
    let (external, _) = bench.contract().await;
    let sent = json!({ "content": "as here", "attachment_text": text, "attachment_name": name });
    let path = format!("/control/contracts/{external}/message");
    let shown = bench.market.post(&path, sent).await;
    shown["attachment_url"].as_str().unwrap().to_owned()
}

/// A message of the client whose thread was read.
async fn sent(bench: &Bench, contract: Uuid, files: &[(&str, &str)]) {
    let file = |(name, url): &(&str, &str)| Attachment {
        url: (*url).to_owned(),
        name: (*name).to_owned(),
        mime: "text/csv".to_owned(),
        ..Attachment::default()
    };
    let files: Vec<Attachment> = files.iter().map(file).collect();
    put(bench, contract, Some(&payload::to_value(&files))).await;
}

async fn put(bench: &Bench, contract: Uuid, files: Option<&Value>) {
    let key = Uuid::now_v7().to_string();
    run_tx!(bench.desk.store, "fixture", |tx| {
        store::messages::put(tx, contract, Side::Client, &key, "see the file", files).await
    })
    .unwrap();
}

/// What is known of a contract's files.
async fn files(bench: &Bench, contract: Uuid) -> Vec<Attachment> {
    let sent = store::inputs::of_contract(&bench.desk.store, contract).await.unwrap();
    let files = sent
        .iter()
        .flat_map(|sent| payload::attachments(Some(&sent.attachments)));
    files.collect()
}

fn attachments(job: &Assignment) -> Value {
    let job: Value = serde_json::from_str(&job.job_json).unwrap();
    job["attachments"].clone()
}

/// Answers each connection with these bytes, in order, then no more; tells how many came.
async fn server(answers: Vec<String>) -> (String, tokio::task::JoinHandle<usize>) {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}/file", listener.local_addr().unwrap());
    let serving = tokio::task::spawn(async move {
        for answer in &answers {
            let (mut stream, _) = listener.accept().await.unwrap();
            let _asked = stream.read(&mut [0; 4096]).await.unwrap();
            stream.write_all(answer.as_bytes()).await.unwrap();
        }
        answers.len()
    });
    (url, serving)
}

#[tokio::test]
async fn what_a_client_sent_is_fetched_once_and_lies_in_every_attempt() {
    let bench = Bench::new().await;
    let url = kept(&bench, "sample.csv", "a,b").await;
    let other = kept(&bench, "sample.csv", "c,d").await;
    let (contract, run) = bench.run(Kind::Work, 0).await;
    sent(&bench, contract, &[("../Sample.csv", &url)]).await;
    sent(&bench, contract, &[("sample.csv", &other)]).await;
    let fetcher = fetcher(&bench).await;
    fetcher.look("demo").await.unwrap();
    // It is asked for no more, though it could not be read again.
    bench.market.post("/control/reset", json!({})).await;
    fetcher.look("demo").await.unwrap();
    let mut hand = Hand::new(&serve(&bench, &Ledger::default()).await).await;
    let (first, second) = (sha256(b"a,b"), sha256(b"c,d"));
    for attempt in 0..2 {
        let job = hand.assignment().await;
        assert_eq!(
            attachments(&job),
            json!([
                { "path": "inputs/Sample.csv", "name": "../Sample.csv", "type": "text/csv", "bytes": 3, "sha256": first },
                { "path": "inputs/sample-2.csv", "name": "sample.csv", "type": "text/csv", "bytes": 3, "sha256": second },
            ]),
            "attempt {attempt}"
        );
        let paths: Vec<&str> = job.inputs.iter().map(|input| input.path.as_str()).collect();
        assert_eq!(paths, ["inputs/Sample.csv", "inputs/sample-2.csv"]);
        assert_eq!(hand.fetch(&job, &first).await.unwrap(), b"a,b");
        let told: Value = serde_json::from_str(&job.job_json).unwrap();
        assert_eq!(told["messages"][0]["attachments"][0]["path"], "inputs/Sample.csv");
        let failed = Outcome::Failed(Failed::default());
        hand.complete(&job, failed, Vec::new()).await.unwrap();
        bench.hurry(run).await;
    }
    assert_eq!(bench.count(NOTICE).await, 0);
}

#[tokio::test]
async fn a_run_waits_for_files_on_their_way_and_for_the_thread_that_tells_of_them() {
    let bench = Bench::with(&[("ATTACHMENTS__UNREAD", "20s")]).await;
    let url = kept(&bench, "sample.csv", "a,b").await;
    let (contract, run) = bench.run(Kind::Work, 0).await;
    put(&bench, contract, None).await;
    let channel = serve(&bench, &Ledger::default()).await;
    let hand = tokio::task::spawn(async move {
        let mut hand = Hand::new(&channel).await;
        hand.assignment().await
    });
    bench.run_is(run, "state", json!({ "state": "leased" })).await;
    let file = json!([{ "url": url, "name": "sample.csv", "mime": "", "size": 3 }]);
    bench
        .change(&format!("UPDATE scheduler.messages SET attachments = '{file}'"))
        .await;
    fetcher(&bench).await.look("demo").await.unwrap();
    let job = hand.await.unwrap();
    assert_eq!(job.attempt, 1, "it waited with the lease, not by another attempt");
    assert_eq!(attachments(&job)[0]["path"], "inputs/sample.csv");
}

#[tokio::test]
async fn a_file_that_never_comes_keeps_work_waiting_no_longer_than_is_set() {
    let bench = Bench::with(&[("ATTACHMENTS__PATIENCE", "1s")]).await;
    let (contract, _run) = bench.run(Kind::Work, 0).await;
    sent(&bench, contract, &[("plan.pdf", "https://files.example.org/plan.pdf")]).await;
    let mut hand = Hand::new(&serve(&bench, &Ledger::default()).await).await;
    let job = hand.assignment().await;
    let missing = json!([{
        "path": null, "name": "plan.pdf", "type": "text/csv", "bytes": 0, "sha256": null,
        "error": "it was not here in time",
    }]);
    assert_eq!(attachments(&job), missing);
    assert!(job.inputs.is_empty());
}

#[tokio::test]
async fn what_is_not_there_or_too_much_is_given_up_and_told() {
    let settings = [
        ("ATTACHMENTS__FILE_BYTES", "5"),
        ("ATTACHMENTS__CONTRACT_BYTES", "8"),
        ("ATTACHMENTS__FILES", "5"),
    ];
    let bench = Bench::with(&settings).await;
    let small = kept(&bench, "a.txt", "12345").await;
    let large = kept(&bench, "b.txt", "123456").await;
    let last = kept(&bench, "c.txt", "123").await;
    let gone = format!("{}/uploads/attachments/none/x.txt", bench.market.url);
    let (contract, _run) = bench.run(Kind::Work, 0).await;
    let all = [
        ("b", large.as_str()),
        ("a", &small),
        ("gone", &gone),
        ("room", &small),
        ("c", &last),
        ("many", &last),
    ];
    sent(&bench, contract, &all).await;
    fetcher(&bench).await.look("demo").await.unwrap();
    let found = files(&bench, contract).await;
    let errors: Vec<&str> = found.iter().map(|file| file.error.as_str()).collect();
    assert_eq!(
        errors,
        [
            "it has more than 5 bytes",
            "",
            "its address answers 404",
            "the files of this contract have more than 8 bytes",
            "",
            "more than 5 files came with this contract's messages",
        ]
    );
    assert_eq!(bench.count(NOTICE).await, 1);
    let told = store::contracts::get(&bench.desk.store, contract)
        .await
        .unwrap()
        .attention;
    assert!(told.unwrap().contains("gone (its address answers 404)"));
}

#[tokio::test]
async fn only_public_https_is_called_and_of_this_machine_the_simulated_marketplace() {
    let bench = Bench::new().await;
    let (elsewhere, serving) = server(vec!["HTTP/1.1 200 OK\r\ncontent-length: 1\r\n\r\nx".to_owned()]).await;
    let addresses = [
        elsewhere.as_str(),
        "https://127.0.0.1:1/x",
        "https://169.254.169.254/latest/meta-data",
        "http://example.org/x",
        "https://[::ffff:10.0.0.1]/x",
    ];
    let (contract, _run) = bench.run(Kind::Work, 0).await;
    sent(&bench, contract, &addresses.map(|url| ("x", url))).await;
    fetcher(&bench).await.look("demo").await.unwrap();
    let found = files(&bench, contract).await;
    for file in &found {
        assert!(
            file.error.contains("not https") || file.error.contains("not a public one"),
            "{file:?}"
        );
    }
    assert_eq!(found.len(), addresses.len());
    assert!(!serving.is_finished(), "it was called");
    serving.abort();
    // Where money is real, not even the marketplace's own address opens this machine.
    let live = [
        ("MARKETPLACE__LIVE", "true"),
        ("MARKETPLACE__BASE_URL", "https://127.0.0.1:1/api"),
        ("MARKETPLACE__RATE_LIMIT_PER_MINUTE", "28"),
    ];
    let bench = Bench::with(&live).await;
    let (contract, _run) = bench.run(Kind::Work, 0).await;
    sent(&bench, contract, &[("x", "https://127.0.0.1:1/api/x")]).await;
    fetcher(&bench).await.look("demo").await.unwrap();
    assert_eq!(
        files(&bench, contract).await[0].error,
        "its address is not a public one"
    );
}

#[tokio::test]
async fn a_passing_failure_is_tried_again_and_not_for_ever() {
    let answers = ["503 Service Unavailable", "429 Too Many Requests"];
    let answer = |status: &str| format!("HTTP/1.1 {status}\r\ncontent-length: 0\r\nconnection: close\r\n\r\n");
    let (url, serving) = server(answers.iter().map(|status| answer(status)).collect()).await;
    let origin = url.trim_end_matches("/file").to_owned();
    // What answers here is taken for the marketplace.
    let bench = Bench::with(&[("ATTACHMENTS__TRIES", "2"), ("MARKETPLACE__BASE_URL", &origin)]).await;
    let (contract, _run) = bench.run(Kind::Work, 0).await;
    sent(&bench, contract, &[("x", &url)]).await;
    let fetcher = fetcher(&bench).await;
    let again = fetcher.look("demo").await.unwrap();
    assert!(again < std::time::Duration::from_secs(10), "{again:?}");
    let file = files(&bench, contract).await.remove(0);
    assert_eq!((file.tries, file.error.as_str()), (1, ""));
    assert_eq!(bench.count(NOTICE).await, 0);
    let early = fetcher.look("demo").await.unwrap();
    assert_eq!(files(&bench, contract).await[0].tries, 1, "its pause is kept to");
    assert!(early <= again);
    bench
        .change("UPDATE scheduler.messages SET attachments = jsonb_set(attachments, '{0,again_at}', '\"2026-01-01T00:00:00Z\"')")
        .await;
    fetcher.look("demo").await.unwrap();
    let file = files(&bench, contract).await.remove(0);
    assert_eq!((file.tries, file.error.as_str()), (2, "its address answers 429"));
    assert_eq!(bench.count(NOTICE).await, 1);
    fetcher.look("demo").await.unwrap();
    assert_eq!(serving.await.unwrap(), 2, "and no third");
}

#[tokio::test]
async fn an_address_that_never_answers_keeps_nobody_elses_file_away() {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let origin = format!("http://{}", listener.local_addr().unwrap());
    let bench = Bench::with(&[("ATTACHMENTS__TIMEOUT", "60s"), ("MARKETPLACE__BASE_URL", &origin)]).await;
    let (silent, good) = (format!("{origin}/silent"), format!("{origin}/good"));
    let (tarpit, _run) = bench.run(Kind::Work, 0).await;
    sent(&bench, tarpit, &[("x", &silent), ("y", &silent)]).await;
    let (other, _run) = bench.run(Kind::Work, 0).await;
    sent(&bench, other, &[("z", &good)]).await;
    let serving = tokio::task::spawn(async move {
        let mut open = Vec::new();
        loop {
            let (mut stream, _) = listener.accept().await.unwrap();
            let mut asked = [0; 4096];
            let read = stream.read(&mut asked).await.unwrap();
            if asked[..read].starts_with(b"GET /good") {
                let answer = b"HTTP/1.1 200 OK\r\ncontent-length: 1\r\nconnection: close\r\n\r\nz";
                stream.write_all(answer).await.unwrap();
            } else {
                open.push(stream);
            }
        }
    });
    let fetcher = fetcher(&bench).await;
    let came = async || files(&bench, other).await[0].is_here();
    tokio::select! {
        looked = fetcher.look("demo") => panic!("the silent address answered: {looked:?}"),
        came = testkit::eventually(crate::desk::PATIENCE, "the other client's file", came) => came.unwrap(),
    }
    serving.abort();
}

#[tokio::test]
async fn a_read_that_learns_of_files_has_them_fetched_at_once_and_retention_keeps_them() {
    let bench = Bench::new().await;
    let (external, contract) = bench.contract().await;
    let message = json!({ "content": "as here", "attachment_text": "a,b", "attachment_name": "sample.csv" });
    bench
        .market
        .post(&format!("/control/contracts/{external}/message"), message)
        .await;
    run_tx!(bench.desk.store, "fixture", |tx| {
        store::duties::ensure_later(tx, FILES, "demo", std::time::Duration::from_secs(3600)).await?;
        store::messages::put(tx, contract, Side::Client, "r-1", "as here", None).await
    })
    .unwrap();
    crate::threads::read(&bench).await;
    let due = "scheduler.duties WHERE duty = 'files' AND due_at <= now()";
    assert_eq!(bench.count(due).await, 1);
    fetcher(&bench).await.look("demo").await.unwrap();
    let objects = Objects::open(&bench.desk.config.objects.dir).await.unwrap();
    let name = sha256(b"a,b");
    let there = async || objects.size(Folder::Inputs, &name).await.unwrap().is_some();
    scheduler::retention::bytes(&bench.desk, &objects, chrono::TimeDelta::hours(-1))
        .await
        .unwrap();
    assert!(there().await);
    bench.change("DELETE FROM scheduler.messages").await;
    scheduler::retention::bytes(&bench.desk, &objects, chrono::TimeDelta::hours(-1))
        .await
        .unwrap();
    assert!(!there().await, "the bytes go with their message");
}
