//! Thirty requests a minute, shared by three schedulers, spent by importance.

use anyhow::{Context as _, Result, ensure};
use chrono::{DateTime, Utc};
use e2e::{Options, Stack, array, flush_all, number, run, text};
use serde_json::{Value, json};
use testkit::eventually;

use crate::{LATER, SLOW};

/// The longest a delivery that is ready may wait for its first call.
const FIRST_CALL: i64 = 4_000;

#[tokio::test]
async fn two_hundred_gigs_at_once_neither_delay_a_delivery_nor_break_the_limit() -> Result<()> {
    let mut options = Options::with_agent("worker").replicas("scheduler", 3);
    options.rate_limit = Some(30);
    run(options, async |stack| {
        let market = stack.market()?;
        market
            .post(json!({"count": 2, "title": SLOW, "auto": {"accept": true}}))
            .await?;
        eventually(LATER, "two contracts", || async {
            let contracts = market.contracts().await?;
            ensure!(contracts.len() == 2, "{contracts:?}");
            Ok(())
        })
        .await?;
        market.post(json!({"count": 200})).await?;
        bids_wait(stack).await?;
        for contract in market.contracts().await? {
            market.step(text(&contract, "id"), "fund", json!({})).await?;
        }
        let redis = stack.layout()?.redis.url.context("find the address of Redis")?;
        flush_all(&redis).await?;
        stack.kill_and_see_it_return("scheduler").await?;
        stack.delivered(2, LATER).await?;
        for wait in first_calls(stack).await? {
            ensure!(wait <= FIRST_CALL, "a delivery waited {wait} ms for its first call");
        }
        let report = market.report().await?;
        ensure!(number(&report, "rate_limited") == 0, "{report}");
        ensure!(array(&report, "etiquette_breaches").is_empty(), "{report}");
        busiest_minute(&market.calls().await?)
    })
    .await
}

/// Many bids are due and wait for the budget.
async fn bids_wait(stack: &Stack) -> Result<()> {
    eventually(LATER, "bids that wait", || async {
        let waiting = "SELECT count(*) AS bids FROM scheduler.effects WHERE kind = 'propose' AND state = 'pending'";
        let waiting = stack.rows(waiting).await?;
        ensure!(
            waiting.first().is_some_and(|row| number(row, "bids") > 100),
            "{waiting:?}"
        );
        Ok(())
    })
    .await
}

/// Milliseconds from the moment each delivery was ready to its first call.
async fn first_calls(stack: &Stack) -> Result<Vec<i64>> {
    let ready = "SELECT c.external_id AS contract, to_char(min(e.created_at) AT TIME ZONE 'UTC', 'YYYY-MM-DD\"T\"HH24:MI:SS.MS\"Z\"') AS at
        FROM scheduler.effects e JOIN scheduler.contracts c ON c.id = e.contract_id
        WHERE e.kind IN ('upload', 'deliver') GROUP BY c.external_id ORDER BY at";
    let ready = stack.rows(ready).await?;
    let calls = stack.market()?.calls().await?;
    let first = |call: &&Value| text(call, "path").ends_with("/upload");
    let mut uploads = calls
        .iter()
        .filter(first)
        .map(|call| time(call, "at"))
        .collect::<Result<Vec<_>>>()?;
    ensure!(ready.len() == 2 && uploads.len() >= 2, "{ready:?} {uploads:?}");
    // Each is one delivery's: the same one is not counted for both.
    let mut waits = Vec::new();
    for row in &ready {
        let at = time(row, "at")?;
        let next = uploads.iter().position(|upload| *upload >= at);
        let next = uploads.remove(next.context("find the first call of a delivery")?);
        waits.push((next - at).num_milliseconds());
    }
    Ok(waits)
}

/// No 60 seconds held more than 30 calls with the agent's key.
fn busiest_minute(calls: &[Value]) -> Result<()> {
    let keyed = calls.iter().filter(|call| !text(call, "agent").is_empty());
    let times = keyed.map(|call| time(call, "at")).collect::<Result<Vec<_>>>()?;
    for (place, begun) in times.iter().enumerate() {
        let within = times[place..].iter().take_while(|at| **at - *begun < MINUTE).count();
        ensure!(within <= 30, "{within} calls in the minute from {begun}");
    }
    Ok(())
}

const MINUTE: chrono::TimeDelta = chrono::TimeDelta::minutes(1);

fn time(row: &Value, key: &str) -> Result<DateTime<Utc>> {
    let read = DateTime::parse_from_rfc3339(text(row, key)).with_context(|| format!("read {key} of {row}"));
    Ok(read?.with_timezone(&Utc))
}
