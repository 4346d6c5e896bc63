//! Load: many connections that each send the next request as soon as the last was answered.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::time::timeout;

use crate::figures::Round;

/// An answer later than this is none: the marketplace gives up after 10 s.
const PATIENCE: Duration = Duration::from_secs(10);
/// The longest answer that is looked into.
const SHORT: usize = 1024;
/// Room for an answer: a page of a list.
const ANSWER: usize = 256 * 1024;

/// Requests as they go over the wire, and how much of them to send.
#[derive(Debug, Clone)]
pub struct Load {
    /// Where to.
    pub to: SocketAddr,
    /// Prepared requests, each with its head.
    pub requests: Arc<Vec<Vec<u8>>>,
    /// Whether to begin again when they are used up, rather than end.
    pub repeat: bool,
    /// Connections at once.
    pub connections: usize,
    /// How long.
    pub time: Duration,
}

/// Sends it. What counts as done is a 200 or 201 whose body holds no `"duplicate"`.
///
/// # Errors
/// When the runtime of the load cannot be started.
pub fn send(load: &Load) -> io::Result<Round> {
    // One thread: the rest of the machine belongs to what is measured.
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    Ok(runtime.block_on(run(load)))
}

async fn run(load: &Load) -> Round {
    let next = Arc::new(AtomicUsize::new(0));
    let started = Instant::now();
    let mut senders = tokio::task::JoinSet::new();
    for _ in 0..load.connections {
        senders.spawn(sender(load.clone(), Arc::clone(&next), started));
    }
    let mut round = Round::default();
    for part in senders.join_all().await {
        round.done += part.done;
        round.failed += part.failed;
        round.latencies.extend(part.latencies);
    }
    round.took = started.elapsed();
    round.latencies.sort_unstable();
    round
}

async fn sender(load: Load, next: Arc<AtomicUsize>, started: Instant) -> Round {
    let mut round = Round::default();
    let mut open = None;
    let mut buffer = vec![0; ANSWER];
    while started.elapsed() < load.time {
        let number = next.fetch_add(1, Ordering::Relaxed);
        if number >= load.requests.len() && !load.repeat {
            break;
        }
        let request = &load.requests[number % load.requests.len()];
        let sent = Instant::now();
        match timeout(PATIENCE, exchange(&mut open, load.to, request, &mut buffer)).await {
            Ok(Ok(true)) => {
                round.done += 1;
                round
                    .latencies
                    .push(u32::try_from(sent.elapsed().as_micros()).unwrap_or(u32::MAX));
            }
            Ok(Ok(false)) => round.failed += 1,
            Ok(Err(_)) | Err(_) => {
                round.failed += 1;
                open = None;
            }
        }
    }
    round
}

/// One request and its answer; whether that was a plain success.
async fn exchange(open: &mut Option<TcpStream>, to: SocketAddr, request: &[u8], buffer: &mut [u8]) -> io::Result<bool> {
    let stream = match open {
        Some(stream) => stream,
        None => {
            let stream = TcpStream::connect(to).await?;
            stream.set_nodelay(true)?;
            open.insert(stream)
        }
    };
    stream.write_all(request).await?;
    let mut filled = 0;
    loop {
        let read = stream.read(&mut buffer[filled..]).await?;
        if read == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        filled += read;
        if let Some((good, whole)) = parse(&buffer[..filled]) {
            if whole {
                return Ok(good);
            }
        } else if filled == buffer.len() {
            return Err(io::ErrorKind::InvalidData.into());
        }
    }
}

/// Whether an answer is good so far, and whole; `None` while its head is not.
fn parse(bytes: &[u8]) -> Option<(bool, bool)> {
    let end = bytes.windows(4).position(|window| window == b"\r\n\r\n")? + 4;
    let head = std::str::from_utf8(&bytes[..end]).ok()?;
    let length = head.lines().find_map(|line| {
        let (name, value) = line.split_once(':')?;
        name.eq_ignore_ascii_case("content-length")
            .then(|| value.trim().parse::<usize>().ok())?
    });
    let body = &bytes[end..];
    let whole = body.len() >= length.unwrap_or(0);
    // Only the short answers of a door say it.
    let duplicate = body.len() <= SHORT && body.windows(11).any(|window| window == b"\"duplicate\"");
    Some((
        ["HTTP/1.1 200", "HTTP/1.1 201"]
            .iter()
            .any(|done| head.starts_with(done))
            && !duplicate,
        whole,
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_whole_plain_200_is_done() {
        let answer = |status: &str, body: &str| {
            format!("HTTP/1.1 {status}\r\nContent-Length: {}\r\n\r\n{body}", body.len()).into_bytes()
        };
        assert_eq!(parse(&answer("200 OK", r#"{"received":true}"#)), Some((true, true)));
        assert_eq!(parse(&answer("200 OK", r#"{"duplicate":true}"#)), Some((false, true)));
        assert_eq!(parse(&answer("503 No", "")), Some((false, true)));
        let whole = answer("200 OK", r#"{"received":true}"#);
        assert_eq!(parse(&whole[..whole.len() - 1]), Some((true, false)));
        assert_eq!(parse(&whole[..10]), None);
    }
}
