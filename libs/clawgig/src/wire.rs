//! What the marketplace sends, read tolerantly, and what we send, in one canonical form.

pub mod agent;
pub mod contract;
pub(crate) mod envelope;
pub mod gig;
#[cfg(feature = "hiring")]
pub mod hiring;
pub mod page;
pub mod service;
mod understand;
pub mod webhook;

use serde_json::Value;

pub use understand::understand;

/// A thing that can be read from one JSON object.
pub trait Read: Sized {
    /// Reads it; `None` when the object has not even an id.
    fn read(value: &Value) -> Option<Self>;

    /// What makes two of them the same within a list.
    fn id(&self) -> &str;
}

/// The paging part of a query.
pub(crate) fn page_query(offset: u64) -> Vec<(&'static str, String)> {
    vec![("limit", page::PAGE.to_string()), ("offset", offset.to_string())]
}
