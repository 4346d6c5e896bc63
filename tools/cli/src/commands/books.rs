//! `steward ledger`, `earnings` and `prices`.

use anyhow::Result;
use rpc::v1;
use serde_json::Value;

use super::{page, when};
use crate::args::{Global, LedgerCommand, PricesCommand};
use crate::context::Access;
use crate::failure::{self, Failure};
use crate::out::Out;
use crate::render::{self, As, Column};
use crate::view;

const EARNINGS: [Column; 6] = [
    ("Revenue (USDC)", "revenue_micro_usdc", As::Money),
    ("Fees (USDC)", "fees_micro_usdc", As::Money),
    ("Model cost (USD)", "cost_micro_usd", As::Money),
    ("Profit", "profit_micro_usd", As::Money),
    ("Contracts settled", "contracts_settled", As::Text),
    ("Model calls", "model_calls", As::Text),
];
const ACCOUNTS: [Column; 4] = [
    ("Account", "account", As::Text),
    ("Kind", "kind", As::Text),
    ("Balance", "balance_micro", As::Money),
    ("In", "commodity", As::Text),
];
const POSTINGS: [Column; 5] = [
    ("At", "at", As::Time),
    ("Amount", "amount_micro", As::Money),
    ("Description", "description", As::Text),
    ("Subject", "subject_id", As::Text),
    ("Transaction", "transaction_key", As::Text),
];
const PRICES: [Column; 7] = [
    ("Provider", "provider", As::Text),
    ("Model", "model", As::Text),
    ("Input/M", "input_micro_usd_per_million", As::Money),
    ("Cached/M", "cached_micro_usd_per_million", As::Money),
    ("Output/M", "output_micro_usd_per_million", As::Money),
    ("From", "effective_from", As::Time),
    ("Source", "source", As::Text),
];

pub(super) async fn earnings(global: &Global, since: Option<&str>, agent: Option<String>, out: &Out) -> Result<u8> {
    let request = v1::StatementRequest {
        since: when::parse(since)?,
        until: None,
        agent: agent.unwrap_or_default(),
    };
    let peer = Access::find(global)?.billing().await?;
    let mut client = peer.billing();
    let answer = peer.ask("read the books", client.statement(request)).await?;
    out.result(&view::earnings(&answer), |value| render::fields(value, &EARNINGS))?;
    Ok(0)
}

pub(super) async fn ledger(global: &Global, command: LedgerCommand, out: &Out) -> Result<u8> {
    match command {
        LedgerCommand::Check => {
            let peer = Access::find(global)?.billing().await?;
            let mut client = peer.billing();
            let answer = peer
                .ask("check the books", client.check_ledger(v1::CheckLedgerRequest {}))
                .await?;
            let sound = answer.balanced && answer.unexplained_micro == 0;
            out.result(&view::check(&answer), |_| {
                let verdict = match (answer.balanced, sound) {
                    (true, true) => "the books balance".to_owned(),
                    (true, false) => format!("{} is unexplained", render::money(answer.unexplained_micro)),
                    (false, _) => "the books do NOT balance".to_owned(),
                };
                let findings = answer
                    .findings
                    .iter()
                    .map(|finding| format!("\n  - {}", render::plain(finding)));
                format!(
                    "{verdict}: {} accounts, {} postings{}",
                    answer.accounts,
                    answer.postings,
                    findings.collect::<String>()
                )
            })?;
            return Ok(if sound { 0 } else { failure::FAILED });
        }
        LedgerCommand::Explain { account, page: listing } => {
            let peer = Access::find(global)?.billing().await?;
            let mut client = peer.billing();
            let request = v1::ExplainAccountRequest {
                account,
                page: page(listing),
            };
            let answer = peer.ask("explain the account", client.explain_account(request)).await?;
            out.result(&view::explained(&answer), |value| {
                let head = format!(
                    "{} ({}): {} {}",
                    render::plain(&answer.account),
                    render::plain(&answer.kind),
                    render::money(answer.balance_micro),
                    render::plain(&answer.commodity)
                );
                format!("{head}\n\n{}", render::listing(value, "postings", &POSTINGS))
            })?;
        }
        LedgerCommand::Statement { since, until, agent } => {
            let request = v1::StatementRequest {
                since: when::parse(since.as_deref())?,
                until: when::parse(until.as_deref())?,
                agent,
            };
            let peer = Access::find(global)?.billing().await?;
            let mut client = peer.billing();
            let answer = peer.ask("read the books", client.statement(request)).await?;
            out.result(&view::statement(&answer), |value| {
                let accounts = render::section("Balances", &value["accounts"], &ACCOUNTS);
                format!("{}{accounts}", render::fields(value, &EARNINGS))
            })?;
        }
    }
    Ok(0)
}

pub(super) async fn prices(global: &Global, command: PricesCommand, out: &Out) -> Result<u8> {
    let peer = Access::find(global)?.billing().await?;
    let mut client = peer.billing();
    if let PricesCommand::Set {
        model,
        provider,
        input,
        cached,
        output,
    } = command
    {
        let (input, output) = (dollars(&input)?, dollars(&output)?);
        let price = v1::Price {
            provider,
            model,
            effective_from: None,
            input_micro_usd_per_million: input,
            cached_micro_usd_per_million: cached.as_deref().map_or(Ok(input), dollars)?,
            output_micro_usd_per_million: output,
            source: "operator".to_owned(),
        };
        let price = peer.ask("set the price", client.set_price(price)).await?;
        let all = v1::ListPricesResponse { prices: vec![price] };
        out.result(&view::prices(&all)["prices"][0], |value| {
            render::table(&Value::Array(vec![value.clone()]), &PRICES)
        })?;
        return Ok(0);
    }
    let answer = peer
        .ask("list the prices", client.list_prices(v1::ListPricesRequest {}))
        .await?;
    out.result(&view::prices(&answer), |value| {
        render::listing(value, "prices", &PRICES)
    })?;
    Ok(0)
}

/// US dollars as a decimal number, in micro dollars.
fn dollars(text: &str) -> Result<i64> {
    let wrong = || Failure::Usage(format!("{text:?} is no amount in US dollars: write e.g. 0.15"));
    let amount: domain::money::MicroUsdc = text.parse().map_err(|_| wrong())?;
    if amount.0 < 0 {
        return Err(wrong().into());
    }
    Ok(amount.0)
}
