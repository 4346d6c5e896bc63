//! OpenAI responses.

use std::borrow::Cow;

use bytes::Bytes;
use domain::metering::{Request, Storing, Tokens};
use http::HeaderMap;
use serde::Deserialize;
use serde_json::{Value, value::RawValue};
use store::run_accounts::Access;

use super::{Ask, Dialect, Edits, Garbage, Refusal, Seen, Tally, chat::is_standard, model, object, present};

/// Tools that run at the agent and cost nothing but tokens. All others run at the provider.
const OWN_TOOLS: [&str; 4] = ["function", "custom", "local_shell", "apply_patch"];
/// Items of the input that are text, or name no more than their bytes hold.
const TEXTS: [&str; 4] = ["input_text", "output_text", "refusal", "summary_text"];

#[derive(Deserialize)]
struct Fields<'a> {
    #[serde(borrow, default, deserialize_with = "present")]
    model: Option<&'a RawValue>,
    stream: Option<bool>,
    max_output_tokens: Option<u64>,
    input: Option<Value>,
    /// A list that cannot be read is refused: what is in it decides what the call costs.
    tools: Option<Vec<Tool<'a>>>,
    service_tier: Option<Cow<'a, str>>,
    background: Option<bool>,
    previous_response_id: Option<Value>,
    conversation: Option<Value>,
    prompt: Option<Value>,
}

#[derive(Deserialize)]
struct Tool<'a> {
    r#type: Cow<'a, str>,
}

/// Reads a request: a missing `model` is set, and what cannot be counted beforehand is refused.
pub(super) fn read(body: &Bytes, access: &Access, default_limit: u64) -> Result<Ask, Refusal> {
    let fields: Fields<'_> = serde_json::from_slice(body)
        .map_err(|error| Refusal::invalid(format!("the request is no call of the responses API: {error}")))?;
    refuse_unpriced(&fields)?;
    let mut edits = Edits::of(body);
    let mut flags = Vec::new();
    let model = model(fields.model, access, &mut edits, &mut flags)?;
    Ok(Ask {
        dialect: Dialect::Responses,
        body: edits.apply(body),
        model,
        stream: fields.stream.unwrap_or(false),
        request: Request {
            bytes: body.len() as u64,
            media: fields.input.as_ref().map_or(0, media),
            output_limit: fields.max_output_tokens.unwrap_or(default_limit),
            choices: 1,
            storing: Storing::No,
        },
        flags,
        headers: HeaderMap::new(),
    })
}

/// What is charged beside tokens, or by other prices, or for text that is not in the request.
fn refuse_unpriced(fields: &Fields<'_>) -> Result<(), Refusal> {
    if fields.background == Some(true) {
        return Err(Refusal::background());
    }
    if !is_standard(fields.service_tier.as_deref()) {
        return Err(Refusal::unpriced_feature("service_tier"));
    }
    for (value, field) in [
        (&fields.previous_response_id, "previous_response_id"),
        (&fields.conversation, "conversation"),
        (&fields.prompt, "prompt"),
    ] {
        if value.as_ref().is_some_and(|value| !value.is_null()) {
            return Err(Refusal::kept_elsewhere(field));
        }
    }
    let items = fields.input.as_ref().and_then(Value::as_array);
    if items.into_iter().flatten().any(is_reference) {
        return Err(Refusal::kept_elsewhere("item_reference"));
    }
    let foreign = |tool: &&Tool<'_>| !OWN_TOOLS.contains(&&*tool.r#type);
    match fields.tools.iter().flatten().find(foreign) {
        Some(tool) => Err(Refusal::foreign_tool(&tool.r#type)),
        None => Ok(()),
    }
}

/// An item of the input that stands for one kept at the provider; its `type` may be left out.
fn is_reference(item: &Value) -> bool {
    match item["type"].as_str() {
        Some(kind) => kind == "item_reference",
        None => item.get("id").is_some() && item.get("role").is_none(),
    }
}

/// Pictures, sounds and files, wherever they lie: they cost more than their bytes tell.
fn media(value: &Value) -> u64 {
    match value {
        Value::Array(items) => items.iter().map(media).sum(),
        Value::Object(fields) => {
            let kind = fields.get("type").and_then(Value::as_str).unwrap_or_default();
            let is_media = kind.starts_with("input_") && !TEXTS.contains(&kind) || kind == "computer_screenshot";
            u64::from(is_media) + fields.values().map(media).sum::<u64>()
        }
        _ => 0,
    }
}

#[derive(Deserialize)]
struct Answer<'a> {
    #[serde(borrow, default)]
    model: Option<Cow<'a, str>>,
    #[serde(default)]
    usage: Option<Usage>,
}

#[derive(Deserialize)]
struct Usage {
    input_tokens: u64,
    #[serde(default)]
    output_tokens: u64,
    #[serde(default)]
    input_tokens_details: Option<Details>,
}

#[derive(Deserialize)]
struct Details {
    #[serde(default)]
    cached_tokens: Option<u64>,
}

impl Answer<'_> {
    fn seen(self) -> Option<Seen> {
        let usage = self.usage?;
        let cached = usage.input_tokens_details.and_then(|details| details.cached_tokens);
        Some(Seen {
            model: self.model.map(Cow::into_owned),
            tokens: Tokens {
                input: usage.input_tokens,
                cached: cached.unwrap_or(0).min(usage.input_tokens),
                output: usage.output_tokens,
                ..Tokens::default()
            },
        })
    }
}

/// The usage of a whole answer.
pub(super) fn seen(text: &[u8]) -> Result<Option<Seen>, Garbage> {
    let answer: Option<Answer<'_>> = object(text)?;
    Ok(answer.and_then(Answer::seen))
}

#[derive(Deserialize)]
struct Kind<'a> {
    #[serde(borrow, default)]
    r#type: Cow<'a, str>,
}

#[derive(Deserialize)]
struct Last<'a> {
    #[serde(borrow)]
    response: Answer<'a>,
}

/// The last event holds the whole response with its usage: it waits for the books itself. A provider of the same
/// protocol may send `[DONE]` after it, or instead.
pub(super) fn event(data: &[u8], tally: &mut Tally) -> Result<bool, Garbage> {
    if data == b"[DONE]" {
        return Ok(true);
    }
    let kind: Option<Kind<'_>> = object(data)?;
    let kind = kind.map(|kind| kind.r#type).unwrap_or_default();
    if !matches!(&*kind, "response.completed" | "response.incomplete" | "response.failed") {
        return Ok(false);
    }
    let last: Option<Last<'_>> = object(data)?;
    tally.seen = last.and_then(|last| last.response.seen());
    Ok(true)
}
