//! The scheduler's side: rights to call models, and the end of contracts.

use domain::{
    agent_file::Credential,
    money::{MicroUsd, MicroUsdc},
};
use rpc::{
    convert::{datetime, id},
    error::Code,
    v1,
};
use store::{
    Store,
    ledger::costs::{self, Cause},
    run_accounts::{self, Opened, Opening, SubjectKind},
    run_tx,
    settlements::{self, Figures, Outcome, Settlement},
};

use crate::{credential, error::Error, metrics::SETTLEMENTS};

/// No run costs more; it keeps sums within 64 bits of pico-dollars.
const MAX_BUDGET: i64 = 1_000_000_000_000;
/// Longest names and texts.
const MAX_NAME: usize = 200;
const MAX_MODELS: usize = 200;
const MAX_SUBJECTS: usize = 500;
const MAX_CREDENTIALS: usize = 8;

pub(super) async fn open(store: &Store, asked: v1::OpenRunRequest) -> Result<v1::OpenRunResponse, Error> {
    let credential = credential::make().map_err(|_| {
        Error::Status(rpc::error::status(
            Code::Internal,
            "NO_RANDOMNESS",
            "the system gives no randomness",
        ))
    })?;
    let opening = opening(asked, credential::hash(&credential))?;
    let opened = run_tx!(store, "open_run", Error, |tx| Ok(
        run_accounts::open(tx, &opening).await?
    ))?;
    let granted = granted(&opening, opened)?;
    tracing::info!(
        run.id = %opening.run_id,
        agent = opening.agent,
        attempt = opening.attempt,
        budget_micro_usd = opening.budget.0,
        granted_micro_usd = granted.0,
        "a run may call models"
    );
    Ok(v1::OpenRunResponse {
        credential,
        granted_micro_usd: Some(granted.0),
    })
}

fn granted(opening: &Opening, opened: Opened) -> Result<MicroUsd, Error> {
    let run = opening.run_id;
    let refused = |code, reason, message: String| Err(Error::Status(rpc::error::status(code, reason, message)));
    match opened {
        Opened::Granted(granted) => Ok(granted),
        Opened::Differs => Err(Error::Conflict {
            reason: "RUN_DIFFERS",
            message: format!("run {run} was opened for another agent or subject"),
        }),
        Opened::Over => refused(
            Code::Refused,
            "ATTEMPT_OVER",
            format!("attempt {} of run {run} is over: open the next one", opening.attempt),
        ),
        Opened::DayPromised => refused(
            Code::Exhausted,
            "DAY_PROMISED",
            format!(
                "other runs of {} may still spend the day's money: try again later",
                opening.agent
            ),
        ),
        Opened::DaySpent => refused(
            Code::Exhausted,
            "DAY_SPENT",
            format!(
                "the day's money of {} is used up: try again after midnight UTC",
                opening.agent
            ),
        ),
    }
}

fn opening(asked: v1::OpenRunRequest, credential_hash: [u8; 32]) -> Result<Opening, Error> {
    if !(0..=MAX_BUDGET).contains(&asked.budget_micro_usd) {
        return Err(Error::invalid(
            "BAD_BUDGET",
            format!("budget_micro_usd must be from 0 to {MAX_BUDGET}"),
        ));
    }
    if asked.day_limit_micro_usd.is_some_and(|limit| limit < 0) {
        return Err(Error::invalid(
            "BAD_DAY_LIMIT",
            "day_limit_micro_usd must not be negative",
        ));
    }
    let models = &asked.allowed_models;
    if models.len() > MAX_MODELS || models.iter().any(|model| !is_name(model)) {
        return Err(Error::invalid(
            "BAD_MODELS",
            format!("allowed_models holds at most {MAX_MODELS} names of at most {MAX_NAME} bytes"),
        ));
    }
    if asked.credentials.len() > MAX_CREDENTIALS {
        return Err(Error::invalid(
            "BAD_CREDENTIALS",
            format!("credentials holds at most {MAX_CREDENTIALS} hosts"),
        ));
    }
    let credentials = asked.credentials.into_iter().map(|one| Credential {
        host: one.host,
        header: one.header,
        format: one.format,
        secret: one.secret,
    });
    Ok(Opening {
        credentials: credentials.collect(),
        run_id: id("run_id", &asked.run_id)?,
        subject_id: id("subject_id", &asked.subject_id)?,
        subject_kind: SubjectKind::parse(&asked.subject_kind)
            .ok_or_else(|| Error::invalid("BAD_SUBJECT_KIND", "subject_kind must be contract or gig"))?,
        agent: name("agent", asked.agent)?,
        agent_version: asked.agent_version,
        credential_hash,
        attempt: asked.attempt,
        budget: MicroUsd(asked.budget_micro_usd),
        day_limit: asked.day_limit_micro_usd.map(MicroUsd),
        expires_at: datetime(asked.expires_at.as_ref())
            .ok_or_else(|| Error::invalid("BAD_EXPIRY", "expires_at is missing or out of range"))?,
        default_model: name("default_model", asked.default_model)?,
        allowed_models: asked.allowed_models,
    })
}

pub(super) async fn close(store: &Store, asked: v1::CloseRunRequest) -> Result<v1::CloseRunResponse, Error> {
    let run_id = id("run_id", &asked.run_id)?;
    let closed = run_tx!(store, "close_run", Error, |tx| {
        let closed = run_accounts::close(tx, run_id, asked.attempt).await?;
        if let Some(closed) = &closed {
            let cause = Cause {
                run_id,
                agent_version: &closed.agent_version,
            };
            costs::post_subject(tx, closed.subject_id, Some(cause)).await?;
        }
        Ok(closed)
    })?;
    // A run that never opened has no right to end and cost nothing.
    let is_over = closed.as_ref().is_none_or(|closed| closed.is_over);
    let cost = closed.map_or(MicroUsd::ZERO, |closed| closed.spent.whole_micro());
    let attempt = asked.attempt;
    if is_over {
        tracing::info!(run.id = %run_id, attempt, cost_micro_usd = cost.0, "a run may call models no more");
    } else {
        tracing::info!(run.id = %run_id, attempt, "an attempt ended late: a newer one may call models");
    }
    Ok(v1::CloseRunResponse { cost_micro_usd: cost.0 })
}

pub(super) async fn settle(store: &Store, asked: v1::SettleRequest) -> Result<v1::Settlement, Error> {
    let contract_id = id("contract_id", &asked.contract_id)?;
    let agent = name("agent", asked.agent)?;
    let (revenue, fee) = (MicroUsdc(asked.amount_micro_usdc), MicroUsdc(asked.fee_micro_usdc));
    let postings = domain::ledger::settlement(&agent, revenue, fee)
        .map_err(|error| Error::invalid("BAD_AMOUNTS", error.to_string()))?;
    let settlement = Settlement {
        contract_id,
        agent,
        agent_version: asked.agent_version,
        revenue,
        fee,
        description: shortened(asked.description),
        postings,
    };
    let outcome = run_tx!(store, "settle", Error, |tx| Ok(
        settlements::settle(tx, &settlement).await?
    ))?;
    let (word, answer) = match outcome {
        Outcome::Booked(figures) => ("booked", Ok(answer(&settlement, &figures, false))),
        Outcome::Duplicate(figures) => ("duplicate", Ok(answer(&settlement, &figures, true))),
        Outcome::Differs(figures) => ("differs", Err(differs(&settlement, &figures))),
        Outcome::UnderWay => ("under_way", Err(under_way(contract_id))),
    };
    metrics::counter!(SETTLEMENTS, "outcome" => word).increment(1);
    tracing::info!(
        contract.id = %contract_id,
        outcome = word,
        revenue_micro_usdc = revenue.0,
        fee_micro_usdc = fee.0,
        "contract settled"
    );
    answer
}

fn answer(asked: &Settlement, figures: &Figures, duplicate: bool) -> v1::Settlement {
    v1::Settlement {
        contract_id: asked.contract_id.to_string(),
        revenue_micro_usdc: figures.revenue.0,
        fee_micro_usdc: figures.fee.0,
        cost_micro_usd: figures.cost.0,
        profit_micro_usd: figures.profit().0,
        duplicate,
    }
}

/// Every call ends, by itself or when its hold expires.
fn under_way(contract_id: uuid::Uuid) -> Error {
    Error::Status(rpc::error::status(
        Code::Unavailable,
        "CALL_UNDER_WAY",
        format!("a model call of contract {contract_id} is still under way: settle it again later"),
    ))
}

fn differs(asked: &Settlement, figures: &Figures) -> Error {
    Error::Conflict {
        reason: "SETTLED_DIFFERENTLY",
        message: format!(
            "contract {} is settled for agent {} with {} less {} USDC; correct it with a new transaction",
            asked.contract_id, figures.agent, figures.revenue, figures.fee
        ),
    }
}

pub(super) async fn costs(store: &Store, asked: v1::SubjectCostsRequest) -> Result<v1::SubjectCostsResponse, Error> {
    if asked.subject_ids.len() > MAX_SUBJECTS {
        return Err(Error::invalid(
            "TOO_MANY",
            format!("ask for at most {MAX_SUBJECTS} subjects at once"),
        ));
    }
    let ids = asked.subject_ids.iter().map(|text| id("subject_ids", text));
    let ids = ids.collect::<Result<Vec<_>, _>>()?;
    let found = costs::of_subjects(store, &ids).await?;
    let cost_of = |subject_id| found.iter().find(|cost| cost.subject_id == subject_id);
    let costs = ids.iter().map(|subject_id| v1::SubjectCost {
        subject_id: subject_id.to_string(),
        cost_micro_usd: cost_of(*subject_id).map_or(0, |cost| cost.cost.0),
    });
    Ok(v1::SubjectCostsResponse { costs: costs.collect() })
}

fn is_name(text: &str) -> bool {
    !text.trim().is_empty() && text.len() <= MAX_NAME
}

/// A name that goes into accounts, keys and lists.
fn name(field: &'static str, text: String) -> Result<String, Error> {
    if is_name(&text) && !text.contains('/') || field == "default_model" && is_name(&text) {
        Ok(text)
    } else {
        Err(Error::invalid(
            "BAD_NAME",
            format!("{field} must have 1 to {MAX_NAME} bytes and, unless it names a model, no slash"),
        ))
    }
}

fn shortened(text: String) -> String {
    text.chars().take(MAX_NAME).collect()
}
