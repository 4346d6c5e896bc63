//! The gate before a call: preconditions checked in the transaction that moves an effect to `sending`.

use std::time::Duration;

use domain::contract::State;
use domain::effect::{Command, Kind};
use domain::proposal;
use store::artefacts::Artefact;
use store::effects::{self, Attempt, Due, Effect, Note};
use store::{Tx, contracts::Contract};

use super::Courier;
use crate::error::Error;
use crate::outages;
use crate::payload;

/// How long an effect is held before its preconditions are looked at again.
const HOLD: Duration = Duration::from_secs(30);
const UNKNOWN: &str = "the contract's state is not known";
const PAUSED: &str = "the agent is paused";
const MAINTENANCE: &str = "it is a time of maintenance";

/// What the gate says.
#[derive(Debug)]
pub(super) enum Gate {
    /// It is ours to send, with what it needs.
    Go(Box<Effect>, Ready),
    /// There is nothing to send: another courier has it, it was called off, or it is done already.
    Closed(&'static str),
}

/// What a call needs, read in the gate's transaction.
#[derive(Debug)]
pub(super) enum Ready {
    Propose(payload::Propose),
    Upload(payload::Upload),
    Deliver(payload::Deliver, Vec<Artefact>),
    Message(payload::Message),
    Settle(Box<Contract>),
    /// The marketplace's contract.
    Confirm(String),
}

/// Why an effect is not sent.
enum No {
    /// Not now: why.
    Hold(&'static str),
    /// For good.
    CallOff(&'static str),
    /// It is true already, by a read made since.
    Already,
    /// Its row cannot be understood.
    Unreadable(String),
}

impl Courier {
    /// Re-checks the preconditions and takes the effect under a lease, in one transaction.
    pub(super) async fn gate(&self, due: &Due) -> Result<Gate, Error> {
        let lease = self.desk.config.courier.lease;
        store::run_tx!(self.desk.store, "courier_begin", Error, |tx| {
            let Some(effect) = effects::begin(tx, due.id, lease).await? else {
                return Ok(Gate::Closed("taken"));
            };
            match ready(tx, due.kind, &effect).await? {
                Ok(ready) => Ok(Gate::Go(Box::new(effect), ready)),
                Err(no) => close(tx, &effect, no).await,
            }
        })
    }
}

async fn close(tx: &mut Tx, effect: &Effect, no: No) -> Result<Gate, Error> {
    let token = effect.lease_token;
    match no {
        No::Hold(why) => {
            let note = Note {
                error: Some(format!("{why}: held")),
                pause: HOLD,
                attempt: Attempt::Held,
                ..Note::default()
            };
            effects::advance(tx, effect.id, token, Command::NotDone, &note).await?;
            Ok(Gate::Closed("held"))
        }
        No::Already => {
            effects::advance(tx, effect.id, token, Command::Succeed, &Note::default()).await?;
            Ok(Gate::Closed("already"))
        }
        No::CallOff(why) => {
            let note = Note {
                error: Some(why.to_owned()),
                ..Note::default()
            };
            effects::advance(tx, effect.id, token, Command::NotDone, &note).await?;
            effects::advance(tx, effect.id, None, Command::Cancel, &note).await?;
            tracing::info!(why, "an effect was called off");
            Ok(Gate::Closed("called_off"))
        }
        No::Unreadable(why) => {
            effects::advance(tx, effect.id, token, Command::NotDone, &Note::default()).await?;
            effects::give_up(tx, effect.id, &why).await?;
            Ok(Gate::Closed("unreadable"))
        }
    }
}

async fn ready(tx: &mut Tx, kind: Kind, effect: &Effect) -> Result<Result<Ready, No>, Error> {
    let contract = match effect.contract_id {
        Some(id) => Some(store::contracts::lock(tx, id).await?),
        None => None,
    };
    let value = &effect.payload;
    Ok(match kind {
        Kind::Propose => match proposal_open(tx, effect).await? {
            Some(no) => Err(no),
            None => payload::read(value).map(Ready::Propose).map_err(No::Unreadable),
        },
        Kind::Upload => match open_for_delivery(contract.as_ref()) {
            Some(no) => Err(no),
            None => payload::read(value).map(Ready::Upload).map_err(No::Unreadable),
        },
        Kind::Deliver => deliver(tx, effect, contract.as_ref()).await?,
        Kind::Message => match (contract, payload::read::<payload::Message>(value)) {
            (_, Err(error)) => Err(No::Unreadable(error)),
            (Some(contract), _) if contract.machine.state.is_final() => Err(No::CallOff("the contract is closed")),
            (Some(contract), Ok(message)) if contract.machine.state == State::Disputed && !message.by_hand => {
                Err(No::CallOff("the contract is disputed: a human answers"))
            }
            (_, Ok(message)) => Ok(Ready::Message(message)),
        },
        Kind::Settle => match contract {
            Some(contract) if contract.settled_at.is_some() => Err(No::Already),
            Some(contract) => Ok(Ready::Settle(Box::new(contract))),
            None => Err(No::Unreadable("a settlement without a contract".to_owned())),
        },
        Kind::Confirm => match contract {
            Some(contract) if store::observations::observed_since(tx, contract.id, effect.created_at).await? => {
                Err(No::Already)
            }
            Some(contract) => Ok(Ready::Confirm(contract.external_id)),
            None => Err(No::Unreadable("a read without a contract".to_owned())),
        },
    })
}

async fn proposal_open(tx: &mut Tx, effect: &Effect) -> Result<Option<No>, Error> {
    let agent = store::agents::read(tx, &effect.agent).await?;
    if agent.mode == domain::agent_file::Mode::Off || agent.winding_down {
        return Ok(Some(No::CallOff("the agent no longer bids")));
    }
    if agent.paused {
        return Ok(Some(No::Hold(PAUSED)));
    }
    if store::maintenance::current(tx).await?.is_some() {
        return Ok(Some(No::Hold(MAINTENANCE)));
    }
    if let Some(why) = outages::bids_wait(tx, &effect.agent).await? {
        return Ok(Some(No::Hold(why)));
    }
    let Some(gig) = effect.gig_id else {
        return Ok(Some(No::Unreadable("a proposal without a gig".to_owned())));
    };
    let open = store::proposals::lock_of_gig(tx, gig)
        .await?
        .is_some_and(|proposal| proposal.state == proposal::State::Considered);
    Ok((!open).then_some(No::CallOff("the proposal is no longer wanted")))
}

fn open_for_delivery(contract: Option<&Contract>) -> Option<No> {
    match contract {
        Some(contract) if matches!(contract.machine.state, State::Unknown(_)) => Some(No::Hold(UNKNOWN)),
        Some(contract) if contract.machine.may_spend() => None,
        _ => Some(No::CallOff("the contract takes no delivery now")),
    }
}

async fn deliver(tx: &mut Tx, effect: &Effect, contract: Option<&Contract>) -> Result<Result<Ready, No>, Error> {
    let deliver: payload::Deliver = match payload::read(&effect.payload) {
        Ok(deliver) => deliver,
        Err(why) => return Ok(Err(No::Unreadable(why))),
    };
    if contract.is_some_and(|contract| matches!(contract.machine.state, State::Unknown(_))) {
        return Ok(Err(No::Hold(UNKNOWN)));
    }
    if !contract.is_some_and(|contract| contract.machine.may_deliver(deliver.revision_no)) {
        return Ok(Err(No::CallOff("the contract takes no delivery of this revision now")));
    }
    let Some(run) = effect.run_id else {
        return Ok(Err(No::Unreadable("a delivery without a run".to_owned())));
    };
    let artefacts = store::artefacts::of_attempt(tx, run, deliver.attempt).await?;
    Ok(Ok(Ready::Deliver(deliver, artefacts)))
}
