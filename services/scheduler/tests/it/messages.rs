//! Messages nobody wrote by hand: bounded, never to a bare acknowledgement, never in a dispute, and a human is told.

use domain::agent_file::{AgentFile, Mode};
use domain::run::Kind;
use rpc::v1::complete_request::Outcome;
use serde_json::{Value, json};
use store::run_tx;
use testkit::eventually;
use uuid::Uuid;

use crate::desk::{Bench, PATIENCE};
use crate::floor::{self, Hand};
use crate::ledger::Ledger;

const OURS: &str = "scheduler.messages WHERE side = 'us'";
const TOLD: &str = "scheduler.notices WHERE kind = 'messages' AND resolved_at IS NULL";

async fn replies(bench: &Bench, how: &str) {
    let text = format!("name = \"demo\"\n[run]\ncommand = [\"true\"]\n[messages]\nreply = \"{how}\"\n");
    let spec = AgentFile::parse(&text).unwrap().with_defaults(true);
    run_tx!(bench.desk.store, "fixture", |tx| {
        store::agents::put(tx, &spec, Mode::Auto, "v1", None).await
    })
    .unwrap();
}

/// Somebody writes to us; answers what became of it.
async fn told(bench: &Bench, contract: &str, sender: &str, text: &str) -> String {
    let data = json!({
        "contract_id": contract, "message_id": Uuid::now_v7().to_string(), "sender_type": sender, "message": text,
    });
    bench.told("message.received", data).await
}

/// A funded contract without work, known by the marketplace's id too.
async fn funded(bench: &Bench) -> (String, Uuid) {
    let (external, contract) = bench.contract().await;
    bench
        .change(&format!(
            "UPDATE scheduler.contracts SET state = 'funded', funding_confirmed = TRUE WHERE id = '{contract}'"
        ))
        .await;
    (external, contract)
}

fn reply(text: &str) -> Outcome {
    Outcome::ResultJson(json!({ "type": "result", "text": text }).to_string())
}

#[tokio::test]
async fn two_answering_machines_stop_at_the_days_bound_and_a_human_is_told() {
    let bench = Bench::new().await;
    replies(&bench, "agent").await;
    let channel = floor::serve(&bench, &Ledger::default()).await;
    bench.work();
    let (external, _contract) = funded(&bench).await;
    let bound = domain::message::MOST_A_DAY;
    for round in 0..bound {
        // The other side is an agent that answers whatever we say.
        let echo = json!({ "content": format!("What about number {round}?"), "sender_type": "agent" });
        bench
            .market
            .post(&format!("/control/contracts/{external}/message"), echo)
            .await;
        assert_eq!(
            told(&bench, &external, "agent", &format!("What about number {round}?")).await,
            "message: question"
        );
        let mut hand = Hand::new(&channel).await;
        let job = hand.assignment().await;
        hand.complete(&job, reply(&format!("Number {round} is as good as any.")), Vec::new())
            .await
            .unwrap();
        eventually(PATIENCE, "the answer", async || bench.count(OURS).await == round + 1)
            .await
            .unwrap();
    }
    assert_eq!(bench.count(TOLD).await, 0);
    for _ in 0..3 {
        told(&bench, &external, "agent", "And what about the next?").await;
    }
    assert_eq!(
        bench
            .count("scheduler.runs WHERE kind = 'reply' AND state <> 'succeeded'")
            .await,
        0
    );
    assert_eq!(bench.count(OURS).await, bound);
    assert_eq!(bench.count(TOLD).await, 1, "one notice, however often they ask");
    let seen = bench.market.get(&format!("/control/contracts/{external}")).await;
    let ours = |message: &&Value| {
        !message["content"]
            .as_str()
            .unwrap_or_default()
            .starts_with("What about")
    };
    let sent = seen["messages"].as_array().unwrap().iter().filter(ours).count();
    assert_eq!(i64::try_from(sent).unwrap(), bound, "{seen}");
}

#[tokio::test]
async fn what_an_agent_says_on_its_way_ends_at_the_same_bound() {
    let bench = Bench::new().await;
    let channel = floor::serve(&bench, &Ledger::default()).await;
    let (contract, _run) = bench.run(Kind::Reply, 0).await;
    let full = format!(
        "INSERT INTO scheduler.messages (id, contract_id, side, natural_key, body)
         SELECT gen_random_uuid(), '{contract}', 'us', 'm-' || n, 'text' FROM generate_series(1, 20) n"
    );
    bench.change(&full).await;
    let mut hand = Hand::new(&channel).await;
    let job = hand.assignment().await;
    hand.complete(&job, reply("One more."), Vec::new()).await.unwrap();
    assert_eq!(bench.count("scheduler.effects WHERE kind = 'message'").await, 0);
    assert_eq!(bench.count(TOLD).await, 1);
}

#[tokio::test]
async fn a_bare_acknowledgement_and_a_dispute_are_never_answered() {
    let bench = Bench::new().await;
    for how in ["ack", "agent"] {
        replies(&bench, how).await;
        let (external, contract) = funded(&bench).await;
        let class = told(
            &bench,
            &external,
            "client",
            "Thank you, your message arrived and is taken into account.",
        )
        .await;
        assert_eq!(class, "message: acknowledgement");
        bench
            .change(&format!(
                "UPDATE scheduler.contracts SET state = 'disputed' WHERE id = '{contract}'"
            ))
            .await;
        told(&bench, &external, "client", "When will you answer?").await;
    }
    assert_eq!(bench.count("scheduler.effects WHERE kind = 'message'").await, 0);
    assert_eq!(bench.count("scheduler.runs WHERE kind = 'reply'").await, 0);
}

#[tokio::test]
async fn a_wish_for_changes_after_delivery_reaches_a_human_and_nothing_is_redone() {
    let bench = Bench::new().await;
    let (external, contract) = funded(&bench).await;
    bench
        .change(&format!(
            "UPDATE scheduler.contracts SET state = 'delivered' WHERE id = '{contract}'"
        ))
        .await;
    let class = told(&bench, &external, "client", "Please change the title, it is wrong.").await;
    assert_eq!(class, "message: change request");
    assert_eq!(bench.count(TOLD).await, 1);
    assert_eq!(
        bench.count("scheduler.runs WHERE kind = 'revise'").await,
        0,
        "only the platform opens a revision"
    );
    assert_eq!(
        bench.count("scheduler.effects WHERE kind = 'message'").await,
        1,
        "it is acknowledged"
    );
}
