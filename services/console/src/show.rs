//! How things are written for people: money, times, states, and texts that others wrote.

mod money;
mod state;
mod text;
mod time;

pub(crate) use money::{count, glance_usd, glance_usdc, usd, usdc};
pub(crate) use state::{badge, bytes, kind, score, tone, waiting};
pub(crate) use text::{clean, line, long};
pub(crate) use time::{ago, at, built, clock};

use std::fmt;

/// Markup made here out of digits and our own words.
pub(crate) struct Html(String);

impl fmt::Display for Html {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.0)
    }
}

impl askama::filters::HtmlSafe for Html {}
