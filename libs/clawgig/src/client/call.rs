//! One request and its answer.

use bytes::Bytes;
use outbound::headers::AUTHORIZATION;
use outbound::{Method, RequestBuilder, StatusCode, Url, read_limited};
use serde_json::Value;

use super::{Client, Family, Reply};
use crate::drift;
use crate::error::{Answer, Error};
use crate::fields::is_id;
use crate::metric;
use crate::rate::RateInfo;
use crate::wire::envelope;
use crate::wire::page::{self, Page};
use crate::wire::{self};

/// Largest answer read.
const MOST_BYTES: usize = 4 * 1024 * 1024;
/// Largest refusal read.
const MOST_ERROR_BYTES: usize = 64 * 1024;

/// One request to be.
pub(super) struct Call {
    name: &'static str,
    method: Method,
    path: Vec<String>,
    query: Vec<(&'static str, String)>,
    body: Option<Value>,
    family: bool,
}

impl Call {
    /// A call to a path whose segments are our own words or checked ids.
    pub(super) fn new(name: &'static str, method: Method, path: &[&str]) -> Self {
        let path = path.iter().map(|part| (*part).to_owned()).collect();
        Self {
            name,
            method,
            path,
            query: Vec::new(),
            body: None,
            family: false,
        }
    }

    /// A call to a path of the agent's own family: `me` under `/agents/me`, `agent` under `/agent`.
    pub(super) fn of_family(name: &'static str, method: Method, family: Family, me: &[&str], agent: &[&str]) -> Self {
        let path = match family {
            Family::AgentsMe => [&["agents", "me"], me].concat(),
            Family::Agent => [&["agent"], agent].concat(),
        };
        Self {
            family: true,
            ..Self::new(name, method, &path)
        }
    }

    pub(super) fn query(mut self, query: Vec<(&'static str, String)>) -> Self {
        self.query = query;
        self
    }

    pub(super) fn body(mut self, body: Value) -> Self {
        self.body = Some(body);
        self
    }

    fn is_write(&self) -> bool {
        self.method != Method::GET
    }

    /// Whether a 404 can only mean that the server does not speak this family: a read of something every agent has,
    /// which no id names.
    fn tells_family(&self) -> bool {
        let below = if self.path.first().is_some_and(|first| first == "agents") {
            2
        } else {
            1
        };
        let rest: Vec<&str> = self.path.iter().skip(below).map(String::as_str).collect();
        self.family && !self.is_write() && (rest.len() <= 1 || rest == ["webhooks", "deliveries"])
    }

    fn url(&self, base: &Url) -> Result<Url, Error> {
        let invalid = |reason| Error::Invalid {
            call: self.name,
            reason,
        };
        let mut url = base.clone();
        let mut segments = url
            .path_segments_mut()
            .map_err(|()| invalid("the base address is no base".to_owned()))?;
        segments.pop_if_empty();
        for part in &self.path {
            if !is_id(part) {
                return Err(invalid("an id holds characters that no id has".to_owned()));
            }
            segments.push(part);
        }
        drop(segments);
        if !self.query.is_empty() {
            url.query_pairs_mut().extend_pairs(&self.query);
        }
        Ok(url)
    }
}

impl Client {
    /// Sends one request and reads its JSON.
    pub(super) async fn call(&self, call: Call) -> Result<Reply<Value>, Error> {
        self.call_with(call, |request| request).await
    }

    /// The same, with a last word on the request (for multipart bodies and longer timeouts).
    pub(super) async fn call_with(
        &self,
        call: Call,
        shape: impl FnOnce(RequestBuilder) -> RequestBuilder,
    ) -> Result<Reply<Value>, Error> {
        let (name, write) = (call.name, call.is_write());
        let transport = |source| Error::Transport {
            call: name,
            write,
            source,
        };
        let mut request = self.http.request(call.method.clone(), call.url(&self.base)?);
        if let Some(key) = &self.key {
            let bearer = outbound::header::bearer(key).map_err(transport)?;
            request = request.header(AUTHORIZATION, bearer);
        }
        if let Some(body) = &call.body {
            request = request.json(body);
        }
        let outcome = self.http.send(shape(request)).await;
        let status = outcome.as_ref().map_or_else(
            |error| error.class().to_owned(),
            |response| response.status().as_u16().to_string(),
        );
        metrics::counter!(metric::CALLS, "call" => name, "status" => status).increment(1);
        let response = outcome.map_err(transport)?;
        let (status, rate) = (response.status(), RateInfo::of(response.headers()));
        drift::endings(name, response.headers());
        if !status.is_success() {
            let body = match read_limited(response, MOST_ERROR_BYTES).await {
                Ok(body) => body,
                // What a refusal means stands in its words: one that was cut off has not been heard.
                Err(error) if is_worded(status) && !matches!(error, outbound::Error::TooLarge { .. }) => {
                    return Err(transport(error));
                }
                Err(_) => Bytes::new(),
            };
            return Err(self.refused(&call, status, rate, &body));
        }
        let body = read_limited(response, MOST_BYTES).await.map_err(transport)?;
        Ok(Reply {
            value: json(&body, name, write, &rate)?,
            rate,
        })
    }

    fn refused(&self, call: &Call, status: StatusCode, rate: RateInfo, body: &Bytes) -> Error {
        if call.tells_family() && matches!(status.as_u16(), 404 | 405) {
            self.turn_family(call.path.first());
        }
        Error::Answer(Box::new(Answer::read(call.name, call.is_write(), status, rate, body)))
    }

    /// Sends a request whose answer is one page of a list.
    pub(super) async fn page<T: wire::Read>(&self, call: Call, of: &'static str) -> Result<Reply<Page<T>>, Error> {
        let name = call.name;
        let reply = self.call(call).await?;
        let page = page::read(&reply.value, of);
        understood(name, false, reply, page, "a list in any known wrapping")
    }

    /// Sends a request whose answer is one thing.
    pub(super) async fn one<T>(
        &self,
        call: Call,
        of: &'static str,
        read: impl FnOnce(&Value) -> Option<T>,
    ) -> Result<Reply<T>, Error> {
        let (name, write) = (call.name, call.is_write());
        let reply = self.call(call).await?;
        let value = read(envelope::single(&reply.value, of));
        understood(name, write, reply, value, of)
    }

    /// Sends a request whose answer does not matter beyond its success.
    pub(super) async fn done(&self, call: Call) -> Result<Reply<()>, Error> {
        Ok(self.call(call).await?.map(drop))
    }
}

/// Whether the status alone does not say what to do.
fn is_worded(status: StatusCode) -> bool {
    status.is_client_error() && !matches!(status.as_u16(), 401 | 402 | 404 | 405 | 408 | 429)
}

/// An empty body is `null`; anything else must be JSON.
fn json(body: &[u8], call: &'static str, write: bool, rate: &RateInfo) -> Result<Value, Error> {
    if body.iter().all(u8::is_ascii_whitespace) {
        return Ok(Value::Null);
    }
    serde_json::from_slice(body).map_err(|_| Error::Unreadable {
        call,
        write,
        reason: "expected json",
        rate: rate.clone(),
    })
}

pub(super) fn understood<T>(
    call: &'static str,
    write: bool,
    reply: Reply<Value>,
    value: Option<T>,
    reason: &'static str,
) -> Result<Reply<T>, Error> {
    match value {
        Some(value) => Ok(Reply {
            value,
            rate: reply.rate,
        }),
        None => Err(Error::Unreadable {
            call,
            write,
            reason,
            rate: reply.rate,
        }),
    }
}
