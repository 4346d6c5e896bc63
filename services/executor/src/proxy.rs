//! A run's way to the hosts its agent file allows, and that of `setup` to where packages are: an HTTP proxy that knows
//! `CONNECT` and nothing else.
//!
//! The agent reaches it on loopback (the run's own, or the machine's) and names `host:port`. What is not on the
//! operator's list is refused; of what is, this executor looks the name up itself, leaves out every address that is not
//! public, and connects to the very address it checked. Connections, bytes and silence are bounded, and each connection
//! is logged against the run. What passes is the agent's own: it is neither opened nor changed.

mod request;

use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use boot::{CancellationToken, Tasks};
use outbound::Guard;
use tokio::io::{AsyncWriteExt as _, copy_bidirectional};
use tokio::net::{TcpListener, TcpStream, lookup_host};
use tokio::sync::Semaphore;
use tokio::time::{interval, timeout};
use tokio_util::io::InspectReader;

use crate::config::Network;
use crate::gateway::{Place, Watched};
use crate::metrics;
use crate::run::Way;
use request::Target;

/// A name must be found, and a host answer, within this.
const PATIENCE: Duration = Duration::from_secs(10);
/// After a failed accept (no file descriptors left), before the next.
const PAUSE: Duration = Duration::from_millis(50);
/// How finely silence and bytes are looked at.
const TICK: Duration = Duration::from_millis(500);
/// Why a connection was refused.
const REFUSED: &str = "network";

/// One run's proxy. Closed when dropped.
#[derive(Debug)]
pub struct Proxy {
    address: SocketAddr,
    shared: Arc<Shared>,
    tasks: Tasks,
    closed: CancellationToken,
}

/// Who is reached.
#[derive(Debug, Clone, Copy)]
pub enum Hosts<'a> {
    /// These, each `host:port`, at the addresses the settings allow.
    Listed(&'a [String]),
    /// Everybody at an address this allows.
    At(Guard),
}

#[derive(Debug)]
struct Shared {
    /// None: all.
    allowed: Option<Vec<Target>>,
    guard: Guard,
    settings: Network,
    permits: Arc<Semaphore>,
    passed: AtomicU64,
    watched: Watched,
}

/// A connection, for the log.
struct Told<'a> {
    span: &'a tracing::Span,
    target: Target,
    began: Instant,
    sent: AtomicU64,
    received: AtomicU64,
    ended: String,
}

/// Why there is no connection.
#[derive(Debug, thiserror::Error)]
enum Refusal {
    #[error("{0}")]
    Request(#[from] request::Error),
    #[error("{0} is not on the list network.allow of the agent file")]
    NotAllowed(Target),
    #[error("{0} has no public address")]
    NotPublic(Target),
    #[error("{0} has no address outside this machine and its private network: see network.setup of the executor")]
    NotOutside(Target),
    #[error("the run has used up the {0} bytes it may exchange with other hosts")]
    TooMuch(u64),
    #[error("{0} cannot be found: {1}")]
    Unknown(Target, io::Error),
    #[error("{0} cannot be reached: {1}")]
    Unreachable(Target, io::Error),
}

impl Proxy {
    /// Opens the proxy of one run for these hosts.
    ///
    /// # Errors
    /// No port is free, or a place is not `host:port`.
    pub async fn open(
        tasks: &Tasks,
        settings: &Network,
        hosts: Hosts<'_>,
        place: Place,
        watched: Watched,
    ) -> io::Result<Self> {
        let bad = |error: request::Error| io::Error::other(error.to_string());
        let (allowed, guard) = match hosts {
            Hosts::Listed(places) => {
                let allowed: Result<_, _> = places.iter().map(|place| Target::parse(place)).collect();
                (Some(allowed.map_err(bad)?), settings.guard.into())
            }
            Hosts::At(guard) => (None, guard),
        };
        let shared = Arc::new(Shared {
            allowed,
            guard,
            settings: settings.clone(),
            permits: Arc::new(Semaphore::new(settings.connections)),
            passed: AtomicU64::new(0),
            watched,
        });
        let (address, listener) = match place {
            Place::Machine => {
                let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await?;
                (listener.local_addr()?, Some(listener))
            }
            Place::Inside(port) => ((Ipv4Addr::LOCALHOST, port).into(), None),
        };
        let proxy = Self {
            address,
            shared,
            tasks: tasks.clone(),
            closed: CancellationToken::new(),
        };
        if let Some(listener) = listener {
            proxy.serve(listener);
        }
        Ok(proxy)
    }

    /// Answers whoever connects to this listener, until the proxy is dropped.
    pub fn serve(&self, listener: TcpListener) {
        let (shared, tasks, closed) = (Arc::clone(&self.shared), self.tasks.clone(), self.closed.clone());
        let serving = async move {
            loop {
                // The semaphore is never closed. What comes meanwhile waits in the kernel's queue.
                let permit = Arc::clone(&shared.permits).acquire_owned().await.ok();
                let stream = match listener.accept().await {
                    Ok((stream, _peer)) => stream,
                    Err(error) => {
                        tracing::warn!(%error, "a run's proxy could not accept a connection");
                        tokio::time::sleep(PAUSE).await;
                        continue;
                    }
                };
                let (shared, closed) = (Arc::clone(&shared), closed.clone());
                let connection = tasks.spawn_job("connection", async move {
                    closed.run_until_cancelled(shared.answer(stream)).await;
                    drop(permit);
                });
                drop(connection);
            }
        };
        let until = self.closed.clone();
        let serving = self
            .tasks
            .spawn_job("proxy", async move { until.run_until_cancelled(serving).await });
        drop(serving);
    }

    /// Where it listens.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.address
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.closed.cancel();
    }
}

impl Shared {
    async fn answer(&self, mut near: TcpStream) {
        let open = self.watched.activity.call();
        // Only slower without.
        let _delayed = near.set_nodelay(true);
        match self.connect(&mut near).await {
            Ok((target, far, early)) => {
                ::metrics::counter!(metrics::CONNECTIONS, "outcome" => "opened").increment(1);
                self.pass(target, near, far, early).await;
            }
            Err(refusal) => {
                ::metrics::counter!(metrics::CONNECTIONS, "outcome" => refusal.class()).increment(1);
                if refusal.is_ours() {
                    self.watched.denials.refused(REFUSED, refusal.to_string());
                } else {
                    let span = self.watched.denials.span();
                    span.in_scope(|| tracing::info!(%refusal, "a run's connection did not come about"));
                }
                // If it has gone, nobody asks.
                let _gone = near.write_all(refusal.answer().as_bytes()).await;
                let _gone = near.shutdown().await;
            }
        }
        drop(open);
    }

    async fn connect(&self, near: &mut TcpStream) -> Result<(Target, TcpStream, Vec<u8>), Refusal> {
        let (target, early) = timeout(PATIENCE, request::read(near))
            .await
            .unwrap_or(Err(request::Error::Slow))?;
        if self.watched.decoy.leaves(Way::HostName, target.as_pair().0.as_bytes()) {
            self.watched.denials.alarm(Way::HostName.alarm());
        }
        if self.allowed.as_ref().is_some_and(|allowed| !allowed.contains(&target)) {
            return Err(Refusal::NotAllowed(target));
        }
        if self.passed.load(Ordering::Relaxed) >= self.settings.bytes {
            return Err(Refusal::TooMuch(self.settings.bytes));
        }
        let late = || io::Error::from(io::ErrorKind::TimedOut);
        let addresses = match timeout(PATIENCE, look_up(&target)).await {
            Ok(Ok(addresses)) => addresses,
            Ok(Err(error)) => return Err(Refusal::Unknown(target, error)),
            Err(_elapsed) => return Err(Refusal::Unknown(target, late())),
        };
        let mut public = addresses;
        public.retain(|address| self.guard.allows(address.ip()));
        if public.is_empty() {
            return Err(match self.guard {
                Guard::Outside => Refusal::NotOutside(target),
                _ => Refusal::NotPublic(target),
            });
        }
        let mut why = late();
        for address in public {
            match timeout(PATIENCE, TcpStream::connect(address)).await {
                Ok(Ok(far)) => return Ok((target, far, early)),
                Ok(Err(error)) => why = error,
                Err(_elapsed) => why = late(),
            }
        }
        Err(Refusal::Unreachable(target, why))
    }

    /// Passes everything on, both ways, until both have ended, nothing comes any more, or too much came.
    async fn pass(&self, target: Target, mut near: TcpStream, mut far: TcpStream, early: Vec<u8>) {
        let mut told = Told {
            span: self.watched.denials.span(),
            target,
            began: Instant::now(),
            sent: AtomicU64::new(early.len() as u64),
            received: AtomicU64::new(0),
            ended: "the run ended".to_owned(),
        };
        let _delayed = far.set_nodelay(true);
        let opened = async {
            near.write_all(b"HTTP/1.1 200 Connection established\r\n\r\n").await?;
            far.write_all(&early).await
        };
        if let Err(error) = opened.await {
            told.ended = error.to_string();
            return;
        }
        let count = |counter: &AtomicU64, bytes: &[u8]| {
            let length = bytes.len() as u64;
            counter.fetch_add(length, Ordering::Relaxed);
            self.passed.fetch_add(length, Ordering::Relaxed);
            self.watched.activity.touch();
        };
        let ended = {
            let mut near = InspectReader::new(near, |bytes| count(&told.sent, bytes));
            let mut far = InspectReader::new(far, |bytes| count(&told.received, bytes));
            tokio::select! {
                passed = copy_bidirectional(&mut near, &mut far) => match passed {
                    Ok(_both) => "closed".to_owned(),
                    Err(error) => error.to_string(),
                },
                why = self.until_too_much(&told.sent, &told.received) => why,
            }
        };
        told.ended = ended;
    }

    /// Until nothing has come for long, or the run has exchanged too much.
    async fn until_too_much(&self, sent: &AtomicU64, received: &AtomicU64) -> String {
        let count = || sent.load(Ordering::Relaxed) + received.load(Ordering::Relaxed);
        let (mut before, mut since) = (count(), Instant::now());
        let mut tick = interval(TICK);
        loop {
            tick.tick().await;
            let now = count();
            if now != before {
                (before, since) = (now, Instant::now());
            } else if since.elapsed() > self.settings.idle {
                return "idle".to_owned();
            }
            if self.passed.load(Ordering::Relaxed) > self.settings.bytes {
                let refusal = Refusal::TooMuch(self.settings.bytes).to_string();
                self.watched.denials.refused(REFUSED, refusal.clone());
                return refusal;
            }
        }
    }
}

/// Told when it is over, also when it is cut off.
impl Drop for Told<'_> {
    fn drop(&mut self) {
        let duration_ms = u64::try_from(self.began.elapsed().as_millis()).unwrap_or(u64::MAX);
        let (sent, received) = (*self.sent.get_mut(), *self.received.get_mut());
        let (host, ended) = (&self.target, &self.ended);
        self.span
            .in_scope(|| tracing::info!(%host, sent, received, duration_ms, ended, "a run's connection"));
        ::metrics::counter!(metrics::CONNECTION_BYTES, "direction" => "sent").increment(sent);
        ::metrics::counter!(metrics::CONNECTION_BYTES, "direction" => "received").increment(received);
    }
}

async fn look_up(target: &Target) -> io::Result<Vec<SocketAddr>> {
    Ok(lookup_host(target.as_pair()).await?.collect())
}

impl Refusal {
    /// Whether we refuse it, or the world does.
    fn is_ours(&self) -> bool {
        !matches!(self, Self::Unknown(..) | Self::Unreachable(..))
    }

    fn class(&self) -> &'static str {
        if self.is_ours() { "refused" } else { "unreachable" }
    }

    /// In words that a person finds in the agent's own error.
    fn answer(&self) -> String {
        let status = match self {
            Self::Request(error) => error.status(),
            Self::NotAllowed(_) | Self::NotPublic(_) | Self::NotOutside(_) | Self::TooMuch(_) => "403 Forbidden",
            Self::Unknown(..) | Self::Unreachable(..) => "502 Bad Gateway",
        };
        let body = format!("{self}\n");
        let length = body.len();
        format!(
            "HTTP/1.1 {status}\r\nContent-Type: text/plain; charset=utf-8\r\nContent-Length: {length}\r\n\
             Connection: close\r\n\r\n{body}"
        )
    }
}
