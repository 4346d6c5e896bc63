//! An agent that is a template and a model: fill in, ask once, hand the answer on.

use std::path::Path;
use std::time::Duration;

use domain::agent_file::Prompt;
use outbound::{Client, Guard, Method, Url, read_limited};
use serde_json::{Value, json};

use super::calls::{Failed, send};
use super::{End, Task, Voice, files_of, write};
use crate::protocol::Kind;

/// The longest system text in bytes.
const LONGEST_SYSTEM: u64 = 256 * 1024;
/// The longest answer of a model in bytes.
const LONGEST_ANSWER: usize = 8 * 1024 * 1024;
/// Text of one file that a template sees, in bytes.
const FILE_TEXT: usize = 256 * 1024;
/// Text of all files that a template sees, in bytes.
const ALL_TEXT: usize = 512 * 1024;
/// What is repeated of a foreign refusal, in bytes.
const REFUSAL: usize = 300;

/// One prompt.
pub(super) struct Asked<'a> {
    pub(super) task: &'a Task,
    pub(super) bundle: &'a Path,
    pub(super) base_url: &'a Url,
    pub(super) key: &'a str,
    pub(super) model: &'a str,
    pub(super) prompt: &'a Prompt,
}

impl Asked<'_> {
    pub(super) async fn answer(&self, mut job: Value, kind: Kind, voice: &mut Voice) -> Result<End, String> {
        let template = super::read(
            &self.bundle.join(&self.prompt.template),
            domain::prompt::LONGEST_TEMPLATE as u64,
        )?;
        if kind == Kind::Propose && job["gig"]["budget_usdc"].is_null() {
            voice.say(&json!({ "type": "result", "decline": "the gig names no budget" }))?;
            return Ok(End::Said);
        }
        add_texts(&mut job, &self.task.work);
        let name = &self.prompt.template;
        let text = domain::prompt::render(name, &template, &job).map_err(|error| error.to_string())?;
        if text.is_empty() {
            return nothing_to_ask(name, kind, voice);
        }
        voice.progress(&format!("asking {}", self.model))?;
        let answer = match ask(self.base_url, self.key, &self.body(&text)?).await? {
            Ok(answer) => answer,
            Err((reason, after)) => {
                voice.progress(&format!("the model cannot answer now ({reason}); trying again later"))?;
                voice.retry(after)?;
                return Ok(End::Said);
            }
        };
        let result = match kind {
            Kind::Work | Kind::Revise => {
                let output = &self.prompt.output;
                write(&self.task.out, output, format!("{answer}\n").as_bytes(), false)?;
                let notes = match self.prompt.notes.trim() {
                    "" => format!("Done as asked; you find the result in {output}."),
                    notes => notes.to_owned(),
                };
                json!({ "type": "result", "notes": notes, "files": [output] })
            }
            Kind::Reply => json!({ "type": "result", "text": answer }),
            Kind::Propose => {
                // What may be asked for at most; a job of the release before names only the budget.
                let most = &job["bid"]["max_usdc"];
                let amount = if most.is_null() {
                    &job["gig"]["budget_usdc"]
                } else {
                    most
                };
                let letter: String = answer.chars().take(domain::bidding::LONGEST_LETTER).collect();
                json!({ "type": "result", "amount_usdc": amount, "cover_letter": letter })
            }
        };
        voice.say(&result)?;
        Ok(End::Said)
    }

    fn body(&self, text: &str) -> Result<Value, String> {
        let mut messages = Vec::new();
        if !self.prompt.system.is_empty() {
            let system = super::read(&self.bundle.join(&self.prompt.system), LONGEST_SYSTEM)?;
            messages.push(json!({ "role": "system", "content": system.trim() }));
        }
        messages.push(json!({ "role": "user", "content": text }));
        let mut body = json!({ "model": self.model, "messages": messages });
        if let Some(most) = self.prompt.max_tokens {
            body["max_completion_tokens"] = most.into();
        }
        Ok(body)
    }
}

/// One answer of the model; or why there is none now, and when to come back.
pub(super) async fn ask(base_url: &Url, key: &str, body: &Value) -> Result<Result<String, (String, Duration)>, String> {
    let client = Client::builder("prompt")
        .guard(Guard::Any)
        .read_timeout(Duration::from_secs(15 * 60))
        .total_timeout(None)
        .build()
        .map_err(|error| error.to_string())?;
    let mut url = base_url.clone();
    url.set_path("/v1/chat/completions");
    let make = || client.request(Method::POST, url.clone()).bearer_auth(key).json(body);
    // Of a call whose answer was lost nothing is known but its cost, which the budget bounds.
    // Each try is a call of the run's gateway, which is sign enough.
    let answer = match send(&client, true, make, || {}).await {
        Ok(answer) => answer,
        Err(Failed::Later(reason, after)) => return Ok(Err((reason, after))),
        Err(Failed::Lost(reason) | Failed::Never(reason)) => return Err(reason),
    };
    let status = answer.status();
    let read = match read_limited(answer, LONGEST_ANSWER).await {
        Ok(read) => read,
        Err(error) => return Ok(Err((error.to_string(), Duration::from_secs(60)))),
    };
    let answer: Value = serde_json::from_slice(&read).unwrap_or_default();
    match status.as_u16() {
        200 => words(&answer).map(Ok),
        402 => Err("the budget for model calls is used up".to_owned()),
        _ => {
            let said = answer["error"]["message"].as_str().unwrap_or("no reason given");
            let said = crate::protocol::event::cut(said, REFUSAL);
            let model = body["model"].as_str().unwrap_or_default();
            Err(format!("the model {model} refused the request with {status}: {said}"))
        }
    }
}

/// A template that comes out empty for a kind of job says that it is not meant for it.
fn nothing_to_ask(name: &str, kind: Kind, voice: &mut Voice) -> Result<End, String> {
    let reason = format!("{name} comes out empty for a job of kind {}", kind.as_str());
    match kind {
        Kind::Work | Kind::Revise => return Ok(End::CannotDo(reason)),
        Kind::Reply => voice.say(&json!({ "type": "result", "none": true, "reason": reason }))?,
        Kind::Propose => voice.say(&json!({ "type": "result", "decline": reason }))?,
    }
    Ok(End::Said)
}

/// What the model wrote, if it came to its end.
fn words(answer: &Value) -> Result<String, String> {
    let choice = &answer["choices"][0];
    match choice["finish_reason"].as_str() {
        Some("length") => {
            return Err("the model stopped before its end because its answer became too long: raise prompt.max_tokens, or ask for less".to_owned());
        }
        Some("content_filter") => return Err("the model's provider filtered its answer".to_owned()),
        _ => {}
    }
    let text = choice["message"]["content"].as_str().unwrap_or_default().trim();
    if text.is_empty() {
        let refusal = choice["message"]["refusal"].as_str().unwrap_or("its answer is empty");
        let refusal = crate::protocol::event::cut(refusal, REFUSAL);
        return Err(format!("the model gave no answer: {refusal}"));
    }
    Ok(text.to_owned())
}

/// Puts the text of text files beside their names; none beside the others, so that a template may name it.
fn add_texts(job: &mut Value, work: &Path) {
    let mut left = ALL_TEXT;
    for (entry, path) in files_of(job, work) {
        let text = path.and_then(|path| text_of(&path, left.min(FILE_TEXT)));
        let text = text.unwrap_or_default();
        left -= text.len();
        entry["text"] = text.into();
    }
}

/// The beginning of a text file; nothing of any other.
fn text_of(path: &Path, most: usize) -> Option<String> {
    use std::io::Read as _;

    let mut bytes = Vec::new();
    let file = std::fs::File::open(path).ok()?;
    file.take(most as u64).read_to_end(&mut bytes).ok()?;
    let valid = match std::str::from_utf8(&bytes) {
        Ok(text) => text,
        // Cut in the middle of a letter.
        Err(error) if error.error_len().is_none() => std::str::from_utf8(bytes.get(..error.valid_up_to())?).ok()?,
        Err(_) => return None,
    };
    (!valid.contains('\0')).then(|| valid.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_that_was_cut_off_is_none() {
        let answer = |finish: &str, text: &str| json!({ "choices": [{ "finish_reason": finish, "message": { "content": text } }] });
        assert_eq!(words(&answer("stop", " words ")), Ok("words".to_owned()));
        assert!(words(&answer("length", "wor")).unwrap_err().contains("max_tokens"));
        assert!(words(&answer("stop", "")).unwrap_err().contains("empty"));
        assert!(words(&json!({})).is_err());
    }

    #[test]
    fn a_template_sees_text_and_nothing_of_other_files() {
        let work = tempfile::tempdir().unwrap();
        std::fs::write(work.path().join("a.txt"), "häll").unwrap();
        std::fs::write(work.path().join("b.png"), [0x89, b'P', 0, 0xff]).unwrap();
        std::fs::write(work.path().join("c.txt"), "ü".repeat(FILE_TEXT)).unwrap();
        let mut job = json!({ "attachments": [
            { "path": "a.txt" }, { "path": "b.png" }, { "path": "c.txt" }, { "path": "../../etc/passwd" }, { "path": "none" },
        ]});
        add_texts(&mut job, work.path());
        let text = |at: usize| job["attachments"][at]["text"].as_str();
        assert_eq!(
            (text(0), text(1), text(3), text(4)),
            (Some("häll"), Some(""), Some(""), Some(""))
        );
        assert_eq!(text(2).unwrap().len(), FILE_TEXT);
    }
}
