//! Periodic work: rows claimed with a lease and a token, so that any replica may do it and none does it twice at once.

use std::sync::Arc;
use std::time::Duration;

use store::duties::{self, Duty};
use store::{agents, run_tx};
use tokio::sync::Semaphore;

use crate::attachments::{self, Fetcher};
use crate::billing::Billing;
use crate::canary;
use crate::desk::Desk;
use crate::error::Error;
use crate::hours;
use crate::metrics::DUTIES;
use crate::objects::Objects;
use crate::outages;
use crate::reconcile::{self, Reader};
use crate::retention;
use crate::wake::Topic;

/// Duties done at once by one process.
const AT_ONCE: usize = 4;
/// Idle polls slow down to this.
const LONGEST_POLL: Duration = Duration::from_secs(5);
/// Between the longest a duty may take and the end of its lease.
const MARGIN: Duration = Duration::from_secs(30);
/// Pause after the first failure; doubles with each.
const FIRST_PAUSE: Duration = Duration::from_secs(2);
/// Longest pause after failures.
const LONGEST_PAUSE: Duration = Duration::from_secs(300);

/// Makes sure the duties of an agent with a marketplace key exist.
///
/// # Errors
/// When a row cannot be saved.
pub async fn ensure_for_agent(tx: &mut store::Tx, desk: &Desk, agent: &str) -> Result<(), Error> {
    for duty in [
        reconcile::CONTRACTS,
        reconcile::PROPOSALS,
        reconcile::MESSAGES,
        reconcile::DELIVERIES,
        attachments::FILES,
    ] {
        duties::ensure(tx, duty, agent).await?;
    }
    canary::ensure(tx, desk, agent).await?;
    // What is posted from now on is told by webhooks first.
    let settings = &desk.config.reconcile;
    duties::ensure_later(tx, reconcile::GIGS, agent, settings.gigs_every).await?;
    if settings.poll {
        reconcile::hasten_all(tx, agent, settings.wakeful_every).await?;
    }
    Ok(())
}

/// What duties are done with.
#[derive(Debug, Clone)]
pub struct Means {
    /// Reads the marketplace.
    pub reader: Arc<Reader>,
    /// Fetches what clients sent.
    pub fetcher: Arc<Fetcher>,
    /// Bytes whose rows retention removes.
    pub objects: Objects,
    /// Knows how the providers of models fare.
    pub billing: Billing,
}

/// Does what is due until the soft stop; what is begun then is finished.
pub async fn run(desk: Arc<Desk>, means: Means) {
    let mut pulse = desk.wake.pulse(Topic::Duties, LONGEST_POLL);
    let permits = Arc::new(Semaphore::new(AT_ONCE));
    let mut ensured = false;
    while !desk.soft.is_cancelled() {
        pulse.seen();
        if !ensured {
            ensured = ensure_all(&desk).await.inspect_err(log_failure).is_ok();
        }
        let found = match begin(&desk, &means, &permits).await {
            Ok(found) => found,
            Err(error) => {
                log_failure(&error);
                false
            }
        };
        if found {
            continue;
        }
        let next = next_due(&desk).await;
        tokio::select! {
            () = desk.soft.cancelled() => {}
            () = pulse.wait(false) => {}
            () = tokio::time::sleep(next) => {}
        }
    }
}

fn log_failure(error: &Error) {
    tracing::warn!(%error, "duties cannot be looked at; trying again");
}

/// The duties every stack has, and those of every agent; known ones keep their time.
async fn ensure_all(desk: &Desk) -> Result<(), Error> {
    let agents = agents::list(&desk.store).await?;
    run_tx!(desk.store, "duties_ensure", Error, |tx| {
        duties::ensure(tx, retention::RETENTION, "").await?;
        duties::ensure(tx, outages::PROVIDERS, "").await?;
        duties::ensure(tx, hours::HOURS, "").await?;
        for agent in agents.iter().filter(|agent| agent.api_key_sealed.is_some()) {
            ensure_for_agent(tx, desk, &agent.name).await?;
        }
        Ok(())
    })
}

/// Claims a due duty, if a hand is free, and has it done beside the loop. Answers whether there was one.
async fn begin(desk: &Arc<Desk>, means: &Means, permits: &Arc<Semaphore>) -> Result<bool, Error> {
    let Ok(permit) = Arc::clone(permits).try_acquire_owned() else {
        return Ok(false);
    };
    let lease = desk.config.reconcile.deadline + MARGIN;
    let claimed = run_tx!(desk.store, "duty_claim", |tx| duties::claim(tx, lease).await)?;
    let Some(duty) = claimed else { return Ok(false) };
    let (desk, means) = (Arc::clone(desk), means.clone());
    let own = Arc::clone(&desk);
    let _runs_on = desk.tasks.spawn_job("duty", async move {
        work(&own, &means, &duty).await;
        drop(permit);
        own.wake.wake(Topic::Duties);
    });
    Ok(true)
}

/// Does one duty within its lease and gives it back.
async fn work(desk: &Desk, means: &Means, duty: &Duty) {
    let reader = &means.reader;
    let doing = async {
        match duty.duty.as_str() {
            reconcile::CONTRACTS => reader.contracts(&duty.key).await,
            reconcile::PROPOSALS => reader.proposals(&duty.key).await,
            reconcile::MESSAGES => reader.messages(&duty.key).await,
            reconcile::GIGS => reader.gigs(&duty.key).await,
            reconcile::DELIVERIES => reader.deliveries(&duty.key).await,
            attachments::FILES => means.fetcher.look(&duty.key).await,
            canary::CANARY => canary::look(&reader.caller(), &duty.key).await,
            retention::RETENTION => retention::sweep(desk, &means.objects).await,
            outages::PROVIDERS => outages::look(desk, &means.billing).await,
            hours::HOURS => hours::look(desk).await,
            // A newer release's duty: left to it.
            _ => Ok(LONGEST_PAUSE),
        }
    };
    let done = tokio::time::timeout(desk.config.reconcile.deadline, doing).await;
    let (after, error) = match done {
        Ok(Ok(after)) => (after, None),
        Ok(Err(error)) => (pause(duty), Some(error.to_string())),
        Err(_late) => (pause(duty), Some("it took longer than reconcile.deadline".to_owned())),
    };
    let name = duty.duty.clone();
    let outcome = if error.is_none() { "ok" } else { "error" };
    metrics::counter!(DUTIES, "duty" => name, "outcome" => outcome).increment(1);
    if let Some(error) = &error {
        tracing::warn!(
            duty = duty.duty,
            key = duty.key,
            failures = duty.failures + 1,
            error,
            "a duty failed"
        );
    }
    let given_back = run_tx!(desk.store, "duty_finish", |tx| {
        duties::finish(tx, duty, after, error.as_deref()).await
    });
    if let Err(error) = given_back {
        tracing::warn!(duty = duty.duty, key = duty.key, %error, "a duty could not be given back; its lease ends");
    }
}

fn pause(duty: &Duty) -> Duration {
    let doublings = u32::try_from(duty.failures).unwrap_or(0).min(16);
    FIRST_PAUSE
        .saturating_mul(2_u32.saturating_pow(doublings))
        .min(LONGEST_PAUSE)
}

/// Until the next duty falls due, as far as is known.
async fn next_due(desk: &Desk) -> Duration {
    match duties::next_due(&desk.store).await {
        Ok(Some(next)) => next.clamp(Duration::from_millis(20), LONGEST_POLL),
        Ok(None) | Err(_) => LONGEST_POLL,
    }
}
