//! The same seed and the same requests: the same bytes.

use clap::Parser;
use reqwest::Method;
use serde_json::{Value, json};
use simulator::Options;

use crate::stage::{Stage, eventually};

fn options(seed: u64) -> Options {
    Options {
        seed,
        reproducible: true,
        public_url: Some("http://market.example".to_owned()),
        ..Options::local()
    }
}

/// What every answer and every webhook of one script said.
async fn transcript(seed: u64, dialect: &str) -> String {
    let mut stage = Stage::empty(options(seed)).await;
    let mut said = Vec::new();
    let registered = stage.register("demo").await;
    said.push(registered.body.to_string());
    // Where members have other names, the key is read from where it is.
    stage.key = said[0]
        .split('"')
        .find(|word| word.starts_with("cg_"))
        .unwrap()
        .to_owned();
    stage.control(Method::POST, "/agents/demo/ready", json!({})).await;
    stage.settings(json!({ "dialect": dialect })).await;
    stage.answer_hooks(vec![500]);
    let auto = json!({"accept": 60_000, "fund": 60_000, "approve": 60_000});
    let gig = stage.gig(json!({"auto": auto})).await;
    stage.advance("0s").await;
    for path in [
        "/gigs",
        "/agent/readiness",
        "/agent/profile",
        "/agent/webhooks/deliveries",
    ] {
        let answer = stage.get(path).await;
        said.push(format!("{path} {} {:?} {}", answer.status, answer.headers, answer.body));
    }
    said.push(stage.propose(&gig, json!(12.5)).await.body.to_string());
    stage.advance("2m").await;
    let contracts = stage.control(Method::GET, "/contracts", Value::Null).await.body;
    let contract = contracts["data"][0]["id"].as_str().unwrap().to_owned();
    said.push(stage.deliver(&contract).await.body.to_string());
    stage.advance("1h").await;
    said.push(stage.get("/agent/contracts").await.body.to_string());
    said.push(stage.report().await.to_string());
    let log = stage.control(Method::GET, "/log", Value::Null).await;
    said.push(log.body.to_string());
    for hook in stage.hooks() {
        let mut headers: Vec<_> = hook.headers.iter().filter(|(name, _)| *name != "host").collect();
        headers.sort_by_key(|(name, _)| name.as_str());
        said.push(format!("{headers:?} {}", String::from_utf8_lossy(&hook.body)));
    }
    said.join("\n").replace(&stage.hooks_at, "http://receiver")
}

#[tokio::test]
async fn the_same_seed_and_script_give_the_same_bytes_ids_included() {
    for dialect in ["docs", "hostile"] {
        let first = transcript(7, dialect).await;
        assert!(first.contains("contract.approved"), "{first}");
        assert_eq!(first, transcript(7, dialect).await, "{dialect}");
        assert_ne!(first, transcript(8, dialect).await, "{dialect}");
    }
}

#[tokio::test]
async fn without_the_switch_ids_cannot_be_foretold_even_with_a_seed() {
    let mut keys = Vec::new();
    for _ in 0..2 {
        let mut stage = Stage::empty(Options::local()).await;
        stage.register("demo").await;
        keys.push(stage.key.clone());
    }
    assert_ne!(keys[0], keys[1]);
    let refused = Options::try_parse_from(["simulator", "--reproducible"]).unwrap_err();
    assert!(refused.to_string().contains("--seed"), "{refused}");
    assert!(Options::try_parse_from(["simulator", "--seed", "1", "--reproducible"]).is_ok());
}

#[tokio::test]
async fn a_frozen_clock_moves_only_when_told_and_a_real_one_not_even_then() {
    let stage = Stage::with(options(1)).await;
    let auto = json!({"accept": 3_600_000});
    let gig = stage.gig(json!({"auto": auto})).await;
    stage.propose(&gig, json!(5)).await;
    let before = stage.advance("59m").await;
    assert_eq!(stage.report().await["accepted"], 0);
    let after = stage.advance("1m").await;
    assert_eq!(stage.report().await["accepted"], 1);
    assert_eq!(
        (&before["now"], &after["now"]),
        (&json!("2026-01-01T00:59:00.000Z"), &json!("2026-01-01T01:00:00.000Z"))
    );
    let wrong = stage.control(Method::POST, "/clock", json!({"advance": "soon"})).await;
    assert_eq!(wrong.status, 400);

    let real = Stage::set().await;
    let refused = real.control(Method::POST, "/clock", json!({"advance": "1s"})).await;
    assert_eq!((refused.status, &refused.body["code"]), (409, &json!("clock_is_real")));
    let clock = real.control(Method::GET, "/clock", Value::Null).await.body;
    assert_eq!(clock["frozen"], false);
    eventually("time to pass", || async {
        let later = real.control(Method::GET, "/clock", Value::Null).await.body;
        (later["now"] != clock["now"]).then_some(())
    })
    .await;
}
