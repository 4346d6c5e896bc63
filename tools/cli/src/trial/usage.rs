//! What model calls used and cost, by the price list this release carries.

use std::collections::BTreeMap;

use chrono::{DateTime, Utc};
use domain::metering::{Rates, Tokens};
use domain::money::PicoUsd;
use serde::Deserialize;
use serde_json::{Value, json};

/// The list billing begins with.
const PRICES: &str = include_str!("../../../../services/billing/prices.toml");

/// What was used so far, by model.
#[derive(Debug, Clone, Default)]
pub(crate) struct Spent(BTreeMap<String, Used>);

/// Of one model.
#[derive(Debug, Clone, Copy, Default)]
struct Used {
    calls: u64,
    tokens: Tokens,
}

#[derive(Deserialize)]
struct List {
    prices: Vec<Row>,
}

#[derive(Deserialize)]
struct Row {
    model: String,
    effective_from: DateTime<Utc>,
    input: i64,
    cached: i64,
    output: i64,
}

impl Spent {
    pub(super) fn add(&mut self, model: &str, tokens: Tokens) {
        let used = self.0.entry(model.to_owned()).or_default();
        used.calls += 1;
        used.tokens.input += tokens.input;
        used.tokens.cached += tokens.cached;
        used.tokens.output += tokens.output;
    }

    /// All of it in micro-dollars; a model without a price counts nothing and is named by [`Spent::unpriced`].
    pub(crate) fn micro_usd(&self) -> i64 {
        let costs = self
            .0
            .iter()
            .filter_map(|(model, used)| Some(cost(model, used.tokens)?.0));
        costs.sum::<i64>() / 1_000_000
    }

    pub(crate) fn calls(&self) -> u64 {
        self.0.values().map(|used| used.calls).sum()
    }

    /// Models nobody told a price of.
    pub(crate) fn unpriced(&self) -> Vec<&str> {
        let models = self.0.iter().filter(|(model, used)| cost(model, used.tokens).is_none());
        models.map(|(model, _)| model.as_str()).collect()
    }

    pub(crate) fn json(&self) -> Value {
        let one = |(model, used): (&String, &Used)| {
            let tokens = used.tokens;
            json!({
                "model": model, "calls": used.calls, "input": tokens.input, "cached": tokens.cached,
                "output": tokens.output, "micro_usd": cost(model, tokens).map(|cost| cost.0 / 1_000_000),
            })
        };
        self.0.iter().map(one).collect()
    }
}

fn cost(model: &str, tokens: Tokens) -> Option<PicoUsd> {
    let list: List = toml::from_str(PRICES).ok()?;
    let now = Utc::now();
    let mut fitting: Vec<Row> = list
        .prices
        .into_iter()
        .filter(|row| row.model == model && row.effective_from <= now)
        .collect();
    fitting.sort_by_key(|row| row.effective_from);
    let row = fitting.pop()?;
    let rates = Rates {
        input: PicoUsd(row.input),
        cached: PicoUsd(row.cached),
        output: PicoUsd(row.output),
    };
    rates.cost(tokens).ok()
}

/// Collects the usage of one answer: the last figures of each kind count, in whichever form the provider writes them.
#[derive(Debug, Default)]
pub(super) struct Seen {
    pub(super) tokens: Tokens,
    line: Vec<u8>,
}

/// The longest line of a stream that is looked at.
const LONGEST_LINE: usize = 4 * 1024 * 1024;

impl Seen {
    /// Looks at a whole answer.
    pub(super) fn whole(&mut self, body: &[u8]) {
        if let Ok(value) = serde_json::from_slice::<Value>(body) {
            self.value(&value);
        }
    }

    /// Looks at a part of a stream of events.
    pub(super) fn part(&mut self, bytes: &[u8]) {
        for byte in bytes {
            if *byte != b'\n' {
                if self.line.len() < LONGEST_LINE {
                    self.line.push(*byte);
                }
                continue;
            }
            let line = std::mem::take(&mut self.line);
            if let Some(data) = line.strip_prefix(b"data:") {
                self.whole(data.trim_ascii());
            }
        }
    }

    fn value(&mut self, value: &Value) {
        // Anthropic's stream begins with a message, OpenAI's responses end with one.
        for usage in [&value["usage"], &value["message"]["usage"], &value["response"]["usage"]] {
            let number = |keys: &[&str]| keys.iter().find_map(|key| usage.pointer(key)?.as_u64());
            let most = |now: &mut u64, found: Option<u64>| *now = (*now).max(found.unwrap_or(0));
            let cached = number(&[
                "/prompt_tokens_details/cached_tokens",
                "/input_tokens_details/cached_tokens",
            ]);
            let apart = number(&["/cache_read_input_tokens"]);
            let made = number(&["/cache_creation_input_tokens"]).unwrap_or(0);
            let read = number(&["/prompt_tokens", "/input_tokens"]).map(|read| read + apart.unwrap_or(0) + made);
            most(&mut self.tokens.input, read);
            most(&mut self.tokens.cached, cached.or(apart));
            most(
                &mut self.tokens.output,
                number(&["/completion_tokens", "/output_tokens"]),
            );
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn usage_is_found_in_every_form() {
        let seen = |parts: &[&str]| {
            let mut seen = Seen::default();
            parts.iter().for_each(|part| seen.part(part.as_bytes()));
            (seen.tokens.input, seen.tokens.cached, seen.tokens.output)
        };
        let chat = "data: {\"choices\":[],\"usage\":{\"prompt_tokens\":7,\"completion_tokens\":3,\
            \"prompt_tokens_details\":{\"cached_tokens\":2}}}\n\ndata: [DONE]\n\n";
        assert_eq!(
            seen(&["data: {\"usage\":null}\n\n", &chat[..30], &chat[30..]]),
            (7, 2, 3)
        );
        let anthropic = "event: message_start\ndata: {\"message\":{\"usage\":{\"input_tokens\":5,\"output_tokens\":1,\
            \"cache_read_input_tokens\":4}}}\n\ndata: {\"type\":\"message_delta\",\"usage\":{\"output_tokens\":9}}\n\n";
        assert_eq!(seen(&[anthropic]), (9, 4, 9));
        let responses = "data: {\"type\":\"response.completed\",\"response\":{\"usage\":{\"input_tokens\":8,\"output_tokens\":6}}}\n\n";
        assert_eq!(seen(&[responses]), (8, 0, 6));
    }

    #[test]
    fn a_price_list_is_carried_and_a_model_without_a_price_is_named() {
        let mut spent = Spent::default();
        let tokens = Tokens {
            input: 1_000_000,
            output: 1_000_000,
            ..Tokens::default()
        };
        spent.add("gpt-4o-mini", tokens);
        spent.add("home-made", tokens);
        assert_eq!(spent.micro_usd(), 750_000);
        assert_eq!((spent.calls(), spent.unpriced()), (2, vec!["home-made"]));
    }
}
