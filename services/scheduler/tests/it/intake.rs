//! The inbox into steps.

use std::time::Duration;

use bytes::Bytes;
use domain::agent_file::Mode;
use serde_json::{Value, json};
use store::contracts;
use store::run_tx;

use crate::desk::Bench;
use crate::webhooks::{TRACE, event, posted};

async fn rules(bench: &Bench, change: Value) {
    let change = change.to_string();
    bench
        .change(&format!(
            "UPDATE scheduler.agents SET spec = jsonb_set(spec, '{{bidding}}', spec->'bidding' || '{change}')"
        ))
        .await;
}

async fn mode(bench: &Bench, mode: Mode) {
    run_tx!(bench.desk.store, "fixture", |tx| store::agents::set_mode(
        tx, "demo", mode
    )
    .await)
    .unwrap();
}

#[tokio::test]
async fn a_gig_told_five_times_at_once_becomes_one_bid() {
    let bench = Bench::new().await;
    for delivery in 0..5 {
        let mut body = posted("gig-1").to_vec();
        body.extend(std::iter::repeat_n(b' ', delivery));
        bench.webhook(Bytes::from(body), false).await;
    }
    bench.take_in().await;
    assert_eq!(bench.count("scheduler.proposals WHERE state = 'considered'").await, 1);
    assert_eq!(
        bench
            .count("scheduler.effects WHERE kind = 'propose' AND state = 'pending'")
            .await,
        1
    );
    assert_eq!(bench.count("ingress.inbox WHERE processed_at IS NOT NULL").await, 5);
}

#[tokio::test]
async fn the_caps_hold_while_several_hands_bid_at_once() {
    let bench = Bench::new().await;
    rules(&bench, json!({ "max_bids_per_day": 3 })).await;
    for gig in 0..12 {
        bench.webhook(posted(&format!("gig-{gig}")), false).await;
    }
    bench.take_in().await;
    assert_eq!(bench.count("scheduler.effects WHERE kind = 'propose'").await, 3);
    assert_eq!(
        bench
            .count("scheduler.proposals WHERE state = 'skipped' AND reason LIKE '%the cap'")
            .await,
        9
    );
}

#[tokio::test]
async fn held_bids_that_fill_the_day_are_told_until_one_is_decided() {
    let bench = Bench::new().await;
    rules(&bench, json!({ "max_bids_per_day": 2 })).await;
    mode(&bench, Mode::Ask).await;
    for gig in ["a", "b", "c"] {
        bench.webhook(posted(gig), false).await;
        bench.take_in().await;
    }
    let why = "SELECT reason FROM scheduler.proposals WHERE state = 'skipped'";
    let told = json!({ "reason": "0 bids went out today and 2 wait for approval, together the cap" });
    assert_eq!(bench.rows(why).await, [told]);
    let stands = "scheduler.notices WHERE kind = 'bids_wait' AND resolved_at IS NULL";
    assert_eq!(bench.count(stands).await, 1);
    bench
        .change(
            "UPDATE scheduler.proposals SET state = 'skipped' WHERE id IN (SELECT id FROM scheduler.proposals LIMIT 1)",
        )
        .await;
    bench.webhook(posted("d"), false).await;
    bench.take_in().await;
    assert_eq!(bench.count(stands).await, 0, "there is room again");
}

#[tokio::test]
async fn nothing_is_sent_in_shadow_and_everything_waits_in_ask() {
    let bench = Bench::new().await;
    for (case, wanted) in [
        (Mode::Shadow, "shadow bid"),
        (Mode::Ask, "bid held"),
        (Mode::Off, "skipped: the agent's mode is off"),
    ] {
        mode(&bench, case).await;
        let id = bench.webhook(posted(case.name()), false).await;
        bench.take_in().await;
        assert_eq!(bench.outcome(id).await, wanted);
    }
    let effects = bench.rows("SELECT state FROM scheduler.effects").await;
    assert_eq!(effects, [json!({ "state": "held" })]);
}

#[tokio::test]
async fn a_refused_gig_is_skipped_with_its_reason_and_no_bid() {
    let bench = Bench::new().await;
    let data =
        json!({ "gig_id": "g", "title": "Solve captcha pages", "description": "x", "category": "code", "budget": 20 });
    assert!(
        bench
            .told("gig.posted", data)
            .await
            .starts_with("skipped: on the refusal list")
    );
    assert_eq!(bench.count("scheduler.effects").await, 0);
}

#[tokio::test]
async fn events_in_any_order_end_in_the_same_state() {
    let accepted = |id: &str| json!({ "contract_id": id, "gig_id": "gig-1", "gig_title": "Clean", "amount": 20, "client_name": "Ada", "deliver_url": "" });
    let funded =
        |id: &str| json!({ "contract_id": id, "gig_title": "Clean", "amount": 20, "message": "", "deliver_url": "" });
    let mut ends = Vec::new();
    for orders in [
        ["proposal.accepted", "contract.funded"],
        ["contract.funded", "proposal.accepted"],
    ] {
        let bench = Bench::new().await;
        bench.webhook(posted("gig-1"), false).await;
        bench.take_in().await;
        for name in orders {
            let data = if name == "contract.funded" {
                funded("c-1")
            } else {
                accepted("c-1")
            };
            bench.told(name, data).await;
        }
        let end = bench
            .rows("SELECT c.state, c.title, c.amount_micro, c.funding_confirmed, g.external_id, p.state AS proposal FROM scheduler.contracts c LEFT JOIN scheduler.gigs g ON g.id = c.gig_id LEFT JOIN scheduler.proposals p ON p.id = c.proposal_id")
            .await;
        let confirms = bench.count("scheduler.effects WHERE kind = 'confirm'").await;
        ends.push((end, confirms));
    }
    assert_eq!(ends[0], ends[1]);
    let end = json!({ "state": "funded", "title": "Clean", "amount_micro": 20_000_000, "funding_confirmed": false, "external_id": "gig-1", "proposal": "accepted" });
    assert_eq!(ends[0], (vec![end], 1), "money is believed only after a read");
}

#[tokio::test]
async fn a_late_event_changes_nothing_and_an_approval_is_settled_once() {
    let bench = Bench::new().await;
    let approved = json!({ "contract_id": "c-1", "amount_earned": 18, "platform_fee": 2, "message": "" });
    assert_eq!(
        bench.told("contract.approved", approved.clone()).await,
        "step: approved"
    );
    for late in [
        "contract.funded",
        "contract.disputed",
        "contract.delivered",
        "contract.approved",
    ] {
        assert_eq!(bench.told(late, approved.clone()).await, "no change", "{late}");
    }
    assert_eq!(bench.count("scheduler.effects WHERE kind = 'settle'").await, 1);
    let contract = contracts::find(&bench.desk.store, "c-1").await.unwrap();
    assert_eq!((contract.amount.0, contract.fee_micro), (20_000_000, Some(2_000_000)));
    assert!(contract.attention.is_none());
}

#[tokio::test]
async fn figures_that_do_not_add_up_are_shown_to_a_human() {
    let bench = Bench::new().await;
    bench
        .told("contract.funded", json!({ "contract_id": "c-1", "amount": 20 }))
        .await;
    bench
        .told(
            "contract.approved",
            json!({ "contract_id": "c-1", "amount_earned": 3, "platform_fee": 2 }),
        )
        .await;
    assert_eq!(
        bench
            .count("scheduler.notices WHERE kind = 'books' AND resolved_at IS NULL")
            .await,
        1
    );
}

#[tokio::test]
async fn a_dispute_stops_the_work_and_calls_a_human() {
    let bench = Bench::new().await;
    let (_external, id) = bench.contract().await;
    let contract = contracts::get(&bench.desk.store, id).await.unwrap();
    let data = json!({ "contract_id": contract.external_id, "dispute_reason": "not what I asked for", "message": "" });
    assert_eq!(bench.told("contract.disputed", data).await, "step: disputed");
    assert_eq!(
        bench
            .count("scheduler.notices WHERE kind = 'dispute' AND resolved_at IS NULL")
            .await,
        1
    );
    let said = bench
        .rows("SELECT detail FROM scheduler.contract_events WHERE command = 'said'")
        .await;
    assert_eq!(said, [json!({ "detail": "not what I asked for" })]);
}

#[tokio::test]
async fn what_is_no_event_or_an_unknown_one_is_kept_and_harms_nobody() {
    let bench = Bench::new().await;
    for (body, wanted) in [
        (
            Bytes::from_static(b"no json"),
            "unreadable: the webhook body is not a json object",
        ),
        (
            Bytes::from_static(b"{}"),
            "unreadable: the webhook body does not name its event",
        ),
        (
            event("contract.funded", &json!({})),
            "unreadable: the event contract.funded lacks its contract_id",
        ),
        (event("moon.rises", &json!({ "contract_id": "c-9" })), "unknown_event"),
        (event("test", &json!({})), "test"),
    ] {
        let id = bench.webhook(body, false).await;
        bench.take_in().await;
        assert_eq!(bench.outcome(id).await, wanted);
    }
    assert_eq!(bench.count("scheduler.contracts").await, 0);
}

#[tokio::test]
async fn a_row_that_keeps_failing_becomes_a_dead_letter_and_its_neighbours_go_on() {
    let bench = Bench::new().await;
    // An agent that is not known here: every attempt fails.
    let poison = bench.webhook_for("nobody", posted("gig-0"), false).await;
    let good = bench.webhook(posted("gig-1"), false).await;
    for _ in 0..bench.desk.config.intake.max_attempts {
        bench.take_in().await;
        bench
            .change("UPDATE ingress.inbox SET next_attempt_at = now() WHERE processed_at IS NULL")
            .await;
    }
    assert_eq!(bench.outcome(good).await, "bid");
    let dead = store::dead_letters::list(&bench.desk.store, None, 10).await.unwrap();
    assert_eq!(dead.iter().map(|letter| letter.id).collect::<Vec<_>>(), [poison]);
    assert!(dead[0].reason.contains("nobody"), "{}", dead[0].reason);
}

#[tokio::test]
async fn a_stale_event_is_a_hint_for_a_read_only() {
    let bench = Bench::new().await;
    run_tx!(bench.desk.store, "fixture", |tx| {
        store::duties::ensure(tx, scheduler::reconcile::CONTRACTS, "demo").await
    })
    .unwrap();
    bench
        .change("UPDATE scheduler.duties SET due_at = now() + INTERVAL '1 hour'")
        .await;
    let id = bench
        .webhook(
            event(
                "contract.approved",
                &json!({ "contract_id": "c-1", "amount_earned": 18 }),
            ),
            true,
        )
        .await;
    bench.take_in().await;
    assert_eq!(bench.outcome(id).await, "stale: left to a read");
    assert_eq!(bench.count("scheduler.contracts").await, 0);
    assert_eq!(
        store::duties::next_due(&bench.desk.store).await.unwrap(),
        Some(Duration::ZERO)
    );
}

#[tokio::test]
async fn a_client_is_acknowledged_once_in_a_while_and_another_agent_never() {
    let bench = Bench::new().await;
    let (external, _id) = bench.contract().await;
    for (number, sender) in ["agent", "client", "client", "client"].iter().enumerate() {
        let data = json!({ "contract_id": external, "message_id": format!("m-{number}"), "sender_type": sender, "message": "hello" });
        assert_eq!(bench.told("message.received", data.clone()).await, "message");
        assert_eq!(
            bench.told("message.received", data).await,
            "seen before",
            "the same message again"
        );
    }
    assert_eq!(bench.count("scheduler.messages").await, 4);
    assert_eq!(bench.count("scheduler.effects WHERE kind = 'message'").await, 1);
}

#[tokio::test]
async fn an_agents_own_letter_is_used_and_a_broken_one_is_reported() {
    let bench = Bench::new().await;
    bench
        .change("UPDATE scheduler.agents SET cover_letter = 'Dear {{ gig.client }}, {{ gig.title }} is what I do.'")
        .await;
    bench.webhook(posted("gig-1"), false).await;
    bench.take_in().await;
    bench
        .change("UPDATE scheduler.agents SET cover_letter = 'Dear {{ gig.client'")
        .await;
    bench.webhook(posted("gig-2"), false).await;
    bench.take_in().await;
    let letters = bench
        .rows("SELECT cover_letter FROM scheduler.proposals ORDER BY id")
        .await;
    assert_eq!(
        letters[0]["cover_letter"],
        "Dear Ada, Clean a spreadsheet is what I do."
    );
    assert!(letters[1]["cover_letter"].as_str().unwrap().starts_with("Hello Ada"));
    assert_eq!(
        bench
            .count("scheduler.notices WHERE kind = 'cover_letter' AND resolved_at IS NULL")
            .await,
        1
    );
}

#[tokio::test]
async fn what_a_webhook_caused_stays_in_its_trace() {
    let bench = Bench::new().await;
    bench.webhook(posted("gig-1"), false).await;
    bench.take_in().await;
    let data = json!({ "contract_id": "c-1", "gig_id": "gig-1", "amount": 20 });
    bench.told("contract.funded", data).await;
    let traces = bench
        .rows("SELECT kind, traceparent FROM scheduler.effects ORDER BY kind")
        .await;
    let kinds: Vec<_> = traces.iter().map(|row| row["kind"].as_str().unwrap()).collect();
    assert_eq!(kinds, ["confirm", "propose"]);
    for row in &traces {
        let trace = telemetry::trace_id(row["traceparent"].as_str().unwrap());
        assert_eq!(trace, telemetry::trace_id(TRACE), "{row}");
    }
}
