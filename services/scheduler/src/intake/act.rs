//! What each event does.

use std::time::Duration;

use chrono::{DateTime, TimeDelta, Utc};
use clawgig::Event;
use clawgig::event::{ContractApproved, ContractNews, Data, GigPosted, MessageReceived, ProposalAccepted};
use domain::contract::{Command, State};
use domain::message::{Class, classify};
use domain::money::MicroUsdc;
use domain::proposal;
use store::contracts::{self as rows, NewContract};
use store::gigs::{self, NewGig};
use store::intake::Claimed;
use store::messages::{self, Side};
use store::{Tx, agents, duties, notices, proposals};
use uuid::Uuid;

use super::fee::fee_of;
use super::{Done, reply};
use crate::bidding::{self, Verdict};
use crate::contracts::{self, Step};
use crate::desk::Desk;
use crate::error::Error;
use crate::reconcile;
use crate::wake::Topic;

/// An event this old by its own, signed time is a hint for a read only: the marketplace repeats for no longer.
const OLDEST: TimeDelta = TimeDelta::hours(72);
/// Foreign text kept in a timeline, characters.
const LONGEST_DETAIL: usize = 500;

/// What every handler needs to know.
struct Occasion<'a> {
    desk: &'a Desk,
    agent: &'a str,
    row: Uuid,
    told_by_read: bool,
    /// When the marketplace says it happened.
    said_at: Option<DateTime<Utc>>,
    source: String,
    traceparent: Option<&'a str>,
}

/// Acts on one event.
///
/// # Errors
/// When a row cannot be read or saved.
pub(super) async fn on(
    desk: &Desk,
    tx: &mut Tx,
    row: &Claimed,
    event: Event,
    traceparent: Option<&str>,
) -> Result<Done, Error> {
    let occasion = Occasion {
        desk,
        agent: &row.agent,
        row: row.id,
        told_by_read: row.told_by_read,
        said_at: event.timestamp,
        source: format!("inbox/{}", row.id),
        traceparent,
    };
    let outdated = is_outdated(event.timestamp, row.received_at);
    let name = event.name;
    let mut done = match event.data {
        Data::Test => outcome("test"),
        Data::Unknown { .. } => unknown(tx, &occasion).await?,
        Data::GigPosted(_) if outdated => outcome("outdated"),
        Data::GigPosted(gig) => gig_posted(tx, &occasion, *gig).await?,
        // The signature is good, the time is not: what it says is looked up instead of believed.
        _ if row.stale || outdated => left_to_a_read(tx, &occasion, "stale: left to a read").await?,
        Data::ProposalAccepted(news) => accepted(tx, &occasion, news).await?,
        Data::ContractFunded(news) => moved(tx, &occasion, news, &Command::FundedEvent).await?,
        Data::ContractDelivered(news) => moved(tx, &occasion, news, &Command::DeliveredEvent).await?,
        Data::ContractDisputed(news) => moved(tx, &occasion, news, &Command::DisputedEvent).await?,
        Data::ContractResolved(news) => moved(tx, &occasion, news, &Command::ResolvedEvent).await?,
        Data::ContractApproved(news) => approved(tx, &occasion, news).await?,
        Data::MessageReceived(message) => said(tx, &occasion, message).await?,
        Data::ReviewReceived(review) => {
            let contract = known(tx, &occasion, &review.contract_id, None, None).await?;
            let stars = review
                .rating_centi
                .map_or_else(|| "none".to_owned(), |centi| format!("{}/500", centi));
            let detail = format!("rating {stars}");
            timeline(tx, &occasion, contract, "review", Some(&detail)).await?;
            outcome("review")
        }
    };
    done.event = name;
    Ok(done)
}

fn is_outdated(said_at: Option<DateTime<Utc>>, received_at: DateTime<Utc>) -> bool {
    said_at.is_some_and(|said_at| received_at - said_at > OLDEST)
}

async fn unknown(tx: &mut Tx, occasion: &Occasion<'_>) -> Result<Done, Error> {
    left_to_a_read(tx, occasion, "unknown_event").await
}

/// Has the agent's contracts read soon.
async fn left_to_a_read(tx: &mut Tx, occasion: &Occasion<'_>, what: &str) -> Result<Done, Error> {
    duties::hasten(tx, reconcile::CONTRACTS, occasion.agent, Duration::ZERO).await?;
    Ok(Done {
        topics: vec![Topic::Duties],
        ..outcome(what)
    })
}

async fn gig_posted(tx: &mut Tx, occasion: &Occasion<'_>, gig: GigPosted) -> Result<Done, Error> {
    let bids = u32::try_from(gig.proposal_count.unwrap_or(0)).unwrap_or(u32::MAX);
    let gig = NewGig {
        agent: occasion.agent.to_owned(),
        external_id: gig.gig_id,
        title: gig.title,
        description: gig.description,
        category: gig.category.unwrap_or_default(),
        skills: gig.skills,
        budget: gig.budget_micro.map(MicroUsdc),
        deadline: gig.deadline,
        client_name: gig.client_name,
        deliverables: None,
    };
    let verdict = bidding::consider(occasion.desk, tx, &gig, bids, occasion.traceparent).await?;
    Ok(match verdict {
        Verdict::Seen => outcome("seen before"),
        Verdict::Skipped(reason) => outcome(&format!("skipped: {reason}")),
        Verdict::Shadow => outcome("shadow bid"),
        Verdict::Asked => Done {
            topics: vec![Topic::Dispatch],
            ..outcome("bid being written")
        },
        Verdict::Held => outcome("bid held"),
        Verdict::Bid => Done {
            topics: vec![Topic::Courier],
            ..outcome("bid")
        },
    })
}

async fn accepted(tx: &mut Tx, occasion: &Occasion<'_>, news: ProposalAccepted) -> Result<Done, Error> {
    let gig = match &news.gig_id {
        Some(external) => gigs::find(tx, occasion.agent, external).await?,
        None => None,
    };
    let proposal = match &gig {
        Some(gig) => proposals::lock_of_gig(tx, gig.id).await?,
        None => None,
    };
    if let Some(proposal) = &proposal {
        let external = news.proposal_id.as_deref();
        proposals::advance(tx, proposal, &proposal::State::Accepted, external, None).await?;
    }
    let new = NewContract {
        agent: occasion.agent.to_owned(),
        external_id: news.contract_id,
        gig_id: gig.as_ref().map(|gig| gig.id),
        proposal_id: proposal.map(|proposal| proposal.id),
        title: title(news.gig_title)
            .or_else(|| gig.as_ref().map(|gig| gig.title.clone()))
            .unwrap_or_default(),
        amount: MicroUsdc(news.amount_micro.unwrap_or(0)),
        deadline: gig.and_then(|gig| gig.deadline),
        traceparent: occasion.traceparent.map(str::to_owned),
    };
    let contract = keep(tx, occasion, &new).await?;
    // Funded first, linked to its gig only now: the work could not be queued before.
    let queued = contracts::ensure_work(tx, contract, occasion.traceparent).await?;
    let step = step(tx, occasion, contract, &Command::AcceptedEvent).await?;
    let mut done = stepped(&step);
    if queued {
        done.topics.push(Topic::Dispatch);
    }
    Ok(done)
}

async fn moved(tx: &mut Tx, occasion: &Occasion<'_>, news: ContractNews, command: &Command) -> Result<Done, Error> {
    let amount = match command {
        // The only events whose amount is the contract's price.
        Command::FundedEvent => news.amount_micro,
        _ => None,
    };
    let contract = known(tx, occasion, &news.contract_id, news.gig_title, amount).await?;
    let step = step(tx, occasion, contract, command).await?;
    if matches!(command, Command::DisputedEvent | Command::ResolvedEvent) {
        timeline(tx, occasion, contract, "said", news.detail.as_deref()).await?;
    }
    Ok(stepped(&step))
}

async fn approved(tx: &mut Tx, occasion: &Occasion<'_>, news: ContractApproved) -> Result<Done, Error> {
    let (earned, fee) = (news.amount_earned_micro, news.platform_fee_micro);
    let gross = earned.zip(fee).and_then(|(earned, fee)| earned.checked_add(fee));
    let contract = known(tx, occasion, &news.contract_id, news.gig_title, gross).await?;
    let before = rows::lock(tx, contract).await?;
    if before.settled_at.is_none() {
        let permille = occasion.desk.config.marketplace.fee_permille;
        let (fee, doubt) = fee_of(before.amount, earned, fee, permille);
        rows::note_fee(tx, contract, fee).await?;
        if let Some(doubt) = doubt {
            contracts::attention(tx, contract, contracts::BOOKS, &doubt).await?;
        }
    }
    let step = step(tx, occasion, contract, &Command::ApprovedEvent).await?;
    notices::resolve_of_contract(tx, contracts::ATTENTION, contract).await?;
    Ok(stepped(&step))
}

async fn said(tx: &mut Tx, occasion: &Occasion<'_>, message: MessageReceived) -> Result<Done, Error> {
    let contract = known(tx, occasion, &message.contract_id, None, None).await?;
    let side = if message.from_agent { Side::Agent } else { Side::Client };
    if is_known(tx, occasion, contract, side, &message).await? {
        return Ok(outcome("seen before"));
    }
    let named = message.message_id.clone();
    let natural_key = named.unwrap_or_else(|| occasion.row.to_string());
    if !messages::put(tx, contract, side, &natural_key, &message.text, None).await? {
        return Ok(outcome("seen before"));
    }
    if occasion.told_by_read && message.message_id.is_some() {
        messages::told_by_read(tx, contract, &natural_key).await?;
    }
    // The event tells only the text.
    duties::hasten(tx, reconcile::MESSAGES, occasion.agent, Duration::ZERO).await?;
    let mut topics = vec![Topic::Dispatch, Topic::Duties];
    let woken = messages::wake_runs(tx, contract).await?;
    let contract = rows::lock(tx, contract).await?;
    if contract.machine.state == State::Delivered {
        // Perhaps a wish for changes: only reads can tell.
        duties::hasten(tx, reconcile::CONTRACTS, occasion.agent, Duration::ZERO).await?;
    }
    let class = classify(&message.text);
    if woken == 0 {
        let agent = agents::read(tx, occasion.agent).await?;
        let heard = reply::Heard {
            agent: &agent,
            contract: &contract,
            side,
            class,
            natural_key: &natural_key,
        };
        let (topic, told) = reply::answer(tx, &heard, &message.text, occasion.traceparent).await?;
        topics.extend(topic);
        if let Some(told) = told {
            contracts::hand_over(tx, contract.id, told).await?;
        }
    }
    Ok(Done {
        topics,
        ..outcome(&heard_as(class))
    })
}

/// Webhooks name no message and reads do, so each may tell of one that is known from the other.
async fn is_known(
    tx: &mut Tx,
    occasion: &Occasion<'_>,
    contract: Uuid,
    side: Side,
    message: &MessageReceived,
) -> Result<bool, Error> {
    let known = match &message.message_id {
        None => messages::heard_again(tx, contract, side, &message.text, occasion.said_at).await?,
        Some(id) if occasion.told_by_read => {
            let heard = messages::Heard {
                contract: &message.contract_id,
                side,
                body: &message.text,
                said_at: occasion.said_at,
            };
            messages::recognise(tx, occasion.agent, id, heard).await?
        }
        Some(_) => false,
    };
    Ok(known)
}

/// The contract an event is about; one heard of for the first time is kept, for a read to fill in.
async fn known(
    tx: &mut Tx,
    occasion: &Occasion<'_>,
    external_id: &str,
    gig_title: Option<String>,
    amount: Option<i64>,
) -> Result<Uuid, Error> {
    let new = NewContract {
        agent: occasion.agent.to_owned(),
        external_id: external_id.to_owned(),
        title: title(gig_title).unwrap_or_default(),
        amount: MicroUsdc(amount.unwrap_or(0)),
        traceparent: occasion.traceparent.map(str::to_owned),
        ..NewContract::default()
    };
    keep(tx, occasion, &new).await
}

async fn keep(tx: &mut Tx, occasion: &Occasion<'_>, new: &NewContract) -> Result<Uuid, Error> {
    let (id, fresh) = rows::put(tx, new).await?;
    if fresh {
        timeline(tx, occasion, id, "heard_of", None).await?;
        duties::hasten(
            tx,
            reconcile::CONTRACTS,
            occasion.agent,
            occasion.desk.config.reconcile.contracts_every,
        )
        .await?;
    }
    Ok(id)
}

async fn step(tx: &mut Tx, occasion: &Occasion<'_>, contract: Uuid, command: &Command) -> Result<Step, Error> {
    contracts::step(tx, contract, command, &occasion.source, occasion.traceparent).await
}

async fn timeline(
    tx: &mut Tx,
    occasion: &Occasion<'_>,
    contract: Uuid,
    what: &str,
    detail: Option<&str>,
) -> Result<(), Error> {
    let state = rows::lock(tx, contract).await?.machine.state.to_string();
    let detail: Option<String> = detail.map(|detail| detail.chars().take(LONGEST_DETAIL).collect());
    rows::event(tx, contract, what, &occasion.source, &state, &state, detail.as_deref()).await?;
    Ok(())
}

fn stepped(step: &Step) -> Done {
    let what = if step.changed {
        format!("step: {}", step.after.state)
    } else {
        "no change".to_owned()
    };
    Done {
        wishes: step.wishes.clone(),
        ..outcome(&what)
    }
}

/// What a message seems to be, where that is more than one.
fn heard_as(class: Class) -> String {
    match class {
        Class::Other => "message".to_owned(),
        class => format!("message: {}", class.name()),
    }
}

fn title(title: Option<String>) -> Option<String> {
    title.filter(|title| !title.trim().is_empty())
}

fn outcome(what: &str) -> Done {
    Done {
        outcome: what.to_owned(),
        ..Done::default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_an_event_older_than_every_repeat_is_outdated() {
        let now = Utc::now();
        assert!(!is_outdated(None, now));
        assert!(!is_outdated(Some(now - TimeDelta::hours(71)), now));
        assert!(is_outdated(Some(now - TimeDelta::hours(73)), now));
    }
}
