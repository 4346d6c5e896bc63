//! How an agent behind an HTTP endpoint knows that a job comes from its own Steward: a key of its own, and a token for
//! each attempt signed with it.
//!
//! Keys follow from the token executors show to the scheduler, so that nobody has to keep one more secret: whoever
//! changes that token changes every agent's key.

use aws_lc_rs::hmac;
use chrono::{DateTime, Utc};
use secrecy::{ExposeSecret as _, SecretString};

/// What keys are made for; another purpose would have another word.
const PURPOSE: &str = "steward agent endpoint key, version 1";
/// The version of the token.
const VERSION: &str = "v1";

/// The key of one agent, as its endpoint is configured with it.
#[must_use]
pub fn key(executor_token: &SecretString, agent: &str) -> SecretString {
    let root = executor_token.expose_secret();
    SecretString::from(signature(root, &format!("{PURPOSE}\0{agent}")))
}

/// The token of one attempt: `v1.RUN.ATTEMPT.EXPIRY.SIGNATURE`, where the expiry is in seconds since 1970 and the
/// signature is the HMAC-SHA256, in hex, of everything before its dot.
#[must_use]
pub fn token(key: &SecretString, run_id: &str, attempt: u32, expires: DateTime<Utc>) -> SecretString {
    let signed = format!("{VERSION}.{run_id}.{attempt}.{}", expires.timestamp());
    let signature = signature(key.expose_secret(), &signed);
    SecretString::from(format!("{signed}.{signature}"))
}

fn signature(key: &str, text: &str) -> String {
    let key = hmac::Key::new(hmac::HMAC_SHA256, key.as_bytes());
    let digest = hmac::sign(&key, text.as_bytes());
    digest.as_ref().iter().map(|byte| format!("{byte:02x}")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_is_what_the_documentation_says_it_is() {
        let root = SecretString::from("executor-token");
        let own = key(&root, "demo");
        assert_ne!(own.expose_secret(), key(&root, "other").expose_secret());
        assert_eq!(own.expose_secret().len(), 64);
        let expires = DateTime::from_timestamp(1_900_000_000, 0).unwrap();
        let token = token(&own, "run-1", 2, expires);
        let (signed, mac) = token.expose_secret().rsplit_once('.').unwrap();
        assert_eq!(signed, "v1.run-1.2.1900000000");
        let good = hmac::Key::new(hmac::HMAC_SHA256, own.expose_secret().as_bytes());
        let bytes: Vec<u8> = (0..mac.len())
            .step_by(2)
            .map(|at| u8::from_str_radix(&mac[at..at + 2], 16).unwrap())
            .collect();
        assert!(hmac::verify(&good, signed.as_bytes(), &bytes).is_ok());
    }
}
