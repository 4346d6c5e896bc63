//! What bodies are understood as.

use serde_json::json;

use super::*;

fn parse(value: &Value) -> Result<Event, Error> {
    Event::parse(value.to_string().as_bytes())
}

fn data(event: &str, data: Value) -> Data {
    let body = json!({"event": event, "timestamp": "2026-03-01T12:00:00.000Z", "data": data});
    let event = parse(&body).unwrap();
    assert_eq!(event.timestamp.map(|at| at.timestamp()), Some(1_772_366_400));
    assert_eq!(event.unknown_fields, 0, "{}", event.name);
    event.data
}

#[test]
fn every_documented_event_is_read_whole() {
    let gig = json!({
        "gig_id": "g1", "title": "Parse a CSV", "description": "Long", "category": "code", "budget": 25.5,
        "skills_required": ["python", "csv"], "deadline": "2026-04-01", "proposals_count": 3,
        "client_name": "Ada", "submit_proposal_url": "https://x/y",
    });
    let Data::GigPosted(gig) = data("gig.posted", gig) else {
        panic!("no gig")
    };
    assert_eq!((gig.gig_id.as_str(), gig.budget_micro), ("g1", Some(25_500_000)));
    assert_eq!((gig.skills.len(), gig.proposal_count), (2, Some(3)));
    assert!(gig.deadline.is_some());

    let accepted = json!({
        "contract_id": "c1", "gig_id": "g1", "gig_title": "T", "amount": 10, "client_name": "Ada",
        "deliver_url": "https://x/y",
    });
    let Data::ProposalAccepted(accepted) = data("proposal.accepted", accepted) else {
        panic!("no")
    };
    assert_eq!(
        (accepted.contract_id.as_str(), accepted.gig_id.as_deref()),
        ("c1", Some("g1"))
    );
    assert_eq!(accepted.amount_micro, Some(10_000_000));

    let funded = json!({
        "contract_id": "c1", "gig_title": "T", "amount": 25.5, "message": "Escrow funded",
        "deliver_url": "https://x/y",
    });
    let Data::ContractFunded(funded) = data("contract.funded", funded) else {
        panic!("no")
    };
    assert_eq!((funded.amount_micro, funded.gig_id), (Some(25_500_000), None));

    let told = json!({"contract_id": "c1", "gig_title": "T", "message": "m"});
    assert!(matches!(data("contract.delivered", told), Data::ContractDelivered(_)));

    let approved = json!({
        "contract_id": "c1", "gig_title": "T", "amount_earned": 225.0, "platform_fee": 25, "message": "m",
    });
    let Data::ContractApproved(approved) = data("contract.approved", approved) else {
        panic!("no")
    };
    assert_eq!(approved.amount_earned_micro, Some(225_000_000));
    assert_eq!(approved.platform_fee_micro, Some(25_000_000));

    let disputed = json!({"contract_id": "c1", "gig_title": "T", "dispute_reason": "late", "message": "m"});
    let Data::ContractDisputed(disputed) = data("contract.disputed", disputed) else {
        panic!("no")
    };
    assert_eq!(disputed.detail.as_deref(), Some("late"));

    let resolved = json!({"contract_id": "c1", "gig_title": "T", "resolution": "paid", "message": "m"});
    let Data::ContractResolved(resolved) = data("contract.resolved", resolved) else {
        panic!("no")
    };
    assert_eq!(resolved.detail.as_deref(), Some("paid"));

    let message = json!({
        "contract_id": "c1", "gig_title": "T", "sender_name": "Bot", "sender_type": "agent",
        "message": "hello", "reply_url": "https://x/y",
    });
    let Data::MessageReceived(message) = data("message.received", message) else {
        panic!("no")
    };
    assert!(message.from_agent && message.text == "hello");

    let review = json!({"contract_id": "c1", "gig_title": "T", "rating": 4.5, "comment": "c", "message": "m"});
    let Data::ReviewReceived(review) = data("review.received", review) else {
        panic!("no")
    };
    assert_eq!(review.rating_centi, Some(450));
}

#[test]
fn shape_and_casing_do_not_change_what_is_understood() {
    let accepted = ProposalAccepted {
        contract_id: "c1".to_owned(),
        gig_id: Some("g1".to_owned()),
        proposal_id: None,
        gig_title: Some("T".to_owned()),
        amount_micro: Some(10_000_000),
        client_name: None,
    };
    let inner = json!({"contractId": "c1", "gigId": "g1", "gigTitle": "T", "amount": "10.0"});
    let nested = json!({"contract": {"id": "c1", "amount_usdc": 10}, "gig": {"id": "g1", "title": "T"}});
    let flat = json!({
        "type": "proposal.accepted", "contract_id": "c1", "gig_id": "g1", "gig_title": "T", "amount": 10.0,
    });
    for body in [
        json!({"event": "proposal.accepted", "data": inner}),
        json!({"type": "proposal_accepted", "data": nested}),
        json!({"event": "Proposal.Accepted", "data": inner.to_string()}),
        json!({"event": "proposal.accepted", "payload": inner, "data": null}),
        flat,
    ] {
        let read = parse(&body).unwrap();
        assert_eq!(read.data, Data::ProposalAccepted(accepted.clone()), "{body}");
    }
}

#[test]
fn a_new_gig_is_read_under_both_names_flat_and_nested() {
    for body in [
        json!({"event": "gig.created", "data": {"gig_id": "g1", "budget": 3}}),
        json!({"event": "gig.posted", "data": {"id": "g1", "budget_usdc": "3"}}),
        json!({"event": "gig.posted", "data": {"gig": {"id": "g1", "budget": 3}}}),
        json!({"type": "gig.created", "gig": {"gigId": "g1", "budgetUsdc": 3}}),
    ] {
        let Data::GigPosted(gig) = parse(&body).unwrap().data else {
            panic!("{body}")
        };
        assert_eq!(
            (gig.gig_id.as_str(), gig.budget_micro),
            ("g1", Some(3_000_000)),
            "{body}"
        );
    }
}

#[test]
fn unknown_events_are_kept_with_what_they_are_about() {
    for (name, data) in [
        ("work.revision_requested", json!({"contract_id": "c1", "extra": [1, 2]})),
        ("payment.received", json!({"contract": {"id": "c1"}})),
    ] {
        let event = parse(&json!({"event": name, "data": data})).unwrap();
        let about = Data::Unknown {
            contract_id: Some("c1".to_owned()),
            gig_id: None,
        };
        assert_eq!((event.name.as_str(), event.data), (name, about));
    }
    let seen = crate::drift::take();
    assert!(
        seen.iter()
            .any(|seen| seen.what == "event" && seen.name == "work.revision_requested")
    );
}

#[test]
fn a_test_delivery_needs_nothing() {
    assert_eq!(parse(&json!({"event": "test"})).unwrap().data, Data::Test);
    assert_eq!(
        parse(&json!({"event": "webhook.test", "data": {"x": 1}})).unwrap().data,
        Data::Test
    );
}

#[test]
fn unknown_fields_are_counted_and_harmless() {
    let body = json!({"event": "contract.funded", "data": {"contract_id": "c1", "surprise": {"a": 1}}});
    let event = parse(&body).unwrap();
    assert_eq!(event.unknown_fields, 1);
    assert!(matches!(event.data, Data::ContractFunded(_)));
}

#[test]
fn what_is_no_event_says_so() {
    assert_eq!(Event::parse(b"{"), Err(Error::NotAnObject));
    assert_eq!(Event::parse(b"[]"), Err(Error::NotAnObject));
    assert_eq!(Event::parse("\u{feff}{}".as_bytes()), Err(Error::NotAnObject));
    assert_eq!(parse(&json!({"data": {}})), Err(Error::Nameless));
    let missing = Error::Missing {
        event: "contract.funded",
        field: "contract_id",
    };
    assert_eq!(
        parse(&json!({"event": "contract.funded", "data": {}})),
        Err(missing.clone())
    );
    let evil = json!({"event": "contract.funded", "data": {"contract_id": "../../gigs"}});
    assert_eq!(parse(&evil), Err(missing));
}

#[test]
fn an_amount_that_cannot_be_read_is_absent_not_zero() {
    let body = json!({"event": "contract.funded", "data": {"contract_id": "c1", "amount": "lots"}});
    let Data::ContractFunded(funded) = parse(&body).unwrap().data else {
        panic!("no")
    };
    assert_eq!(funded.amount_micro, None);
}
