//! Bids the agent writes itself: asked for, judged, and sent, held or left as every bid is.

use domain::agent_file::Mode;
use domain::effect::State;
use rpc::v1::complete_request::Outcome;
use rpc::v1::{Assignment, CannotDo, Failed, Waiting};
use serde_json::{Value, json};
use store::run_tx;
use uuid::Uuid;

use crate::courier::{proposals_on_the_market, until};
use crate::desk::{Bench, PATIENCE};
use crate::floor::{Hand, serve};
use crate::ledger::Ledger;
use crate::webhooks::posted;

const LETTER: &str = "I would sort your sheet by hand and check each line twice.";
const NOT_WRITTEN: &str = "scheduler.notices WHERE kind = 'bids_not_written' AND resolved_at IS NULL";
const BID: &str = "SELECT state, payload ->> 'cover_letter' AS letter, (payload ->> 'amount_micro')::BIGINT AS amount,
                          run_id IS NOT NULL AS of_a_run
                   FROM scheduler.effects WHERE kind = 'propose'";

/// A bench whose agent writes its bids, and an executor's hand.
async fn writers() -> (Bench, Ledger, Hand) {
    let bench = Bench::new().await;
    rules(&bench, json!({ "write": "agent", "max_price_usdc": "15" })).await;
    let ledger = Ledger::default();
    let hand = Hand::new(&serve(&bench, &ledger).await).await;
    (bench, ledger, hand)
}

async fn rules(bench: &Bench, change: Value) {
    for (table, whose) in [("agents", "name"), ("bundles", "agent")] {
        bench
            .change(&format!(
                "UPDATE scheduler.{table} SET spec = jsonb_set(spec, '{{bidding}}', spec->'bidding' || '{change}')
                 WHERE {whose} = 'demo'"
            ))
            .await;
    }
}

async fn mode(bench: &Bench, mode: Mode) {
    let set = run_tx!(bench.desk.store, "fixture", |tx| store::agents::set_mode(
        tx, "demo", mode
    )
    .await);
    set.unwrap();
}

/// A gig is told of; its bid is asked for.
async fn told(bench: &Bench, gig: &str) -> Uuid {
    let id = bench.webhook(posted(gig), false).await;
    bench.take_in().await;
    assert_eq!(bench.outcome(id).await, "bid being written");
    let run = format!(
        "SELECT r.id FROM scheduler.runs AS r JOIN scheduler.gigs AS g ON g.id = r.gig_id WHERE g.external_id = '{gig}'"
    );
    bench.rows(&run).await[0]["id"].as_str().unwrap().parse().unwrap()
}

fn offer(amount: &str) -> Outcome {
    let result = json!({ "type": "result", "amount_usdc": amount, "cover_letter": LETTER, "estimated_hours": 3 });
    Outcome::ResultJson(result.to_string())
}

fn declined() -> Outcome {
    Outcome::ResultJson(json!({ "type": "result", "decline": "no time this week" }).to_string())
}

fn job_of(job: &Assignment) -> Value {
    serde_json::from_str(&job.job_json).unwrap()
}

async fn ends(hand: &mut Hand, job: &Assignment, outcome: Outcome) {
    hand.complete(job, outcome, Vec::new()).await.unwrap();
}

/// State and reason of the only proposal.
async fn decided(bench: &Bench) -> (String, Option<String>) {
    let rows = bench.rows("SELECT state, reason FROM scheduler.proposals").await;
    let row = &rows[0];
    let text = |key: &str| row[key].as_str().map(str::to_owned);
    (text("state").unwrap(), text("reason"))
}

async fn nobody_is_bothered(bench: &Bench) {
    assert_eq!(bench.count("scheduler.notices WHERE resolved_at IS NULL").await, 0);
    assert_eq!(bench.count("scheduler.runs WHERE state = 'parked'").await, 0);
}

#[tokio::test]
async fn the_agent_is_asked_with_its_limits_and_a_sum_of_its_own_and_what_it_wrote_goes_out() {
    let (bench, ledger, mut hand) = writers().await;
    let (external, _gig) = bench.gig().await;
    let run = told(&bench, &external).await;
    let (state, reason) = decided(&bench).await;
    assert_eq!(
        (state.as_str(), reason.as_deref()),
        ("considered", Some("its agent is writing the bid"))
    );
    let job = hand.assignment().await;
    assert_eq!((job.kind.as_str(), &job.run_id), ("propose", &run.to_string()));
    let file = job_of(&job);
    assert_eq!(file["bid"], json!({ "min_usdc": "1.00", "max_usdc": "15.00" }));
    assert_eq!(
        (&file["contract"], &file["budget"]["llm_micro_usd"]),
        (&Value::Null, &json!(20_000))
    );
    assert!(file["deadline"].is_string(), "until when it is waited for");
    {
        let calls = ledger.0.lock().unwrap();
        let opened = &calls.opened[0];
        assert_eq!((opened.subject_kind.as_str(), opened.budget_micro_usd), ("gig", 20_000));
    }
    ends(&mut hand, &job, offer("12.5")).await;
    ends(&mut hand, &job, offer("12.5")).await;
    let bid = json!({ "state": "pending", "letter": LETTER, "amount": 12_500_000, "of_a_run": true });
    assert_eq!(bench.rows(BID).await, [bid]);
    let id = bench.rows("SELECT id FROM scheduler.effects").await.remove(0);
    bench.work();
    until(&bench, id["id"].as_str().unwrap().parse().unwrap(), State::Done).await;
    assert_eq!(proposals_on_the_market(&bench).await, 1);
    assert_eq!(decided(&bench).await, ("submitted".to_owned(), None));
    assert!(
        ledger.0.lock().unwrap().closed.contains(&job.run_id),
        "its cost is booked"
    );
    nobody_is_bothered(&bench).await;
}

#[tokio::test]
async fn a_written_bid_waits_in_ask_and_is_only_kept_in_shadow() {
    let (bench, _ledger, mut hand) = writers().await;
    for (case, reason) in [(Mode::Shadow, "shadow"), (Mode::Ask, "waits for approval")] {
        mode(&bench, case).await;
        bench
            .change("DELETE FROM scheduler.runs; DELETE FROM scheduler.proposals")
            .await;
        told(&bench, case.name()).await;
        let job = hand.assignment().await;
        ends(&mut hand, &job, offer("15")).await;
        let kept =
            "SELECT state, reason, cover_letter, estimated_hours FROM scheduler.proposals ORDER BY id DESC LIMIT 1";
        let expected = json!({ "state": "considered", "reason": reason, "cover_letter": LETTER, "estimated_hours": 3 });
        assert_eq!(bench.rows(kept).await, [expected]);
        let held = bench.count("scheduler.effects WHERE state = 'held'").await;
        assert_eq!(held, i64::from(case == Mode::Ask), "{case:?}");
        assert_eq!(bench.count("scheduler.effects").await, held);
        bench
            .change("UPDATE scheduler.run_events SET kind = kind; DELETE FROM scheduler.run_events")
            .await;
    }
}

#[tokio::test]
async fn an_agent_that_declines_or_cannot_is_believed_and_nobody_is_bothered() {
    let (bench, _ledger, mut hand) = writers().await;
    let cannot = Outcome::CannotDo(CannotDo {
        reason: "it needs a phone".to_owned(),
    });
    for (gig, outcome, reason) in [
        ("one", declined(), "declined by its agent: no time this week"),
        ("two", cannot, "the agent cannot do this: it needs a phone"),
    ] {
        let run = told(&bench, gig).await;
        let job = hand.assignment().await;
        ends(&mut hand, &job, outcome).await;
        let skipped = format!("scheduler.proposals WHERE state = 'skipped' AND reason = '{reason}'");
        assert_eq!(bench.count(&skipped).await, 1, "{reason}");
        assert_ne!(bench.columns(run, "state").await["state"], "parked");
    }
    assert_eq!(bench.count("scheduler.effects").await, 0);
    nobody_is_bothered(&bench).await;
}

#[tokio::test]
async fn a_bid_against_the_rules_can_be_mended_and_after_three_the_template_writes() {
    let (bench, _ledger, mut hand) = writers().await;
    let run = told(&bench, "one").await;
    let short = json!({ "type": "result", "amount_usdc": "9", "cover_letter": "Hi." }).to_string();
    let wait = Outcome::Waiting(Waiting {
        until: "message".to_owned(),
        timeout_secs: 60,
    });
    for (outcome, told) in [
        (offer("15.01"), "1.00 to 15.00"),
        (Outcome::ResultJson(short), "takes 20 to 2000"),
    ] {
        let job = hand.assignment().await;
        ends(&mut hand, &job, outcome).await;
        let row = bench.columns(run, "state, error").await;
        assert_eq!(row["state"], "retrying");
        let error = row["error"].as_str().unwrap();
        assert!(error.starts_with("bid: ") && error.contains(told), "{error}");
        assert_eq!(decided(&bench).await.0, "considered");
        bench.hurry(run).await;
    }
    let third = hand.assignment().await;
    assert!(
        job_of(&third)["failure"].as_str().unwrap().contains("takes 20 to 2000"),
        "it is told"
    );
    ends(&mut hand, &third, wait).await;
    assert_eq!(
        bench.columns(run, "state, failures").await,
        json!({ "state": "cancelled", "failures": 3 })
    );
    let bid = bench.rows(BID).await.remove(0);
    assert_eq!((&bid["state"], &bid["amount"]), (&json!("pending"), &json!(15_000_000)));
    assert!(
        bid["letter"].as_str().unwrap().contains("How I would go about it"),
        "{bid}"
    );
    assert_eq!(bench.count("scheduler.runs WHERE state = 'parked'").await, 0);
    assert_eq!(bench.count(NOT_WRITTEN).await, 1);
    // However many come to nothing, there is one notice; the next bid that is written ends it.
    for (gig, notices) in [("two", 1), ("three", 0)] {
        told(&bench, gig).await;
        for _ in 0..3 {
            bench
                .change("UPDATE scheduler.runs SET not_before = now() WHERE state = 'retrying'")
                .await;
            let job = hand.assignment().await;
            if notices == 0 {
                ends(&mut hand, &job, offer("5")).await;
                break;
            }
            let failed = Failed {
                reason: "exit".to_owned(),
                detail: "it exited with 1".to_owned(),
            };
            ends(&mut hand, &job, Outcome::Failed(failed)).await;
        }
        assert_eq!(bench.count(NOT_WRITTEN).await, notices);
    }
    assert_eq!(bench.rows(BID).await.len(), 3);
}

#[tokio::test]
async fn what_changed_while_it_was_written_counts() {
    let (bench, _ledger, mut hand) = writers().await;
    for (gig, change, reason) in [
        ("cap", json!({ "max_bids_per_day": 0 }), "which is the cap"),
        (
            "price",
            json!({ "max_bids_per_day": null, "min_price_usdc": "30" }),
            "below the least price",
        ),
        (
            "words",
            json!({ "min_price_usdc": "1", "refuse": ["spreadsheet"] }),
            "refusal list",
        ),
    ] {
        rules(&bench, json!({ "refuse": [] })).await;
        told(&bench, gig).await;
        let job = hand.assignment().await;
        rules(&bench, change).await;
        ends(&mut hand, &job, offer("12")).await;
        let skipped = format!("scheduler.proposals WHERE state = 'skipped' AND reason LIKE '%{reason}%'");
        if gig == "price" {
            // What is judged first fails the attempt; the next one finds that nobody wants the bid.
            bench
                .change("UPDATE scheduler.runs SET not_before = now() WHERE state = 'retrying'")
                .await;
            let gone = async || bench.count(&skipped).await == 1;
            testkit::eventually(PATIENCE, "the bid to be called off", gone)
                .await
                .unwrap();
        } else {
            assert_eq!(bench.count(&skipped).await, 1, "{reason}");
        }
        rules(&bench, json!({ "max_bids_per_day": null, "min_price_usdc": "1" })).await;
    }
    assert_eq!(bench.count("scheduler.effects").await, 0);
    nobody_is_bothered(&bench).await;
}

#[tokio::test]
async fn bids_being_written_fill_the_day_and_so_does_asking_in_vain() {
    let (bench, _ledger, mut hand) = writers().await;
    rules(&bench, json!({ "max_bids_per_day": 1 })).await;
    told(&bench, "first").await;
    let second = bench.webhook(posted("second"), false).await;
    bench.take_in().await;
    assert_eq!(
        bench.outcome(second).await,
        "skipped: 1 bids went out today, which is the cap"
    );
    for gig in ["a", "b", "c", "d", ""] {
        let job = hand.assignment().await;
        ends(&mut hand, &job, declined()).await;
        if !gig.is_empty() {
            told(&bench, gig).await;
        }
    }
    let last = bench.webhook(posted("last"), false).await;
    bench.take_in().await;
    let outcome = bench.outcome(last).await;
    assert!(outcome.contains("was asked for 5 bids today"), "{outcome}");
}

#[tokio::test]
async fn a_bid_nobody_wrote_in_time_is_left_to_the_template_and_its_attempt_is_stopped() {
    let (bench, _ledger, mut hand) = writers().await;
    let run = told(&bench, "one").await;
    let job = hand.assignment().await;
    let late = format!("UPDATE scheduler.runs SET deadline = now() - INTERVAL '1 second' WHERE id = '{run}'");
    bench.change(&late).await;
    scheduler::sweeper::sweep(&bench.desk).await.unwrap();
    hand.told_to_stop(&job).await;
    let refused = hand.complete(&job, offer("12"), Vec::new()).await.unwrap_err();
    assert!(refused.message().contains("no longer yours"), "{refused}");
    let bid = bench.rows(BID).await.remove(0);
    assert!(bid["state"] == "pending" && bid["letter"] != LETTER, "{bid}");
    assert_eq!(
        bench.columns(run, "state, error").await["error"],
        "it was not written in time"
    );
    assert_eq!(bench.count(NOT_WRITTEN).await, 1);
    // A gig that is gone by now costs a try, and nothing else.
    bench.change("UPDATE scheduler.notices SET resolved_at = now()").await;
    let id = bench.rows("SELECT id FROM scheduler.effects").await.remove(0);
    bench.work();
    until(&bench, id["id"].as_str().unwrap().parse().unwrap(), State::Refused).await;
    assert_eq!(decided(&bench).await.0, "rejected");
    nobody_is_bothered(&bench).await;
}

#[tokio::test]
async fn a_result_that_could_not_be_kept_whole_is_not_kept_at_all() {
    let (bench, _ledger, mut hand) = writers().await;
    let run = told(&bench, "one").await;
    let job = hand.assignment().await;
    bench
        .change(
            "CREATE FUNCTION broken() RETURNS TRIGGER LANGUAGE plpgsql AS $$ BEGIN RAISE 'power cut'; END $$;
             CREATE TRIGGER broken BEFORE INSERT ON scheduler.effects EXECUTE FUNCTION broken()",
        )
        .await;
    hand.complete(&job, offer("12"), Vec::new()).await.unwrap_err();
    assert_eq!(bench.columns(run, "state").await["state"], "leased");
    assert_eq!(decided(&bench).await.1.as_deref(), Some("its agent is writing the bid"));
    bench.change("DROP TRIGGER broken ON scheduler.effects").await;
    ends(&mut hand, &job, offer("12")).await;
    assert_eq!(bench.rows(BID).await.len(), 1);
}

#[tokio::test]
async fn no_bid_is_begun_that_nobody_wants_and_none_while_the_models_are_away() {
    let (bench, ledger, mut hand) = writers().await;
    let raised = run_tx!(bench.desk.store, "fixture", |tx| {
        store::notices::raise(tx, scheduler::outages::MODELS, "demo", "away").await
    });
    raised.unwrap();
    let run = told(&bench, "one").await;
    let off = json!({ "state": "queued", "failures": 0, "off": true });
    bench
        .run_is(run, "state, failures, not_before > now() AS off", off)
        .await;
    assert!(ledger.0.lock().unwrap().opened.is_empty(), "nothing may be spent");
    bench.change("UPDATE scheduler.notices SET resolved_at = now()").await;
    mode(&bench, Mode::Off).await;
    bench.hurry(run).await;
    bench.run_is(run, "state", json!({ "state": "cancelled" })).await;
    assert_eq!(
        decided(&bench).await,
        ("skipped".to_owned(), Some("the agent's mode is off".to_owned()))
    );
    assert!(ledger.0.lock().unwrap().opened.is_empty());
    // An agent that is removed takes what it was writing with it.
    mode(&bench, Mode::Auto).await;
    let second = told(&bench, "two").await;
    let job = hand.assignment().await;
    let left = run_tx!(bench.desk.store, "fixture", |tx| store::agents::leave(tx, "demo").await);
    left.unwrap();
    hand.told_to_stop(&job).await;
    assert_eq!(bench.columns(second, "state").await["state"], "cancelled");
    assert_eq!(bench.count("scheduler.proposals WHERE state = 'skipped'").await, 2);
    nobody_is_bothered(&bench).await;
}

#[tokio::test]
async fn a_written_bid_that_holds_a_secret_waits_for_a_human() {
    let (bench, _ledger, mut hand) = writers().await;
    told(&bench, "one").await;
    let job = hand.assignment().await;
    let letter = format!("{LETTER} My key is sk-proj-{}", "a1B2c3D4e5F6g7H8".repeat(3));
    let result = json!({ "type": "result", "amount_usdc": "5", "cover_letter": letter });
    ends(&mut hand, &job, Outcome::ResultJson(result.to_string())).await;
    assert_eq!(bench.rows(BID).await[0]["state"], "held");
    let reason = decided(&bench).await.1.unwrap();
    assert!(reason.starts_with("the cover letter holds"), "{reason}");
}
