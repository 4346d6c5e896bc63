//! `/ext/KEY/HOST/…`: hosts the agent's file names, called by billing with a secret of the agent's.
//!
//! KEY is what the run shows its gateway: in the address, because what such a host's client sends as its key, and where,
//! is the host's own affair.

use std::sync::{Mutex, PoisonError};

use axum::extract::Request;
use axum::response::{IntoResponse as _, Response};
use domain::agent_file::Credential;
use outbound::Url;

use super::refusal::Refusal;
use super::{REFUSED, Shared, pass_back};
use crate::metrics;
use crate::run::{OpenCall, Way};

const PREFIX: &str = "/ext/";

/// The hosts of one run.
#[derive(Debug)]
pub(super) struct Hosts(Mutex<Vec<Called>>);

/// What was called of one host.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Called {
    /// The host.
    pub host: String,
    /// The secret that was added, by its name.
    pub secret: String,
    /// How often.
    pub calls: u64,
    /// How many of these were answered with anything but success.
    pub failed: u64,
}

impl Hosts {
    pub(super) fn new(named: &[Credential]) -> Self {
        let none = |credential: &Credential| Called {
            host: credential.host.clone(),
            secret: credential.secret.clone(),
            calls: 0,
            failed: 0,
        };
        Self(Mutex::new(named.iter().map(none).collect()))
    }

    /// Those that were called at all.
    pub(super) fn called(&self) -> Vec<Called> {
        let hosts = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        hosts.iter().filter(|host| host.calls > 0).cloned().collect()
    }

    fn names(&self, host: &str) -> bool {
        let hosts = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        hosts.iter().any(|named| named.host == host)
    }

    fn count(&self, host: &str, failed: bool) {
        let mut hosts = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(named) = hosts.iter_mut().find(|named| named.host == host) {
            named.calls += 1;
            named.failed += u64::from(failed);
        }
    }
}

/// Whether a request is for another host.
pub(super) fn is_errand(request: &Request) -> bool {
    request.uri().path().starts_with(PREFIX)
}

impl Shared {
    /// One call of another host. What comes of it says nothing about models and budget.
    pub(super) async fn errand(&self, request: Request, open: OpenCall) -> Response {
        let (_key, host, _rest) = parts_of(request.uri().path());
        let host = host.to_owned();
        let sent = match self.errand_url(&host, &request) {
            Ok(url) => self.send(request, url, Way::HostCall).await,
            Err(refusal) => Err(refusal),
        };
        let (answer, class) = match sent {
            Ok(answer) => {
                let failed = !answer.status().is_success();
                self.hosts.count(&host, failed);
                (pass_back(answer, open), if failed { "ext_failed" } else { "ext_ok" })
            }
            Err(refusal) => {
                if let Some(what) = refusal.denial() {
                    self.watched.denials.refused(REFUSED, what);
                } else {
                    self.hosts.count(&host, true);
                }
                (refusal.into_response(), "ext_refused")
            }
        };
        ::metrics::counter!(metrics::GATEWAY_REQUESTS, "class" => class).increment(1);
        answer
    }

    /// The same path at billing: nothing in it may lead to another one.
    fn errand_url(&self, host: &str, request: &Request) -> Result<Url, Refusal> {
        let (key, _host, rest) = parts_of(request.uri().path());
        if !self.key.is(key.as_bytes()) {
            return Err(Refusal::Key(None));
        }
        if !self.hosts.names(host) {
            return Err(Refusal::Host(host.chars().take(253).collect()));
        }
        let path = request.uri().path();
        if path.split('/').any(is_dots) || path.contains('\\') {
            return Err(Refusal::Dots);
        }
        let query = request.uri().query();
        let mut url = self.upstream.base.clone();
        let base = url.path().trim_end_matches('/').trim_end_matches("/v1").to_owned();
        url.set_path(&format!("{base}{PREFIX}{host}{rest}"));
        url.set_query(query);
        Ok(url)
    }
}

/// Key, host, and the rest from its slash on.
fn parts_of(path: &str) -> (&str, &str, &str) {
    let path = path.strip_prefix(PREFIX).unwrap_or_default();
    let (key, path) = path.split_once('/').unwrap_or((path, ""));
    let (host, rest) = path.split_at(path.find('/').unwrap_or(path.len()));
    (key, host, rest)
}

/// However they are written.
fn is_dots(part: &str) -> bool {
    matches!(part.to_ascii_lowercase().replace("%2e", ".").as_str(), "." | "..")
}
