//! Requests that are repeated while it is certain that nothing comes of the one before.

use std::time::Duration;

use http::header::RETRY_AFTER;
use outbound::{Client, Error, RequestBuilder, Response, Sent};

/// Tries before the run is asked to come back later.
const TRIES: u32 = 5;
/// After the first try; doubled each time.
const FIRST_PAUSE: Duration = Duration::from_secs(1);
/// A peer that wants more waits for another attempt.
const LONGEST_PAUSE: Duration = Duration::from_secs(30);
/// How often, in a pause, it is said that somebody is there: half the shortest silence a run may be ended for.
const SIGN: Duration = Duration::from_millis(500);
/// When the peer does not say when to come back.
const LATER: Duration = Duration::from_secs(60);

/// Why there is no answer.
pub(super) enum Failed {
    /// It cannot work, however often it is tried.
    Never(String),
    /// It may work later: the sentence says why not now.
    Later(String, Duration),
    /// The request may have been acted on, and what came of it is not known.
    Lost(String),
}

/// Sends until there is an answer that is neither 429 nor a server's failure, a bounded number of times. `again` says
/// whether a request whose fate is unknown may be sent once more. `alive` is called all through a pause: it is ours,
/// and no silence of the peer's.
pub(super) async fn send(
    client: &Client,
    again: bool,
    make: impl Fn() -> RequestBuilder,
    mut alive: impl FnMut(),
) -> Result<Response, Failed> {
    let mut pause = FIRST_PAUSE;
    for tries in 1.. {
        let (reason, wanted) = match client.send(make()).await {
            Ok(answer) => {
                let status = answer.status();
                if status.as_u16() != 429 && !status.is_server_error() {
                    return Ok(answer);
                }
                (format!("it answered {status}"), retry_after(&answer))
            }
            Err(error @ (Error::Invalid(_) | Error::Refused(_))) => return Err(Failed::Never(error.to_string())),
            Err(error) if error.sent() == Sent::Maybe && !again => return Err(Failed::Lost(error.to_string())),
            Err(error) => (error.to_string(), None),
        };
        let wait = wanted.unwrap_or(pause);
        if tries >= TRIES || wait > LONGEST_PAUSE {
            return Err(Failed::Later(reason, wanted.unwrap_or(LATER)));
        }
        let end = tokio::time::Instant::now() + wait;
        while tokio::time::Instant::now() < end {
            alive();
            tokio::time::sleep_until(end.min(tokio::time::Instant::now() + SIGN)).await;
        }
        pause *= 2;
    }
    Err(Failed::Later("it was tried too often".to_owned(), LATER))
}

/// In whole seconds; dates are not understood.
fn retry_after(answer: &Response) -> Option<Duration> {
    let value = answer.headers().get(RETRY_AFTER)?.to_str().ok()?;
    value.trim().parse().ok().map(Duration::from_secs)
}
