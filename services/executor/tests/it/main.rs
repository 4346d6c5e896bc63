//! The executor as a process, with a scheduler and a model gateway played by the tests, and real agents.
#![expect(clippy::unwrap_used, clippy::panic, clippy::print_stderr, reason = "test code")]

mod adapters;
mod bad_agents;
mod callbacks;
#[cfg(target_os = "linux")]
mod calls;
mod cancel;
mod checks;
#[cfg(target_os = "linux")]
mod escapes;
mod events;
mod ext;
mod gateway;
mod harness;
#[cfg(target_os = "linux")]
mod heavy;
mod isolation;
mod jobs;
mod limits;
mod network;
mod partition;
#[cfg(target_os = "linux")]
mod ready;
mod restart;
mod review;
mod samples;
mod schemas;
mod setup;
mod shortage;
