//! What an agent without code says to its model: a template of its own, filled in with the job.
//!
//! What a client wrote is only ever a value, never a template; rendering is bounded in steps and in bytes. Everything a
//! template can name is always there: what is not known is an empty text or list, so that a name that does not exist
//! is a mistake, and is told with its line and column.

use std::collections::BTreeMap;

use minijinja::value::{Serde, Value};
use minijinja::{AutoEscape, Environment, UndefinedBehavior};
use serde_json::{Map, json};

/// The longest template in bytes.
pub const LONGEST_TEMPLATE: usize = 256 * 1024;
/// The longest prompt in bytes.
pub const LONGEST_PROMPT: usize = 1024 * 1024;
/// Steps one prompt may take: tens of thousands of lines, and no endless loop.
const FUEL: u64 = 1_000_000;

/// Why there is no prompt.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// The template is wrong, or asks for too much.
    #[error("{name}:{line}:{column}: {reason}")]
    Template {
        /// The file.
        name: String,
        /// Where in it, from 1 on.
        line: usize,
        /// Where in the line, in letters from 1 on.
        column: usize,
        /// What is wrong there.
        reason: String,
    },
    /// Template or prompt are too long.
    #[error("{name}: the {what} is longer than {limit} bytes")]
    TooLong {
        /// The file.
        name: String,
        /// Which of both.
        what: &'static str,
        /// The bound.
        limit: usize,
    },
}

/// Fills a template in. `job` is the job file; where files of it hold text, their entries have it as `text`.
///
/// # Errors
/// See [`Error`].
pub fn render(name: &str, template: &str, job: &serde_json::Value) -> Result<String, Error> {
    let too_long = |what, limit| Error::TooLong {
        name: name.to_owned(),
        what,
        limit,
    };
    if template.len() > LONGEST_TEMPLATE {
        return Err(too_long("template", LONGEST_TEMPLATE));
    }
    let mut environment = Environment::new();
    environment.set_fuel(Some(FUEL));
    environment.set_undefined_behavior(UndefinedBehavior::SemiStrict);
    environment.set_auto_escape_callback(|_| AutoEscape::None);
    let failed = |error: minijinja::Error| mistake(name, template, &error);
    let mut room = Room(Vec::new());
    let parsed = environment.template_from_named_str(name, template).map_err(failed)?;
    match parsed.render_captured_to(value(&seen(job)), &mut room) {
        Ok(_) => {}
        Err(_) if room.0.len() > LONGEST_PROMPT => return Err(too_long("prompt it makes", LONGEST_PROMPT)),
        Err(error) => return Err(failed(error)),
    }
    Ok(String::from_utf8_lossy(&room.0).trim().to_owned())
}

/// Fills a template in with a made-up job of each kind.
///
/// # Errors
/// As [`render`]: the first that went wrong.
pub fn check(name: &str, template: &str) -> Result<(), Error> {
    for kind in ["work", "revise", "reply", "propose"] {
        render(name, template, &sample(kind))?;
    }
    Ok(())
}

/// A made-up job.
#[must_use]
pub fn sample(kind: &str) -> serde_json::Value {
    let file = json!({ "path": "previous/answer.md", "name": "answer.md", "type": "text/markdown", "bytes": 5, "text": "Short" });
    let contract = json!({
        "id": "0198f3a2-1111-7c3e-9d52-5a8f0c1e2b3d", "title": "Summarise an API", "amount_usdc": "40.00",
        "amount_micro_usdc": 40_000_000, "revision_no": 0,
    });
    let mut job = json!({
        "version": 1,
        "run_id": "0198f3a2-7b1c-7c3e-9d52-5a8f0c1e2b3d",
        "kind": kind,
        "attempt": 1,
        "deadline": "2030-01-01T12:00:00Z",
        "contract": if kind == "propose" { serde_json::Value::Null } else { contract },
        "gig": {
            "id": "gig-1", "title": "Summarise an API", "description": "Write one page about the API in the notes.",
            "category": "content", "skills": ["writing", "api"], "budget_usdc": "45.00",
            "deadline": "2030-01-01T12:00:00Z", "deliverables": "One page", "client_name": "Ada",
        },
        "messages": [
            { "id": "1", "from": "client", "text": "Please keep it short.", "at": "2029-12-01T10:00:00Z", "attachments": [] }
        ],
        "attachments": [],
        "budget": { "llm_micro_usd": 9_000_000, "remaining_micro_usd": 8_750_000 },
    });
    if kind == "propose" {
        job["bid"] = json!({ "min_usdc": "1.00", "max_usdc": "45.00" });
    }
    if kind == "revise" {
        let request = "Please add an example.";
        job["previous"] = json!({ "revision_no": 0, "notes": "Done.", "files": [file], "request": request });
    }
    job
}

/// Everything a template can name, whatever the job leaves out.
fn seen(job: &serde_json::Value) -> serde_json::Value {
    let mut all = Map::new();
    let none = json!("");
    for name in [
        "kind",
        "deadline",
        "contract",
        "previous",
        "checkpoint",
        "request",
        "run_id",
        "attempt",
        "budget",
        "bid",
    ] {
        all.insert(name.to_owned(), none.clone());
    }
    for name in ["messages", "attachments"] {
        all.insert(name.to_owned(), json!([]));
    }
    let mut gig = Map::new();
    for name in [
        "id",
        "title",
        "description",
        "category",
        "budget_usdc",
        "deadline",
        "deliverables",
        "client_name",
    ] {
        gig.insert(name.to_owned(), none.clone());
    }
    gig.insert("skills".to_owned(), json!([]));
    let there = |value: &&serde_json::Value| !value.is_null();
    for (name, value) in job.as_object().into_iter().flatten() {
        if let (true, Some(known)) = (name == "gig", value.as_object()) {
            gig.extend(
                known
                    .iter()
                    .filter(|(_, value)| there(value))
                    .map(|(name, value)| (name.clone(), value.clone())),
            );
        } else if there(&value) {
            all.insert(name.clone(), value.clone());
        }
    }
    all.insert("gig".to_owned(), gig.into());
    all.into()
}

/// JSON as a template sees it: nothing is an empty text, and numbers are numbers.
fn value(json: &serde_json::Value) -> Value {
    match json {
        serde_json::Value::Null => Value::from(""),
        serde_json::Value::Bool(yes) => Value::from(*yes),
        serde_json::Value::Number(number) => match (number.as_i64(), number.as_f64()) {
            (Some(whole), _) => Value::from(whole),
            (None, Some(fraction)) => Value::from(fraction),
            (None, None) => Value::from(number.to_string()),
        },
        serde_json::Value::String(text) => Value::from(text.as_str()),
        serde_json::Value::Array(items) => items.iter().map(value).collect(),
        serde_json::Value::Object(fields) => {
            let fields: BTreeMap<&str, Value> = fields
                .iter()
                .map(|(name, field)| (name.as_str(), value(field)))
                .collect();
            Value::from(Serde(fields))
        }
    }
}

/// A mistake with its place.
fn mistake(name: &str, template: &str, error: &minijinja::Error) -> Error {
    let start = error.range().map_or(0, |range| range.start).min(template.len());
    let before = template.get(..start).unwrap_or_default();
    let column = before.rsplit('\n').next().unwrap_or_default().chars().count() + 1;
    let reason = match error.detail() {
        Some(detail) => format!("{}: {detail}", error.kind()),
        None => error.kind().to_string(),
    };
    Error::Template {
        name: name.to_owned(),
        line: error.line().unwrap_or(1),
        column,
        reason,
    }
}

/// Takes no more than a prompt may have.
struct Room(Vec<u8>);

impl std::io::Write for Room {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0.extend_from_slice(bytes);
        if self.0.len() > LONGEST_PROMPT {
            return Err(std::io::Error::other("the prompt is too long"));
        }
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

#[cfg(test)]
mod tests;
