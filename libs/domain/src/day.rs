//! An agent's money of one day, and what a run is given of it.

use crate::money::{MicroUsd, PicoUsd};

/// No run is begun with less than this share of a day's money, in thousandths, unless it asks for less.
const LEAST_OF_A_DAY: u32 = 100;

/// One agent's day.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Day {
    /// What it may spend.
    pub limit: MicroUsd,
    /// What it spent.
    pub spent: PicoUsd,
    /// What its other runs may still spend.
    pub promised: PicoUsd,
}

/// What a run gets.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Share {
    /// This much.
    Given(MicroUsd),
    /// Nothing now: other runs may still spend the rest, and they end.
    Promised,
    /// Nothing today.
    Spent,
}

impl Day {
    /// What a run that asks for `asked` gets: never more than what is neither spent nor promised, and nothing at all
    /// rather than next to nothing, with which it would fail on its first call.
    #[must_use]
    pub fn share(self, asked: MicroUsd) -> Share {
        let least = self.limit.permille(LEAST_OF_A_DAY).min(asked);
        let rest = self.limit.pico().0.saturating_sub(self.spent.0);
        let free = PicoUsd(rest.saturating_sub(self.promised.0)).whole_micro();
        if free >= least && free >= MicroUsd::ZERO {
            Share::Given(asked.min(free))
        } else if PicoUsd(rest).whole_micro() >= least && rest >= 0 {
            Share::Promised
        } else {
            Share::Spent
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const DOLLAR: i64 = 1_000_000;

    fn share(limit: i64, spent: i64, promised: i64, asked: i64) -> Share {
        let day = Day {
            limit: MicroUsd(limit),
            spent: MicroUsd(spent).pico(),
            promised: MicroUsd(promised).pico(),
        };
        day.share(MicroUsd(asked))
    }

    #[test]
    fn a_run_gets_what_is_left_of_the_day_or_waits_for_the_next() {
        let given = |micro| Share::Given(MicroUsd(micro));
        assert_eq!(share(5 * DOLLAR, 0, 0, 2 * DOLLAR), given(2 * DOLLAR));
        assert_eq!(share(5 * DOLLAR, 4 * DOLLAR, 0, 2 * DOLLAR), given(DOLLAR));
        assert_eq!(share(5 * DOLLAR, 4_600_000, 0, 2 * DOLLAR), Share::Spent);
        assert_eq!(
            share(5 * DOLLAR, 4_600_000, 0, 300_000),
            given(300_000),
            "it asks for no more"
        );
        assert_eq!(share(5 * DOLLAR, 6 * DOLLAR, 0, 0), Share::Spent);
        assert_eq!(share(0, 0, 0, 0), given(0));
    }

    #[test]
    fn what_other_runs_may_still_spend_is_waited_for() {
        assert_eq!(
            share(5 * DOLLAR, DOLLAR, 3 * DOLLAR, 2 * DOLLAR),
            Share::Given(MicroUsd(DOLLAR))
        );
        assert_eq!(share(5 * DOLLAR, DOLLAR, 4 * DOLLAR, 2 * DOLLAR), Share::Promised);
        assert_eq!(
            share(5 * DOLLAR, 4_600_000, 400_000, 2 * DOLLAR),
            Share::Spent,
            "ending runs free too little"
        );
    }

    proptest! {
        #[test]
        fn runs_never_get_more_than_the_day_has(
            limit in 0..100 * DOLLAR,
            spent in 0..i64::MAX / 4,
            asked in proptest::collection::vec(0..50 * DOLLAR, 1..20),
        ) {
            let mut day = Day { limit: MicroUsd(limit), spent: PicoUsd(spent), promised: PicoUsd::ZERO };
            for asked in asked {
                if let Share::Given(given) = day.share(MicroUsd(asked)) {
                    prop_assert!(given.0 <= asked);
                    day.promised = PicoUsd(day.promised.0 + given.pico().0);
                    prop_assert!(day.spent.0 + day.promised.0 <= day.limit.pico().0);
                }
            }
        }
    }
}
