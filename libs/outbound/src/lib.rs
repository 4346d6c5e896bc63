//! The one way to make an HTTP client.
//!
//! Promises: every client has a connect, a read and (unless it streams) a total timeout; every request gets
//! a span and a metric that name the client, the kind of host and the class of the answer but never a path,
//! a query, a header or a body; a [`Guard`] keeps requests off private networks, checked after resolution
//! and on every redirect; an [`Error`] always knows whether the peer may have seen the request
//! ([`Error::sent`]). Nothing is ever sent a second time by this crate: HTTP/2 and pool level replays are off
//! except where the request provably never left.
//!
//! Does not: retry, pace, parse bodies, read proxies from the environment.

pub mod body;
pub mod client;
pub mod entrusted;
pub mod error;
pub mod guard;
pub mod header;
pub mod metric;
mod redirect;
mod resolve;

pub use body::read_limited;
pub use client::{Builder, Client};
pub use error::{Error, Sent};
pub use guard::{Guard, HostKind};
pub use redirect::Redirects;
pub use reqwest::{Body, Method, RequestBuilder, Response, StatusCode, header as headers, multipart};
pub use url::Url;
