//! From a gig to a decision: skip it, shadow it, hold a bid for a human, or have it sent.
//!
//! The rule itself is `domain::bidding`. What is added here: the agent's row is locked, so that caps counted in this
//! transaction hold across replicas, and the decision and its effect are saved together.

use std::time::Duration;

use domain::agent_file::Mode;
use domain::bidding::{self, Decision, Score};
use domain::effect::{Kind, key};
use domain::money::MicroUsdc;
use domain::proposal::State;
use serde_json::{Value, json};
use store::agents::Agent;
use store::effects::{self, NewEffect};
use store::gigs::{self, NewGig};
use store::proposals::{self, NewProposal};
use store::{Tx, agents, notices};
use uuid::Uuid;

use crate::desk::Desk;
use crate::error::Error;
use crate::metrics::BIDS;
use crate::outgoing::{self, Guard};
use crate::payload;

pub mod letter;
mod pause;

pub use pause::if_failing as pause_if_failing;

/// The reason of a proposal that is only watched; such ones count against no cap.
pub const SHADOW: &str = "shadow";
const WAITS: &str = "waits for approval";

/// What was decided about a gig.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Verdict {
    /// It was decided on before.
    Seen,
    /// Not worth a bid, or not wanted; the reason.
    Skipped(String),
    /// Scored and priced, never sent.
    Shadow,
    /// A bid waits for a human.
    Held,
    /// A bid is on its way.
    Bid,
}

/// Decides about one gig, once, and saves what follows. `proposals` is how many bids the gig has.
///
/// # Errors
/// When there is no such agent, or a row cannot be saved.
pub async fn consider(
    desk: &Desk,
    tx: &mut Tx,
    gig: &NewGig,
    bids: u32,
    traceparent: Option<&str>,
) -> Result<Verdict, Error> {
    let agent = agents::lock(tx, &gig.agent).await?;
    let (gig_id, _fresh) = gigs::put(tx, gig).await?;
    if proposals::is_decided(tx, gig_id).await? {
        return Ok(Verdict::Seen);
    }
    let verdict = match decide(tx, &agent, gig, bids).await? {
        Decision::Skip { reason, score } => {
            let skipped = NewProposal {
                reason: Some(reason.clone()),
                ..proposal(gig_id, &agent, State::Skipped, score.as_ref())
            };
            proposals::insert(tx, &skipped).await?;
            Verdict::Skipped(reason)
        }
        Decision::Bid {
            score,
            amount,
            estimated_hours,
        } => {
            let bid = Bid {
                gig_id,
                score,
                amount,
                hours: estimated_hours,
            };
            place(desk, tx, &agent, gig, bid, traceparent).await?
        }
    };
    let decision = match &verdict {
        Verdict::Bid => "bid",
        Verdict::Held => "held",
        Verdict::Shadow => "shadow",
        Verdict::Skipped(_) | Verdict::Seen => "skipped",
    };
    metrics::counter!(BIDS, "decision" => decision).increment(1);
    tracing::info!(
        agent = agent.name,
        gig = gig.external_id,
        decision,
        "decided about a gig"
    );
    Ok(verdict)
}

async fn decide(tx: &mut Tx, agent: &Agent, gig: &NewGig, bids: u32) -> Result<Decision, Error> {
    let skip = |reason: &str| Decision::Skip {
        reason: reason.to_owned(),
        score: None,
    };
    if agent.mode == Mode::Off {
        return Ok(skip("the agent's mode is off"));
    }
    if agent.paused {
        return Ok(skip("the agent is paused"));
    }
    if agent.winding_down {
        return Ok(skip("the agent is winding down"));
    }
    let (load, now) = proposals::load(tx, &agent.name).await?;
    let known = bidding::Gig {
        title: gig.title.clone(),
        description: gig.description.clone(),
        category: gig.category.clone(),
        skills: gig.skills.clone(),
        budget: gig.budget,
        deadline: gig.deadline,
        proposals: bids,
    };
    pause::tell_if_held(tx, agent, load).await?;
    Ok(bidding::decide(&known, &agent.spec.bidding, load, now))
}

struct Bid {
    gig_id: Uuid,
    score: Score,
    amount: MicroUsdc,
    hours: u32,
}

async fn place(
    desk: &Desk,
    tx: &mut Tx,
    agent: &Agent,
    gig: &NewGig,
    bid: Bid,
    traceparent: Option<&str>,
) -> Result<Verdict, Error> {
    let letter = write_letter(tx, agent, gig, &bid).await?;
    let secret = Guard::within(desk, tx, agent).await?.text("the cover letter", &letter);
    let (reason, verdict) = match (agent.mode, &secret) {
        (Mode::Auto, None) => (None, Verdict::Bid),
        (Mode::Auto | Mode::Ask, Some(why)) => (Some(why.as_str()), Verdict::Held),
        (Mode::Ask, None) => (Some(WAITS), Verdict::Held),
        (Mode::Shadow | Mode::Off, _) => (Some(SHADOW), Verdict::Shadow),
    };
    let considered = NewProposal {
        reason: reason.map(str::to_owned),
        amount: Some(bid.amount),
        cover_letter: Some(letter.clone()),
        estimated_hours: Some(bid.hours),
        ..proposal(bid.gig_id, agent, State::Considered, Some(&bid.score))
    };
    let Some(proposal_id) = proposals::insert(tx, &considered).await? else {
        return Ok(Verdict::Seen);
    };
    if verdict == Verdict::Shadow {
        return Ok(verdict);
    }
    let propose = payload::Propose {
        proposal_id,
        gig_external_id: gig.external_id.clone(),
        amount_micro: bid.amount.0,
        cover_letter: letter,
        estimated_hours: Some(bid.hours),
    };
    let effect = NewEffect {
        agent: agent.name.clone(),
        kind: Kind::Propose,
        natural_key: key::propose(&gig.external_id),
        held: reason.map(str::to_owned),
        after: None,
        payload: payload::to_value(&propose),
        gig_id: Some(bid.gig_id),
        contract_id: None,
        run_id: None,
        worth: MicroUsdc(bid.amount.0 / 1000 * i64::from(bid.score.total)),
        pause: Duration::ZERO,
        traceparent: traceparent.map(str::to_owned),
    };
    let id = effects::insert(tx, &effect).await?;
    if let Some(why) = &secret {
        outgoing::tell(tx, &agent.name, id, why).await?;
    }
    Ok(verdict)
}

/// The agent's own letter where it has one that works, else the built-in one and a notice.
async fn write_letter(tx: &mut Tx, agent: &Agent, gig: &NewGig, bid: &Bid) -> Result<String, Error> {
    let about = letter::About {
        gig,
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

fn proposal(gig_id: Uuid, agent: &Agent, state: State, score: Option<&Score>) -> NewProposal {
    NewProposal {
        gig_id,
        agent: agent.name.clone(),
        state,
        score_permille: score.map(|score| score.total),
        score_parts: score.map_or_else(|| json!({}), parts),
        reason: None,
        amount: None,
        cover_letter: None,
        estimated_hours: None,
        external_id: None,
    }
}

fn parts(score: &Score) -> Value {
    let each = score.parts.iter().filter_map(|(part, value)| {
        let name = serde_json::to_value(part).ok()?.as_str()?.to_owned();
        Some((name, json!(value)))
    });
    Value::Object(each.collect())
}
