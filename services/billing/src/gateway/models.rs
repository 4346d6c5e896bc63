//! `GET /v1/models`, in a shape both OpenAI's and Anthropic's clients read.

use axum::{
    Json,
    response::{IntoResponse as _, Response},
};
use http::HeaderMap;
use serde_json::json;
use store::run_accounts::Access;

use super::{refusal::tell_balance, upstreams::Upstreams};
use crate::config;

/// When a model was made is nobody's business here, but some clients insist on a date.
const MADE: &str = "1970-01-01T00:00:00Z";

/// What a run may use: the default first, then what else is allowed.
pub(super) fn list(access: &Access, upstreams: &Upstreams, settings: &config::Gateway) -> Response {
    let mut names = vec![access.default_model.as_str()];
    for name in access.allowed_models.iter().map(String::as_str) {
        if !names.contains(&name) {
            names.push(name);
        }
    }
    names.retain(|name| upstreams.serving(name).is_some());
    let models = names.iter().filter_map(|name| {
        let upstream = upstreams.serving(name)?;
        Some(json!({
            "id": name, "object": "model", "created": 0, "owned_by": upstream.name,
            "type": "model", "display_name": name, "created_at": MADE,
        }))
    });
    let list = json!({
        "object": "list", "data": models.collect::<Vec<_>>(),
        "has_more": false, "first_id": names.first(), "last_id": names.last(),
    });
    let mut headers = HeaderMap::new();
    tell_balance(&mut headers, access.balance, settings);
    (headers, Json(list)).into_response()
}
