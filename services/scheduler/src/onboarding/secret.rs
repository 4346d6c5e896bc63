//! Where webhooks go, and the secret they are signed with.

use std::time::Duration;

use clawgig::client::RotatePath;
use clawgig::wire::webhook::{WebhookConfig, WebhookPatch};
use clawgig::{Client, Verdict};
use domain::onboarding::Call;
use secrecy::SecretString;
use store::onboarding::{self as rows, End};
use store::{agents, audit, doors, run_tx};
use uuid::Uuid;

use super::caller::WRITE;
use super::{Error, Onboarding, door, next_pause};
use crate::known;

/// How long secrets that were replaced are still accepted: the marketplace repeats for no longer.
const GRACE: Duration = Duration::from_secs(72 * 3600);

/// An agent's webhooks.
#[derive(Debug, Clone)]
pub struct Webhook {
    /// Where they go, as the marketplace says.
    pub url: Option<String>,
    /// The events it sends.
    pub events: Vec<String>,
    /// Whether it has a secret to sign with.
    pub has_secret: Option<bool>,
    /// A new secret was made.
    pub rotated: bool,
}

impl Onboarding {
    /// Tells where webhooks go, makes a new secret, or only reads how it is.
    ///
    /// # Errors
    /// [`Error`]; [`Error::Lost`] when webhooks may be signed with a secret nobody has.
    pub async fn webhook(
        &self,
        name: &str,
        url: Option<&str>,
        rotate: bool,
        again: bool,
        actor: &'static str,
    ) -> Result<Webhook, Error> {
        if let Some(url) = url {
            self.send_url(name, url, actor).await?;
        }
        if rotate {
            self.rotate(name, again, actor).await?;
        }
        let config = self.caller.webhook_config(name).await?;
        Ok(Webhook {
            url: config.webhook_url,
            events: config.events,
            has_secret: config.has_secret,
            rotated: rotate,
        })
    }

    async fn send_url(&self, name: &str, url: &str, actor: &str) -> Result<(), Error> {
        let desk = self.desk();
        let url = door::address(name, url, desk.config.marketplace.live)?;
        let patch = WebhookPatch {
            webhook_url: Some(url.clone()),
            events: None,
        };
        let send = |client: Client| {
            let patch = patch.clone();
            async move { client.update_webhooks(&patch).await }
        };
        let config: WebhookConfig = self.caller.write(name, send).await?.value;
        run_tx!(desk.store, "onboarding_webhook", |tx| {
            rows::set_webhook_url(tx, name, &url).await?;
            // Some say the secret here and nowhere else.
            if let Some(secret) = &config.secret {
                doors::open(tx, name).await?;
                let id = doors::add_secret(tx, &desk.webhook_sealer, name, secret).await?;
                known::webhook_secret(tx, desk, name, (id, secret), None).await?;
            }
            audit::record(tx, actor, "agents.webhook_url", name, Some(&url)).await
        })?;
        Ok(())
    }

    async fn rotate(&self, name: &str, again: bool, actor: &'static str) -> Result<(), Error> {
        // Found before anything is noted: a rotation is never a probe.
        agents::get(&self.desk().store, name).await?;
        let token = self.begin(name, Call::RotateSecret, again, actor).await?;
        let (own, agent) = (self.clone(), name.to_owned());
        let job = self.desk().tasks.spawn_job(
            "rotate_secret",
            async move { own.send_rotation(&agent, token, actor).await },
        );
        job.await.unwrap_or_else(|| {
            let why = "the scheduler stopped meanwhile";
            Err(Error::Lost(super::lost(name, Call::RotateSecret, why)))
        })
    }

    async fn send_rotation(&self, name: &str, token: Uuid, actor: &str) -> Result<(), Error> {
        let client = match self.caller.settled(name).await {
            Ok(client) => client,
            Err(error) => {
                self.end(name, Call::RotateSecret, token, End::Refused, &error.to_string())
                    .await;
                return Err(error);
            }
        };
        let mut answer = self.rotate_once(name, &client).await;
        // A lost answer is repaired by one more rotation: the secret nobody has is replaced by one we know.
        if matches!(&answer, Err(Error::Said(error)) if error.verdict() == Verdict::Verify) {
            tracing::warn!(agent = name, "the answer to a rotation was lost: rotating once more");
            let second = self.rotate_once(name, &client).await;
            if second.is_ok() {
                answer = second;
            }
        }
        match answer {
            Ok(secret) => self.keep_secret(name, token, &secret, actor).await,
            Err(Error::Said(error)) => Err(self.failed(name, Call::RotateSecret, token, error).await),
            Err(error) => {
                self.end(name, Call::RotateSecret, token, End::Refused, &error.to_string())
                    .await;
                Err(error)
            }
        }
    }

    /// One rotation, on the path the server knows: only "no such path" moves on to the next.
    async fn rotate_once(&self, name: &str, client: &Client) -> Result<SecretString, Error> {
        let mut path = RotatePath::ALL[0];
        loop {
            let held = self.caller.grant(name, WRITE).await?;
            let answer = client.rotate_secret(path).await;
            self.caller.learn(name, held, &answer).await;
            match answer {
                Ok(reply) => return Ok(reply.value),
                Err(error) if error.is_unknown_path() => match path.next() {
                    Some(next) => path = next,
                    None => return Err(error.into()),
                },
                Err(error) => return Err(error.into()),
            }
        }
    }

    async fn keep_secret(&self, name: &str, token: Uuid, secret: &SecretString, actor: &str) -> Result<(), Error> {
        let mut pause = Duration::from_secs(1);
        let mut doubtful = false;
        while let Err(error) = self.keep_secret_once(name, token, secret, actor).await {
            if doubtful && matches!(error, store::Error::Stale { .. }) {
                // The commit whose answer was lost did keep it.
                break;
            }
            let Some(next) = next_pause(pause).filter(|_| error.is_transient()) else {
                tracing::error!(agent = name, %error, "a webhook secret was made and could not be kept");
                let why = format!("the new secret could not be kept: {error}");
                return Err(Error::Lost(super::lost(name, Call::RotateSecret, &why)));
            };
            doubtful = true;
            tokio::time::sleep(pause).await;
            pause = next;
        }
        Ok(())
    }

    async fn keep_secret_once(
        &self,
        name: &str,
        token: Uuid,
        secret: &SecretString,
        actor: &str,
    ) -> Result<(), store::Error> {
        let desk = self.desk();
        run_tx!(desk.store, "onboarding_secret", |tx| {
            rows::end(tx, name, Call::RotateSecret, token, End::Kept, None).await?;
            doors::open(tx, name).await?;
            let id = doors::add_secret(tx, &desk.webhook_sealer, name, secret).await?;
            doors::retire_others(tx, name, id, GRACE).await?;
            known::webhook_secret(tx, desk, name, (id, secret), Some(GRACE)).await?;
            audit::record(tx, actor, "agents.rotate_secret", name, Some(&id.to_string())).await
        })
    }
}
