//! Why a request did not get to a model or a host.

use axum::response::Response;
use http::StatusCode;

/// Why a request did not get there, in a shape SDKs understand.
pub(super) enum Refusal {
    TooLong(u64),
    /// The run's own key is missing; the header of the one there was instead.
    Key(Option<&'static str>),
    Path,
    Host(String),
    Dots,
    Unreachable(outbound::Error),
}

impl Refusal {
    /// What was refused, if it was refused here.
    pub(super) fn denial(&self) -> Option<String> {
        match self {
            Self::TooLong(limit) => Some(format!("a call longer than {limit} bytes")),
            Self::Key(Some(name)) => Some(format!(
                "a credential that is not this run's, in the header {name} of a call; the call was not made"
            )),
            Self::Key(None) => Some("a call without the run's key (OPENAI_API_KEY)".to_owned()),
            Self::Path => Some("a path that is none of a model API".to_owned()),
            Self::Host(host) => Some(format!(
                "the host {host:?}, which the agent's file names under no [[network.credential]]"
            )),
            Self::Dots => Some("a path of another host with dots for a part".to_owned()),
            Self::Unreachable(_) => None,
        }
    }

    pub(super) fn class(&self) -> &'static str {
        match self {
            Self::TooLong(_) | Self::Key(_) | Self::Path | Self::Host(_) | Self::Dots => "refused",
            Self::Unreachable(_) => "unreachable",
        }
    }
}

impl axum::response::IntoResponse for Refusal {
    fn into_response(self) -> Response {
        let (status, kind, message) = match self {
            Self::TooLong(limit) => (
                StatusCode::PAYLOAD_TOO_LARGE,
                "request_too_large",
                format!("the request is longer than the {limit} bytes allowed"),
            ),
            Self::Key(_) => (
                StatusCode::UNAUTHORIZED,
                "authentication_error",
                "the key is not this run's: send the value of OPENAI_API_KEY (or ANTHROPIC_API_KEY) from the environment"
                    .to_owned(),
            ),
            Self::Path => (
                StatusCode::NOT_FOUND,
                "not_found",
                "this is no path of a model API".to_owned(),
            ),
            Self::Host(host) => (
                StatusCode::FORBIDDEN,
                "host_not_named",
                format!("the agent's file names no [[network.credential]] for the host {host:?}"),
            ),
            Self::Dots => (
                StatusCode::BAD_REQUEST,
                "invalid_request",
                "no part of the path may be . or ..".to_owned(),
            ),
            Self::Unreachable(error) if error.sent() == outbound::Sent::Maybe => {
                tracing::warn!(%error, class = error.class(), "the model gateway broke off");
                (
                    StatusCode::BAD_GATEWAY,
                    "gateway_broke_off",
                    "the model gateway broke off before it answered; the call may have been made".to_owned(),
                )
            }
            Self::Unreachable(error) => {
                tracing::warn!(%error, class = error.class(), "the model gateway cannot be reached");
                (
                    StatusCode::SERVICE_UNAVAILABLE,
                    "gateway_unreachable",
                    "the model gateway cannot be reached; try again".to_owned(),
                )
            }
        };
        let body = serde_json::json!({
            "type": "error",
            "error": {"type": kind, "code": kind, "message": message},
        });
        (status, axum::Json(body)).into_response()
    }
}
