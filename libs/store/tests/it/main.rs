//! The store against a real Postgres: migrations, what each role may do, and what the queries promise.
#![expect(
    clippy::unwrap_used,
    clippy::disallowed_methods,
    reason = "a failed expectation is the test\'s message; tests spawn as they like"
)]

mod accounts;
mod budget;
mod claims;
mod contracts;
mod doors;
mod drift;
mod effects;
mod fairness;
mod fixture;
mod inbox;
mod logins;
mod onboarding;
mod retention;
mod rights;
mod runs;
mod schema;
mod starts;

use secrecy::SecretString;
use store::{Options, Store};
use testkit::Database;

/// The database as a role of the product sees it.
fn store_of(database: &Database, role: &str) -> Store {
    let url = SecretString::from(database.url_for(role));
    Store::new(&Options::new(url, "store tests")).unwrap()
}
