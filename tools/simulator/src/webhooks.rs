//! Webhooks: signed over the exact bytes, sent until answered 200, logged.
//!
//! An event becomes one delivery with one body and one delivery id. Its attempts are timers; each
//! signs the same bytes, by default with the secret in force when it is sent. Only 200 counts.

use std::time::Duration;

use bytes::Bytes;
use chrono::TimeDelta;
use serde_json::{Value, json};
use uuid::Uuid;

use crate::{
    app::App,
    dialect,
    faults::Kind,
    money::Micro,
    rng::{Rng, hash},
    settings::Signing,
    sync::lock,
    timers::Action,
    world::Event,
};

pub use log::Outbox;
pub use sign::{signature, webhook_headers};

pub mod log;
mod sign;

/// What is kept of the receiver's answer.
const MAX_ANSWER: usize = 1024;

/// What one attempt needs, read together.
struct Attempt {
    event: String,
    url: String,
    body: Bytes,
    delivery_id: Uuid,
    number: u32,
    secret: String,
    old_secret: Option<String>,
    timeout: Duration,
}

/// How an attempt ended.
#[derive(Debug)]
pub struct Outcome {
    pub status: Option<u16>,
    pub answer: String,
    pub error: Option<String>,
    pub took: Duration,
}

impl Outcome {
    /// Only 200 tells the platform that it was received.
    pub fn received(&self) -> bool {
        self.status == Some(200)
    }
}

/// Turns an event into a delivery and plans its first attempt.
pub fn dispatch(app: &App, mut event: Event) {
    if event.name == "contract.approved"
        && let Some(fault) = lock(&app.faults).strike_webhook(event.name, &[Kind::OddRounding])
    {
        round_oddly(&mut event.data, fault.number("places", 2).min(6) as u32);
    }
    let kinds = [Kind::Drop, Kind::Delay, Kind::Reorder, Kind::Duplicate];
    let fault = lock(&app.faults).strike_webhook(event.name, &kinds);
    let agent = event.agent;
    let max_attempts = event.max_attempts;
    let delivery = keep(app, event, max_attempts);
    let send = |wait: u64, extra: bool| {
        let wait = Duration::from_millis(wait.min(3_600_000));
        app.after(wait, Action::Send { delivery, extra });
    };
    match fault.as_ref().map(|fault| (fault.kind, fault)) {
        Some((Kind::Drop, _)) => lock(&app.outbox).lose(delivery, app.clock.now()),
        Some((Kind::Delay, fault)) => send(fault.number("ms", 2000), false),
        Some((Kind::Duplicate, fault)) => {
            send(0, false);
            for _ in 1..fault.number("copies", 2).clamp(1, 1000) {
                send(0, true);
            }
        }
        Some((Kind::Reorder, fault)) => {
            lock(&app.outbox).hold(agent, delivery);
            let wait = Duration::from_millis(fault.number("ms", 1000).min(3_600_000));
            app.after(wait, Action::Release { delivery });
        }
        _ => send(0, false),
    }
}

/// Rounds what the agent earned down and the fee up, so that they need not add up.
fn round_oddly(data: &mut Value, places: u32) {
    let unit = 10_i64.pow(6 - places);
    let amount = |name: &str| Micro::from_json(&data[name]).unwrap_or_default().0;
    let (earned, fee) = (amount("amount_earned"), amount("platform_fee"));
    data["amount_earned"] = json!(Micro(earned / unit * unit));
    data["platform_fee"] = json!(Micro((fee + unit - 1) / unit * unit));
}

/// Words an event and puts it into the log.
fn keep(app: &App, event: Event, max_attempts: u32) -> Uuid {
    let dialect = app.see(|world| world.settings().dialect);
    let now = app.clock.now();
    let body = dialect::body(dialect, &mut lock(&app.dice), event.name, now, event.data.clone());
    lock(&app.outbox).add(event, &body, max_attempts, now)
}

/// Sends a webhook that was held back, unless it has gone already.
pub fn release(app: &App, delivery: Uuid) {
    if lock(&app.outbox).let_go(delivery) {
        let send = Action::Send { delivery, extra: false };
        app.after(Duration::ZERO, send);
    }
}

/// Sends a webhook once and plans what follows. None if it is no longer known.
pub async fn attempt(app: &App, delivery: Uuid, extra: bool) -> Option<Outcome> {
    let _slot = app.senders.acquire().await.ok()?;
    let attempt = prepare(app, delivery, extra)?;
    let outcome = send(app, &attempt).await;
    let (agent, retry) = {
        let mut outbox = lock(&app.outbox);
        let settled = outbox.settle(delivery, extra, &outcome, app.clock.now())?;
        (settled.agent, settled.retry_after_attempt)
    };
    if let Some(attempts) = retry {
        let wait = app.see(|world| world.settings().retry_wait(attempts));
        lock(&app.outbox).plan(delivery, app.clock.now() + wait);
        let send = Action::Send { delivery, extra: false };
        app.after(wait, send);
    }
    if outcome.received() && attempt.event == "contract.disputed" {
        app.act(|world| world.told_of_dispute(&attempt.body));
    }
    let held = lock(&app.outbox).held_by(agent);
    for delivery in held {
        release(app, delivery);
    }
    Some(outcome)
}

fn prepare(app: &App, delivery: Uuid, extra: bool) -> Option<Attempt> {
    let started = lock(&app.outbox).start(delivery, extra)?;
    let (current, old_secret, timeout, signing) = app.see(|world| {
        let settings = world.settings();
        let timeout = Duration::from_millis(settings.webhook_timeout_ms);
        (
            world.webhook_secret(started.agent),
            world.old_secret(started.agent),
            timeout,
            settings.webhook_signing,
        )
    });
    let secret = match signing {
        Signing::AtSend => current.unwrap_or(started.secret),
        Signing::AtCreation => started.secret,
    };
    Some(Attempt {
        event: started.event,
        url: started.url,
        body: started.body,
        delivery_id: started.delivery_id,
        number: started.attempt,
        secret,
        old_secret,
        timeout,
    })
}

async fn send(app: &App, attempt: &Attempt) -> Outcome {
    let mut kinds = vec![Kind::BadSignature, Kind::StaleTimestamp];
    if attempt.old_secret.is_some() {
        kinds.push(Kind::OldSecret);
    }
    let fault = lock(&app.faults).strike_webhook(&attempt.event, &kinds);
    let mut signed = signature(attempt.secret.as_bytes(), &attempt.body);
    let mut now = app.clock.now();
    match fault.as_ref().map(|fault| (fault.kind, fault)) {
        Some((Kind::BadSignature, _)) => {
            signed = signature(b"whsec_somebody_else", &attempt.body);
        }
        Some((Kind::OldSecret, _)) => {
            let old = attempt.old_secret.as_deref().unwrap_or_default();
            signed = signature(old.as_bytes(), &attempt.body);
        }
        Some((Kind::StaleTimestamp, fault)) => {
            now -= TimeDelta::seconds(fault.number("secs", 3600).min(1_000_000_000) as i64);
        }
        _ => {}
    }
    let began = app.clock.elapsed();
    let mut request = app.client.post(&attempt.url).header("Content-Type", "application/json");
    let dialect = app.see(|world| world.settings().dialect);
    // Dice of its own: what is sent at the same time does not change what this attempt looks like.
    let mut dice = Rng::new(hash(&[attempt.delivery_id.as_bytes(), &attempt.number.to_le_bytes()]));
    let headers = dialect::headers(dialect, &mut dice, signed, now, attempt.delivery_id);
    for (name, value) in headers {
        request = request.header(name, value);
    }
    let request = request.body(attempt.body.clone()).timeout(attempt.timeout);
    let (status, answer, error) = match request.send().await {
        Ok(response) => {
            let status = response.status().as_u16();
            (Some(status), read_answer(response).await, None)
        }
        Err(error) => {
            let error = error.without_url();
            let said = if error.is_timeout() {
                "timed out"
            } else {
                "could not be sent"
            };
            (None, String::new(), Some(format!("{said}: {error}")))
        }
    };
    Outcome {
        status,
        answer,
        error,
        took: app.clock.elapsed().saturating_sub(began),
    }
}

/// The first kibibyte of the answer; the rest is not waited for.
async fn read_answer(mut response: reqwest::Response) -> String {
    let mut kept = Vec::new();
    while kept.len() < MAX_ANSWER {
        match response.chunk().await {
            Ok(Some(chunk)) => kept.extend_from_slice(&chunk),
            Ok(None) | Err(_) => break,
        }
    }
    kept.truncate(MAX_ANSWER);
    String::from_utf8_lossy(&kept).into_owned()
}

/// Sends a test event to the agent at once, and tells how it went.
pub async fn test(app: &App, mut event: Event) -> Option<Outcome> {
    event.name = "test";
    event.data = json!({ "message": "Test event" });
    let delivery = keep(app, event, 1);
    attempt(app, delivery, false).await
}
