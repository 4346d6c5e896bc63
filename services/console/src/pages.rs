//! The pages: one file each, with the data its template needs.

pub(crate) mod contracts;
pub(crate) mod files;
pub(crate) mod gigs;
pub(crate) mod login;
pub(crate) mod overview;
pub(crate) mod runs;
pub(crate) mod system;

use axum::response::{Html, IntoResponse, Response};
use chrono::{DateTime, Utc};

use crate::assets;
use crate::error::Error;
use crate::session::Visitor;

/// Rows of one page of a listing.
const ROWS: u32 = 50;

/// What every page has around it.
pub(crate) struct Chrome {
    /// In the browser's tab.
    pub(crate) title: String,
    /// The entry of the navigation that is marked.
    pub(crate) here: &'static str,
    /// The token of this sign-in's forms; empty when nobody is signed in.
    pub(crate) csrf: String,
    /// When the page was made.
    pub(crate) now: DateTime<Utc>,
    /// A word about what was just done.
    pub(crate) done: Option<&'static str>,
}

impl Chrome {
    pub(crate) fn new(title: impl Into<String>, here: &'static str, visitor: &Visitor) -> Self {
        Self {
            title: title.into(),
            here,
            csrf: visitor.csrf.clone(),
            now: Utc::now(),
            done: None,
        }
    }

    /// Around pages that need no sign-in.
    pub(crate) fn bare(title: impl Into<String>) -> Self {
        Self {
            title: title.into(),
            here: "",
            csrf: String::new(),
            now: Utc::now(),
            done: None,
        }
    }

    pub(crate) fn styles(&self) -> [String; 4] {
        [&assets::LAYOUT, &assets::STYLE, &assets::PARTS, &assets::DETAIL].map(assets::Asset::url)
    }

    pub(crate) fn script(&self) -> String {
        assets::SCRIPT.url()
    }

    pub(crate) fn mark(&self) -> String {
        assets::MARK.url()
    }
}

/// What can stand behind a page's `?`.
#[derive(Debug, Default, serde::Deserialize)]
#[serde(default)]
pub(crate) struct Query {
    pub(crate) state: String,
    pub(crate) agent: String,
    pub(crate) cursor: String,
    pub(crate) done: String,
}

impl Query {
    fn page(&self) -> Option<rpc::v1::Page> {
        Some(rpc::v1::Page {
            limit: ROWS,
            cursor: self.cursor.clone(),
        })
    }

    /// This listing in another state, or further down.
    fn link(&self, path: &str, state: &str, cursor: &str) -> String {
        let mut query = url::form_urlencoded::Serializer::new(String::new());
        for (name, value) in [("state", state), ("agent", self.agent.as_str()), ("cursor", cursor)] {
            if !value.is_empty() {
                query.append_pair(name, value);
            }
        }
        let query = query.finish();
        if query.is_empty() {
            path.to_owned()
        } else {
            format!("{path}?{query}")
        }
    }
}

/// A choice among the states of a listing.
pub(crate) struct Choice {
    pub(crate) word: String,
    pub(crate) link: String,
    pub(crate) chosen: bool,
}

fn choices(query: &Query, path: &str, states: &[&str]) -> Vec<Choice> {
    let all = std::iter::once("").chain(states.iter().copied());
    all.map(|state| Choice {
        word: if state.is_empty() {
            "all".to_owned()
        } else {
            crate::show::kind(state)
        },
        link: query.link(path, state, ""),
        chosen: query.state == state,
    })
    .collect()
}

fn html(page: &impl askama::Template) -> Result<Response, Error> {
    Ok(Html(page.render()?).into_response())
}
