//! `[maintenance]`: hours of the week in which nothing new begins.

use boot::Checks;
use chrono::{DateTime, Datelike as _, FixedOffset, NaiveDate, NaiveTime, TimeDelta, Utc, Weekday};
use serde::{Deserialize, Serialize};

/// How far ahead windows are planned, days.
const AHEAD: i64 = 2;

/// `[maintenance]`
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Maintenance {
    /// Windows that come again each week.
    pub windows: Vec<Window>,
}

/// One of `maintenance.windows`
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Window {
    /// The days it begins on: mon, tue, wed, thu, fri, sat, sun.
    pub days: Vec<String>,
    /// When it begins, such as 02:00.
    pub from: String,
    /// When it ends; not later than `from` means on the next day.
    pub to: String,
    /// `UTC`, or what a clock there is ahead of it, such as +02:00; clocks are not put forward or back.
    #[serde(default = "utc")]
    pub zone: String,
}

/// A window whose words were understood.
struct Known {
    days: Vec<Weekday>,
    from: NaiveTime,
    to: NaiveTime,
    zone: FixedOffset,
}

fn utc() -> String {
    "UTC".to_owned()
}

impl Maintenance {
    /// What of it cannot be understood.
    ///
    /// # Errors
    /// A sentence for each window that cannot.
    pub fn validate(&self) -> Result<(), Vec<String>> {
        let checks = self
            .windows
            .iter()
            .enumerate()
            .fold(Checks::new(), |checks, (at, window)| {
                let understood = window.read();
                let why = understood.as_ref().err().copied().unwrap_or_default();
                checks.require(understood.is_ok(), format!("maintenance.windows[{at}]: {why}"))
            });
        checks.done()
    }

    /// The windows that are on, or begin within two days.
    #[must_use]
    pub fn around(&self, now: DateTime<Utc>) -> Vec<(DateTime<Utc>, DateTime<Utc>)> {
        let known = self.windows.iter().filter_map(|window| window.read().ok());
        let mut found: Vec<_> = known.flat_map(|window| window.around(now)).collect();
        found.sort_unstable();
        // Two that begin together are the longer one.
        found.reverse();
        found.dedup_by_key(|(starts_at, _)| *starts_at);
        found.reverse();
        found
    }
}

impl Window {
    fn read(&self) -> Result<Known, &'static str> {
        let days: Option<Vec<Weekday>> = self.days.iter().map(|day| weekday(day)).collect();
        let days = days.filter(|days| !days.is_empty());
        let time = |text: &str| NaiveTime::parse_from_str(text, "%H:%M").ok();
        Ok(Known {
            days: days.ok_or("days must hold some of mon, tue, wed, thu, fri, sat, sun")?,
            from: time(&self.from).ok_or("from must be a time such as 02:00")?,
            to: time(&self.to).ok_or("to must be a time such as 04:00")?,
            zone: offset(&self.zone).ok_or("zone must be UTC or what is added to it, such as +02:00")?,
        })
    }
}

impl Known {
    fn around(&self, now: DateTime<Utc>) -> Vec<(DateTime<Utc>, DateTime<Utc>)> {
        let today = now.with_timezone(&self.zone).date_naive();
        let days = (-1..=AHEAD).filter_map(|day| today.checked_add_signed(TimeDelta::days(day)));
        days.filter(|day| self.days.contains(&day.weekday()))
            .filter_map(|day| self.on(day))
            .filter(|(_, ends_at)| *ends_at > now)
            .collect()
    }

    fn on(&self, day: NaiveDate) -> Option<(DateTime<Utc>, DateTime<Utc>)> {
        let last = if self.to > self.from { day } else { day.succ_opt()? };
        let at = |day: NaiveDate, time| Some(day.and_time(time).and_local_timezone(self.zone).single()?.to_utc());
        Some((at(day, self.from)?, at(last, self.to)?))
    }
}

fn weekday(day: &str) -> Option<Weekday> {
    let known = ["mon", "tue", "wed", "thu", "fri", "sat", "sun"];
    known.contains(&day).then(|| day.parse().ok()).flatten()
}

fn offset(zone: &str) -> Option<FixedOffset> {
    match zone {
        "UTC" => FixedOffset::east_opt(0),
        other => other.parse().ok(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn window(days: &[&str], from: &str, to: &str, zone: &str) -> Maintenance {
        Maintenance {
            windows: vec![Window {
                days: days.iter().map(|day| (*day).to_owned()).collect(),
                from: from.to_owned(),
                to: to.to_owned(),
                zone: zone.to_owned(),
            }],
        }
    }

    fn at(text: &str) -> DateTime<Utc> {
        text.parse().unwrap()
    }

    #[test]
    fn a_window_comes_on_its_day_in_its_zone_and_may_pass_midnight() {
        // The first of June 2025 was a Sunday.
        let night = window(&["sun"], "22:00", "02:00", "+02:00");
        let expected = (at("2025-06-01T20:00:00Z"), at("2025-06-02T00:00:00Z"));
        for now in ["2025-05-31T10:00:00Z", "2025-06-01T23:59:59Z"] {
            assert_eq!(night.around(at(now)), [expected], "{now}");
        }
        assert!(night.around(at("2025-06-02T00:00:00Z")).is_empty(), "it is over");
    }

    #[test]
    fn two_windows_that_begin_together_are_the_longer_one() {
        let mut both = window(&["sun"], "02:00", "03:00", "UTC");
        both.windows.extend(window(&["sun"], "02:00", "05:00", "UTC").windows);
        let found = both.around(at("2025-06-01T01:00:00Z"));
        assert_eq!(found, [(at("2025-06-01T02:00:00Z"), at("2025-06-01T05:00:00Z"))]);
    }

    #[test]
    fn words_that_say_no_time_are_refused_with_what_to_write() {
        for (wrong, word) in [
            (window(&["sunday"], "02:00", "03:00", "UTC"), "days"),
            (window(&[], "02:00", "03:00", "UTC"), "days"),
            (window(&["sun"], "2", "03:00", "UTC"), "from"),
            (window(&["sun"], "02:00", "25:00", "UTC"), "to must"),
            (window(&["sun"], "02:00", "03:00", "Mars"), "zone"),
        ] {
            let said = wrong.validate().unwrap_err().join(" ");
            assert!(said.contains(word), "{said}");
        }
        assert_eq!(window(&["mon"], "02:00", "03:00", "UTC").validate(), Ok(()));
    }
}
