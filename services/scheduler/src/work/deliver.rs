//! From a result to effects: upload each file, then deliver; or a reply.

use std::time::Duration;

use domain::effect::{Kind as EffectKind, key};
use domain::run::Kind;
use serde_json::Value;
use store::artefacts::Artefact;
use store::contracts::Contract;
use store::effects::{self, NewEffect};
use store::runs::Run;
use store::{Tx, agents, artefacts};
use uuid::Uuid;

use super::events;
use crate::error::Error;
use crate::payload;

/// The platform's limit of a message, characters.
const MESSAGE: usize = 5000;

/// Wishes for what a result asks for. The run row is the one that was leased.
pub(super) async fn wish(tx: &mut Tx, run: &Run, result: &Value) -> Result<(), Error> {
    let Some(contract_id) = run.contract_id else {
        return Ok(());
    };
    let contract = store::contracts::lock(tx, contract_id).await?;
    match run.kind {
        Kind::Work | Kind::Revise => delivery(tx, run, &contract, result).await,
        Kind::Reply => reply(tx, run, &contract, result).await,
        Kind::Propose => Ok(()),
    }
}

/// upload → … → upload → deliver: each waits for the one before. Above the agent's limit a human releases the first.
async fn delivery(tx: &mut Tx, run: &Run, contract: &Contract, result: &Value) -> Result<(), Error> {
    let revision_no = u32::try_from(run.revision_no).unwrap_or(0);
    let attempt = i32::try_from(run.machine.attempt).unwrap_or(i32::MAX);
    let agent = agents::read(tx, &run.agent).await?;
    let limit = agent.spec.delivery.approve_above_usdc;
    let mut held = limit.is_some_and(|limit| contract.amount > limit);
    let mut after = None;
    // Files of a checkpoint are kept too, but only what the result names is delivered.
    let named = result.get("files").and_then(Value::as_array);
    let is_named = |artefact: &Artefact| named.is_some_and(|names| names.iter().any(|name| name == &artefact.name));
    for artefact in artefacts::of_attempt(tx, run.id, attempt).await? {
        if !is_named(&artefact) {
            continue;
        }
        let upload = upload(run, contract, revision_no, &artefact, held, after);
        after = Some(effects::insert(tx, &upload).await?);
        held = false;
    }
    let deliver = payload::Deliver {
        contract_external_id: contract.external_id.clone(),
        revision_no,
        attempt,
        notes: result
            .get("notes")
            .and_then(Value::as_str)
            .unwrap_or_default()
            .to_owned(),
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
    effects::insert(tx, &deliver).await?;
    Ok(())
}

fn upload(
    run: &Run,
    contract: &Contract,
    revision_no: u32,
    artefact: &Artefact,
    held: bool,
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

async fn reply(tx: &mut Tx, run: &Run, contract: &Contract, result: &Value) -> Result<(), Error> {
    let Some(text) = result
        .get("text")
        .and_then(Value::as_str)
        .filter(|text| !text.trim().is_empty())
    else {
        return Ok(());
    };
    if !events::may_write(tx, contract.id).await? {
        return Ok(());
    }
    let message = payload::Message {
        contract_external_id: contract.external_id.clone(),
        text: text.chars().take(MESSAGE).collect(),
    };
    let natural_key = key::message(contract.id, &format!("run/{}", run.id));
    effects::insert(
        tx,
        &new(
            run,
            EffectKind::Message,
            natural_key,
            payload::to_value(&message),
            false,
            None,
        ),
    )
    .await?;
    Ok(())
}

fn new(run: &Run, kind: EffectKind, natural_key: String, payload: Value, held: bool, after: Option<Uuid>) -> NewEffect {
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
