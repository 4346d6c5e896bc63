//! Whatever the platform's words: the same contracts, the same books.

use anyhow::Result;
use e2e::{Options, run};
use serde_json::json;

use crate::SOON;

const CONTRACTS: usize = 6;

/// Contracts from the first webhook to the books, everything said in one dialect.
async fn speaks(dialect: &str) -> Result<()> {
    run(Options::with_agent("worker"), async |stack| {
        let market = stack.market()?;
        market.set(json!({"dialect": dialect})).await?;
        market.post_automatic(CONTRACTS).await?;
        stack.settled(CONTRACTS as i64, SOON).await?;
        stack.check_all_delivered_once(CONTRACTS as i64).await?;
        stack.check_books().await
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
    speaks("hostile").await
}
