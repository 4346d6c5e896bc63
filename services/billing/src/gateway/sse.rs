//! Cutting a stream of server-sent events into whole events, byte for byte.
//!
//! What may be passed on is always whole events, so that nothing half can be left standing when a stream breaks. The
//! last event and what follows it is kept back for the caller to send when the books are written.

use bytes::{Bytes, BytesMut};

use super::dialect::{Dialect, Garbage, Seen, Tally};

/// The longest event; a single piece of an answer is thousands of times smaller.
const MAX_EVENT: usize = 4 * 1024 * 1024;

/// Reads one stream.
#[derive(Debug)]
pub struct Reader {
    dialect: Dialect,
    /// Bytes of the event that is not whole yet.
    rest: BytesMut,
    /// Of these, looked through for line ends.
    scanned: usize,
    /// Where the line that is not whole yet begins.
    line: usize,
    /// The data lines of the event so far.
    data: Vec<u8>,
    has_data: bool,
    tally: Tally,
    done: bool,
}

impl Reader {
    /// At the beginning of a stream.
    pub fn new(dialect: Dialect) -> Self {
        Self {
            dialect,
            rest: BytesMut::new(),
            scanned: 0,
            line: 0,
            data: Vec::new(),
            has_data: false,
            tally: Tally::default(),
            done: false,
        }
    }

    /// Takes the next bytes and gives back what may be passed on.
    ///
    /// # Errors
    /// [`Garbage`]; nothing of this stream may be passed on any more.
    pub fn push(&mut self, bytes: &[u8]) -> Result<Bytes, Garbage> {
        self.rest.extend_from_slice(bytes);
        let mut ready = 0;
        while !self.done {
            let Some(found) = self.rest[self.scanned..].iter().position(|byte| *byte == b'\n') else {
                self.scanned = self.rest.len();
                break;
            };
            let end = self.scanned + found;
            let line = self.rest[self.line..end].to_vec();
            (self.scanned, self.line) = (end + 1, end + 1);
            if self.take_line(line.strip_suffix(b"\r").unwrap_or(&line))? && !self.done {
                ready = end + 1;
            }
        }
        if self.rest.len() - ready > MAX_EVENT {
            return Err(Garbage);
        }
        self.scanned -= ready;
        self.line -= ready;
        Ok(self.rest.split_to(ready).freeze())
    }

    /// Takes the end of the stream: a last event may lack its empty line. Gives back what may be passed on.
    ///
    /// # Errors
    /// [`Garbage`] when what is left is no event.
    pub fn end(&mut self) -> Result<Bytes, Garbage> {
        if self.done || self.rest.is_empty() {
            return Ok(Bytes::new());
        }
        let missing: &[u8] = if self.rest.ends_with(b"\n") { b"\n" } else { b"\n\n" };
        self.push(missing)
    }

    /// What is kept back: the last event and what came after it.
    pub fn tail(&mut self) -> Bytes {
        self.rest.split().freeze()
    }

    /// Whether the last event came.
    pub fn is_done(&self) -> bool {
        self.done
    }

    /// The last usage that came.
    pub fn last_seen(&self) -> Option<&Seen> {
        self.tally.seen.as_ref()
    }

    /// Takes one line; answers whether it ended an event.
    fn take_line(&mut self, line: &[u8]) -> Result<bool, Garbage> {
        if line.is_empty() {
            self.take_event()?;
            return Ok(true);
        }
        if let Some(data) = line.strip_prefix(b"data:") {
            if self.has_data {
                self.data.push(b'\n');
            }
            self.has_data = true;
            self.data.extend_from_slice(data.strip_prefix(b" ").unwrap_or(data));
            return Ok(false);
        }
        let known = [b":".as_slice(), b"event", b"id", b"retry"];
        if known.iter().any(|start| line.starts_with(start)) {
            Ok(false)
        } else {
            Err(Garbage)
        }
    }

    fn take_event(&mut self) -> Result<(), Garbage> {
        if !self.has_data {
            return Ok(());
        }
        self.has_data = false;
        let data = std::mem::take(&mut self.data);
        self.done = self.dialect.event(data.trim_ascii(), &mut self.tally)?;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const STREAM: &str = concat!(
        ": hello\n\n",
        "data: {\"model\":\"m\",\"choices\":[{\"delta\":{\"content\":\"a\\nb\"}}],\"usage\":null}\n\n",
        "event: x\r\ndata: {\"model\":\"m\",\r\ndata: \"usage\":{\"prompt_tokens\":7,\"completion_tokens\":3}}\r\n\r\n",
        "data: [DONE]\n\n",
    );

    #[test]
    fn however_a_stream_is_cut_the_same_bytes_come_out_and_done_is_kept_back() {
        for size in 1..STREAM.len() {
            let mut reader = Reader::new(Dialect::Chat);
            let mut out = Vec::new();
            for piece in STREAM.as_bytes().chunks(size) {
                out.extend_from_slice(&reader.push(piece).unwrap());
            }
            out.extend_from_slice(&reader.end().unwrap());
            assert!(reader.is_done());
            let seen = reader.last_seen().unwrap();
            assert_eq!((seen.tokens.input, seen.tokens.output), (7, 3));
            assert!(
                !String::from_utf8_lossy(&out).contains("[DONE]"),
                "kept back at size {size}"
            );
            out.extend_from_slice(&reader.tail());
            assert_eq!(String::from_utf8(out).unwrap(), STREAM, "at size {size}");
        }
    }

    #[test]
    fn only_whole_events_are_passed_on() {
        let mut reader = Reader::new(Dialect::Chat);
        assert!(reader.push(b"data: {\"a\":1}\n").unwrap().is_empty());
        assert_eq!(reader.push(b"\ndata: {\"b").unwrap(), "data: {\"a\":1}\n\n");
        assert_eq!(reader.push(b"\":2}\n\n").unwrap(), "data: {\"b\":2}\n\n");
    }

    #[test]
    fn what_is_no_event_is_garbage() {
        for bad in ["<html>\n", "data: oops\n\n", "data: [1]\n\n", "data: \"text\"\n\n"] {
            assert!(Reader::new(Dialect::Chat).push(bad.as_bytes()).is_err(), "{bad:?}");
        }
        let mut endless = Reader::new(Dialect::Chat);
        let line = format!("data: \"{}", "x".repeat(MAX_EVENT));
        assert!(endless.push(line.as_bytes()).is_err());
    }

    #[test]
    fn a_last_event_without_its_empty_line_counts() {
        let mut reader = Reader::new(Dialect::Chat);
        assert!(
            reader
                .push(b"data: {\"usage\":{\"prompt_tokens\":1}}")
                .unwrap()
                .is_empty()
        );
        assert!(!reader.end().unwrap().is_empty());
        assert_eq!(reader.last_seen().unwrap().tokens.input, 1);
        let mut reader = Reader::new(Dialect::Chat);
        reader.push(b"data: {\"half\":").unwrap();
        assert!(reader.end().is_err());
    }
}
