//! Answers, reworded after the handler made them in the words of the documentation.

use axum::{
    body::Body,
    response::{IntoResponse, Response},
};
use http::{HeaderValue, StatusCode, header};
use serde_json::{Map, Value, json};

use super::{Dialect, Spelling};
use crate::{app::App, rng::Rng, sync::lock};

/// Largest answer reworded.
const MAX_ANSWER: usize = 16 * 1024 * 1024;

/// What a list is wrapped in.
#[derive(Clone, Copy, Debug, PartialEq)]
enum List {
    /// `{data: […], total}`
    Data,
    /// `{data: {data: […], total}}`
    Double,
    /// `{gigs: […], total}`
    Named,
    /// `[…]`
    Bare,
}

/// What a refusal looks like.
#[derive(Clone, Copy, Debug)]
enum Words {
    /// `{error, code}`
    Coded,
    /// `{error}`
    Plain,
    /// `{error: {code, message}}`
    Nested,
    /// No JSON.
    Text,
}

/// How one answer is worded.
#[derive(Clone, Copy, Debug)]
struct Wording {
    list: List,
    /// `{data: {…}}` around a single thing.
    wrapped: bool,
    refusal: Words,
    spelling: Spelling,
    /// A funded contract is `active` with a transaction.
    funded_is_active: bool,
    /// States have other names, members nobody knows appear, and a header announces an end.
    novel: bool,
}

impl Wording {
    fn of(dialect: Dialect, segments: &[&str], dice: &mut Rng) -> Self {
        let docs = Self {
            list: List::Data,
            wrapped: false,
            refusal: Words::Coded,
            spelling: Spelling::default(),
            funded_is_active: false,
            novel: false,
        };
        match dialect {
            Dialect::Docs => docs,
            Dialect::Sdk => {
                let paged = matches!(segments, ["gigs" | "services"] | [.., "hiring"]);
                Self {
                    list: if paged { List::Double } else { List::Data },
                    wrapped: true,
                    refusal: Words::Plain,
                    funded_is_active: true,
                    ..docs
                }
            }
            Dialect::Legacy => Self {
                list: List::Named,
                refusal: Words::Plain,
                ..docs
            },
            Dialect::Hostile => Self {
                list: [List::Data, List::Double, List::Named, List::Bare][dice.below(4) as usize],
                wrapped: dice.chance(0.5),
                refusal: [Words::Coded, Words::Plain, Words::Nested, Words::Text][dice.below(4) as usize],
                spelling: Spelling::rolled(dice),
                funded_is_active: dice.chance(0.5),
                novel: true,
            },
        }
    }
}

/// `response` in the words of `dialect`; `segments` are those of the path below `/api/v1`.
pub async fn worded(app: &App, dialect: Dialect, segments: &[&str], response: Response) -> Response {
    if dialect == Dialect::Docs || !is_json(&response) {
        return response;
    }
    let (mut parts, body) = response.into_parts();
    let body = axum::body::to_bytes(body, MAX_ANSWER).await.unwrap_or_default();
    let Ok(value) = serde_json::from_slice::<Value>(&body) else {
        return StatusCode::INTERNAL_SERVER_ERROR.into_response();
    };
    let mut dice = lock(&app.dice);
    let wording = Wording::of(dialect, segments, &mut dice);
    parts.headers.remove(header::CONTENT_LENGTH);
    let said = if parts.status.is_success() {
        if wording.novel && dice.chance(0.1) {
            let soon = HeaderValue::from_static("Wed, 31 Dec 2031 23:59:59 GMT");
            parts.headers.insert("sunset", soon);
            parts.headers.insert("deprecation", HeaderValue::from_static("true"));
        }
        wording.success(value, segments, &mut dice).to_string()
    } else {
        wording.refused(value)
    };
    if !said.starts_with(['{', '[']) {
        parts
            .headers
            .insert(header::CONTENT_TYPE, HeaderValue::from_static("text/plain"));
    }
    Response::from_parts(parts, Body::from(said))
}

fn is_json(response: &Response) -> bool {
    let kind = response.headers().get(header::CONTENT_TYPE);
    kind.is_some_and(|kind| kind.as_bytes().starts_with(b"application/json"))
}

impl Wording {
    fn success(self, value: Value, segments: &[&str], dice: &mut Rng) -> Value {
        let worded = match value {
            Value::Object(mut members) if members.get("data").is_some_and(Value::is_array) => {
                let rows = match members.remove("data") {
                    Some(Value::Array(rows)) => rows,
                    _ => Vec::new(),
                };
                let rows = rows.into_iter().map(|row| self.thing(row, dice)).collect();
                self.wrap(rows, members, segments)
            }
            single => {
                let single = self.thing(single, dice);
                if self.wrapped {
                    json!({ "data": single })
                } else {
                    single
                }
            }
        };
        self.spelling.apply(worded)
    }

    fn wrap(self, rows: Vec<Value>, mut meta: Map<String, Value>, segments: &[&str]) -> Value {
        let name = match self.list {
            List::Bare => return Value::Array(rows),
            List::Data | List::Double => "data",
            List::Named => match segments.last() {
                Some(&"hiring") => "contracts",
                Some(last) => last,
                None => "items",
            },
        };
        meta.insert(name.to_owned(), Value::Array(rows));
        if self.list == List::Double {
            return json!({ "data": meta });
        }
        Value::Object(meta)
    }

    /// One thing, its state in the dialect's words.
    fn thing(self, mut thing: Value, dice: &mut Rng) -> Value {
        let Some(members) = thing.as_object_mut() else {
            return thing;
        };
        if members.contains_key("escrow_tx_signature") {
            let state = members.get("status").and_then(Value::as_str).unwrap_or_default();
            let other = self.contract_state(state, dice);
            members.insert("status".to_owned(), json!(other));
        }
        if self.novel && dice.chance(0.3) {
            members.insert("ai_summary_v2".to_owned(), json!({ "score": 0.5 }));
        }
        thing
    }

    fn contract_state(self, state: &str, dice: &mut Rng) -> String {
        let other: &[&str] = match state {
            "funded" if self.funded_is_active => return "active".to_owned(),
            "approved" if self.novel => &["approved", "completed", "paid", "Approved"],
            "cancelled" if self.novel => &["cancelled", "canceled", "refunded"],
            "delivered" if self.novel => &["delivered", "DELIVERED"],
            _ => return state.to_owned(),
        };
        dice.pick(other).to_owned()
    }

    /// A refusal keeps the members a client may need besides its words, such as `retryAfter`.
    fn refused(self, value: Value) -> String {
        let message = value["error"].as_str().unwrap_or("Request failed").to_owned();
        let code = value["code"].as_str().unwrap_or("error").to_owned();
        match self.refusal {
            Words::Coded => value.to_string(),
            Words::Plain => json!({ "error": message }).to_string(),
            Words::Nested => json!({ "error": { "code": code, "message": message } }).to_string(),
            Words::Text => message,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn said(dialect: Dialect, path: &[&str], value: Value) -> Value {
        let mut dice = Rng::new(1);
        Wording::of(dialect, path, &mut dice).success(value, path, &mut dice)
    }

    #[test]
    fn a_list_is_wrapped_as_the_dialect_wraps_it() {
        let list = || json!({"data": [{"id": "a"}], "total": 1});
        let double = json!({"data": {"data": [{"id": "a"}], "total": 1}});
        assert_eq!(said(Dialect::Sdk, &["gigs"], list()), double);
        assert_eq!(said(Dialect::Sdk, &["agent", "contracts"], list()), list());
        let named = json!({"contracts": [{"id": "a"}], "total": 1});
        assert_eq!(said(Dialect::Legacy, &["agents", "me", "contracts"], list()), named);
    }

    #[test]
    fn the_sdk_sees_funded_contracts_as_active_with_a_transaction() {
        let contract = json!({"id": "c", "status": "funded", "escrow_tx_signature": "tx"});
        let seen = said(Dialect::Sdk, &["contracts", "c", "deliver"], contract);
        assert_eq!(
            seen,
            json!({"data": {"id": "c", "status": "active", "escrow_tx_signature": "tx"}})
        );
    }

    #[test]
    fn hostile_answers_come_in_every_wrapping() {
        let mut dice = Rng::new(3);
        let mut seen = std::collections::BTreeSet::new();
        for _ in 0..100 {
            let wording = Wording::of(Dialect::Hostile, &["gigs"], &mut dice);
            let value = wording.success(json!({"data": [], "total": 0}), &["gigs"], &mut dice);
            seen.insert(value.to_string());
        }
        assert!(seen.len() >= 4, "{seen:?}");
    }
}
