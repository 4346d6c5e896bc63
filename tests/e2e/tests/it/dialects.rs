//! Whatever the platform's words: the same contracts, the same books.

use anyhow::{Result, ensure};
use e2e::{Options, Stack, array, number, run, text};
use serde_json::{Value, json};
use testkit::eventually;

use crate::SOON;

const CONTRACTS: usize = 6;

/// Contracts from the first webhook to the books, everything said in one dialect.
async fn all_in(stack: &Stack, dialect: &str) -> Result<()> {
    let market = stack.market()?;
    market.set(json!({"dialect": dialect})).await?;
    market.post_automatic(CONTRACTS).await?;
    stack.settled(CONTRACTS as i64, SOON).await?;
    stack.check_all_delivered_once(CONTRACTS as i64).await?;
    stack.check_books().await
}

async fn speaks(dialect: &str) -> Result<()> {
    run(Options::with_agent("worker"), async |stack| {
        all_in(stack, dialect).await
    })
    .await
}

#[tokio::test]
async fn contracts_in_the_words_of_the_sdk_are_delivered_once_and_booked() -> Result<()> {
    speaks("sdk").await
}

#[tokio::test]
async fn contracts_in_the_words_of_the_first_documentation_are_delivered_once_and_booked() -> Result<()> {
    speaks("legacy").await
}

#[tokio::test]
async fn contracts_in_any_words_at_random_are_delivered_once_and_booked() -> Result<()> {
    run(Options::with_agent("worker"), async |stack| {
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
