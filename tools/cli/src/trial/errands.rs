//! Calls of the hosts an agent's file names, in a trial: the value of a secret comes from this program's environment and
//! is added here, outside the sandbox, as the stack's own gateway adds it.

use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, Result};
use axum::body::Body;
use axum::extract::Request;
use axum::response::{IntoResponse as _, Response};
use domain::agent_file::credential::check_value;
use domain::agent_file::{AgentFile, Credential};
use futures_util::stream;
use http::StatusCode;
use outbound::entrusted::{Call, Host, Key, until};
use outbound::{Client, Guard, Url};
use secrecy::SecretString;

use super::meter::refusal;
use crate::env;
use crate::failure::Failure;

/// Where such calls begin.
pub(super) const PREFIX: &str = "/ext/";
/// The largest answer.
const LARGEST: usize = 64 * 1024 * 1024;
/// The largest request.
const LARGEST_REQUEST: usize = 16 * 1024 * 1024;
/// How long a call may take.
const LONGEST: Duration = Duration::from_secs(5 * 60);

/// The hosts of one agent.
pub(crate) struct Errands {
    hosts: Vec<Named>,
    public: Client,
    elsewhere: Client,
}

struct Named {
    credential: Credential,
    key: Option<Key>,
    instead: Option<Url>,
}

impl Errands {
    /// With the values there are in the environment, and with hosts that are called elsewhere.
    ///
    /// # Errors
    /// A value cannot be one, or a host is led elsewhere that the file does not name.
    pub(crate) fn of(agent: &AgentFile, instead: &[(String, Url)]) -> Result<Self> {
        let named = &agent.network.credential;
        if let Some((host, _)) = instead
            .iter()
            .find(|(host, _)| !named.iter().any(|credential| credential.host == *host))
        {
            let why = format!("--instead: the agent's file names no [[network.credential]] for {host}");
            return Err(Failure::Usage(why).into());
        }
        let client = |guard, https_only| {
            Client::builder("ext")
                .guard(guard)
                .https_only(https_only)
                .total_timeout(None)
                .build()
        };
        let hosts = named.iter().map(|credential| {
            let led = instead.iter().find(|(host, _)| *host == credential.host);
            Ok(Named {
                key: key(credential)?,
                instead: led.map(|(_, url)| url.clone()),
                credential: credential.clone(),
            })
        });
        Ok(Self {
            hosts: hosts.collect::<Result<_>>()?,
            public: client(Guard::Public, true).context("make a client for other hosts")?,
            elsewhere: client(Guard::Any, false).context("make a client for other hosts")?,
        })
    }

    /// Variables that would hold a value and do not.
    pub(crate) fn missing(&self) -> Vec<String> {
        let without = self.hosts.iter().filter(|named| named.key.is_none());
        without.map(|named| variable(&named.credential)).collect()
    }

    /// One call.
    pub(super) async fn pass_on(self: Arc<Self>, request: Request) -> Result<Response, Box<Response>> {
        let (parts, body) = request.into_parts();
        let all = parts.uri.path_and_query().map_or("", |path| path.as_str());
        let rest = all.strip_prefix(PREFIX).unwrap_or_default();
        let (host, path) = rest.split_at(rest.find('/').unwrap_or(rest.len()));
        let Some(named) = self.hosts.iter().find(|named| named.credential.host == host) else {
            let why = format!("the agent's file names no [[network.credential]] for the host {host:?}");
            return Err(refusal(StatusCode::FORBIDDEN, "host_not_named", why));
        };
        let Some(key) = &named.key else {
            let (secret, variable) = (&named.credential.secret, variable(&named.credential));
            let why = format!("the secret {secret} is not set: a trial takes it from the variable {variable}");
            return Err(refusal(StatusCode::FAILED_DEPENDENCY, "secret_missing", why));
        };
        let (client, base) = match &named.instead {
            Some(url) => (&self.elsewhere, Ok(url.clone())),
            None => (&self.public, format!("https://{host}").parse()),
        };
        let wrong = |_| refusal(StatusCode::BAD_REQUEST, "invalid_request", "this is no path".to_owned());
        let host = Host {
            base: base.map_err(wrong)?,
            prefix: format!("{PREFIX}{host}"),
        };
        let body = axum::body::to_bytes(body, LARGEST_REQUEST).await;
        let call = Call {
            method: parts.method,
            path_and_query: if path.is_empty() { "/" } else { path },
            headers: &parts.headers,
            body: outbound::Body::from(body.map_err(|_error| {
                let why = format!("more than {LARGEST_REQUEST} bytes");
                refusal(StatusCode::PAYLOAD_TOO_LARGE, "request_too_large", why)
            })?),
        };
        let sent = key.send(client, &host, call, LARGEST, until(LONGEST)).await;
        let answer =
            sent.map_err(|failure| refusal(StatusCode::BAD_GATEWAY, "host_unreachable", failure.to_string()))?;
        let pieces = stream::try_unfold(answer.body, |mut body| async move {
            let piece = body.piece().await?;
            Ok::<_, outbound::Error>(piece.map(|piece| (piece, body)))
        });
        let mut response = answer.status.into_response();
        *response.headers_mut() = answer.headers;
        *response.body_mut() = Body::from_stream(pieces);
        Ok(response)
    }
}

fn variable(credential: &Credential) -> String {
    format!("{}_KEY", credential.variable())
}

fn key(credential: &Credential) -> Result<Option<Key>> {
    let variable = variable(credential);
    let Some(value) = env::variable(&variable) else {
        return Ok(None);
    };
    check_value(&value).map_err(|why| Failure::Usage(format!("{variable}: {why}")))?;
    let said = SecretString::from(credential.filled(&value));
    let key = Key::new(&credential.header, &said, &SecretString::from(value));
    Ok(Some(key.with_context(|| format!("send {variable} in a header"))?))
}
