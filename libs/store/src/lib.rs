//! Postgres and nothing else: migrations, transactions, queries.
//!
//! Promises: every write goes through [`run_tx!`], which retries serialization failures to a cap and is metered
//! by name; every state-changing UPDATE names the state it expects; leases are written and compared with Postgres'
//! clock. It decides nothing: rules live in `domain`, and no outside call happens inside a transaction.
//!
//! To add a query: write it with `sqlx::query!` in the module of its table, begin the SQL with `-- name`, run
//! `cargo xtask sqlx`, commit the new file in `.sqlx/`.

pub mod agent_secrets;
pub mod agents;
pub mod artefacts;
pub mod audit;
pub mod budget;
pub mod bundles;
pub mod contracts;
pub mod dead_letters;
pub mod delivery_log;
pub mod deployments;
pub mod doors;
pub mod drift;
pub mod duties;
pub mod effects;
pub mod executors;
pub mod gigs;
pub mod holds;
pub mod ids;
pub mod inbox;
pub mod inputs;
pub mod intake;
pub mod known_secrets;
pub mod ledger;
pub mod maintenance;
pub mod messages;
pub mod migrate;
pub mod notices;
pub mod observations;
pub mod onboarding;
pub mod overview;
pub mod prices;
pub mod proposals;
pub mod provider_health;
pub mod replicas;
pub mod retention;
pub mod run_accounts;
pub mod run_events;
pub mod runs;
pub mod seal;
pub mod settlements;
pub mod usage;

mod pool;
mod tx;

pub use pool::{Options, Store};
pub use tx::{AsError, Attempts, Error, Tx};
