//! The simulator's promises, kept by a real server on a free port.
#![expect(
    clippy::unwrap_used,
    clippy::panic,
    clippy::disallowed_methods,
    reason = "test code: a failed expectation is the message, and clients are plain ones"
)]

mod agent;
mod faults;
mod llm;
mod market;
mod odd;
mod page;
mod play;
mod process;
mod realistic;
mod reproducible;
mod scenarios;
mod sdk;
mod stage;
mod webhooks;
