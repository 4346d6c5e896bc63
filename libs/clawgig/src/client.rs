//! The client: one method, one HTTP request.

mod account;
mod call;
#[cfg(feature = "hiring")]
mod hiring;
mod hooks;
mod market;
mod work;

use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering};
use std::time::Duration;

use outbound::Url;
use secrecy::{ExposeSecret, SecretString};

pub use hooks::RotatePath;
pub use market::WithdrawForm;

use crate::error::Error;
use crate::rate::RateInfo;

/// Longest a call may take; a setting that decides how late a request can still take effect.
pub const TOTAL_TIMEOUT: Duration = Duration::from_secs(30);
/// Longest an upload may take.
pub const UPLOAD_TIMEOUT: Duration = Duration::from_secs(90);

/// The two families of paths the sources document.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Family {
    /// `/agents/me/…`
    AgentsMe,
    /// `/agent/…`
    Agent,
}

impl Family {
    /// In the order to probe.
    pub const ALL: [Self; 2] = [Self::AgentsMe, Self::Agent];
}

/// A success, with its rate limit headers.
#[derive(Clone, Debug, PartialEq)]
pub struct Reply<T> {
    /// What was asked for.
    pub value: T,
    /// Its rate limit headers.
    pub rate: RateInfo,
}

impl<T> Reply<T> {
    /// The same headers with another value.
    pub fn map<U>(self, f: impl FnOnce(T) -> U) -> Reply<U> {
        Reply {
            value: f(self.value),
            rate: self.rate,
        }
    }
}

/// A client for one agent's key. Cheap to clone; clones share the path family found.
#[derive(Clone, Debug)]
pub struct Client {
    http: outbound::Client,
    base: Url,
    key: Option<SecretString>,
    family: Arc<AtomicU8>,
}

/// Settings that fit the marketplace: connect 5 s, total 30 s, silence up to an upload's 90 s.
#[must_use]
pub fn http(guard: outbound::Guard) -> outbound::Builder {
    outbound::Client::builder("marketplace")
        .total_timeout(Some(TOTAL_TIMEOUT))
        .read_timeout(UPLOAD_TIMEOUT)
        .guard(guard)
}

impl Client {
    /// A client for the API at `base` (for example `https://clawgig.ai/api/v1`). Without a key only
    /// [`Client::register`] and the public reads work.
    ///
    /// # Errors
    /// [`Error::Invalid`] when the base is no http URL or the key cannot be one.
    pub fn new(base: &str, key: Option<SecretString>, http: outbound::Client) -> Result<Self, Error> {
        let invalid = |reason: &str| Error::Invalid {
            call: "new",
            reason: reason.to_owned(),
        };
        let base = Url::parse(base.trim().trim_end_matches('/')).map_err(|_| invalid("the base address is no url"))?;
        if !matches!(base.scheme(), "http" | "https") || base.cannot_be_a_base() {
            return Err(invalid("the base address must be http or https"));
        }
        if key.as_ref().is_some_and(|key| !is_key(key)) {
            return Err(invalid("the api key does not look like cg_…; set the right secret"));
        }
        Ok(Self {
            http,
            base,
            key,
            family: Arc::new(AtomicU8::new(0)),
        })
    }

    /// The same client with another key (after registering or regenerating).
    ///
    /// # Errors
    /// [`Error::Invalid`] when the key cannot be one.
    pub fn with_key(&self, key: SecretString) -> Result<Self, Error> {
        Self::new(self.base.as_str(), Some(key), self.http.clone())
    }

    /// The path family found by [`Client::probe_family`], or by a list of the agent's own that answered 404 or 405 in
    /// one family, after which the other is used. While `None`, `/agents/me` is used.
    #[must_use]
    pub fn family(&self) -> Option<Family> {
        match self.family.load(Ordering::Relaxed) {
            1 => Some(Family::AgentsMe),
            2 => Some(Family::Agent),
            _ => None,
        }
    }

    /// Sets the path family, for example the one found by another process.
    pub fn set_family(&self, family: Option<Family>) {
        let code = match family {
            None => 0,
            Some(Family::AgentsMe) => 1,
            Some(Family::Agent) => 2,
        };
        self.family.store(code, Ordering::Relaxed);
    }

    /// A read of `first`'s family was answered "no such path": from now on the other is used. Two readers that learn it at
    /// once agree, because each says which family failed.
    fn turn_family(&self, first: Option<&String>) {
        let failed = if first.is_some_and(|first| first == "agent") {
            Family::Agent
        } else {
            Family::AgentsMe
        };
        self.set_family(Some(match failed {
            Family::AgentsMe => Family::Agent,
            Family::Agent => Family::AgentsMe,
        }));
    }

    fn family_or_default(&self) -> Family {
        self.family().unwrap_or(Family::AgentsMe)
    }
}

/// `^cg_[A-Za-z0-9_-]{6,}$`; lengths and inner prefixes differ between sources.
fn is_key(key: &SecretString) -> bool {
    let fits = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'_' | b'-');
    let rest = key.expose_secret().strip_prefix("cg_");
    rest.is_some_and(|rest| (6..=256).contains(&rest.len()) && rest.bytes().all(fits))
}
