//! Scenarios: what happens, and when, from a file.

use reqwest::Method;
use serde_json::{Value, json};
use simulator::Options;

use crate::{
    agent,
    stage::{Reply, Stage},
};

fn frozen() -> Options {
    Options {
        reproducible: true,
        rate_limit: 1_000_000,
        ..Options::local()
    }
}

async fn load(stage: &Stage, text: &str) -> Reply {
    let url = format!("{}/control/scenario", stage.url);
    let answer = stage.client.post(url).body(text.to_owned()).send().await.unwrap();
    let (status, headers) = (answer.status().as_u16(), answer.headers().clone());
    let body = serde_json::from_slice(&answer.bytes().await.unwrap()).unwrap();
    Reply { status, headers, body }
}

/// Runs a shipped scenario with an agent that looks at the market every minute.
async fn played(name: &str, minutes: u32) -> (Stage, Value) {
    let path = format!("{}/scenarios/{name}", env!("CARGO_MANIFEST_DIR"));
    let options = Options {
        scenario: Some(path.into()),
        ..frozen()
    };
    let stage = Stage::with(options).await;
    for _ in 0..minutes * 4 {
        stage.advance("15s").await;
        agent::work(&stage).await;
    }
    let steps = stage.control(Method::GET, "/scenario", Value::Null).await.body;
    (stage, steps)
}

#[tokio::test]
async fn the_first_week_ends_with_three_paid_contracts() {
    let (stage, steps) = played("first-week.toml", 18).await;
    assert_eq!((&steps["failed"], &steps["waiting"]), (&json!(0), &json!(0)), "{steps}");
    let report = stage.report().await;
    assert_eq!(report["approved"], 3);
    assert_eq!(report["revenue_micro_usdc"], 50_500_000);
    assert_eq!(report["etiquette_breaches_total"], 0, "{report}");
}

#[tokio::test]
async fn the_bad_day_ends_and_every_step_of_it_was_possible() {
    let (stage, steps) = played("bad-day.toml", 5).await;
    assert_eq!((&steps["failed"], &steps["waiting"]), (&json!(0), &json!(0)), "{steps}");
    let report = stage.report().await;
    assert_eq!(report["contracts"]["cancelled"], 2, "{report}");
    assert_eq!(report["contracts"]["delivered"], 1, "{report}");
    let faults = stage.control(Method::GET, "/faults", Value::Null).await.body;
    assert_eq!(faults, json!([]));
}

#[tokio::test]
async fn what_is_not_understood_is_refused_with_its_line() {
    let stage = Stage::with(frozen()).await;
    for (text, line, named) in [
        ("[[step]]\nat = \"1s\"\npots = {}\n", 3, "pots"),
        ("[[step]]\nat = \"1s\"\npost = { tittle = \"x\" }\n", 3, "tittle"),
        ("\n[settings]\nspped = 1\n", 2, "spped"),
        ("[[step]]\nat = \"1s\"\naccept = \"nobody\"\n", 1, "nobody"),
        ("[[step]]\nat = \"soon\"\naccept = \"x\"\n", 1, "soon"),
        ("[[step]]\nat = \"1s\"\n", 1, "needs an act"),
        (
            "[[step]]\nat = \"1s\"\nfaults = [{ on = \"deliver\", kind = \"drop\" }]\n",
            1,
            "drop",
        ),
    ] {
        let refused = load(&stage, text).await;
        let error = refused.body["error"].as_str().unwrap();
        assert_eq!(refused.status, 400);
        assert!(
            error.contains(named) && error.contains(&format!("line {line}")),
            "{error}"
        );
    }
    let steps = stage.control(Method::GET, "/scenario", Value::Null).await.body;
    assert_eq!(steps["steps"], 0);
}

#[tokio::test]
async fn a_step_that_is_not_possible_is_tried_for_as_long_as_it_says() {
    let stage = Stage::with(frozen()).await;
    let text = r#"
        [[step]]
        at = "1s"
        name = "one"
        post = { budget_usdc = 5 }
        [[step]]
        at = "2s"
        accept = "one"
        [[step]]
        at = "2s"
        within = "1m"
        accept = "one"
    "#;
    assert_eq!(load(&stage, text).await.status, 200);
    let states = || async {
        let steps = stage.control(Method::GET, "/scenario", Value::Null).await.body;
        let rows = steps["data"].as_array().unwrap().clone();
        rows.iter()
            .map(|row| row["state"].as_str().unwrap().to_owned())
            .collect::<Vec<_>>()
    };
    assert_eq!(states().await, ["waiting", "waiting", "waiting"]);
    stage.advance("30s").await;
    assert_eq!(states().await, ["done", "failed", "waiting"]);
    agent::work(&stage).await;
    stage.advance("5s").await;
    assert_eq!(states().await, ["done", "failed", "done"]);
    assert_eq!(stage.report().await["accepted"], 1);
}

#[tokio::test]
async fn a_scenario_that_is_replaced_does_nothing_more() {
    let stage = Stage::with(frozen()).await;
    load(&stage, "[[step]]\nat = \"10s\"\npost = { count = 3 }\n").await;
    load(&stage, "[[step]]\nat = \"20s\"\npost = { count = 1 }\n").await;
    stage.advance("1m").await;
    assert_eq!(stage.report().await["gigs"], 1);
}
