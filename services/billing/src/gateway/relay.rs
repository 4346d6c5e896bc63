//! Streamed answers: whole events are passed on as they come, the last one only when the books are written.

use std::time::Duration;

use bytes::Bytes;
use http::{HeaderMap, HeaderValue, StatusCode, header};
use outbound::Response;
use store::run_accounts::Balance;
use tokio::{sync::mpsc, time::timeout};

use super::{
    dialect::Dialect,
    exchange::{Answer, AnswerBody, End, Exchange, Failure, Held, Reply, passed_on},
    refusal::Refusal,
    sse::Reader,
};

/// Pieces that may wait for a slow agent; a full queue slows the provider down.
const QUEUE: usize = 64;
/// What the end of a finished stream gets to arrive, so that the connection can be used again.
const LAST_BYTES: Duration = Duration::from_millis(250);

/// The agent's end of the stream.
struct Agent {
    reply: Option<Reply>,
    head: Option<Answer>,
    pieces: Option<mpsc::Sender<Bytes>>,
    stall: Duration,
}

/// Relays a stream to its end, whether the agent stays or not, and books it.
pub(super) async fn stream(exchange: &Exchange, held: &Held, mut response: Response, reply: Reply) {
    let status = response.status();
    let mut agent = Agent::new(
        reply,
        status,
        passed_on(response.headers()),
        held.balance,
        exchange.gateway.settings.client_stall,
    );
    let mut reader = Reader::new(exchange.ask.dialect);
    let ended = read(exchange, &mut response, &mut reader, &mut agent).await;
    let failure = ended.err();
    let end = End {
        // What came before a break is not the whole: only a finished stream says what it cost.
        seen: reader.last_seen().cloned().filter(|_| failure.is_none()),
        status: status.as_u16(),
        streamed: true,
        client_gone: agent.is_gone(),
        outcome: failure.map_or("ok", Failure::outcome),
    };
    let refusal = match (exchange.settle(held, end).await, failure) {
        (Ok(_), None) => None,
        (Ok(balance), Some(failure)) => {
            let refusal = failure.refusal(&exchange.upstream.name);
            Some(refusal.or_balance(balance.unwrap_or(held.balance)))
        }
        (Err(error), _) => Some(Refusal::books(&error)),
    };
    match refusal {
        None => agent.pass(reader.tail()).await,
        Some(refusal) => agent.refuse(refusal, exchange.ask.dialect).await,
    }
    agent.hang_up();
    if failure.is_none() {
        // The connection is good again when its end was read; if it does not come at once, it is closed.
        let _end = timeout(LAST_BYTES, response.chunk()).await;
    }
}

/// Passes events on until the last one, the end, or a failure.
async fn read(
    exchange: &Exchange,
    response: &mut Response,
    reader: &mut Reader,
    agent: &mut Agent,
) -> Result<(), Failure> {
    while !reader.is_done() {
        let ready = match exchange.within(response.chunk()).await? {
            Ok(Some(bytes)) => reader.push(&bytes),
            Ok(None) => {
                let last = reader.end().map_err(|_| Failure::Cut)?;
                agent.pass(last).await;
                // Some providers end without a last event; then the usage, which comes last, says that it is the end.
                return match reader.last_seen() {
                    Some(_) => Ok(()),
                    None => Err(if agent.has_begun() {
                        Failure::Cut
                    } else {
                        Failure::Garbage
                    }),
                };
            }
            Err(error) if error.is_timeout() => return Err(Failure::Timeout),
            Err(_) => return Err(Failure::Cut),
        };
        agent.pass(ready.map_err(|_| Failure::Garbage)?).await;
    }
    Ok(())
}

impl Agent {
    fn new(reply: Reply, status: StatusCode, mut headers: HeaderMap, balance: Balance, stall: Duration) -> Self {
        headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-cache"));
        let (pieces, queue) = mpsc::channel(QUEUE);
        Self {
            reply: Some(reply),
            head: Some(Answer {
                status,
                headers,
                balance,
                body: AnswerBody::Stream(queue),
            }),
            pieces: Some(pieces),
            stall,
        }
    }

    /// Whether the head is sent, so that a failure can only be told inside the stream.
    fn has_begun(&self) -> bool {
        self.reply.is_none()
    }

    fn is_gone(&self) -> bool {
        let left = self.reply.as_ref().is_some_and(|reply| reply.is_closed());
        left || self.pieces.as_ref().is_none_or(mpsc::Sender::is_closed)
    }

    /// Sends a piece, before the first one the head. An agent that does not read for long counts as gone.
    async fn pass(&mut self, piece: Bytes) {
        if piece.is_empty() {
            return;
        }
        if let Some((reply, head)) = self.reply.take().zip(self.head.take()) {
            drop(reply.send(Ok(head)));
        }
        if let Some(pieces) = &self.pieces
            && pieces.send_timeout(piece, self.stall).await.is_err()
        {
            self.pieces = None;
        }
    }

    /// Tells a failure: as the answer, or as the last event.
    async fn refuse(&mut self, refusal: Refusal, dialect: Dialect) {
        match self.reply.take() {
            Some(reply) => drop(reply.send(Err(refusal))),
            None => self.pass(Bytes::from(refusal.event(dialect))).await,
        }
    }

    /// Ends the stream. Whoever still waits for a head gets an empty one.
    fn hang_up(&mut self) {
        if let Some((reply, head)) = self.reply.take().zip(self.head.take()) {
            drop(reply.send(Ok(head)));
        }
        self.pieces = None;
    }
}
