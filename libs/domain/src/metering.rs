//! What a model call costs: rates, tokens and the estimate that is set aside before the call.
//!
//! Everything is exact. A price list speaks of micro-dollars per million tokens, which is the same number as
//! pico-dollars per token, so no price is ever rounded. Two roundings there are: tokens stored into a provider's cache
//! cost a quarter more than tokens read (kept five minutes) or twice as much (kept an hour), and what that comes to for
//! a call is rounded up to a whole pico-dollar; and the ledger posts whole micro-dollars, the rest carried, in
//! [`PicoUsd::whole_micro`].

use crate::money::PicoUsd;

/// Tokens a message costs beside its text: roles, separators, the answer's priming. More than any provider states.
const OVERHEAD_TOKENS: u64 = 64;
/// Text is at least this many bytes per token, except for rare scripts and noise; those show as more than the hold.
const BYTES_PER_TOKEN: u64 = 3;
/// The most one picture, sound or file in a message is set aside for: the dearest tiling of a full-size picture.
const MEDIA_TOKENS: u64 = 50_000;
/// What a token costs that is stored into the provider's cache, in quarters of a token read: for five minutes.
const QUARTERS_FIVE_MINUTES: i128 = 5;
/// For an hour.
const QUARTERS_HOUR: i128 = 8;

/// Whether a provider's pattern fits a model: the same name, or the beginning of it before a `*` at the end.
#[must_use]
pub fn serves(pattern: &str, model: &str) -> bool {
    match pattern.strip_suffix('*') {
        Some(start) => model.starts_with(start),
        None => pattern == model,
    }
}

/// Why a cost cannot be told.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// Past 64 bits of pico-dollars, about nine million dollars: no such call exists.
    #[error("the cost of one call is past nine million dollars: the token counts cannot be right")]
    TooLarge,
}

/// Price per token, in pico-dollars (= micro-dollars per million tokens).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Rates {
    /// Of a token read.
    pub input: PicoUsd,
    /// Of a token read from the provider's cache.
    pub cached: PicoUsd,
    /// Of a token written.
    pub output: PicoUsd,
}

/// What a provider says a call used.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub struct Tokens {
    /// Tokens read, cached ones included.
    pub input: u64,
    /// Of these, read from the cache. More than `input` counts as `input`.
    pub cached: u64,
    /// Of these, stored into the provider's cache for five minutes.
    pub stored: u64,
    /// Of these, stored into the provider's cache for an hour.
    pub stored_hour: u64,
    /// Tokens written, thinking included.
    pub output: u64,
}

/// Whether a call asks the provider to store what it reads.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Default)]
pub enum Storing {
    /// It does not.
    #[default]
    No,
    /// For five minutes.
    FiveMinutes,
    /// For an hour.
    Hour,
}

/// What is known of a call before it is made.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Request {
    /// Bytes of the whole request.
    pub bytes: u64,
    /// Pictures, sounds and files in it.
    pub media: u64,
    /// The most tokens one answer may have.
    pub output_limit: u64,
    /// Answers asked for.
    pub choices: u64,
    /// Whether its text may be stored, and for how long.
    pub storing: Storing,
}

impl Rates {
    /// The exact cost of a call.
    ///
    /// # Errors
    /// [`Error::TooLarge`] when the counts cannot be right.
    pub fn cost(&self, tokens: Tokens) -> Result<PicoUsd, Error> {
        let Tokens {
            cached,
            stored,
            stored_hour,
            ..
        } = tokens.within_input();
        let part = |count: u64, rate: PicoUsd| i128::from(count).checked_mul(i128::from(rate.0));
        let quarters = i128::from(stored) * QUARTERS_FIVE_MINUTES + i128::from(stored_hour) * QUARTERS_HOUR;
        let storing = quarters
            .checked_mul(i128::from(self.input.0))
            .map(|quarters| quarters / 4 + i128::from(quarters % 4 > 0));
        let exact = part(tokens.input - cached - stored - stored_hour, self.input)
            .zip(part(cached, self.cached))
            .zip(part(tokens.output, self.output))
            .zip(storing)
            .and_then(|(((input, cached), output), storing)| {
                input.checked_add(cached)?.checked_add(output)?.checked_add(storing)
            });
        exact
            .and_then(|exact| i64::try_from(exact).ok())
            .map(PicoUsd)
            .ok_or(Error::TooLarge)
    }

    /// What to set aside for a call: its text at three bytes a token and none of it cached, all of it stored where the
    /// call stores any, every answer at its full length.
    ///
    /// # Errors
    /// [`Error::TooLarge`] when the limits asked for cannot be meant.
    pub fn hold(&self, request: Request) -> Result<PicoUsd, Error> {
        let dearest_input = Self {
            cached: self.input.max(self.cached),
            input: self.input.max(self.cached),
            output: self.output,
        };
        let input = request.input_tokens();
        let stored_for = |storing: Storing| if request.storing == storing { input } else { 0 };
        dearest_input.cost(Tokens {
            input,
            cached: 0,
            stored: stored_for(Storing::FiveMinutes),
            stored_hour: stored_for(Storing::Hour),
            output: request
                .output_limit
                .checked_mul(request.choices.max(1))
                .ok_or(Error::TooLarge)?,
        })
    }

    /// The longest answer that would still fit into `left`; 0 when not even the text does.
    #[must_use]
    pub fn affordable_output(&self, request: Request, left: PicoUsd) -> u64 {
        let text_only = Request {
            output_limit: 0,
            ..request
        };
        let per_token = i128::from(self.output.0) * i128::from(request.choices.max(1));
        match self.hold(text_only) {
            Ok(text) if text.0 <= left.0 && per_token > 0 => {
                u64::try_from(i128::from(left.0 - text.0) / per_token).unwrap_or(u64::MAX)
            }
            Ok(text) if text.0 <= left.0 => request.output_limit,
            _ => 0,
        }
    }

    /// Each rate the higher of both: what an unknown model is taken to cost.
    #[must_use]
    pub fn highest(self, other: Self) -> Self {
        Self {
            input: self.input.max(other.input),
            cached: self.cached.max(other.cached),
            output: self.output.max(other.output),
        }
    }
}

impl Tokens {
    /// The same with parts of the input that add up to no more than all of it.
    #[must_use]
    pub fn within_input(self) -> Self {
        let cached = self.cached.min(self.input);
        let stored_hour = self.stored_hour.min(self.input - cached);
        let stored = self.stored.min(self.input - cached - stored_hour);
        Self {
            cached,
            stored,
            stored_hour,
            ..self
        }
    }
}

impl Request {
    /// Tokens the text is taken to have.
    fn input_tokens(&self) -> u64 {
        self.bytes
            .div_ceil(BYTES_PER_TOKEN)
            .saturating_add(OVERHEAD_TOKENS)
            .saturating_add(self.media.saturating_mul(MEDIA_TOKENS))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const MINI: Rates = Rates {
        input: PicoUsd(150_000),
        cached: PicoUsd(75_000),
        output: PicoUsd(600_000),
    };

    fn tokens(input: u64, cached: u64, output: u64) -> Tokens {
        Tokens {
            input,
            cached,
            output,
            ..Tokens::default()
        }
    }

    fn stored(input: u64, stored: u64, stored_hour: u64) -> Tokens {
        Tokens {
            input,
            stored,
            stored_hour,
            ..Tokens::default()
        }
    }

    #[test]
    fn what_is_stored_costs_a_quarter_more_or_twice_as_much_and_is_rounded_up() {
        assert_eq!(MINI.cost(stored(100, 100, 0)).unwrap().0, 100 * 187_500);
        assert_eq!(MINI.cost(stored(100, 0, 100)).unwrap().0, 100 * 300_000);
        assert_eq!(
            MINI.cost(stored(100, 30, 20)).unwrap().0,
            50 * 150_000 + 30 * 187_500 + 20 * 300_000
        );
        let odd = Rates {
            input: PicoUsd(3),
            ..MINI
        };
        // 3.75 and 7.5.
        assert_eq!(odd.cost(stored(1, 1, 0)).unwrap().0, 4);
        assert_eq!(odd.cost(stored(2, 2, 0)).unwrap().0, 8);
        assert_eq!(MINI.cost(stored(10, 100, 100)), MINI.cost(stored(10, 0, 10)));
    }

    #[test]
    fn a_million_tokens_cost_what_the_price_list_says() {
        let million = 1_000_000;
        assert_eq!(MINI.cost(tokens(million, 0, 0)).unwrap().whole_micro().0, 150_000);
        assert_eq!(MINI.cost(tokens(million, million, 0)).unwrap().whole_micro().0, 75_000);
        assert_eq!(MINI.cost(tokens(0, 0, million)).unwrap().whole_micro().0, 600_000);
    }

    #[test]
    fn counts_that_cannot_be_right_are_refused_and_never_wrap() {
        assert_eq!(MINI.cost(tokens(u64::MAX, 0, u64::MAX)), Err(Error::TooLarge));
        let endless = Request {
            bytes: 1,
            media: 0,
            output_limit: u64::MAX,
            choices: 2,
            storing: Storing::No,
        };
        assert_eq!(MINI.hold(endless), Err(Error::TooLarge));
    }

    #[test]
    fn the_answer_that_still_fits_is_told_exactly() {
        let request = Request {
            bytes: 300,
            media: 0,
            output_limit: 4_096,
            choices: 1,
            storing: Storing::No,
        };
        let left = PicoUsd(164 * 150_000 + 100 * 600_000 + 599_999);
        assert_eq!(MINI.affordable_output(request, left), 100);
        let shorter = Request {
            output_limit: 100,
            ..request
        };
        assert!(MINI.hold(shorter).unwrap() <= left);
        assert_eq!(MINI.affordable_output(request, PicoUsd(1)), 0);
    }

    fn rates() -> impl Strategy<Value = Rates> {
        let rate = || (0_i64..100_000_000).prop_map(PicoUsd);
        (rate(), rate(), rate()).prop_map(|(input, cached, output)| Rates { input, cached, output })
    }

    proptest! {
        #[test]
        fn cost_is_the_sum_of_its_parts(rates in rates(), a in 0_u64..1 << 24, b in 0_u64..1 << 24, c in 0_u64..1 << 24) {
            let whole = rates.cost(tokens(a + b, b, c)).unwrap().0;
            let parts = [tokens(a, 0, 0), tokens(b, b, 0), tokens(0, 0, c)].map(|part| rates.cost(part).unwrap().0);
            prop_assert_eq!(whole, parts.iter().sum::<i64>());
        }

        #[test]
        fn a_hold_covers_every_answer_within_its_limits(
            rates in rates(), bytes in 0_u64..1 << 22, limit in 0_u64..1 << 16, choices in 1_u64..8,
            read in 0.0_f64..=1.0, cached in 0.0_f64..=1.0, written in 0.0_f64..=1.0,
            kept in 0.0_f64..=1.0, storing in prop_oneof![Just(Storing::No), Just(Storing::FiveMinutes), Just(Storing::Hour)],
        ) {
            let share = |of: u64, share: f64| ((of as f64) * share) as u64;
            let request = Request { bytes, media: 0, output_limit: limit, choices, storing };
            let input = share(bytes / 3, read);
            let part = |when: bool| if when { share(input, kept) } else { 0 };
            let used = Tokens {
                stored: part(storing != Storing::No),
                stored_hour: part(storing == Storing::Hour),
                ..tokens(input, share(input, cached), share(limit * choices, written))
            };
            prop_assert!(rates.cost(used).unwrap() <= rates.hold(request).unwrap());
        }

        #[test]
        fn cached_tokens_beyond_the_input_change_nothing(rates in rates(), input in 0_u64..1 << 30, more in 0_u64..1 << 30) {
            prop_assert_eq!(rates.cost(tokens(input, input + more, 0)), rates.cost(tokens(input, input, 0)));
        }
    }
}
