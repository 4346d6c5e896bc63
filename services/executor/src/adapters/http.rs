//! An agent that runs somewhere else: one POST, and its answer's lines are the events, or those it posts later.

use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use http::header::{ACCEPT, AUTHORIZATION};
use outbound::{Client, Guard, Method, Response, read_limited};
use serde_json::{Map, Value, json};

use super::calls::{Failed, send};
use super::later;
use super::{Call, End, Task, Voice, files_of, write};
use crate::callbacks::Addresses;
use crate::protocol::event::{MAX_LINE, cut};
use crate::protocol::name::in_out;

/// Bytes of all files that go with a job.
const ALL_FILES: usize = 8 * 1024 * 1024;
/// A refusal that is read, in bytes.
const LONGEST_REFUSAL: usize = 64 * 1024;
/// What is repeated of it, in bytes.
const REFUSAL: usize = 300;

pub(super) async fn answer(task: &Task, call: &Call, mut job: Value, voice: &mut Voice) -> Result<End, String> {
    let client = Client::builder("endpoint")
        .guard(if call.private { Guard::Any } else { Guard::Public })
        .https_only(!call.private)
        // The run's own limits say how long it may be silent.
        .read_timeout(Duration::from_secs(24 * 3600))
        .total_timeout(None)
        .build()
        .map_err(|error| error.to_string())?;
    match &call.callbacks {
        Some(callbacks) => {
            job["callback_url"] = callbacks.callback.as_str().into();
            job["upload_url"] = callbacks.upload.as_str().into();
            add_addresses(&mut job, task, callbacks);
        }
        None => add_files(&mut job, task),
    }
    if let Some(gateway) = &call.gateway {
        job["gateway"] = json!({ "openai_base_url": format!("{}/v1", gateway.url.as_str().trim_end_matches('/')), "token": gateway.token });
    }
    let make = || {
        let request = client.request(Method::POST, call.url.clone());
        let request = request.header(AUTHORIZATION, format!("Bearer {}", call.token));
        let request = request.header("idempotency-key", &call.key);
        request.header(ACCEPT, "application/x-ndjson").json(&job)
    };
    // Nobody listening is seen by the next line.
    let alive = || drop(voice.line(b""));
    let answer = match send(&client, false, make, alive).await {
        Ok(answer) => answer,
        Err(Failed::Later(reason, after)) => {
            voice.progress(&format!(
                "the endpoint cannot take the job now ({reason}); trying again later"
            ))?;
            voice.retry(after)?;
            return Ok(End::Said);
        }
        Err(Failed::Never(reason)) => {
            return Err(format!(
                "the endpoint cannot be called: {reason}; endpoints on this machine or in private networks need \
                 endpoints.private of the executor"
            ));
        }
        Err(Failed::Lost(reason)) => {
            return Err(format!("the endpoint may have the job, but did not answer: {reason}"));
        }
    };
    match answer.status().as_u16() {
        200 => listen(task, answer, voice).await,
        202 => later::listen(task, call, &client, answer.headers(), voice).await,
        422 => Ok(End::CannotDo(format!(
            "the endpoint cannot do this: {}",
            refusal(answer).await
        ))),
        status => Err(format!(
            "the endpoint refused the job with {status}: {}",
            refusal(answer).await
        )),
    }
}

/// Passes the lines of the answer on, as they come.
async fn listen(task: &Task, mut answer: Response, voice: &mut Voice) -> Result<End, String> {
    let mut lines = Lines::default();
    loop {
        let part = answer.chunk().await;
        let part = part.map_err(|_error| {
            let heard = lines.heard;
            format!("the endpoint's answer broke off after {heard} lines: it is not asked again in this attempt")
        })?;
        let Some(part) = part else { break };
        lines.hear(task, &part, voice, false)?;
    }
    if !lines.finish(task, voice)? {
        let heard = lines.heard;
        return Err(format!(
            "the endpoint's answer ended after {heard} lines without a result: it must stream one line such as \
             {{\"type\":\"result\",\"notes\":\"...\",\"files\":[\"report.md\"]}}"
        ));
    }
    Ok(End::Said)
}

/// Lines out of the parts they come in.
#[derive(Default)]
pub(super) struct Lines {
    begun: Vec<u8>,
    heard: u64,
    decided: bool,
}

impl Lines {
    /// Takes a part. Whether a line so far decides the end; with `stop`, no line after such a one is heard.
    pub(super) fn hear(&mut self, task: &Task, part: &[u8], voice: &mut Voice, stop: bool) -> Result<bool, String> {
        self.begun.extend_from_slice(part);
        let mut from = 0;
        while let Some(length) = self.begun.iter().skip(from).position(|byte| *byte == b'\n') {
            let line = self.begun.get(from..from + length).unwrap_or_default();
            self.heard += 1;
            self.decided |= hear(task, line.trim_ascii(), voice)?;
            from += length + 1;
            if stop && self.decided {
                break;
            }
        }
        self.begun.drain(..from);
        if self.begun.len() > MAX_LINE {
            return Err(format!(
                "a line of the endpoint's answer is longer than {MAX_LINE} bytes"
            ));
        }
        Ok(self.decided)
    }

    /// A last line may have no end.
    fn finish(&mut self, task: &Task, voice: &mut Voice) -> Result<bool, String> {
        let line = std::mem::take(&mut self.begun);
        self.decided |= hear(task, line.trim_ascii(), voice)?;
        Ok(self.decided)
    }
}

/// One line: a file is put where it belongs, everything else is the executor's to judge. Whether it decides the end.
fn hear(task: &Task, line: &[u8], voice: &mut Voice) -> Result<bool, String> {
    let event: Option<Map<String, Value>> = serde_json::from_slice(line).ok();
    let kind = event
        .as_ref()
        .and_then(|event| event.get("type")?.as_str())
        .unwrap_or_default();
    if kind == "file" {
        file(task, event.as_ref().unwrap_or(&Map::new()))?;
        // Somebody is there.
        voice.line(b"")?;
        return Ok(false);
    }
    voice.line(line)?;
    Ok(matches!(kind, "result" | "wait" | "retry"))
}

fn file(task: &Task, fields: &Map<String, Value>) -> Result<(), String> {
    let text = |key: &str| fields.get(key).and_then(Value::as_str);
    let name = text("name").ok_or("a file of the endpoint's answer has no `name`")?;
    let name = in_out(name)?;
    let append = fields.get("append").and_then(Value::as_bool).unwrap_or(false);
    let bytes = match (text("text"), text("base64")) {
        (Some(text), None) => text.as_bytes().to_vec(),
        (None, Some(coded)) => BASE64
            .decode(coded)
            .map_err(|error| format!("the file {name} is not base64: {error}"))?,
        _ => return Err(format!("the file {name} needs either `text` or `base64`")),
    };
    write(&task.out, &name, &bytes, append)
}

/// Puts addresses beside the files of the job.
fn add_addresses(job: &mut Value, task: &Task, callbacks: &Addresses) {
    for (entry, path) in files_of(job, &task.work) {
        // One that did not come says so itself.
        let path = path.filter(|path| path.is_file());
        let address = path
            .as_deref()
            .and_then(|path| path.strip_prefix(&task.work).ok()?.to_str())
            .and_then(|path| callbacks.inputs.get(path));
        if let Some(address) = address {
            entry["url"] = address.as_str().into();
        }
    }
}

/// Puts the files of the job into it, as far as they fit.
fn add_files(job: &mut Value, task: &Task) {
    let mut left = ALL_FILES;
    for (entry, path) in files_of(job, &task.work) {
        // One that did not come says so itself.
        let Some(path) = path else { continue };
        let fits = path
            .metadata()
            .is_ok_and(|file| file.is_file() && file.len() <= left as u64);
        match std::fs::read(&path) {
            Ok(bytes) if fits => {
                left = left.saturating_sub(bytes.len());
                entry["base64"] = BASE64.encode(&bytes).into();
            }
            _ => entry["left_out"] = true.into(),
        }
    }
}

async fn refusal(answer: Response) -> String {
    let body = read_limited(answer, LONGEST_REFUSAL).await.unwrap_or_default();
    let text = String::from_utf8_lossy(&body);
    match cut(text.trim(), REFUSAL) {
        "" => "no reason given".to_owned(),
        text => text.to_owned(),
    }
}
