//! Any mixture of the variants the sources document: single things, refusals, webhooks, and bytes that are none of these.
#![expect(clippy::unwrap_used, reason = "test code: helpers unwrap")]

use clawgig::wire::Read;
use clawgig::wire::contract::Message;
use clawgig::wire::gig::{Gig, Proposal};
use clawgig::{Data, Event, GigStatus, micro_to_json};
use proptest::prelude::*;
use serde_json::{Map, Value, json};

/// How one answer is dressed.
#[derive(Clone, Debug)]
struct Dress {
    camel: bool,
    text_numbers: bool,
    nested: bool,
    upper_status: bool,
    extra: bool,
    nulls: bool,
}

fn dress() -> impl Strategy<Value = Dress> {
    any::<[bool; 6]>().prop_map(|flags| Dress {
        camel: flags[0],
        text_numbers: flags[1],
        nested: flags[2],
        upper_status: flags[3],
        extra: flags[4],
        nulls: flags[5],
    })
}

impl Dress {
    fn name(&self, snake: &str) -> String {
        if !self.camel {
            return snake.to_owned();
        }
        let mut parts = snake.split('_');
        let first = parts.next().unwrap_or_default().to_owned();
        parts.fold(first, |name, part| {
            let (head, tail) = part.split_at(1);
            name + &head.to_uppercase() + tail
        })
    }

    fn number(&self, number: Value) -> Value {
        if self.text_numbers {
            json!(number.to_string())
        } else {
            number
        }
    }

    fn status(&self, status: &str) -> Value {
        json!(if self.upper_status {
            status.to_uppercase()
        } else {
            status.to_owned()
        })
    }

    fn whole(&self, fields: Vec<(&str, Value)>) -> Value {
        let mut whole: Map<String, Value> = fields
            .into_iter()
            .map(|(name, value)| (self.name(name), value))
            .collect();
        if self.extra {
            whole.insert("ai_summary_v3".to_owned(), json!({ "deep": [1, null, "x"] }));
        }
        if self.nulls {
            for name in ["deadline", "max_proposals", "attachment_url", "estimated_hours"] {
                whole.entry(self.name(name)).or_insert(Value::Null);
            }
        }
        Value::Object(whole)
    }

    fn gig(&self, id: u32, micro: i64, count: u64) -> Value {
        self.whole(vec![
            ("id", json!(format!("g{id}"))),
            ("title", json!("Parse a file")),
            ("description", json!("Long enough")),
            ("skills_required", json!(["python", "csv"])),
            ("budget_usdc", self.number(micro_to_json(micro))),
            ("proposal_count", self.number(json!(count))),
            ("status", self.status("open")),
        ])
    }

    fn reference(&self, of: &str, id: &str) -> (String, Value) {
        if self.nested {
            (of.to_owned(), json!({ "id": id }))
        } else {
            (self.name(&format!("{of}_id")), json!(id))
        }
    }

    fn with_reference(&self, of: &str, id: &str, fields: Vec<(&str, Value)>) -> Value {
        let mut whole = self.whole(fields);
        let (name, value) = self.reference(of, id);
        whole[name] = value;
        whole
    }
}

/// The wrappings of a single thing.
fn wrapped(how: u8, of: &str, thing: Value) -> Value {
    match how {
        0 => thing,
        1 => json!({ "data": thing }),
        2 => json!({ of: thing }),
        _ => json!({ "success": true, "data": { of: thing } }),
    }
}

/// A list of one, so that single things are read as every list's elements are.
fn one<T: Read>(value: Value, of: &'static str) -> T {
    let page = clawgig::wire::page::read::<T>(&json!({ "data": [value] }), of).unwrap();
    assert_eq!((page.items.len(), page.skipped), (1, 0));
    page.items.into_iter().next().unwrap()
}

proptest! {
    #[test]
    fn a_gig_is_the_same_in_every_dress(
        dress in dress(), how in 0..4_u8, id in 0..1000_u32, micro in 0..1_000_000_000_000_i64, count in 0..1000_u64,
    ) {
        let gig: Gig = one(wrapped(how, "gig", dress.gig(id, micro, count)), "gig");
        prop_assert_eq!(gig.id, format!("g{id}"));
        prop_assert_eq!(gig.budget_micro, Some(micro));
        prop_assert_eq!(gig.proposal_count, Some(count));
        prop_assert_eq!(gig.skills, ["python", "csv"]);
        prop_assert_eq!(gig.status, Some(GigStatus::Open));
        prop_assert_eq!((gig.deadline, gig.max_proposals), (None, None));
    }

    #[test]
    fn a_proposal_and_a_message_are_the_same_in_every_dress(dress in dress(), how in 0..4_u8, micro in 1..1_000_000_000_i64) {
        let amount = dress.number(micro_to_json(micro));
        let fields = vec![("id", json!("p1")), ("proposed_amount_usdc", amount), ("status", dress.status("pending"))];
        let proposal: Proposal = one(wrapped(how, "proposal", dress.with_reference("gig", "g1", fields)), "proposal");
        prop_assert_eq!(proposal.gig_id.as_deref(), Some("g1"));
        prop_assert_eq!(proposal.amount_micro, Some(micro));
        prop_assert_eq!(proposal.status.as_str(), "pending");
        let fields = vec![("id", json!("m1")), ("content", json!("hello"))];
        let message: Message = one(wrapped(how, "message", dress.with_reference("contract", "c1", fields)), "message");
        prop_assert_eq!((message.id.as_str(), message.content.as_str()), ("m1", "hello"));
        prop_assert!(message.attachment.is_none());
    }

    #[test]
    fn a_webhook_is_the_same_in_every_dress(
        dress in dress(), shape in 0..5_u8, micro in 1..1_000_000_000_i64, dashed: bool,
    ) {
        let amount = dress.number(micro_to_json(micro));
        let data = dress.with_reference("contract", "c1", vec![("gig_title", json!("T")), ("amount", amount)]);
        let name = if dashed { "contract_funded" } else { "contract.funded" };
        let mut flat = data.clone();
        flat["type"] = json!(name);
        let body = match shape {
            0 => json!({ "event": name, "timestamp": "2026-03-01T12:00:00.000Z", "data": data }),
            1 => json!({ "type": name, "data": data }),
            2 => json!({ "event": name, "payload": data }),
            3 => json!({ "event": name, "data": data.to_string() }),
            _ => flat,
        };
        let event = Event::parse(body.to_string().as_bytes()).unwrap();
        let Data::ContractFunded(funded) = event.data else {
            return Err(TestCaseError::fail(format!("{body}")));
        };
        prop_assert_eq!(funded.contract_id, "c1");
        prop_assert_eq!(funded.amount_micro, Some(micro));
    }

    #[test]
    fn no_bytes_break_any_reader(body in proptest::collection::vec(any::<u8>(), 0..200)) {
        prop_assert!(clawgig::wire::understand(&body).is_ok());
        let _ = Event::parse(&body);
    }

    #[test]
    fn no_json_breaks_any_reader(value in json_value()) {
        let body = value.to_string();
        prop_assert!(clawgig::wire::understand(body.as_bytes()).is_ok());
        let _ = Event::parse(body.as_bytes());
    }
}

/// JSON made of the words the readers look for.
fn json_value() -> impl Strategy<Value = Value> {
    const WORDS: [&str; 24] = [
        "id",
        "data",
        "gig",
        "contract",
        "contracts",
        "items",
        "total",
        "limit",
        "status",
        "amount_usdc",
        "budget",
        "event",
        "type",
        "error",
        "code",
        "message",
        "retryAfter",
        "ready",
        "missing",
        "api_key",
        "agent_id",
        "contract_id",
        "attachment_url",
        "created_at",
    ];
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        any::<f64>().prop_map(Value::from),
        proptest::sample::select(&WORDS[..]).prop_map(Value::from),
        "[0-9a-zA-Z .:/_-]{0,40}".prop_map(Value::from),
        Just(json!("1e400")),
        Just(json!("-0.0000001")),
        Just(json!("2026-03-01T12:00:00.000Z")),
    ];
    leaf.prop_recursive(4, 40, 6, |inner| {
        let members = proptest::collection::vec((proptest::sample::select(&WORDS[..]), inner.clone()), 0..6);
        prop_oneof![
            proptest::collection::vec(inner, 0..5).prop_map(Value::from),
            members.prop_map(|members| {
                members
                    .into_iter()
                    .map(|(name, value)| (name.to_owned(), value))
                    .collect::<Map<_, _>>()
                    .into()
            }),
        ]
    })
}

#[test]
fn every_reader_understands_something() {
    let gig = json!({ "id": "g1", "title": "T", "status": "open", "ready": true, "success": true, "agent_id": "a",
        "api_key": "cg_0123456789", "url": "https://example.org/x", "name": "n", "gig_id": "g", "contract_id": "c" });
    assert!(clawgig::wire::understand(gig.to_string().as_bytes()).unwrap() >= 12);
    let list = json!({ "data": [gig], "total": 1 });
    assert!(clawgig::wire::understand(list.to_string().as_bytes()).unwrap() >= 7);
}
