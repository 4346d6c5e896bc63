//! Agents that rest or wind down, and windows of maintenance: what still happens, what does not, and what people are told.

use domain::run::Kind;
use rpc::v1::agents_client::AgentsClient;
use rpc::v1::complete_request::Outcome;
use rpc::v1::operations_client::OperationsClient;
use rpc::v1::{
    BeginMaintenanceRequest, EndMaintenanceRequest, HandedBack, ListMaintenanceRequest, SetAgentActivityRequest,
    SetAgentActivityResponse,
};
use serde_json::json;
use store::gigs::NewGig;
use store::run_tx;
use testkit::eventually;
use tonic::transport::Channel;
use tonic::{Code, Status};

use crate::api::{OPERATOR, VIEWER, with};
use crate::desk::{Bench, PATIENCE};
use crate::floor::{self, Hand};
use crate::ledger::Ledger;

const STANDING: &str = "scheduler.notices WHERE resolved_at IS NULL AND kind";

async fn set(channel: &Channel, activity: &str, now: bool) -> Result<SetAgentActivityResponse, Status> {
    let request = SetAgentActivityRequest {
        name: "demo".to_owned(),
        activity: activity.to_owned(),
        now,
        reason: "a new model is tried".to_owned(),
    };
    let mut agents = AgentsClient::new(with(channel, OPERATOR));
    Ok(agents.set_agent_activity(request).await?.into_inner())
}

async fn told(bench: &Bench, kind: &str) -> String {
    let query = format!("SELECT body FROM {STANDING} = '{kind}'");
    let rows = bench.rows(&query).await;
    rows.first().map(|row| row["body"].to_string()).unwrap_or_default()
}

/// A gig of the simulated marketplace that the agent bids on.
async fn bid(bench: &Bench) {
    let gig = json!({ "count": 1, "budget_usdc": 20, "category": "code", "skills_required": ["python"] });
    let posted = bench.market.post("/control/gigs", gig).await;
    let new = NewGig {
        agent: "demo".to_owned(),
        external_id: posted["gig_ids"][0].as_str().unwrap().to_owned(),
        title: "A script".to_owned(),
        description: "A python script".to_owned(),
        category: "code".to_owned(),
        skills: vec!["python".to_owned()],
        budget: Some(domain::money::MicroUsdc(20_000_000)),
        deadline: None,
        client_name: None,
        deliverables: None,
    };
    run_tx!(bench.desk.store, "fixture", scheduler::error::Error, |tx| {
        scheduler::bidding::consider(&bench.desk, tx, &new, 0, None).await
    })
    .unwrap();
}

#[tokio::test]
async fn a_paused_agent_begins_nothing_and_says_what_may_be_late_until_it_is_resumed() {
    let bench = Bench::new().await;
    let channel = floor::serve(&bench, &Ledger::default()).await;
    let (contract, run) = bench.run(Kind::Work, 0).await;
    bench
        .change(&format!(
            "UPDATE scheduler.contracts SET deadline = now() + INTERVAL '1 day' WHERE id = '{contract}'"
        ))
        .await;
    let answer = set(&channel, "paused", false).await.unwrap();
    assert!(answer.changed && answer.soonest_deadline.is_some(), "{answer:?}");
    assert_eq!(
        (answer.runs_active, answer.runs_queued, answer.contracts_open),
        (0, 1, 1)
    );
    assert!(
        !set(&channel, "paused", false).await.unwrap().changed,
        "a repeat changes nothing"
    );
    let body = told(&bench, "rests").await;
    for part in [
        "is paused (a new model is tried)",
        "may be late",
        "steward agents resume demo",
    ] {
        assert!(body.contains(part), "{body}");
    }
    let mut hand = Hand::new(&channel).await;
    // A bid that was on its way waits, unsent.
    bench
        .change("UPDATE scheduler.runs SET not_before = now() + INTERVAL '1 hour'")
        .await;
    bench.change("UPDATE scheduler.agents SET paused = FALSE").await;
    bid(&bench).await;
    bench.change("UPDATE scheduler.agents SET paused = TRUE").await;
    bench.hurry(run).await;
    bench.work();
    let held = "scheduler.effects WHERE kind = 'propose' AND state = 'pending' AND error LIKE '%paused%'";
    eventually(PATIENCE, "the bid is held", async || bench.count(held).await == 1)
        .await
        .unwrap();
    assert_eq!(bench.count("scheduler.runs WHERE state = 'leased'").await, 0);

    assert!(set(&channel, "active", false).await.unwrap().changed);
    assert_eq!(hand.assignment().await.run_id, run.to_string(), "it goes on at once");
    assert_eq!(told(&bench, "rests").await, "", "whoever resumes has read it");
    bench.change("UPDATE scheduler.effects SET not_before = now()").await;
    let sent = "scheduler.proposals WHERE state = 'submitted'";
    eventually(PATIENCE, "the bid goes out", async || bench.count(sent).await == 1)
        .await
        .unwrap();
    let acts = bench
        .rows("SELECT action FROM scheduler.audit WHERE action LIKE 'agents.%' ORDER BY at")
        .await;
    let expected = ["agents.pause", "agents.pause", "agents.resume"].map(|action| json!({ "action": action }));
    assert_eq!(acts, expected);
}

#[tokio::test]
async fn a_pause_at_once_stops_what_runs_and_costs_it_no_attempt() {
    let bench = Bench::new().await;
    let channel = floor::serve(&bench, &Ledger::default()).await;
    let (_contract, run) = bench.run(Kind::Work, 0).await;
    let mut hand = Hand::new(&channel).await;
    let job = hand.assignment().await;
    set(&channel, "paused", false).await.unwrap();
    assert_eq!(
        bench.count("scheduler.runs WHERE state = 'leased'").await,
        1,
        "it goes on"
    );
    assert_eq!(set(&channel, "paused", true).await.unwrap().runs_active, 1);
    hand.told_to_stop(&job).await;
    let back = Outcome::HandedBack(HandedBack {
        reason: "paused".to_owned(),
    });
    hand.complete(&job, back, Vec::new()).await.unwrap();
    let expected = json!({ "state": "queued", "failures": 0, "hand_backs": 0, "lost_leases": 0, "postponed": 0 });
    bench
        .run_is(run, "state, failures, hand_backs, lost_leases, postponed", expected)
        .await;
    set(&channel, "active", false).await.unwrap();
    assert_eq!(hand.assignment().await.run_id, run.to_string(), "it comes back");
}

#[tokio::test]
async fn an_agent_winding_down_finishes_its_work_bids_no_more_and_then_can_be_removed() {
    let bench = Bench::new().await;
    let channel = floor::serve(&bench, &Ledger::default()).await;
    bid(&bench).await;
    let (contract, run) = bench.run(Kind::Work, 0).await;
    let answer = set(&channel, "winding_down", false).await.unwrap();
    assert_eq!(
        (answer.bids_called_off, answer.contracts_open, answer.changed),
        (1, 1, true)
    );
    assert_eq!(bench.count("scheduler.proposals WHERE state = 'skipped'").await, 1);
    bid(&bench).await;
    let why = bench
        .rows("SELECT DISTINCT reason FROM scheduler.proposals ORDER BY reason")
        .await;
    let expected = ["the agent is winding down", "the agent winds down"].map(|reason| json!({ "reason": reason }));
    assert_eq!(why, expected);
    let mut hand = Hand::new(&channel).await;
    assert_eq!(hand.assignment().await.run_id, run.to_string(), "accepted work is done");
    assert!(told(&bench, "rests").await.contains("finishes its 1 open contracts"));

    bench
        .change(&format!(
            "UPDATE scheduler.contracts SET closed_at = now(), state = 'approved' WHERE id = '{contract}'"
        ))
        .await;
    scheduler::hours::look(&bench.desk).await.unwrap();
    let body = told(&bench, "rests").await;
    assert!(body.contains("steward agents remove demo"), "{body}");
    set(&channel, "active", false).await.unwrap();
    scheduler::hours::look(&bench.desk).await.unwrap();
    assert_eq!(told(&bench, "rests").await, "");
}

#[tokio::test]
async fn nobody_lets_an_agent_rest_that_is_not_there_and_no_viewer_any() {
    let bench = Bench::new().await;
    let channel = floor::serve(&bench, &Ledger::default()).await;
    let request = |name: &str, activity: &str| SetAgentActivityRequest {
        name: name.to_owned(),
        activity: activity.to_owned(),
        ..SetAgentActivityRequest::default()
    };
    let mut agents = AgentsClient::new(with(&channel, OPERATOR));
    for (name, activity, code) in [
        ("nobody", "paused", Code::NotFound),
        ("nobody", "winding_down", Code::NotFound),
        ("demo", "asleep", Code::InvalidArgument),
    ] {
        let refused = agents.set_agent_activity(request(name, activity)).await.unwrap_err();
        assert_eq!(refused.code(), code, "{name} {activity}");
    }
    let mut viewer = AgentsClient::new(with(&channel, VIEWER));
    let refused = viewer.set_agent_activity(request("demo", "paused")).await.unwrap_err();
    assert_eq!(refused.code(), Code::PermissionDenied);
}

#[tokio::test]
async fn in_a_maintenance_no_run_begins_and_no_bid_is_sent_and_afterwards_both_are() {
    let bench = Bench::new().await;
    let channel = floor::serve(&bench, &Ledger::default()).await;
    let mut operations = OperationsClient::new(with(&channel, OPERATOR));
    let begin = |seconds| BeginMaintenanceRequest {
        seconds,
        reason: "a new disk".to_owned(),
    };
    let short = operations.begin_maintenance(begin(59)).await.unwrap_err();
    assert_eq!(short.code(), Code::InvalidArgument);
    operations.begin_maintenance(begin(7200)).await.unwrap();
    operations.begin_maintenance(begin(3600)).await.unwrap();
    let listed = operations.list_maintenance(ListMaintenanceRequest {}).await.unwrap();
    let windows = listed.into_inner().windows;
    assert_eq!(windows.len(), 1, "one that is on is changed: {windows:?}");
    assert!(windows[0].on);
    let body = told(&bench, "maintenance").await;
    assert!(
        body.contains("(a new disk)") && body.contains("steward maintenance end"),
        "{body}"
    );

    bid(&bench).await;
    let (_contract, run) = bench.run(Kind::Work, 0).await;
    let mut hand = Hand::new(&channel).await;
    bench.work();
    let held = "scheduler.effects WHERE kind = 'propose' AND state = 'pending' AND error LIKE '%maintenance%'";
    eventually(PATIENCE, "the bid is held", async || bench.count(held).await == 1)
        .await
        .unwrap();
    assert_eq!(bench.count("scheduler.runs WHERE state = 'leased'").await, 0);

    let ended = operations.end_maintenance(EndMaintenanceRequest {}).await.unwrap();
    assert_eq!(ended.into_inner().ended, 1);
    assert_eq!(hand.assignment().await.run_id, run.to_string());
    bench.change("UPDATE scheduler.effects SET not_before = now()").await;
    let sent = "scheduler.proposals WHERE state = 'submitted'";
    eventually(PATIENCE, "the bid goes out", async || bench.count(sent).await == 1)
        .await
        .unwrap();
    assert_eq!(told(&bench, "maintenance").await, "");
}

#[tokio::test]
async fn configured_windows_are_planned_ahead_dropped_with_the_setting_and_end_when_somebody_says_so() {
    let all = r#"[{ days = ["mon", "tue", "wed", "thu", "fri", "sat", "sun"], from = "00:00", to = "00:00" }]"#;
    let bench = Bench::with(&[("MAINTENANCE__WINDOWS", all)]).await;
    scheduler::hours::look(&bench.desk).await.unwrap();
    scheduler::hours::look(&bench.desk).await.unwrap();
    let planned = bench.count("scheduler.maintenance WHERE source = 'config'").await;
    assert_eq!(planned, 3, "today's and those of two days");
    assert!(told(&bench, "maintenance").await.contains("no run begins"));

    run_tx!(bench.desk.store, "fixture", |tx| store::maintenance::end(tx).await).unwrap();
    scheduler::hours::look(&bench.desk).await.unwrap();
    assert_eq!(
        told(&bench, "maintenance").await,
        "",
        "what was ended does not begin again"
    );
    run_tx!(bench.desk.store, "fixture", |tx| store::maintenance::plan(tx, &[])
        .await)
    .unwrap();
    let to_come = "scheduler.maintenance WHERE ends_at > now()";
    assert_eq!(
        bench.count(to_come).await,
        0,
        "what is configured no more does not come"
    );
}
