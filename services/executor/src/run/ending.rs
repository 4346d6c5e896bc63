//! What came of an attempt, from how its process ended and what it had said.

use std::os::unix::process::ExitStatusExt as _;
use std::process::ExitStatus;
use std::time::Duration;

use rpc::v1::complete_request::Outcome;
use rpc::v1::{CannotDo, Failed, HandedBack, RetryLater, Waiting};

use super::hearing::Last;
use crate::leases::Stop;
use crate::protocol::event::cut;
use crate::protocol::{Answer, EXIT_CANNOT_DO, EXIT_RETRY, Kind};
use crate::sandbox::{COMPLAINT, FAILED, Usage};

/// After exit code 75 without a `retry` event, and when no model answered.
const RETRY_AFTER: Duration = Duration::from_secs(60);
/// What an agent did that ended well and left nothing to deliver.
const NO_RESULT: &str = "it exited with 0 but gave no result: before it ends it must write one line such as \
    {\"type\":\"result\",\"notes\":\"...\",\"files\":[\"report.md\"]} into the FIFO $STEWARD_EVENTS (or, when it never opens that, \
    to stdout), and the files it names must lie in $STEWARD_OUT";
/// What is told of a failure, in bytes.
const MAX_DETAIL: usize = 2000;

/// What came of an attempt.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Ending {
    Done(Answer),
    Failed {
        reason: Reason,
        detail: String,
    },
    Waiting(Duration),
    /// The text says why, when it was not the agent that asked.
    RetryLater(Duration, Option<String>),
    CannotDo(String),
    HandedBack(String),
}

/// Why an attempt failed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Reason {
    Exit,
    Signal,
    Timeout,
    Idle,
    OutputCap,
    NoResult,
    BadResult,
    Start,
    Budget,
    Memory,
}

/// Why the executor ended a process.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Why {
    /// The wall clock.
    Timeout(Duration),
    /// Nothing happened.
    Idle(Duration),
    /// It produced too much; the text says of what.
    TooMuch(String),
    /// It was told to.
    Stopped(Stop),
}

/// How a process ended.
#[derive(Debug)]
pub(super) struct Exited {
    pub(super) status: ExitStatus,
    /// Set when the executor ended it.
    pub(super) why: Option<Why>,
    /// What it said last that counts.
    pub(super) last: Option<Last>,
    /// The last line of its log.
    pub(super) last_line: String,
    /// A model call was refused because the budget is used up.
    pub(super) budget_spent: bool,
    /// The last model call came to nothing, and not because of what it asked for.
    pub(super) models_away: bool,
    /// What its processes used, where that is counted.
    pub(super) used: Option<Usage>,
}

impl Exited {
    /// What came of it. What an agent finished properly within the grace counts, unless somebody else may have the
    /// run by now. A failure for want of a model is none of the agent's: it is started again when one may answer.
    pub(super) fn ending(self, kind: Kind) -> Ending {
        let away = self.models_away;
        match self.told(kind) {
            Ending::Failed {
                reason: Reason::Exit | Reason::NoResult | Reason::Timeout | Reason::Idle,
                detail,
            } if away => {
                let why = format!("its last model call came to nothing (no model answered): {detail}");
                Ending::RetryLater(RETRY_AFTER, Some(cut(&why, MAX_DETAIL).to_owned()))
            }
            ending => ending,
        }
    }

    fn told(self, kind: Kind) -> Ending {
        let finished = match self.status.code() {
            Some(0) => self.last.is_some(),
            Some(EXIT_RETRY | EXIT_CANNOT_DO) => true,
            _ => false,
        };
        match &self.why {
            Some(Why::Stopped(Stop::Drain)) if finished => self.by_exit(kind),
            Some(Why::Stopped(stop)) => Ending::HandedBack(stop.reason()),
            Some(Why::TooMuch(what)) => Ending::failed(Reason::OutputCap, what.clone()),
            Some(Why::Timeout(_) | Why::Idle(_)) if finished => self.by_exit(kind),
            Some(Why::Timeout(limit)) => Ending::failed(
                Reason::Timeout,
                format!(
                    "it ran longer than {} and was ended",
                    humantime::format_duration(*limit)
                ),
            ),
            Some(Why::Idle(limit)) => Ending::failed(
                Reason::Idle,
                format!(
                    "nothing happened for {} and it was ended",
                    humantime::format_duration(*limit)
                ),
            ),
            None => self.by_exit(kind),
        }
    }

    fn by_exit(self, kind: Kind) -> Ending {
        let out_of_memory = self.used.filter(|used| used.out_of_memory > 0);
        // What came of it all the same counts.
        if let Some(used) = out_of_memory.filter(|_| self.status.code() != Some(0)) {
            return Ending::failed(Reason::Memory, out_of_memory_of(used.limit));
        }
        let Some(code) = self.status.code() else {
            let signal = self.status.signal().unwrap_or(0);
            let name = nix::sys::signal::Signal::try_from(signal).map_or("unknown", |signal| signal.as_str());
            let why = by_limit(name);
            return Ending::failed(
                Reason::Signal,
                format!("it was killed by signal {signal} ({name}){why}"),
            );
        };
        let failed = |reason, detail: String| {
            // The model would not answer any more: that is why, whatever the agent made of it.
            let reason = if self.budget_spent { Reason::Budget } else { reason };
            Ending::failed(reason, detail)
        };
        match (code, self.last) {
            (0, Some(Last::Result(fields))) => match Answer::check(kind, &fields) {
                Ok(answer) => Ending::Done(answer),
                Err(wrong) => Ending::failed(Reason::BadResult, format!("the result cannot be used: {wrong}")),
            },
            (0, Some(Last::Wait(timeout))) => Ending::Waiting(timeout),
            (0 | EXIT_RETRY, Some(Last::Retry(after))) => Ending::RetryLater(after, None),
            (0, None) => failed(Reason::NoResult, NO_RESULT.to_owned()),
            (EXIT_RETRY, _) => Ending::RetryLater(RETRY_AFTER, None),
            (EXIT_CANNOT_DO, _) => Ending::CannotDo(match self.last_line.as_str() {
                "" => "the agent says it cannot do this gig".to_owned(),
                line => cut(line, MAX_DETAIL).to_owned(),
            }),
            (FAILED, _) if self.last_line.starts_with(COMPLAINT) => {
                let reason = self.last_line.trim_start_matches(COMPLAINT);
                Ending::failed(Reason::Start, format!("the agent could not be started: {reason}"))
            }
            (code, _) if self.last_line.is_empty() => {
                failed(Reason::Exit, format!("it exited with {code} and printed nothing"))
            }
            (code, _) => failed(Reason::Exit, format!("it exited with {code}: {}", self.last_line)),
        }
    }
}

/// Which rule of the sandbox ends a process by this signal.
fn by_limit(signal: &str) -> &'static str {
    match signal {
        "SIGXFSZ" => ": it wrote a file larger than limits.disk of the agent file",
        "SIGXCPU" => ": it used more processor time than all processors could give it in its time",
        "SIGSYS" => ": it made a system call by the numbers of another architecture, which the sandbox refuses",
        _ => "",
    }
}

/// In the agent file's own unit.
fn out_of_memory_of(limit: Option<u64>) -> String {
    match limit {
        Some(bytes) => format!(
            "out of memory: limit {}MiB for all its processes together; raise limits.memory of the agent file if it \
             needs more",
            bytes >> 20
        ),
        None => "out of memory: the machine had none left".to_owned(),
    }
}

impl Ending {
    pub(super) fn failed(reason: Reason, detail: impl Into<String>) -> Self {
        let detail: String = detail.into();
        Self::Failed {
            reason,
            detail: cut(&detail, MAX_DETAIL).to_owned(),
        }
    }

    /// A word for metrics and logs.
    pub(super) fn label(&self) -> &'static str {
        match self {
            Self::Done(_) => "done",
            Self::Failed { reason, .. } => reason.as_str(),
            Self::Waiting(_) => "waiting",
            Self::RetryLater(..) => "retry_later",
            Self::CannotDo(_) => "cannot_do",
            Self::HandedBack(_) => "handed_back",
        }
    }

    /// What to log about it: our own words, except for an agent's exit, of which only the fact is told.
    pub(super) fn detail(&self) -> &str {
        match self {
            Self::Failed {
                reason: Reason::Exit | Reason::Budget,
                ..
            } => "",
            Self::Failed { detail, .. } => detail,
            Self::HandedBack(reason) => reason,
            _ => "",
        }
    }

    pub(super) fn into_outcome(self) -> Outcome {
        let secs = |duration: Duration| u32::try_from(duration.as_secs().max(1)).unwrap_or(u32::MAX);
        match self {
            Self::Done(answer) => Outcome::ResultJson(answer.to_json()),
            Self::Failed { reason, detail } => Outcome::Failed(Failed {
                reason: reason.as_str().to_owned(),
                detail,
            }),
            Self::Waiting(timeout) => Outcome::Waiting(Waiting {
                until: "message".to_owned(),
                timeout_secs: secs(timeout),
            }),
            Self::RetryLater(after, why) => Outcome::RetryLater(RetryLater {
                after_secs: secs(after),
                reason: why.unwrap_or_default(),
            }),
            Self::CannotDo(reason) => Outcome::CannotDo(CannotDo { reason }),
            Self::HandedBack(reason) => Outcome::HandedBack(HandedBack { reason }),
        }
    }
}

impl Reason {
    pub(super) fn as_str(self) -> &'static str {
        match self {
            Self::Exit => "exit",
            Self::Signal => "signal",
            Self::Timeout => "timeout",
            Self::Idle => "idle",
            Self::OutputCap => "output_cap",
            Self::NoResult => "no_result",
            Self::BadResult => "bad_result",
            Self::Start => "start",
            Self::Budget => "budget",
            Self::Memory => "memory",
        }
    }
}

#[cfg(test)]
mod tests {
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
}
