//! The providers: which one serves a model, and how a call gets there.

use std::{sync::Arc, time::Duration};

use domain::metering;
use http::{HeaderName, HeaderValue, header};
use outbound::{Client, Guard, Method, Response, Url};
use uuid::Uuid;

use super::dialect::Ask;
use crate::config::{self, Api};

/// Names the run to the provider: an opaque id that providers ignore and the simulator counts by.
const RUN_HEADER: &str = "x-steward-run";
/// Where Anthropic wants its key.
const API_KEY: HeaderName = HeaderName::from_static("x-api-key");

/// All providers, in the order they were written down.
#[derive(Debug)]
pub(crate) struct Upstreams(Vec<Arc<Upstream>>);

/// One provider.
#[derive(Debug)]
pub(crate) struct Upstream {
    /// Its name in prices, usage and accounts.
    pub name: String,
    /// What it speaks.
    pub api: Api,
    base: Url,
    key: (HeaderName, HeaderValue),
    patterns: Vec<String>,
    whole: Client,
    stream: Client,
}

impl Upstreams {
    /// Clients for all of them.
    ///
    /// # Errors
    /// When no client can be made or a key cannot be sent in a header.
    pub fn new(upstreams: &[config::Upstream], settings: &config::Gateway) -> Result<Self, outbound::Error> {
        // A whole answer is silent until it is finished, a streamed one never for long.
        let whole = client("model", settings.connect_timeout, settings.total_timeout)?;
        let stream = client("model_stream", settings.connect_timeout, settings.idle_timeout)?;
        let made = upstreams.iter().map(|upstream| {
            Ok(Arc::new(Upstream {
                name: upstream.name.clone(),
                api: upstream.api,
                base: upstream.base_url.clone(),
                key: key(upstream)?,
                patterns: upstream.models.clone(),
                whole: whole.clone(),
                stream: stream.clone(),
            }))
        });
        made.collect::<Result<_, _>>().map(Self)
    }

    /// The first that serves a model and speaks this.
    pub fn of_model(&self, model: &str, api: Api) -> Option<Arc<Upstream>> {
        let fits = |upstream: &&Arc<Upstream>| upstream.api == api && upstream.serves(model);
        self.0.iter().find(fits).cloned()
    }

    /// The first that serves a model, whatever it speaks.
    pub fn serving(&self, model: &str) -> Option<&Upstream> {
        self.0
            .iter()
            .map(|upstream| &**upstream)
            .find(|upstream| upstream.serves(model))
    }
}

impl Upstream {
    /// Sends a call; returns when the answer's headers are there.
    ///
    /// # Errors
    /// [`outbound::Error`], which knows whether the provider may have seen the call.
    pub async fn send(&self, ask: &Ask, run_id: Uuid) -> Result<Response, outbound::Error> {
        let (client, accept) = if ask.stream {
            (&self.stream, "text/event-stream, application/json")
        } else {
            (&self.whole, "application/json")
        };
        let request = client
            .request(Method::POST, below(&self.base, ask.dialect.path())?)
            .headers(ask.headers.clone())
            .header(self.key.0.clone(), self.key.1.clone())
            .header(header::CONTENT_TYPE, "application/json")
            .header(header::ACCEPT, accept)
            .header(RUN_HEADER, run_id.to_string())
            .body(ask.body.clone());
        client.send(request).await
    }

    fn serves(&self, model: &str) -> bool {
        self.patterns.iter().any(|pattern| metering::serves(pattern, model))
    }
}

/// The header that carries our key.
fn key(upstream: &config::Upstream) -> Result<(HeaderName, HeaderValue), outbound::Error> {
    let secret = upstream.api_key.expose();
    match upstream.api {
        Api::OpenAi => Ok((header::AUTHORIZATION, outbound::header::bearer(&secret.into())?)),
        Api::Anthropic => {
            let wrong =
                |_| outbound::Error::Invalid(format!("the key of {} cannot be sent in a header", upstream.name));
            let mut key = HeaderValue::from_str(secret.trim()).map_err(wrong)?;
            key.set_sensitive(true);
            Ok((API_KEY, key))
        }
    }
}

fn client(name: &'static str, connect: Duration, silence: Duration) -> Result<Client, outbound::Error> {
    Client::builder(name)
        .connect_timeout(connect)
        .read_timeout(silence)
        // The exchange has a deadline of its own, which covers reading the answer.
        .total_timeout(None)
        // The operator wrote these addresses down; agents cannot.
        .guard(Guard::Any)
        .max_idle_per_host(64)
        .build()
}

fn below(base: &Url, path: &str) -> Result<Url, outbound::Error> {
    let text = format!("{}/{path}", base.as_str().trim_end_matches('/'));
    text.parse()
        .map_err(|_| outbound::Error::Invalid(format!("{text} is not an address")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_path_goes_below_the_base_with_and_without_a_slash() {
        for base in ["http://x/v1", "http://x/v1/"] {
            let chat = below(&base.parse().unwrap(), "chat/completions").unwrap();
            assert_eq!(chat.as_str(), "http://x/v1/chat/completions");
        }
    }
}
