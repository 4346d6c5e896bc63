//! What of an agent's headers is passed on.

use http::header::{
    AUTHORIZATION, CONNECTION, CONTENT_LENGTH, COOKIE, FORWARDED, HOST, HeaderMap, HeaderName, PROXY_AUTHENTICATE,
    PROXY_AUTHORIZATION, TE, TRAILER, TRANSFER_ENCODING, UPGRADE,
};
use outbound::headers;

use super::refusal::Refusal;
use super::{REFUSED, Shared};

/// What may not pass a proxy, either way.
pub(super) const HOP_BY_HOP: [HeaderName; 7] = [
    CONNECTION,
    PROXY_AUTHENTICATE,
    PROXY_AUTHORIZATION,
    TE,
    TRAILER,
    TRANSFER_ENCODING,
    UPGRADE,
];
/// What an agent may not say: who it is, is added here.
const OURS: [&str; 7] = [
    "x-api-key",
    "api-key",
    "x-goog-api-key",
    "traceparent",
    "tracestate",
    "baggage",
    "keep-alive",
];
impl Shared {
    /// Only the run itself is let through to the models.
    pub(super) fn admit(&self, given: &HeaderMap) -> Result<(), Refusal> {
        let shown = self.key.shown(given);
        if !shown.own {
            return Err(Refusal::Key(shown.strange));
        }
        Ok(())
    }

    /// Whoever brings a key that is not the run's hoped to speak as somebody else. It is not passed on, and that is told.
    pub(super) fn look_at_credentials(&self, given: &HeaderMap) {
        if let Some(name) = self.key.shown(given).strange {
            let what =
                format!("a credential that is not this run's, in the header {name} of a call; it was not passed on");
            self.watched.denials.refused(REFUSED, what);
        }
    }

    /// The agent's headers without those that are ours to set.
    pub(super) fn onward(&self, given: &HeaderMap) -> headers::HeaderMap {
        let named: Vec<String> = given
            .get_all(CONNECTION)
            .iter()
            .filter_map(|value| value.to_str().ok())
            .flat_map(|value| value.split(',').map(|name| name.trim().to_ascii_lowercase()))
            .collect();
        let mut onward = headers::HeaderMap::new();
        for (name, value) in given {
            let dropped = HOP_BY_HOP.contains(name)
                || [HOST, AUTHORIZATION, COOKIE, FORWARDED, CONTENT_LENGTH].contains(name)
                || OURS.contains(&name.as_str())
                || named.iter().any(|other| other == name.as_str())
                || ["x-forwarded-", "x-steward-"]
                    .iter()
                    .any(|prefix| name.as_str().starts_with(prefix));
            if !dropped {
                onward.append(name.clone(), value.clone());
            }
        }
        onward.insert(AUTHORIZATION, self.credential.clone());
        if let Some(parent) = &self.traceparent {
            onward.insert("traceparent", parent.clone());
        }
        onward
    }
}
