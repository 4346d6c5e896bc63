//! What handlers share: the caller, bodies, pages, ids.

use std::collections::HashMap;

use axum::{
    Json,
    extract::FromRequestParts,
    response::{IntoResponse, Response},
};
use bytes::Bytes;
use http::{StatusCode, request::Parts};
use serde::{Serialize, de::DeserializeOwned};
use serde_json::{Value, json};
use uuid::Uuid;

use crate::{dialect::Dialect, refusal::Refusal};

/// Rows of a page when none were asked for.
const PAGE: usize = 20;
/// Most rows of a page.
const MAX_PAGE: usize = 50;
/// Most rows of a list that is not paged.
const WHOLE: usize = 10_000;

/// A handler's answer.
pub type Answer = Result<Response, Refusal>;

/// Query parameters.
pub type Params = HashMap<String, String>;

/// Whose key came with the request, as the guard found it.
#[derive(Clone, Copy, Debug)]
pub struct Identified(pub Option<Uuid>);

/// The calling agent; without one the call is answered 401.
#[derive(Clone, Copy, Debug)]
pub struct Caller(pub Uuid);

impl<S: Send + Sync> FromRequestParts<S> for Caller {
    type Rejection = Refusal;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Refusal> {
        let identified = parts.extensions.get::<Identified>().copied();
        identified.and_then(|identified| identified.0).map(Self).ok_or_else(|| {
            let text = "Missing or invalid API key";
            Refusal::new(StatusCode::UNAUTHORIZED, "unauthorized", text)
        })
    }
}

/// Reads a JSON body; an empty one is an empty object.
pub fn parse<T: DeserializeOwned>(body: &Bytes) -> Result<T, Refusal> {
    let text: &[u8] = if body.is_empty() { b"{}" } else { body };
    serde_json::from_slice(text).map_err(|error| Refusal::invalid(format!("Invalid request body: {error}")))
}

/// Reads an id from a path; anything else names nothing.
pub fn id(text: &str, what: &str) -> Result<Uuid, Refusal> {
    text.parse().map_err(|_| Refusal::missing(what))
}

pub fn ok(body: Value) -> Answer {
    Ok(Json(body).into_response())
}

pub fn created(body: Value) -> Answer {
    Ok((StatusCode::CREATED, Json(body)).into_response())
}

#[derive(Serialize)]
struct Written<'a, T> {
    data: &'a [T],
    total: usize,
    limit: usize,
    offset: usize,
}

/// `limit` and `offset` of a list, the limit clamped.
#[derive(Clone, Copy, Debug)]
pub struct Page {
    pub limit: usize,
    pub offset: usize,
}

impl Page {
    pub fn of(params: &Params) -> Self {
        let number = |name: &str| params.get(name).and_then(|text| text.parse::<usize>().ok());
        Self {
            limit: number("limit").unwrap_or(PAGE).clamp(1, MAX_PAGE),
            offset: number("offset").unwrap_or(0),
        }
    }

    /// The page of a list that the SDK asks for without one: there it is the whole list.
    pub fn or_whole(params: &Params, dialect: Dialect) -> Self {
        let mut page = Self::of(params);
        if dialect == Dialect::Sdk && !params.contains_key("limit") {
            page.limit = WHOLE;
        }
        page
    }

    /// The envelope of a list, of rows cut to this page already.
    pub fn envelope(self, rows: Vec<Value>, total: usize) -> Answer {
        ok(json!({
            "data": rows,
            "total": total,
            "limit": self.limit,
            "offset": self.offset,
        }))
    }

    /// The same, written at once: most lists are large, and few are reworded.
    pub fn written<T: Serialize>(self, rows: &[T], total: usize) -> Answer {
        let whole = Written {
            data: rows,
            total,
            limit: self.limit,
            offset: self.offset,
        };
        Ok(Json(whole).into_response())
    }

    /// The envelope of a list, of all rows.
    pub fn cut(self, rows: Vec<Value>) -> Answer {
        let total = rows.len();
        let page = rows.into_iter().skip(self.offset).take(self.limit).collect();
        self.envelope(page, total)
    }
}
