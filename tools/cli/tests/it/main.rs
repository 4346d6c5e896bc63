//! What the command promises without a stack: bundles, secrets, leftovers, trials of agents, the command line itself.
#![expect(clippy::unwrap_used, clippy::panic, clippy::print_stdout, reason = "test code")]

mod arguments;
mod bundles;
mod errands;
mod leftovers;
mod samples;
mod secrets;
mod trial;
