//! Anthropic messages.

use serde_json::{Value, json};

use super::{Ask, Reply, Usage, answer::Text, common, event};

pub fn read(body: &Value) -> Result<Ask, String> {
    let messages = &body["messages"];
    if messages.as_array().is_none_or(Vec::is_empty) {
        return Err("messages: at least one message is required".into());
    }
    let limit = body.get("max_tokens");
    if limit.is_none() {
        return Err("max_tokens: Field required".into());
    }
    let basis = json!({ "system": body["system"], "messages": messages });
    let mut ask = common(body, &basis, limit)?;
    ask.stores = stores(body);
    Ok(ask)
}

/// Whether anything in a call is marked to be kept.
fn stores(value: &Value) -> bool {
    match value {
        Value::Array(items) => items.iter().any(stores),
        Value::Object(fields) => fields
            .iter()
            .any(|(name, field)| (name == "cache_control" && field.is_object()) || stores(field)),
        _ => false,
    }
}

pub fn write(ask: &Ask, text: &Text, usage: Usage) -> Reply {
    let stop = if text.cut { "max_tokens" } else { "end_turn" };
    // This provider counts tokens it read from its cache, and those it stored there, apart from the others.
    let spent = |output: u64| {
        json!({
            "input_tokens": usage.input - usage.cached - usage.stored,
            "cache_creation_input_tokens": usage.stored,
            "cache_creation": { "ephemeral_5m_input_tokens": usage.stored, "ephemeral_1h_input_tokens": 0 },
            "cache_read_input_tokens": usage.cached,
            "output_tokens": output,
        })
    };
    let message = |content: Value, stop: Option<&str>, output: u64| {
        json!({
            "id": text.id("msg_"),
            "type": "message",
            "role": "assistant",
            "model": ask.model,
            "content": content,
            "stop_reason": stop,
            "stop_sequence": null,
            "usage": spent(output),
        })
    };
    if !ask.stream {
        let content = json!([{ "type": "text", "text": text.whole }]);
        return Reply::Whole(message(content, Some(stop), usage.output));
    }
    let mut events = Vec::new();
    let mut send = |name: &str, mut data: Value| {
        data["type"] = json!(name);
        events.push(event(Some(name), &data));
    };
    let begun = message(json!([]), None, 1);
    send("message_start", json!({ "message": begun }));
    let block = json!({ "type": "text", "text": "" });
    send("content_block_start", json!({ "index": 0, "content_block": block }));
    send("ping", json!({}));
    for piece in text.pieces() {
        let delta = json!({ "type": "text_delta", "text": piece });
        send("content_block_delta", json!({ "index": 0, "delta": delta }));
    }
    send("content_block_stop", json!({ "index": 0 }));
    let delta = json!({ "stop_reason": stop, "stop_sequence": null });
    let spent = json!({ "output_tokens": usage.output });
    send("message_delta", json!({ "delta": delta, "usage": spent }));
    send("message_stop", json!({}));
    Reply::Events(events)
}
