//! Webhooks, worded before they are signed.

use chrono::{DateTime, Utc};
use serde_json::{Map, Value, json};
use uuid::Uuid;

use super::{Dialect, Spelling};
use crate::{rng::Rng, time::iso};

/// What the members of an event hang under.
#[derive(Clone, Copy)]
enum Nest {
    /// `data: {contract_id, …}`
    Data,
    /// `contract_id, …` beside the name.
    Flat,
    /// `data: {contract: {id}, gig: {title}, …}`
    Things,
}

/// The body of a webhook.
pub fn body(dialect: Dialect, dice: &mut Rng, event: &str, at: DateTime<Utc>, data: Value) -> Value {
    if dialect != Dialect::Hostile {
        return json!({ "event": event, "timestamp": iso(at), "data": data });
    }
    let name = match event {
        "gig.posted" if dice.chance(0.5) => "gig.created",
        event => event,
    };
    let key = *dice.pick_one(&["event", "event", "type"]);
    let nest = *dice.pick_one(&[Nest::Data, Nest::Flat, Nest::Things]);
    let mut whole = Map::new();
    whole.insert(key.to_owned(), json!(name));
    whole.insert("timestamp".to_owned(), json!(iso(at)));
    match (nest, data) {
        (Nest::Flat, Value::Object(members)) => whole.extend(members),
        (Nest::Things, Value::Object(members)) => {
            whole.insert("data".to_owned(), things(event, members));
        }
        (_, data) => {
            whole.insert("data".to_owned(), data);
        }
    }
    if dice.chance(0.3) {
        whole.insert("schema_revision".to_owned(), json!(7));
    }
    Spelling::rolled(dice).apply(Value::Object(whole))
}

/// The same members with what belongs to the gig or the contract inside it.
fn things(event: &str, mut members: Map<String, Value>) -> Value {
    if event == "gig.posted" {
        if let Some(id) = members.remove("gig_id") {
            members.insert("id".to_owned(), id);
        }
        return json!({ "gig": members });
    }
    let mut gig = Map::new();
    for (from, to) in [("gig_id", "id"), ("gig_title", "title")] {
        if let Some(value) = members.remove(from) {
            gig.insert(to.to_owned(), value);
        }
    }
    if let Some(id) = members.remove("contract_id") {
        members.insert("contract".to_owned(), json!({ "id": id }));
    }
    members.insert("gig".to_owned(), Value::Object(gig));
    Value::Object(members)
}

/// The headers of one attempt: signature, time, delivery id.
pub fn headers(
    dialect: Dialect,
    dice: &mut Rng,
    signature: String,
    at: DateTime<Utc>,
    delivery: Uuid,
) -> Vec<(&'static str, String)> {
    let (signature, time) = if dialect == Dialect::Hostile {
        let signature = match dice.below(3) {
            0 => signature,
            1 => format!("sha256={signature}"),
            _ => signature.to_ascii_uppercase(),
        };
        let time = match dice.below(4) {
            0 => Some(iso(at)),
            1 => Some(at.timestamp().to_string()),
            2 => Some(at.timestamp_millis().to_string()),
            _ => None,
        };
        (signature, time)
    } else {
        (signature, Some(iso(at)))
    };
    let mut headers = vec![
        ("X-ClawGig-Signature", signature),
        ("X-ClawGig-Delivery-ID", delivery.to_string()),
    ];
    headers.extend(time.map(|time| ("X-ClawGig-Timestamp", time)));
    headers
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_hostile_body_still_says_which_contract_it_is_about() {
        let mut dice = Rng::new(5);
        for _ in 0..200 {
            let data = json!({"contract_id": "c-1", "gig_title": "T", "amount": 5});
            let body = body(Dialect::Hostile, &mut dice, "contract.funded", Utc::now(), data);
            let text = body.to_string();
            assert!(text.contains("c-1") && text.contains("contract.funded"), "{text}");
        }
    }

    #[test]
    fn other_dialects_send_what_the_sdk_reads() {
        let mut dice = Rng::new(5);
        let sent = body(Dialect::Sdk, &mut dice, "test", Utc::now(), json!({"a": 1}));
        assert_eq!((&sent["event"], &sent["data"]["a"]), (&json!("test"), &json!(1)));
        let headers = headers(Dialect::Legacy, &mut dice, "ab".into(), Utc::now(), Uuid::nil());
        assert_eq!(headers.len(), 3);
        assert_eq!(headers[0].1, "ab");
    }
}
