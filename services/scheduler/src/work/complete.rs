//! The end of an attempt: one transaction that checks the fencing token, moves the run and wishes for what follows.

use std::time::Duration;

use domain::run::{Command, Kind, Step};
use rpc::convert;
use rpc::error::{Code, status};
use rpc::v1::complete_request::Outcome;
use rpc::v1::{CompleteRequest, CompleteResponse};
use serde_json::Value;
use store::Tx;
use store::runs::{self, Note, Run};
use tonic::Status;

use super::assign::OUTAGE;
use super::{Floor, close, deliver, events, rules};
use crate::bidding::writing;
use crate::error::Error;
use crate::payload;
use crate::wake::Topic;

/// Sequence numbers of the executor end below this; the outcome comes after all of them.
const LAST_SEQ: i64 = 999_999;

/// Why an attempt failed is kept up to here, characters.
pub(super) const LONGEST_ERROR: usize = 2000;

/// The kind of the notice that an agent puts its work off beyond the deadline; its key is the run.
const LATE: &str = "run_late";

/// Pause after an assignment that found no free slot: the next offer is on its way.
const CROSSED: Duration = Duration::from_secs(1);

/// Seconds between the lease and what the executor counts as the attempt.
const SLACK: u32 = 10;

/// Takes a completion in. Idempotent by run and token.
pub(super) async fn complete(floor: &Floor, request: CompleteRequest) -> Result<CompleteResponse, Status> {
    let run = convert::id("run_id", &request.run_id)?;
    let token = convert::id("lease_token", &request.lease_token)?;
    let outcome = request
        .outcome
        .as_ref()
        .ok_or_else(|| status(Code::Invalid, "NO_OUTCOME", "an outcome is needed"))?;
    let (command, note) = rules::judge(floor, (run, token), translate(outcome)?).await?;
    // What was said may have been lost with a session; what is known already changes nothing.
    for event in &request.events {
        events::keep(floor, event.clone()).await?;
    }
    let taken = store::run_tx!(floor.desk.store, "run_complete", Error, |tx| {
        if runs::completed_by(tx, run, token).await? {
            return Ok(None);
        }
        let row = runs::held(tx, run, token).await?;
        let policy = floor.desk.config.runs.policy();
        let step = runs::advance(tx, run, Some(token), &command, &policy, &note).await?;
        keep_deadline(tx, &row).await?;
        runs::note_completion(tx, run, token).await?;
        if let (Command::Wait(_), Some(contract)) = (&command, row.contract_id) {
            // What it waits for may have come while it still ran.
            let during = u32::try_from(request.duration_ms / 1000)
                .unwrap_or(u32::MAX)
                .saturating_add(SLACK);
            if store::messages::heard_since(tx, contract, during).await? {
                runs::advance(tx, run, None, &Command::WakeUp, &policy, &Note::default()).await?;
            }
        }
        let attempt = i32::try_from(row.machine.attempt).unwrap_or(i32::MAX);
        let printed = store::run_events::printed(tx, run, attempt).await?;
        let text = outcome_text(&command, &note, untold(&request.log_tail, &printed));
        store::run_events::append(tx, run, attempt, LAST_SEQ, "outcome", &text).await?;
        follow(floor, tx, &row, (&command, &step, &note)).await?;
        Ok(Some((row, step)))
    });
    match taken {
        Ok(None) => Ok(CompleteResponse { duplicate: true }),
        Ok(Some((row, step))) => {
            after(floor, &row, &step, request.duration_ms).await;
            Ok(CompleteResponse { duplicate: false })
        }
        Err(Error::Store(store::Error::Stale { .. })) => {
            close::called_off(floor, &[run]).await;
            Err(status(
                Code::Refused,
                "LEASE_LOST",
                format!("the lease of run {run} is no longer yours"),
            ))
        }
        Err(error) => Err(error.into()),
    }
}

/// What becomes rows because of how an attempt ended.
async fn follow(
    floor: &Floor,
    tx: &mut Tx,
    run: &Run,
    (command, step, note): (&Command, &Step, &Note),
) -> Result<(), Error> {
    match (run.kind, command) {
        (Kind::Propose, Command::CannotDo) => return writing::cannot(&floor.desk, tx, run, note).await,
        (Kind::Propose, _) => return writing::ended(&floor.desk, tx, run, step, note).await,
        (_, Command::Succeed) => {
            if let Some(result) = &note.result {
                deliver::wish(&floor.desk, tx, run, result).await?;
            }
        }
        _ => {}
    }
    if step.run.state.is_closed() {
        store::notices::resolve(tx, LATE, &run.id.to_string()).await?;
    }
    if step.parked {
        park(floor, tx, run, note.error.as_deref()).await?;
    }
    Ok(())
}

fn translate(outcome: &Outcome) -> Result<(Command, Note), Status> {
    let failed = |error: String| Note {
        error: Some(error.replace('\0', "").chars().take(LONGEST_ERROR).collect()),
        ..Note::default()
    };
    Ok(match outcome {
        Outcome::ResultJson(json) => {
            let result: Value = serde_json::from_str(json)
                .map_err(|error| status(Code::Invalid, "BAD_RESULT", format!("the result is not JSON: {error}")))?;
            let note = Note {
                result: Some(payload::storable(result)),
                ..Note::default()
            };
            (Command::Succeed, note)
        }
        Outcome::Failed(why) => (Command::Fail, failed(format!("{}: {}", why.reason, why.detail))),
        Outcome::Waiting(wait) => (
            Command::Wait(Duration::from_secs(u64::from(wait.timeout_secs.max(1)))),
            Note::default(),
        ),
        Outcome::RetryLater(later) => (
            Command::RetryLater(Duration::from_secs(u64::from(later.after_secs))),
            failed(match later.reason.as_str() {
                "" => "the agent asked to be started again later".to_owned(),
                why => format!("started again later: {why}"),
            }),
        ),
        Outcome::CannotDo(why) => (
            Command::CannotDo,
            failed(format!("the agent cannot do this: {}", why.reason)),
        ),
        Outcome::HandedBack(why) => (back(&why.reason), failed(format!("handed back: {}", why.reason))),
    })
}

/// What a hand-back means for the run, by the executor's word for it.
fn back(reason: &str) -> Command {
    match reason {
        "drain" | "stopped" | "paused" => Command::HandOver,
        "no free slot" => Command::PutOff(CROSSED),
        "unreachable" => Command::PutOff(OUTAGE),
        _ => Command::HandBack,
    }
}

/// The end of the log, without the lines that were told piece by piece on the way.
fn untold<'a>(tail: &'a str, printed: &str) -> &'a str {
    // Where one piece ends and the next begins, a line may have been broken.
    let told: String = printed.split_whitespace().collect();
    let (mut solid, mut ends) = (String::with_capacity(tail.len()), vec![(0, 0)]);
    for line in tail.split_inclusive('\n') {
        solid.extend(line.split_whitespace());
        let (end, _) = ends.last().copied().unwrap_or_default();
        ends.push((end + line.len(), solid.len()));
    }
    let known = |length: &usize| solid.get(..*length).is_some_and(|text| told.ends_with(text));
    let known = (0..=solid.len()).rev().find(known).unwrap_or_default();
    let whole = ends.iter().rev().find(|(_, length)| *length <= known);
    let end = whole.map_or(0, |(end, _)| *end);
    tail.get(end..).unwrap_or_default()
}

fn outcome_text(command: &Command, note: &Note, log_tail: &str) -> String {
    let word = match command {
        Command::Succeed => "succeeded",
        Command::Fail => "failed",
        Command::Wait(_) => "waits for a message",
        Command::RetryLater(_) => "to be started again later",
        Command::CannotDo => "cannot do this",
        _ => "handed back",
    };
    let why = note.error.as_deref().unwrap_or_default();
    // An executor's reason often ends with the last line of the log: it is told once.
    let (before, last) = log_tail
        .trim_end()
        .rsplit_once('\n')
        .unwrap_or(("", log_tail.trim_end()));
    let log_tail = if !last.trim().is_empty() && why.ends_with(last.trim()) {
        before
    } else {
        log_tail
    };
    format!("{word}\n{why}\n{log_tail}").replace('\0', "").trim().to_owned()
}

/// A run that wants to be left alone for longer than its deadline allows is started in time for one more attempt, and
/// people are told.
async fn keep_deadline(tx: &mut Tx, run: &Run) -> Result<(), Error> {
    let Some(deadline) = runs::bring_forward(tx, run.id).await? else {
        return Ok(());
    };
    let told = format!(
        "the {} run of {} wants to be started again only after it could still end by its deadline, {}; it is started \
         while one attempt fits, and may need you (`steward runs show {}`)",
        run.kind.name(),
        run.agent,
        deadline.to_rfc3339_opts(chrono::SecondsFormat::Secs, true),
        run.id
    );
    store::notices::raise(tx, LATE, &run.id.to_string(), &told).await?;
    Ok(())
}

/// Tells people that a run is parked, and why. One that was to write a bid is called off instead.
pub(super) async fn park(floor: &Floor, tx: &mut Tx, run: &Run, why: Option<&str>) -> Result<(), Error> {
    let why = why.unwrap_or("it failed too often");
    if run.kind == Kind::Propose {
        return writing::give_up(&floor.desk, tx, run, why).await;
    }
    let reason = format!("the {} run of {} is parked: {why}", run.kind.name(), run.agent);
    if let Some(contract) = run.contract_id {
        store::contracts::set_attention(tx, contract, Some(&reason)).await?;
    }
    store::notices::raise(tx, "run", &run.id.to_string(), &reason).await?;
    crate::bidding::pause_if_failing(tx, &run.agent, floor.desk.config.runs.pause_bidding_after).await
}

/// What follows the commit: the budget is closed, others are woken, one line is logged.
async fn after(floor: &Floor, run: &Run, step: &Step, duration_ms: u64) {
    let outcome = step.run.state.name().to_owned();
    metrics::counter!(crate::metrics::RUNS_ENDED, "kind" => run.kind.name(), "state" => outcome.clone()).increment(1);
    tracing::info!(
        run.id = %run.id, agent.id = %run.agent, kind = run.kind.name(), attempt = run.machine.attempt, state = outcome,
        duration_ms, "an attempt ended"
    );
    close::close(floor, run.id, run.machine.attempt).await;
    if run.kind != Kind::Reply {
        floor.desk.wake.wake(Topic::Courier);
    }
    floor.desk.wake.wake(Topic::Dispatch);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_log_is_not_told_twice() {
        assert_eq!(untold("one\ntwo\n", "zero\none\ntwo"), "");
        assert_eq!(untold("one\ntwo\n", "zero\none"), "two\n", "the last piece was lost");
        assert_eq!(untold("one\ntwo\nthree\n", "zero\non"), "one\ntwo\nthree\n");
        assert_eq!(untold("one\ntwo\n", "zero\none\ntw"), "two\n");
        assert_eq!(
            untold("one\ntwo\n", "zero\nonetwo"),
            "",
            "pieces that lost the end of a line"
        );
        assert_eq!(untold("one\n", ""), "one\n");
        assert_eq!(untold("", "x"), "");
    }

    #[test]
    fn what_a_reason_says_already_is_not_said_again() {
        let note = |error: &str| Note {
            error: Some(error.to_owned()),
            ..Note::default()
        };
        let tail = "begins\nTypeError: no\n";
        let told = outcome_text(&Command::Fail, &note("exit: it exited with 1: TypeError: no"), tail);
        assert_eq!(told, "failed\nexit: it exited with 1: TypeError: no\nbegins");
        let other = outcome_text(&Command::Fail, &note("timeout: it ran longer than 1m"), tail);
        assert!(other.ends_with("begins\nTypeError: no"), "{other}");
    }
}
