//! The result of a run, checked by the kind of its job.

use serde_json::{Map, Value, json};

use super::Kind;
use super::name::{in_out, shorten};

/// Notes, reply or cover letter, in bytes.
const MAX_TEXT: usize = 100 * 1024;
/// Names of files that are left out, as far as they are told, in bytes.
const MAX_NAMED: usize = 1000;
/// Files named in one list.
const MAX_FILES: usize = 1000;
/// More than any gig: USDC.
const MAX_WHOLE_USDC: usize = 9;
/// Decimals of a micro-unit.
const MAX_DECIMALS: usize = 6;

/// A result that fits its job.
#[derive(Debug, Clone, PartialEq)]
pub enum Answer {
    /// Of work and revise: what was done, and the files to deliver.
    Done {
        /// For the client.
        notes: String,
        /// Names below `out/`, each once.
        files: Vec<String>,
        /// What to write to the client once it is delivered.
        message: Option<String>,
        /// Why a human has to see it before; an agent cannot say so.
        hold: Option<String>,
    },
    /// Of reply: what to write.
    Reply(String),
    /// Of reply: nothing to write.
    NoReply(String),
    /// Of propose: the bid.
    Proposal {
        /// The price, as a decimal text in USDC.
        amount_usdc: String,
        /// For the client.
        cover_letter: String,
        /// How long it may take.
        estimated_hours: Option<u64>,
    },
    /// Of propose: no bid, and why.
    Decline(String),
}

impl Answer {
    /// Checks the fields of a `result` event against what a job of this kind must answer. Unknown fields are ignored.
    ///
    /// # Errors
    /// A sentence that says what was wrong, for the operator and the next attempt.
    pub fn check(kind: Kind, fields: &Map<String, Value>) -> Result<Self, String> {
        match kind {
            Kind::Work | Kind::Revise => Ok(Self::Done {
                notes: text(fields, "notes")?,
                files: files(fields.get("files"))?,
                message: match fields.get("message") {
                    None | Some(Value::Null) => None,
                    Some(_) => Some(text(fields, "message")?),
                },
                hold: None,
            }),
            Kind::Reply => reply(fields),
            Kind::Propose => propose(fields),
        }
    }

    /// The files it delivers.
    #[must_use]
    pub fn files(&self) -> &[String] {
        match self {
            Self::Done { files, .. } => files,
            _ => &[],
        }
    }

    /// What the client reads beside them.
    #[must_use]
    pub fn notes(&self) -> &str {
        match self {
            Self::Done { notes, .. } => notes,
            _ => "",
        }
    }

    /// Has a human look before it is delivered.
    pub fn hold(&mut self, why: &str) {
        if let Self::Done { hold, .. } = self {
            *hold = Some(why.to_owned());
        }
    }

    /// Delivers all but these files and tells the client, if others are left. Whether it does.
    pub fn leave_out(&mut self, empty: &[String]) -> bool {
        let Self::Done { notes, files, .. } = self else {
            return false;
        };
        if empty.is_empty() || files.iter().all(|name| empty.contains(name)) {
            return false;
        }
        files.retain(|name| !empty.contains(name));
        let names = super::event::cut(&empty.join(", "), MAX_NAMED).to_owned();
        notes.push_str(&format!("\n\nNot sent, as they are empty: {names}"));
        true
    }

    /// The result as JSON in its one normal form: known fields only, file names relative to `out/`.
    #[must_use]
    pub fn to_json(&self) -> String {
        let value = match self {
            Self::Done {
                notes,
                files,
                message,
                hold,
            } => {
                let value = json!({"type": "result", "notes": notes, "files": files});
                let value = with(value, "message", message.as_deref().map(Into::into));
                with(value, "hold", hold.as_deref().map(Into::into))
            }
            Self::Reply(text) => json!({"type": "result", "text": text}),
            Self::NoReply(reason) => json!({"type": "result", "none": true, "reason": reason}),
            Self::Proposal {
                amount_usdc,
                cover_letter,
                estimated_hours,
            } => {
                let value = json!({"type": "result", "amount_usdc": amount_usdc, "cover_letter": cover_letter});
                with(value, "estimated_hours", estimated_hours.map(Into::into))
            }
            Self::Decline(reason) => json!({"type": "result", "decline": reason}),
        };
        value.to_string()
    }
}

fn with(mut object: Value, field: &str, value: Option<Value>) -> Value {
    if let (Some(value), Some(fields)) = (value, object.as_object_mut()) {
        fields.insert(field.to_owned(), value);
    }
    object
}

/// A list of names below `out/`, normalised, each once; absent means none.
pub(super) fn files(value: Option<&Value>) -> Result<Vec<String>, String> {
    let Some(value) = value.filter(|value| !value.is_null()) else {
        return Ok(Vec::new());
    };
    let Value::Array(items) = value else {
        return Err("`files` must be a list of names below out/".to_owned());
    };
    if items.len() > MAX_FILES {
        return Err(format!("`files` must name at most {MAX_FILES} files"));
    }
    let mut names = Vec::with_capacity(items.len());
    for item in items {
        let Value::String(name) = item else {
            return Err("`files` must be a list of names below out/".to_owned());
        };
        let name = in_out(name)?;
        if !names.contains(&name) {
            names.push(name);
        }
    }
    Ok(names)
}

fn reply(fields: &Map<String, Value>) -> Result<Answer, String> {
    let none = fields
        .get("none")
        .is_some_and(|none| !matches!(none, Value::Null | Value::Bool(false)));
    match (fields.contains_key("text"), none) {
        (true, true) => Err("a reply has either `text` or `none`, not both".to_owned()),
        (_, false) => Ok(Answer::Reply(text(fields, "text")?)),
        (false, true) => Ok(Answer::NoReply(text(fields, "reason")?)),
    }
}

fn propose(fields: &Map<String, Value>) -> Result<Answer, String> {
    if fields.get("decline").is_some_and(|decline| !decline.is_null()) {
        return Ok(Answer::Decline(text(fields, "decline")?));
    }
    let estimated_hours = match fields.get("estimated_hours") {
        None | Some(Value::Null) => None,
        Some(value) => match value.as_u64() {
            Some(hours @ 1..=10_000) => Some(hours),
            _ => return Err("`estimated_hours` must be a whole number from 1 to 10000".to_owned()),
        },
    };
    Ok(Answer::Proposal {
        amount_usdc: amount(fields.get("amount_usdc"))?,
        cover_letter: text(fields, "cover_letter")?,
        estimated_hours,
    })
}

/// A positive decimal with at most six places, as text: money never passes through a float.
fn amount(value: Option<&Value>) -> Result<String, String> {
    let written = match value {
        Some(Value::String(text)) => text.trim().to_owned(),
        Some(Value::Number(number)) => number.to_string(),
        _ => return Err("`amount_usdc` must be a price such as 12.5, or `decline` must say why not".to_owned()),
    };
    let bad = || {
        format!(
            "`amount_usdc` {} is not a price: digits, at most {MAX_DECIMALS} decimals",
            shorten(&written)
        )
    };
    let (whole, decimals) = written.split_once('.').unwrap_or((&written, "0"));
    let digits = |part: &str| !part.is_empty() && part.bytes().all(|byte| byte.is_ascii_digit());
    let zero = |part: &str| part.bytes().all(|byte| byte == b'0');
    if !digits(whole) || !digits(decimals) || whole.len() > MAX_WHOLE_USDC || decimals.len() > MAX_DECIMALS {
        return Err(bad());
    }
    if zero(whole) && zero(decimals) {
        return Err("`amount_usdc` must be more than nothing; use `decline` not to bid".to_owned());
    }
    Ok(written)
}

fn text(fields: &Map<String, Value>, key: &str) -> Result<String, String> {
    match fields.get(key) {
        Some(Value::String(text)) if text.trim().is_empty() => Err(format!("`{key}` is empty")),
        Some(Value::String(text)) if text.len() > MAX_TEXT => Err(format!("`{key}` is longer than {MAX_TEXT} bytes")),
        Some(Value::String(text)) => Ok(text.clone()),
        Some(_) => Err(format!("`{key}` must be a text")),
        None => Err(format!("`{key}` is missing")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(kind: Kind, json: Value) -> Result<Answer, String> {
        let Value::Object(fields) = json else {
            panic!("not an object")
        };
        Answer::check(kind, &fields)
    }

    #[test]
    fn each_kind_accepts_its_own_result_only() {
        let work = json!({"notes": "done", "files": ["out/a.md", "a.md", "b/c"]});
        let answer = check(Kind::Work, work.clone()).unwrap();
        assert_eq!(
            answer.files(),
            ["a.md", "b/c"],
            "out/ is left away and names are kept once"
        );
        assert!(check(Kind::Reply, work.clone()).is_err());
        assert!(check(Kind::Propose, work).is_err());
        assert_eq!(
            check(Kind::Reply, json!({"text": "yes"})),
            Ok(Answer::Reply("yes".to_owned()))
        );
        assert_eq!(
            check(Kind::Reply, json!({"none": true, "reason": "spam"})),
            Ok(Answer::NoReply("spam".to_owned()))
        );
        assert_eq!(
            check(Kind::Propose, json!({"decline": "no"})),
            Ok(Answer::Decline("no".to_owned()))
        );
        assert!(check(Kind::Propose, json!({"amount_usdc": 12.5, "cover_letter": "hi"})).is_ok());
    }

    #[test]
    fn a_malformed_result_is_told_what_is_wrong_with_it() {
        for (kind, json, word) in [
            (Kind::Work, json!({}), "notes"),
            (Kind::Work, json!({"notes": " "}), "empty"),
            (Kind::Work, json!({"notes": 7}), "text"),
            (Kind::Work, json!({"notes": "x", "message": ""}), "`message` is empty"),
            (Kind::Work, json!({"notes": "x", "files": "a"}), "list"),
            (Kind::Work, json!({"notes": "x", "files": ["/etc/passwd"]}), "absolute"),
            (Kind::Revise, json!({"notes": "x", "files": ["out/../../x"]}), "leaves"),
            (Kind::Reply, json!({}), "text"),
            (Kind::Reply, json!({"text": "a", "none": true}), "either"),
            (Kind::Reply, json!({"none": true}), "reason"),
            (Kind::Propose, json!({"cover_letter": "x"}), "amount_usdc"),
            (Kind::Propose, json!({"amount_usdc": 5}), "cover_letter"),
            (
                Kind::Propose,
                json!({"amount_usdc": 5, "cover_letter": "x", "estimated_hours": 0.5}),
                "estimated_hours",
            ),
        ] {
            let error = check(kind, json).unwrap_err();
            assert!(error.contains(word), "{error:?} does not say {word:?}");
        }
    }

    #[test]
    fn prices_are_decimals_and_stay_as_written() {
        for good in [json!("12.50"), json!(12.5), json!(3), json!("0.000001")] {
            let fields = json!({"amount_usdc": good, "cover_letter": "x"});
            assert!(check(Kind::Propose, fields).is_ok(), "{good}");
        }
        for bad in [
            json!("0"),
            json!("-1"),
            json!("1e3"),
            json!("1.0000001"),
            json!("NaN"),
            json!("9999999999"),
            json!(""),
        ] {
            let fields = json!({"amount_usdc": bad, "cover_letter": "x"});
            assert!(check(Kind::Propose, fields).is_err(), "{bad}");
        }
    }

    #[test]
    fn the_normal_form_is_accepted_again() {
        let answer = check(
            Kind::Propose,
            json!({"amount_usdc": "5", "cover_letter": "x", "estimated_hours": 2}),
        )
        .unwrap();
        let again: Value = serde_json::from_str(&answer.to_json()).unwrap();
        assert_eq!(check(Kind::Propose, again), Ok(answer));
        let work = check(Kind::Work, json!({"notes": "n", "message": "It is there."})).unwrap();
        assert!(matches!(&work, Answer::Done { message: Some(said), .. } if said == "It is there."));
        let again: Value = serde_json::from_str(&work.to_json()).unwrap();
        assert_eq!(check(Kind::Work, again), Ok(work));
    }
}
