//! Answers the gateway gives itself, in the shape the caller's client understands.

use axum::{
    Json,
    response::{IntoResponse as _, Response},
};
use domain::money::PicoUsd;
use http::{HeaderMap, HeaderName, HeaderValue, StatusCode, header};
use store::run_accounts::Balance;

use super::dialect::Dialect;
use crate::{config, metrics::REFUSALS};

/// What is left of the run's budget, on every answer to a known run.
const REMAINING: HeaderName = HeaderName::from_static("x-steward-budget-remaining-micro-usd");
/// `finish` when little is left.
const ADVICE: HeaderName = HeaderName::from_static("x-steward-advice");
/// Tells clients not to try again by themselves.
const SHOULD_RETRY: HeaderName = HeaderName::from_static("x-should-retry");

/// All there is.
const PATHS: &str = "POST /v1/chat/completions, POST /v1/responses, POST /v1/messages and GET /v1/models";

/// Every code a refusal can have.
pub const CODES: [&str; 29] = [
    "invalid_credential",
    "run_closed",
    "run_expired",
    "not_found",
    "method_not_allowed",
    "body_too_large",
    "body_broken",
    "body_timeout",
    "invalid_request",
    "model_not_allowed",
    "unpriced_feature",
    "no_provider",
    "no_price",
    "too_many_calls",
    "budget_exhausted",
    "books_unavailable",
    "upstream_unreachable",
    "upstream_timeout",
    "upstream_garbage",
    "upstream_cut",
    "upstream_error",
    "stopping",
    "host_not_named",
    "secret_missing",
    "secret_unusable",
    "host_refused",
    "host_unreachable",
    "host_timeout",
    "host_garbage",
];

/// A refusal: a status, a code for machines, a sentence for people.
#[derive(Debug, Clone)]
pub(crate) struct Refusal {
    status: StatusCode,
    code: &'static str,
    message: String,
    retry_after: Option<u32>,
    never_retry: bool,
    balance: Option<Balance>,
}

impl Refusal {
    fn new(status: StatusCode, code: &'static str, message: impl Into<String>) -> Self {
        Self {
            status,
            code,
            message: message.into(),
            retry_after: None,
            never_retry: false,
            balance: None,
        }
    }

    fn retry_after(mut self, seconds: u32) -> Self {
        self.retry_after = Some(seconds);
        self
    }

    fn never_retry(mut self) -> Self {
        self.never_retry = true;
        self
    }

    /// Tells what is left, unless it is known better already.
    pub fn or_balance(mut self, balance: Balance) -> Self {
        self.balance.get_or_insert(balance);
        self
    }

    pub fn no_credential() -> Self {
        let message = "send the run's credential as `Authorization: Bearer …`; this one opens nothing";
        Self::new(StatusCode::UNAUTHORIZED, "invalid_credential", message).never_retry()
    }

    pub fn run_closed() -> Self {
        let message = "this run is over and may call no models any more";
        Self::new(StatusCode::FORBIDDEN, "run_closed", message).never_retry()
    }

    pub fn run_expired() -> Self {
        let message = "the time of this run is over and it may call no models any more";
        Self::new(StatusCode::FORBIDDEN, "run_expired", message).never_retry()
    }

    pub fn not_found(path: &str) -> Self {
        let path: String = path.chars().take(200).collect();
        let message = if path.ends_with("/count_tokens") {
            "this gateway counts no tokens beforehand: each answer's usage tells what it took".to_owned()
        } else {
            format!("no {path} here; this gateway has {PATHS}")
        };
        Self::new(StatusCode::NOT_FOUND, "not_found", message).never_retry()
    }

    pub fn method_not_allowed() -> Self {
        let message = format!("this gateway has {PATHS}");
        Self::new(StatusCode::METHOD_NOT_ALLOWED, "method_not_allowed", message).never_retry()
    }

    pub fn body_too_large(limit: usize) -> Self {
        let message = format!("the request is longer than the {limit} bytes allowed");
        Self::new(StatusCode::PAYLOAD_TOO_LARGE, "body_too_large", message).never_retry()
    }

    pub fn body_broken() -> Self {
        Self::new(StatusCode::BAD_REQUEST, "body_broken", "the request broke off")
    }

    pub fn body_slow() -> Self {
        let message = "the request's body took too long to arrive";
        Self::new(StatusCode::REQUEST_TIMEOUT, "body_timeout", message)
    }

    pub fn invalid(message: impl Into<String>) -> Self {
        Self::new(StatusCode::BAD_REQUEST, "invalid_request", message).never_retry()
    }

    pub fn model_not_allowed(model: &str, allowed: &[&str]) -> Self {
        let model: String = model.chars().take(100).collect();
        let message = format!(
            "the model {model:?} is not allowed for this run; allowed: {}",
            allowed.join(", ")
        );
        Self::new(StatusCode::BAD_REQUEST, "model_not_allowed", message).never_retry()
    }

    pub fn unpriced_feature(field: &str) -> Self {
        let message = format!("`{field}` costs beside the tokens what this gateway cannot price: leave it out");
        Self::new(StatusCode::BAD_REQUEST, "unpriced_feature", message).never_retry()
    }

    /// A tool that runs at the provider.
    pub fn foreign_tool(kind: &str) -> Self {
        let kind: String = kind.chars().take(100).collect();
        let message = format!(
            "the tool {kind:?} runs at the provider and costs beside the tokens what this gateway cannot price: \
             leave it out, and do its work in the agent"
        );
        Self::new(StatusCode::BAD_REQUEST, "unpriced_feature", message).never_retry()
    }

    /// Text that is not in the request.
    pub fn kept_elsewhere(field: &str) -> Self {
        let message = format!(
            "`{field}` brings in text kept at the provider, for which nothing can be set aside: \
             send all of the conversation in `input`"
        );
        Self::new(StatusCode::BAD_REQUEST, "unpriced_feature", message).never_retry()
    }

    pub fn background() -> Self {
        let message = "`background` goes on when the answer is over, where nobody sees what it costs: leave it out";
        Self::new(StatusCode::BAD_REQUEST, "unpriced_feature", message).never_retry()
    }

    /// A provider has the model, but not by this path.
    pub fn other_protocol(model: &str, provider: &str, paths: &str) -> Self {
        let message = format!("the model {model:?} is served by {provider}, which answers {paths}: call it there");
        Self::new(StatusCode::BAD_REQUEST, "no_provider", message).never_retry()
    }

    pub fn no_provider(model: &str) -> Self {
        let message =
            format!("no provider is set up for the model {model:?}: the operator adds it under [[upstreams]]");
        Self::new(StatusCode::BAD_REQUEST, "no_provider", message).never_retry()
    }

    pub fn no_price() -> Self {
        let message = "no price is known for any model: the operator sets one with `steward prices set`";
        Self::new(StatusCode::SERVICE_UNAVAILABLE, "no_price", message).never_retry()
    }

    pub fn too_many_calls_of_run(limit: usize) -> Self {
        let message = format!("this run has {limit} calls open already: wait for one to end");
        Self::new(StatusCode::TOO_MANY_REQUESTS, "too_many_calls", message).retry_after(1)
    }

    pub fn too_many_calls() -> Self {
        let message = "the gateway has as many calls open as it may: try again";
        Self::new(StatusCode::SERVICE_UNAVAILABLE, "too_many_calls", message).retry_after(1)
    }

    /// `fits` is the longest answer there would be money for.
    pub fn budget_exhausted(needed: PicoUsd, balance: Balance, fits: u64) -> Self {
        let (needed, left) = (needed.whole_micro(), balance.left().whole_micro());
        let hint = if fits > 0 {
            format!("; an answer of at most {fits} tokens would fit")
        } else {
            String::new()
        };
        let message = format!(
            "this call may cost up to ${needed} and ${left} of the run's budget is left{hint}: finish with what you have"
        );
        Self::new(StatusCode::PAYMENT_REQUIRED, "budget_exhausted", message)
            .never_retry()
            .or_balance(balance)
    }

    /// The books cannot be written or read. Logged here, where it is handled.
    pub fn books(error: &store::Error) -> Self {
        tracing::error!(
            error = error as &dyn std::error::Error,
            "a model call failed at the books"
        );
        let message = "the books cannot be reached, and nothing is spent unbooked: try again";
        Self::new(StatusCode::SERVICE_UNAVAILABLE, "books_unavailable", message).retry_after(2)
    }

    pub fn upstream_unreachable(provider: &str) -> Self {
        let message = format!("{provider} cannot be reached; nothing was charged");
        Self::new(StatusCode::BAD_GATEWAY, "upstream_unreachable", message).retry_after(2)
    }

    pub fn upstream_timeout(provider: &str) -> Self {
        let message = format!("{provider} did not answer in time; what was set aside is charged");
        Self::new(StatusCode::GATEWAY_TIMEOUT, "upstream_timeout", message)
    }

    pub fn upstream_garbage(provider: &str) -> Self {
        let message = format!("{provider} answered with something that is no answer; what was set aside is charged");
        Self::new(StatusCode::BAD_GATEWAY, "upstream_garbage", message)
    }

    pub fn upstream_cut(provider: &str) -> Self {
        let message = format!("{provider} stopped in the middle of its answer; what was set aside is charged");
        Self::new(StatusCode::BAD_GATEWAY, "upstream_cut", message)
    }

    /// The provider refused us, or failed without saying anything a client could read. Nothing was charged.
    pub fn upstream_error(provider: &str, status: StatusCode, detail: &str) -> Self {
        let message = format!("{provider} {detail}; nothing was charged");
        Self::new(status, "upstream_error", message)
    }

    pub fn host_not_named(host: &str) -> Self {
        let host: String = host.chars().take(253).collect();
        let message = format!("this agent's file names no [[network.credential]] for the host {host:?}");
        Self::new(StatusCode::FORBIDDEN, "host_not_named", message).never_retry()
    }

    pub fn secret_missing(agent: &str, name: &str) -> Self {
        let message =
            format!("the secret {name} of {agent} is not set: the operator runs `steward secrets set {agent} {name}`");
        Self::new(StatusCode::FAILED_DEPENDENCY, "secret_missing", message).never_retry()
    }

    pub fn secret_unusable(agent: &str, name: &str) -> Self {
        let message = format!("the secret {name} of {agent} cannot be sent in a header: the operator sets it anew");
        Self::new(StatusCode::FAILED_DEPENDENCY, "secret_unusable", message).never_retry()
    }

    pub fn method_not_passed_on() -> Self {
        let message = "only GET, HEAD, POST, PUT, PATCH, DELETE and OPTIONS are passed on";
        Self::new(StatusCode::METHOD_NOT_ALLOWED, "method_not_allowed", message).never_retry()
    }

    pub fn host_refused(host: &str, error: &outbound::Error) -> Self {
        let message = format!("{host} may not be called: {error}");
        Self::new(StatusCode::FORBIDDEN, "host_refused", message).never_retry()
    }

    pub fn host_unreachable(host: &str) -> Self {
        let message = format!("{host} cannot be reached; nothing was sent");
        Self::new(StatusCode::BAD_GATEWAY, "host_unreachable", message).retry_after(2)
    }

    pub fn host_late(host: &str) -> Self {
        let message = format!("{host} did not answer in time; the call may have been made");
        Self::new(StatusCode::GATEWAY_TIMEOUT, "host_timeout", message)
    }

    pub fn host_broke_off(host: &str) -> Self {
        let message = format!("{host} broke off before it answered; the call may have been made");
        Self::new(StatusCode::BAD_GATEWAY, "host_garbage", message)
    }

    /// The key could not be looked for in it.
    pub fn host_encoded(host: &str) -> Self {
        let message = format!("{host} answered in an encoding nobody asked for, and the answer cannot be passed on");
        Self::new(StatusCode::BAD_GATEWAY, "host_garbage", message)
    }

    pub fn stopping() -> Self {
        let message = "the gateway is stopping: try again";
        Self::new(StatusCode::SERVICE_UNAVAILABLE, "stopping", message).retry_after(2)
    }

    /// As the last event of a stream whose head is sent already.
    pub fn event(&self, dialect: Dialect) -> String {
        metrics::counter!(REFUSALS, "code" => self.code).increment(1);
        dialect.error_event(self.status, self.code, &self.message)
    }

    /// The whole answer.
    pub fn into_response(self, dialect: Dialect, settings: &config::Gateway) -> Response {
        metrics::counter!(REFUSALS, "code" => self.code).increment(1);
        tracing::debug!(code = self.code, status = self.status.as_u16(), "refused");
        let mut headers = HeaderMap::new();
        if let Some(balance) = self.balance {
            tell_balance(&mut headers, balance, settings);
        }
        if self.never_retry {
            headers.insert(SHOULD_RETRY, HeaderValue::from_static("false"));
        }
        if let Some(seconds) = self.retry_after {
            headers.insert(header::RETRY_AFTER, HeaderValue::from(seconds));
        }
        let body = dialect.error(self.status, self.code, &self.message);
        (self.status, headers, Json(body)).into_response()
    }
}

/// Writes what is left, and the advice to finish when that is little.
pub(crate) fn tell_balance(headers: &mut HeaderMap, balance: Balance, settings: &config::Gateway) {
    let left = balance.left();
    headers.insert(REMAINING, HeaderValue::from(left.whole_micro().0));
    let enough = i128::from(balance.budget.0) * i128::from(settings.finish_below_percent);
    if i128::from(left.0) * 100 < enough {
        headers.insert(ADVICE, HeaderValue::from_static("finish"));
    }
}
