//! A run's own way to the models: a listener on loopback (the run's own, or the machine's) that adds the run's credential and passes everything on.
//!
//! Beside the models it leads to the hosts the agent's file names, where billing adds a secret of the agent's ([`ext`]).
//!
//! The agent knows an address and a placeholder; the credential never enters its process. The listener lives as long
//! as the run, and the kernel's port rule (where there is one) lets the agent connect to nothing else.

mod ext;
mod given;
mod key;
mod listener;
mod refusal;

use std::net::{Ipv4Addr, SocketAddr};
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::task::{Context, Poll};
use std::time::Duration;

use axum::body::Body;
use axum::extract::{Request, State};
use axum::response::{IntoResponse as _, Response};
use boot::{CancellationToken, Tasks};
use bytes::Bytes;
use domain::agent_file::Credential;
use futures_util::{Stream, StreamExt as _};
use http::header::{CONTENT_LENGTH, HeaderValue, SET_COOKIE, TRANSFER_ENCODING};
use http::{StatusCode, Uri};
use outbound::{Client, Guard, Url};
use secrecy::SecretString;
use tokio::net::TcpListener;

use crate::config::Billing;
use crate::metrics;
use crate::run::{Activity, Decoy, Denials, Search, Way};
pub use ext::Called;
use ext::Hosts;
use given::HOP_BY_HOP;
use key::Key;
use listener::Bounded;
use refusal::Refusal;

/// Who refuses.
const REFUSED: &str = "gateway";
/// Of a budget that is used up.
const BUDGET: StatusCode = StatusCode::PAYMENT_REQUIRED;

/// The way to billing, shared by all runs.
#[derive(Debug, Clone)]
pub struct Upstream {
    client: Client,
    base: Url,
    max_request_bytes: u64,
    max_connections: usize,
}

/// One run's gateway. Closed when dropped.
#[derive(Debug)]
pub struct Gateway {
    address: SocketAddr,
    shared: Arc<Shared>,
    tasks: Tasks,
    closed: CancellationToken,
}

/// Where a run's gateway listens.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Place {
    /// On the machine's loopback, at a free port.
    Machine,
    /// On the loopback of the run's own network, at this port: nothing listens until [`Gateway::serve`].
    Inside(u16),
}

/// Who is told of what passes a run's doors.
#[derive(Debug, Clone)]
pub struct Watched {
    /// Whether anything happens.
    pub activity: Arc<Activity>,
    /// What was refused.
    pub denials: Arc<Denials>,
    /// What must not pass.
    pub decoy: Arc<Decoy>,
}

#[derive(Debug)]
struct Shared {
    upstream: Upstream,
    key: Key,
    credential: HeaderValue,
    traceparent: Option<HeaderValue>,
    watched: Watched,
    hosts: Hosts,
    budget_spent: AtomicBool,
    models_away: AtomicBool,
}

impl Upstream {
    /// The client for these settings.
    ///
    /// # Errors
    /// The machine has no usable TLS roots.
    pub fn new(settings: &Billing) -> Result<Self, outbound::Error> {
        let client = Client::builder("gateway")
            .guard(Guard::Any)
            .connect_timeout(Duration::from_secs(5))
            .read_timeout(settings.read_timeout)
            .total_timeout(None)
            .build()?;
        Ok(Self {
            client,
            base: settings.gateway_url.clone(),
            max_request_bytes: settings.max_request_bytes,
            max_connections: settings.max_connections,
        })
    }

    /// Opens a gateway for one run.
    ///
    /// # Errors
    /// No port is free, the credential cannot be a header, or there is no randomness.
    pub async fn open(
        &self,
        tasks: &Tasks,
        credential: &SecretString,
        traceparent: Option<String>,
        watched: Watched,
        hosts: &[Credential],
        place: Place,
    ) -> std::io::Result<Gateway> {
        let bad = |_error| std::io::Error::other("the run's credential cannot be sent in a header");
        let shared = Arc::new(Shared {
            upstream: self.clone(),
            key: Key::new()?,
            credential: outbound::header::bearer(credential).map_err(bad)?,
            traceparent: traceparent.and_then(|parent| parent.parse().ok()),
            watched,
            hosts: Hosts::new(hosts),
            budget_spent: AtomicBool::new(false),
            models_away: AtomicBool::new(false),
        });
        let (address, listener) = match place {
            Place::Machine => {
                let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await?;
                (listener.local_addr()?, Some(listener))
            }
            Place::Inside(port) => ((Ipv4Addr::LOCALHOST, port).into(), None),
        };
        let gateway = Gateway {
            address,
            shared,
            tasks: tasks.clone(),
            closed: CancellationToken::new(),
        };
        if let Some(listener) = listener {
            gateway.serve(listener);
        }
        Ok(gateway)
    }
}

impl Gateway {
    /// Answers whoever connects to this listener, until the gateway is dropped.
    pub fn serve(&self, listener: TcpListener) {
        let listener = Bounded::new(listener, self.address, self.shared.upstream.max_connections);
        let router = axum::Router::new()
            .fallback(forward)
            .with_state(Arc::clone(&self.shared));
        let until = self.closed.clone();
        let serving = self.tasks.spawn_job("gateway", async move {
            let serve = async { axum::serve(listener, router).await };
            // Open calls of a run that is over are dropped with it.
            until.run_until_cancelled(serve).await
        });
        drop(serving);
    }

    /// Where it listens.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// What other hosts were called, with which secrets.
    #[must_use]
    pub fn called(&self) -> Vec<Called> {
        self.shared.hosts.called()
    }

    /// What a call has to carry where clients put a key. It opens nothing else.
    #[must_use]
    pub fn key(&self) -> &str {
        self.shared.key.as_str()
    }

    /// Whether a call was refused because the run's budget is used up.
    #[must_use]
    pub fn budget_spent(&self) -> bool {
        self.shared.budget_spent.load(Ordering::Relaxed)
    }

    /// Whether the last model call came to nothing because its provider, or the way there, is away or overwhelmed.
    #[must_use]
    pub fn models_away(&self) -> bool {
        self.shared.models_away.load(Ordering::Relaxed)
    }
}

impl Drop for Gateway {
    fn drop(&mut self) {
        self.closed.cancel();
    }
}

async fn forward(State(shared): State<Arc<Shared>>, request: Request) -> Response {
    let open = shared.watched.activity.call();
    if ext::is_errand(&request) {
        return shared.errand(request, open).await;
    }
    let (answer, class) = match shared.pass_on(request).await {
        Ok(answer) => {
            let status = answer.status();
            if status == BUDGET {
                shared.budget_spent.store(true, Ordering::Relaxed);
            }
            let away = status.is_server_error() || status == StatusCode::TOO_MANY_REQUESTS;
            shared.models_away.store(away, Ordering::Relaxed);
            let class = match status.as_u16() / 100 {
                2 => "2xx",
                3 => "3xx",
                4 => "4xx",
                _ => "5xx",
            };
            (pass_back(answer, open), class)
        }
        Err(refusal) => {
            let class = refusal.class();
            let away = matches!(refusal, Refusal::Unreachable(_));
            shared.models_away.store(away, Ordering::Relaxed);
            if let Some(what) = refusal.denial() {
                shared.watched.denials.refused(REFUSED, what);
            }
            (refusal.into_response(), class)
        }
    };
    ::metrics::counter!(metrics::GATEWAY_REQUESTS, "class" => class).increment(1);
    answer
}

impl Shared {
    async fn pass_on(&self, request: Request) -> Result<outbound::Response, Refusal> {
        let url = self.url(request.uri())?;
        self.send(request, url, Way::ModelCall).await
    }

    async fn send(&self, request: Request, url: Url, way: Way) -> Result<outbound::Response, Refusal> {
        let (parts, body) = request.into_parts();
        let limit = self.upstream.max_request_bytes;
        let length = parts
            .headers
            .get(CONTENT_LENGTH)
            .and_then(|length| length.to_str().ok()?.parse::<u64>().ok());
        if length.is_some_and(|length| length > limit) {
            return Err(Refusal::TooLong(limit));
        }
        // A call of another host shows the run's key in its address.
        if way == Way::ModelCall {
            self.admit(&parts.headers)?;
        }
        self.look_at_credentials(&parts.headers);
        let mut onward = self.onward(&parts.headers);
        if let Some(length) = length {
            onward.insert(CONTENT_LENGTH, HeaderValue::from(length));
        }
        let body = if length.unwrap_or(0) == 0 && !parts.headers.contains_key(TRANSFER_ENCODING) {
            outbound::Body::from("")
        } else {
            outbound::Body::wrap_stream(capped(body, limit, way, self.watched.clone()))
        };
        let request = self
            .upstream
            .client
            .request(parts.method, url)
            .headers(onward)
            .body(body);
        self.upstream.client.send(request).await.map_err(Refusal::Unreachable)
    }

    /// The same path at billing, which knows paths under `/v1` only: one is added where there is none, and a second
    /// one (a client that adds its own) is dropped.
    fn url(&self, uri: &Uri) -> Result<Url, Refusal> {
        let mut path = uri.path();
        while let Some(rest) = path.strip_prefix("/v1").filter(|rest| rest.starts_with('/')) {
            path = rest;
        }
        if path.split('/').any(|part| matches!(part, "." | "..")) || path.contains('%') {
            return Err(Refusal::Path);
        }
        let mut url = self.upstream.base.clone();
        let base = url.path().trim_end_matches('/').trim_end_matches("/v1").to_owned();
        url.set_path(&format!("{base}/v1{path}"));
        url.set_query(uri.query());
        Ok(url)
    }
}

/// Ends with an error once more than `limit` bytes came, so that the request is never sent whole.
fn capped(
    body: Body,
    limit: u64,
    way: Way,
    watched: Watched,
) -> impl Stream<Item = Result<Bytes, std::io::Error>> + Send + 'static {
    let seen = AtomicU64::new(0);
    let mut search = Search::default();
    body.into_data_stream().map(move |part| {
        let part = part.map_err(std::io::Error::other)?;
        if watched.decoy.leaves_in(&mut search, way, &part) {
            watched.denials.alarm(way.alarm());
        }
        let seen = seen.fetch_add(part.len() as u64, Ordering::Relaxed) + part.len() as u64;
        if seen > limit {
            return Err(std::io::Error::other("the request is longer than allowed"));
        }
        Ok(part)
    })
}

fn pass_back(answer: outbound::Response, open: crate::run::OpenCall) -> Response {
    let mut response = Response::new(Body::empty());
    *response.status_mut() = answer.status();
    for (name, value) in answer.headers() {
        if !HOP_BY_HOP.contains(name) && *name != SET_COOKIE {
            response.headers_mut().append(name.clone(), value.clone());
        }
    }
    *response.body_mut() = Body::from_stream(Held {
        stream: answer.bytes_stream().boxed(),
        open,
    });
    response
}

/// A body that counts as an open call until its end.
struct Held<S> {
    stream: S,
    open: crate::run::OpenCall,
}

impl<S: Stream + Unpin> Stream for Held<S> {
    type Item = S::Item;

    fn poll_next(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        self.open.touch();
        self.stream.poll_next_unpin(context)
    }
}
