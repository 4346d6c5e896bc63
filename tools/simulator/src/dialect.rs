//! The dialects: how answers, keys, paths and webhooks are worded.
//!
//! The platform's sources contradict each other. `docs`, `sdk` and `legacy` are each one consistent reading of them;
//! `hostile` is all of them at once, rolled anew for every answer and every webhook.

mod answer;
mod hook;
mod path;

use std::{fmt, str::FromStr};

use serde::{Deserialize, Serialize};

pub use answer::worded;
pub use hook::{body, headers};
pub use path::knows;

/// A way the platform words what it says.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Dialect {
    /// As the current documentation shows it.
    #[default]
    Docs,
    /// As the official TypeScript SDK and its templates expect it.
    Sdk,
    /// As the first documentation showed it.
    Legacy,
    /// Any of them, and what third parties saw, at random.
    Hostile,
}

impl Dialect {
    /// All of them.
    pub const ALL: [Self; 4] = [Self::Docs, Self::Sdk, Self::Legacy, Self::Hostile];

    /// Its name in options and settings.
    pub fn name(self) -> &'static str {
        match self {
            Self::Docs => "docs",
            Self::Sdk => "sdk",
            Self::Legacy => "legacy",
            Self::Hostile => "hostile",
        }
    }
}

impl fmt::Display for Dialect {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl FromStr for Dialect {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let named = Self::ALL.into_iter().find(|dialect| dialect.name() == text);
        named.ok_or_else(|| format!("there is no dialect {text:?}; use docs, sdk, legacy or hostile"))
    }
}

/// `gig_id` as `gigId`.
fn camel(name: &str) -> String {
    let mut cased = String::with_capacity(name.len());
    let mut upper = false;
    for c in name.chars() {
        match c {
            '_' => upper = true,
            c if upper => {
                cased.push(c.to_ascii_uppercase());
                upper = false;
            }
            c => cased.push(c),
        }
    }
    cased
}

/// Whether a member is an amount of money.
fn is_amount(name: &str) -> bool {
    let named = [
        "budget",
        "amount",
        "amount_earned",
        "platform_fee",
        "stats_total_earned",
    ];
    name.ends_with("_usdc") || named.contains(&name)
}

/// How members are named and amounts are written.
#[derive(Clone, Copy, Debug, Default)]
struct Spelling {
    camel: bool,
    text_amounts: bool,
}

impl Spelling {
    fn rolled(dice: &mut crate::rng::Rng) -> Self {
        Self {
            camel: dice.chance(0.4),
            text_amounts: dice.chance(0.4),
        }
    }

    fn apply(self, value: serde_json::Value) -> serde_json::Value {
        use serde_json::Value;
        match value {
            Value::Array(items) => Value::Array(items.into_iter().map(|item| self.apply(item)).collect()),
            Value::Object(members) => Value::Object(
                members
                    .into_iter()
                    .map(|(name, value)| {
                        let value = match value {
                            Value::Number(number) if self.text_amounts && is_amount(&name) => {
                                Value::String(number.to_string())
                            }
                            other => self.apply(other),
                        };
                        (if self.camel { camel(&name) } else { name }, value)
                    })
                    .collect(),
            ),
            other => other,
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn every_dialect_is_found_by_its_name_and_others_are_refused() {
        for dialect in Dialect::ALL {
            assert_eq!(dialect.name().parse(), Ok(dialect));
        }
        assert!("klingon".parse::<Dialect>().unwrap_err().contains("hostile"));
    }

    #[test]
    fn names_and_amounts_are_spelt_throughout() {
        let spelling = Spelling {
            camel: true,
            text_amounts: true,
        };
        let spelt = spelling.apply(json!({"data": [{"gig_id": "g", "budget_usdc": 25.5, "total": 3}]}));
        assert_eq!(
            spelt,
            json!({"data": [{"gigId": "g", "budgetUsdc": "25.5", "total": 3}]})
        );
    }
}
