//! What an operator does to one contract or run himself: words to the client, and calling work off.

use domain::effect::{Kind, key};
use domain::run::Command;
use rpc::error::{Code, status};
use rpc::v1::SendMessageRequest;
use store::contracts as rows;
use store::effects::{self, NewEffect};
use store::ids::Table;
use store::runs::{self, Note};
use store::{agents, audit, run_tx};
use tonic::Status;
use uuid::Uuid;

use super::Api;
use crate::bidding::writing;
use crate::contracts;
use crate::error::{Error, of_store};
use crate::outgoing::{self, Guard};
use crate::payload;
use crate::wake::Topic;

/// The platform's limit of a message, characters.
const MESSAGE: usize = 5000;
/// The longest key, bytes.
const KEY: usize = 200;

impl Api {
    /// Wishes for a message in an operator's words; the question it answers is answered. Once per key. Answers the
    /// effect.
    pub(super) async fn say(&self, request: SendMessageRequest, actor: &str) -> Result<Uuid, Status> {
        let SendMessageRequest { contract_id, text, key } = request;
        let text = text.replace('\0', "");
        if text.trim().is_empty() || text.chars().count() > MESSAGE {
            let why = format!("a message has 1 to {MESSAGE} characters");
            return Err(status(Code::Invalid, "BAD_MESSAGE", why));
        }
        if key.is_empty() || key.len() > KEY || key.contains('\0') {
            let why = format!("name a key of 1 to {KEY} bytes: a message is sent once per key");
            return Err(status(Code::Invalid, "BAD_KEY", why));
        }
        let id = self.whole(Table::Contracts, contract_id).await?;
        let id = rows::find(&self.desk.store, &id).await.map_err(of_store)?.id;
        let effect = run_tx!(self.desk.store, "message_by_hand", Error, |tx| {
            let contract = rows::lock(tx, id).await?;
            if contract.machine.state.is_final() {
                let state = &contract.machine.state;
                return Err(Error::Refused(format!("the contract is {state}: its thread is closed")));
            }
            let agent = agents::read(tx, &contract.agent).await?;
            let held = Guard::within(&self.desk, tx, &agent).await?.text("the message", &text);
            let message = payload::Message {
                contract_external_id: contract.external_id.clone(),
                text: text.clone(),
                by_hand: true,
            };
            let wish = NewEffect {
                agent: contract.agent.clone(),
                kind: Kind::Message,
                natural_key: key::message(id, &format!("by-hand/{key}")),
                held: held.clone(),
                after: None,
                payload: payload::to_value(&message),
                gig_id: contract.gig_id,
                contract_id: Some(id),
                run_id: None,
                worth: domain::money::MicroUsdc::ZERO,
                pause: std::time::Duration::ZERO,
                traceparent: contract.traceparent.clone(),
            };
            let effect = effects::insert(tx, &wish).await?;
            audit::record(tx, actor, "messages.send", &id.to_string(), Some(&effect.to_string())).await?;
            if let Some(why) = held {
                outgoing::tell(tx, &contract.agent, effect, &why).await?;
            }
            contracts::answered(tx, &contract).await?;
            Ok(effect)
        })?;
        Ok(effect)
    }

    /// Calls a run off; its executor ends it with the next heartbeat, and its right to call models ends now.
    pub(super) async fn call_off(&self, run: Uuid, actor: &str, reason: &str) -> Result<(), Status> {
        let reason = if reason.is_empty() { "no reason given" } else { reason };
        let attempt = run_tx!(self.desk.store, "run_cancel", Error, |tx| {
            let why = format!("called off by hand: {reason}");
            let row = runs::lock(tx, run).await?;
            if row.kind == domain::run::Kind::Propose && !row.machine.state.is_closed() {
                writing::give_up(&self.desk, tx, &row, &why).await?;
                audit::record(tx, actor, "runs.cancel", &run.to_string(), Some(reason)).await?;
                return Ok(row.machine.attempt);
            }
            let note = Note {
                error: Some(why),
                ..Note::default()
            };
            let policy = self.desk.config.runs.policy();
            let step = runs::advance(tx, run, None, &Command::Cancel, &policy, &note).await;
            let step = step.map_err(|error| match error {
                store::Error::Stale { .. } => Error::Refused("it is over already".to_owned()),
                other => other.into(),
            })?;
            audit::record(tx, actor, "runs.cancel", &run.to_string(), Some(reason)).await?;
            store::notices::resolve(tx, "run", &run.to_string()).await?;
            if let Some(contract) = row.contract_id {
                let why = format!(
                    "its work was called off by hand ({reason}); `steward contracts retry {contract}` starts it"
                );
                contracts::attention(tx, contract, contracts::ATTENTION, &why).await?;
            }
            Ok(step.run.attempt)
        })?;
        self.desk.wake.wake(Topic::Dispatch);
        if let Err(error) = self.billing.close_run(run, attempt).await {
            tracing::warn!(run.id = %run, attempt, error = error.message(), "a run's budget could not be closed; it expires by itself");
        }
        Ok(())
    }
}
