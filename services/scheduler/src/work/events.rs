//! What agents say on their way: kept, and messages to the client wished for.

use std::time::Duration;

use aws_lc_rs::digest;
use domain::effect::{Kind, key};
use domain::message::{DAY_SECS, HandOver, MOST_A_DAY, QUIET_SECS};
use rpc::v1::run_event::Kind as Said;
use rpc::v1::{ClientMessage, RunEvent};
use serde_json::Value;
use store::effects::{self, NewEffect};
use store::runs::{self, Run};
use store::{artefacts, messages};
use uuid::Uuid;

use super::Floor;
use crate::contracts;
use crate::desk::Desk;
use crate::error::Error;
use crate::outgoing::{self, Guard};
use crate::payload;
use crate::wake::Topic;

/// The platform's limit of a message.
const MESSAGE: usize = 5000;
/// Messages one run may send.
const MESSAGES_PER_RUN: i64 = 20;
/// The largest checkpoint kept.
const CHECKPOINT: usize = 64 * 1024;

/// The kind of the notice that a run did what a human must look at; its key is the run.
const ALARM: &str = "alarm";

/// Keeps one event of a leased run. A repeat changes nothing; one without the lease, or that can never be kept, is
/// dropped.
///
/// # Errors
/// When the store is away: it must be told again.
pub(super) async fn keep(floor: &Floor, event: RunEvent) -> Result<(), Error> {
    let (Ok(run), Ok(token)) = (event.run_id.parse::<Uuid>(), event.lease_token.parse::<Uuid>()) else {
        return Ok(());
    };
    let Some(said) = event.kind.map(without_nul) else {
        return Ok(());
    };
    let seq = i64::try_from(event.seq).unwrap_or(i64::MAX);
    let kept = store::run_tx!(floor.desk.store, "run_event", Error, |tx| {
        let row = runs::held(tx, run, token).await?;
        let attempt = i32::try_from(row.machine.attempt).unwrap_or(i32::MAX);
        let (kind, body) = describe(&said);
        if !store::run_events::append(tx, run, attempt, seq, kind, body).await? {
            return Ok(false);
        }
        match &said {
            Said::Message(message) => {
                let key = if message.key.is_empty() {
                    hash(&message.text)
                } else {
                    message.key.clone()
                };
                wish_message(&floor.desk, tx, &row, &key, &message.text).await
            }
            Said::CheckpointJson(json) if json.len() <= CHECKPOINT => {
                if let Ok(checkpoint) = serde_json::from_str::<Value>(json) {
                    let mut checkpoint = payload::storable(checkpoint);
                    only_sent_up(tx, run, &mut checkpoint).await?;
                    runs::save_checkpoint(tx, run, token, &checkpoint).await?;
                }
                Ok(false)
            }
            Said::Alarm(text) => {
                let body = format!(
                    "{} in its run {run}: {text}. `steward runs show {run}` shows it",
                    row.agent
                );
                store::notices::raise(tx, ALARM, &run.to_string(), &body).await?;
                Ok(false)
            }
            _ => Ok(false),
        }
    });
    match kept {
        Ok(true) => floor.desk.wake.wake(Topic::Courier),
        Ok(false) => {}
        Err(Error::Store(store::Error::Stale { .. })) => {
            tracing::debug!(run.id = %run, "an event of a run that is no longer leased was dropped");
        }
        Err(error) if error.is_transient() => return Err(error),
        Err(error) => tracing::warn!(run.id = %run, %error, "an event could not be kept"),
    }
    Ok(())
}

/// Takes out of a checkpoint what its run never sent up: what an object is called opens it to nobody.
async fn only_sent_up(tx: &mut store::Tx, run: Uuid, checkpoint: &mut Value) -> Result<(), Error> {
    let Some(files) = checkpoint["files"].as_array_mut() else {
        return Ok(());
    };
    let named: Vec<String> = files
        .iter()
        .filter_map(|file| file["sha256"].as_str().map(str::to_owned))
        .collect();
    let known = artefacts::sent_up(tx, run, &named).await?;
    files.retain(|file| {
        file["sha256"]
            .as_str()
            .is_some_and(|hash| known.iter().any(|known| known == hash))
    });
    Ok(())
}

async fn wish_message(
    desk: &Desk,
    tx: &mut store::Tx,
    run: &Run,
    message_key: &str,
    text: &str,
) -> Result<bool, Error> {
    let Some(contract_id) = run.contract_id else {
        return Ok(false);
    };
    let contract = store::contracts::lock(tx, contract_id).await?;
    if text.trim().is_empty() || runs::messages_of(tx, run.id).await? >= MESSAGES_PER_RUN {
        return Ok(false);
    }
    if !may_write(tx, contract_id).await? {
        return Ok(false);
    }
    let agent = store::agents::read(tx, &run.agent).await?;
    let held = Guard::within(desk, tx, &agent).await?.text("the message", text);
    let message = payload::Message {
        contract_external_id: contract.external_id,
        text: text.chars().take(MESSAGE).collect(),
        by_hand: false,
    };
    let effect = NewEffect {
        agent: run.agent.clone(),
        kind: Kind::Message,
        natural_key: key::message(contract_id, message_key),
        held: held.clone(),
        after: None,
        payload: payload::to_value(&message),
        gig_id: run.gig_id,
        contract_id: Some(contract_id),
        run_id: Some(run.id),
        worth: domain::money::MicroUsdc::ZERO,
        pause: Duration::ZERO,
        traceparent: run.traceparent.clone(),
    };
    let id = effects::insert(tx, &effect).await?;
    if let Some(why) = held {
        outgoing::tell(tx, &run.agent, id, &why).await?;
    }
    Ok(true)
}

/// Whether a machine may write one more message today; when not, a human is told. The contract is locked.
pub(super) async fn may_write(tx: &mut store::Tx, contract: Uuid) -> Result<bool, Error> {
    let (_, today) = messages::ours(tx, contract, QUIET_SECS, DAY_SECS).await?;
    if today < MOST_A_DAY {
        return Ok(true);
    }
    contracts::hand_over(tx, contract, HandOver::Bound).await?;
    Ok(false)
}

/// Postgres keeps no NUL in a text.
fn without_nul(said: Said) -> Said {
    let clean = |text: String| text.replace('\0', "");
    match said {
        Said::Progress(text) => Said::Progress(clean(text)),
        Said::Message(message) => Said::Message(ClientMessage {
            text: clean(message.text),
            key: clean(message.key),
        }),
        Said::CheckpointJson(json) => Said::CheckpointJson(clean(json)),
        Said::Log(text) => Said::Log(clean(text)),
        Said::Output(text) => Said::Output(clean(text)),
        Said::Alarm(text) => Said::Alarm(clean(text)),
    }
}

fn describe(said: &Said) -> (&'static str, &str) {
    match said {
        Said::Progress(text) => ("progress", text),
        Said::Message(message) => ("message", &message.text),
        Said::CheckpointJson(json) => ("checkpoint", json),
        Said::Log(text) | Said::Alarm(text) => ("log", text),
        Said::Output(text) => ("output", text),
    }
}

fn hash(text: &str) -> String {
    const_hex::encode(digest::digest(&digest::SHA256, text.as_bytes()).as_ref())
}
