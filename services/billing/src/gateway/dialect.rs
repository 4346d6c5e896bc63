//! The protocols agents speak: what of a request, an answer and a stream the gateway must understand, and nothing more.
//!
//! A dialect reads requests (what they may cost, what must be refused), finds the usage in answers, knows which event
//! ends a stream, and says no in words its clients understand. Everything else is the same for all of them.

mod chat;
mod messages;
mod responses;

use bytes::Bytes;
use domain::metering::{Request, Tokens, serves};
use http::{HeaderMap, StatusCode};
use serde::{Deserialize, Deserializer};
use serde_json::{Value, json, value::RawValue};
use store::{run_accounts::Access, usage::Flag};

use super::{refusal::Refusal, rewrite::Edits};
use crate::config::{self, Api};

/// The longest name of a model.
const LONGEST_MODEL: usize = 200;

/// A protocol, which is a path.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Dialect {
    /// OpenAI's chat completions.
    Chat,
    /// Anthropic's messages.
    Messages,
    /// OpenAI's responses.
    Responses,
}

/// A call, understood.
#[derive(Debug)]
pub(crate) struct Ask {
    /// How it speaks.
    pub dialect: Dialect,
    /// Whom it wants to talk to; set by now.
    pub model: String,
    /// Whether it wants a stream.
    pub stream: bool,
    /// What it can cost.
    pub request: Request,
    /// What was rewritten.
    pub flags: Vec<Flag>,
    /// Of the agent's headers, those that are sent on.
    pub headers: HeaderMap,
    /// What is sent on.
    pub body: Bytes,
}

/// What an answer, or one event of a streamed one, says about money.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Seen {
    /// Who answered.
    pub model: Option<String>,
    /// What it counted.
    pub tokens: Tokens,
}

/// What the events of a stream came to so far.
#[derive(Debug, Default)]
pub(crate) struct Tally {
    /// The whole usage, once it came.
    pub seen: Option<Seen>,
    /// The beginning of a usage whose rest comes later.
    begun: Option<messages::Begun>,
}

/// This is no answer, or no event, of this protocol.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the answer holds something that is no part of this protocol")]
pub struct Garbage;

impl Dialect {
    /// Whose client asks for this path, as far as that can be told.
    pub fn of_path(path: &str) -> Self {
        let path = path.strip_prefix("/v1").unwrap_or(path);
        match path.split('/').nth(1) {
            Some("messages") => Self::Messages,
            Some("responses") => Self::Responses,
            _ => Self::Chat,
        }
    }

    /// Its path, here and below a provider's base address.
    pub fn path(self) -> &'static str {
        match self {
            Self::Chat => "chat/completions",
            Self::Messages => "messages",
            Self::Responses => "responses",
        }
    }

    /// What a provider must speak for it.
    pub fn api(self) -> Api {
        match self {
            Self::Chat | Self::Responses => Api::OpenAi,
            Self::Messages => Api::Anthropic,
        }
    }

    /// Reads a request and applies the stated rules that change it.
    pub fn read(
        self,
        body: &Bytes,
        headers: &HeaderMap,
        access: &Access,
        settings: &config::Gateway,
    ) -> Result<Ask, Refusal> {
        match self {
            Self::Chat => chat::read(body, access, settings.default_max_tokens),
            Self::Messages => messages::read(body, headers, access, &settings.anthropic_betas),
            Self::Responses => responses::read(body, access, settings.default_max_tokens),
        }
    }

    /// What a whole answer says about money; `None` when it counts nothing.
    pub fn whole(self, text: &[u8]) -> Result<Option<Seen>, Garbage> {
        match self {
            Self::Chat => chat::seen(text),
            Self::Messages => messages::seen(text),
            Self::Responses => responses::seen(text),
        }
    }

    /// Takes the data of one event; answers whether it is the last, which must wait for the books.
    pub fn event(self, data: &[u8], tally: &mut Tally) -> Result<bool, Garbage> {
        match self {
            Self::Chat => chat::event(data, tally),
            Self::Messages => messages::event(data, tally),
            Self::Responses => responses::event(data, tally),
        }
    }

    /// A failure as its clients read it.
    pub fn error(self, status: StatusCode, code: &str, message: &str) -> Value {
        match self {
            Self::Chat | Self::Responses => json!({"error": {
                "message": message,
                "type": chat::kind(status, code),
                "param": null,
                "code": code,
            }}),
            Self::Messages => json!({"type": "error", "error": {
                "type": messages::kind(status, code),
                "message": message,
                "code": code,
            }}),
        }
    }

    /// The same inside a stream whose head is sent already.
    pub fn error_event(self, status: StatusCode, code: &str, message: &str) -> String {
        let mut error = self.error(status, code, message);
        match self {
            Self::Chat => format!("data: {error}\n\n"),
            Self::Messages => format!("event: error\ndata: {error}\n\n"),
            Self::Responses => {
                error["type"] = "error".into();
                error["code"] = code.into();
                error["message"] = message.into();
                error["param"] = Value::Null;
                format!("event: error\ndata: {error}\n\n")
            }
        }
    }
}

/// `null` counts as there: it must be replaced, not added beside.
fn present<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<&'de RawValue>, D::Error> {
    <&RawValue>::deserialize(deserializer).map(Some)
}

/// Whom a call is for: the model it names, else the run's, which is written in. Refused when the run may not.
fn model<'a>(
    there: Option<&'a RawValue>,
    access: &Access,
    edits: &mut Edits<'a>,
    flags: &mut Vec<Flag>,
) -> Result<String, Refusal> {
    let model = match named(there)? {
        Some(model) => model,
        None => {
            let model = access.default_model.clone();
            edits.set("model", there.map(RawValue::get), &json!(model).to_string());
            flags.push(Flag::RewrittenModel);
            model
        }
    };
    let allowed = || std::iter::once(&access.default_model).chain(&access.allowed_models);
    if allowed().any(|pattern| serves(pattern, &model)) {
        return Ok(model);
    }
    let allowed: Vec<&str> = allowed().map(String::as_str).collect();
    Err(Refusal::model_not_allowed(&model, &allowed))
}

fn named(model: Option<&RawValue>) -> Result<Option<String>, Refusal> {
    let Some(raw) = model.map(RawValue::get).filter(|raw| *raw != "null") else {
        return Ok(None);
    };
    let model: String = serde_json::from_str(raw).map_err(|_| Refusal::invalid("`model` must be text"))?;
    if model.len() > LONGEST_MODEL {
        return Err(Refusal::invalid(format!(
            "`model` must have at most {LONGEST_MODEL} bytes"
        )));
    }
    Ok(Some(model).filter(|model| !model.is_empty()))
}

/// What is understood of an object; `None` when it is one, but not of that shape: an answer whose usage nobody can read
/// is an answer without usage.
fn object<'a, T: Deserialize<'a>>(text: &'a [u8]) -> Result<Option<T>, Garbage> {
    if let Ok(understood) = serde_json::from_slice(text)
        && text.trim_ascii_start().first() == Some(&b'{')
    {
        return Ok(Some(understood));
    }
    match serde_json::from_slice(text) {
        Ok(Value::Object(_)) => Ok(None),
        _ => Err(Garbage),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_tells_whose_client_asks() {
        for (path, dialect) in [
            ("/v1/messages/batches", Dialect::Messages),
            ("/messages", Dialect::Messages),
            ("/v1/responses/resp_1", Dialect::Responses),
            ("/v1/chat/completions", Dialect::Chat),
            ("/v1/messagesx", Dialect::Chat),
            ("/", Dialect::Chat),
            ("", Dialect::Chat),
        ] {
            assert_eq!(Dialect::of_path(path), dialect, "{path}");
        }
    }

    #[test]
    fn only_an_object_is_an_answer() {
        #[derive(Debug, Deserialize)]
        struct Known {
            usage: u64,
        }
        assert_eq!(object::<Known>(br#" {"usage":3}"#).unwrap().unwrap().usage, 3);
        assert!(object::<Known>(br#"{"usage":"many"}"#).unwrap().is_none());
        for bad in ["[3]", "3", "", "{\"usage\":"] {
            assert!(object::<Known>(bad.as_bytes()).is_err(), "{bad}");
        }
    }
}
