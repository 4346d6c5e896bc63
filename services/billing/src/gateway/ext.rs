//! `/ext/HOST/…`: calls of hosts an agent's file names, with a secret of the agent's that the run never sees.
//!
//! One call: credential → host → place → secret → call → answer, passed on as it comes. How the key is kept from the run
//! is `outbound::entrusted`; here is who may call whom, with which secret, and within which bounds.

use std::sync::Arc;

use axum::{
    body::Body,
    response::{IntoResponse as _, Response},
};
use boot::Tasks;
use domain::agent_file::Credential;
use futures_util::TryStreamExt as _;
use http::{Method, StatusCode, header, request::Parts};
use http_body_util::{BodyExt as _, Limited};
use outbound::{
    Client, Guard,
    entrusted::{Answer, Call, Failure, Host, Key, Reading},
};
use secrecy::{ExposeSecret as _, SecretString};
use store::{Store, agent_secrets, seal::Sealer};
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;

use super::{Gateway, refusal::Refusal, slots};
use crate::{config, metrics};

/// Where the calls begin.
pub(super) const PREFIX: &str = "/ext/";
/// Pieces that may wait for a slow agent.
const QUEUE: usize = 16;

/// What such calls need.
pub(super) struct Ext {
    settings: config::Ext,
    sealer: Option<Arc<Sealer>>,
    /// For hosts of agent files.
    public: Client,
    /// For those the operator leads elsewhere.
    elsewhere: Client,
    slots: Arc<slots::Slots>,
    tasks: Tasks,
}

/// What a call is for.
struct Errand<'a> {
    host: &'a str,
    path_and_query: &'a str,
}

impl Ext {
    pub(super) fn new(
        settings: &config::Ext,
        sealer: Option<Arc<Sealer>>,
        tasks: &Tasks,
    ) -> Result<Self, outbound::Error> {
        let client = |guard, https_only| {
            Client::builder("ext")
                .connect_timeout(settings.connect_timeout)
                .read_timeout(settings.idle_timeout)
                .total_timeout(None)
                .guard(guard)
                .https_only(https_only)
                .build()
        };
        Ok(Self {
            public: client(Guard::Public, true)?,
            elsewhere: client(Guard::Any, false)?,
            slots: slots::Slots::new(metrics::OPEN_EXT_CALLS, settings.max_calls, settings.max_calls_per_run),
            settings: settings.clone(),
            sealer,
            tasks: tasks.clone(),
        })
    }

    /// How a host is reached.
    fn way(&self, host: &str) -> Option<(&Client, Host)> {
        let prefix = format!("{PREFIX}{host}");
        let led = self.settings.instead.iter().find(|instead| instead.host == host);
        Some(match led {
            Some(instead) => {
                let base = instead.url.clone();
                (&self.elsewhere, Host { base, prefix })
            }
            None => {
                let base = format!("https://{host}").parse().ok()?;
                (&self.public, Host { base, prefix })
            }
        })
    }

    async fn secret(&self, store: &Store, agent: &str, name: &str) -> Result<SecretString, Refusal> {
        let missing = || Refusal::secret_missing(agent, name);
        let sealer = self.sealer.as_ref().ok_or_else(missing)?;
        let found = agent_secrets::get(store, sealer, agent, name).await;
        found.map_err(|error| Refusal::books(&error))?.ok_or_else(missing)
    }
}

impl Gateway {
    /// One call of a host.
    pub(super) async fn errand(self: Arc<Self>, parts: Parts, body: Body) -> Response {
        let caller = self.caller(&parts.headers).await;
        let answer = match caller {
            Ok(caller) => self.run_errand(&caller.access, parts, body).await,
            Err(refusal) => Err(refusal),
        };
        let (answer, class) = match answer {
            Ok(answer) => {
                let class = match answer.status().as_u16() / 100 {
                    2 => "2xx",
                    3 => "3xx",
                    4 => "4xx",
                    _ => "5xx",
                };
                (answer, class)
            }
            Err(refusal) => {
                let refused = refusal.into_response(super::dialect::Dialect::Chat, &self.settings);
                (refused, "refused")
            }
        };
        ::metrics::counter!(metrics::EXT_CALLS, "class" => class).increment(1);
        answer
    }

    async fn run_errand(
        &self,
        access: &store::run_accounts::Access,
        parts: Parts,
        body: Body,
    ) -> Result<Response, Refusal> {
        let path_and_query = parts.uri.path_and_query().map_or("", |path| path.as_str());
        let errand = Errand::read(path_and_query).ok_or_else(|| Refusal::not_found(parts.uri.path()))?;
        let named = |credential: &&Credential| credential.host == errand.host;
        let credential = access
            .credentials
            .iter()
            .find(named)
            .ok_or_else(|| Refusal::host_not_named(errand.host))?;
        let slot = self.ext.slots.enter(access.run_id)?;
        let secret = self.ext.secret(&self.store, &access.agent, &credential.secret).await?;
        let said = SecretString::from(credential.filled(secret.expose_secret()));
        let unusable = |_| Refusal::secret_unusable(&access.agent, &credential.secret);
        let key = Key::new(&credential.header, &said, &secret).map_err(unusable)?;
        let (client, host) = self
            .ext
            .way(errand.host)
            .ok_or_else(|| Refusal::host_not_named(errand.host))?;
        let settings = &self.ext.settings;
        let call = Call {
            method: parts.method.clone(),
            path_and_query: errand.path_and_query,
            headers: &parts.headers,
            body: self.onward(&parts, body)?,
        };
        let until = outbound::entrusted::until(settings.total_timeout);
        let sent = key.send(client, &host, call, settings.max_answer_bytes, until).await;
        let answer = sent.map_err(|failure| told(&failure, errand.host))?;
        tracing::info!(
            host = errand.host,
            secret = credential.secret,
            status = answer.status.as_u16(),
            "a run called a host with a secret of its agent's"
        );
        Ok(self.pass_on(answer, parts.method == Method::HEAD, slot))
    }

    /// The caller's body, within its bounds of size and time.
    fn onward(&self, parts: &Parts, body: Body) -> Result<outbound::Body, Refusal> {
        let limit = self.ext.settings.max_body_bytes;
        let length = parts.headers.get(header::CONTENT_LENGTH);
        let length = length.and_then(|length| length.to_str().ok()?.parse::<usize>().ok());
        if length.is_some_and(|length| length > limit) {
            return Err(Refusal::body_too_large(limit));
        }
        if length.unwrap_or(0) == 0 && !parts.headers.contains_key(header::TRANSFER_ENCODING) {
            return Ok(outbound::Body::from(""));
        }
        let capped = Limited::new(body, limit).into_data_stream();
        let told = capped.map_err(|_| std::io::Error::other("the request broke off, or is longer than allowed"));
        Ok(outbound::Body::wrap_stream(told))
    }

    /// The answer as it comes, read at its own pace: a run that does not read loses it, and its place is free again.
    fn pass_on(&self, answer: Answer, empty: bool, slot: slots::Slot) -> Response {
        let Answer { status, headers, body } = answer;
        let mut response = status.into_response();
        *response.headers_mut() = headers;
        if empty || status == StatusCode::NO_CONTENT || status == StatusCode::NOT_MODIFIED {
            return response;
        }
        let (pieces, queue) = mpsc::channel(QUEUE);
        let stall = self.settings.client_stall;
        let relaying = self.ext.tasks.spawn_job("ext_call", async move {
            let _slot = slot;
            relay(body, pieces, stall).await;
        });
        drop(relaying);
        *response.body_mut() = Body::from_stream(ReceiverStream::new(queue));
        response
    }
}

async fn relay(
    mut body: Reading,
    pieces: mpsc::Sender<Result<bytes::Bytes, std::io::Error>>,
    stall: std::time::Duration,
) {
    loop {
        let piece = match body.piece().await {
            Ok(Some(piece)) => Ok(piece),
            Ok(None) => return,
            Err(error) => {
                tracing::warn!(%error, class = error.class(), "the answer of a host broke off");
                Err(std::io::Error::other("the answer broke off"))
            }
        };
        let over = piece.is_err();
        if pieces.send_timeout(piece, stall).await.is_err() || over {
            return;
        }
    }
}

impl<'a> Errand<'a> {
    fn read(path_and_query: &'a str) -> Option<Self> {
        let rest = path_and_query.strip_prefix(PREFIX)?;
        let end = rest.find(['/', '?']).unwrap_or(rest.len());
        let (host, path) = rest.split_at(end);
        let path_and_query = if path.is_empty() { "/" } else { path };
        Some(Self { host, path_and_query }).filter(|errand| errand.path_and_query.starts_with('/'))
    }
}

fn told(failure: &Failure, host: &str) -> Refusal {
    tracing::warn!(host, error = %failure, "a call of a host failed");
    match failure {
        Failure::Method(_) => Refusal::method_not_passed_on(),
        Failure::Path => Refusal::invalid("the path is no part of an address"),
        Failure::Late => Refusal::host_late(host),
        Failure::Encoded => Refusal::host_encoded(host),
        Failure::Call(error @ outbound::Error::Refused(_)) => Refusal::host_refused(host, error),
        Failure::Call(error) if error.sent() == outbound::Sent::No => Refusal::host_unreachable(host),
        Failure::Call(outbound::Error::Timeout { .. }) => Refusal::host_late(host),
        Failure::Call(_) => Refusal::host_broke_off(host),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_host_is_the_first_part_and_the_rest_is_its_path() {
        let read = |path| Errand::read(path).map(|errand| (errand.host, errand.path_and_query));
        assert_eq!(
            read("/ext/api.example.org/v1/a?b=c"),
            Some(("api.example.org", "/v1/a?b=c"))
        );
        assert_eq!(read("/ext/api.example.org"), Some(("api.example.org", "/")));
        assert_eq!(read("/ext/api.example.org?x"), None);
        assert_eq!(read("/v1/models"), None);
    }
}
