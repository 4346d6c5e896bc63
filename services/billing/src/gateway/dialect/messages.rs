//! Anthropic messages.

use std::borrow::Cow;

use bytes::Bytes;
use domain::metering::{Request, Storing, Tokens, serves};
use http::{HeaderMap, HeaderName, HeaderValue, StatusCode};
use serde::Deserialize;
use serde_json::{Value, value::RawValue};
use store::{run_accounts::Access, usage::Flag};

use super::{Ask, Dialect, Edits, Garbage, Refusal, Seen, Tally, model, object, present};

const VERSION: HeaderName = HeaderName::from_static("anthropic-version");
/// What a call that names none is taken to speak.
const OLDEST_VERSION: HeaderValue = HeaderValue::from_static("2023-06-01");
const BETA: HeaderName = HeaderName::from_static("anthropic-beta");

/// Tools that run at the agent and cost nothing but tokens, by how their `type` begins. All others run at the provider:
/// they cost beside the tokens, or bring in text nobody has seen.
const OWN_TOOLS: [&str; 4] = ["bash_", "text_editor_", "computer_", "memory_"];

#[derive(Deserialize)]
struct Fields<'a> {
    #[serde(borrow, default, deserialize_with = "present")]
    model: Option<&'a RawValue>,
    max_tokens: Option<u64>,
    stream: Option<bool>,
    system: Option<Value>,
    messages: Option<Value>,
    cache_control: Option<Value>,
    /// A list that cannot be read is refused: what is in it decides what the call costs.
    tools: Option<Vec<Tool<'a>>>,
    mcp_servers: Option<Value>,
    container: Option<Value>,
    service_tier: Option<Cow<'a, str>>,
    speed: Option<Cow<'a, str>>,
    inference_geo: Option<Cow<'a, str>>,
}

#[derive(Deserialize)]
struct Tool<'a> {
    r#type: Option<Cow<'a, str>>,
    cache_control: Option<Value>,
}

/// Reads a request: a missing `model` is set, and of `anthropic-beta` only what changes no price is kept.
pub(super) fn read(body: &Bytes, headers: &HeaderMap, access: &Access, betas: &[String]) -> Result<Ask, Refusal> {
    let fields: Fields<'_> = serde_json::from_slice(body)
        .map_err(|error| Refusal::invalid(format!("the request is no call of the messages API: {error}")))?;
    refuse_unpriced(&fields)?;
    let output_limit = fields
        .max_tokens
        .ok_or_else(|| Refusal::invalid("`max_tokens` is required: it is what the call is held against"))?;
    let mut edits = Edits::of(body);
    let mut flags = Vec::new();
    let model = model(fields.model, access, &mut edits, &mut flags)?;
    let (headers, left_out) = onward(headers, betas);
    if left_out {
        flags.push(Flag::RewrittenBeta);
    }
    let mut survey = Survey::default();
    for part in [&fields.system, &fields.messages].into_iter().flatten() {
        survey.look(part);
    }
    for control in fields
        .tools
        .iter()
        .flatten()
        .filter_map(|tool| tool.cache_control.as_ref())
    {
        survey.control(control);
    }
    if let Some(control) = &fields.cache_control {
        survey.control(control);
    }
    Ok(Ask {
        dialect: Dialect::Messages,
        body: edits.apply(body),
        model,
        stream: fields.stream.unwrap_or(false),
        request: Request {
            bytes: body.len() as u64,
            media: survey.media,
            output_limit,
            choices: 1,
            storing: survey.storing,
        },
        flags,
        headers,
    })
}

/// What is charged beside tokens, or by other prices, is refused rather than guessed.
fn refuse_unpriced(fields: &Fields<'_>) -> Result<(), Refusal> {
    let foreign = |tool: &&Tool<'_>| {
        let kind = tool.r#type.as_deref().unwrap_or("custom");
        kind != "custom" && !OWN_TOOLS.iter().any(|own| kind.starts_with(own))
    };
    if let Some(tool) = fields.tools.iter().flatten().find(foreign) {
        return Err(Refusal::foreign_tool(tool.r#type.as_deref().unwrap_or_default()));
    }
    let empty = |value: &Value| value.is_null() || value.as_array().is_some_and(Vec::is_empty);
    let tier = fields.service_tier.as_deref();
    for (there, field) in [
        (fields.mcp_servers.as_ref().is_some_and(|it| !empty(it)), "mcp_servers"),
        (fields.container.as_ref().is_some_and(|it| !empty(it)), "container"),
        (!matches!(tier, None | Some("auto" | "standard_only")), "service_tier"),
        (!matches!(fields.speed.as_deref(), None | Some("standard")), "speed"),
        (
            !matches!(fields.inference_geo.as_deref(), None | Some("global")),
            "inference_geo",
        ),
    ] {
        if there {
            return Err(Refusal::unpriced_feature(field));
        }
    }
    Ok(())
}

/// The headers that are sent on, and whether names were left out of `anthropic-beta`: some of them change prices or let
/// in what nobody has counted, so that only those the operator lists pass.
fn onward(given: &HeaderMap, betas: &[String]) -> (HeaderMap, bool) {
    let mut headers = HeaderMap::new();
    headers.insert(VERSION, given.get(VERSION).cloned().unwrap_or(OLDEST_VERSION));
    let mut left_out = false;
    let mut kept = Vec::new();
    for value in given.get_all(BETA) {
        let names = value.to_str().unwrap_or("?").split(',').map(str::trim);
        for name in names.filter(|name| !name.is_empty()) {
            if betas.iter().any(|pattern| serves(pattern, name)) {
                kept.push(name);
            } else {
                left_out = true;
            }
        }
    }
    if !kept.is_empty()
        && let Ok(value) = HeaderValue::from_str(&kept.join(","))
    {
        headers.insert(BETA, value);
    }
    (headers, left_out)
}

/// What a prompt holds that costs more than its bytes tell. Looks everywhere, so that a text that merely looks like it
/// is set aside for as well, and no more than that.
#[derive(Default)]
struct Survey {
    media: u64,
    storing: Storing,
}

impl Survey {
    fn look(&mut self, value: &Value) {
        match value {
            Value::Array(items) => items.iter().for_each(|item| self.look(item)),
            Value::Object(fields) => {
                let kind = fields.get("type").and_then(Value::as_str);
                let in_text = matches!(value["source"]["type"].as_str(), Some("text" | "content"));
                if matches!(kind, Some("image" | "document")) && !in_text {
                    self.media += 1;
                }
                if let Some(control) = fields.get("cache_control") {
                    self.control(control);
                }
                fields.values().for_each(|field| self.look(field));
            }
            _ => {}
        }
    }

    fn control(&mut self, control: &Value) {
        let storing = match control["ttl"].as_str() {
            _ if !control.is_object() => Storing::No,
            None | Some("5m") => Storing::FiveMinutes,
            Some(_) => Storing::Hour,
        };
        self.storing = self.storing.max(storing);
    }
}

#[derive(Debug, Deserialize)]
struct Message<'a> {
    #[serde(borrow, default)]
    model: Option<Cow<'a, str>>,
    #[serde(default)]
    usage: Option<Usage>,
}

/// Counts; later ones of a stream replace earlier ones.
#[derive(Debug, Default, Clone, Copy, Deserialize)]
struct Usage {
    input_tokens: Option<u64>,
    cache_creation_input_tokens: Option<u64>,
    cache_read_input_tokens: Option<u64>,
    cache_creation: Option<Creation>,
    output_tokens: Option<u64>,
}

#[derive(Debug, Default, Clone, Copy, Deserialize)]
struct Creation {
    ephemeral_5m_input_tokens: Option<u64>,
    ephemeral_1h_input_tokens: Option<u64>,
}

/// What the first event of a stream said.
#[derive(Debug)]
pub(super) struct Begun {
    model: Option<String>,
    usage: Usage,
}

impl Usage {
    fn over(self, earlier: Self) -> Self {
        Self {
            input_tokens: self.input_tokens.or(earlier.input_tokens),
            cache_creation_input_tokens: self.cache_creation_input_tokens.or(earlier.cache_creation_input_tokens),
            cache_read_input_tokens: self.cache_read_input_tokens.or(earlier.cache_read_input_tokens),
            cache_creation: self.cache_creation.or(earlier.cache_creation),
            output_tokens: self.output_tokens.or(earlier.output_tokens),
        }
    }

    /// This provider counts what it read from its cache and what it stored there apart from the rest. `None` when it
    /// did not say what it read and wrote.
    fn tokens(self) -> Option<Tokens> {
        let (fresh, output) = self.input_tokens.zip(self.output_tokens)?;
        let kept = self.cache_creation.unwrap_or_default();
        let (five, hour) = (
            kept.ephemeral_5m_input_tokens.unwrap_or(0),
            kept.ephemeral_1h_input_tokens.unwrap_or(0),
        );
        let stored = self
            .cache_creation_input_tokens
            .unwrap_or(0)
            .max(five.saturating_add(hour));
        let cached = self.cache_read_input_tokens.unwrap_or(0);
        Some(Tokens {
            input: fresh.saturating_add(stored).saturating_add(cached),
            cached,
            stored: stored - hour,
            stored_hour: hour,
            output,
        })
    }
}

/// The usage of a whole answer.
pub(super) fn seen(text: &[u8]) -> Result<Option<Seen>, Garbage> {
    let message: Option<Message<'_>> = object(text)?;
    Ok(message.and_then(|message| {
        Some(Seen {
            tokens: message.usage?.tokens()?,
            model: message.model.map(Cow::into_owned),
        })
    }))
}

#[derive(Deserialize)]
struct Event<'a> {
    #[serde(borrow)]
    r#type: Cow<'a, str>,
    #[serde(borrow, default)]
    message: Option<Message<'a>>,
    #[serde(default)]
    usage: Option<Usage>,
}

/// `message_start` says who answers and what was read, `message_delta` what was written; `message_stop` is the last.
pub(super) fn event(data: &[u8], tally: &mut Tally) -> Result<bool, Garbage> {
    let Some(event): Option<Event<'_>> = object(data)? else {
        return Ok(false);
    };
    match (&*event.r#type, event.message, event.usage) {
        ("message_start", Some(message), _) => {
            tally.begun = Some(Begun {
                model: message.model.map(Cow::into_owned),
                usage: message.usage.unwrap_or_default(),
            });
        }
        ("message_delta", _, Some(usage)) => {
            let earlier = tally.begun.as_ref().map(|begun| begun.usage).unwrap_or_default();
            let model = tally.begun.as_ref().and_then(|begun| begun.model.clone());
            // What was written is told here or not at all: what the beginning says of it is a beginning.
            let told = usage.output_tokens.and_then(|_| usage.over(earlier).tokens());
            tally.seen = told.map(|tokens| Seen { model, tokens });
        }
        ("message_stop", ..) => return Ok(true),
        _ => {}
    }
    Ok(false)
}

/// `error.type`, as Anthropic names kinds of errors.
pub(super) fn kind(status: StatusCode, code: &str) -> &'static str {
    match (status.as_u16(), code) {
        (_, "budget_exhausted") => "budget_exhausted",
        (401, _) => "authentication_error",
        (403, _) => "permission_error",
        (404, _) => "not_found_error",
        (413, _) => "request_too_large",
        (429, _) => "rate_limit_error",
        (504, _) => "timeout_error",
        (500.., _) => "api_error",
        _ => "invalid_request_error",
    }
}
