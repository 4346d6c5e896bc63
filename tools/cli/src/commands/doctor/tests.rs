use super::*;

fn provider(models: &[&str], has_key: bool) -> v1::Provider {
    v1::Provider {
        name: "p".to_owned(),
        models: models.iter().map(|model| (*model).to_owned()).collect(),
        has_key,
        outage: None,
    }
}

#[test]
fn a_model_needs_a_provider_with_a_key_and_a_price() {
    let agent = v1::Agent {
        name: "demo".to_owned(),
        models: vec!["gpt-a".to_owned(), "other".to_owned()],
        ..v1::Agent::default()
    };
    let price = |model: &str| v1::Price {
        model: model.to_owned(),
        ..v1::Price::default()
    };
    let both = vec![price("gpt-a"), price("other")];
    let outcomes = |books: Books| models(&agent, &books).map(|line| line.outcome);
    assert_eq!(outcomes(Ok((vec![provider(&["*"], true)], both.clone()))), ["ok", "ok"]);
    assert_eq!(
        outcomes(Ok((vec![provider(&["gpt-*"], true)], both.clone()))),
        ["fail", "ok"]
    );
    assert_eq!(outcomes(Ok((vec![provider(&["*"], false)], both))), ["fail", "ok"]);
    let one = models(&agent, &Ok((vec![provider(&["*"], true)], vec![price("gpt-a")])));
    assert!(one[1].fix.starts_with("steward prices set other"), "{}", one[1].fix);
    assert_eq!(outcomes(Err("away".to_owned())), ["skip", "skip"]);
    let family = v1::Agent {
        models: vec!["gpt-*".to_owned()],
        ..agent.clone()
    };
    let priced = models(&family, &Ok((vec![provider(&["gpt-*"], true)], vec![price("gpt-a")])));
    assert_eq!(priced.map(|line| line.outcome), ["ok", "ok"]);
}

#[test]
fn an_agent_at_rest_is_told_with_its_reason_and_is_no_failure() {
    let mut agent = v1::Agent {
        name: "demo".to_owned(),
        ..v1::Agent::default()
    };
    assert!(rests(&agent).is_none());
    (agent.winding_down, agent.rest_reason) = (true, "moving".to_owned());
    let line = rests(&agent).unwrap();
    assert_eq!(line.outcome, "skip");
    assert!(line.detail.contains("winding down (moving)"), "{}", line.detail);
    assert_eq!(line.fix, "steward agents resume demo");
}
