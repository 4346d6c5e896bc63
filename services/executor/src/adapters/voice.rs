//! What an agent played by this program says.

use std::fs::File;
use std::io::Write as _;
use std::path::Path;
use std::time::Duration;

use serde_json::{Value, json};

/// The writing end of the event pipe.
pub(super) struct Voice(File);

impl Voice {
    pub(super) fn open(path: &Path) -> Result<Self, String> {
        let opened = File::options().write(true).open(path);
        opened
            .map(Self)
            .map_err(|error| format!("open the event pipe: {error}"))
    }

    pub(super) fn progress(&mut self, text: &str) -> Result<(), String> {
        self.say(&json!({ "type": "progress", "text": text }))
    }

    pub(super) fn retry(&mut self, after: Duration) -> Result<(), String> {
        self.say(&json!({ "type": "retry", "after": format!("{}s", after.as_secs().max(1)) }))
    }

    pub(super) fn say(&mut self, event: &Value) -> Result<(), String> {
        self.line(event.to_string().as_bytes())
    }

    /// A line as it came. An empty one only says that somebody is there.
    pub(super) fn line(&mut self, line: &[u8]) -> Result<(), String> {
        let mut whole = line.to_vec();
        whole.push(b'\n');
        self.0
            .write_all(&whole)
            .map_err(|error| format!("write an event: {error}"))
    }
}
