//! Secrets of agents' own, for the operator: set, listed, removed; never shown.

use std::{sync::Arc, time::Duration};

use domain::agent_file::credential::{check_value, is_secret_name};
use rpc::{
    convert::timestamp,
    error::{Code, status},
    v1,
};
use secrecy::SecretString;
use store::{
    Store,
    agent_secrets::{self, Named},
    audit,
    known_secrets::{self, Kind, ScanKey, Which},
    run_tx,
    seal::Sealer,
};

use crate::{config::Upstream, error::Error};

/// Who did it, in the audit.
const ACTOR: &str = "operator";
/// How long what was replaced or removed is still looked for in what goes out: it may work on where it is from.
pub(crate) const STILL_KNOWN: Duration = Duration::from_secs(7 * 24 * 3600);
/// The longest name of an agent.
const MAX_AGENT: usize = 64;

/// What secrets are kept with.
#[derive(Debug, Clone)]
pub struct Keeper {
    /// Seals and opens; without it there are none.
    pub sealer: Option<Arc<Sealer>>,
    /// Makes what the scan of outgoing text knows them by.
    pub scan: Arc<ScanKey>,
}

pub(super) async fn set(store: &Store, keeper: &Keeper, asked: v1::SetSecretRequest) -> Result<v1::AgentSecret, Error> {
    let v1::SetSecretRequest { agent, name, value } = asked;
    named(&agent, &name)?;
    check_value(&value).map_err(|why| Error::invalid("BAD_SECRET", why))?;
    let sealer = keeper.sealer.as_ref().ok_or_else(no_key)?;
    let value = SecretString::from(value);
    let kept = run_tx!(store, "set_secret", Error, |tx| {
        let kept = agent_secrets::set(tx, sealer, &agent, &name, &value).await?;
        note(tx, &keeper.scan, &agent, &name, &value).await?;
        audit::record(tx, ACTOR, "secrets.set", &format!("{agent}/{name}"), None).await?;
        Ok(kept)
    })?;
    tracing::info!(agent.id = agent, name, "a secret of an agent's own was set");
    Ok(shown(kept))
}

async fn note(
    tx: &mut store::Tx,
    scan: &ScanKey,
    agent: &str,
    name: &str,
    value: &SecretString,
) -> Result<(), store::Error> {
    use secrecy::ExposeSecret as _;
    known_secrets::note(
        tx,
        scan,
        of_agent(agent, name),
        value.expose_secret(),
        Some(STILL_KNOWN),
    )
    .await
}

pub(super) async fn list(store: &Store, asked: v1::ListSecretsRequest) -> Result<v1::ListSecretsResponse, Error> {
    let agent = Some(asked.agent.as_str()).filter(|agent| !agent.is_empty());
    let all = agent_secrets::list(store, agent).await?;
    Ok(v1::ListSecretsResponse {
        secrets: all.into_iter().map(shown).collect(),
    })
}

pub(super) async fn remove(store: &Store, asked: v1::RemoveSecretRequest) -> Result<v1::RemoveSecretResponse, Error> {
    let v1::RemoveSecretRequest { agent, name } = asked;
    named(&agent, &name)?;
    let removed = run_tx!(store, "remove_secret", Error, |tx| {
        let removed = agent_secrets::remove(tx, &agent, &name).await?;
        if removed {
            known_secrets::forget(tx, of_agent(&agent, &name), STILL_KNOWN).await?;
            audit::record(tx, ACTOR, "secrets.remove", &format!("{agent}/{name}"), None).await?;
        }
        Ok(removed)
    })?;
    if !removed {
        return Err(Error::NotFound {
            reason: "NO_SECRET",
            message: format!("{agent} has no secret {name}: `steward secrets list` shows what there is"),
        });
    }
    tracing::info!(agent.id = agent, name, "a secret of an agent's own was removed");
    Ok(v1::RemoveSecretResponse {})
}

/// Notes what this process knows for the scan of outgoing text: providers' keys and agents' own secrets. Doing it again
/// changes nothing.
///
/// # Errors
/// When the database cannot do it.
pub(crate) async fn note_all(store: &Store, keeper: &Keeper, upstreams: &[Upstream]) -> Result<(), store::Error> {
    for upstream in upstreams {
        let which = Which {
            kind: Kind::Provider,
            owner: &upstream.name,
            name: upstream.api.name(),
        };
        note_if_new(store, keeper, which, upstream.api_key.expose().trim()).await?;
    }
    let Some(sealer) = &keeper.sealer else { return Ok(()) };
    for one in agent_secrets::list(store, None).await? {
        use secrecy::ExposeSecret as _;
        match agent_secrets::get(store, sealer, &one.agent, &one.name).await {
            Ok(Some(value)) => {
                note_if_new(store, keeper, of_agent(&one.agent, &one.name), value.expose_secret()).await?;
            }
            Ok(None) => {}
            Err(error @ store::Error::Sealed(_)) => {
                tracing::error!(agent.id = one.agent, name = one.name, %error, "a secret cannot be opened: set it anew");
            }
            Err(error) => return Err(error),
        }
    }
    Ok(())
}

async fn note_if_new(store: &Store, keeper: &Keeper, which: Which<'_>, secret: &str) -> Result<(), store::Error> {
    if known_secrets::is_noted(store, &keeper.scan, which, secret).await? {
        return Ok(());
    }
    run_tx!(store, "note_secret", |tx| {
        known_secrets::note(tx, &keeper.scan, which, secret, Some(STILL_KNOWN)).await
    })
}

fn of_agent<'a>(agent: &'a str, name: &'a str) -> Which<'a> {
    Which {
        kind: Kind::Agent,
        owner: agent,
        name,
    }
}

fn named(agent: &str, name: &str) -> Result<(), Error> {
    let plain = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || b"-_".contains(&byte);
    if agent.is_empty() || agent.len() > MAX_AGENT || !agent.bytes().all(plain) {
        return Err(Error::invalid("BAD_AGENT", format!("{agent:?} is no agent's name")));
    }
    if !is_secret_name(name) {
        return Err(Error::invalid(
            "BAD_NAME",
            format!("{name:?} is no name of a secret: write 2 to 40 of a-z, 0-9 and -, beginning with a letter"),
        ));
    }
    Ok(())
}

fn no_key() -> Error {
    Error::Status(status(
        Code::Refused,
        "NO_SECRETS_KEY",
        "billing has no key to seal secrets with: set secrets.key in its settings, and start it again",
    ))
}

fn shown(named: Named) -> v1::AgentSecret {
    v1::AgentSecret {
        agent: named.agent,
        name: named.name,
        set_at: Some(timestamp(named.set_at)),
    }
}
