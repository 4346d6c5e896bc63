//! `steward contracts`, `gigs` and `runs`.

use anyhow::Result;
use rpc::v1;
use serde_json::Value;

use super::{files, logs, messages, page};
use crate::args::{ContractsCommand, GigsCommand, Global, RunsCommand};
use crate::context::Access;
use crate::out::Out;
use crate::render::{self, As, Column};
use crate::view;

const CONTRACTS: [Column; 8] = [
    ("Contract", "id", As::Text),
    ("Agent", "agent", As::Text),
    ("State", "state", As::Text),
    ("Amount", "amount_micro_usdc", As::Money),
    ("Cost", "cost_micro_usd", As::Money),
    ("Profit", "profit_micro_usd", As::Money),
    ("Title", "title", As::Text),
    ("Attention", "attention", As::Text),
];
const CONTRACT: [Column; 16] = [
    ("Contract", "id", As::Text),
    ("Marketplace", "external_id", As::Text),
    ("Agent", "agent", As::Text),
    ("Title", "title", As::Text),
    ("State", "state", As::Text),
    ("Attention", "attention", As::Text),
    ("Amount", "amount_micro_usdc", As::Money),
    ("Model cost", "cost_micro_usd", As::Money),
    ("Settled", "settled", As::Text),
    ("Revenue", "revenue_micro_usdc", As::Money),
    ("Fee", "fee_micro_usdc", As::Money),
    ("Profit", "profit_micro_usd", As::Money),
    ("Funded", "funded_at", As::Time),
    ("Delivered", "delivered_at", As::Time),
    ("Approved", "approved_at", As::Time),
    ("Deadline", "deadline", As::Time),
];
const HISTORY: [Column; 6] = [
    ("At", "at", As::Time),
    ("Command", "command", As::Text),
    ("Source", "source", As::Text),
    ("From", "from_state", As::Text),
    ("To", "to_state", As::Text),
    ("Detail", "detail", As::Text),
];
const RUNS: [Column; 7] = [
    ("Run", "id", As::Text),
    ("Kind", "kind", As::Text),
    ("Agent", "agent", As::Text),
    ("State", "state", As::Text),
    ("Attempt", "attempt", As::Text),
    ("Created", "created_at", As::Time),
    ("Error", "error", As::Text),
];
const RUN: [Column; 12] = [
    ("Run", "id", As::Text),
    ("Kind", "kind", As::Text),
    ("Agent", "agent", As::Text),
    ("Version", "version", As::Text),
    ("Contract", "contract_id", As::Text),
    ("Gig", "gig_id", As::Text),
    ("State", "state", As::Text),
    ("Attempt", "attempt", As::Text),
    ("Executor", "executor_id", As::Text),
    ("Error", "error", As::Text),
    ("Started", "started_at", As::Time),
    ("Finished", "finished_at", As::Time),
];
const GIGS: [Column; 8] = [
    ("Gig", "id", As::Text),
    ("Agent", "agent", As::Text),
    ("Proposal", "proposal_state", As::Text),
    ("Score", "score_permille", As::Permille),
    ("Budget", "budget_micro_usdc", As::Money),
    ("Bid", "proposed_micro_usdc", As::Money),
    ("Reason", "reason", As::Text),
    ("Title", "title", As::Text),
];
const GIG: [Column; 11] = [
    ("Gig", "id", As::Text),
    ("Marketplace", "external_id", As::Text),
    ("Agent", "agent", As::Text),
    ("Title", "title", As::Text),
    ("Category", "category", As::Text),
    ("Budget", "budget_micro_usdc", As::Money),
    ("Proposal", "proposal_state", As::Text),
    ("Score", "score_permille", As::Permille),
    ("Parts", "score_parts", As::Text),
    ("Reason", "reason", As::Text),
    ("Bid", "proposed_micro_usdc", As::Money),
];

pub(super) async fn contracts(global: &Global, command: ContractsCommand, out: &Out) -> Result<u8> {
    let peer = Access::find(global)?.scheduler().await?;
    let mut client = peer.contracts();
    match command {
        ContractsCommand::List {
            agent,
            state,
            page: listing,
        } => {
            let request = v1::ListContractsRequest {
                agent,
                state,
                page: page(listing),
            };
            let answer = peer.ask("list the contracts", client.list_contracts(request)).await?;
            out.result(&view::contracts(&answer), |value| {
                render::listing(value, "contracts", &CONTRACTS)
            })?;
        }
        ContractsCommand::Show { id } => {
            let answer = peer
                .ask("show the contract", client.get_contract(v1::GetContractRequest { id }))
                .await?;
            out.result(&view::contract_detail(&answer), contract_text)?;
        }
        ContractsCommand::Retry { id, reason } => {
            let request = v1::RetryContractRequest { id, reason };
            let run = peer.ask("retry the contract", client.retry_contract(request)).await?;
            out.result(&view::run(&run), |_| {
                let (id, state) = (render::plain(&run.id), render::plain(&run.state));
                format!("run {id} is {state} again, {}", with_version(&run.version))
            })?;
        }
    }
    Ok(0)
}

fn contract_text(value: &Value) -> String {
    let mut text = render::fields(&value["contract"], &CONTRACT);
    text.push_str(&render::section("History", &value["events"], &HISTORY));
    text.push_str(&render::section("Runs", &value["runs"], &RUNS));
    text.push_str(&render::section(
        "Effects",
        &value["effects"],
        &super::operations::EFFECTS,
    ));
    text.push_str(&render::section(
        "Messages",
        &messages::with_files(&value["messages"]),
        &messages::MESSAGES,
    ));
    text
}

pub(super) async fn gigs(global: &Global, command: GigsCommand, out: &Out) -> Result<u8> {
    let peer = Access::find(global)?.scheduler().await?;
    let mut client = peer.contracts();
    match command {
        GigsCommand::List {
            agent,
            state,
            page: listing,
        } => {
            let request = v1::ListGigsRequest {
                agent,
                state,
                page: page(listing),
            };
            let answer = peer.ask("list the gigs", client.list_gigs(request)).await?;
            out.result(&view::gigs(&answer), |value| render::listing(value, "gigs", &GIGS))?;
        }
        GigsCommand::Show { id } => {
            let gig = peer
                .ask("show the gig", client.get_gig(v1::GetGigRequest { id }))
                .await?;
            out.result(&view::gig(&gig), |value| {
                let mut text = render::fields(value, &GIG);
                for (title, part) in [("Description", &gig.description), ("Cover letter", &gig.cover_letter)] {
                    if !part.is_empty() {
                        text.push_str(&format!("\n\n{title}\n{}", render::paragraphs(part)));
                    }
                }
                text
            })?;
        }
    }
    Ok(0)
}

pub(super) async fn runs(global: &Global, command: RunsCommand, out: &Out) -> Result<u8> {
    let peer = Access::find(global)?.scheduler().await?;
    let mut client = peer.contracts();
    match command {
        RunsCommand::List {
            agent,
            state,
            contract,
            page: listing,
        } => {
            let request = v1::ListRunsRequest {
                agent,
                state,
                contract_id: contract,
                page: page(listing),
            };
            let answer = peer.ask("list the runs", client.list_runs(request)).await?;
            out.result(&view::runs(&answer), |value| render::listing(value, "runs", &RUNS))?;
        }
        RunsCommand::Show { id } => {
            let answer = peer
                .ask("show the run", client.get_run(v1::GetRunRequest { id, after_seq: 0 }))
                .await?;
            out.result(&view::run_detail(&answer), |value| {
                let mut text = render::fields(&value["run"], &RUN);
                text.push_str(&render::section("Files", &value["artefacts"], &files::FILES));
                text
            })?;
        }
        RunsCommand::Files { id, out: folder } => return files::run(&peer, id, folder.as_deref(), out).await,
        RunsCommand::Retry { id } => {
            let mut client = peer.operations();
            let kind = "run".to_owned();
            let request = v1::DeadLetterRef { kind, id };
            let letter = peer.ask("retry the run", client.retry_dead_letter(request)).await?;
            out.result(&view::dead_letter(&letter), |_| {
                let (id, with) = (render::plain(&letter.id), with_version(&letter.version));
                format!("run {id} is queued again, {with}")
            })?;
        }
        RunsCommand::Cancel { id, reason } => {
            let request = v1::CancelRunRequest { id, reason };
            let run = peer.ask("call the run off", client.cancel_run(request)).await?;
            out.result(&view::run(&run), |_| {
                let id = render::plain(&run.id);
                format!("run {id} is called off; its executor ends it within seconds")
            })?;
        }
        RunsCommand::Logs { id, follow } => return logs::print(&peer, id, follow, out).await,
    }
    Ok(0)
}

/// How a retried run's version is told.
pub(super) fn with_version(version: &str) -> String {
    let short: String = render::plain(version).chars().take(12).collect();
    format!("with version {short}, the agent's current one")
}
