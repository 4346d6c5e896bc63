use super::*;

fn arrival(agent: &str, delivery: Option<&str>, body: &'static str) -> Arrival {
    Arrival {
        id: Uuid::now_v7(),
        agent: agent.to_owned(),
        delivery_id: delivery.map(str::to_owned),
        body: Bytes::from_static(body.as_bytes()),
        stale: false,
        sent_at: None,
        traceparent: None,
    }
}

fn decided(arrivals: &[Arrival], known: &[(&str, Keys)]) -> Vec<bool> {
    let keys: Vec<Keys> = arrivals
        .iter()
        .map(|arrival| Keys::of(&arrival.body, arrival.delivery_id.as_deref()))
        .collect();
    let known = known
        .iter()
        .flat_map(|(agent, keys)| keys.each().map(|key| (*agent, key)).collect::<Vec<_>>())
        .collect();
    let outcomes = decide(arrivals, &keys, known);
    outcomes.into_iter().map(|outcome| outcome == Outcome::Stored).collect()
}

#[test]
fn a_repeated_delivery_id_or_body_is_stored_once_per_agent() {
    let batch = [
        arrival("a", Some("1"), "x"),
        arrival("a", Some("1"), "y"),
        arrival("a", Some("2"), "x"),
        arrival("b", Some("1"), "x"),
        arrival("a", None, "z"),
        arrival("a", None, "z"),
        arrival("a", Some(""), "w"),
    ];
    assert_eq!(decided(&batch, &[]), [true, false, false, true, true, false, true]);
}

#[test]
fn what_was_not_stored_takes_no_key_from_what_follows() {
    let old = Keys::of(b"old", None);
    // A replay of a stored body under the delivery id of a webhook that is still to come.
    let batch = [arrival("a", Some("next"), "old"), arrival("a", Some("next"), "new")];
    assert_eq!(decided(&batch, &[("a", old)]), [false, true]);
}

#[test]
fn a_delivery_id_is_no_body() {
    assert_ne!(Keys::of(b"x", Some("x")).delivery, Some(Keys::of(b"x", None).body));
}
