//! From a bid with its letter to rows: sent, held for a human, or only watched.

use std::time::Duration;

use domain::agent_file::Mode;
use domain::effect::{Kind, key};
use domain::money::MicroUsdc;
use store::agents::Agent;
use store::effects::{self, NewEffect};
use store::gigs::NewGig;
use store::proposals::{self, NewProposal, Written};
use store::{Tx, notices};
use uuid::Uuid;

use super::{SHADOW, Verdict, letter};
use crate::desk::Desk;
use crate::error::Error;
use crate::outgoing::{self, Guard};
use crate::payload;

const WAITS: &str = "waits for approval";

/// A bid, but for its letter.
#[derive(Debug, Clone, Copy)]
pub(super) struct Bid<'a> {
    /// Locked.
    pub agent: &'a Agent,
    pub gig_id: Uuid,
    pub gig: &'a NewGig,
    /// The score.
    pub permille: u32,
    pub amount: MicroUsdc,
    pub hours: u32,
    /// The run that wrote it.
    pub run_id: Option<Uuid>,
    pub traceparent: Option<&'a str>,
}

/// Where the bid is kept.
#[derive(Debug)]
pub(super) enum Row {
    New(NewProposal),
    /// The proposal that waited for it.
    Kept(Uuid),
}

/// Saves the bid and, unless it is only watched, wishes for its sending.
///
/// # Errors
/// When a row cannot be saved.
pub(super) async fn place(desk: &Desk, tx: &mut Tx, bid: &Bid<'_>, letter: String, row: Row) -> Result<Verdict, Error> {
    let agent = bid.agent;
    let secret = Guard::within(desk, tx, agent).await?.text("the cover letter", &letter);
    let (reason, verdict) = match (agent.mode, &secret) {
        (Mode::Auto, None) => (None, Verdict::Bid),
        (Mode::Auto | Mode::Ask, Some(why)) => (Some(why.as_str()), Verdict::Held),
        (Mode::Ask, None) => (Some(WAITS), Verdict::Held),
        (Mode::Shadow | Mode::Off, _) => (Some(SHADOW), Verdict::Shadow),
    };
    let held = reason.map(str::to_owned);
    let proposal_id = match row {
        Row::New(new) => {
            let new = NewProposal {
                reason: held.clone(),
                amount: Some(bid.amount),
                cover_letter: Some(letter.clone()),
                estimated_hours: Some(bid.hours),
                ..new
            };
            match proposals::insert(tx, &new).await? {
                Some(id) => id,
                None => return Ok(Verdict::Seen),
            }
        }
        Row::Kept(id) => {
            let written = Written {
                amount: bid.amount,
                cover_letter: letter.clone(),
                estimated_hours: bid.hours,
                reason: held.clone(),
            };
            proposals::write(tx, id, &written).await?;
            id
        }
    };
    if verdict == Verdict::Shadow {
        return Ok(verdict);
    }
    let id = wish(tx, bid, proposal_id, letter, held).await?;
    if let Some(why) = &secret {
        outgoing::tell(tx, &agent.name, id, why).await?;
    }
    Ok(verdict)
}

async fn wish(
    tx: &mut Tx,
    bid: &Bid<'_>,
    proposal_id: Uuid,
    cover_letter: String,
    held: Option<String>,
) -> Result<Uuid, Error> {
    let propose = payload::Propose {
        proposal_id,
        gig_external_id: bid.gig.external_id.clone(),
        amount_micro: bid.amount.0,
        cover_letter,
        estimated_hours: Some(bid.hours),
    };
    let effect = NewEffect {
        agent: bid.agent.name.clone(),
        kind: Kind::Propose,
        natural_key: key::propose(&bid.gig.external_id),
        held,
        after: None,
        payload: payload::to_value(&propose),
        gig_id: Some(bid.gig_id),
        contract_id: None,
        run_id: bid.run_id,
        worth: MicroUsdc(bid.amount.0 / 1000 * i64::from(bid.permille)),
        pause: Duration::ZERO,
        traceparent: bid.traceparent.map(str::to_owned),
    };
    Ok(effects::insert(tx, &effect).await?)
}

/// The agent's own template where it has one that works, else the built-in one and a notice.
///
/// # Errors
/// When a row cannot be saved.
pub(super) async fn from_template(tx: &mut Tx, bid: &Bid<'_>) -> Result<String, Error> {
    let agent = bid.agent;
    let about = letter::About {
        gig: bid.gig,
        skills: &agent.spec.bidding.skills,
        name: &agent.spec.profile.name,
        amount: bid.amount,
        hours: bid.hours,
    };
    let Some(own) = &agent.cover_letter else {
        return letter::write(letter::BUILT_IN, &about);
    };
    match letter::write(own, &about) {
        Ok(text) => {
            notices::resolve(tx, "cover_letter", &agent.name).await?;
            Ok(text)
        }
        Err(error) => {
            let body = format!("{}: {error}; the built-in letter was used", agent.name);
            notices::raise(tx, "cover_letter", &agent.name, &body).await?;
            letter::write(letter::BUILT_IN, &about)
        }
    }
}
