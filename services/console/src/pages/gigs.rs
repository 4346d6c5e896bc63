//! Gigs: all that were seen, and one with what was asked for, how it was scored, and what is or would be offered.

use std::sync::Arc;

use askama::Template;
use axum::Extension;
use axum::extract::{Path, Query, State};
use axum::response::Response;
use rpc::v1;

use super::{Choice, Chrome, choices, html};
use crate::error::Error;
use crate::session::Visitor;
use crate::{Console, actions, show};

/// Parts of a score that are shown.
const MOST_PARTS: usize = 32;

/// Of their proposals.
const STATES: [&str; 6] = [
    "considered",
    "skipped",
    "submitted",
    "accepted",
    "rejected",
    "withdrawn",
];

#[derive(Template)]
#[template(path = "gigs.html")]
struct List {
    chrome: Chrome,
    choices: Vec<Choice>,
    gigs: Vec<v1::Gig>,
    next: Option<String>,
}

#[derive(Template)]
#[template(path = "gig.html")]
struct Detail {
    chrome: Chrome,
    gig: v1::Gig,
    held: Option<String>,
    parts: Vec<(String, String)>,
}

/// `GET /gigs`
pub(crate) async fn list(
    State(console): State<Arc<Console>>,
    Extension(visitor): Extension<Visitor>,
    Query(query): Query<super::Query>,
) -> Result<Response, Error> {
    let request = v1::ListGigsRequest {
        agent: query.agent.clone(),
        state: query.state.clone(),
        page: query.page(),
    };
    let mut contracts = console.upstream.contracts();
    let call = contracts.list_gigs(request);
    let found = console.upstream.ask_scheduler("gig list", call).await?;
    html(&List {
        chrome: Chrome::new("Gigs", "gigs", &visitor),
        choices: choices(&query, "/gigs", &STATES),
        gigs: found.gigs,
        next: (!found.next.is_empty()).then(|| query.link("/gigs", &query.state, &found.next)),
    })
}

/// `GET /gigs/{id}`
pub(crate) async fn detail(
    State(console): State<Arc<Console>>,
    Extension(visitor): Extension<Visitor>,
    Path(id): Path<String>,
    Query(query): Query<super::Query>,
) -> Result<Response, Error> {
    let mut contracts = console.upstream.contracts();
    let call = contracts.get_gig(v1::GetGigRequest { id });
    let gig = console.upstream.ask_scheduler("gig", call).await?;
    let details = console.scene.look().details;
    let proposal = details.held.values().find(|held| held.gig_id == gig.id);
    let title: String = show::clean(&gig.title).chars().take(80).collect();
    let mut chrome = Chrome::new(title, "gigs", &visitor);
    chrome.done = actions::done(&query.done);
    html(&Detail {
        chrome,
        held: proposal.map(|held| held.id.clone()),
        parts: parts(&gig.score_parts_json),
        gig,
    })
}

impl Detail {
    /// This page.
    fn address(&self) -> String {
        format!("/gigs/{}", self.gig.id)
    }
}

/// The parts of a score, by name; nothing when they are not an object.
fn parts(json: &str) -> Vec<(String, String)> {
    let Ok(serde_json::Value::Object(parts)) = serde_json::from_str(json) else {
        return Vec::new();
    };
    let text = |value: serde_json::Value| match value {
        serde_json::Value::String(text) => text,
        other => other.to_string(),
    };
    let named = |(name, value): (String, serde_json::Value)| (show::kind(&name), show::clean(&text(value)));
    parts.into_iter().take(MOST_PARTS).map(named).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn score_parts_are_read_whatever_they_hold() {
        assert_eq!(
            parts(r#"{"skill_match":412,"note":"x"}"#),
            [
                ("note".to_owned(), "x".to_owned()),
                ("skill match".to_owned(), "412".to_owned())
            ]
        );
        for odd in ["", "[]", "null", "{", "7"] {
            assert!(parts(odd).is_empty(), "{odd}");
        }
    }
}
