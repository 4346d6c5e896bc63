//! The market as it is: gigs arrive, others bid, clients decide, pay late, ask for changes, argue, review.
//!
//! Every gig has dice of its own, made of the seed and its number: what becomes of it depends on the seed, on who is
//! ready when it arrives and on what the agents do with it, not on what else happens at the time.

use std::time::Duration;

use serde::{Deserialize, Serialize};
use uuid::Uuid;

use super::{GigSpec, Status, World, client::Verdict, gigs::Auto, profile::CATEGORIES, proposals::State, templates};
use crate::{
    money::Micro,
    rng::{Rng, hash},
    settings::Profile,
    timers::Action,
};

const HOUR: Duration = Duration::from_secs(3600);
/// The month of `gigs_per_30_days`.
const MONTH_HOURS: f64 = 720.0;
/// The longest mean wait.
const LONGEST_HOURS: u64 = 10_000;
/// How often a contract is sent back by the same client.
const MAX_REVISIONS: u32 = 2;
/// Share of gigs for which a ready agent is fit, in thousandths.
const FITTING: u64 = 600;
/// What clients write while they wait, and when they want changes.
const WORDS: [&str; 3] = [
    "How is it going? No hurry, I only want to plan my week.",
    "One more thing: please keep the file names as they are.",
    "Will it be done before the deadline?",
];
const CHANGES: [&str; 3] = [
    "Thank you. Please make the introduction shorter and check the numbers again.",
    "Almost: the second part does not do what the brief asks for.",
    "Good work. Could you add one example at the end?",
];

/// The figures of the realistic profile; shares are in thousandths, waits are means of exponential distributions.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Market {
    pub gigs_per_30_days: u64,
    /// Budgets are log-normal around this, and clamped.
    pub budget_median_usdc: Micro,
    pub budget_least_usdc: Micro,
    pub budget_most_usdc: Micro,
    /// The width of that distribution, in hundredths.
    pub budget_sigma_percent: u64,
    /// How likely a proposal is to be accepted.
    pub acceptance_permille: u64,
    /// Bids of others per gig, on average.
    pub rivals: u64,
    /// How likely a gig with such bids goes to one of them, if to none of ours.
    pub rival_wins_permille: u64,
    pub decide_hours: u64,
    pub fund_hours: u64,
    /// Contracts that are never funded.
    pub abandon_permille: u64,
    pub message_permille: u64,
    pub approve_hours: u64,
    pub revision_permille: u64,
    pub dispute_permille: u64,
    pub resolve_hours: u64,
    pub review_permille: u64,
}

impl Default for Market {
    fn default() -> Self {
        Self {
            gigs_per_30_days: 75,
            budget_median_usdc: Micro(10_000_000),
            budget_least_usdc: Micro(3_000_000),
            budget_most_usdc: Micro(50_000_000),
            budget_sigma_percent: 75,
            acceptance_permille: 60,
            rivals: 5,
            rival_wins_permille: 700,
            decide_hours: 8,
            fund_hours: 3,
            abandon_permille: 40,
            message_permille: 300,
            approve_hours: 12,
            revision_permille: 150,
            dispute_permille: 30,
            resolve_hours: 48,
            review_permille: 600,
        }
    }
}

impl Market {
    /// What is wrong with the figures, if anything is.
    pub fn wrong(&self) -> Option<&'static str> {
        let shares = [
            self.acceptance_permille,
            self.rival_wins_permille,
            self.abandon_permille,
            self.message_permille,
            self.revision_permille,
            self.dispute_permille,
            self.review_permille,
        ];
        let hours = [
            self.decide_hours,
            self.fund_hours,
            self.approve_hours,
            self.resolve_hours,
        ];
        if shares.iter().any(|share| *share > 1000) {
            Some("market: a share in thousandths must be at most 1000")
        } else if hours.iter().any(|hours| *hours > LONGEST_HOURS) {
            Some("market: a wait must be at most 10000 hours")
        } else if !(1..=1_000_000).contains(&self.gigs_per_30_days) {
            Some("market: gigs_per_30_days must lie between 1 and 1000000")
        } else if self.budget_least_usdc.0 <= 0 || self.budget_most_usdc < self.budget_least_usdc {
            Some("market: budget_least_usdc must be above 0 and at most budget_most_usdc")
        } else if self.budget_median_usdc.0 <= 0 || self.budget_sigma_percent > 1000 || self.rivals > 1000 {
            Some("market: budget_median_usdc above 0, budget_sigma_percent and rivals at most 1000")
        } else {
            None
        }
    }

    fn budget(&self, dice: &mut Rng) -> Micro {
        let sigma = self.budget_sigma_percent as f64 / 100.0;
        let drawn = self.budget_median_usdc.0 as f64 * (sigma * dice.normal()).exp();
        // To the cent, as people write budgets.
        let cents = (drawn / 10_000.0).round().min(1e12) as i64;
        Micro((cents * 10_000).clamp(self.budget_least_usdc.0, self.budget_most_usdc.0))
    }
}

/// What happens on a realistic market.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Turn {
    /// A gig is posted.
    Arrive,
    /// Somebody else bids on a gig.
    Rival,
    /// The client of a gig decides.
    Decide,
    /// Somebody else has done a gig.
    Done,
    /// The client of a contract gives up before paying.
    Abandon,
    /// The client of a contract writes.
    Word,
    Revise,
    Dispute,
    Resolve,
    Review,
}

impl World {
    /// Lets gigs arrive, if the profile says so and they do not yet.
    pub fn start_market(&mut self) {
        if self.settings.profile == Profile::Realistic && !self.arriving {
            self.arriving = true;
            self.next_arrival();
        }
    }

    /// Takes a turn; what is no longer possible does not happen.
    pub fn turn(&mut self, turn: Turn, id: Uuid) {
        let say = |world: &mut Self, gig, words: &[&'static str]| {
            let word = world.roll(gig, |dice, _| dice.pick(words));
            word.unwrap_or_default().to_owned()
        };
        let gig = self.contract(id).map_or(id, |contract| contract.gig);
        match turn {
            Turn::Arrive => self.arrive(),
            Turn::Rival => {
                if let Some(gig) = self.gigs.get_mut(id).filter(|gig| gig.status == "open") {
                    gig.rivals += 1;
                }
            }
            Turn::Decide => self.decide(id),
            Turn::Done => self.close_gig(id, "completed"),
            Turn::Abandon => {
                let _ = self.cancel(id, Some("The client gave up".to_owned()));
            }
            Turn::Word => {
                let open = self.contract(id).is_ok_and(|one| one.status == Status::Funded);
                let word = say(self, gig, &WORDS);
                if open {
                    let _ = self.client_message(id, word, None, "client");
                }
            }
            Turn::Revise => {
                let change = say(self, gig, &CHANGES);
                let _ = self.revise(id, &change);
            }
            Turn::Dispute => {
                let _ = self.dispute(id, "The work does not do what the brief asks for");
            }
            Turn::Resolve => {
                let agent_wins = self.roll(gig, |dice, _| dice.chance(0.5)).unwrap_or_default();
                let (verdict, text) = if agent_wins {
                    (Verdict::Approved, "Resolved in favour of the agent")
                } else {
                    (Verdict::Cancelled, "Resolved in favour of the client")
                };
                let _ = self.resolve(id, verdict, text);
            }
            Turn::Review => {
                let rating = self.roll(gig, |dice, _| match dice.below(100) {
                    0..60 => 5,
                    60..85 => 4,
                    85..95 => 3,
                    95..98 => 2,
                    _ => 1,
                });
                let _ = self.review(id, rating.unwrap_or(5), None);
            }
        }
    }

    fn next_arrival(&mut self) {
        let mean = MONTH_HOURS / self.settings.market.gigs_per_30_days as f64;
        let wait = self.arrivals.exponential(mean);
        self.plan_hours(wait, Turn::Arrive, Uuid::nil());
    }

    fn arrive(&mut self) {
        if self.settings.profile != Profile::Realistic {
            self.arriving = false;
            return;
        }
        self.arrived += 1;
        let number = self.arrived.to_le_bytes();
        let mut dice = Rng::new(hash(&[&self.seed.to_le_bytes(), b"gig", &number]));
        let market = self.settings.market.clone();
        let budget = market.budget(&mut dice);
        let rivals = dice.below(2 * market.rivals + 1);
        let decided = dice.exponential(market.decide_hours as f64);
        let spec = self.fitting(&mut dice, budget);
        // The words of the gig come from its own dice too.
        std::mem::swap(&mut self.rng, &mut dice);
        let posted = self.post_gig(&spec, Auto::default(), None);
        std::mem::swap(&mut self.rng, &mut dice);
        let Ok(id) = posted else {
            // A full world takes no more: the market is quiet until it is reset.
            return;
        };
        for _ in 0..rivals {
            let share = dice.unit();
            self.plan_hours(decided * share, Turn::Rival, id);
        }
        self.plan_hours(decided, Turn::Decide, id);
        if let Some(gig) = self.gigs.get_mut(id) {
            gig.dice = Some(dice);
        }
        self.next_arrival();
    }

    /// A gig of any category, more often than not of one a ready agent has.
    fn fitting(&self, dice: &mut Rng, budget: Micro) -> GigSpec {
        let (any, fits, which) = (dice.below(CATEGORIES.len() as u64), dice.below(1000), dice.next());
        let ready: Vec<_> = self.agents.iter().filter(|agent| self.may_bid(agent).is_ok()).collect();
        let agent = ready
            .get((which % ready.len().max(1) as u64) as usize)
            .filter(|_| fits < FITTING);
        let category = match agent.and_then(|agent| agent.categories.first()) {
            Some(category) => category.clone(),
            None => CATEGORIES[any as usize].to_owned(),
        };
        let usual = templates::subject(templates::for_category(&category)).1;
        let skills = agent.map_or(usual, |agent| agent.skills.iter().take(2).cloned().collect());
        GigSpec {
            category: Some(category),
            skills_required: Some(skills),
            budget_usdc: Some(budget),
            ..GigSpec::default()
        }
    }

    /// The client accepts one of the agents' proposals, or somebody else's, or nobody's.
    fn decide(&mut self, gig: Uuid) {
        let Some(found) = self.gigs.get(gig).filter(|gig| gig.status == "open") else {
            return;
        };
        let (all, rivals) = (found.proposals.clone(), found.rivals);
        for id in &all {
            let pending = self.proposals.get(*id).is_some_and(|one| one.state == State::Pending);
            let wins = self.roll(gig, |dice, market| dice.below(1000) < market.acceptance_permille);
            if pending && wins == Some(true) && self.accept(gig, Some(*id)).is_ok() {
                return;
            }
        }
        for id in all {
            self.reject(gig, id);
        }
        let lost = self.roll(gig, |dice, market| dice.below(1000) < market.rival_wins_permille);
        if rivals > 0 && lost == Some(true) {
            self.close_gig(gig, "in_progress");
            self.plan_mean(gig, Turn::Done, gig, |market| market.fund_hours + market.approve_hours);
        } else {
            self.close_gig(gig, "cancelled");
        }
    }

    /// What a client does after it accepted a proposal.
    pub(super) fn market_accepted(&mut self, gig: Uuid, contract: Uuid) {
        match self.roll(gig, |dice, market| dice.below(1000) < market.abandon_permille) {
            Some(true) => self.plan_mean(gig, Turn::Abandon, contract, |market| 4 * market.fund_hours),
            Some(false) => {
                let wait = self.roll(gig, |dice, market| dice.exponential(market.fund_hours as f64));
                let wait = HOUR.mul_f64(wait.unwrap_or_default());
                self.plan_in(wait, Action::Fund { contract });
            }
            None => {}
        }
    }

    /// What a client does once it has paid.
    pub(super) fn market_funded(&mut self, gig: Uuid, contract: Uuid) {
        if self.roll(gig, |dice, market| dice.below(1000) < market.message_permille) == Some(true) {
            self.plan_mean(gig, Turn::Word, contract, |_| 1);
        }
    }

    /// What a client does with a delivery.
    pub(super) fn market_delivered(&mut self, gig: Uuid, contract: Uuid, delivery: u32) {
        let revisions = self.contract(contract).map_or(0, |one| one.revisions);
        let roll = self.roll(gig, |dice, market| {
            let roll = dice.below(1000);
            let argues = roll < market.dispute_permille;
            let again = roll < market.dispute_permille + market.revision_permille && revisions < MAX_REVISIONS;
            (argues, again, dice.exponential(market.approve_hours as f64))
        });
        match roll {
            Some((true, _, wait)) => self.plan_hours(wait, Turn::Dispute, contract),
            Some((false, true, wait)) => self.plan_hours(wait, Turn::Revise, contract),
            Some((false, false, wait)) => {
                self.plan_in(HOUR.mul_f64(wait), Action::Approve { contract, delivery });
            }
            None => {}
        }
    }

    /// What follows from a dispute.
    pub(super) fn market_disputed(&mut self, gig: Uuid, contract: Uuid) {
        self.plan_mean(gig, Turn::Resolve, contract, |market| market.resolve_hours);
    }

    /// What a client does once it has approved.
    pub(super) fn market_approved(&mut self, gig: Uuid, contract: Uuid) {
        if self.roll(gig, |dice, market| dice.below(1000) < market.review_permille) == Some(true) {
            self.plan_mean(gig, Turn::Review, contract, |market| 2 * market.approve_hours);
        }
    }

    /// Throws a gig's dice; none if it is not one of the market's own.
    fn roll<T>(&mut self, gig: Uuid, throw: impl FnOnce(&mut Rng, &Market) -> T) -> Option<T> {
        let dice = self.gigs.get_mut(gig)?.dice.as_mut()?;
        Some(throw(dice, &self.settings.market))
    }

    /// Plans a turn of `id` after a wait with that mean, if the gig is one of the market's own.
    fn plan_mean(&mut self, gig: Uuid, turn: Turn, id: Uuid, mean: impl FnOnce(&Market) -> u64) {
        if let Some(wait) = self.roll(gig, |dice, market| dice.exponential(mean(market) as f64)) {
            self.plan_hours(wait, turn, id);
        }
    }

    fn plan_hours(&mut self, hours: f64, turn: Turn, id: Uuid) {
        self.plan_in(HOUR.mul_f64(hours), Action::Turn { turn, id });
    }
}
