//! From an agent file to an agent that may bid: registration, webhook secret, profile, e-mail, readiness.
//!
//! Two of these calls are answered with the only copy of a secret. Each is noted before it is made, ends in the
//! transaction that keeps its answer, and runs to its end whoever stops waiting; a lost answer is known of, and told.

use std::sync::Arc;
use std::time::Duration;

use domain::onboarding::{Call, Last, No, may_begin};
use store::onboarding::{self as rows, End};
use store::{agents, audit, budget, notices, run_tx};
use uuid::Uuid;

use crate::budget::{Denied, FAILING, KEY_STOPPED};
use crate::desk::Desk;
use crate::error::Error as Step;
use crate::marketplace::{self, Marketplace};

mod caller;
mod door;
mod email;
mod error;
pub mod examine;
mod profile;
mod register;
mod secret;

pub use caller::Caller;
pub use profile::{Progress, Sent};
pub use register::{Order, Registered};
pub use secret::Webhook;

/// Longest that an answer is tried to be kept: it is the only copy.
const KEEPING: Duration = Duration::from_secs(60);
/// What a call whose answer is a secret may take at most, beyond four requests: grants, and keeping the answer.
const SLACK: Duration = Duration::from_secs(180);

/// Why an agent did not get further.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The store said no, or is away.
    #[error(transparent)]
    Store(#[from] store::Error),
    /// A step was refused.
    #[error(transparent)]
    Step(#[from] Step),
    /// No request may be made.
    #[error(transparent)]
    Denied(#[from] Denied),
    /// The agent's client cannot be made.
    #[error(transparent)]
    Client(#[from] marketplace::Error),
    /// What the marketplace said.
    #[error(transparent)]
    Said(#[from] clawgig::Error),
    /// The agent's file would be refused.
    #[error("the marketplace would refuse {agent}: {}; change its agent file, `steward agents add` it, and try again", .problems.join("; "))]
    Profile {
        /// Whose.
        agent: String,
        /// The keys, each with its bound.
        problems: Vec<String>,
    },
    /// What was asked for cannot be right.
    #[error("{0}")]
    Invalid(String),
    /// A call whose answer is a secret may not be begun.
    #[error("{why}")]
    No {
        /// The rule.
        no: No,
        /// What to do.
        why: String,
    },
    /// The answer that held a secret is lost.
    #[error("{0}")]
    Lost(String),
}

/// Brings agents to their first bid. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Onboarding {
    caller: Caller,
}

impl Onboarding {
    /// Over these clients.
    #[must_use]
    pub fn new(desk: Arc<Desk>, market: Arc<Marketplace>) -> Self {
        Self {
            caller: Caller::new(desk, market),
        }
    }

    /// Who calls the marketplace.
    #[must_use]
    pub fn caller(&self) -> &Caller {
        &self.caller
    }

    fn desk(&self) -> &Desk {
        &self.caller.desk
    }

    /// Lets calls of an agent out again that were stopped, and the platform's breaker with them: a human says that it works.
    ///
    /// # Errors
    /// When there is no such agent, or the store is away.
    pub async fn resume(&self, name: &str, actor: &str) -> Result<(), Error> {
        let host = self.caller.host();
        run_tx!(self.desk().store, "calls_resume", |tx| {
            agents::lock(tx, name).await?;
            for (key, kind) in [(name, KEY_STOPPED), (name, FAILING), (host, FAILING)] {
                budget::resume(tx, key).await?;
                notices::resolve(tx, kind, key).await?;
            }
            audit::record(tx, actor, "agents.resume", name, None).await
        })?;
        self.desk().wake.wake(crate::wake::Topic::Courier);
        self.desk().wake.wake(crate::wake::Topic::Duties);
        Ok(())
    }

    /// Notes that a call is about to be made whose answer is a secret.
    async fn begin(&self, name: &str, call: Call, again: bool, actor: &str) -> Result<Uuid, Error> {
        let patience = self.desk().config.marketplace.request_timeout * 4 + SLACK;
        let begun = run_tx!(self.desk().store, "onboarding_begin", |tx| {
            let agent = agents::lock(tx, name).await?;
            let (last, detail) = rows::last(tx, name, call, patience).await?;
            if let Err(no) = may_begin(call, last, agent.api_key_sealed.is_some(), again) {
                return Ok(Err((no, detail)));
            }
            if call == Call::Register {
                // What stopped the calls of an earlier key says nothing about a new one.
                budget::resume(tx, name).await?;
            }
            let action = if last == Last::Lost { "again" } else { "begun" };
            audit::record(tx, actor, &format!("agents.{}", call.name()), name, Some(action)).await?;
            rows::begin(tx, name, call).await.map(Ok)
        })?;
        begun.map_err(|(no, detail)| Error::No {
            no,
            why: refusal(name, call, no, detail.as_deref()),
        })
    }

    /// Ends a call without an answer to keep. A failure here leaves it begun, which counts as lost after a while.
    async fn end(&self, name: &str, call: Call, token: Uuid, end: End, detail: &str) {
        let ended = run_tx!(self.desk().store, "onboarding_end", |tx| {
            rows::end(tx, name, call, token, end, Some(detail)).await
        });
        if let Err(error) = ended {
            tracing::warn!(agent = name, call = call.name(), %error, "how a call ended could not be noted");
        }
    }

    /// Notes how a call failed. Answers the error to give.
    async fn failed(&self, name: &str, call: Call, token: Uuid, error: clawgig::Error) -> Error {
        let (end, answer) = match error.verdict() {
            clawgig::Verdict::Verify => {
                tracing::error!(agent = name, call = call.name(), %error, "the answer that holds a secret is lost");
                (End::Lost, Error::Lost(lost(name, call, &error.to_string())))
            }
            _ => (End::Refused, Error::Said(error)),
        };
        self.end(name, call, token, end, &answer.to_string()).await;
        answer
    }
}

/// Pauses between tries to keep an answer: a second, doubling, a minute in all.
fn next_pause(pause: Duration) -> Option<Duration> {
    let next = pause * 2;
    (next < KEEPING / 2).then_some(next)
}

fn refusal(name: &str, call: Call, no: No, detail: Option<&str>) -> String {
    match no {
        No::Registered => format!(
            "{name} has a key already: see `steward agents readiness {name}`; to register it anew, `steward agents remove \
             {name}` first"
        ),
        No::Unregistered => {
            format!("{name} has no key yet: `steward agents register {name} --webhook-url https://…` first")
        }
        No::UnderWay => format!(
            "another {} of {name} is under way: try again in a few minutes",
            words(call)
        ),
        No::Lost => {
            let detail = detail.unwrap_or("whoever made it is gone");
            lost(name, call, detail)
        }
    }
}

fn words(call: Call) -> &'static str {
    match call {
        Call::Register => "registration",
        Call::RotateSecret => "rotation",
    }
}

/// What to do about a lost answer.
fn lost(name: &str, call: Call, why: &str) -> String {
    // What was told before is told once.
    if why.contains("--again") {
        return why.to_owned();
    }
    match call {
        Call::Register => format!(
            "the answer to the registration of {name} was lost ({why}): the marketplace may hold an agent of that username \
             whose key nobody has. Look for it in its dashboard; `steward agents register {name} --again` registers a \
             new one, with `--username OTHER` where the name is taken"
        ),
        Call::RotateSecret => format!(
            "the answer to the rotation for {name} was lost ({why}): webhooks may be signed with a secret nobody has. \
             `steward agents webhooks {name} --rotate --again` makes another"
        ),
    }
}
