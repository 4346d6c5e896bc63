//! OpenAI chat completions.

use std::borrow::Cow;

use bytes::Bytes;
use domain::metering::{Request, Storing, Tokens};
use http::{HeaderMap, StatusCode};
use serde::{Deserialize, de::IgnoredAny};
use serde_json::value::RawValue;
use store::{run_accounts::Access, usage::Flag};

use super::{Ask, Dialect, Edits, Garbage, Refusal, Seen, Tally, model, object, present};

#[derive(Deserialize)]
struct Fields<'a> {
    #[serde(borrow, default, deserialize_with = "present")]
    model: Option<&'a RawValue>,
    #[serde(borrow, default, deserialize_with = "present")]
    stream_options: Option<&'a RawValue>,
    stream: Option<bool>,
    max_tokens: Option<u64>,
    max_completion_tokens: Option<u64>,
    n: Option<u64>,
    #[serde(default)]
    messages: Option<Messages>,
    service_tier: Option<Cow<'a, str>>,
    web_search_options: Option<IgnoredAny>,
    audio: Option<IgnoredAny>,
}

#[derive(Deserialize)]
#[serde(untagged)]
enum Messages {
    List(Vec<Message>),
    /// The provider will say what is wrong with it.
    Other(IgnoredAny),
}

#[derive(Deserialize)]
struct Message {
    #[serde(default)]
    content: Option<Content>,
}

#[derive(Deserialize)]
#[serde(untagged)]
enum Content {
    Parts(Vec<Part>),
    Other(IgnoredAny),
}

#[derive(Deserialize)]
struct Part {
    r#type: Option<String>,
}

impl Messages {
    /// Pictures, sounds and files: they cost more than their bytes tell.
    fn media(&self) -> u64 {
        let Self::List(messages) = self else { return 0 };
        let parts = messages.iter().filter_map(|message| match &message.content {
            Some(Content::Parts(parts)) => Some(parts),
            _ => None,
        });
        let media = parts.flatten().filter_map(|part| part.r#type.as_deref());
        media.filter(|kind| !matches!(*kind, "text" | "refusal")).count() as u64
    }
}

#[derive(Deserialize)]
struct StreamOptions {
    include_usage: Option<bool>,
}

/// Reads a request: a missing `model` is set, and a stream is asked for its usage.
pub(super) fn read(body: &Bytes, access: &Access, default_limit: u64) -> Result<Ask, Refusal> {
    let fields: Fields<'_> = serde_json::from_slice(body)
        .map_err(|error| Refusal::invalid(format!("the request is not a chat completion: {error}")))?;
    refuse_unpriced(&fields)?;
    let mut edits = Edits::of(body);
    let mut flags = Vec::new();
    let model = model(fields.model, access, &mut edits, &mut flags)?;
    let stream = fields.stream.unwrap_or(false);
    if stream && set_include_usage(&mut edits, fields.stream_options)? {
        flags.push(Flag::RewrittenStreamOptions);
    }
    let request = Request {
        bytes: body.len() as u64,
        media: fields.messages.as_ref().map_or(0, Messages::media),
        // Of two limits the provider may take either.
        output_limit: fields
            .max_completion_tokens
            .max(fields.max_tokens)
            .unwrap_or(default_limit),
        choices: fields.n.unwrap_or(1).max(1),
        storing: Storing::No,
    };
    Ok(Ask {
        dialect: Dialect::Chat,
        body: edits.apply(body),
        model,
        stream,
        request,
        flags,
        headers: HeaderMap::new(),
    })
}

/// What is charged beside tokens, or by other prices, is refused rather than guessed.
fn refuse_unpriced(fields: &Fields<'_>) -> Result<(), Refusal> {
    for (there, field) in [
        (fields.web_search_options.is_some(), "web_search_options"),
        (fields.audio.is_some(), "audio"),
        (!is_standard(fields.service_tier.as_deref()), "service_tier"),
    ] {
        if there {
            return Err(Refusal::unpriced_feature(field));
        }
    }
    Ok(())
}

/// Whether a tier is charged by the prices of the list, or less.
pub(super) fn is_standard(tier: Option<&str>) -> bool {
    matches!(tier, None | Some("auto" | "default" | "flex"))
}

/// Without it a stream tells nobody what it cost. Answers whether something had to be changed.
fn set_include_usage<'a>(edits: &mut Edits<'a>, there: Option<&'a RawValue>) -> Result<bool, Refusal> {
    const ASKED: &str = r#"{"include_usage":true}"#;
    let Some(raw) = there.map(RawValue::get) else {
        edits.set("stream_options", None, ASKED);
        return Ok(true);
    };
    let wrong = |_| Refusal::invalid("`stream_options` must be an object");
    let options: Option<StreamOptions> = serde_json::from_str(raw).map_err(wrong)?;
    match options {
        Some(options) if options.include_usage == Some(true) => return Ok(false),
        None => edits.set("stream_options", Some(raw), ASKED),
        Some(_) => {
            let mut all: serde_json::Map<String, serde_json::Value> = serde_json::from_str(raw).map_err(wrong)?;
            all.insert("include_usage".to_owned(), true.into());
            edits.set("stream_options", Some(raw), &serde_json::Value::Object(all).to_string());
        }
    }
    Ok(true)
}

#[derive(Deserialize)]
struct Answer<'a> {
    #[serde(borrow, default)]
    model: Option<Cow<'a, str>>,
    #[serde(default)]
    usage: Option<UsageBlock>,
}

#[derive(Deserialize)]
struct UsageBlock {
    prompt_tokens: u64,
    #[serde(default)]
    completion_tokens: u64,
    #[serde(default)]
    prompt_tokens_details: Option<Details>,
}

#[derive(Deserialize)]
struct Details {
    #[serde(default)]
    cached_tokens: Option<u64>,
}

/// The usage of a whole answer or of one event.
pub(super) fn seen(text: &[u8]) -> Result<Option<Seen>, Garbage> {
    let answer: Option<Answer<'_>> = object(text)?;
    Ok(answer.and_then(|answer| {
        let usage = answer.usage?;
        Some(Seen {
            model: answer.model.map(Cow::into_owned),
            tokens: usage.tokens(),
        })
    }))
}

/// `[DONE]` is the last; the usage comes before it.
pub(super) fn event(data: &[u8], tally: &mut Tally) -> Result<bool, Garbage> {
    if data == b"[DONE]" {
        return Ok(true);
    }
    if let Some(seen) = seen(data)? {
        tally.seen = Some(seen);
    }
    Ok(false)
}

impl UsageBlock {
    fn tokens(self) -> Tokens {
        let cached = self.prompt_tokens_details.and_then(|details| details.cached_tokens);
        Tokens {
            input: self.prompt_tokens,
            cached: cached.unwrap_or(0).min(self.prompt_tokens),
            output: self.completion_tokens,
            ..Tokens::default()
        }
    }
}

/// `error.type`, as OpenAI names kinds of errors.
pub(super) fn kind(status: StatusCode, code: &str) -> &'static str {
    match (status.as_u16(), code) {
        (_, "budget_exhausted") => "budget_exhausted",
        (_, "upstream_error") => "upstream_error",
        (401, _) => "authentication_error",
        (403, _) => "permission_error",
        (429, _) => "rate_limit_error",
        (500.., _) => "server_error",
        _ => "invalid_request_error",
    }
}
