//! Rows other rows need.

use domain::agent_file::{AgentFile, Mode};
use domain::effect::Kind;
use domain::money::MicroUsdc;
use store::contracts::NewContract;
use store::effects::NewEffect;
use store::gigs::NewGig;
use store::runs::NewRun;
use store::{Store, run_tx};
use uuid::Uuid;

/// An agent named `demo`.
pub async fn agent(store: &Store) {
    let spec = AgentFile::parse("name = \"demo\"\n[run]\ncommand = [\"true\"]\n")
        .unwrap()
        .with_defaults(true);
    run_tx!(store, "fixture", |tx| store::agents::put(
        tx,
        &spec,
        Mode::Auto,
        "v1",
        None
    )
    .await)
    .unwrap();
}

/// A gig and the contract made of it.
pub async fn contract(store: &Store, external_id: &str) -> (Uuid, Uuid) {
    let gig = NewGig {
        agent: "demo".to_owned(),
        external_id: format!("gig-{external_id}"),
        title: "a gig".to_owned(),
        description: "what is wanted".to_owned(),
        category: "code".to_owned(),
        skills: Vec::new(),
        budget: Some(MicroUsdc(20_000_000)),
        deadline: None,
        client_name: None,
        deliverables: None,
    };
    run_tx!(store, "fixture", |tx| {
        let (gig_id, _new) = store::gigs::put(tx, &gig).await?;
        let contract = NewContract {
            agent: "demo".to_owned(),
            external_id: external_id.to_owned(),
            gig_id: Some(gig_id),
            proposal_id: None,
            title: "a gig".to_owned(),
            amount: MicroUsdc(20_000_000),
            deadline: None,
            traceparent: None,
        };
        Ok((gig_id, store::contracts::put(tx, &contract).await?.0))
    })
    .unwrap()
}

/// An effect about a contract.
pub fn effect(kind: Kind, natural_key: &str, contract: Uuid, after: Option<Uuid>) -> NewEffect {
    NewEffect {
        agent: "demo".to_owned(),
        kind,
        natural_key: natural_key.to_owned(),
        held: None,
        after,
        payload: serde_json::json!({}),
        gig_id: None,
        contract_id: Some(contract),
        run_id: None,
        worth: domain::money::MicroUsdc::ZERO,
        pause: std::time::Duration::ZERO,
        traceparent: None,
    }
}

/// A job about a contract.
pub fn run(natural_key: &str, contract: Uuid) -> NewRun {
    NewRun {
        agent: "demo".to_owned(),
        kind: domain::run::Kind::Work,
        contract_id: Some(contract),
        gig_id: None,
        natural_key: natural_key.to_owned(),
        version: "v1".to_owned(),
        revision_no: 0,
        priority: 0,
        max_attempts: 3,
        deadline: None,
        timeout: std::time::Duration::from_secs(60),
        budget_micro: 0,
        request: None,
        traceparent: None,
    }
}
