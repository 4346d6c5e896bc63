use serde_json::{Value, json};

use super::*;

fn exited(code: i32) -> Exited {
    Exited {
        status: ExitStatus::from_raw(code << 8),
        why: None,
        last: None,
        last_line: "last words".to_owned(),
        budget_spent: false,
        models_away: false,
        used: None,
    }
}

fn result() -> Option<Last> {
    match json!({"notes": "n"}) {
        Value::Object(fields) => Some(Last::Result(fields)),
        _ => None,
    }
}

#[test]
fn exit_codes_mean_what_the_contract_says() {
    let done = Exited {
        last: result(),
        ..exited(0)
    }
    .ending(Kind::Work);
    assert_eq!(done.label(), "done");
    let forgotten = exited(0).ending(Kind::Work);
    assert_eq!(forgotten.label(), "no_result");
    for told in ["\"type\":\"result\"", "$STEWARD_EVENTS", "$STEWARD_OUT"] {
        assert!(
            forgotten.detail().contains(told),
            "how to do better: {}",
            forgotten.detail()
        );
    }
    assert_eq!(exited(75).ending(Kind::Work), Ending::RetryLater(RETRY_AFTER, None));
    let after = Duration::from_secs(600);
    let retry = Exited {
        last: Some(Last::Retry(after)),
        ..exited(75)
    };
    assert_eq!(retry.ending(Kind::Work), Ending::RetryLater(after, None));
    assert_eq!(exited(77).ending(Kind::Work), Ending::CannotDo("last words".to_owned()));
    let failed = Exited {
        last: result(),
        ..exited(1)
    }
    .ending(Kind::Work);
    assert_eq!(failed.label(), "exit", "a result does not make up for a failure");
    assert_eq!(
        Exited {
            last: result(),
            ..exited(0)
        }
        .ending(Kind::Reply)
        .label(),
        "bad_result"
    );
    let killed = Exited {
        status: ExitStatus::from_raw(11),
        ..exited(0)
    };
    assert_eq!(killed.ending(Kind::Work).label(), "signal");
    let too_large = Exited {
        status: ExitStatus::from_raw(nix::libc::SIGXFSZ),
        ..exited(0)
    };
    assert!(too_large.ending(Kind::Work).detail().contains("limits.disk"));
}

#[test]
fn what_a_rule_stopped_is_told_with_the_setting_that_rules_it() {
    let after = |last_line: &str| {
        let exited = Exited {
            last_line: last_line.to_owned(),
            ..exited(1)
        };
        match exited.ending(Kind::Work) {
            Ending::Failed { reason, detail } => (reason, detail),
            other => panic!("{other:?}"),
        }
    };
    let (reason, detail) = after("MemoryError");
    assert!(reason == Reason::Memory && detail.contains("limits.memory"), "{detail}");
    let (reason, detail) = after("<urlopen error [Errno -3] Temporary failure in name resolution>");
    assert!(reason == Reason::Exit && detail.contains("network.allow"), "{detail}");
    let (_, detail) = after("ValueError: x");
    assert_eq!(detail, "it exited with 1: ValueError: x");
}

#[test]
fn what_is_finished_within_the_grace_counts_but_never_after_the_lease() {
    let late = |why| {
        Exited {
            why: Some(why),
            last: result(),
            ..exited(0)
        }
        .ending(Kind::Work)
        .label()
    };
    assert_eq!(late(Why::Timeout(Duration::from_secs(1))), "done");
    assert_eq!(late(Why::Stopped(Stop::Drain)), "done");
    assert_eq!(late(Why::Stopped(Stop::Paused)), "done");
    assert_eq!(late(Why::Stopped(Stop::LeaseLost)), "handed_back");
    assert_eq!(late(Why::Stopped(Stop::Cancelled("closed".to_owned()))), "handed_back");
    assert_eq!(late(Why::TooMuch("output".to_owned())), "output_cap");
    let hung = Exited {
        why: Some(Why::Timeout(Duration::from_secs(1))),
        ..exited(0)
    };
    assert_eq!(hung.ending(Kind::Work).label(), "timeout");
}

#[test]
fn a_spent_budget_is_the_reason_of_a_failure() {
    let spent = Exited {
        budget_spent: true,
        ..exited(1)
    };
    assert_eq!(spent.ending(Kind::Work).label(), "budget");
    let anyway = Exited {
        budget_spent: true,
        last: result(),
        ..exited(0)
    };
    assert_eq!(anyway.ending(Kind::Work).label(), "done");
}

#[test]
fn a_failure_for_want_of_a_model_is_not_the_agents_and_a_result_counts_all_the_same() {
    let without = |exited: Exited| {
        Exited {
            models_away: true,
            ..exited
        }
        .ending(Kind::Work)
    };
    for failed in [exited(1), exited(0)] {
        let Ending::RetryLater(after, Some(why)) = without(failed) else {
            panic!("it is started again later");
        };
        assert_eq!(after, RETRY_AFTER);
        assert!(why.contains("no model answered"), "{why}");
    }
    let done = Exited {
        last: result(),
        ..exited(0)
    };
    assert_eq!(without(done).label(), "done");
    assert_eq!(without(exited(77)).label(), "cannot_do");
    let spent = Exited {
        budget_spent: true,
        ..exited(1)
    };
    assert_eq!(without(spent).label(), "budget", "more time gives it no more money");
}

#[test]
fn a_process_killed_for_its_memory_names_the_limit_unless_the_agent_coped() {
    let used = Some(Usage {
        out_of_memory: 1,
        limit: Some(512 << 20),
        ..Usage::default()
    });
    let killed = Exited {
        status: ExitStatus::from_raw(9),
        used,
        ..exited(0)
    };
    let ending = killed.ending(Kind::Work);
    assert_eq!(ending.label(), "memory");
    assert!(ending.detail().contains("limit 512MiB"), "{}", ending.detail());
    let coped = Exited {
        used,
        last: result(),
        ..exited(0)
    };
    assert_eq!(coped.ending(Kind::Work).label(), "done");
}

#[test]
fn only_the_launchers_own_complaint_means_that_it_never_started() {
    let complaint = Exited {
        last_line: format!("{COMPLAINT}start x: not found"),
        ..exited(125)
    };
    assert_eq!(complaint.ending(Kind::Work).label(), "start");
    assert_eq!(exited(125).ending(Kind::Work).label(), "exit");
}
