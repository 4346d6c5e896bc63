//! What came with messages, read from threads long and short, readable and not.

use std::sync::Arc;
use std::time::Duration;

use domain::contract::Command;
use rpc::v1::operations_client::OperationsClient;
use rpc::v1::{ListNoticesRequest, Notice, ResolveNoticeRequest};
use scheduler::marketplace::Marketplace;
use scheduler::reconcile::Reader;
use scheduler::{contracts, payload};
use serde_json::{Value, json};
use store::messages::Side;
use store::run_tx;
use tonic::Code;
use tonic::transport::Channel;
use uuid::Uuid;

use crate::api::{self, OPERATOR, VIEWER, with};
use crate::desk::Bench;

const NOTICE: &str = "scheduler.notices WHERE kind = 'attachments' AND resolved_at IS NULL";

pub async fn read(bench: &Bench) -> Duration {
    let market = Arc::new(Marketplace::new(Arc::clone(&bench.desk)).unwrap());
    let reader = Reader::new(Arc::clone(&bench.desk), market);
    reader.messages("demo").await.unwrap()
}

/// The client says something on the marketplace. Answers the message's id there.
async fn said(bench: &Bench, external: &str, message: Value) -> String {
    let path = format!("/control/contracts/{external}/message");
    let shown = bench.market.post(&path, message).await;
    shown["id"].as_str().unwrap().to_owned()
}

/// We hear of a message.
async fn heard(bench: &Bench, contract: Uuid, side: Side, key: &str, text: &str) {
    run_tx!(bench.desk.store, "fixture", |tx| {
        store::messages::put(tx, contract, side, key, text, None).await
    })
    .unwrap();
}

fn file(content: &str) -> Value {
    json!({ "content": content, "attachment_text": "a,b", "attachment_name": "sample.csv" })
}

fn lost(content: &str, name: &str) -> Value {
    json!({ "content": content, "attachment_url": "", "attachment_name": name })
}

/// How many files each message of a contract is known to have come with.
async fn files(bench: &Bench, contract: Uuid) -> Vec<Option<usize>> {
    let thread = store::messages::list(&bench.desk.store, contract).await.unwrap();
    let count = |row: &Value| payload::attachments(Some(row)).len();
    thread
        .iter()
        .map(|message| message.attachments.as_ref().map(count))
        .collect()
}

async fn attention(bench: &Bench, contract: Uuid) -> Option<String> {
    store::contracts::get(&bench.desk.store, contract)
        .await
        .unwrap()
        .attention
}

#[tokio::test]
async fn a_thread_that_cannot_be_read_keeps_no_other_from_being_read() {
    let bench = Bench::new().await;
    let (_external, gone) = bench.contract().await;
    let (external, contract) = bench.contract().await;
    // The marketplace knows no such contract, and it comes first.
    bench
        .change(&format!(
            "UPDATE scheduler.contracts SET external_id = '00000000-0000-4000-8000-000000000000' WHERE id = '{gone}'"
        ))
        .await;
    heard(&bench, gone, Side::Client, "r-1", "see the file").await;
    said(&bench, &external, file("as here")).await;
    heard(&bench, contract, Side::Client, "r-2", "as here").await;
    let every = read(&bench).await;
    assert_eq!(files(&bench, contract).await, [Some(1)]);
    assert_eq!(files(&bench, gone).await, [None]);
    assert_eq!(every, bench.desk.config.reconcile.contracts_every, "one is missing");
}

#[tokio::test]
async fn a_human_is_told_of_files_nobody_can_fetch_when_they_are_learned_of() {
    let bench = Bench::new().await;
    let (external, contract) = bench.contract().await;
    said(&bench, &external, lost("as here", "a.csv")).await;
    heard(&bench, contract, Side::Client, "r-1", "as here").await;
    read(&bench).await;
    assert!(attention(&bench, contract).await.unwrap().contains("a.csv"));
    said(&bench, &external, lost("and this", "b.csv")).await;
    heard(&bench, contract, Side::Client, "r-2", "and this").await;
    read(&bench).await;
    assert_eq!(bench.count(NOTICE).await, 1);
    let reason = attention(&bench, contract).await.unwrap();
    assert!(reason.contains("a.csv") && reason.contains("b.csv"), "{reason}");
}

#[tokio::test]
async fn what_comes_after_the_end_of_a_contract_calls_nobody() {
    let bench = Bench::new().await;
    let (external, contract) = bench.contract().await;
    said(&bench, &external, lost("thank you", "photo.png")).await;
    heard(&bench, contract, Side::Client, "r-1", "thank you").await;
    step(&bench, contract, &Command::ApprovedEvent).await;
    read(&bench).await;
    assert_eq!(files(&bench, contract).await, [Some(1)]);
    assert_eq!(
        (bench.count(NOTICE).await, attention(&bench, contract).await),
        (0, None)
    );
}

#[tokio::test]
async fn another_agents_file_is_not_looked_for_in_the_clients_message() {
    let bench = Bench::new().await;
    let (external, contract) = bench.contract().await;
    let agent = json!({ "content": "as here", "sender_type": "agent", "attachment_text": "a,b" });
    said(&bench, &external, agent).await;
    said(&bench, &external, json!({ "content": "as here" })).await;
    heard(&bench, contract, Side::Agent, "r-1", "as here").await;
    heard(&bench, contract, Side::Client, "r-2", "as here").await;
    read(&bench).await;
    assert_eq!(files(&bench, contract).await, [Some(1), Some(0)]);
}

#[tokio::test]
async fn a_long_thread_is_read_no_further_than_what_is_searched_for() {
    let bench = Bench::new().await;
    let (external, contract) = bench.contract().await;
    let first = said(&bench, &external, file("as here")).await;
    for _ in 0..60 {
        said(&bench, &external, json!({ "content": "one more thing" })).await;
    }
    heard(&bench, contract, Side::Client, &first, "as here").await;
    read(&bench).await;
    assert_eq!(files(&bench, contract).await, [Some(1)]);
    assert_eq!(
        bench.count("scheduler.api_grants").await,
        1,
        "it stands on the first page"
    );
    // Said again later, and heard of without an id: the newest is meant.
    said(&bench, &external, json!({ "content": "as here" })).await;
    heard(&bench, contract, Side::Client, "r-2", "as here").await;
    read(&bench).await;
    assert_eq!(files(&bench, contract).await, [Some(1), Some(0)]);
}

#[tokio::test]
async fn a_message_whose_text_was_changed_is_looked_for_ever_more_rarely() {
    let bench = Bench::new().await;
    let (_external, contract) = bench.contract().await;
    heard(&bench, contract, Side::Client, "r-1", "never said like this").await;
    let settings = &bench.desk.config.reconcile;
    assert_eq!(read(&bench).await, settings.contracts_every);
    bench
        .change("UPDATE scheduler.messages SET at = now() - INTERVAL '10 minutes'")
        .await;
    let pause = read(&bench).await.as_secs();
    assert!((600..660).contains(&pause), "{pause}");
    bench
        .change("UPDATE scheduler.messages SET at = now() - INTERVAL '20 hours'")
        .await;
    assert_eq!(read(&bench).await, Duration::from_secs(3600));
}

async fn step(bench: &Bench, contract: Uuid, command: &Command) {
    run_tx!(bench.desk.store, "fixture", scheduler::error::Error, |tx| {
        contracts::step(tx, contract, command, "test", None).await
    })
    .unwrap();
}

async fn say(bench: &Bench, contract: Uuid, kind: &str, reason: &str) {
    run_tx!(bench.desk.store, "fixture", scheduler::error::Error, |tx| {
        contracts::attention(tx, contract, kind, reason).await
    })
    .unwrap();
}

async fn standing(channel: &Channel) -> Vec<Notice> {
    let mut operations = OperationsClient::new(with(channel, VIEWER));
    let answer = operations.list_notices(ListNoticesRequest {}).await.unwrap();
    answer.into_inner().notices
}

#[tokio::test]
async fn what_was_said_about_lost_files_ends_with_the_contract_and_doubts_about_the_books_do_not() {
    let bench = Bench::new().await;
    let channel = api::serve(&bench).await;
    let (_external, contract) = bench.contract().await;
    say(&bench, contract, contracts::BOOKS, "the figures do not add up").await;
    say(&bench, contract, contracts::ATTACHMENTS, "files are lost").await;
    step(&bench, contract, &Command::ApprovedEvent).await;
    let left = standing(&channel).await;
    assert_eq!(
        left.iter().map(|notice| notice.kind.as_str()).collect::<Vec<_>>(),
        ["books"]
    );
    assert_eq!(attention(&bench, contract).await.unwrap(), "the figures do not add up");

    let resolve = || ResolveNoticeRequest {
        id: left[0].id.clone(),
        reason: "paid out by hand".to_owned(),
    };
    let mut viewer = OperationsClient::new(with(&channel, VIEWER));
    assert_eq!(
        viewer.resolve_notice(resolve()).await.unwrap_err().code(),
        Code::PermissionDenied
    );
    let mut operations = OperationsClient::new(with(&channel, OPERATOR));
    let resolved = operations.resolve_notice(resolve()).await.unwrap().into_inner();
    assert_eq!(
        (resolved.key, resolved.text),
        (contract.to_string(), "the figures do not add up".to_owned())
    );
    assert!(standing(&channel).await.is_empty());
    assert_eq!(attention(&bench, contract).await, None);
    let audited = "scheduler.audit WHERE action = 'notices.resolve' AND detail LIKE 'books of %: paid out by hand'";
    assert_eq!(bench.count(audited).await, 1);
    assert_eq!(
        operations.resolve_notice(resolve()).await.unwrap_err().code(),
        Code::NotFound
    );
}

#[tokio::test]
async fn whoever_lets_a_contract_go_on_has_read_what_was_said_about_it() {
    let bench = Bench::new().await;
    let (_external, contract) = bench.contract().await;
    say(&bench, contract, contracts::ATTENTION, "look at it").await;
    say(&bench, contract, contracts::ATTACHMENTS, "files are lost").await;
    run_tx!(bench.desk.store, "fixture", scheduler::error::Error, |tx| {
        contracts::calm(tx, contract).await
    })
    .unwrap();
    assert_eq!(bench.count("scheduler.notices WHERE resolved_at IS NULL").await, 0);
    assert_eq!(attention(&bench, contract).await, None);
}
