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
/// What is said besides when a program found no way out.
const NO_NETWORK: &str = " (a run reaches its model gateway; hosts of [[network.credential]] of the agent file, by the \
    address in NAME_URL; and the hosts in network.allow, by the proxy HTTPS_PROXY names; none else)";
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
    Check,
    Review,
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
    /// Its processes used more memory together than this, bytes.
    Memory(u64),
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
            Some(Why::Stopped(Stop::Drain | Stop::Paused)) if finished => self.by_exit(kind),
            Some(Why::Stopped(stop)) => Ending::HandedBack(stop.reason()),
            Some(Why::TooMuch(what)) => Ending::failed(Reason::OutputCap, what.clone()),
            Some(Why::Memory(limit)) => Ending::failed(Reason::Memory, out_of_memory_of(Some(*limit))),
            Some(Why::Timeout(_) | Why::Idle(_)) if finished => self.by_exit(kind),
            Some(Why::Timeout(limit)) => Ending::failed(
                Reason::Timeout,
                format!(
                    "it ran longer than {} and was ended; raise run.timeout of the agent file if it needs more",
                    humantime::format_duration(*limit)
                ),
            ),
            Some(Why::Idle(limit)) => Ending::failed(
                Reason::Idle,
                format!(
                    "nothing happened for {} and it was ended: progress, output and open model calls count; raise run.idle of \
                     the agent file if it needs more",
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
            (0, None) => failed(Reason::NoResult, no_result(kind)),
            (EXIT_RETRY, _) => Ending::RetryLater(RETRY_AFTER, None),
            (EXIT_CANNOT_DO, _) => Ending::CannotDo(match self.last_line.as_str() {
                "" => "the agent says it cannot do this gig".to_owned(),
                line => cut(line, MAX_DETAIL).to_owned(),
            }),
            (FAILED, _) if self.last_line.starts_with(COMPLAINT) => {
                if self.used.is_some_and(|used| used.too_many > 0) {
                    let detail = "the agent could not be started: it may have too few processes (limits.pids)";
                    return Ending::failed(Reason::Start, detail);
                }
                let reason = self.last_line.trim_start_matches(COMPLAINT);
                Ending::failed(Reason::Start, format!("the agent could not be started: {reason}"))
            }
            (code, _) if says_no_memory(&self.last_line) => failed(
                Reason::Memory,
                format!(
                    "it exited with {code} for want of memory; raise limits.memory of the agent file if it needs more: {}",
                    self.last_line
                ),
            ),
            (code, _) if self.last_line.is_empty() => {
                failed(Reason::Exit, format!("it exited with {code} and printed nothing"))
            }
            (code, _) => {
                let hint = if says_no_network(&self.last_line) {
                    NO_NETWORK
                } else {
                    ""
                };
                failed(Reason::Exit, format!("it exited with {code}: {}{hint}", self.last_line))
            }
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

/// As runtimes say that they got no more memory: a process that minds its limit is not killed for it.
fn says_no_memory(last_line: &str) -> bool {
    let words = [
        "MemoryError",
        "Cannot allocate memory",
        "out of memory",
        "std::bad_alloc",
    ];
    words.iter().any(|word| last_line.contains(word))
}

/// As runtimes say that a host cannot be found or reached.
fn says_no_network(last_line: &str) -> bool {
    let words = [
        "name resolution",
        "Name or service not known",
        "ENOTFOUND",
        "EAI_AGAIN",
        "Could not resolve",
        "Network is unreachable",
        "ENETUNREACH",
    ];
    words.iter().any(|word| last_line.contains(word))
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

    /// What to log about it: our own words, except for the exit of an agent, a check or a review, of which only the fact is told.
    pub(super) fn detail(&self) -> &str {
        match self {
            Self::Failed {
                reason: Reason::Exit | Reason::Budget | Reason::Check | Reason::Review,
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
            Self::Check => "check",
            Self::Review => "review",
        }
    }
}

/// What an agent did that ended well and left nothing to deliver.
fn no_result(kind: Kind) -> String {
    let (line, besides) = match kind {
        Kind::Work | Kind::Revise => (
            r#"{"type":"result","notes":"...","files":["report.md"]}"#,
            ", and the files it names must lie in $STEWARD_OUT",
        ),
        Kind::Reply => (r#"{"type":"result","text":"..."}"#, ""),
        Kind::Propose => (
            r#"{"type":"result","amount_usdc":"12.50","cover_letter":"..."}"#,
            r#"; {"type":"result","decline":"why"} bids on nothing"#,
        ),
    };
    format!(
        "it exited with 0 but gave no result: before it ends it must write one line such as {line} into the FIFO \
         $STEWARD_EVENTS (or, when it never opens that, to stdout){besides}"
    )
}

#[cfg(test)]
mod tests;
