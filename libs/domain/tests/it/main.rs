//! `docs/STATES.md` is made from the machines, so it cannot say anything else than they do.
#![expect(clippy::unwrap_used, reason = "a failed expectation is the test's message")]

use std::fmt::Write as _;
use std::path::PathBuf;
use std::time::Duration;

use chrono::DateTime;
use domain::contract::{self, Contract, Status};
use domain::effect;
use domain::proposal;
use domain::run;

const INTRO: &str = "# State machines

Made from the code by `UPDATE_DOCS=1 cargo test -p domain`; a test fails when it differs. Each table says what a command
does in a state; what is not listed changes nothing (contracts) or is refused (runs, effects).
";

#[test]
fn the_page_says_what_the_machines_do() {
    let path = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../docs/STATES.md");
    let page = format!("{INTRO}\n{}\n{}\n{}\n{}", contracts(), runs(), effects(), proposals());
    #[expect(
        clippy::disallowed_methods,
        reason = "a switch for people, not a setting of the product"
    )]
    let update = std::env::var_os("UPDATE_DOCS").is_some();
    if update {
        std::fs::write(&path, &page).unwrap();
    }
    let kept = std::fs::read_to_string(&path).unwrap_or_default();
    assert!(
        kept == page,
        "docs/STATES.md is out of date: run `UPDATE_DOCS=1 cargo test -p domain` and commit it"
    );
}

fn table(title: &str, text: &str, rows: &[[String; 4]]) -> String {
    let mut page = format!("## {title}\n\n{text}\n\n| from | command | to | then |\n|---|---|---|---|\n");
    for [from, command, to, then] in rows {
        writeln!(page, "| {from} | {command} | {to} | {then} |").unwrap();
    }
    page
}

fn contracts() -> String {
    use contract::{Command, State};
    let states = [
        State::Accepted,
        State::Funded,
        State::Delivered,
        State::RevisionRequested,
        State::Disputed,
        State::Approved,
        State::Cancelled,
        State::Unknown("escalated".to_owned()),
    ];
    let now = DateTime::from_timestamp(1_700_000_000, 0).unwrap();
    let seen = |status: Status| Command::Observed { status, sent_at: now };
    let commands = [
        (Command::AcceptedEvent, "event: accepted"),
        (Command::FundedEvent, "event: funded"),
        (Command::DeliveredEvent, "event: delivered"),
        (Command::ApprovedEvent, "event: approved"),
        (Command::DisputedEvent, "event: disputed"),
        (Command::ResolvedEvent, "event: resolved"),
        (
            Command::DeliveryProven {
                revision_no: 0,
                at: now,
            },
            "our delivery is proven",
        ),
        (seen(Status::Unfunded), "read: unfunded"),
        (seen(Status::Funded), "read: funded"),
        (seen(Status::Delivered), "read: delivered"),
        (seen(Status::RevisionRequested), "read: revision requested"),
        (seen(Status::Disputed), "read: disputed"),
        (seen(Status::Approved), "read: approved"),
        (seen(Status::Cancelled), "read: cancelled"),
        (
            seen(Status::Unknown("escalated".to_owned())),
            "read: a word we do not know",
        ),
    ];
    let mut rows = Vec::new();
    for state in &states {
        let delivered = matches!(state, State::Delivered | State::RevisionRequested | State::Disputed);
        let contract = Contract {
            state: state.clone(),
            delivered,
            funding_confirmed: delivered,
            ..Contract::new()
        };
        for (command, name) in &commands {
            let step = contract::apply(&contract, command);
            if !step.changed {
                continue;
            }
            let wishes: Vec<String> = step.wishes.iter().map(wish).collect();
            rows.push([
                state.to_string(),
                (*name).to_owned(),
                step.contract.state.to_string(),
                wishes.join(", "),
            ]);
        }
    }
    let text = "Money. A read counts only if its request was sent after our last proven write; after a delivery, two such \
                reads in a row that say \"funded\" open a revision, and nothing else does. Approved and cancelled are final.";
    table("Contract", text, &rows)
}

fn wish(wish: &contract::Wish) -> String {
    use contract::Wish;
    match wish {
        Wish::Confirm => "read the contract".to_owned(),
        Wish::StartWork => "queue the work".to_owned(),
        Wish::StartRevision { .. } => "queue a revision".to_owned(),
        Wish::Settle => "settle".to_owned(),
        Wish::StopWork { .. } => "stop runs and unsent effects".to_owned(),
        Wish::Attention { .. } => "tell a human".to_owned(),
    }
}

fn runs() -> String {
    use run::{Command, Policy, Run, State};
    let policy = Policy {
        max_attempts: 3,
        first_pause: Duration::from_secs(10),
        longest_pause: Duration::from_secs(600),
    };
    let states = [
        State::Queued,
        State::Leased,
        State::Retrying,
        State::Waiting,
        State::Parked,
        State::Succeeded,
        State::Cancelled,
    ];
    let commands = [
        (Command::Lease, "an executor takes it"),
        (Command::Succeed, "result"),
        (Command::Fail, "failed attempt"),
        (
            Command::RetryLater(Duration::from_secs(60)),
            "the agent asks for later, or no model answered",
        ),
        (Command::Wait(Duration::from_secs(60)), "the agent waits for a message"),
        (Command::CannotDo, "the agent cannot do it"),
        (Command::HandOver, "handed over by an executor that stops"),
        (Command::HandBack, "handed back unbegun"),
        (
            Command::PutOff(Duration::from_secs(15)),
            "what it needs is away or used up",
        ),
        (Command::LeaseExpired, "the lease ended"),
        (Command::WakeUp, "a message came, or the wait ended"),
        (Command::Cancel, "no longer wanted"),
        (Command::OperatorRetry, "a human wants it tried again"),
    ];
    let mut rows = Vec::new();
    for state in &states {
        for (failures, hand_backs, postponed, note) in [
            (0, 0, 0, ""),
            (2, 0, 0, "the last attempt"),
            (0, run::MAX_HAND_BACKS - 1, run::MAX_POSTPONEMENTS - 1, "once too often"),
        ] {
            let run = Run {
                state: state.clone(),
                attempt: 1,
                failures,
                lost_leases: 0,
                hand_backs,
                postponed,
            };
            for (command, name) in &commands {
                let Ok(step) = run::apply(&run, command, &policy) else {
                    continue;
                };
                let same = run::apply(
                    &Run {
                        failures: 0,
                        hand_backs: 0,
                        postponed: 0,
                        ..run.clone()
                    },
                    command,
                    &policy,
                )
                .unwrap();
                if !note.is_empty() && same.run.state == step.run.state {
                    continue;
                }
                let name = if note.is_empty() {
                    (*name).to_owned()
                } else {
                    format!("{name} ({note})")
                };
                let then = if step.parked { "tell a human" } else { "" };
                rows.push([
                    state.name().to_owned(),
                    name,
                    step.run.state.name().to_owned(),
                    then.to_owned(),
                ]);
            }
        }
    }
    let text = "Work. A failed attempt pauses 10 s, doubled each time; three of them park the run. A dead executor, a \
                hand-back or being put off uses up no attempt; hand-backs pause 1 s, doubled up to 5 min, and the \
                twelfth parks the run; being put off pauses as long as was asked for, at least 10 s, doubled up to \
                15 min, and the hundredth parks the run. A hand-over and an outage of what is ours cost nothing.";
    table("Run", text, &rows)
}

fn effects() -> String {
    use effect::{Command, Kind, State};
    let states = [
        State::Blocked,
        State::Held,
        State::Pending,
        State::Sending,
        State::Unknown,
        State::Done,
        State::Refused,
        State::Cancelled,
    ];
    let commands = [
        (Command::Unblock, "its predecessor is done"),
        (Command::Release, "a human releases it"),
        (Command::Send, "a courier takes it"),
        (Command::Succeed, "the answer is yes"),
        (Command::Refuse, "the answer is no"),
        (Command::NotDone, "it did not happen"),
        (Command::MaybeDone, "it may have happened"),
        (Command::FoundPresent, "a read finds it"),
        (Command::FoundAbsent, "a read does not find it"),
        (Command::Cancel, "called off"),
        (Command::OperatorRetry, "a human wants it tried again"),
    ];
    let mut rows = Vec::new();
    for state in &states {
        for (command, name) in &commands {
            for (kind, which) in [
                (Kind::Deliver, "propose, deliver, message"),
                (Kind::Upload, "upload, settle, confirm"),
            ] {
                for (reads, note) in [(0, ""), (1, ", the second time")] {
                    let Ok((next, _)) = effect::apply(kind, state, reads, *command) else {
                        continue;
                    };
                    let plain = effect::apply(Kind::Deliver, state, 0, *command).unwrap().0;
                    let special = kind == Kind::Upload || reads > 0;
                    if special && next == plain {
                        continue;
                    }
                    if kind == Kind::Upload && reads > 0 {
                        continue;
                    }
                    let which = if kind == Kind::Upload { which } else { "" };
                    rows.push([
                        state.name().to_owned(),
                        format!("{name}{note}"),
                        next.name().to_owned(),
                        which.to_owned(),
                    ]);
                }
            }
        }
    }
    let text = "The outbox. The last column names the kinds a row is for, where not all. Proposals, deliveries and messages \
                are never repeated before two reads agree that they did not arrive.";
    table("Effect", text, &rows)
}

fn proposals() -> String {
    use proposal::State;
    let states = [
        State::Considered,
        State::Skipped,
        State::Submitted,
        State::Accepted,
        State::Rejected,
        State::Withdrawn,
    ];
    let mut rows = Vec::new();
    for state in &states {
        for news in &states {
            if let Some(next) = state.after(news) {
                rows.push([
                    state.name().to_owned(),
                    format!("news: {}", news.name()),
                    next.name().to_owned(),
                    String::new(),
                ]);
            }
        }
    }
    table(
        "Proposal",
        "Bids. An accepted proposal stays accepted, whatever arrives late.",
        &rows,
    )
}
