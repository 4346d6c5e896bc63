//! What came of a call, and keeping it: the effect's move and everything that follows from it, in one transaction.

use std::time::Duration;

use chrono::{DateTime, TimeDelta, Utc};
use clawgig::Verdict;
use domain::contract::{Command as ContractCommand, Wish};
use domain::effect::{Command, State};
use domain::proposal;
use serde_json::{Value, json};
use store::effects::{self, Attempt, Effect, Note};
use store::{Tx, contracts::Figures, messages::Side};

use super::Courier;
use crate::budget::Denied;
use crate::error::Error;
use crate::marketplace;
use crate::wake::Topic;

/// Pause before a conflict (409) is looked into.
const CONFLICT_PAUSE: Duration = Duration::from_millis(200);

/// What came of one call.
#[derive(Debug)]
pub(super) enum Outcome {
    /// It happened.
    Done { what: Happened, proof: Value },
    /// It did not and will not.
    Refused(String),
    /// It did not happen; later it may.
    NotDone(String),
    /// Nobody was there: it is tried again, no sooner than `pause`, and no attempt is used up.
    Away { why: String, pause: Option<Duration> },
    /// It may have happened; verify no sooner than after `settle`.
    Maybe { why: String, settle: Option<Duration> },
    /// A human must act before it can happen.
    Park(String),
}

/// What happened, with what only the answer could tell.
#[derive(Debug)]
pub(super) enum Happened {
    Proposed { external_id: Option<String> },
    Uploaded { name: String, sha256: String, url: String },
    Delivered { revision_no: u32 },
    Sent { text: String },
    Settled(Figures),
    Confirmed,
}

impl Outcome {
    /// What a failed call means.
    pub fn of_error(error: &clawgig::Error) -> Self {
        let why = error.reason();
        match error.verdict() {
            // Somebody answered, but not so that it can be understood: that may never change.
            Verdict::Retry { .. } if matches!(error, clawgig::Error::Unreadable { .. }) => Self::NotDone(why),
            Verdict::Retry { after } => Self::Away { why, pause: after },
            Verdict::Refuse => Self::Refused(error.to_string()),
            Verdict::Verify => Self::Maybe { why, settle: None },
            // It is there already, says the platform: a read proves it, there is nothing to wait for.
            Verdict::Conflict => Self::Maybe {
                why,
                settle: Some(CONFLICT_PAUSE),
            },
            Verdict::Park => Self::Park(error.to_string()),
            // The key is stopped until a human says otherwise.
            Verdict::PlatformDown | Verdict::Unauthorized => Self::Away { why, pause: None },
        }
    }

    /// No grant: nothing was asked.
    pub fn of_denial(denied: &Denied) -> Self {
        Self::Away {
            why: denied.to_string(),
            pause: None,
        }
    }

    /// No client for the agent.
    pub fn of_client(error: &marketplace::Error) -> Self {
        let why = error.to_string();
        match error {
            marketplace::Error::Store(error) if error.is_transient() => Self::Away { why, pause: None },
            _ => Self::NotDone(why),
        }
    }
}

impl Courier {
    /// Keeps the outcome of a call made under `effect`'s lease. Answers a word for metrics.
    pub(super) async fn keep(&self, effect: &Effect, outcome: Outcome) -> Result<&'static str, Error> {
        let settings = &self.desk.config.courier;
        let token = effect.lease_token;
        let (command, note, word) = match &outcome {
            Outcome::Done { proof, .. } => (Command::Succeed, done(proof), "done"),
            Outcome::Refused(why) => (Command::Refuse, failed(why, Duration::ZERO), "refused"),
            Outcome::NotDone(why) => (Command::NotDone, failed(why, self.backoff(effect)), "not_done"),
            Outcome::Away { why, pause } => {
                let pause = pause
                    .unwrap_or_default()
                    .max(self.pause_since(effect, effect.away_since));
                let note = Note {
                    attempt: Attempt::Away,
                    ..failed(why, pause)
                };
                (Command::NotDone, note, "away")
            }
            Outcome::Maybe { why, settle } => {
                let pause = settle.unwrap_or(self.desk.config.marketplace.settle);
                (Command::MaybeDone, failed(why, pause), "unknown")
            }
            Outcome::Park(why) => (Command::NotDone, failed(why, Duration::ZERO), "parked"),
        };
        let exhausted = u32::try_from(effect.attempts).unwrap_or(0) >= settings.max_attempts;
        let forsaken = waited(effect, effect.away_since) > settings.patience;
        let wishes = store::run_tx!(self.desk.store, "courier_keep", Error, |tx| {
            let state = effects::advance(tx, effect.id, token, command, &note).await?;
            match &outcome {
                Outcome::Done { what, .. } => return happened(tx, effect, what).await,
                Outcome::Refused(why) => refused(tx, effect, why).await?,
                Outcome::Park(why) => give_up(tx, effect, why).await?,
                Outcome::NotDone(why) if exhausted => {
                    let why = format!("{} attempts failed, the last one: {why}", effect.attempts);
                    give_up(tx, effect, &why).await?;
                }
                Outcome::Away { why, .. } if forsaken => {
                    let why = format!("nobody was there for longer than courier.patience: {why}");
                    give_up(tx, effect, &why).await?;
                }
                Outcome::NotDone(_) | Outcome::Away { .. } | Outcome::Maybe { .. } => {}
            }
            tracing::info!(
                state = state.name(),
                why = note.error.as_deref(),
                "an effect did not happen yet"
            );
            Ok(Vec::new())
        })?;
        self.follow(&wishes);
        Ok(word)
    }

    /// Keeps that a read found an unknown effect on the platform.
    pub(super) async fn keep_found(&self, effect: &Effect, what: &Happened) -> Result<&'static str, Error> {
        let note = done(&json!({ "found_by": "read" }));
        let wishes = store::run_tx!(self.desk.store, "courier_found", Error, |tx| {
            effects::advance(tx, effect.id, None, Command::FoundPresent, &note).await?;
            happened(tx, effect, what).await
        })?;
        tracing::info!("an effect whose answer was lost had happened");
        self.follow(&wishes);
        Ok("found")
    }

    /// Keeps that a read did not find it; the second one lets it be sent again.
    pub(super) async fn keep_absent(&self, effect: &Effect) -> Result<&'static str, Error> {
        let settle = self.desk.config.marketplace.settle;
        let state = store::run_tx!(self.desk.store, "courier_absent", |tx| {
            let again = u32::try_from(effect.absent_reads).unwrap_or(0) + 1 >= domain::effect::ABSENT_READS;
            let pause = if again { self.backoff(effect) } else { settle };
            let note = failed("a read did not find it", pause);
            let state = effects::advance_read(tx, effect, Command::FoundAbsent, &note).await?;
            let exhausted = u32::try_from(effect.attempts).unwrap_or(0) >= self.desk.config.courier.max_attempts;
            if state == State::Pending && exhausted {
                give_up(tx, effect, &format!("{} attempts never arrived", effect.attempts)).await?;
            }
            Ok(state)
        })?;
        tracing::info!(state = state.name(), "a read did not find an effect");
        Ok(if state == State::Pending { "resend" } else { "absent" })
    }

    /// Keeps that an unknown effect did not happen and no longer can.
    pub(super) async fn keep_impossible(&self, effect: &Effect, why: &str) -> Result<&'static str, Error> {
        let note = failed(why, Duration::ZERO);
        store::run_tx!(self.desk.store, "courier_impossible", Error, |tx| {
            effects::advance_read(tx, effect, Command::Refuse, &note).await?;
            refused(tx, effect, why).await
        })?;
        Ok("refused")
    }

    /// Keeps that reads say nothing about an unknown effect: they are made again, until patience ends.
    pub(super) async fn keep_unverified(&self, effect: &Effect, why: &str) -> Result<&'static str, Error> {
        tracing::info!(why, "an effect could not be verified yet");
        let forsaken = waited(effect, effect.away_since) > self.desk.config.courier.patience;
        let pause = self.pause_since(effect, effect.away_since);
        store::run_tx!(self.desk.store, "courier_put_off", |tx| {
            effects::put_off(tx, effect, pause, why).await?;
            if forsaken {
                let why = format!("no read told within courier.patience what became of it: {why}");
                give_up(tx, effect, &why).await?;
            }
            Ok(())
        })?;
        Ok("unverified")
    }

    /// The pause before the next attempt: twice as long with each, within bounds.
    fn backoff(&self, effect: &Effect) -> Duration {
        let settings = &self.desk.config.courier;
        let doublings = u32::try_from(effect.attempts).unwrap_or(0).saturating_sub(1).min(16);
        let pause = settings.first_pause.saturating_mul(2_u32.saturating_pow(doublings));
        pause.min(settings.longest_pause)
    }

    /// The pause before it is tried or looked for again: as long again as it waits, within bounds.
    fn pause_since(&self, effect: &Effect, since: Option<DateTime<Utc>>) -> Duration {
        let settings = &self.desk.config.courier;
        waited(effect, since).clamp(settings.first_pause, settings.longest_pause)
    }

    pub(super) fn follow(&self, wishes: &[Wish]) {
        self.desk.wake.after(wishes);
        self.desk.wake.wake(Topic::Courier);
    }
}

/// What follows from an effect that happened.
async fn happened(tx: &mut Tx, effect: &Effect, what: &Happened) -> Result<Vec<Wish>, Error> {
    match what {
        Happened::Proposed { external_id } => {
            if let Some(gig) = effect.gig_id
                && let Some(proposal) = store::proposals::lock_of_gig(tx, gig).await?
            {
                store::proposals::advance(tx, &proposal, &proposal::State::Submitted, external_id.as_deref(), None)
                    .await?;
            }
        }
        Happened::Uploaded { name, sha256, url } => {
            if let Some(run) = effect.run_id {
                store::artefacts::set_url(tx, run, name, sha256, url).await?;
            }
        }
        Happened::Delivered { revision_no } => {
            if let Some(contract) = effect.contract_id {
                let command = ContractCommand::DeliveryProven {
                    revision_no: *revision_no,
                    at: now(tx).await?,
                };
                let source = format!("effect/{}", effect.id);
                let step =
                    crate::contracts::step(tx, contract, &command, &source, effect.traceparent.as_deref()).await?;
                return Ok(step.wishes);
            }
        }
        Happened::Sent { text } => {
            if let Some(contract) = effect.contract_id {
                store::messages::put(tx, contract, Side::Us, &effect.natural_key, text, None).await?;
            }
        }
        Happened::Settled(figures) => {
            if let Some(contract) = effect.contract_id {
                store::contracts::settle(tx, contract, *figures).await?;
            }
        }
        Happened::Confirmed => {}
    }
    Ok(Vec::new())
}

/// A dead letter, and a notice that there is one.
pub(crate) async fn give_up(tx: &mut Tx, effect: &Effect, why: &str) -> Result<(), store::Error> {
    effects::give_up(tx, effect.id, why).await?;
    let body = format!("{} of {} was given up: {why}", effect.kind_name, effect.agent);
    store::notices::raise(tx, super::DEAD_LETTER, &effect.id.to_string(), &body).await?;
    Ok(())
}

async fn refused(tx: &mut Tx, effect: &Effect, why: &str) -> Result<(), Error> {
    tracing::warn!(why, "the marketplace refused an effect");
    match effect.kind {
        Some(domain::effect::Kind::Propose) => {
            if let Some(gig) = effect.gig_id
                && let Some(proposal) = store::proposals::lock_of_gig(tx, gig).await?
            {
                store::proposals::advance(tx, &proposal, &proposal::State::Rejected, None, Some(why)).await?;
            }
        }
        // Work that cannot be handed over is money lost: a human looks at it.
        Some(domain::effect::Kind::Deliver | domain::effect::Kind::Upload | domain::effect::Kind::Settle) => {
            give_up(tx, effect, why).await?;
            if let Some(contract) = effect.contract_id {
                let reason = format!("{} was refused: {why}", effect.kind_name);
                store::contracts::set_attention(tx, contract, Some(&reason)).await?;
            }
        }
        _ => {}
    }
    Ok(())
}

async fn now(tx: &mut Tx) -> Result<DateTime<Utc>, store::Error> {
    store::observations::clock_in_tx(tx).await
}

fn done(proof: &Value) -> Note {
    Note {
        proof: Some(proof.clone()),
        ..Note::default()
    }
}

fn failed(why: &str, pause: Duration) -> Note {
    Note {
        error: Some(why.chars().take(2000).collect()),
        pause,
        ..Note::default()
    }
}

/// From `since` to when it was taken, both by Postgres' clock.
fn waited(effect: &Effect, since: Option<DateTime<Utc>>) -> Duration {
    let waited = since.map_or(TimeDelta::zero(), |since| effect.updated_at - since);
    waited.to_std().unwrap_or_default()
}
