//! A bid the agent wrote itself: what its run answers, within which bounds, and until when.

use chrono::{DateTime, TimeDelta, Utc};
use serde_json::Value;

use super::usual_price;
use crate::{agent_file::Bidding, money::MicroUsdc};

/// What the marketplace takes, in characters.
pub const SHORTEST_LETTER: usize = 20;
/// What the marketplace takes, in characters.
pub const LONGEST_LETTER: usize = 2000;
/// Hours that can be named.
const MOST_HOURS: u64 = 10_000;
/// Whoever bids later finds the gig given away.
const LONGEST_WRITING: TimeDelta = TimeDelta::hours(1);
/// Of what is left to the gig's deadline, writing may take one part in so many.
const PART_OF_THE_TIME: i32 = 10;
/// Characters of a refusal that are kept.
const LONGEST_REASON: usize = 500;

/// What the agent wants of a gig.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Answer {
    /// To bid.
    Offer(Offer),
    /// Not to bid, and why.
    Decline(String),
}

/// A bid.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Offer {
    /// The price.
    pub amount: MicroUsdc,
    /// For the client.
    pub letter: String,
    /// Shown to the client, where named.
    pub hours: Option<u32>,
}

impl Answer {
    /// Reads the result of a run of kind `propose`.
    ///
    /// # Errors
    /// A sentence that says what is wrong with it.
    pub fn read(result: &Value) -> Result<Self, String> {
        let text = |key: &str| result.get(key).and_then(Value::as_str).map(str::trim);
        if let Some(reason) = text("decline") {
            let plain = |letter: char| if letter.is_control() { ' ' } else { letter };
            return Ok(Self::Decline(reason.chars().map(plain).take(LONGEST_REASON).collect()));
        }
        let amount = match result.get("amount_usdc") {
            Some(Value::String(amount)) => amount.clone(),
            Some(Value::Number(amount)) => amount.to_string(),
            _ => return Err("it has neither `amount_usdc` nor `decline`".to_owned()),
        };
        let amount: MicroUsdc = amount.parse().map_err(|error| format!("`amount_usdc`: {error}"))?;
        let letter = text("cover_letter").ok_or("it has no `cover_letter`")?.to_owned();
        let hours = match result.get("estimated_hours") {
            None | Some(Value::Null) => None,
            Some(hours) => {
                let hours = hours.as_u64().filter(|hours| (1..=MOST_HOURS).contains(hours));
                let hours = hours.and_then(|hours| u32::try_from(hours).ok());
                Some(hours.ok_or_else(|| format!("`estimated_hours` must be a whole number from 1 to {MOST_HOURS}"))?)
            }
        };
        Ok(Self::Offer(Offer { amount, letter, hours }))
    }
}

impl Offer {
    /// What keeps it from going out, in sentences its author can mend it by; empty when nothing does.
    #[must_use]
    pub fn problems(&self, budget: Option<MicroUsdc>, rules: &Bidding) -> Vec<String> {
        let mut found = Vec::new();
        match bounds(budget, rules) {
            Some((least, most)) if self.amount < least || self.amount > most => found.push(format!(
                "`amount_usdc` {} is outside of what may be asked here: {least} to {most}",
                self.amount
            )),
            _ => {}
        }
        let length = self.letter.chars().count();
        if !(SHORTEST_LETTER..=LONGEST_LETTER).contains(&length) {
            found.push(format!(
                "`cover_letter` has {length} characters, the marketplace takes {SHORTEST_LETTER} to {LONGEST_LETTER}"
            ));
        }
        found
    }
}

/// The least and the most that may be asked for a gig: the agent's limits, and never more than the client's budget.
/// `None` for a gig without one.
#[must_use]
pub fn bounds(budget: Option<MicroUsdc>, rules: &Bidding) -> Option<(MicroUsdc, MicroUsdc)> {
    budget.map(|budget| (rules.min_price_usdc, usual_price(budget, rules)))
}

/// Until when a bid is waited for that is begun now: an hour, or a tenth of the time to the gig's deadline if that is
/// less.
#[must_use]
pub fn write_by(deadline: Option<DateTime<Utc>>, now: DateTime<Utc>) -> DateTime<Utc> {
    let left = deadline.map_or(LONGEST_WRITING, |deadline| (deadline - now) / PART_OF_THE_TIME);
    now + left.clamp(TimeDelta::zero(), LONGEST_WRITING)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn rules() -> Bidding {
        Bidding {
            min_price_usdc: MicroUsdc(2_000_000),
            max_price_usdc: Some(MicroUsdc(30_000_000)),
            ..Bidding::default()
        }
    }

    fn offer(amount: &str, letter: &str) -> Offer {
        match Answer::read(&json!({ "amount_usdc": amount, "cover_letter": letter })).unwrap() {
            Answer::Offer(offer) => offer,
            Answer::Decline(why) => panic!("declined: {why}"),
        }
    }

    #[test]
    fn a_price_outside_the_limits_or_above_the_budget_is_told_with_the_bounds() {
        let letter = "A letter that is long enough.";
        let budget = Some(MicroUsdc(20_000_000));
        for good in ["2", "20", "12.345678"] {
            assert!(offer(good, letter).problems(budget, &rules()).is_empty(), "{good}");
        }
        for (wrong, budget) in [("1.99", 20_000_000), ("20.000001", 20_000_000), ("30.5", 90_000_000)] {
            let told = offer(wrong, letter).problems(Some(MicroUsdc(budget)), &rules());
            assert!(told.len() == 1 && told[0].contains("2.00 to"), "{told:?}");
        }
    }

    #[test]
    fn a_letter_the_marketplace_refuses_is_told_with_its_length() {
        for (length, good) in [(19, false), (20, true), (2000, true), (2001, false)] {
            let told = offer("5", &"ß".repeat(length)).problems(None, &rules());
            assert_eq!(told.is_empty(), good, "{length}: {told:?}");
        }
    }

    #[test]
    fn what_is_no_bid_says_what_is_missing() {
        assert_eq!(
            Answer::read(&json!({ "decline": " too far from what I do " })),
            Ok(Answer::Decline("too far from what I do".to_owned()))
        );
        for (wrong, word) in [
            (json!({}), "amount_usdc"),
            (json!({ "amount_usdc": "1e3", "cover_letter": "x" }), "amount_usdc"),
            (json!({ "amount_usdc": 5 }), "cover_letter"),
            (
                json!({ "amount_usdc": 5, "cover_letter": "x", "estimated_hours": 0 }),
                "estimated_hours",
            ),
        ] {
            let told = Answer::read(&wrong).unwrap_err();
            assert!(told.contains(word), "{told}");
        }
    }

    #[test]
    fn writing_never_takes_longer_than_an_hour_or_a_tenth_of_what_is_left() {
        let now = DateTime::from_timestamp(1_700_000_000, 0).unwrap();
        let minutes = |deadline: Option<i64>| {
            let deadline = deadline.map(|minutes| now + TimeDelta::minutes(minutes));
            (write_by(deadline, now) - now).num_minutes()
        };
        assert_eq!(minutes(None), 60);
        assert_eq!(minutes(Some(3 * 24 * 60)), 60);
        assert_eq!(minutes(Some(60)), 6);
        assert_eq!(minutes(Some(-5)), 0);
    }
}
