//! What an answer says about the rate limit.

use std::time::Duration;

use chrono::{DateTime, Utc};
use outbound::headers::HeaderMap;

use crate::time;

/// Waits beyond this are cut: a caller parks long before.
const LONGEST_WAIT: Duration = Duration::from_secs(24 * 3600);

/// The window of the platform's limits.
const WINDOW: Duration = Duration::from_secs(60);

/// The rate limit headers of one answer; `None` where the server was silent.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct RateInfo {
    /// Requests per window.
    pub limit: Option<u32>,
    /// Requests left in this window.
    pub remaining: Option<u32>,
    /// When the window ends.
    pub reset: Option<DateTime<Utc>>,
    /// How long to wait, of `Retry-After` (seconds, or a date measured against `Date`).
    pub retry_after: Option<Duration>,
    /// The server's clock.
    pub server_time: Option<DateTime<Utc>>,
}

impl RateInfo {
    pub(crate) fn of(headers: &HeaderMap) -> Self {
        let text = |name: &str| headers.get(name).and_then(|value| value.to_str().ok());
        let count = |name: &str| text(name).and_then(|text| text.trim().parse().ok());
        let server_time = text("date").and_then(time::from_http);
        Self {
            limit: count("x-ratelimit-limit"),
            remaining: count("x-ratelimit-remaining"),
            reset: text("x-ratelimit-reset").and_then(time::from_text),
            retry_after: text("retry-after").and_then(|text| wait(text, server_time)),
            server_time,
        }
    }

    /// How long until the window ends, when no request is left in it. What would be longer than a minute is nonsense and
    /// says nothing.
    #[must_use]
    pub fn used_up(&self) -> Option<Duration> {
        if self.remaining != Some(0) {
            return None;
        }
        let left = self.reset? - self.server_time?;
        left.to_std().ok().filter(|left| *left <= WINDOW)
    }
}

/// Seconds, or a date. A date without the server's own `Date` cannot be measured here (no clock).
fn wait(text: &str, server_time: Option<DateTime<Utc>>) -> Option<Duration> {
    if let Some(wait) = seconds(text) {
        return Some(wait);
    }
    let wait = time::from_http(text)?.signed_duration_since(server_time?);
    Some(wait.to_std().unwrap_or(Duration::ZERO).min(LONGEST_WAIT))
}

/// Seconds as text, possibly with a fraction (rounded up).
pub(crate) fn seconds(text: &str) -> Option<Duration> {
    let (whole, fraction) = text.trim().split_once('.').unwrap_or((text.trim(), ""));
    let digits = |text: &str| text.bytes().all(|b| b.is_ascii_digit());
    if whole.is_empty() || !digits(whole) || !digits(fraction) {
        return None;
    }
    let more = u64::from(fraction.bytes().any(|b| b != b'0'));
    let whole = whole.parse::<u64>().unwrap_or(u64::MAX).saturating_add(more);
    Some(Duration::from_secs(whole).min(LONGEST_WAIT))
}

#[cfg(test)]
mod tests {
    use outbound::headers::HeaderValue;

    use super::*;

    fn info(pairs: &[(&'static str, &'static str)]) -> RateInfo {
        let mut headers = HeaderMap::new();
        for (name, value) in pairs {
            headers.insert(*name, HeaderValue::from_static(value));
        }
        RateInfo::of(&headers)
    }

    #[test]
    fn retry_after_is_read_in_seconds_and_as_a_date() {
        let date = ("date", "Sun, 01 Mar 2026 12:00:00 GMT");
        for (value, secs) in [
            ("7", Some(7)),
            ("1.2", Some(2)),
            ("0", Some(0)),
            ("soon", None),
            ("-1", None),
            ("Sun, 01 Mar 2026 12:01:30 GMT", Some(90)),
            ("Sun, 01 Mar 2026 11:00:00 GMT", Some(0)),
        ] {
            let info = info(&[date, ("retry-after", value)]);
            assert_eq!(info.retry_after, secs.map(Duration::from_secs), "{value}");
        }
    }

    #[test]
    fn a_window_without_requests_left_is_waited_for_and_never_long() {
        let date = ("date", "Sun, 01 Mar 2026 12:00:00 GMT");
        let none = ("x-ratelimit-remaining", "0");
        for (reset, secs) in [
            ("1772366412", Some(12)),
            ("1772366300", None),
            ("1872366400", None),
            ("later", None),
        ] {
            let left = info(&[date, none, ("x-ratelimit-reset", reset)]).used_up();
            assert_eq!(left, secs.map(Duration::from_secs), "{reset}");
        }
        assert_eq!(info(&[date, ("x-ratelimit-remaining", "1")]).used_up(), None);
        assert_eq!(info(&[date]).used_up(), None);
    }

    #[test]
    fn limits_are_read_and_nonsense_is_silence() {
        let read = info(&[
            ("x-ratelimit-limit", "30"),
            ("x-ratelimit-remaining", "12"),
            ("x-ratelimit-reset", "1772366400"),
        ]);
        assert_eq!((read.limit, read.remaining), (Some(30), Some(12)));
        assert_eq!(read.reset.map(|at| at.timestamp()), Some(1_772_366_400));
        let read = info(&[("x-ratelimit-limit", "many"), ("x-ratelimit-reset", "later")]);
        assert_eq!(read, RateInfo::default());
    }
}
