//! Failures, and what to do about each.

use std::time::Duration;

use outbound::{Sent, StatusCode};
use serde_json::Value;

use crate::drift;
use crate::rate::{self, RateInfo};
use crate::redact::redact;

/// What a 429 without `Retry-After` waits.
const DEFAULT_WAIT: Duration = Duration::from_secs(60);

/// What a failure means for the caller.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// It did not happen; the same request may be sent again, no sooner than `after` if given.
    Retry {
        /// The least wait, if the server named one (60 s for a 429 that named none).
        after: Option<Duration>,
    },
    /// It did not happen and will not: never send it unchanged.
    Refuse,
    /// It may have happened: read before anything else, never resend blindly.
    Verify,
    /// A human must act: incomplete profile, not allowed, moved.
    Park,
    /// 402: the platform is down or wants money. Never pay, stop all calls, page a human.
    PlatformDown,
    /// 401: the key does not work. Stop all calls of this key, page a human.
    Unauthorized,
    /// 409: it seems to be there already; confirm by a read.
    Conflict,
}

/// An answer that is no success.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Answer {
    /// Which call it was.
    pub call: &'static str,
    /// The HTTP status.
    pub status: u16,
    /// The machine-readable code, if given.
    pub code: Option<String>,
    /// The server's words: redacted, at most 2 KiB.
    pub message: String,
    /// What to do.
    pub verdict: Verdict,
    /// Its rate limit headers.
    pub rate: RateInfo,
}

/// A failure of one call.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The request was never sent because it cannot be right.
    #[error("the call {call} was not sent: {reason}")]
    Invalid {
        /// Which call.
        call: &'static str,
        /// What is wrong with it.
        reason: String,
    },
    /// No whole answer.
    #[error("the call {call} has no answer: {source}")]
    Transport {
        /// Which call.
        call: &'static str,
        /// Whether it would change something.
        write: bool,
        /// What happened; knows whether anything was sent.
        #[source]
        source: outbound::Error,
    },
    /// An answer that is no success.
    #[error("the marketplace answered {} to {}: {}", .0.status, .0.call, .0.message)]
    Answer(Box<Answer>),
    /// A success whose body cannot be understood.
    #[error("the marketplace's answer to {call} cannot be understood: {reason}")]
    Unreadable {
        /// Which call.
        call: &'static str,
        /// Whether it would change something.
        write: bool,
        /// What was expected.
        reason: &'static str,
        /// Its rate limit headers.
        rate: RateInfo,
    },
    /// A delivery refused for the form of its attachments: send it once more with
    /// [`crate::wire::contract::AttachmentForm::Urls`].
    #[error("the delivery was refused for the form of its attachments: {}", .0.message)]
    AttachmentsAsUrls(Box<Answer>),
}

impl Error {
    /// What to do.
    #[must_use]
    pub fn verdict(&self) -> Verdict {
        match self {
            Self::Invalid { .. } => Verdict::Refuse,
            Self::Transport { source, write, .. } => match (source, source.sent(), *write) {
                (outbound::Error::Invalid(_) | outbound::Error::Refused(_), ..) => Verdict::Refuse,
                (outbound::Error::TooLarge { .. }, _, false) => Verdict::Park,
                (_, Sent::Maybe, true) => Verdict::Verify,
                (_, Sent::No, _) | (_, Sent::Maybe, false) => Verdict::Retry { after: None },
            },
            Self::Answer(answer) => answer.verdict,
            Self::Unreadable { write: true, .. } => Verdict::Verify,
            Self::Unreadable { write: false, .. } => Verdict::Retry { after: None },
            Self::AttachmentsAsUrls(_) => Verdict::Refuse,
        }
    }

    /// Whether the marketplace may have seen the request. An answer proves that it did.
    #[must_use]
    pub fn sent(&self) -> Sent {
        match self {
            Self::Invalid { .. } => Sent::No,
            Self::Transport { source, .. } => source.sent(),
            Self::Answer(_) | Self::Unreadable { .. } | Self::AttachmentsAsUrls(_) => Sent::Maybe,
        }
    }

    /// The answer, if there was one.
    #[must_use]
    pub fn answer(&self) -> Option<&Answer> {
        match self {
            Self::Answer(answer) | Self::AttachmentsAsUrls(answer) => Some(answer),
            _ => None,
        }
    }

    /// The HTTP status of an answer that was no success.
    #[must_use]
    pub fn status(&self) -> Option<u16> {
        self.answer().map(|answer| answer.status)
    }

    /// The rate limit headers of the answer, if there was one.
    #[must_use]
    pub fn rate(&self) -> Option<&RateInfo> {
        match self {
            Self::Unreadable { rate, .. } => Some(rate),
            _ => self.answer().map(|answer| &answer.rate),
        }
    }

    /// Whether the server does not know the path or the method: the next form of the call may be tried.
    #[must_use]
    pub fn is_unknown_path(&self) -> bool {
        matches!(self.status(), Some(404 | 405))
    }

    /// Whether a proposal was refused because the gig takes no more.
    #[must_use]
    pub fn is_gig_full(&self) -> bool {
        self.answer().is_some_and(says_full)
    }

    /// A short, stable word for stored reasons: the code, else `http_404` or the transport's class.
    #[must_use]
    pub fn reason(&self) -> String {
        match self {
            Self::Invalid { .. } => "invalid".to_owned(),
            Self::Transport { source, .. } => source.class().to_owned(),
            Self::Unreadable { .. } => "unreadable".to_owned(),
            Self::Answer(answer) | Self::AttachmentsAsUrls(answer) => {
                answer.code.clone().unwrap_or_else(|| format!("http_{}", answer.status))
            }
        }
    }
}

impl Answer {
    /// Reads an answer that is no success, whatever its body looks like.
    pub(crate) fn read(call: &'static str, write: bool, status: StatusCode, mut rate: RateInfo, body: &[u8]) -> Self {
        let value: Option<Value> = serde_json::from_slice(body).ok();
        let (code, message) = match &value {
            Some(value) => (code_of(value), message_of(value)),
            None => (None, Some(String::from_utf8_lossy(body).into_owned())),
        };
        if let Some(code) = &code {
            drift::code(call, code);
        }
        let hinted = value.as_ref().and_then(body_wait);
        rate.retry_after = rate.retry_after.or(hinted);
        let mut answer = Self {
            call,
            status: status.as_u16(),
            code: code.map(|code| redact(&code).chars().take(64).collect()),
            message: redact(message.unwrap_or_default().trim()),
            verdict: Verdict::Refuse,
            rate,
        };
        answer.verdict = judge(&answer, write);
        answer
    }
}

fn judge(answer: &Answer, write: bool) -> Verdict {
    match answer.status {
        401 => Verdict::Unauthorized,
        402 => Verdict::PlatformDown,
        300..=399 | 403 => Verdict::Park,
        408 | 500..=599 if write => Verdict::Verify,
        408 | 500..=599 => Verdict::Retry {
            after: answer.rate.retry_after,
        },
        409 if says_full(answer) => Verdict::Refuse,
        409 => Verdict::Conflict,
        429 => Verdict::Retry {
            after: Some(answer.rate.retry_after.unwrap_or(DEFAULT_WAIT)),
        },
        _ => Verdict::Refuse,
    }
}

/// The status of "no more proposals" is not documented; its words are.
fn says_full(answer: &Answer) -> bool {
    if !matches!(answer.status, 400 | 403 | 409 | 422) {
        return false;
    }
    let code = answer.code.as_deref().unwrap_or_default().to_ascii_lowercase();
    let words = answer.message.to_ascii_lowercase();
    let proposals = words.contains("proposal") || code.contains("proposal");
    let full = ["maximum", "reached", "full", "limit"];
    proposals && full.iter().any(|word| words.contains(word) || code.contains(word))
}

fn code_of(value: &Value) -> Option<String> {
    let at = |pointer: &str| value.pointer(pointer).and_then(crate::fields::text_of);
    at("/error/code").or_else(|| at("/code")).or_else(|| at("/error_code"))
}

fn message_of(value: &Value) -> Option<String> {
    let at = |pointer: &str| value.pointer(pointer).and_then(crate::fields::text_of);
    at("/error/message")
        .or_else(|| at("/error"))
        .or_else(|| at("/message"))
        .or_else(|| at("/detail"))
        .or_else(|| Some(value.to_string()))
}

fn body_wait(value: &Value) -> Option<Duration> {
    ["/retryAfter", "/retry_after", "/error/retryAfter", "/error/retry_after"]
        .iter()
        .find_map(|pointer| value.pointer(pointer).and_then(crate::fields::text_of))
        .and_then(|text| rate::seconds(&text))
}

#[cfg(test)]
mod tests;
