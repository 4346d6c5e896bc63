//! Why a command did not do what it was asked, as far as the exit code tells it apart.

use rpc::error::Code;

/// Something went wrong.
pub const FAILED: u8 = 1;
/// The command line or a file it names is wrong.
pub const USAGE: u8 = 2;
/// There is no such thing.
pub const NOT_FOUND: u8 = 3;
/// It was understood and may not be done.
pub const REFUSED: u8 = 4;

/// A failure with an exit code of its own; anything else is [`FAILED`].
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Failure {
    /// Exit 2.
    #[error("{0}")]
    Usage(String),
    /// Exit 3.
    #[error("{0}")]
    NotFound(String),
    /// Exit 4.
    #[error("{0}")]
    Refused(String),
}

/// The exit code of an error: the first cause that says one.
#[must_use]
pub fn code(error: &anyhow::Error) -> u8 {
    let of = |cause: &(dyn std::error::Error + 'static)| {
        if let Some(failure) = cause.downcast_ref::<Failure>() {
            return Some(match failure {
                Failure::Usage(_) => USAGE,
                Failure::NotFound(_) => NOT_FOUND,
                Failure::Refused(_) => REFUSED,
            });
        }
        cause.downcast_ref::<tonic::Status>().map(of_status)
    };
    error.chain().find_map(of).unwrap_or(FAILED)
}

/// What to print for an error: the causes in one line, a status as its sentence.
#[must_use]
pub fn sentence(error: &anyhow::Error) -> String {
    let said = |cause: &(dyn std::error::Error + 'static)| match cause.downcast_ref::<tonic::Status>() {
        Some(status) if status.message().is_empty() => format!("the service answered {}", status.code()),
        Some(status) => status.message().to_owned(),
        None => cause.to_string(),
    };
    let mut parts: Vec<String> = Vec::new();
    for cause in error.chain() {
        let part = said(cause);
        // Some errors repeat their cause in their own words.
        if !parts.last().is_some_and(|last| last.ends_with(&part)) {
            parts.push(part);
        }
        if cause.downcast_ref::<tonic::Status>().is_some() {
            break;
        }
    }
    let sentence = parts.join(": ");
    match where_such_are(&sentence) {
        Some(command) if code(error) == NOT_FOUND => format!("{sentence}: see `steward {command}`"),
        _ => sentence,
    }
}

/// The command that lists what was looked for in vain, unless the sentence says so.
fn where_such_are(sentence: &str) -> Option<&'static str> {
    const LISTS: [(&str, &str); 7] = [
        ("contract", "contracts list"),
        ("run", "contracts show CONTRACT"),
        ("agent", "agents list"),
        ("gig", "gigs list"),
        ("effect", "effects list"),
        ("standing notice", "notices list"),
        ("dead letter", "dead-letters list"),
    ];
    let missing = sentence
        .split("no ")
        .last()
        .filter(|_| !sentence.contains("`steward "))?;
    let list = LISTS
        .iter()
        .find(|(what, _)| missing.starts_with(&format!("{what} ")))?;
    Some(list.1)
}

fn of_status(status: &tonic::Status) -> u8 {
    match Code::of(status) {
        Code::Invalid => USAGE,
        Code::NotFound => NOT_FOUND,
        Code::Unauthenticated | Code::Forbidden | Code::Conflict | Code::Refused => REFUSED,
        Code::Exhausted | Code::Unavailable | Code::Internal => FAILED,
    }
}

#[cfg(test)]
mod tests {
    use anyhow::Context as _;

    use super::*;

    #[test]
    fn the_exit_code_survives_added_context() {
        let refused = Err::<(), _>(Failure::Refused("no".into())).context("while trying");
        assert_eq!(code(&refused.unwrap_err()), REFUSED);
        let missing = Err::<(), _>(tonic::Status::not_found("no contract x")).context("show the contract");
        let missing = missing.unwrap_err();
        assert_eq!(code(&missing), NOT_FOUND);
        assert_eq!(
            sentence(&missing),
            "show the contract: no contract x: see `steward contracts list`"
        );
        assert_eq!(code(&anyhow::anyhow!("disk full")), FAILED);
    }

    #[test]
    fn a_status_is_refused_or_failed_by_its_meaning() {
        assert_eq!(of_status(&tonic::Status::permission_denied("x")), REFUSED);
        assert_eq!(of_status(&tonic::Status::invalid_argument("x")), USAGE);
        assert_eq!(of_status(&tonic::Status::unavailable("x")), FAILED);
    }
}
