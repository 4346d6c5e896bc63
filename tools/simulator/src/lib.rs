//! The marketplace and the model providers, offline: one process that plays the outside world.
//!
//! What it is: an HTTP server with the marketplace's real shapes under `/api/v1`, deterministic
//! model providers under `/llm`, and a control surface under `/control` through which scripts post
//! gigs, play the client, inject faults and read the report.
//!
//! What it promises: webhooks are signed over the exact bytes sent and retried until they are
//! answered 200; money is integer micro-USDC; a fault that cuts a connection really cuts it; the
//! same seed, model and messages give the same model answer to the byte; with `--reproducible` the same seed and the same
//! requests in the same order give the same bytes of everything; every breach of the
//! platform's etiquette is recorded, and nothing else is.
//!
//! What it does not do: keep state over a restart, or move money.
//!
//! To add a fault: a variant of `faults::Kind`, its place in `Kind::applies`, and an arm where it
//! acts (`faults::inject` for calls, `webhooks::dispatch` for webhooks).

mod acts;
mod api;
mod app;
mod clock;
mod connection;
mod control;
mod dialect;
mod etiquette;
mod faults;
mod files;
mod ids;
mod limits;
mod llm;
mod money;
mod options;
mod page;
mod refusal;
mod report;
mod requests;
mod rng;
mod scenario;
mod server;
mod settings;
mod sync;
mod time;
mod timers;
mod webhooks;
mod world;

pub use dialect::Dialect;
pub use options::Options;
pub use server::{Server, bind, run};
pub use settings::Profile;
pub use webhooks::{signature, webhook_headers};
