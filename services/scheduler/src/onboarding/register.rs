//! Registration: once, its answer kept whoever waits for it.

use std::time::Duration;

use clawgig::wire::agent::{self as wire, Registration};
use domain::agent_file::AgentFile;
use domain::onboarding::Call;
use secrecy::SecretString;
use store::onboarding::{self as rows, End};
use store::{agents, audit, budget, doors, notices, run_tx};
use uuid::Uuid;

use super::caller::WRITE;
use super::{Error, Onboarding, door, next_pause};
use crate::budget::{Held, KEY_STOPPED};
use crate::duties;
use crate::error::Error as Step;
use crate::known;
use crate::wake::Topic;

/// What an operator wants registered.
#[derive(Debug, Clone)]
pub struct Order {
    /// The agent.
    pub name: String,
    /// Its door as the marketplace reaches it, whole or only the host.
    pub webhook_url: String,
    /// Another handle than its file's.
    pub username: Option<String>,
    /// Go on although the answer of the last try was lost.
    pub again: bool,
}

/// What came of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Registered {
    /// Where webhooks will go.
    pub webhook_url: String,
    /// A claim link is kept to be shown.
    pub has_claim_link: bool,
    /// The answer held the webhook secret.
    pub has_webhook_secret: bool,
}

impl Onboarding {
    /// Registers an agent. What the marketplace's bounds would refuse is refused before any call.
    ///
    /// # Errors
    /// [`Error`]; [`Error::Lost`] when nobody has the answer.
    pub async fn register(&self, order: Order, actor: &'static str) -> Result<Registered, Error> {
        let desk = self.desk();
        let agent = agents::get(&desk.store, &order.name).await?;
        if agents::has_left(&desk.store, &order.name).await? {
            let why = format!(
                "{} was removed: add it again first, with `steward agents add`",
                order.name
            );
            return Err(Step::Refused(why).into());
        }
        let mut file = agent.spec;
        if let Some(username) = &order.username {
            file.profile.username.clone_from(username);
        }
        let problems = file.unregistrable();
        if !problems.is_empty() {
            return Err(Error::Profile {
                agent: order.name,
                problems,
            });
        }
        let url = door::address(&order.name, &order.webhook_url, desk.config.marketplace.live)?;
        let token = self.begin(&order.name, Call::Register, order.again, actor).await?;
        let own = self.clone();
        let (name, body) = (order.name.clone(), registration(&file, &url));
        let job = desk.tasks.spawn_job("register", async move {
            own.send_registration(&name, token, &body, actor).await
        });
        job.await.unwrap_or_else(|| {
            let why = format!("the scheduler stopped while {} was registered", order.name);
            Err(Error::Lost(super::lost(&order.name, Call::Register, &why)))
        })
    }

    /// The call and what follows, in a task of its own: whoever waits may go away.
    async fn send_registration(
        &self,
        name: &str,
        token: Uuid,
        body: &Registration,
        actor: &str,
    ) -> Result<Registered, Error> {
        let (client, held) = match self.ready_to_send(name).await {
            Ok(ready) => ready,
            Err(error) => {
                self.end(name, Call::Register, token, End::Refused, &error.to_string())
                    .await;
                return Err(error);
            }
        };
        let answer = client.register(body).await;
        self.caller.learn(name, held, &answer).await;
        match answer {
            Ok(reply) => {
                self.keep_registration(name, token, &body.webhook_url, &reply.value, actor)
                    .await
            }
            Err(error) => Err(self.failed(name, Call::Register, token, error).await),
        }
    }

    async fn ready_to_send(&self, name: &str) -> Result<(clawgig::Client, Held), Error> {
        let client = self.caller.public()?;
        Ok((client, self.caller.grant(name, WRITE).await?))
    }

    /// Keeps the answer; while the store is away it is tried again, since there is no second copy.
    async fn keep_registration(
        &self,
        name: &str,
        token: Uuid,
        url: &str,
        answer: &wire::Registered,
        actor: &str,
    ) -> Result<Registered, Error> {
        let mut pause = Duration::from_secs(1);
        let mut doubtful = false;
        while let Err(error) = self.keep_once(name, token, url, answer, actor).await {
            if doubtful && matches!(error, Step::Store(store::Error::Stale { .. })) {
                // The commit whose answer was lost did keep it.
                break;
            }
            let Some(next) = next_pause(pause).filter(|_| error.is_transient()) else {
                return Err(self.not_kept(name, answer, &error));
            };
            doubtful = true;
            tokio::time::sleep(pause).await;
            pause = next;
        }
        tracing::info!(agent = name, id = answer.agent_id, "an agent was registered");
        self.desk().wake.wake(Topic::Duties);
        self.desk().wake.wake(Topic::Courier);
        Ok(Registered {
            webhook_url: url.to_owned(),
            has_claim_link: claim_of(answer).is_some(),
            has_webhook_secret: answer.webhook_secret.is_some(),
        })
    }

    async fn keep_once(
        &self,
        name: &str,
        token: Uuid,
        url: &str,
        answer: &wire::Registered,
        actor: &str,
    ) -> Result<(), Step> {
        let desk = self.desk();
        let sealer = &desk.marketplace_sealer;
        run_tx!(desk.store, "onboarding_register", Step, |tx| {
            rows::end(tx, name, Call::Register, token, End::Kept, Some(&answer.agent_id)).await?;
            agents::set_credentials(tx, sealer, name, &answer.agent_id, &answer.api_key).await?;
            known::marketplace_key(tx, desk, name, &answer.api_key).await?;
            rows::set_webhook_url(tx, name, url).await?;
            rows::keep_claim(tx, sealer, name, claim_of(answer)).await?;
            if let Some(secret) = &answer.webhook_secret {
                doors::open(tx, name).await?;
                let id = doors::add_secret(tx, &desk.webhook_sealer, name, secret).await?;
                known::webhook_secret(tx, desk, name, (id, secret), None).await?;
            }
            duties::ensure_for_agent(tx, desk, name).await?;
            budget::resume(tx, name).await?;
            notices::resolve(tx, KEY_STOPPED, name).await?;
            audit::record(tx, actor, "agents.register", name, Some(&answer.agent_id)).await?;
            Ok(())
        })
    }

    fn not_kept(&self, name: &str, answer: &wire::Registered, error: &Step) -> Error {
        let id = &answer.agent_id;
        tracing::error!(agent = name, id, %error, "an agent was registered and its key could not be kept");
        let why = format!("the marketplace made the agent {id}, and its key could not be kept: {error}");
        Error::Lost(super::lost(name, Call::Register, &why))
    }

    /// The claim link, while it was not shown.
    ///
    /// # Errors
    /// When the store is away, or the sealing key is another one.
    pub async fn claim_link(&self, name: &str) -> Result<Option<SecretString>, Error> {
        let desk = self.desk();
        let agent = agents::get(&desk.store, name).await?;
        Ok(rows::claim(&desk.store, &desk.marketplace_sealer, &agent.name).await?)
    }

    /// It was shown: it is kept no longer.
    ///
    /// # Errors
    /// When the store is away.
    pub async fn claim_shown(&self, name: &str, actor: &str) -> Result<(), Error> {
        let desk = self.desk();
        run_tx!(desk.store, "onboarding_claim", |tx| {
            agents::lock(tx, name).await?;
            rows::keep_claim(tx, &desk.marketplace_sealer, name, None).await?;
            audit::record(tx, actor, "agents.claim_link", name, None).await
        })?;
        Ok(())
    }
}

fn claim_of(answer: &wire::Registered) -> Option<&SecretString> {
    answer.claim_url.as_ref().or(answer.claim_token.as_ref())
}

/// The whole set of fields: sources disagree on which are required.
fn registration(file: &AgentFile, url: &str) -> Registration {
    let profile = &file.profile;
    let some = |text: &String| Some(text.trim().to_owned()).filter(|text| !text.is_empty());
    Registration {
        name: profile.name.trim().to_owned(),
        username: file.username().to_owned(),
        description: profile.description.trim().to_owned(),
        skills: file.bidding.skills.clone(),
        categories: file.public_categories(),
        webhook_url: url.to_owned(),
        avatar_url: some(&profile.avatar_url),
        contact_email: some(&profile.contact_email),
        languages: profile.languages.clone(),
        hourly_rate_micro: profile.hourly_rate_usdc.map(|rate| rate.0),
    }
}
