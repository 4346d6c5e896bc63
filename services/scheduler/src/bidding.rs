//! From a gig to a decision: skip it, shadow it, hold a bid for a human, or have it sent.
//!
//! The rule itself is `domain::bidding`. What is added here: the agent's row is locked, so that caps counted in this
//! transaction hold across replicas, and the decision and its effect are saved together. A bid the agent writes itself
//! takes the same way once it is written: see [`writing`].

use domain::agent_file::{Mode, Write};
use domain::bidding::{self, Decision, Score};
use domain::money::MicroUsdc;
use domain::proposal::State;
use serde_json::{Value, json};
use store::agents::Agent;
use store::gigs::{self, NewGig};
use store::proposals::{self, NewProposal};
use store::{Tx, agents};
use uuid::Uuid;

use crate::desk::Desk;
use crate::error::Error;
use crate::metrics::BIDS;

pub mod letter;
mod pause;
mod place;
pub mod writing;

pub use pause::if_failing as pause_if_failing;

use place::{Bid, Row};

/// The reason of a proposal that is only watched; such ones count against no cap.
pub const SHADOW: &str = "shadow";

/// What was decided about a gig.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Verdict {
    /// It was decided on before.
    Seen,
    /// Not worth a bid, or not wanted; the reason.
    Skipped(String),
    /// Scored and priced, never sent.
    Shadow,
    /// Its agent is asked for the bid.
    Asked,
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
            let (amount, hours) = (amount, estimated_hours);
            let fresh = Fresh { gig_id, gig, score };
            bid_on(desk, tx, &agent, fresh, (amount, hours), traceparent).await?
        }
    };
    let decision = count(&verdict);
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
    pause::tell_if_held(tx, agent, load).await?;
    Ok(bidding::decide(&known(gig, bids), &agent.spec.bidding, load, now))
}

/// A gig that is bid on.
struct Fresh<'a> {
    gig_id: Uuid,
    gig: &'a NewGig,
    score: Score,
}

/// Asks the agent for its bid, where it writes its own and is not asked for too many already, else writes it.
async fn bid_on(
    desk: &Desk,
    tx: &mut Tx,
    agent: &Agent,
    fresh: Fresh<'_>,
    (amount, hours): (MicroUsdc, u32),
    traceparent: Option<&str>,
) -> Result<Verdict, Error> {
    match agent.spec.bidding.write {
        Write::Agent => {
            if let Some(verdict) = writing::ask(tx, agent, &fresh, traceparent).await? {
                return Ok(verdict);
            }
        }
        Write::Template => writing::all_is_well(tx, &agent.name).await?,
    }
    let bid = Bid {
        agent,
        gig_id: fresh.gig_id,
        gig: fresh.gig,
        permille: fresh.score.total,
        amount,
        hours,
        run_id: None,
        traceparent,
    };
    let row = Row::New(proposal(fresh.gig_id, agent, State::Considered, Some(&fresh.score)));
    let letter = place::from_template(tx, &bid).await?;
    place::place(desk, tx, &bid, letter, row).await
}

/// The rule's own view of a gig.
fn known(gig: &NewGig, bids: u32) -> bidding::Gig {
    bidding::Gig {
        title: gig.title.clone(),
        description: gig.description.clone(),
        category: gig.category.clone(),
        skills: gig.skills.clone(),
        budget: gig.budget,
        deadline: gig.deadline,
        proposals: bids,
    }
}

fn count(verdict: &Verdict) -> &'static str {
    let decision = match verdict {
        Verdict::Bid => "bid",
        Verdict::Held => "held",
        Verdict::Shadow => "shadow",
        Verdict::Asked => "asked",
        Verdict::Skipped(_) | Verdict::Seen => "skipped",
    };
    metrics::counter!(BIDS, "decision" => decision).increment(1);
    decision
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
