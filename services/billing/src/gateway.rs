//! The model gateway: what agents call instead of a provider.
//!
//! It speaks three protocols ([`dialect`]): OpenAI's chat completions and responses, and Anthropic's messages.
//!
//! One call: credential → limits → body → model → hold → provider → answer → settlement. From the hold on, the work is
//! a tracked job that the agent cannot end by hanging up: the provider's answer is read to its end, and the books get
//! what it cost before the agent gets its last byte.
//!
//! Bytes pass through untouched in both directions, but for three stated rules: a missing `model` is set to the run's
//! default, a streamed chat completion always asks for its usage, and of `anthropic-beta` only listed names are sent on.
//! All are flags on the usage row.
//!
//! Beside the models it calls the hosts an agent's file names, with the agent's own secrets ([`ext`]).

mod dialect;
mod exchange;
mod ext;
mod models;
mod money;
mod refusal;
mod relay;
mod rewrite;
pub mod server;
mod slots;
mod sse;
mod upstreams;
mod whole;

use std::{sync::Arc, time::Instant};

use axum::{body::Body, response::Response};
use boot::{Context, Tasks};
use http::HeaderMap;
use http_body_util::{BodyExt as _, LengthLimitError, Limited};
use store::{
    Store,
    run_accounts::{self, Access, Right},
    seal::Sealer,
};

use crate::{
    config::{self, Config},
    credential,
    health::Health,
    metrics,
};
use dialect::{Ask, Dialect};
pub use refusal::CODES;
use refusal::Refusal;

/// Everything a call needs.
pub struct Gateway {
    store: Store,
    settings: config::Gateway,
    upstreams: upstreams::Upstreams,
    slots: Arc<slots::Slots>,
    health: Health,
    ext: ext::Ext,
    tasks: Tasks,
}

/// A caller that proved which run it is.
pub(crate) struct Caller {
    access: Access,
    credential_hash: [u8; 32],
}

impl Gateway {
    /// The gateway of this process.
    ///
    /// # Errors
    /// When no HTTP client can be made or a key cannot be sent in a header.
    pub fn new(context: &Context<Config>, store: Store, sealer: Option<Arc<Sealer>>) -> Result<Self, outbound::Error> {
        let settings = context.config.gateway.clone();
        Ok(Self {
            ext: ext::Ext::new(&context.config.ext, sealer, &context.tasks)?,
            upstreams: upstreams::Upstreams::new(&context.config.upstreams, &settings)?,
            slots: slots::Slots::new(metrics::OPEN_CALLS, settings.max_calls, settings.max_calls_per_run),
            health: Health::default(),
            tasks: context.tasks.clone(),
            store,
            settings,
        })
    }

    /// How its providers fare.
    pub(crate) fn health(&self) -> &Health {
        &self.health
    }

    /// One call of a model.
    async fn call(self: Arc<Self>, dialect: Dialect, headers: &HeaderMap, body: Body) -> Response {
        let started = Instant::now();
        let (caller, prepared) = match self.caller(headers).await {
            Ok(caller) => {
                let prepared = self.prepare(&caller, dialect, headers, body).await;
                (caller, prepared)
            }
            Err(refusal) => return refusal.into_response(dialect, &self.settings),
        };
        let balance = caller.access.balance;
        let (ask, upstream, slot) = match prepared {
            Ok(prepared) => prepared,
            Err(refusal) => return refusal.or_balance(balance).into_response(dialect, &self.settings),
        };
        let exchange = exchange::Exchange::new(Arc::clone(&self), caller, ask, upstream, slot, started);
        match exchange.begin(&self.tasks).await {
            Ok(answer) => answer.into_response(&self.settings),
            Err(refusal) => refusal.or_balance(balance).into_response(dialect, &self.settings),
        }
    }

    /// The models a run may use.
    async fn models(&self, headers: &HeaderMap) -> Response {
        match self.caller(headers).await {
            Ok(caller) => models::list(&caller.access, &self.upstreams, &self.settings),
            Err(refusal) => refusal.into_response(Dialect::Chat, &self.settings),
        }
    }

    /// Who calls.
    async fn caller(&self, headers: &HeaderMap) -> Result<Caller, Refusal> {
        let credential = credential::from_header(headers).ok_or_else(Refusal::no_credential)?;
        let credential_hash = credential::hash(credential);
        let (store, hash) = (self.store.clone(), credential_hash);
        let find = move || {
            let store = store.clone();
            async move { run_accounts::by_credential(&store, &hash).await }
        };
        let access = money::soon(find).await.map_err(|error| Refusal::books(&error))?;
        let access = access.ok_or_else(Refusal::no_credential)?;
        let span = tracing::Span::current();
        span.record("run.id", tracing::field::display(access.run_id));
        span.record("agent.id", &access.agent);
        match access.right {
            Right::Open => Ok(Caller {
                access,
                credential_hash,
            }),
            Right::Closed => Err(Refusal::run_closed().or_balance(access.balance)),
            Right::Expired => Err(Refusal::run_expired().or_balance(access.balance)),
        }
    }

    /// What is asked for, of whom, and a place to do it.
    async fn prepare(
        &self,
        caller: &Caller,
        dialect: Dialect,
        headers: &HeaderMap,
        body: Body,
    ) -> Result<(Ask, Arc<upstreams::Upstream>, slots::Slot), Refusal> {
        let slot = self.slots.enter(caller.access.run_id)?;
        let body = self.read(body).await?;
        let ask = dialect.read(&body, headers, &caller.access, &self.settings)?;
        let upstream = self.upstreams.of_model(&ask.model, dialect.api()).ok_or_else(|| {
            let other = self.upstreams.serving(&ask.model);
            other.map_or_else(
                || Refusal::no_provider(&ask.model),
                |other| Refusal::other_protocol(&ask.model, &other.name, other.api.paths()),
            )
        })?;
        Ok((ask, upstream, slot))
    }

    /// The request's body, within its bounds of size and time.
    async fn read(&self, body: Body) -> Result<bytes::Bytes, Refusal> {
        let limit = self.settings.max_body_bytes;
        let reading = Limited::new(body, limit).collect();
        match tokio::time::timeout(self.settings.body_timeout, reading).await {
            Ok(Ok(read)) => Ok(read.to_bytes()),
            Ok(Err(error)) if error.is::<LengthLimitError>() => Err(Refusal::body_too_large(limit)),
            Ok(Err(_)) => Err(Refusal::body_broken()),
            Err(_elapsed) => Err(Refusal::body_slow()),
        }
    }
}
