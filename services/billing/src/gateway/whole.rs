//! Answers that are no streams, and failures.

use bytes::{Bytes, BytesMut};
use http::{HeaderValue, StatusCode, header};
use outbound::Response;

use super::{
    dialect::Dialect,
    exchange::{Answer, AnswerBody, End, Exchange, Failure, Held, Reply, passed_on},
    refusal::Refusal,
};

/// What is read of a failure.
const MAX_FAILURE: usize = 64 * 1024;

/// How OpenAI and those like it tell a used-up account from calls that come too fast.
const QUOTA: &[u8] = b"insufficient_quota";
/// How Anthropic says the same, as if the call were wrong.
const CREDIT: &[u8] = b"credit balance is too low";

/// Reads an answer to its end, books it, passes it on.
pub(super) async fn answer(exchange: &Exchange, held: &Held, response: Response, reply: Reply) {
    let (status, headers) = (response.status(), passed_on(response.headers()));
    let reading = outbound::read_limited(response, exchange.gateway.settings.max_answer_bytes);
    let body = match exchange.within(reading).await {
        Ok(Ok(body)) => body,
        Ok(Err(error)) => {
            tracing::warn!(provider = exchange.upstream.name, %error, "a provider's answer broke off");
            return exchange.fail(held, Failure::of(&error), status.as_u16(), reply).await;
        }
        Err(failure) => return exchange.fail(held, failure, status.as_u16(), reply).await,
    };
    let Ok(seen) = exchange.ask.dialect.whole(&body) else {
        return exchange.fail(held, Failure::Garbage, status.as_u16(), reply).await;
    };
    let end = End {
        seen,
        status: status.as_u16(),
        streamed: false,
        client_gone: reply.is_closed(),
        outcome: "ok",
    };
    let answer = match exchange.settle(held, end).await {
        Ok(balance) => Ok(Answer {
            status,
            headers,
            balance: balance.unwrap_or(held.balance),
            body: AnswerBody::Whole(body),
        }),
        Err(error) => Err(Refusal::books(&error)),
    };
    drop(reply.send(answer));
}

/// Passes a failure on that the agent can act on (a bad request, a rate limit), and tells the others in our words:
/// those are between the provider and the operator. Costs nothing unless the provider says otherwise.
pub(super) async fn failed(exchange: &Exchange, held: &Held, response: Response, reply: Reply) {
    let (status, headers) = (response.status(), passed_on(response.headers()));
    let body = exchange.within(read_some(response)).await.unwrap_or_default();
    let provider = exchange.upstream.name.as_str();
    tracing::warn!(provider, status = status.as_u16(), "a provider refused a model call");
    match outage(status, &body) {
        Some(why) => exchange.gateway.health().failed(provider, &why),
        None => exchange.gateway.health().worked(provider),
    }
    if let Ok(seen @ Some(_)) = exchange.ask.dialect.whole(&body) {
        let end = End {
            seen,
            status: status.as_u16(),
            streamed: false,
            client_gone: reply.is_closed(),
            outcome: "provider_error",
        };
        let answer = match exchange.settle(held, end).await {
            Ok(balance) => Ok(Answer {
                status,
                headers,
                balance: balance.unwrap_or(held.balance),
                body: AnswerBody::Whole(body),
            }),
            Err(error) => Err(Refusal::books(&error)),
        };
        return drop(reply.send(answer));
    }
    let hidden = match status.as_u16() {
        // About our key or our bill: the agent can do nothing, and the text may quote the key.
        401..=403 | 407 => {
            tracing::error!(
                provider,
                status = status.as_u16(),
                "a provider refuses our key or our account"
            );
            Some("refuses the operator's key or account")
        }
        300..=399 => Some("points elsewhere, where no key of ours may go"),
        _ => None,
    };
    if let Some(detail) = hidden {
        let refusal = Refusal::upstream_error(provider, StatusCode::BAD_GATEWAY, detail);
        return exchange.give_back("provider_error", refusal, reply).await;
    }
    let balance = exchange.release("provider_error").await.unwrap_or(held.balance);
    drop(reply.send(Ok(readable(
        exchange.ask.dialect,
        provider,
        status,
        headers,
        body,
        balance,
    ))));
}

/// What of a failure concerns every call, in our words: the others are about the one that was made.
fn outage(status: StatusCode, body: &Bytes) -> Option<String> {
    match status.as_u16() {
        401 | 403 => Some(format!("it refuses the operator's key (HTTP {status})")),
        402 => Some("it wants to be paid first (HTTP 402)".to_owned()),
        429 if body.windows(QUOTA.len()).any(|piece| piece == QUOTA) => {
            Some("the operator's account has nothing left (insufficient_quota)".to_owned())
        }
        400 if body.windows(CREDIT.len()).any(|piece| piece == CREDIT) => {
            Some("the operator's account has nothing left (credit balance is too low)".to_owned())
        }
        500.. => Some(format!("it answers HTTP {status}")),
        _ => None,
    }
}

/// The provider's own words when they are JSON, ours in their place when not.
fn readable(
    dialect: Dialect,
    provider: &str,
    status: StatusCode,
    mut headers: http::HeaderMap,
    body: Bytes,
    balance: store::run_accounts::Balance,
) -> Answer {
    let json = serde_json::from_slice::<serde::de::IgnoredAny>(&body).is_ok();
    let body = if json {
        body
    } else {
        headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
        let message = format!("{provider} answered {status} without saying why; nothing was charged");
        Bytes::from(dialect.error(status, "upstream_error", &message).to_string())
    };
    Answer {
        status,
        headers,
        balance,
        body: AnswerBody::Whole(body),
    }
}

/// The beginning of a body, as far as it comes.
async fn read_some(mut response: Response) -> Bytes {
    let mut body = BytesMut::new();
    while let Ok(Some(chunk)) = response.chunk().await {
        let room = MAX_FAILURE - body.len();
        body.extend_from_slice(&chunk[..chunk.len().min(room)]);
        if body.len() == MAX_FAILURE {
            break;
        }
    }
    body.freeze()
}
