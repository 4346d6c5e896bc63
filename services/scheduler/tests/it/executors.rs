//! Executors as operators see them: drained ones take no more work, and an agent goes back to an earlier version.

use domain::run::Kind;
use rpc::v1::agents_client::AgentsClient;
use rpc::v1::complete_request::Outcome;
use rpc::v1::contracts_client::ContractsClient;
use rpc::v1::operations_client::OperationsClient;
use rpc::v1::run_event::Kind as Said;
use rpc::v1::{DrainExecutorRequest, GetRunRequest, ListExecutorsRequest, ListVersionsRequest, RollbackRequest};
use store::run_tx;
use tonic::Code;

use crate::api::{OPERATOR, VIEWER, with};
use crate::desk::Bench;
use crate::floor::{self, Hand};
use crate::ledger::Ledger;

#[tokio::test]
async fn a_drained_executor_finishes_what_it_has_and_gets_no_more() {
    let bench = Bench::new().await;
    let channel = floor::serve(&bench, &Ledger::default()).await;
    bench.run(Kind::Work, 0).await;
    let mut hand = Hand::new(&channel).await;
    let job = hand.assignment().await;
    let mut operations = OperationsClient::new(with(&channel, OPERATOR));
    let mut listed = async || {
        let answer = operations.list_executors(ListExecutorsRequest {}).await.unwrap();
        answer.into_inner().executors.remove(0)
    };
    let known = listed().await;
    assert_eq!((known.state.as_str(), known.runs), ("ready", 1));
    assert!(known.longest_secs > 0);

    let drain = |id: &str| DrainExecutorRequest { id: id.to_owned() };
    let mut operations = OperationsClient::new(with(&channel, OPERATOR));
    let unknown = operations.drain_executor(drain("nobody")).await.unwrap_err();
    assert_eq!(unknown.code(), Code::NotFound);
    let mut viewer = OperationsClient::new(with(&channel, VIEWER));
    let refused = viewer.drain_executor(drain(&known.id)).await.unwrap_err();
    assert_eq!(refused.code(), Code::PermissionDenied);
    let drained = operations.drain_executor(drain(&known.id)).await.unwrap().into_inner();
    assert_eq!(drained.state, "draining");

    // Another start of the same hand is told at once.
    let mut again = Hand::named(&channel, &known.id).await;
    again.told_to_drain().await;
    let (_contract, waiting) = bench.run(Kind::Work, 1).await;
    let done = Outcome::ResultJson(r#"{"type":"result","notes":"n","files":[]}"#.to_owned());
    hand.complete(&job, done, Vec::new()).await.unwrap();
    let mut fresh = Hand::named(&channel, "another").await;
    assert_eq!(
        fresh.assignment().await.run_id,
        waiting.to_string(),
        "others take what is left"
    );
}

#[tokio::test]
async fn an_agent_goes_back_to_the_version_before_with_the_file_it_came_with() {
    let bench = Bench::new().await;
    for (version, timeout) in [("aaaaaaa1", "5m"), ("bbbbbbb2", "6m")] {
        let text = format!("name = \"demo\"\n[run]\ncommand = [\"true\"]\ntimeout = \"{timeout}\"\nidle = \"5m\"");
        let spec = domain::agent_file::AgentFile::parse(&text).unwrap().with_defaults(true);
        let file = serde_json::to_value(&spec).unwrap();
        run_tx!(bench.desk.store, "fixture", |tx| {
            store::agents::put(tx, &spec, domain::agent_file::Mode::Auto, version, None).await?;
            store::bundles::put(tx, version, "demo", 1, &file, Some(timeout)).await
        })
        .unwrap();
    }
    let channel = floor::serve(&bench, &Ledger::default()).await;
    let mut agents = AgentsClient::new(with(&channel, OPERATOR));
    let list = ListVersionsRequest {
        agent: "demo".to_owned(),
    };
    let versions = agents.list_versions(list).await.unwrap().into_inner().versions;
    let shown: Vec<_> = versions
        .iter()
        .map(|one| (one.label.as_str(), one.current))
        .take(2)
        .collect();
    assert_eq!(shown, [("6m", true), ("5m", false)]);
    let back = |version: &str| RollbackRequest {
        agent: "demo".to_owned(),
        version: version.to_owned(),
    };
    let answer = agents.rollback(back("")).await.unwrap().into_inner();
    assert_eq!(answer.to.unwrap().sha256, "aaaaaaa1");
    let agent = store::agents::get(&bench.desk.store, "demo").await.unwrap();
    assert_eq!(
        (agent.version.as_str(), agent.spec.run.timeout.as_secs()),
        ("aaaaaaa1", 300)
    );
    let forth = agents.rollback(back("bbbbbb")).await.unwrap().into_inner();
    assert_eq!(forth.agent.unwrap().version, "bbbbbbb2");
    assert_eq!(
        agents.rollback(back("nothing")).await.unwrap_err().code(),
        Code::NotFound
    );
}

#[tokio::test]
async fn what_an_agent_prints_can_be_followed_and_is_not_told_twice() {
    let bench = Bench::new().await;
    let channel = floor::serve(&bench, &Ledger::default()).await;
    let (_contract, run) = bench.run(Kind::Work, 0).await;
    let mut hand = Hand::new(&channel).await;
    let job = hand.assignment().await;
    let done = Outcome::ResultJson(r#"{"type":"result","notes":"n","files":[]}"#.to_owned());
    let said = vec![Said::Output("one\n".to_owned()), Said::Output("two\n".to_owned())];
    hand.complete_after(&job, done, said, "one\ntwo\n").await.unwrap();
    let mut contracts = ContractsClient::new(with(&channel, VIEWER));
    let mut read = async |after_seq| {
        let request = GetRunRequest {
            id: run.to_string(),
            after_seq,
        };
        contracts.get_run(request).await.unwrap().into_inner().events
    };
    let all = read(0).await;
    let shown: Vec<_> = all
        .iter()
        .map(|line| (line.kind.as_str(), line.text.as_str()))
        .collect();
    assert_eq!(
        shown,
        [("output", "one\n"), ("output", "two\n"), ("outcome", "succeeded")]
    );
    assert_eq!(read(all[1].seq).await.len(), 1, "only what is new");
}
