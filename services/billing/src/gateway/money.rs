//! The money side of one call: what it may cost, setting that aside, and replacing it by what it did cost.
//!
//! Postgres may go away at any of these steps. Before the provider is called, a second of trying is enough: the agent
//! is told to come back. Afterwards the money is spent, so settling is tried for as long as the hold is kept.

use std::{convert::Infallible, future::pending, time::Duration};

use domain::{metering::Rates, money::PicoUsd};
use store::{
    Store,
    holds::{self, Hold, Settled, Taken},
    prices::{self, InForce},
    run_accounts::Balance,
    run_tx,
    usage::{Charge, Flag},
};
use tokio::time::{Instant, sleep};
use uuid::Uuid;

use super::{dialect::Seen, refusal::Refusal};
use crate::metrics::{COST, FLAGS, HOLDS, TOKENS};

/// How long an agent is kept waiting for books that are away.
const SOON: Duration = Duration::from_secs(1);
/// Renewals of a hold in the time of its lease.
const RENEWALS: u32 = 3;
const FIRST_PAUSE: Duration = Duration::from_millis(50);
const LONGEST_PAUSE: Duration = Duration::from_secs(2);

/// What a model costs, as far as is known.
#[derive(Debug, Clone)]
pub(super) enum Quote {
    /// Its own price.
    Known(InForce),
    /// None: the highest of what its provider's other models cost.
    Highest(Rates),
}

impl Quote {
    pub fn rates(&self) -> Rates {
        match self {
            Self::Known(price) => price.rates,
            Self::Highest(rates) => *rates,
        }
    }
}

/// Tries what an agent waits for until it works, fails for good, or a second has passed.
pub(super) async fn soon<T, F, Fut>(work: F) -> Result<T, store::Error>
where
    F: FnMut() -> Fut,
    Fut: Future<Output = Result<T, store::Error>>,
{
    until(Instant::now() + SOON, work).await
}

/// Tries until it works, fails for good, or `deadline` has passed.
pub(super) async fn until<T, F, Fut>(deadline: Instant, mut work: F) -> Result<T, store::Error>
where
    F: FnMut() -> Fut,
    Fut: Future<Output = Result<T, store::Error>>,
{
    let mut pause = FIRST_PAUSE;
    loop {
        match work().await {
            Err(error) if error.is_transient() && Instant::now() + pause < deadline => {
                tracing::debug!(
                    error = &error as &dyn std::error::Error,
                    "the books are away, trying again"
                );
            }
            done => return done,
        }
        sleep(pause).await;
        pause = (pause * 2).min(LONGEST_PAUSE);
    }
}

/// What a model of a provider costs now; `None` when there is no price at all.
pub(super) async fn quote(store: &Store, provider: &str, model: &str) -> Result<Option<Quote>, store::Error> {
    let (store, provider, model) = (store.clone(), provider.to_owned(), model.to_owned());
    let ask = move || {
        let (store, provider, model) = (store.clone(), provider.clone(), model.clone());
        async move {
            if let Some(price) = prices::in_force(&store, &provider, &model).await? {
                return Ok(Some(Quote::Known(price)));
            }
            Ok(prices::highest(&store, &provider).await?.map(Quote::Highest))
        }
    };
    soon(ask).await
}

/// Sets money aside.
pub(super) async fn take(store: &Store, hold: &Hold) -> Result<Taken, store::Error> {
    let take = || {
        let (store, hold) = (store.clone(), hold.clone());
        async move { run_tx!(store, "take_hold", |tx| holds::take(tx, &hold).await) }
    };
    soon(take).await
}

/// Keeps money set aside while a call lives, until `deadline`. Short calls end before the first renewal.
pub(super) async fn keep(store: &Store, id: Uuid, lease: Duration, deadline: Instant) -> Infallible {
    let renew = || {
        let store = store.clone();
        async move { run_tx!(store, "renew_hold", |tx| holds::renew(tx, id, lease).await) }
    };
    loop {
        sleep(lease / RENEWALS).await;
        match until(deadline, renew).await {
            Ok(true) if Instant::now() < deadline => {}
            Ok(_) => break,
            Err(error) => {
                tracing::warn!(
                    hold.id = %id,
                    error = &error as &dyn std::error::Error,
                    "money set aside for a call cannot be kept set aside"
                );
                break;
            }
        }
    }
    pending().await
}

/// Gives it back; nobody is told when that fails, since the sweeper then charges it.
pub(super) async fn release(store: &Store, id: Uuid, deadline: Instant) -> Option<Balance> {
    let release = || {
        let store = store.clone();
        async move { run_tx!(store, "release_hold", |tx| holds::release(tx, id).await) }
    };
    match until(deadline, release).await {
        Ok(balance) => {
            metrics::counter!(HOLDS, "end" => "released").increment(u64::from(balance.is_some()));
            balance
        }
        Err(error) => {
            tracing::error!(
                hold.id = %id,
                error = &error as &dyn std::error::Error,
                "money set aside for nothing could not be given back: it will be charged"
            );
            None
        }
    }
}

/// Writes what a call cost. `None` when the sweeper was faster.
pub(super) async fn settle(store: &Store, charge: &Charge, deadline: Instant) -> Result<Option<Balance>, store::Error> {
    let settle = || {
        let (store, charge) = (store.clone(), charge.clone());
        async move { run_tx!(store, "settle_hold", |tx| holds::settle(tx, &charge).await) }
    };
    match until(deadline, settle).await? {
        Settled::Now(balance) => {
            metrics::counter!(HOLDS, "end" => "settled").increment(1);
            record(charge);
            Ok(Some(balance))
        }
        Settled::Before => Ok(None),
        Settled::Unknown => {
            tracing::error!(hold.id = %charge.id, "a call's hold is gone and so is its usage row");
            Ok(None)
        }
    }
}

fn record(charge: &Charge) {
    let provider = || charge.provider.clone();
    let tokens = charge.tokens.within_input();
    let stored = tokens.stored + tokens.stored_hour;
    for (kind, count) in [
        ("input", tokens.input - tokens.cached - stored),
        ("cached", tokens.cached),
        ("stored", stored),
        ("output", tokens.output),
    ] {
        metrics::counter!(TOKENS, "provider" => provider(), "kind" => kind).increment(count);
    }
    metrics::counter!(COST, "provider" => provider()).increment(charge.cost.0.unsigned_abs());
    for flag in &charge.flags {
        metrics::counter!(FLAGS, "flag" => flag.as_str()).increment(1);
    }
}

/// Fills in what a call cost: by the answering model's price, else by that of the model asked for, else by the highest
/// known; and when the usage is lost, what was set aside.
pub(super) async fn price(store: &Store, charge: &mut Charge, quote: &Quote, held: PicoUsd, seen: Option<Seen>) {
    let Some(seen) = seen else {
        return lose(charge, held);
    };
    charge.tokens = seen.tokens;
    let (rates, known) = match answering(store, charge, seen.model).await {
        Some(price) => (price.rates, Some(price)),
        None => match quote {
            Quote::Known(price) => (price.rates, Some(price.clone())),
            Quote::Highest(rates) => {
                charge.flags.push(Flag::UnknownPrice);
                (*rates, None)
            }
        },
    };
    let Ok(cost) = rates.cost(seen.tokens) else {
        charge.tokens = domain::metering::Tokens::default();
        return lose(charge, held);
    };
    charge.cost = cost;
    if let Some(price) = known {
        charge.price_id = Some(price.id);
        charge.model_billed = price.model;
    }
    if seen.tokens.stored > 0 || seen.tokens.stored_hour > 0 {
        charge.flags.push(Flag::CacheStored);
    }
    if cost > held {
        charge.flags.push(Flag::OverHold);
    }
}

fn lose(charge: &mut Charge, held: PicoUsd) {
    charge.cost = held;
    charge.flags.push(Flag::UsageLost);
}

/// The price of the model that says it answered, when it is another than the one asked for and has one.
async fn answering(store: &Store, charge: &mut Charge, model: Option<String>) -> Option<InForce> {
    let model = model.filter(|model| *model != charge.model_requested && !model.is_empty())?;
    let (its_store, provider, name) = (store.clone(), charge.provider.clone(), model.clone());
    let ask = move || {
        let (store, provider, model) = (its_store.clone(), provider.clone(), name.clone());
        async move { prices::in_force(&store, &provider, &model).await }
    };
    match soon(ask).await {
        Ok(Some(price)) => return Some(price),
        Ok(None) => {}
        Err(error) => {
            let error = &error as &dyn std::error::Error;
            tracing::warn!(model, error, "the answering model's price cannot be read");
        }
    }
    // gpt-4o answers as gpt-4o-2024-08-06: a snapshot of the same model at the same price.
    let snapshot = model
        .strip_prefix(&charge.model_requested)
        .is_some_and(|rest| rest.starts_with(['-', ':', '@']));
    if !snapshot {
        tracing::warn!(
            asked = charge.model_requested,
            answered = model,
            "another model answered than was asked, and it has no price"
        );
        charge.flags.push(Flag::ModelSubstituted);
    }
    None
}

/// A hold that does not fit.
pub(super) fn short(quote: &Quote, hold: &Hold, request: domain::metering::Request, balance: Balance) -> Refusal {
    let fits = quote.rates().affordable_output(request, balance.left());
    Refusal::budget_exhausted(hold.amount, balance, fits)
}
