//! The rules of Steward, and nothing else: no IO, no clock, no logging, no async.
//!
//! Money, the contract, run, effect and proposal machines, the agent file, prompts, bidding, the breaker, the scan for secrets,
//! metering and postings. Each machine is a function from state and command to state and wishes; whoever calls it saves both in one transaction.
//!
//! To add a state: add the variant, its word, its arrows in `apply`, and let the property tests object.

#![deny(missing_docs)]

pub mod agent_file;
pub mod bidding;
pub mod breaker;
pub mod contract;
pub mod day;
pub mod deliverable;
pub mod effect;
pub mod leasing;
pub mod ledger;
pub mod message;
pub mod metering;
pub mod money;
pub mod onboarding;
pub mod prompt;
pub mod proposal;
pub mod run;
pub mod secret_scan;
