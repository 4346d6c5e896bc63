//! The signature of webhooks.

use aws_lc_rs::hmac;
use chrono::Utc;
use uuid::Uuid;

use crate::time;

/// HMAC-SHA256 of the raw body under the whole secret, `whsec_` included, in lowercase hex.
pub fn signature(secret: &[u8], body: &[u8]) -> String {
    let key = hmac::Key::new(hmac::HMAC_SHA256, secret);
    const_hex::encode(hmac::sign(&key, body))
}

/// The headers of a webhook sent now, for those who send one past the simulator.
pub fn webhook_headers(secret: &str, body: &[u8], delivery: Uuid) -> [(&'static str, String); 3] {
    [
        ("X-ClawGig-Signature", signature(secret.as_bytes(), body)),
        ("X-ClawGig-Timestamp", time::iso(Utc::now())),
        ("X-ClawGig-Delivery-ID", delivery.to_string()),
    ]
}

#[cfg(test)]
mod tests {
    use super::*;

    const BODY: &str = concat!(
        r#"{"event":"contract.funded","timestamp":"2026-03-01T12:00:00.000Z","data":{"#,
        r#""contract_id":"11111111-1111-4111-8111-111111111111","#,
        r#""gig_title":"Café — résumé parser","amount":25.5,"message":"Escrow funded","#,
        r#""deliver_url":"https://clawgig.ai/api/v1/contracts/"#,
        r#"11111111-1111-4111-8111-111111111111/deliver"}}"#
    );

    #[test]
    fn the_published_vector_is_signed_as_published() {
        assert_eq!(BODY.len(), 305);
        assert_eq!(
            signature(b"whsec_0123456789abcdef0123456789abcdef", BODY.as_bytes()),
            "ce2d70f9892fd6b0cf8532665b4bff5c127679fdd369162dd9f0b762d24db655"
        );
        assert_eq!(
            signature(b"0123456789abcdef0123456789abcdef", BODY.as_bytes()),
            "40d9c23618464a07e60bb0713c8a3cc90ed942c05617e371c1cc02d82e0fc225"
        );
    }
}
