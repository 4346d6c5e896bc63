//! Answers to messages: none, an acknowledgement, or a run of the agent. The rules are `domain::message`'s; here they are
//! fed with what the store counts, and what they wish for becomes rows.

use std::time::Duration;

use domain::effect::{Kind, key};
use domain::message::{self, Answer, Class, HandOver};
use domain::run;
use store::agents::Agent;
use store::contracts::Contract;
use store::effects::{self, NewEffect};
use store::messages::{self, Side};
use store::runs::{self, NewRun};
use store::{Error, Tx};

use crate::contracts::MAX_ATTEMPTS;
use crate::payload;
use crate::wake::Topic;

/// Answers go before new work: somebody waits.
const PRIORITY: i32 = 20;
const ACKNOWLEDGEMENT: &str = "Thank you, your message arrived and is taken into account.";

/// A message that was new.
#[derive(Debug, Clone, Copy)]
pub(super) struct Heard<'a> {
    pub(super) agent: &'a Agent,
    /// Locked: nobody else wishes for a message of it meanwhile.
    pub(super) contract: &'a Contract,
    pub(super) side: Side,
    pub(super) class: Class,
    pub(super) natural_key: &'a str,
}

/// Queues the answer the agent's file wants, if one may be given now. Answers what is to be woken, and why a human is to
/// be told.
///
/// # Errors
/// When a row cannot be read or saved.
pub(super) async fn answer(
    tx: &mut Tx,
    heard: &Heard<'_>,
    text: &str,
    traceparent: Option<&str>,
) -> Result<(Option<Topic>, Option<HandOver>), Error> {
    let contract = heard.contract;
    let (ours_lately, ours_today) = messages::ours(tx, contract.id, message::QUIET_SECS, message::DAY_SECS).await?;
    let (answer, told) = message::decide(&message::Heard {
        wanted: heard.agent.spec.messages.reply,
        from_agent: heard.side == Side::Agent,
        class: heard.class,
        contract: &contract.machine,
        ours_lately,
        ours_today,
    });
    let topic = match answer {
        Answer::Nothing => None,
        Answer::Acknowledge => Some(acknowledge(tx, heard, traceparent).await?),
        Answer::AskAgent => Some(ask(tx, heard, text, traceparent).await?),
    };
    Ok((topic, told))
}

async fn acknowledge(tx: &mut Tx, heard: &Heard<'_>, traceparent: Option<&str>) -> Result<Topic, Error> {
    let contract = heard.contract;
    // One key per quarter of an hour and thread: replicas that hear two messages at once agree on it.
    let slot = messages::clock_slot(tx, message::QUIET_SECS).await?;
    let said = payload::Message {
        contract_external_id: contract.external_id.clone(),
        text: ACKNOWLEDGEMENT.to_owned(),
        by_hand: false,
    };
    let effect = NewEffect {
        agent: contract.agent.clone(),
        kind: Kind::Message,
        natural_key: key::message(contract.id, &format!("ack/{slot}")),
        held: None,
        after: None,
        payload: payload::to_value(&said),
        gig_id: contract.gig_id,
        contract_id: Some(contract.id),
        run_id: None,
        worth: domain::money::MicroUsdc::ZERO,
        pause: Duration::ZERO,
        traceparent: traceparent.map(str::to_owned),
    };
    effects::insert(tx, &effect).await?;
    Ok(Topic::Courier)
}

async fn ask(tx: &mut Tx, heard: &Heard<'_>, text: &str, traceparent: Option<&str>) -> Result<Topic, Error> {
    let contract = heard.contract;
    let run = NewRun {
        agent: contract.agent.clone(),
        kind: run::Kind::Reply,
        contract_id: Some(contract.id),
        gig_id: contract.gig_id,
        natural_key: format!("reply/{}/{}", contract.id, heard.natural_key),
        version: heard.agent.version.clone(),
        revision_no: i32::try_from(contract.machine.revision_no).unwrap_or(i32::MAX),
        priority: PRIORITY,
        max_attempts: i32::try_from(MAX_ATTEMPTS).unwrap_or(i32::MAX),
        deadline: None,
        timeout: heard.agent.spec.run.timeout,
        budget_micro: 0,
        request: Some(text.to_owned()),
        traceparent: traceparent.map(str::to_owned),
    };
    runs::insert(tx, &run).await?;
    Ok(Topic::Dispatch)
}
