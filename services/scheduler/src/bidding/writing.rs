//! Bids the agents write themselves (`bidding.write = "agent"`): one run of kind `propose` for each gig that passed every
//! rule, and its answer on the way every bid takes.
//!
//! Until it is answered the proposal is considered, counts against the day and says [`WRITING`]. Such a run is never
//! parked: one that comes to nothing, or to nothing in time, leaves the bid to the template, and one notice per agent
//! says so. What has changed meanwhile is looked at in the transaction that wishes for the bid.

use std::time::Duration;

use domain::agent_file::Mode;
use domain::bidding::{self, Answer, Offer};
use domain::money::MicroUsdc;
use domain::proposal::State;
use domain::run::{self, Command, Kind};
use serde_json::Value;
use store::agents::{self, Agent};
use store::gigs::{self, NewGig};
use store::proposals::{self, NewProposal, Proposal};
use store::runs::{self, NewRun, Note, Run};
use store::{Tx, notices, observations};
use uuid::Uuid;

use super::place::{self, Bid, Row};
use super::{Fresh, Verdict, count, known, proposal};
use crate::contracts::MAX_ATTEMPTS;
use crate::desk::Desk;
use crate::error::Error;
use crate::outages;

/// The reason of a proposal whose bid is being written.
pub const WRITING: &str = "its agent is writing the bid";
/// The kind of the notice that bids come from the template instead; its key is the agent's name.
const NOT_WRITTEN: &str = "bids_not_written";
/// Work that is paid for goes first.
const PRIORITY: i32 = -10;
/// A letter takes a model minutes.
const LONGEST_ATTEMPT: Duration = Duration::from_secs(10 * 60);
/// Bids of one agent that are being written at once; beyond that the template writes.
const MOST_OPEN: u32 = 20;
/// Bids it is asked for in a day, for each it may make: an agent that declines everything costs no more.
const ASKED_PER_BID: u32 = 5;
/// Why an attempt failed is kept up to here, characters.
const LONGEST_ERROR: usize = 2000;
/// Why the template wrote it.
const LATE: &str = "it was not written in time";
/// What an attempt that ended says, where the bid is to blame.
const REASON: &str = "bid";

/// Whether a run may begin.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Begin {
    /// It may.
    Now,
    /// The agent's models cannot be called.
    Later,
    /// Nobody needs the bid any more, or somebody else has the run.
    Never,
}

/// Queues the run that writes a bid. `None` when too many are being written already.
pub(super) async fn ask(
    tx: &mut Tx,
    agent: &Agent,
    fresh: &Fresh<'_>,
    traceparent: Option<&str>,
) -> Result<Option<Verdict>, Error> {
    let asked = proposals::asked(tx, &agent.name, WRITING).await?;
    let cap = agent.spec.bidding.max_bids_per_day;
    if cap.is_some_and(|cap| asked.today >= cap.saturating_mul(ASKED_PER_BID)) {
        let reason = format!("the agent was asked for {} bids today, which is the cap", asked.today);
        let skipped = NewProposal {
            reason: Some(reason.clone()),
            ..proposal(fresh.gig_id, agent, State::Skipped, Some(&fresh.score))
        };
        proposals::insert(tx, &skipped).await?;
        return Ok(Some(Verdict::Skipped(reason)));
    }
    if asked.open >= MOST_OPEN {
        return Ok(None);
    }
    let considered = NewProposal {
        reason: Some(WRITING.to_owned()),
        ..proposal(fresh.gig_id, agent, State::Considered, Some(&fresh.score))
    };
    if proposals::insert(tx, &considered).await?.is_none() {
        return Ok(Some(Verdict::Seen));
    }
    let now = observations::clock_in_tx(tx).await?;
    let run = NewRun {
        agent: agent.name.clone(),
        kind: Kind::Propose,
        contract_id: None,
        gig_id: Some(fresh.gig_id),
        natural_key: format!("{}/{}", Kind::Propose.name(), fresh.gig_id),
        version: agent.version.clone(),
        revision_no: 0,
        priority: PRIORITY,
        max_attempts: i32::try_from(MAX_ATTEMPTS).unwrap_or(i32::MAX),
        deadline: Some(bidding::write_by(fresh.gig.deadline, now)),
        timeout: agent.spec.run.timeout.min(LONGEST_ATTEMPT),
        budget_micro: agent.spec.budget.per_proposal_usd.0,
        request: None,
        traceparent: traceparent.map(str::to_owned),
    };
    runs::insert(tx, &run).await?;
    Ok(Some(Verdict::Asked))
}

/// Nothing is wrong with the agent's bids any more.
pub(super) async fn all_is_well(tx: &mut Tx, agent: &str) -> Result<(), Error> {
    notices::resolve(tx, NOT_WRITTEN, agent).await?;
    Ok(())
}

/// To be asked before a leased run of a bid is given away. One that nobody needs any more is called off.
///
/// # Errors
/// When the store is away.
pub async fn begin(desk: &Desk, run: &Run) -> Result<Begin, Error> {
    let token = run.lease_token.unwrap_or_default();
    store::run_tx!(desk.store, "bid_begin", Error, |tx| {
        let run = match runs::held(tx, run.id, token).await {
            Ok(run) => run,
            Err(store::Error::Stale { .. }) => return Ok(Begin::Never),
            Err(error) => return Err(error.into()),
        };
        if is_late(tx, &run).await? {
            give_up(desk, tx, &run, LATE).await?;
            return Ok(Begin::Never);
        }
        let unwanted = match Wanted::of(tx, &run).await? {
            None => Some(None),
            Some(wanted) => wanted.no_more(tx).await?.map(|reason| Some((wanted, reason))),
        };
        if let Some(skipped) = unwanted {
            call_off(desk, tx, &run, "the bid is no longer wanted").await?;
            if let Some((wanted, reason)) = skipped {
                wanted.skip(tx, reason).await?;
            }
            return Ok(Begin::Never);
        }
        let waits = outages::bids_wait(tx, &run.agent).await?;
        Ok(if waits.is_some() { Begin::Later } else { Begin::Now })
    })
}

/// What an attempt's outcome comes to: a bid that must not go out as it is fails it, and says why.
///
/// # Errors
/// When the store is away.
pub async fn judge(desk: &Desk, run: &Run, (command, note): (Command, Note)) -> Result<(Command, Note), Error> {
    let problem = match (&command, &note.result) {
        (Command::Wait(_), _) => Some("nobody answers before there is a bid: write it, or decline".to_owned()),
        (Command::Succeed, Some(result)) => match Answer::read(result) {
            Ok(Answer::Offer(offer)) => problems(desk, run, &offer).await?,
            Ok(Answer::Decline(_)) => None,
            Err(why) => Some(why),
        },
        _ => None,
    };
    let Some(problem) = problem else {
        return Ok((command, note));
    };
    let error = format!("{REASON}: {problem}").chars().take(LONGEST_ERROR).collect();
    let note = Note {
        error: Some(error),
        ..Note::default()
    };
    Ok((Command::Fail, note))
}

async fn problems(desk: &Desk, run: &Run, offer: &Offer) -> Result<Option<String>, Error> {
    let agent = agents::get(&desk.store, &run.agent).await?;
    let budget = match run.gig_id {
        Some(gig) => gigs::get(&desk.store, gig).await?.budget_micro.map(MicroUsdc),
        None => None,
    };
    let found = offer.problems(budget, &agent.spec.bidding);
    Ok((!found.is_empty()).then(|| found.join("; ")))
}

/// Takes in how an attempt ended, in the transaction that ends it. The run is as it was leased.
///
/// # Errors
/// When a row cannot be saved.
pub async fn ended(desk: &Desk, tx: &mut Tx, run: &Run, step: &run::Step, note: &Note) -> Result<(), Error> {
    match (&step.run.state, &note.result) {
        (run::State::Succeeded, Some(result)) => written(desk, tx, run, result).await,
        (run::State::Parked, _) => {
            let why = note.error.as_deref().unwrap_or("it failed too often");
            give_up(desk, tx, run, why).await
        }
        _ => Ok(()),
    }
}

/// Takes in that the agent cannot do this gig: it does not bid on it. The run is parked by now.
///
/// # Errors
/// When a row cannot be saved.
pub async fn cannot(desk: &Desk, tx: &mut Tx, run: &Run, note: &Note) -> Result<(), Error> {
    let why = note.error.clone().unwrap_or_default();
    call_off(desk, tx, run, &why).await?;
    match Wanted::of(tx, run).await? {
        Some(wanted) => wanted.skip(tx, why).await,
        None => Ok(()),
    }
}

/// Calls the run off and leaves the bid to the template, if it is still wanted.
///
/// # Errors
/// When a row cannot be saved.
pub async fn give_up(desk: &Desk, tx: &mut Tx, run: &Run, why: &str) -> Result<(), Error> {
    call_off(desk, tx, run, why).await?;
    let Some(wanted) = Wanted::of(tx, run).await? else {
        return Ok(());
    };
    if let Some(reason) = wanted.no_more(tx).await? {
        return wanted.skip(tx, reason).await;
    }
    let agent = &wanted.agent;
    let budget = wanted.gig.budget.unwrap_or(agent.spec.bidding.min_price_usdc);
    let amount = bidding::usual_price(budget, &agent.spec.bidding);
    let bid = wanted.bid(run, amount, None);
    let letter = place::from_template(tx, &bid).await?;
    let verdict = place::place(desk, tx, &bid, letter, Row::Kept(wanted.proposal.id)).await?;
    wanted.tell(&verdict);
    let name = &agent.name;
    let body = format!(
        "{name} did not write its bid on {:?}: {why}. The template wrote it instead, as it does whenever that happens; \
         `steward runs logs {}` has the rest. This ends with the next bid it writes",
        wanted.gig.title, run.id
    );
    notices::raise(tx, NOT_WRITTEN, name, &body).await?;
    Ok(())
}

/// Leaves bids to the template that are not written although it is time. Answers whether there were any.
///
/// # Errors
/// When the store is away.
pub async fn sweep(desk: &Desk) -> Result<bool, Error> {
    let overdue = runs::overdue_bids(&desk.store).await?;
    for id in &overdue {
        let left = store::run_tx!(desk.store, "bid_overdue", Error, |tx| {
            let run = runs::lock(tx, *id).await?;
            if !run.machine.state.is_closed() && is_late(tx, &run).await? {
                give_up(desk, tx, &run, LATE).await?;
            }
            Ok(())
        });
        match left {
            Err(error) if error.is_transient() => return Err(error),
            // One that cannot be ended keeps no other from it.
            Err(error) => tracing::warn!(run.id = %id, %error, "a bid nobody wrote in time could not be ended"),
            Ok(()) => {}
        }
    }
    Ok(!overdue.is_empty())
}

async fn is_late(tx: &mut Tx, run: &Run) -> Result<bool, Error> {
    let now = observations::clock_in_tx(tx).await?;
    Ok(run.deadline.is_some_and(|deadline| deadline <= now))
}

async fn call_off(desk: &Desk, tx: &mut Tx, run: &Run, why: &str) -> Result<(), Error> {
    let note = Note {
        error: Some(why.to_owned()),
        ..Note::default()
    };
    let policy = desk.config.runs.policy();
    runs::advance(tx, run.id, None, &Command::Cancel, &policy, &note).await?;
    Ok(())
}

async fn written(desk: &Desk, tx: &mut Tx, run: &Run, result: &Value) -> Result<(), Error> {
    let Some(wanted) = Wanted::of(tx, run).await? else {
        return Ok(());
    };
    all_is_well(tx, &run.agent).await?;
    let offer = match Answer::read(result) {
        Ok(Answer::Offer(offer)) => offer,
        Ok(Answer::Decline(reason)) => return wanted.skip(tx, format!("declined by its agent: {reason}")).await,
        Err(why) => return wanted.skip(tx, why).await,
    };
    // It was judged before; its agent's limits may be others by now.
    let problems = offer.problems(wanted.gig.budget, &wanted.agent.spec.bidding);
    if let Some(reason) = wanted.no_more(tx).await?.or_else(|| problems.first().cloned()) {
        return wanted.skip(tx, reason).await;
    }
    let bid = wanted.bid(run, offer.amount, offer.hours);
    let verdict = place::place(desk, tx, &bid, offer.letter, Row::Kept(wanted.proposal.id)).await?;
    wanted.tell(&verdict);
    Ok(())
}

/// What waits for a bid.
struct Wanted {
    /// Locked: caps counted from now on hold.
    agent: Agent,
    gig_id: Uuid,
    gig: NewGig,
    proposal: Proposal,
}

impl Wanted {
    /// `None` when the proposal is no longer waiting: the client took it, or the agent was removed.
    async fn of(tx: &mut Tx, run: &Run) -> Result<Option<Self>, Error> {
        let agent = agents::lock(tx, &run.agent).await?;
        let Some(gig_id) = run.gig_id else { return Ok(None) };
        let Some(proposal) = proposals::lock_of_gig(tx, gig_id).await? else {
            return Ok(None);
        };
        if proposal.state != State::Considered || proposal.reason.as_deref() != Some(WRITING) {
            return Ok(None);
        }
        let gig = gigs::read(tx, gig_id).await?.into();
        Ok(Some(Self {
            agent,
            gig_id,
            gig,
            proposal,
        }))
    }

    /// Why there is to be no bid after all: what was looked at before it was asked for, but for the score.
    async fn no_more(&self, tx: &mut Tx) -> Result<Option<String>, Error> {
        if self.agent.mode == Mode::Off {
            return Ok(Some("the agent's mode is off".to_owned()));
        }
        if self.agent.paused {
            return Ok(Some("the agent is paused".to_owned()));
        }
        let (mut load, now) = proposals::load(tx, &self.agent.name).await?;
        // Its own place in the day is kept for it.
        if self.proposal.created_at.date_naive() == now.date_naive() {
            load.bids_today = load.bids_today.saturating_sub(1);
        }
        let rules = &self.agent.spec.bidding;
        Ok(bidding::ruled_out(&known(&self.gig, 0), rules, load, now))
    }

    fn bid<'a>(&'a self, run: &'a Run, amount: MicroUsdc, hours: Option<u32>) -> Bid<'a> {
        Bid {
            agent: &self.agent,
            gig_id: self.gig_id,
            gig: &self.gig,
            permille: self.proposal.score_permille.map_or(0, i32::unsigned_abs),
            amount,
            hours: hours.unwrap_or_else(|| bidding::usual_hours(amount)),
            run_id: Some(run.id),
            traceparent: run.traceparent.as_deref(),
        }
    }

    async fn skip(&self, tx: &mut Tx, reason: String) -> Result<(), Error> {
        proposals::advance(tx, &self.proposal, &State::Skipped, None, Some(&reason)).await?;
        self.tell(&Verdict::Skipped(reason));
        Ok(())
    }

    fn tell(&self, verdict: &Verdict) {
        let decision = count(verdict);
        let (agent, gig) = (&self.agent.name, &self.gig.external_id);
        tracing::info!(agent, gig, decision, "decided about a bid its agent was asked for");
    }
}
