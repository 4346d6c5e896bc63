//! One call from its hold to its settlement, as a job of its own: the agent may hang up, the books stay right.

use std::{sync::Arc, time::Instant};

use axum::{body::Body, response::Response};
use boot::Tasks;
use bytes::Bytes;
use domain::money::PicoUsd;
use http::{HeaderMap, HeaderName, StatusCode, header};
use store::{
    holds::{Hold, Taken},
    run_accounts::Balance,
    usage::{Charge, Flag},
};
use tokio::{
    sync::{mpsc, oneshot},
    time::{Instant as Deadline, timeout_at},
};
use tokio_stream::{StreamExt as _, wrappers::ReceiverStream};
use uuid::Uuid;

use super::{
    Caller, Gateway,
    dialect::{Ask, Seen},
    money::{self, Quote},
    refusal::{Refusal, tell_balance},
    relay,
    slots::Slot,
    upstreams::Upstream,
    whole,
};
use crate::{
    config,
    metrics::{CALL_SECONDS, CALLS, HEADERS_SECONDS},
};

/// Headers of a provider's answer that agents get; the others are about our account.
const PASSED_ON: [HeaderName; 5] = [
    header::CONTENT_TYPE,
    header::RETRY_AFTER,
    HeaderName::from_static("x-request-id"),
    HeaderName::from_static("request-id"),
    HeaderName::from_static("x-should-retry"),
];

/// Where the answer goes; nobody may be there any more.
pub(super) type Reply = oneshot::Sender<Result<Answer, Refusal>>;

/// What the agent gets.
pub(crate) struct Answer {
    pub status: StatusCode,
    pub headers: HeaderMap,
    pub balance: Balance,
    pub body: AnswerBody,
}

/// All of it, or one piece after the other.
pub(crate) enum AnswerBody {
    Whole(Bytes),
    Stream(mpsc::Receiver<Bytes>),
}

/// A call that is allowed and understood.
pub(crate) struct Exchange {
    pub(super) gateway: Arc<Gateway>,
    caller: Caller,
    pub(super) ask: Ask,
    pub(super) upstream: Arc<Upstream>,
    _slot: Slot,
    started: Instant,
    deadline: Deadline,
    id: Uuid,
}

/// Money set aside.
pub(super) struct Held {
    quote: Quote,
    amount: PicoUsd,
    pub balance: Balance,
}

/// Why a provider's answer did not come, or not to its end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Failure {
    Timeout,
    Cut,
    Garbage,
    Stopped,
}

impl Failure {
    pub fn refusal(self, provider: &str) -> Refusal {
        match self {
            Self::Timeout => Refusal::upstream_timeout(provider),
            Self::Cut => Refusal::upstream_cut(provider),
            Self::Garbage => Refusal::upstream_garbage(provider),
            Self::Stopped => Refusal::stopping(),
        }
    }

    pub fn outcome(self) -> &'static str {
        match self {
            Self::Timeout => "timeout",
            Self::Cut => "cut",
            Self::Garbage => "garbage",
            Self::Stopped => "stopped",
        }
    }

    /// A failure of the HTTP client after the call may have arrived.
    pub fn of(error: &outbound::Error) -> Self {
        match error {
            outbound::Error::Timeout { .. } | outbound::Error::Body { timed_out: true, .. } => Self::Timeout,
            outbound::Error::TooLarge { .. } => Self::Garbage,
            _ => Self::Cut,
        }
    }
}

/// What came of a call, for the books.
pub(super) struct End {
    /// `None`: nobody knows what it used.
    pub seen: Option<Seen>,
    pub status: u16,
    pub streamed: bool,
    pub client_gone: bool,
    pub outcome: &'static str,
}

impl Exchange {
    pub fn new(
        gateway: Arc<Gateway>,
        caller: Caller,
        ask: Ask,
        upstream: Arc<Upstream>,
        slot: Slot,
        started: Instant,
    ) -> Self {
        let deadline = Deadline::from_std(started) + gateway.settings.total_timeout;
        Self {
            gateway,
            caller,
            ask,
            upstream,
            _slot: slot,
            started,
            deadline,
            id: Uuid::now_v7(),
        }
    }

    /// Starts the job and waits until there is something to answer.
    pub async fn begin(self, tasks: &Tasks) -> Result<Answer, Refusal> {
        let (reply, answer) = oneshot::channel();
        let _running = tasks.spawn_job("gateway_call", self.run(reply));
        answer.await.unwrap_or_else(|_| Err(Refusal::stopping()))
    }

    async fn run(self, reply: Reply) {
        let held = match self.hold().await {
            Ok(held) => held,
            Err(refusal) => return drop(reply.send(Err(refusal))),
        };
        let gateway = &self.gateway;
        let keeping = money::keep(&gateway.store, self.id, gateway.settings.hold_lease, self.last_try());
        tokio::select! {
            () = self.call(&held, reply) => {}
            never = keeping => match never {},
        }
    }

    /// Asks the provider and passes its answer on.
    async fn call(&self, held: &Held, reply: Reply) {
        let sending = self.upstream.send(&self.ask, self.caller.access.run_id);
        let sent = self.within(sending).await;
        metrics::histogram!(HEADERS_SECONDS, "provider" => self.upstream.name.clone())
            .record(self.started.elapsed().as_secs_f64());
        match sent {
            Ok(Ok(response)) if !response.status().is_success() => whole::failed(self, held, response, reply).await,
            Ok(Ok(response)) if is_event_stream(response.headers()) => {
                relay::stream(self, held, response, reply).await;
            }
            Ok(Ok(response)) => whole::answer(self, held, response, reply).await,
            Ok(Err(error)) if error.sent() == outbound::Sent::No => {
                tracing::warn!(provider = self.upstream.name, %error, "a provider cannot be reached");
                let refusal = Refusal::upstream_unreachable(&self.upstream.name);
                self.give_back("unreachable", refusal, reply).await;
            }
            Ok(Err(error)) => {
                tracing::warn!(provider = self.upstream.name, %error, "a provider's answer never came");
                self.fail(held, Failure::of(&error), 0, reply).await;
            }
            Err(failure) => self.fail(held, failure, 0, reply).await,
        }
    }

    /// Sets aside what the call may cost.
    async fn hold(&self) -> Result<Held, Refusal> {
        let (store, settings) = (&self.gateway.store, &self.gateway.settings);
        let quote = money::quote(store, &self.upstream.name, &self.ask.model).await;
        let quote = quote
            .map_err(|error| Refusal::books(&error))?
            .ok_or_else(Refusal::no_price)?;
        let amount = quote
            .rates()
            .hold(self.ask.request)
            .map_err(|error| Refusal::invalid(error.to_string()))?;
        let hold = Hold {
            id: self.id,
            run_id: self.caller.access.run_id,
            credential_hash: self.caller.credential_hash,
            amount,
            model: self.ask.model.clone(),
            provider: self.upstream.name.clone(),
            lease: settings.hold_lease,
        };
        match money::take(store, &hold).await {
            Ok(Taken::Held(balance)) => Ok(Held { quote, amount, balance }),
            Ok(Taken::Short(balance)) => Err(money::short(&quote, &hold, self.ask.request, balance)),
            Ok(Taken::Ended) => Err(Refusal::run_closed()),
            Err(error) => {
                // It may have been written after all: nothing was asked of the provider, so nothing may be charged.
                let (store, id, last_try) = (store.clone(), self.id, self.last_try());
                let _running = self.gateway.tasks.spawn_job("release_hold", async move {
                    money::release(&store, id, last_try).await;
                });
                Err(Refusal::books(&error))
            }
        }
    }

    /// When the hold is renewed no more and trying to settle it is over.
    fn last_try(&self) -> Deadline {
        self.deadline + self.gateway.settings.hold_margin
    }

    /// Waits for the provider no longer than the call's deadline or the hard stop.
    pub async fn within<T>(&self, work: impl Future<Output = T>) -> Result<T, Failure> {
        tokio::select! {
            () = self.gateway.tasks.hard().cancelled() => Err(Failure::Stopped),
            done = timeout_at(self.deadline, work) => done.map_err(|_elapsed| Failure::Timeout),
        }
    }

    /// Writes into the books what the call came to.
    pub async fn settle(&self, held: &Held, end: End) -> Result<Option<Balance>, store::Error> {
        let mut charge = Charge {
            flags: self.ask.flags.clone(),
            streamed: end.streamed,
            status: i32::from(end.status),
            duration_ms: i64::try_from(self.started.elapsed().as_millis()).unwrap_or(i64::MAX),
            ..Charge::nothing(self.id, self.upstream.name.clone(), self.ask.model.clone())
        };
        if end.client_gone {
            charge.flags.push(Flag::ClientGone);
        }
        money::price(&self.gateway.store, &mut charge, &held.quote, held.amount, end.seen).await;
        let settled = money::settle(&self.gateway.store, &charge, self.last_try()).await;
        self.count(end.outcome);
        let flags: Vec<&str> = charge.flags.iter().map(|flag| flag.as_str()).collect();
        tracing::info!(
            run.id = %self.caller.access.run_id,
            agent.id = self.caller.access.agent,
            provider = charge.provider,
            model = charge.model_billed,
            outcome = end.outcome,
            status = charge.status,
            input_tokens = charge.tokens.input,
            cached_tokens = charge.tokens.cached,
            stored_tokens = charge.tokens.stored,
            stored_hour_tokens = charge.tokens.stored_hour,
            output_tokens = charge.tokens.output,
            cost_pico_usd = charge.cost.0,
            flags = flags.join(","),
            booked = settled.is_ok(),
            duration_ms = charge.duration_ms,
            "model call"
        );
        settled
    }

    /// The answer is lost: what was set aside is charged, the agent is told.
    pub async fn fail(&self, held: &Held, failure: Failure, status: u16, reply: Reply) {
        let end = End {
            seen: None,
            status,
            streamed: self.ask.stream,
            client_gone: reply.is_closed(),
            outcome: failure.outcome(),
        };
        let refusal = match self.settle(held, end).await {
            Ok(balance) => failure
                .refusal(&self.upstream.name)
                .or_balance(balance.unwrap_or(held.balance)),
            Err(error) => Refusal::books(&error),
        };
        drop(reply.send(Err(refusal)));
    }

    /// Nothing was charged: the hold is given back, the agent is told.
    pub async fn give_back(&self, outcome: &'static str, refusal: Refusal, reply: Reply) {
        let balance = money::release(&self.gateway.store, self.id, self.last_try()).await;
        self.count(outcome);
        drop(reply.send(Err(match balance {
            Some(balance) => refusal.or_balance(balance),
            None => refusal,
        })));
    }

    /// As [`Exchange::give_back`], for an answer that is passed on as it is.
    pub async fn release(&self, outcome: &'static str) -> Option<Balance> {
        let balance = money::release(&self.gateway.store, self.id, self.last_try()).await;
        self.count(outcome);
        balance
    }

    fn count(&self, outcome: &'static str) {
        let health = self.gateway.health();
        match outcome {
            "ok" => health.worked(&self.upstream.name),
            "unreachable" => health.failed(&self.upstream.name, "it cannot be reached"),
            "timeout" => health.failed(&self.upstream.name, "it did not answer in time"),
            "garbage" => health.failed(&self.upstream.name, "it answered with something that is no answer"),
            "cut" => health.failed(&self.upstream.name, "it broke off in the middle of its answer"),
            _ => {}
        }
        let provider = || self.upstream.name.clone();
        metrics::counter!(CALLS, "provider" => provider(), "outcome" => outcome).increment(1);
        metrics::histogram!(CALL_SECONDS, "provider" => provider(), "outcome" => outcome)
            .record(self.started.elapsed().as_secs_f64());
    }
}

impl Answer {
    pub fn into_response(self, settings: &config::Gateway) -> Response {
        let body = match self.body {
            AnswerBody::Whole(bytes) => Body::from(bytes),
            AnswerBody::Stream(pieces) => {
                Body::from_stream(ReceiverStream::new(pieces).map(Ok::<_, std::convert::Infallible>))
            }
        };
        let mut response = Response::new(body);
        *response.status_mut() = self.status;
        *response.headers_mut() = self.headers;
        tell_balance(response.headers_mut(), self.balance, settings);
        response
    }
}

/// The headers of a provider's answer that agents get.
pub(super) fn passed_on(headers: &HeaderMap) -> HeaderMap {
    let rate = |name: &HeaderName| {
        let limits = ["x-ratelimit-", "anthropic-ratelimit-"];
        limits.iter().any(|prefix| name.as_str().starts_with(prefix))
    };
    let wanted = headers
        .iter()
        .filter(|(name, _)| PASSED_ON.contains(*name) || rate(name));
    wanted.map(|(name, value)| (name.clone(), value.clone())).collect()
}

fn is_event_stream(headers: &HeaderMap) -> bool {
    let kind = headers.get(header::CONTENT_TYPE).and_then(|value| value.to_str().ok());
    kind.is_some_and(|kind| kind.trim_start().to_ascii_lowercase().starts_with("text/event-stream"))
}
