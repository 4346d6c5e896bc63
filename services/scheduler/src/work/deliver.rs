//! From a result to effects: upload each file, then deliver; or a reply.

use std::time::Duration;

use domain::effect::{Kind as EffectKind, key};
use domain::run::Kind;
use serde_json::Value;
use store::agents::{self, Agent};
use store::artefacts::Artefact;
use store::contracts::Contract;
use store::effects::{self, NewEffect};
use store::runs::Run;
use store::{Tx, artefacts};
use uuid::Uuid;

use super::events;
use crate::desk::Desk;
use crate::error::Error;
use crate::outgoing::{self, Guard};
use crate::payload;

/// The platform's limit of a message, characters.
const MESSAGE: usize = 5000;

/// Wishes for what a result asks for. The run row is the one that was leased.
pub(super) async fn wish(desk: &Desk, tx: &mut Tx, run: &Run, result: &Value) -> Result<(), Error> {
    let Some(contract_id) = run.contract_id else {
        return Ok(());
    };
    let contract = store::contracts::lock(tx, contract_id).await?;
    let agent = agents::read(tx, &run.agent).await?;
    let guard = Guard::within(desk, tx, &agent).await?;
    match run.kind {
        Kind::Work | Kind::Revise => delivery(tx, (run, &agent, &guard), &contract, result).await,
        Kind::Reply => reply(tx, (run, &guard), &contract, result).await,
        // Its result has a way of its own.
        Kind::Propose => Ok(()),
    }
}

/// upload → … → upload → deliver: each waits for the one before. Above the agent's limit, when anything of it holds
/// what looks like a secret, or when a review did not accept it, a human releases the first.
async fn delivery(
    tx: &mut Tx,
    (run, agent, guard): (&Run, &Agent, &Guard),
    contract: &Contract,
    result: &Value,
) -> Result<(), Error> {
    let revision_no = u32::try_from(run.revision_no).unwrap_or(0);
    let attempt = i32::try_from(run.machine.attempt).unwrap_or(i32::MAX);
    // Files of a checkpoint are kept too, but only what the result names is delivered.
    let named = result.get("files").and_then(Value::as_array);
    let is_named = |artefact: &Artefact| named.is_some_and(|names| names.iter().any(|name| name == &artefact.name));
    let mut files = artefacts::of_attempt(tx, run.id, attempt).await?;
    files.retain(is_named);
    let notes = result.get("notes").and_then(Value::as_str).unwrap_or_default();
    let secret = secret_in(guard, notes, &files);
    // Only an executor says so, when its review has no verdict or a bad one.
    let review = result.get("hold").and_then(Value::as_str).map(str::to_owned);
    let review = review.map(|why| why.chars().take(super::complete::LONGEST_ERROR).collect::<String>());
    let told = [secret, review].into_iter().flatten().collect::<Vec<_>>().join("; ");
    let told = Some(told).filter(|told| !told.is_empty());
    let mut held = told.clone().or_else(|| above_limit(agent, contract));
    let (mut first, mut after) = (None, None);
    for artefact in &files {
        let upload = upload(run, contract, revision_no, artefact, held.take(), after);
        let id = effects::insert(tx, &upload).await?;
        // If it was refused before, it is tried anew.
        store::notices::resolve(tx, crate::courier::DEAD_LETTER, &id.to_string()).await?;
        after = Some(id);
        first = first.or(after);
    }
    let deliver = payload::Deliver {
        contract_external_id: contract.external_id.clone(),
        revision_no,
        attempt,
        notes: notes.to_owned(),
    };
    let natural_key = key::deliver(contract.id, revision_no);
    let deliver = new(
        run,
        EffectKind::Deliver,
        natural_key,
        payload::to_value(&deliver),
        held,
        after,
    );
    let deliver = effects::insert(tx, &deliver).await?;
    let last = result.get("message").and_then(Value::as_str);
    if let Some(text) = last.filter(|text| !text.trim().is_empty()) {
        let about = format!("delivered/{revision_no}");
        message(tx, (run, guard), contract, ("the message", &about, text), Some(deliver)).await?;
    }
    if let Some(why) = told {
        outgoing::tell(tx, &run.agent, first.unwrap_or(deliver), &why).await?;
    }
    Ok(())
}

fn secret_in(guard: &Guard, notes: &str, files: &[Artefact]) -> Option<String> {
    let in_file = |file: &Artefact| Some(outgoing::why(&file.name, file.secret.as_deref()?));
    guard
        .text("the delivery's notes", notes)
        .or_else(|| files.iter().find_map(in_file))
}

fn above_limit(agent: &Agent, contract: &Contract) -> Option<String> {
    let limit = agent.spec.delivery.approve_above_usdc?;
    (contract.amount > limit).then(|| {
        format!(
            "the contract is worth {} USDC, more than delivery.approve_above_usdc = {limit}",
            contract.amount
        )
    })
}

fn upload(
    run: &Run,
    contract: &Contract,
    revision_no: u32,
    artefact: &Artefact,
    held: Option<String>,
    after: Option<Uuid>,
) -> NewEffect {
    let upload = payload::Upload {
        contract_external_id: contract.external_id.clone(),
        name: artefact.name.clone(),
        sha256: artefact.sha256.clone(),
        media_type: artefact.media_type.clone(),
        bytes: u64::try_from(artefact.bytes).unwrap_or(0),
    };
    let natural_key = key::upload(contract.id, revision_no, &artefact.name, &artefact.sha256);
    new(
        run,
        EffectKind::Upload,
        natural_key,
        payload::to_value(&upload),
        held,
        after,
    )
}

async fn reply(tx: &mut Tx, (run, guard): (&Run, &Guard), contract: &Contract, result: &Value) -> Result<(), Error> {
    let Some(text) = result
        .get("text")
        .and_then(Value::as_str)
        .filter(|text| !text.trim().is_empty())
    else {
        return Ok(());
    };
    let about = format!("run/{}", run.id);
    message(tx, (run, guard), contract, ("the reply", &about, text), None).await
}

/// Writes to the client, if a machine may, at once or after another effect.
async fn message(
    tx: &mut Tx,
    (run, guard): (&Run, &Guard),
    contract: &Contract,
    (what, about, text): (&str, &str, &str),
    after: Option<Uuid>,
) -> Result<(), Error> {
    if !events::may_write(tx, contract.id).await? {
        return Ok(());
    }
    let message = payload::Message {
        contract_external_id: contract.external_id.clone(),
        text: text.chars().take(MESSAGE).collect(),
        by_hand: false,
    };
    let natural_key = key::message(contract.id, about);
    let held = guard.text(what, text);
    let said = payload::to_value(&message);
    let effect = new(run, EffectKind::Message, natural_key, said, held.clone(), after);
    let id = effects::insert(tx, &effect).await?;
    if let Some(why) = held {
        outgoing::tell(tx, &run.agent, id, &why).await?;
    }
    Ok(())
}

fn new(
    run: &Run,
    kind: EffectKind,
    natural_key: String,
    payload: Value,
    held: Option<String>,
    after: Option<Uuid>,
) -> NewEffect {
    NewEffect {
        agent: run.agent.clone(),
        kind,
        natural_key,
        held,
        after,
        payload,
        gig_id: run.gig_id,
        contract_id: run.contract_id,
        run_id: Some(run.id),
        worth: domain::money::MicroUsdc::ZERO,
        pause: Duration::ZERO,
        traceparent: run.traceparent.clone(),
    }
}
