//! What callers are told.

use clawgig::Verdict;
use domain::onboarding::No;
use rpc::error::{Code, status};
use tonic::Status;

use super::Error;
use crate::budget::Denied;
use crate::error::of_store;
use crate::marketplace;

impl From<Error> for Status {
    fn from(error: Error) -> Self {
        let why = error.to_string();
        match error {
            Error::Store(error)
            | Error::Denied(Denied::Store(error))
            | Error::Client(marketplace::Error::Store(error)) => of_store(error),
            Error::Step(error) => error.into(),
            Error::Denied(Denied::Wait(_) | Denied::Failing(_) | Denied::Probe(_)) => {
                status(Code::Exhausted, "NO_REQUEST_LEFT", format!("{why}: try again"))
            }
            Error::Denied(Denied::Stopped(_)) => status(
                Code::Refused,
                "STOPPED",
                format!("{why}; `steward agents resume` lets them out again"),
            ),
            Error::Client(marketplace::Error::NoKey(_)) => status(Code::Refused, "NO_KEY", why),
            Error::Client(marketplace::Error::Client(_)) => status(Code::Refused, "BAD_KEY", why),
            Error::Profile { .. } => status(Code::Invalid, "BAD_PROFILE", why),
            Error::Invalid(_) => status(Code::Invalid, "INVALID", why),
            Error::No { no, .. } => status(Code::Refused, reason(no), why),
            Error::Lost(_) => status(Code::Refused, "LOST", why),
            Error::Said(error) => said(&error, why),
        }
    }
}

fn reason(no: No) -> &'static str {
    match no {
        No::Registered => "REGISTERED",
        No::Unregistered => "UNREGISTERED",
        No::UnderWay => "UNDER_WAY",
        No::Lost => "LOST",
    }
}

fn said(error: &clawgig::Error, why: String) -> Status {
    match error.verdict() {
        Verdict::PlatformDown => status(
            Code::Unavailable,
            "PLATFORM_DOWN",
            format!("{why}: it is down or wants money; nothing was paid. Try again when it is back"),
        ),
        Verdict::Unauthorized => status(
            Code::Refused,
            "KEY_REFUSED",
            format!("{why}: give the agent a valid key with `steward agents link`"),
        ),
        Verdict::Retry { .. } => status(Code::Unavailable, "TRY_AGAIN", format!("{why}: try again")),
        Verdict::Verify => status(
            Code::Unavailable,
            "ANSWER_LOST",
            format!("{why}: it may have been acted on; asking again is safe"),
        ),
        Verdict::Refuse | Verdict::Park | Verdict::Conflict => status(Code::Refused, "MARKETPLACE_REFUSED", why),
    }
}
