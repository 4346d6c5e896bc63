//! Amounts in micro-USDC, written and read as JSON decimal numbers without floating point.

use std::fmt;

use serde::{Deserialize, Deserializer, Serialize, Serializer, de::Error as _};
use serde_json::{Number, Value};

/// Decimal places kept.
const PLACES: i32 = 6;
/// The largest amount accepted: one thousand million USDC.
const MAX: i64 = 1_000_000_000_000_000;

/// An amount of USDC in millionths.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Micro(pub i64);

impl Micro {
    /// Reads a decimal number such as `25`, `25.50` or `2.5e1`; none if it has more than six
    /// decimals that matter, or is out of range.
    pub fn parse(text: &str) -> Option<Self> {
        let (mantissa, exponent) = match text.split_once(['e', 'E']) {
            Some((mantissa, exponent)) => (mantissa, exponent.parse::<i32>().ok()?),
            None => (text, 0),
        };
        let (negative, mantissa) = match mantissa.strip_prefix('-') {
            Some(rest) => (true, rest),
            None => (false, mantissa),
        };
        let (whole, fraction) = mantissa.split_once('.').unwrap_or((mantissa, ""));
        let digits = format!("{whole}{fraction}");
        if digits.is_empty() || digits.len() > 30 || !digits.bytes().all(|b| b.is_ascii_digit()) {
            return None;
        }
        let shift = PLACES
            .checked_sub(i32::try_from(fraction.len()).ok()?)?
            .checked_add(exponent)?;
        let factor = 10_i128.checked_pow(shift.unsigned_abs())?;
        let number = digits.parse::<i128>().ok()?;
        let micro = if shift >= 0 {
            number.checked_mul(factor)?
        } else if number % factor == 0 {
            number / factor
        } else {
            return None;
        };
        let micro = i64::try_from(micro).ok().filter(|micro| *micro <= MAX)?;
        Some(Self(if negative { -micro } else { micro }))
    }

    /// Reads a JSON number or a numeric string.
    pub fn from_json(value: &Value) -> Option<Self> {
        match value {
            Value::Number(number) => Self::parse(number.as_str()),
            Value::String(text) => Self::parse(text.trim()),
            _ => None,
        }
    }

    /// The platform's fee: a tenth, rounded half up to the micro-unit.
    pub fn fee(self) -> Self {
        Self((self.0 + 5) / 10)
    }

    /// What the agent gets: the amount less the fee.
    pub fn payout(self) -> Self {
        Self(self.0 - self.fee().0)
    }
}

impl fmt::Display for Micro {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (sign, micro) = (if self.0 < 0 { "-" } else { "" }, self.0.unsigned_abs());
        let text = format!("{sign}{}.{:06}", micro / 1_000_000, micro % 1_000_000);
        f.write_str(text.trim_end_matches('0').trim_end_matches('.'))
    }
}

impl Serialize for Micro {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        if self.0 % 1_000_000 == 0 {
            return serializer.serialize_i64(self.0 / 1_000_000);
        }
        self.to_string()
            .parse::<Number>()
            .map_err(serde::ser::Error::custom)?
            .serialize(serializer)
    }
}

impl<'de> Deserialize<'de> for Micro {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let value = Value::deserialize(deserializer)?;
        Self::from_json(&value).ok_or_else(|| D::Error::custom("an amount must be a number with at most 6 decimals"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn decimals_are_read_and_written_to_the_micro_unit() {
        for (text, micro) in [
            ("25", 25_000_000),
            ("25.50", 25_500_000),
            ("0.000001", 1),
            ("2.5e1", 25_000_000),
            ("1.5E-6", 0),
            ("-3.1", -3_100_000),
        ] {
            let read = Micro::parse(text);
            if text == "1.5E-6" {
                assert_eq!(read, None, "half a micro-unit is no amount");
            } else {
                assert_eq!(read, Some(Micro(micro)), "{text}");
            }
        }
        assert_eq!(Micro::parse("abc"), None);
        assert_eq!(Micro::parse(""), None);
        assert_eq!(Micro(25_500_000).to_string(), "25.5");
        assert_eq!(Micro(100_000_000).to_string(), "100");
        assert_eq!(serde_json::to_string(&Micro(1)).unwrap_or_default(), "0.000001");
    }

    #[test]
    fn fee_is_a_tenth_rounded_half_up_and_nothing_is_lost() {
        assert_eq!(Micro(250_000_000).fee(), Micro(25_000_000));
        assert_eq!(Micro(5).fee(), Micro(1));
        assert_eq!(Micro(4).fee(), Micro(0));
        assert_eq!(Micro(33_333_335).fee(), Micro(3_333_334));
        for micro in 0..10_000 {
            let amount = Micro(micro);
            assert_eq!(amount.fee().0 + amount.payout().0, micro);
        }
    }
}
