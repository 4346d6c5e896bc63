//! The client against a scripted server (what is sent, how answers are taken) and against the simulator
//! (whether the two understand each other, also when things break).
#![expect(
    clippy::unwrap_used,
    clippy::disallowed_methods,
    reason = "test code: helpers unwrap and servers are spawned"
)]

mod answers;
mod dialects;
mod hiring;
mod requests;
mod script;
mod simulated;
mod stage;
