//! Standard output and error of a run: a log with an end, and a second ear for agents that never open the pipe.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::io::{AsyncRead, AsyncReadExt as _};
use tokio_util::sync::CancellationToken;

use super::Activity;
use super::pipe::Lines;

/// The end of the log that is told.
const TAIL: usize = 16 * 1024;
/// Bytes read at once.
const PART: usize = 16 * 1024;
/// Lines of standard output that look like events and wait for the run's end to be judged, in bytes.
const HELD: usize = 4 * 1024 * 1024;
/// What was printed and not told yet: the end of it.
const NEWS: usize = 8 * 1024;
/// Pieces told on the way; what comes after is in the tail.
const PIECES: usize = 500;
/// Lines of Node's farewell that are looked through for the error.
const NODE_ERROR: usize = 60;
/// What stands in place of a secret.
const REDACTED: &str = "[redacted]";

/// What a run printed.
#[derive(Debug)]
pub(super) struct Output {
    kept: Mutex<Kept>,
    bytes: AtomicU64,
    cap: u64,
    /// Cancelled once more than the cap was printed.
    pub(super) flooded: CancellationToken,
}

#[derive(Debug, Default)]
struct Kept {
    tail: VecDeque<u8>,
    /// Printed since the last piece was told.
    news: VecDeque<u8>,
    told: usize,
    /// Lines of standard output that look like events. They count only if the pipe is never opened, which nobody
    /// knows before the end.
    lines: Vec<Vec<u8>>,
    held: usize,
    lost: bool,
}

impl Output {
    pub(super) fn new(cap: u64) -> Self {
        Self {
            kept: Mutex::default(),
            bytes: AtomicU64::new(0),
            cap,
            flooded: CancellationToken::new(),
        }
    }

    /// Reads a stream to its end, or until too much came.
    pub(super) async fn listen(
        self: Arc<Self>,
        mut from: impl AsyncRead + Unpin,
        as_events: bool,
        activity: Arc<Activity>,
    ) {
        let mut part = vec![0; PART];
        let mut lines = Lines::default();
        loop {
            let read = match from.read(&mut part).await {
                Ok(0) | Err(_) => break,
                Ok(read) => part.get(..read).unwrap_or_default(),
            };
            activity.touch();
            self.keep(read);
            if as_events {
                lines.push(read, |line| self.hold(line));
            }
            let before = self.bytes.fetch_add(read.len() as u64, Ordering::Relaxed);
            if before + read.len() as u64 > self.cap {
                self.flooded.cancel();
                return;
            }
        }
        if as_events {
            lines.finish(|line| self.hold(line));
        }
    }

    /// Adds a line of our own to the log.
    pub(super) fn note(&self, line: &str) {
        self.keep(format!("[steward] {line}\n").as_bytes());
    }

    /// Adds the end of another log.
    pub(super) fn append(&self, other: &Self) {
        self.keep(other.text().as_bytes());
    }

    /// The lines that look like events, and whether some were too many to hold. Once.
    pub(super) fn take_lines(&self) -> (Vec<Vec<u8>>, bool) {
        let mut kept = self.lock();
        (std::mem::take(&mut kept.lines), kept.lost)
    }

    /// The last line that is not ours and says something. Node's errors end with their place and its version: of them
    /// it is the line that names the error.
    pub(super) fn last_line(&self) -> String {
        let tail = self.text();
        let mut lines = tail
            .lines()
            .rev()
            .filter(|line| !line.trim().is_empty() && !line.starts_with("[steward] "));
        let last = lines.next().unwrap_or_default();
        let named = last
            .starts_with("Node.js v")
            .then(|| lines.take(NODE_ERROR).find(|line| names_an_error(line)));
        named.flatten().unwrap_or(last).trim().to_owned()
    }

    /// The last lines of the log, as one.
    pub(super) fn last_lines(&self, count: usize) -> String {
        let tail = self.text();
        let lines: Vec<&str> = tail.lines().map(str::trim).filter(|line| !line.is_empty()).collect();
        lines
            .get(lines.len().saturating_sub(count)..)
            .unwrap_or_default()
            .join(" | ")
    }

    /// The end of the log, without `secret` should it occur.
    pub(super) fn tail(&self, secret: &str) -> String {
        let text = self.text();
        if secret.is_empty() {
            text
        } else {
            text.replace(secret, REDACTED)
        }
    }

    /// What was printed since this was last asked, for people who watch; nothing once that was often.
    pub(super) fn news(&self, secret: &str) -> Option<String> {
        let mut kept = self.lock();
        if kept.news.is_empty() || kept.told >= PIECES {
            return None;
        }
        kept.told += 1;
        let text = plain(kept.news.make_contiguous());
        kept.news.clear();
        Some(if secret.is_empty() {
            text
        } else {
            text.replace(secret, REDACTED)
        })
    }

    fn text(&self) -> String {
        plain(self.lock().tail.make_contiguous())
    }

    fn keep(&self, bytes: &[u8]) {
        let mut kept = self.lock();
        let Kept { tail, news, .. } = &mut *kept;
        append(tail, bytes, TAIL);
        append(news, bytes, NEWS);
    }

    fn hold(&self, line: Result<&[u8], String>) {
        let Ok(line) = line else { return };
        if !line.trim_ascii_start().starts_with(b"{") {
            return;
        }
        let mut kept = self.lock();
        if kept.held + line.len() > HELD {
            kept.lost = true;
            return;
        }
        kept.held += line.len();
        kept.lines.push(line.to_owned());
    }

    fn lock(&self) -> MutexGuard<'_, Kept> {
        self.kept.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Adds to the end of what is kept, at most `most` bytes.
fn append(kept: &mut VecDeque<u8>, bytes: &[u8], most: usize) {
    let bytes = bytes.get(bytes.len().saturating_sub(most)..).unwrap_or_default();
    let over = (kept.len() + bytes.len()).saturating_sub(most);
    kept.drain(..over);
    kept.extend(bytes);
}

/// Whether it begins as `TypeError: …` or `Error [ERR_…]: …` does.
fn names_an_error(line: &str) -> bool {
    let word = line.split([':', ' ']).next().unwrap_or_default();
    word.ends_with("Error") && line.contains(": ")
}

/// Text without control characters, which would steer the terminal of whoever reads the log.
fn plain(bytes: &[u8]) -> String {
    let text = String::from_utf8_lossy(bytes);
    let shown = text.chars().map(|character| match character {
        '\n' | '\t' => character,
        other if other.is_control() => '\u{fffd}',
        other => other,
    });
    shown.collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn the_end_of_a_long_log_is_kept_without_secrets_and_control_characters() {
        let output = Arc::new(Output::new(u64::MAX));
        let text = format!("{}\nthe key is cred-1 \x1b[31m\nlast\n\n", "x".repeat(100_000));
        Arc::clone(&output)
            .listen(text.as_bytes(), false, Activity::new())
            .await;
        output.note("a warning");
        let tail = output.tail("cred-1");
        assert!(tail.len() <= TAIL + 16);
        assert!(tail.contains("the key is [redacted]") && !tail.contains('\x1b'));
        assert_eq!(output.last_line(), "last");
        let news = output.news("cred-1").unwrap();
        assert!(news.len() <= NEWS + 16 && news.ends_with("a warning\n") && !news.contains("cred-1"));
        assert_eq!(output.news("cred-1"), None, "what was told is not told again");
    }

    #[tokio::test]
    async fn of_nodes_long_farewell_the_error_is_told() {
        let output = Arc::new(Output::new(u64::MAX));
        let text = "node:internal/modules\n  throw x;\n  ^\n\nError [ERR_MODULE_NOT_FOUND]: Cannot find package 'y'\n    at \
                    f (file:1:2) {\n  code: 'Z'\n}\n\nNode.js v20.20.2\n";
        Arc::clone(&output)
            .listen(text.as_bytes(), false, Activity::new())
            .await;
        assert_eq!(
            output.last_line(),
            "Error [ERR_MODULE_NOT_FOUND]: Cannot find package 'y'"
        );
    }

    #[tokio::test]
    async fn a_flood_is_noticed_and_only_event_like_lines_are_held() {
        let output = Arc::new(Output::new(1000));
        let text = "{\"a\":1}\nplain\n  {\"b\":2}\n";
        Arc::clone(&output).listen(text.as_bytes(), true, Activity::new()).await;
        assert!(!output.flooded.is_cancelled());
        assert_eq!(output.take_lines().0.len(), 2);
        Arc::clone(&output)
            .listen(vec![b'y'; 2000].as_slice(), true, Activity::new())
            .await;
        assert!(output.flooded.is_cancelled());
    }
}
