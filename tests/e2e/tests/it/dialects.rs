//! Whatever the platform's words and whatever goes wrong with them: the same contracts, each delivered once, the same
//! books.

use anyhow::{Result, ensure};
use e2e::{Options, Stack, array, number, run, text};
use serde_json::{Value, json};
use testkit::eventually;

use crate::{LATER, SOON};

const CONTRACTS: i64 = 4;
/// Contracts driven while one call in five goes wrong; a soak drives more.
const TROUBLED: i64 = 8;
const SOAK: &str = "STEWARD_SOAK_CONTRACTS";

/// Contracts driven at once.
const WAVE: i64 = 25;

/// What can go wrong with a call, and with a webhook.
const CALLS: [&str; 9] = [
    "http_429",
    "http_500",
    "http_502_html",
    "http_402",
    "slow",
    "reset_before",
    "reset_after_commit",
    "garbage",
    "stop_midstream",
];
const WEBHOOKS: [&str; 6] = [
    "duplicate",
    "reorder",
    "delay",
    "drop",
    "bad_signature",
    "stale_timestamp",
];
const PLACES: [&str; 6] = ["deliver", "propose", "message", "upload", "rotate", "list"];
/// Together they strike one in five.
const SHARE: f64 = 0.2;
/// A marketplace that says ever so often that it is down is asked again sooner here.
const SCHEDULER: &str = "[breaker]\nfirst_pause = \"200ms\"\nlongest_pause = \"1s\"\n
[courier]\nmax_attempts = 100\n
[reconcile]\nproposals_every = \"5s\"\ngigs_every = \"5s\"\ndeliveries_every = \"5s\"\nwakeful_every = \"5s\"\n";

fn options() -> Options {
    Options::with_agent("worker").settings("scheduler", SCHEDULER)
}

/// Every fault at once, everywhere.
fn faults() -> Value {
    let calls = CALLS
        .iter()
        .flat_map(|kind| PLACES.iter().map(move |place| (*place, *kind, CALLS.len())));
    let webhooks = WEBHOOKS.iter().map(|kind| ("webhook", *kind, WEBHOOKS.len()));
    let each = calls.chain(webhooks).enumerate().map(|(seed, (on, kind, kinds))| {
        let args = match kind {
            "slow" => json!({"ms": 2500}),
            "delay" | "reorder" => json!({"ms": 300}),
            _ => json!({}),
        };
        json!({"on": on, "kind": kind, "rate": SHARE / kinds as f64, "seed": seed, "args": args})
    });
    each.collect()
}

#[expect(clippy::disallowed_methods, reason = "a test has no configuration")]
fn troubled() -> i64 {
    let soak = std::env::var(SOAK).ok();
    soak.and_then(|count| count.parse().ok()).unwrap_or(TROUBLED)
}

/// Contracts from the first webhook to the books, everything said in one dialect: first in peace, then while every fault
/// strikes.
async fn all_in(stack: &Stack, dialect: &str) -> Result<()> {
    let market = stack.market()?;
    market.set(json!({"dialect": dialect})).await?;
    market.post_automatic(CONTRACTS as usize).await?;
    stack.settled(CONTRACTS, SOON).await?;
    market.break_with(faults()).await?;
    let troubled = troubled();
    let mut all = CONTRACTS;
    while all < CONTRACTS + troubled {
        let wave = WAVE.min(CONTRACTS + troubled - all);
        market.post_automatic(usize::try_from(wave)?).await?;
        all += wave;
        stack.settled(all, LATER).await?;
    }
    stack.check_all_delivered_once(all).await?;
    stack.check_books().await
}

async fn speaks(dialect: &str) -> Result<()> {
    run(options(), async |stack| all_in(stack, dialect).await).await
}

#[tokio::test]
async fn contracts_in_the_words_of_the_documentation_survive_every_fault() -> Result<()> {
    speaks("docs").await
}

#[tokio::test]
async fn contracts_in_the_words_of_the_sdk_survive_every_fault() -> Result<()> {
    speaks("sdk").await
}

#[tokio::test]
async fn contracts_in_the_words_of_the_first_documentation_survive_every_fault() -> Result<()> {
    speaks("legacy").await
}

#[tokio::test]
async fn contracts_in_any_words_at_random_survive_every_fault() -> Result<()> {
    run(options(), async |stack| {
        all_in(stack, "hostile").await?;
        what_nobody_knows_is_named(stack).await
    })
    .await
}

/// Members, events and announced ends that no release knows: counted by name, one notice each for what may matter.
async fn what_nobody_knows_is_named(stack: &Stack) -> Result<()> {
    let steward = stack.steward()?;
    eventually(SOON, "unknown words by name", || async {
        let answer = steward.json(&["api", "drift"]).await?;
        for (what, name) in [("event", "payment.received"), ("field", "ai_summary_v2")] {
            let named = |one: &&Value| text(one, "what") == what && text(one, "name") == name;
            let found = array(&answer, "drift").iter().find(named);
            ensure!(
                found.is_some_and(|one| number(one, "seen") > 0),
                "{what} {name}: {answer}"
            );
        }
        let told = "SELECT count(*) AS told FROM scheduler.notices WHERE kind = 'api_drift' AND key LIKE 'event/%'";
        let told = stack.rows(told).await?;
        ensure!(told.first().is_some_and(|row| number(row, "told") == 1), "{told:?}");
        Ok(())
    })
    .await
}
