//! The providers' own count of what was used.

use std::collections::BTreeMap;

use serde::Serialize;
use serde_json::{Value, json};

/// Models and runs counted by name; further ones are counted together.
const MAX_NAMES: usize = 20_000;
/// The name under which those are counted.
const OTHERS: &str = "(others)";

/// The tokens of one call.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Usage {
    /// Of the prompt, cached ones included.
    pub input: u64,
    pub output: u64,
    /// Of the prompt, read from the cache.
    pub cached: u64,
    /// Of the prompt, stored into the cache.
    pub stored: u64,
}

/// Calls and their tokens.
#[derive(Clone, Copy, Debug, Default, Serialize)]
struct Count {
    calls: u64,
    input_tokens: u64,
    output_tokens: u64,
    cached_tokens: u64,
    stored_tokens: u64,
}

impl Count {
    fn add(&mut self, usage: Usage) {
        self.calls += 1;
        self.input_tokens += usage.input;
        self.output_tokens += usage.output;
        self.cached_tokens += usage.cached;
        self.stored_tokens += usage.stored;
    }
}

/// What was used, by model and by run.
#[derive(Debug, Default)]
pub struct Books {
    total: Count,
    by_model: BTreeMap<String, Count>,
    by_run: BTreeMap<String, Count>,
}

impl Books {
    pub fn enter(&mut self, model: &str, run: Option<&str>, usage: Usage) {
        self.total.add(usage);
        named(&mut self.by_model, model).add(usage);
        if let Some(run) = run {
            named(&mut self.by_run, run).add(usage);
        }
    }

    /// As the report shows it.
    pub fn shown(&self) -> Value {
        let mut shown = json!(self.total);
        shown["by_model"] = json!(self.by_model);
        shown["by_run"] = json!(self.by_run);
        shown
    }
}

fn named<'a>(counts: &'a mut BTreeMap<String, Count>, name: &str) -> &'a mut Count {
    let full = counts.len() >= MAX_NAMES && !counts.contains_key(name);
    let name = if full { OTHERS } else { name };
    counts.entry(name.to_owned()).or_default()
}
