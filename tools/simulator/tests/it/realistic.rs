//! The market that plays itself.

use reqwest::Method;
use serde_json::{Value, json};
use simulator::{Options, Profile};

use crate::{agent, stage::Stage};

fn options(seed: u64) -> Options {
    Options {
        seed,
        reproducible: true,
        profile: Profile::Realistic,
        rate_limit: 1_000_000,
        ..Options::local()
    }
}

async fn gigs(stage: &Stage) -> Vec<Value> {
    let gigs = stage.control(Method::GET, "/gigs", Value::Null).await.body;
    gigs["data"].as_array().unwrap().clone()
}

fn budgets(gigs: &[Value]) -> Vec<f64> {
    let mut budgets: Vec<f64> = gigs
        .iter()
        .map(|gig| gig["budget_usdc"].to_string().parse().unwrap())
        .collect();
    budgets.sort_by(f64::total_cmp);
    budgets
}

#[tokio::test]
async fn a_month_has_the_published_figures() {
    let mut all = Vec::new();
    for seed in 1..=4 {
        let stage = Stage::with(options(seed)).await;
        stage.advance("30d").await;
        let month = gigs(&stage).await;
        assert!((45..=105).contains(&month.len()), "{} gigs of 75", month.len());
        let ended = month.iter().filter(|gig| gig["status"] != "open").count();
        assert!(
            ended * 10 >= month.len() * 8,
            "clients decide: {ended} of {}",
            month.len()
        );
        all.extend(month);
    }
    let budgets = budgets(&all);
    assert!(budgets[0] >= 3.0 && budgets[budgets.len() - 1] <= 50.0);
    let median = budgets[budgets.len() / 2];
    assert!((8.0..=12.5).contains(&median), "{median}");
    let taken = all.iter().filter(|gig| gig["proposal_count"] != 0).count();
    assert!(taken * 10 >= all.len() * 7, "others bid: {taken} of {}", all.len());
}

#[tokio::test]
async fn six_proposals_in_a_hundred_are_accepted() {
    let stage = Stage::with(options(5)).await;
    stage.settings(json!({"market": {"gigs_per_30_days": 1500}})).await;
    for _ in 0..15 * 8 {
        stage.advance("3h").await;
        agent::work(&stage).await;
    }
    let report = stage.report().await;
    let (made, accepted) = (
        report["proposals"].as_u64().unwrap(),
        report["accepted"].as_u64().unwrap(),
    );
    assert!(made > 500, "{made}");
    let permille = accepted * 1000 / made;
    assert!((35..=85).contains(&permille), "{permille} per mille");
}

#[tokio::test]
async fn contracts_are_paid_late_sent_back_argued_about_and_reviewed() {
    let stage = Stage::with(options(6)).await;
    let market = json!({"gigs_per_30_days": 300, "acceptance_permille": 1000, "dispute_permille": 80});
    stage.settings(json!({ "market": market })).await;
    for _ in 0..24 * 6 {
        stage.advance("4h").await;
        agent::work(&stage).await;
    }
    let contracts = stage.control(Method::GET, "/contracts", Value::Null).await.body;
    let contracts = contracts["data"].as_array().unwrap();
    let marked = |what: &str| {
        let has = |contract: &&Value| {
            let timeline = contract["timeline"].as_array().unwrap();
            timeline.iter().any(|moment| moment["what"] == what)
        };
        contracts.iter().filter(has).count()
    };
    assert!(contracts.len() > 80, "{}", contracts.len());
    let share = |what: &str| marked(what) * 100 / contracts.len();
    for (what, least, most) in [
        ("funded", 85, 99),
        ("approved", 60, 97),
        ("revision_requested", 6, 30),
        ("disputed", 2, 20),
        ("resolved", 1, 20),
        ("reviewed", 30, 75),
        ("cancelled", 1, 12),
    ] {
        let share = share(what);
        assert!((least..=most).contains(&share), "{what}: {share} %");
    }
    let written = contracts.iter().filter(|one| one["messages"] != json!([])).count();
    assert!(written * 5 > contracts.len(), "{written}");
    assert_eq!(stage.report().await["etiquette_breaches_total"], 0);
}

#[tokio::test]
async fn the_same_seed_gives_the_same_month_even_as_fast_as_the_clock_allows() {
    let options = || Options {
        reproducible: false,
        profile: Profile::Plain,
        ..options(9)
    };
    let mut months = Vec::new();
    for _ in 0..2 {
        // What a gig asks for depends on who is ready when it arrives: the market opens when the agent is.
        let stage = Stage::with(options()).await;
        stage
            .settings(json!({"profile": "realistic", "time_scale": 1_000_000}))
            .await;
        stage.wait_report(|report| report["gigs"].as_u64().unwrap() >= 60).await;
        let mut month = gigs(&stage).await;
        month.truncate(60);
        let drawn = |gig: &Value| (gig["title"].clone(), gig["budget_usdc"].to_string());
        months.push(month.iter().map(drawn).collect::<Vec<_>>());
    }
    assert_eq!(months[0], months[1]);
}

#[tokio::test]
async fn figures_out_of_bounds_are_refused_and_others_stay_as_they_were() {
    let stage = Stage::with(options(1)).await;
    for wrong in [
        json!({"market": {"acceptance_permille": 1001}}),
        json!({"market": {"gigs": 1}}),
        json!({"market": {"fund_hours": u64::MAX}}),
        json!({"time_scale": 0}),
        json!({"profile": "wild"}),
    ] {
        assert_eq!(stage.control(Method::PUT, "/settings", wrong).await.status, 400);
    }
    stage.settings(json!({"market": {"rivals": 0}})).await;
    let settings = stage.control(Method::GET, "/settings", Value::Null).await.body;
    assert_eq!(
        (&settings["market"]["rivals"], &settings["market"]["gigs_per_30_days"]),
        (&json!(0), &json!(75))
    );
}
