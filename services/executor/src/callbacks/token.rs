//! Signed addresses: `RUN.ATTEMPT.EXPIRY.SIGNATURE`, for one purpose each.
//!
//! The key is made at start and never leaves the process: addresses of an executor that is gone are worth nothing to the
//! one that comes after it.

use std::io;

use aws_lc_rs::hmac::{self, HMAC_SHA256};
use aws_lc_rs::rand::SystemRandom;

/// Another kind of token would begin with another word.
const VERSION: &str = "steward callback, version 1";

pub(super) struct Key(hmac::Key);

/// What an address is for.
pub(super) enum Purpose<'a> {
    Lines,
    Upload,
    /// The one file of that path.
    Input(&'a str),
}

impl Key {
    pub(super) fn random() -> io::Result<Self> {
        let key = hmac::Key::generate(HMAC_SHA256, &SystemRandom::new());
        key.map(Self)
            .map_err(|_unspecified| io::Error::other("the system gives no randomness for signing addresses"))
    }

    pub(super) fn sign(&self, purpose: &Purpose<'_>, run_id: &str, attempt: u32, expires: i64) -> String {
        let claim = format!("{run_id}.{attempt}.{expires}");
        let signature = hmac::sign(&self.0, signed(purpose, &claim).as_bytes());
        format!("{claim}.{}", const_hex::encode(signature))
    }

    /// Whose it is, if it is signed for this purpose and has not run out. Compared in constant time.
    pub(super) fn read(&self, purpose: &Purpose<'_>, token: &str, now: i64) -> Option<(String, u32)> {
        let (claim, signature) = token.rsplit_once('.')?;
        let signature = const_hex::decode(signature).ok()?;
        hmac::verify(&self.0, signed(purpose, claim).as_bytes(), &signature).ok()?;
        let mut parts = claim.rsplitn(3, '.');
        let expires: i64 = parts.next()?.parse().ok()?;
        let attempt = parts.next()?.parse().ok()?;
        let run_id = parts.next()?;
        (expires > now).then(|| (run_id.to_owned(), attempt))
    }
}

fn signed(purpose: &Purpose<'_>, claim: &str) -> String {
    match purpose {
        Purpose::Lines => format!("{VERSION}\0lines\0{claim}"),
        Purpose::Upload => format!("{VERSION}\0upload\0{claim}"),
        Purpose::Input(path) => format!("{VERSION}\0input\0{claim}\0{path}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_is_good_for_its_purpose_its_attempt_and_its_time_only() {
        let (key, other) = (Key::random().unwrap(), Key::random().unwrap());
        let token = key.sign(&Purpose::Input("a/b"), "run-1", 2, 100);
        assert_eq!(
            key.read(&Purpose::Input("a/b"), &token, 99),
            Some(("run-1".to_owned(), 2))
        );
        for purpose in [Purpose::Input("a/c"), Purpose::Lines, Purpose::Upload] {
            assert_eq!(key.read(&purpose, &token, 99), None);
        }
        assert_eq!(key.read(&Purpose::Input("a/b"), &token, 100), None, "it ran out");
        assert_eq!(
            other.read(&Purpose::Input("a/b"), &token, 99),
            None,
            "another process has another key"
        );
        for forged in [
            token.replace("run-1.2", "run-1.3"),
            token.replace("run-1", "run-2"),
            token.replace(".100.", ".900."),
            String::new(),
            "...".to_owned(),
        ] {
            assert_eq!(key.read(&Purpose::Input("a/b"), &forged, 99), None, "{forged}");
        }
    }
}
