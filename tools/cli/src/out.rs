//! What is printed: results on stdout, remarks on stderr; a reader that went away is no error of ours.

use std::io::{IsTerminal as _, Write as _};
use std::process::ExitCode;

use anyhow::Result;
use serde_json::{Value, json};

use crate::failure;

/// Where a command writes, and in which form.
#[derive(Debug, Clone, Copy)]
pub struct Out {
    json: bool,
}

impl Out {
    pub(crate) fn new(json: bool) -> Self {
        Self { json }
    }

    /// Whether results are JSON.
    pub(crate) fn json(&self) -> bool {
        self.json
    }

    /// Prints a result: as one line of JSON, or as the text made from it.
    pub(crate) fn result(&self, value: &Value, text: impl FnOnce(&Value) -> String) -> Result<()> {
        if self.json {
            self.line(&value.to_string())
        } else {
            self.line(text(value).trim_end())
        }
    }

    /// A line on stdout.
    pub(crate) fn line(&self, text: &str) -> Result<()> {
        let mut out = std::io::stdout().lock();
        ignore_closed(writeln!(out, "{text}").and_then(|()| out.flush()))
    }

    /// Text as it is on stdout.
    pub(crate) fn raw(&self, bytes: &[u8]) -> Result<()> {
        let mut out = std::io::stdout().lock();
        ignore_closed(out.write_all(bytes).and_then(|()| out.flush()))
    }

    /// A remark on stderr.
    pub(crate) fn note(&self, text: &str) {
        let _nobody_reads = writeln!(std::io::stderr().lock(), "{text}");
    }

    /// A question on stderr, whose answer stands behind it.
    pub(crate) fn prompt(&self, text: &str) {
        let mut err = std::io::stderr().lock();
        let _nobody_reads = write!(err, "{text}").and_then(|()| err.flush());
    }

    /// Replaces the line at the bottom of a terminal; `None` when stderr is none.
    pub(crate) fn redraw(&self, text: &str) -> Option<()> {
        let mut err = std::io::stderr().lock();
        if !err.is_terminal() {
            return None;
        }
        write!(err, "\r\x1b[2K{text}").and_then(|()| err.flush()).ok()
    }

    /// Prints why the command failed; the answer is its exit code.
    pub(crate) fn failed(&self, error: &anyhow::Error) -> ExitCode {
        let code = failure::code(error);
        let sentence = failure::sentence(error);
        if self.json {
            self.note(&json!({ "error": sentence, "code": code }).to_string());
        } else {
            self.note(&format!("steward: {sentence}"));
        }
        ExitCode::from(code)
    }
}

fn ignore_closed(written: std::io::Result<()>) -> Result<()> {
    match written {
        Err(error) if error.kind() != std::io::ErrorKind::BrokenPipe => Err(error.into()),
        _ => Ok(()),
    }
}
