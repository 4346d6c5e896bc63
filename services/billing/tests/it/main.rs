//! Billing against a real Postgres and real HTTP: what it promises to agents, to the scheduler and to the books.
#![expect(clippy::unwrap_used, reason = "test code")]

mod books;
mod budget;
mod control;
mod crash;
mod days;
mod door;
mod ext;
mod ledger;
mod messages;
mod outage;
mod plain;
mod provider;
mod responses;
mod secrets;
mod settings;
mod simulated;
mod stack;
mod streamed;
mod traces;
