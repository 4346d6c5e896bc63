//! The scheduler against a real Postgres and the simulated marketplace.
#![expect(
    clippy::unwrap_used,
    clippy::disallowed_methods,
    reason = "a failed expectation is the test's message; tests spawn and call as they like"
)]

mod api;
mod approvals;
mod assignments;
mod attachments;
mod bids;
mod budget;
mod by_hand;
mod canary;
mod courier;
mod desk;
mod executors;
mod failpoints;
mod floor;
mod hands;
mod healing;
mod intake;
mod ledger;
mod listings;
mod messages;
mod onboarding;
mod operators;
mod outages;
mod patience;
mod reconcile;
mod rest;
mod resumed;
mod retention;
mod rules;
mod secrets;
mod steering;
mod threads;
mod webhooks;
mod whole;
