//! A week in the life of an agent, for tests and for looking at the pages (`examples/preview.rs`).

use chrono::{TimeDelta, Utc};
use rpc::convert::{Timestamp, timestamp};
use rpc::v1;

use crate::fake::World;

fn minutes_ago(minutes: i64) -> Option<Timestamp> {
    Some(timestamp(Utc::now() - TimeDelta::minutes(minutes)))
}

/// Puts it all into the peers' memory.
pub fn fill(world: &World) {
    let contracts = [
        contract(
            1,
            "Scrape 2,000 product pages into a clean CSV",
            "funded",
            120_000_000,
            412_337,
        ),
        contract(
            2,
            "Port a Flask service to FastAPI, with tests",
            "delivered",
            340_000_000,
            1_904_120,
        ),
        contract(
            3,
            "Weekly market brief: battery storage in Europe",
            "approved",
            85_000_000,
            296_004,
        ),
        contract(
            4,
            "Fix flaky integration tests in a Rails monolith",
            "revision_requested",
            210_000_000,
            2_770_911,
        ),
        contract(
            5,
            "Translate the onboarding guide into German and Polish",
            "approved",
            60_000_000,
            101_550,
        ),
        contract(6, "Unit tests for a pricing engine", "disputed", 150_000_000, 877_002),
    ];
    let mut data = world.data();
    for contract in &contracts {
        data.contracts.insert(contract.id.clone(), detail(contract.clone()));
    }
    for run in runs() {
        data.runs.insert(run.id.clone(), run_detail(run));
    }
    data.gigs.insert("g-0001".to_owned(), gig());
    data.held = vec![v1::Effect {
        id: "e-0001".to_owned(),
        agent: "demo".to_owned(),
        kind: "propose".to_owned(),
        natural_key: "propose:demo:gig-812".to_owned(),
        state: "held".to_owned(),
        gig_id: "g-0001".to_owned(),
        created_at: minutes_ago(4),
        ..Default::default()
    }];
    data.dead = vec![v1::DeadLetter {
        kind: "inbox".to_owned(),
        id: "d-0001".to_owned(),
        agent: "demo".to_owned(),
        what: "contract.milestone_split".to_owned(),
        reason: "the body names contract ct_9912, which no read can find".to_owned(),
        attempts: 8,
        since: minutes_ago(95),
        version: String::new(),
    }];
    data.agents = vec![agent("demo", "auto", false), agent("night-shift", "ask", true)];
    data.budgets = vec![budget("demo", 19), budget("night-shift", 2)];
    data.starts = starts();
    data.week = v1::StatementResponse {
        profit_micro_usd: 412_663_118,
        contracts_settled: 5,
        model_calls: 1_284,
        ..Default::default()
    };
    data.ledger = v1::CheckLedgerResponse {
        balanced: true,
        accounts: 14,
        postings: 3_906,
        ..Default::default()
    };
    drop(data);
    world.overview(|overview| *overview = first_page(contracts.to_vec()));
}

fn first_page(recent: Vec<v1::Contract>) -> v1::Overview {
    let count = |state: &str, count, amount| v1::StateCount {
        state: state.to_owned(),
        count,
        amount_micro_usdc: amount,
    };
    let waiting = |kind: &str, id: &str, text: &str, minutes| v1::WaitingItem {
        kind: kind.to_owned(),
        id: id.to_owned(),
        text: text.to_owned(),
        since: minutes_ago(minutes),
    };
    v1::Overview {
        at: minutes_ago(0),
        revenue_micro_usdc: 1_234_500_000,
        fees_micro_usdc: 123_450_000,
        cost_micro_usd: 61_204_337,
        profit_micro_usd: 1_049_845_663,
        at_risk_micro_usdc: 670_000_000,
        contracts: vec![
            count("accepted", 2, 95_000_000),
            count("funded", 3, 310_000_000),
            count("revision_requested", 1, 210_000_000),
            count("delivered", 2, 360_000_000),
            count("disputed", 1, 150_000_000),
            count("approved", 14, 1_234_500_000),
            count("cancelled", 1, 40_000_000),
        ],
        waiting: vec![
            waiting("held_effect", "e-0001", "propose of demo waits for approval", 4),
            waiting(
                "parked_run",
                "r-0004",
                "revise run of demo: exit 77: the fixture needs a Ruby version that the bundle does not have",
                31,
            ),
            waiting(
                "dead_letter",
                "d-0001",
                "webhook of demo: the body names contract ct_9912, which no read can find",
                95,
            ),
            waiting(
                "dispute",
                "c-0006",
                "Unit tests for a pricing engine: disputed by the client",
                400,
            ),
        ],
        inbox_open: 2,
        runs_queued: 1,
        runs_active: 3,
        effects_open: 2,
        dead_letters: 1,
        executors: 2,
        slots_free: 4,
        oldest_unprocessed: Some(timestamp(Utc::now() - TimeDelta::seconds(2))),
        recent,
    }
}

fn contract(number: u32, title: &str, state: &str, amount: i64, cost: i64) -> v1::Contract {
    let settled = state == "approved";
    let fee = if settled { amount / 10 } else { 0 };
    let age = i64::from(number) * 170;
    let wanted = match state {
        "disputed" => "disputed by the client",
        "revision_requested" => "its run is parked",
        _ => "",
    };
    v1::Contract {
        id: format!("c-{number:04}"),
        external_id: format!("ct_{}", 8800 + number),
        agent: "demo".to_owned(),
        title: title.to_owned(),
        state: state.to_owned(),
        amount_micro_usdc: amount,
        cost_micro_usd: cost,
        settled,
        revenue_micro_usdc: if settled { amount } else { 0 },
        fee_micro_usdc: fee,
        profit_micro_usd: if settled { amount - fee - cost } else { 0 },
        revision_no: u32::from(state == "revision_requested"),
        attention: wanted.to_owned(),
        created_at: minutes_ago(age),
        funded_at: minutes_ago(age - 20),
        delivered_at: if state == "funded" { None } else { minutes_ago(age - 90) },
        approved_at: if settled { minutes_ago(age - 150) } else { None },
        deadline: Some(timestamp(Utc::now() + TimeDelta::hours(30))),
    }
}

fn detail(contract: v1::Contract) -> v1::ContractDetail {
    let event = |minutes, command: &str, source: &str, from: &str, to: &str, detail: &str| v1::ContractEvent {
        at: minutes_ago(minutes),
        command: command.to_owned(),
        source: source.to_owned(),
        from_state: from.to_owned(),
        to_state: to.to_owned(),
        detail: detail.to_owned(),
    };
    let message = |minutes, side: &str, text: &str| v1::ThreadMessage {
        at: minutes_ago(minutes),
        side: side.to_owned(),
        text: text.to_owned(),
        attachments: vec![v1::MessageAttachment {
            url: "https://files.example.com/notes.txt".to_owned(),
            name: "notes.txt".to_owned(),
            media_type: "text/plain".to_owned(),
            bytes: 2_048,
            path: "inputs/notes.txt".to_owned(),
            fetched_bytes: 2_048,
            error: String::new(),
        }],
    };
    let effect = |id: &str, kind: &str, state: &str, error: &str| v1::Effect {
        id: id.to_owned(),
        agent: "demo".to_owned(),
        kind: kind.to_owned(),
        natural_key: format!("{kind}:{}:1", contract.id),
        state: state.to_owned(),
        attempts: 1,
        error: error.to_owned(),
        contract_id: contract.id.clone(),
        created_at: minutes_ago(70),
        updated_at: minutes_ago(69),
        ..Default::default()
    };
    let mut parked = runs();
    parked.retain(|run| run.contract_id == contract.id);
    v1::ContractDetail {
        events: vec![
            event(170, "accepted_event", "inbox", "", "accepted", "proposal pr_551 won"),
            event(150, "funded_event", "inbox", "accepted", "funded", ""),
            event(
                80,
                "delivery_proven",
                "effect",
                "funded",
                &contract.state,
                "answer 200, 3 files, 18 KiB",
            ),
        ],
        runs: parked,
        effects: vec![
            effect("e-0101", "upload", "done", ""),
            effect(
                "e-0102",
                "deliver",
                "unknown",
                "the answer was lost after 30 s; it is read again before anything is resent",
            ),
        ],
        messages: vec![
            message(
                140,
                "client",
                "Hi! Please keep the header row exactly as in the sample file. Prices in EUR, two decimals.",
            ),
            message(
                139,
                "us",
                "Thank you, we have begun. You will find the header row unchanged and all prices in EUR with two decimals.",
            ),
        ],
        contract: Some(contract),
    }
}

fn runs() -> Vec<v1::Run> {
    let run = |number: u32, kind: &str, contract: &str, state: &str, error: &str| v1::Run {
        id: format!("r-{number:04}"),
        kind: kind.to_owned(),
        agent: "demo".to_owned(),
        version: "9f2c41d07be3aa65c1d2f00e87b1a9c4".to_owned(),
        contract_id: contract.to_owned(),
        gig_id: if contract.is_empty() {
            "g-0001".to_owned()
        } else {
            String::new()
        },
        state: state.to_owned(),
        attempt: 1 + number % 3,
        max_attempts: 4,
        executor_id: "executor-1".to_owned(),
        error: error.to_owned(),
        created_at: minutes_ago(i64::from(number) * 12),
        started_at: minutes_ago(i64::from(number) * 12 - 1),
        finished_at: if state == "leased" {
            None
        } else {
            minutes_ago(i64::from(number) * 12 - 9)
        },
        lease_until: Some(timestamp(Utc::now() + TimeDelta::seconds(25))),
    };
    vec![
        run(1, "work", "c-0001", "leased", ""),
        run(2, "work", "c-0002", "succeeded", ""),
        run(3, "work", "c-0003", "succeeded", ""),
        run(
            4,
            "revise",
            "c-0004",
            "parked",
            "exit 77: the fixture needs a Ruby version that the bundle does not have",
        ),
        run(5, "propose", "", "retrying", "the provider answered 429 twice"),
    ]
}

fn run_detail(run: v1::Run) -> v1::RunDetail {
    let said = |seconds, kind: &str, text: &str| v1::RunLogLine {
        at: Some(timestamp(Utc::now() - TimeDelta::seconds(seconds))),
        attempt: run.attempt,
        kind: kind.to_owned(),
        text: text.to_owned(),
        seq: 0,
    };
    v1::RunDetail {
        events: vec![
            said(240, "progress", "reading 2,000 addresses from input/urls.txt"),
            said(180, "stdout", "fetched 500/2000\nfetched 1000/2000"),
            said(120, "progress", "half done"),
            said(
                60,
                "stderr",
                "Traceback (most recent call last):\n  File \"agent.py\", line 88, in fetch\nTimeoutError: 504 after 30 s",
            ),
        ],
        artefacts: vec![v1::Artefact {
            name: "products.csv".to_owned(),
            sha256: "5feceb66ffc86f38d952786c6d696c79c2dbc239dd4e91b46729d73a27fb57e9".to_owned(),
            bytes: 184_320,
            media_type: "text/csv".to_owned(),
        }],
        run: Some(run),
    }
}

fn gig() -> v1::Gig {
    v1::Gig {
        id: "g-0001".to_owned(),
        external_id: "gig_812".to_owned(),
        agent: "demo".to_owned(),
        title: "Nightly export from Postgres to BigQuery".to_owned(),
        description:
            "We need a small job that copies four tables every night.\nIt should be restartable and log what it did."
                .to_owned(),
        category: "code".to_owned(),
        budget_micro_usdc: 110_000_000,
        proposal_state: "considered".to_owned(),
        score_permille: 842,
        score_parts_json: r#"{"skills":"3 of 3","budget":0.9,"deadline":"5 days"}"#.to_owned(),
        reason: "mode ask: a human decides".to_owned(),
        proposed_micro_usdc: 95_000_000,
        cover_letter: "Four tables, restartable, with a run log you can read: that is a job for two evenings."
            .to_owned(),
        first_seen_at: minutes_ago(5),
    }
}

fn agent(name: &str, mode: &str, paused: bool) -> v1::Agent {
    v1::Agent {
        name: name.to_owned(),
        mode: mode.to_owned(),
        paused,
        version: "9f2c41d07be3aa65c1d2f00e87b1a9c4".to_owned(),
        has_key: !paused,
        webhook_secrets: 1,
        ..Default::default()
    }
}

fn budget(key: &str, used: u32) -> v1::RequestBudget {
    v1::RequestBudget {
        key: key.to_owned(),
        limit_per_minute: 28,
        used_last_minute: used,
        used_by_class: [("deliver".to_owned(), 2), ("search".to_owned(), used - 2)].into(),
        ..Default::default()
    }
}

fn starts() -> Vec<v1::Deployment> {
    let start = |service: &str, minutes| v1::Deployment {
        service: service.to_owned(),
        instance: format!("0193-{service}"),
        version: "0.1.0".to_owned(),
        git_sha: "4be1d90c7a52e6f3".to_owned(),
        built_at: "2026-11-20T08:00:00Z".to_owned(),
        started_at: minutes_ago(minutes),
    };
    ["ingress", "scheduler", "executor", "billing", "console"]
        .into_iter()
        .zip(60..)
        .map(|(service, minutes)| start(service, minutes))
        .collect()
}
