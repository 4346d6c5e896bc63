//! Steps of contracts: the one place where a command moves one, and its wishes become rows.

use domain::agent_file::AgentFile;
use domain::contract::{self, Command, Status, Wish};
use domain::effect::{self, key};
use domain::message::HandOver;
use domain::run;
use serde_json::json;
use store::{
    Tx, agents,
    contracts::{self as rows, Contract},
    effects::{self, NewEffect},
    notices,
    runs::{self, NewRun},
};
use uuid::Uuid;

use crate::error::Error;
use crate::metrics::STEPS;

/// Failed attempts of a run before a human looks at it.
pub const MAX_ATTEMPTS: u32 = 3;
/// Runs of revisions go before new work: a client waits for them.
const REVISION_PRIORITY: i32 = 10;
/// The kind of the notice a contract in need of a human raises.
pub const ATTENTION: &str = "contract";
/// The kind of the notice an open dispute raises.
pub const DISPUTE: &str = "dispute";
/// The kind of the notice that files sent with messages cannot be read.
pub const ATTACHMENTS: &str = "attachments";
/// The kind of the notice that a client waits for a human's answer.
pub const MESSAGES: &str = "messages";
/// The kind of the notice that the marketplace's figures do not add up. It outlives the contract: an operator ends it.
pub const BOOKS: &str = "books";

/// A step taken.
#[derive(Debug, Clone)]
pub struct Step {
    /// The contract as it was read, before the step.
    pub before: Contract,
    /// What the machine says now.
    pub after: contract::Contract,
    /// What became rows; give them to [`crate::wake::Wake::after`] once the transaction is committed.
    pub wishes: Vec<Wish>,
    /// False when the command was late, repeated or outdated: nothing was saved.
    pub changed: bool,
}

/// Takes one command: reads the contract under a lock, asks the machine, saves the step with its line in the timeline
/// and turns the wishes into rows. `source` names the occasion (`inbox/ID`, `read/ID`, `effect/ID`): a repeat of the
/// same source never asks for a second confirming read.
///
/// # Errors
/// When there is no such contract, or a row cannot be saved; the transaction is then to be rolled back.
pub async fn step(
    tx: &mut Tx,
    id: Uuid,
    command: &Command,
    source: &str,
    traceparent: Option<&str>,
) -> Result<Step, Error> {
    let before = rows::lock(tx, id).await?;
    let step = contract::apply(&before.machine, command);
    if !step.changed {
        return Ok(Step {
            after: step.contract,
            wishes: Vec::new(),
            changed: false,
            before,
        });
    }
    let detail = detail(command);
    rows::save_step(tx, &before, &step.contract, command.name(), source, detail.as_deref()).await?;
    for wish in &step.wishes {
        fulfil(tx, &before, &step.contract, wish, source, traceparent).await?;
    }
    if step.contract.state.is_final() {
        for over in [DISPUTE, ATTACHMENTS, MESSAGES] {
            notices::resolve_of_contract(tx, over, id).await?;
        }
    }
    metrics::counter!(STEPS, "command" => command.name(), "state" => step.contract.state.name()).increment(1);
    let (from, to) = (&before.machine.state, &step.contract.state);
    if from == to {
        tracing::debug!(contract.id = %id, command = command.name(), state = %to, "contract noted");
    } else {
        tracing::info!(contract.id = %id, command = command.name(), %from, %to, "contract moved");
    }
    Ok(Step {
        after: step.contract,
        wishes: step.wishes,
        changed: true,
        before,
    })
}

/// Queues the contract's work, once, if its money is confirmed and its gig is known. Without a gig it asks for a
/// confirming read instead, whose handler fetches the gig and calls this again. Answers whether the work is queued.
///
/// # Errors
/// When a row cannot be read or saved.
pub async fn ensure_work(tx: &mut Tx, id: Uuid, traceparent: Option<&str>) -> Result<bool, Error> {
    let contract = rows::lock(tx, id).await?;
    if !contract.machine.may_spend() || contract.machine.revision_no > 0 {
        return Ok(false);
    }
    queue_work(tx, &contract, traceparent).await
}

/// Notes why a human is wanted, on the contract and as a notice.
///
/// # Errors
/// When a row cannot be saved.
pub async fn attention(tx: &mut Tx, id: Uuid, kind: &str, reason: &str) -> Result<(), Error> {
    rows::set_attention(tx, id, Some(reason)).await?;
    if notices::raise(tx, kind, &id.to_string(), reason).await? {
        tracing::warn!(contract.id = %id, reason, "a contract wants a human");
    }
    Ok(())
}

/// Tells a human about a message no machine answers; one notice a contract, which ends with it or with an operator.
///
/// # Errors
/// When a row cannot be saved.
pub async fn hand_over(tx: &mut Tx, id: Uuid, why: HandOver) -> Result<(), Error> {
    let reason = format!("{} {}", why.reason(), looked_up(id));
    attention(tx, id, MESSAGES, &reason).await
}

/// A human answered the client: nobody waits for that any more.
///
/// # Errors
/// When a row cannot be saved.
pub async fn answered(tx: &mut Tx, contract: &Contract) -> Result<(), Error> {
    let id = contract.id;
    let waited = notices::resolve(tx, MESSAGES, &id.to_string()).await?;
    let about_it = contract
        .attention
        .as_deref()
        .is_some_and(|reason| reason.ends_with(&looked_up(id)));
    if waited && about_it {
        rows::set_attention(tx, id, None).await?;
    }
    Ok(())
}

fn looked_up(id: Uuid) -> String {
    format!("(`steward contracts show {id}`, then `steward messages send {id} TEXT`)")
}

/// Whoever lets it go on has read why a human was wanted.
///
/// # Errors
/// When a row cannot be saved.
pub async fn calm(tx: &mut Tx, id: Uuid) -> Result<(), Error> {
    rows::set_attention(tx, id, None).await?;
    for read in [ATTENTION, ATTACHMENTS] {
        notices::resolve(tx, read, &id.to_string()).await?;
    }
    Ok(())
}

async fn fulfil(
    tx: &mut Tx,
    before: &Contract,
    after: &contract::Contract,
    wish: &Wish,
    source: &str,
    traceparent: Option<&str>,
) -> Result<(), Error> {
    match wish {
        Wish::Confirm => confirm(tx, before, source, traceparent).await,
        Wish::StartWork => queue_work(tx, before, traceparent).await.map(|_queued| ()),
        Wish::StartRevision { revision_no } => queue_revision(tx, before, *revision_no, traceparent).await,
        Wish::Settle => {
            let settle = effect_of(before, effect::Kind::Settle, key::settle(before.id), traceparent);
            effects::insert(tx, &settle).await?;
            Ok(())
        }
        Wish::StopWork { reason } => {
            runs::cancel_of_contract(tx, before.id, reason).await?;
            effects::cancel_unsent_of_contract(tx, before.id, reason).await?;
            Ok(())
        }
        Wish::Attention { reason } => {
            let kind = if after.state == contract::State::Disputed {
                DISPUTE
            } else {
                ATTENTION
            };
            attention(tx, before.id, kind, reason).await
        }
    }
}

async fn confirm(tx: &mut Tx, contract: &Contract, occasion: &str, traceparent: Option<&str>) -> Result<(), Error> {
    let natural_key = key::confirm(contract.id, occasion);
    effects::insert(
        tx,
        &effect_of(contract, effect::Kind::Confirm, natural_key, traceparent),
    )
    .await?;
    Ok(())
}

async fn queue_work(tx: &mut Tx, contract: &Contract, traceparent: Option<&str>) -> Result<bool, Error> {
    if contract.gig_id.is_none() {
        confirm(tx, contract, "brief", traceparent).await?;
        return Ok(false);
    }
    let run = new_run(tx, contract, run::Kind::Work, 0, 0, traceparent).await?;
    runs::insert(tx, &run).await?;
    Ok(true)
}

/// Queues the work once more whose delivery was refused by hand, as the agent is now; once for each run.
///
/// # Errors
/// When a row cannot be read or saved.
pub async fn work_again(tx: &mut Tx, id: Uuid, refused: Uuid) -> Result<Uuid, Error> {
    let contract = rows::lock(tx, id).await?;
    let (kind, revision_no) = match contract.machine.revision_no {
        0 => (run::Kind::Work, 0),
        revision => (run::Kind::Revise, revision),
    };
    let mut run = new_run(tx, &contract, kind, revision_no, REVISION_PRIORITY, None).await?;
    run.natural_key = format!("{}/again/{refused}", run.natural_key);
    if kind == run::Kind::Revise {
        run.request = store::messages::last_of_client(tx, contract.id).await?;
    }
    if let Some(why) = store::effects::refused_because(tx, contract.id).await? {
        let ours = format!("The last delivery did not go out, because whoever runs this agent refused it: {why}");
        run.request = Some(match run.request {
            Some(clients) => format!("{clients}\n\n{ours}"),
            None => ours,
        });
    }
    Ok(runs::insert(tx, &run).await?)
}

async fn queue_revision(
    tx: &mut Tx,
    contract: &Contract,
    revision_no: u32,
    traceparent: Option<&str>,
) -> Result<(), Error> {
    let mut run = new_run(
        tx,
        contract,
        run::Kind::Revise,
        revision_no,
        REVISION_PRIORITY,
        traceparent,
    )
    .await?;
    run.request = store::messages::last_of_client(tx, contract.id).await?;
    runs::insert(tx, &run).await?;
    Ok(())
}

async fn new_run(
    tx: &mut Tx,
    contract: &Contract,
    kind: run::Kind,
    revision_no: u32,
    priority: i32,
    traceparent: Option<&str>,
) -> Result<NewRun, Error> {
    let agent = agents::read(tx, &contract.agent).await?;
    let AgentFile { run, .. } = &agent.spec;
    Ok(NewRun {
        agent: contract.agent.clone(),
        kind,
        contract_id: Some(contract.id),
        gig_id: contract.gig_id,
        natural_key: format!("{}/{}/{revision_no}", kind.name(), contract.id),
        version: agent.version.clone(),
        revision_no: i32::try_from(revision_no).unwrap_or(i32::MAX),
        priority,
        max_attempts: i32::try_from(MAX_ATTEMPTS).unwrap_or(i32::MAX),
        deadline: contract.deadline,
        timeout: run.timeout,
        // What may be spent is asked of the books when the run is opened.
        budget_micro: 0,
        request: None,
        traceparent: trace_of(contract, traceparent),
    })
}

fn effect_of(contract: &Contract, kind: effect::Kind, natural_key: String, traceparent: Option<&str>) -> NewEffect {
    NewEffect {
        agent: contract.agent.clone(),
        kind,
        natural_key,
        held: None,
        after: None,
        payload: json!({}),
        gig_id: contract.gig_id,
        contract_id: Some(contract.id),
        run_id: None,
        worth: domain::money::MicroUsdc::ZERO,
        pause: std::time::Duration::ZERO,
        traceparent: trace_of(contract, traceparent),
    }
}

/// The trace of the occasion, else the one the contract was first heard of in.
fn trace_of(contract: &Contract, traceparent: Option<&str>) -> Option<String> {
    traceparent.map(str::to_owned).or_else(|| contract.traceparent.clone())
}

/// What the timeline says besides the command's name.
fn detail(command: &Command) -> Option<String> {
    match command {
        Command::Observed { status, sent_at } => {
            let seen = match status {
                Status::Unfunded => "unfunded",
                Status::Funded => "funded",
                Status::Delivered => "delivered",
                Status::RevisionRequested => "revision requested",
                Status::Disputed => "disputed",
                Status::Approved => "approved",
                Status::Cancelled => "cancelled",
                Status::Unknown(raw) => raw,
            };
            Some(format!(
                "the marketplace says {seen}, asked at {}",
                sent_at.to_rfc3339()
            ))
        }
        Command::DeliveryProven { revision_no, .. } => Some(format!("revision {revision_no}")),
        _ => None,
    }
}
