//! Whether the models the agents work with can be called, whether they have the secrets their files name, and whether any
//! executor takes work: looked at now and then, told to people; models and secrets are minded by bids.

use std::time::Duration;

use chrono::{DateTime, TimeDelta, Utc};
use domain::metering::serves;
use rpc::convert;
use rpc::v1::{AgentSecret, Outage, Provider};
use store::agents::{self, Agent};
use store::{Tx, notices, run_tx};

use crate::billing::Billing;
use crate::desk::Desk;
use crate::reconcile::Error;

/// The duty of looking.
pub const PROVIDERS: &str = "providers";
/// The kind of the notice, and what bids wait for; its key is the agent's name.
pub const MODELS: &str = "models";
/// The kind of the notice that a secret is missing, which bids wait for too; its key is the agent's name.
pub const SECRETS: &str = "secrets";
/// The kind of the notice that runs wait and nobody takes them.
const NO_EXECUTOR: &str = "no_executor";
/// Between two looks.
const EVERY: Duration = Duration::from_secs(30);
/// How long the last failure counts. Work that is put off tries sooner than that; without any, a bid is the way to learn
/// whether the models are back.
const COUNTS: TimeDelta = TimeDelta::minutes(20);

/// Asks billing how the providers fare; raises a notice for each agent whose own model fails, and resolves those that
/// are over. Answers when to look again.
///
/// # Errors
/// When billing cannot be asked, or a row not saved.
pub async fn look(desk: &Desk, billing: &Billing) -> Result<Duration, Error> {
    run_tx!(desk.store, "executors_missed", |tx| miss_executors(tx).await)?;
    let providers = billing
        .providers()
        .await
        .map_err(|status| Error::Billing(status.message().to_owned()))?;
    let agents = agents::list(&desk.store).await?;
    let secrets = if agents.iter().any(|agent| !agent.spec.network.credential.is_empty()) {
        let secrets = billing.secrets().await;
        secrets.map_err(|status| Error::Billing(status.message().to_owned()))?
    } else {
        Vec::new()
    };
    let now = Utc::now();
    run_tx!(desk.store, "outages", |tx| {
        for agent in &agents {
            miss_secrets(tx, agent, &secrets).await?;
            let model = &agent.spec.models.default;
            match failing(&providers, model, now) {
                Some((provider, outage)) => tell(tx, &agent.name, model, provider, outage).await?,
                None => {
                    if notices::resolve(tx, MODELS, &agent.name).await? {
                        tracing::info!(agent = agent.name, model, "the models answer again");
                    }
                }
            }
        }
        Ok(())
    })?;
    Ok(EVERY)
}

/// Why bids of an agent wait, if they do.
///
/// # Errors
/// When a row cannot be read.
pub async fn bids_wait(tx: &mut Tx, agent: &str) -> Result<Option<&'static str>, store::Error> {
    for (kind, why) in [
        (MODELS, "the agent's models cannot be called"),
        (SECRETS, "a secret the agent file names is not set"),
    ] {
        if notices::stands(tx, kind, agent).await? {
            return Ok(Some(why));
        }
    }
    Ok(None)
}

async fn miss_secrets(tx: &mut Tx, agent: &Agent, set: &[AgentSecret]) -> Result<(), store::Error> {
    let name = &agent.name;
    let is_set = |wanted: &str| set.iter().any(|secret| secret.agent == *name && secret.name == wanted);
    let named = agent.spec.network.credential.iter();
    let missing = named.filter(|credential| !is_set(&credential.secret));
    let sentences: Vec<String> = missing
        .map(|credential| {
            let (host, secret) = (&credential.host, &credential.secret);
            format!("calls of {host} are refused until `steward secrets set {name} {secret}` has its value")
        })
        .collect();
    if sentences.is_empty() {
        notices::resolve(tx, SECRETS, name).await?;
        return Ok(());
    }
    let body = format!(
        "{name} has not all secrets its file names, and its bids wait: {}",
        sentences.join("; ")
    );
    if notices::raise(tx, SECRETS, name, &body).await? {
        tracing::warn!(agent = name, "an agent has not all secrets its file names");
    }
    Ok(())
}

async fn miss_executors(tx: &mut Tx) -> Result<(), store::Error> {
    let starved = store::executors::starved_runs(tx).await?;
    if starved == 0 {
        notices::resolve(tx, NO_EXECUTOR, "").await?;
        return Ok(());
    }
    let body = format!(
        "{starved} runs wait, and no executor takes work: none is there, or all of them are drained (`steward executors \
         list`). Start one; one that was drained takes work again when it is started anew"
    );
    if notices::raise(tx, NO_EXECUTOR, "", &body).await? {
        tracing::warn!(starved, "runs wait and no executor takes work");
    }
    Ok(())
}

/// The outage of the provider that serves a model, as long as it counts.
fn failing<'a>(providers: &'a [Provider], model: &str, now: DateTime<Utc>) -> Option<(&'a str, &'a Outage)> {
    let serving = |provider: &&Provider| provider.models.iter().any(|pattern| serves(pattern, model));
    let provider = providers.iter().find(serving)?;
    let outage = provider.outage.as_ref()?;
    let last = convert::datetime(outage.last_at.as_ref())?;
    (now - last < COUNTS).then_some((provider.name.as_str(), outage))
}

async fn tell(tx: &mut Tx, agent: &str, model: &str, provider: &str, outage: &Outage) -> Result<(), store::Error> {
    let since = convert::datetime(outage.since.as_ref());
    let since = since.map_or_else(String::new, |since| format!(" since {}", since.format("%H:%M UTC")));
    let body = format!(
        "{agent}'s model {model} cannot be called: of {provider}, {}; {} calls in a row failed{since}. Runs that need it \
         are put off and go on by themselves, no attempt is lost, and bids wait. Look at the provider's status page, and \
         at the account and key you have there",
        outage.error, outage.failures
    );
    if notices::raise(tx, MODELS, agent, &body).await? {
        tracing::warn!(
            agent,
            model,
            provider,
            why = outage.error,
            "an agent's models cannot be called"
        );
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_outage_counts_for_the_models_of_its_provider_and_only_while_it_is_fresh() {
        let now = Utc::now();
        let outage = |minutes| Outage {
            since: Some(convert::timestamp(now - TimeDelta::hours(1))),
            failures: 3,
            last_at: Some(convert::timestamp(now - TimeDelta::minutes(minutes))),
            error: "it answers HTTP 503".to_owned(),
        };
        let provider = |name: &str, pattern: &str, outage| Provider {
            name: name.to_owned(),
            models: vec![pattern.to_owned()],
            has_key: true,
            outage,
        };
        let providers = [
            provider("one", "gpt-*", Some(outage(1))),
            provider("two", "claude-*", None),
            provider("three", "*", Some(outage(21))),
        ];
        let found = |model| failing(&providers, model, now).map(|(name, _)| name);
        assert_eq!(found("gpt-4o"), Some("one"));
        assert_eq!(found("claude-x"), None);
        assert_eq!(found("other"), None, "nobody tried for long: a bid may");
    }
}
