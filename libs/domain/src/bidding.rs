//! Whether to bid on a gig and for how much. Pure arithmetic in thousandths: every part can be shown to a person.

use chrono::{DateTime, Utc};
use serde::Serialize;

use crate::{agent_file::Bidding, money::MicroUsdc};

mod offer;
mod refusal;

pub use offer::{Answer, LONGEST_LETTER, Offer, SHORTEST_LETTER, bounds, write_by};
pub use refusal::refused_for;

/// Weight of each part of the score, thousandths; they add up to 1000.
const WEIGHTS: [(Part, u32); 5] = [
    (Part::Skills, 350),
    (Part::Budget, 250),
    (Part::Deadline, 150),
    (Part::Competition, 150),
    (Part::Client, 100),
];

/// Proposals on a gig that make one more nearly hopeless.
const CROWD: u32 = 20;

const NO_BUDGET: &str = "the gig names no budget";

/// A part of the score.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Part {
    /// Skills wanted that the agent has.
    Skills,
    /// Budget against the least price.
    Budget,
    /// Time left.
    Deadline,
    /// Proposals already there.
    Competition,
    /// What is known of the client; nothing yet counts as middling.
    Client,
}

/// What is known of a gig.
#[derive(Debug, Clone, Default)]
pub struct Gig {
    /// Title and description, where refusals are looked for.
    pub title: String,
    /// Description.
    pub description: String,
    /// The marketplace's category.
    pub category: String,
    /// Skills the client wants.
    pub skills: Vec<String>,
    /// The client's budget; `None` when the platform sent none.
    pub budget: Option<MicroUsdc>,
    /// When it has to be done.
    pub deadline: Option<DateTime<Utc>>,
    /// Proposals already there.
    pub proposals: u32,
}

/// What the agent is busy with.
#[derive(Debug, Clone, Copy, Default)]
pub struct Load {
    /// Bids made today (UTC): sent, on their way, or held.
    pub bids_today: u32,
    /// Of these, held for a human.
    pub held_today: u32,
    /// Contracts not yet delivered, and proposals that may still become some are not counted.
    pub open_contracts: u32,
}

/// The score with its parts, thousandths.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Score {
    /// 0 to 1000.
    pub total: u32,
    /// Each part, 0 to 1000, before its weight.
    pub parts: Vec<(Part, u32)>,
}

/// What to do about a gig.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Decision {
    /// Leave it, and why.
    Skip {
        /// A sentence for `steward gigs show`.
        reason: String,
        /// The score, where it got that far.
        score: Option<Score>,
    },
    /// Bid.
    Bid {
        /// The score.
        score: Score,
        /// The price: the client's budget, within the agent's limits.
        amount: MicroUsdc,
        /// Hours to name in the proposal.
        estimated_hours: u32,
    },
}

fn full(load: Load) -> String {
    let sent = load.bids_today.saturating_sub(load.held_today);
    match load.held_today {
        0 => format!("{sent} bids went out today, which is the cap"),
        held => format!("{sent} bids went out today and {held} wait for approval, together the cap"),
    }
}

/// Decides about one gig. The caps, price limits and refusals hold whatever the score.
#[must_use]
pub fn decide(gig: &Gig, rules: &Bidding, load: Load, now: DateTime<Utc>) -> Decision {
    let skip = |reason: String| Decision::Skip { reason, score: None };
    if let Some(reason) = ruled_out(gig, rules, load, now) {
        return skip(reason);
    }
    let Some(budget) = gig.budget else {
        return skip(NO_BUDGET.to_owned());
    };
    let score = score(gig, rules, budget, now);
    if score.total < rules.min_score {
        let reason = format!("score {} is below {}", score.total, rules.min_score);
        return Decision::Skip {
            reason,
            score: Some(score),
        };
    }
    let amount = usual_price(budget, rules);
    Decision::Bid {
        score,
        amount,
        estimated_hours: usual_hours(amount),
    }
}

/// Why there is no bid on a gig, whatever its score: refusals, categories, price limits, deadline, caps.
#[must_use]
pub fn ruled_out(gig: &Gig, rules: &Bidding, load: Load, now: DateTime<Utc>) -> Option<String> {
    if let Some(phrase) = refused_for(gig, &rules.refuse) {
        return Some(format!("on the refusal list: {phrase}"));
    }
    if !rules.categories.is_empty() && !contains(&rules.categories, &gig.category) {
        return Some(format!("category {:?} is not one of the agent's", gig.category));
    }
    let Some(budget) = gig.budget.filter(|budget| budget.0 > 0) else {
        return Some(NO_BUDGET.to_owned());
    };
    if budget < rules.min_price_usdc {
        let least = rules.min_price_usdc;
        return Some(format!("budget {budget} is below the least price {least}"));
    }
    if gig.deadline.is_some_and(|deadline| deadline <= now) {
        return Some("the deadline has passed".to_owned());
    }
    if rules.max_bids_per_day.is_some_and(|cap| load.bids_today >= cap) {
        return Some(full(load));
    }
    if rules.max_open_contracts.is_some_and(|cap| load.open_contracts >= cap) {
        let open = load.open_contracts;
        return Some(format!("{open} contracts are open, which is the cap"));
    }
    None
}

/// The price of a bid nobody thought about: the client's budget, within the agent's limits.
#[must_use]
pub fn usual_price(budget: MicroUsdc, rules: &Bidding) -> MicroUsdc {
    rules.max_price_usdc.map_or(budget, |max| budget.min(max))
}

/// Hours named in a bid that names none: twenty-five USDC an hour is what the marketplace's own samples assume.
#[must_use]
pub fn usual_hours(amount: MicroUsdc) -> u32 {
    u32::try_from(amount.0.div_euclid(25_000_000) + 1).unwrap_or(1)
}

fn score(gig: &Gig, rules: &Bidding, budget: MicroUsdc, now: DateTime<Utc>) -> Score {
    let parts: Vec<(Part, u32)> = WEIGHTS
        .iter()
        .map(|(part, _)| (*part, value(*part, gig, rules, budget, now)))
        .collect();
    let weighted: u32 = WEIGHTS
        .iter()
        .zip(&parts)
        .map(|((_, weight), (_, value))| weight * value)
        .sum();
    Score {
        total: weighted / 1000,
        parts,
    }
}

fn value(part: Part, gig: &Gig, rules: &Bidding, budget: MicroUsdc, now: DateTime<Utc>) -> u32 {
    match part {
        Part::Skills => {
            let wanted = u32::try_from(gig.skills.len()).unwrap_or(u32::MAX);
            let had = gig.skills.iter().filter(|skill| contains(&rules.skills, skill)).count();
            // A gig that names no skills neither fits nor misfits.
            u32::try_from(had)
                .unwrap_or(0)
                .saturating_mul(1000)
                .checked_div(wanted)
                .unwrap_or(500)
        }
        Part::Budget => {
            // Three times the least price is as good as it gets.
            let best = i128::from(rules.min_price_usdc.0) * 3;
            u32::try_from((i128::from(budget.0) * 1000 / best.max(1)).min(1000)).unwrap_or(0)
        }
        Part::Deadline => match gig.deadline {
            None => 800,
            Some(deadline) => {
                // A day is comfortable; less is worth less.
                let minutes = (deadline - now).num_minutes().clamp(0, 24 * 60);
                u32::try_from(minutes * 1000 / (24 * 60)).unwrap_or(0)
            }
        },
        Part::Competition => (CROWD.saturating_sub(gig.proposals)) * 1000 / CROWD,
        Part::Client => 500,
    }
}

fn contains(list: &[String], wanted: &str) -> bool {
    list.iter().any(|item| item.trim().eq_ignore_ascii_case(wanted.trim()))
}

#[cfg(test)]
mod tests;
