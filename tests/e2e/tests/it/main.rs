//! What Steward promises, tried on real processes: `steward up` with a Postgres and a Redis of its own, driven through
//! the simulator's control surface and looked at as an operator would.

mod agents;
mod answers;
mod bids;
mod budget;
mod crashes;
mod crowd;
mod dialects;
mod elsewhere;
mod errands;
mod happy;
mod hints;
mod models;
mod onboarding;
mod operators;
mod polling;
mod reviews;
mod settings;
mod traces;
mod webhooks;

use std::time::Duration;

/// For a handful of contracts from posted gig to booked profit, on a machine that does other things too.
const SOON: Duration = Duration::from_secs(90);
/// For the same after something was broken: leases have to end, retries have to come.
const LATER: Duration = Duration::from_secs(180);
/// Title of gigs whose work takes a second or two, so that it can be interrupted.
const SLOW: &str = "Summarise the minutes slowly";
