//! Calls made for somebody who may not have the key: it is added on the way out, and cut out of what comes back.
//!
//! Promises: the key goes to one host, in one header, over whatever the caller said there; what the caller could use to
//! read it from an answer piece by piece (ranges), to speak as somebody else (other credentials), or to hide it from the
//! cut (encodings) is not passed on; a redirect is told and never followed; wherever the key stands in an answer's
//! headers or body as it is, percent-encoded or with escaped slashes, asterisks stand in its place.
//!
//! Does not: choose the host, or keep the key from a host that changes it before it echoes it.

use std::time::Duration;

use bytes::Bytes;
use reqwest::header::{CONTENT_ENCODING, HeaderMap, HeaderName, HeaderValue, LOCATION, SET_COOKIE};
use reqwest::{Body, Method, Response, StatusCode};
use secrecy::{ExposeSecret as _, SecretString};
use tokio::time::{Instant, timeout_at};
use url::Url;

use crate::{Client, Error};

mod cut;

pub use cut::Cut;

/// What is not passed on: what belongs to one connection, who else the caller may say it is, and what would keep the
/// answer from being looked through.
const NOT_SENT: [&str; 25] = [
    "host",
    "connection",
    "keep-alive",
    "proxy-authenticate",
    "proxy-authorization",
    "te",
    "trailer",
    "transfer-encoding",
    "upgrade",
    "expect",
    "authorization",
    "x-api-key",
    "api-key",
    "x-goog-api-key",
    "cookie",
    "forwarded",
    "via",
    "range",
    "if-range",
    "accept-encoding",
    "traceparent",
    "tracestate",
    "baggage",
    "x-http-method-override",
    "x-forwarded-for",
];
/// Beginnings of such.
const NOT_SENT_BEGINNING: [&str; 2] = ["x-forwarded-", "x-steward-"];
/// What is not passed back.
const NOT_RETURNED: [&str; 8] = [
    "connection",
    "keep-alive",
    "proxy-authenticate",
    "te",
    "trailer",
    "transfer-encoding",
    "upgrade",
    "alt-svc",
];
/// Ways to call; the others echo, or are no calls.
const METHODS: [Method; 7] = [
    Method::GET,
    Method::HEAD,
    Method::POST,
    Method::PUT,
    Method::PATCH,
    Method::DELETE,
    Method::OPTIONS,
];

/// A key and where it goes.
#[derive(Clone)]
pub struct Key {
    name: HeaderName,
    value: HeaderValue,
    cut: Cut,
}

/// The way to one host.
#[derive(Debug, Clone)]
pub struct Host {
    /// Scheme and host, and what stands before each path.
    pub base: Url,
    /// Where the caller believes it to be: before the path of a redirect within the host.
    pub prefix: String,
}

/// An answer whose headers are there, without the key.
pub struct Answer {
    /// Its status.
    pub status: StatusCode,
    /// Its headers.
    pub headers: HeaderMap,
    /// Its body, to be read piece by piece.
    pub body: Reading,
}

/// The rest of an answer.
pub struct Reading {
    response: Option<Response>,
    cut: Cut,
    left: usize,
    limit: usize,
    until: Instant,
}

/// Why a call had no answer that could be passed back.
#[derive(Debug, thiserror::Error)]
pub enum Failure {
    /// This is no way to call.
    #[error("the method {0} is not passed on")]
    Method(Method),
    /// The path cannot be part of an address.
    #[error("the path is no part of an address")]
    Path,
    /// It did not work out.
    #[error(transparent)]
    Call(#[from] Error),
    /// It took too long.
    #[error("the host did not answer in time")]
    Late,
    /// The answer cannot be looked through.
    #[error("the host answered in an encoding that was not asked for")]
    Encoded,
}

impl std::fmt::Debug for Key {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Key").field("name", &self.name).finish_non_exhaustive()
    }
}

impl Key {
    /// A key for this header; `said` is all of the header, `secret` what of it may never come back.
    ///
    /// # Errors
    /// When the header cannot carry it.
    pub fn new(header: &str, said: &SecretString, secret: &SecretString) -> Result<Self, Error> {
        let name = header
            .parse()
            .map_err(|_| Error::Invalid(format!("{header:?} is no header")))?;
        Ok(Self {
            name,
            value: crate::header::sensitive(said)?,
            cut: Cut::new(secret.expose_secret()),
        })
    }

    /// Makes a call: `path_and_query` as the caller wrote it, beginning with a slash. The answer may be as long as
    /// `most`, and take until `until`.
    ///
    /// # Errors
    /// [`Failure`].
    pub async fn send(
        &self,
        client: &Client,
        host: &Host,
        call: Call<'_>,
        most: usize,
        until: Instant,
    ) -> Result<Answer, Failure> {
        if !METHODS.contains(&call.method) {
            return Err(Failure::Method(call.method));
        }
        let url = host.at(call.path_and_query).ok_or(Failure::Path)?;
        let mut headers = passed_on(call.headers);
        headers.insert(self.name.clone(), self.value.clone());
        let request = client
            .request(call.method, url.clone())
            .headers(headers)
            .body(call.body);
        let response = timeout_at(until, client.send(request))
            .await
            .map_err(|_late| Failure::Late)??;
        if response.headers().contains_key(CONTENT_ENCODING) {
            return Err(Failure::Encoded);
        }
        Ok(Answer {
            status: response.status(),
            headers: self.passed_back(response.headers(), host, &url),
            body: Reading {
                response: Some(response),
                cut: self.cut.clone(),
                left: most,
                limit: most,
                until,
            },
        })
    }

    fn passed_back(&self, given: &HeaderMap, host: &Host, asked: &Url) -> HeaderMap {
        let mut back = HeaderMap::new();
        for (name, value) in given {
            if NOT_RETURNED.contains(&name.as_str()) || *name == SET_COOKIE {
                continue;
            }
            let value = match (name, value.to_str()) {
                (&LOCATION, Ok(to)) => host.seen_from_inside(asked, to),
                _ => None,
            }
            .unwrap_or_else(|| value.clone());
            let masked = self.cut.whole(value.as_bytes());
            if let Ok(value) = HeaderValue::from_bytes(&masked) {
                back.append(name.clone(), value);
            }
        }
        back
    }
}

/// What is to be called.
pub struct Call<'a> {
    /// How.
    pub method: Method,
    /// Where, at the host.
    pub path_and_query: &'a str,
    /// What the caller said.
    pub headers: &'a HeaderMap,
    /// What it sends.
    pub body: Body,
}

impl Host {
    fn at(&self, path_and_query: &str) -> Option<Url> {
        let base = self.base.as_str().trim_end_matches('/');
        let url: Url = format!("{base}{path_and_query}").parse().ok()?;
        let same = url.host() == self.base.host()
            && url.port_or_known_default() == self.base.port_or_known_default()
            && url.username().is_empty()
            && url.password().is_none();
        (same && path_and_query.starts_with('/')).then_some(url)
    }

    /// A redirect within the host, as the caller can follow it; one to elsewhere stays as it is.
    fn seen_from_inside(&self, asked: &Url, to: &str) -> Option<HeaderValue> {
        let to = asked.join(to).ok()?;
        if to.origin() != asked.origin() {
            return None;
        }
        let base = self.base.path().trim_end_matches('/');
        let path = to.path().strip_prefix(base).unwrap_or(to.path());
        let query = to.query().map(|query| format!("?{query}")).unwrap_or_default();
        HeaderValue::from_str(&format!("{}{path}{query}", self.prefix)).ok()
    }
}

impl Reading {
    /// The next piece; `None` at the end.
    ///
    /// # Errors
    /// When the answer breaks off, is longer than allowed, or takes too long.
    pub async fn piece(&mut self) -> Result<Option<Bytes>, Error> {
        while let Some(response) = self.response.as_mut() {
            let late = |_| Error::Body {
                reason: "it took too long".to_owned(),
                timed_out: true,
            };
            let read = timeout_at(self.until, response.chunk()).await.map_err(late)?;
            let Some(chunk) = read.map_err(|error| Error::of_body(&error))? else {
                self.response = None;
                return Ok(Some(self.cut.end()).filter(|rest| !rest.is_empty()));
            };
            self.left = self
                .left
                .checked_sub(chunk.len())
                .ok_or(Error::TooLarge { limit: self.limit })?;
            let piece = self.cut.push(&chunk);
            if !piece.is_empty() {
                return Ok(Some(piece));
            }
        }
        Ok(None)
    }
}

/// How long a call may take at most, as a moment.
#[must_use]
pub fn until(limit: Duration) -> Instant {
    Instant::now() + limit
}

fn passed_on(given: &HeaderMap) -> HeaderMap {
    let named: Vec<String> = given
        .get_all(reqwest::header::CONNECTION)
        .iter()
        .filter_map(|value| value.to_str().ok())
        .flat_map(|value| value.split(',').map(|name| name.trim().to_ascii_lowercase()))
        .collect();
    let mut onward = HeaderMap::new();
    for (name, value) in given {
        let text = name.as_str();
        let dropped = NOT_SENT.contains(&text)
            || NOT_SENT_BEGINNING.iter().any(|begin| text.starts_with(begin))
            || named.iter().any(|other| other == text);
        if !dropped {
            onward.append(name.clone(), value.clone());
        }
    }
    onward
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_leads_to_the_host_and_nowhere_else() {
        let host = |base: &str| Host {
            base: base.parse().unwrap(),
            prefix: "/ext/api.example.org".to_owned(),
        };
        let at = |path: &str| host("https://api.example.org").at(path).map(|url| url.to_string());
        assert_eq!(at("/a%2Fb?c=d").as_deref(), Some("https://api.example.org/a%2Fb?c=d"));
        for wrong in ["@evil.example/", ".evil.example/", ":8080/", ""] {
            assert_eq!(at(wrong), None, "{wrong}");
        }
        let asked = "https://api.example.org/a/b".parse().unwrap();
        let seen = |to: &str| host("https://api.example.org").seen_from_inside(&asked, to);
        assert_eq!(seen("/c?d").unwrap(), "/ext/api.example.org/c?d");
        assert_eq!(seen("https://api.example.org/c").unwrap(), "/ext/api.example.org/c");
        assert_eq!(seen("https://evil.example/c"), None);
    }
}
