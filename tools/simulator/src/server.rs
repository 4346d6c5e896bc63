//! The listener: one task per connection, stopped in order.

use std::{
    convert::Infallible,
    net::SocketAddr,
    sync::Arc,
    task::{Context, Poll},
    time::Duration,
};

use anyhow::Context as _;
use axum::{BoxError, Router, body::HttpBody, http::Request, response::Response, routing};
use bytes::Bytes;
use hyper_util::{
    rt::{TokioExecutor, TokioIo, TokioTimer},
    server::conn::auto,
    service::TowerToHyperService,
};
use tokio::{
    net::{TcpListener, TcpStream},
    sync::{OwnedSemaphorePermit, Semaphore},
};
use tokio_util::{sync::CancellationToken, task::TaskTracker};

use crate::{
    api, app::App, connection::Connection, control, llm, options::Options, page, scenario, settings::Settings, timers,
};

/// Connections served at once; more wait in the listen queue.
const MAX_CONNECTIONS: usize = 4096;
/// How long a client may take over the head of a request.
const HEADER_TIMEOUT: Duration = Duration::from_secs(10);
/// How long open requests may take to end after the order to stop.
const DRAIN: Duration = Duration::from_secs(5);

/// A simulator that is bound and not yet serving.
#[derive(Debug)]
pub struct Server {
    listener: TcpListener,
    addr: SocketAddr,
    app: Arc<App>,
}

/// Binds the address of `options`.
///
/// # Errors
/// When the address is taken or an option is out of range.
pub async fn bind(options: Options) -> anyhow::Result<Server> {
    let settings = Settings::from_options(&options).map_err(anyhow::Error::msg)?;
    let listener = TcpListener::bind(options.listen)
        .await
        .with_context(|| format!("binding {}; is it in use?", options.listen))?;
    let addr = listener.local_addr().context("reading the bound address")?;
    let app = Arc::new(App::new(&options, settings, addr)?);
    if let Some(path) = &options.scenario {
        let text = std::fs::read_to_string(path).with_context(|| format!("reading the scenario {}", path.display()))?;
        scenario::load(&app, &text)
            .map_err(anyhow::Error::msg)
            .with_context(|| format!("reading the scenario {}", path.display()))?;
    }
    Ok(Server { listener, addr, app })
}

/// Binds and serves until `shutdown` is cancelled.
///
/// # Errors
/// As [`bind`].
pub async fn run(options: Options, shutdown: CancellationToken) -> anyhow::Result<()> {
    bind(options).await?.serve(shutdown).await
}

impl Server {
    /// The bound address.
    pub fn addr(&self) -> SocketAddr {
        self.addr
    }

    /// The origin to reach it by, without a trailing slash; the marketplace is under `/api/v1`.
    pub fn url(&self) -> String {
        format!("http://{}", self.addr)
    }

    /// Serves until `shutdown` is cancelled, then lets open requests end.
    ///
    /// # Errors
    /// None today; the result leaves room for a listener that fails for good.
    pub async fn serve(self, shutdown: CancellationToken) -> anyhow::Result<()> {
        let router = router(&self.app);
        let connections = TaskTracker::new();
        let slots = Arc::new(Semaphore::new(MAX_CONNECTIONS));
        self.app
            .tasks
            .spawn(timers::run(Arc::clone(&self.app), shutdown.clone()));
        self.app.act(|world| {
            world.start_playing();
            world.start_market();
        });

        loop {
            let accepted = tokio::select! {
                () = shutdown.cancelled() => break,
                accepted = accept(&self.listener, &slots) => accepted,
            };
            if let Some((stream, peer, slot)) = accepted {
                let connection = Connection::new(peer.ip());
                let service = Serve {
                    router: router.clone(),
                    connection: connection.clone(),
                };
                let shutdown = shutdown.clone();
                connections.spawn(async move {
                    converse(stream, connection, service, shutdown).await;
                    drop(slot);
                });
            }
        }

        connections.close();
        self.app.tasks.close();
        // What is still open after this is cut with the process.
        let _ = tokio::time::timeout(DRAIN, async {
            connections.wait().await;
            self.app.tasks.wait().await;
        })
        .await;
        Ok(())
    }
}

fn router(app: &Arc<App>) -> Router {
    Router::new()
        .route("/live", routing::get(|| async { "live\n" }))
        .route("/ready", routing::get(|| async { "ready\n" }))
        .nest("/api/v1", api::router(app))
        .merge(api::public_files(app))
        .nest("/llm", llm::router(app))
        .merge(page::router(app))
        .nest("/control", control::router(app))
}

async fn accept(
    listener: &TcpListener,
    slots: &Arc<Semaphore>,
) -> Option<(TcpStream, SocketAddr, OwnedSemaphorePermit)> {
    let slot = Arc::clone(slots).acquire_owned().await.ok()?;
    match listener.accept().await {
        Ok((stream, peer)) => {
            // Without it small answers wait for the client's delayed acknowledgement.
            let _ = stream.set_nodelay(true);
            Some((stream, peer, slot))
        }
        Err(_) => {
            // Out of descriptors, or a client that left at once: breathe, then go on.
            tokio::time::sleep(Duration::from_millis(20)).await;
            None
        }
    }
}

/// Serves one connection until it ends, is cut, or the process stops.
async fn converse(stream: TcpStream, connection: Connection, service: Serve, shutdown: CancellationToken) {
    let mut builder = auto::Builder::new(TokioExecutor::new());
    builder
        .http1()
        .timer(TokioTimer::new())
        .header_read_timeout(HEADER_TIMEOUT);
    builder.http2().timer(TokioTimer::new());
    let io = TokioIo::new(connection.stream(stream));
    let conversation = builder.serve_connection(io, TowerToHyperService::new(service));
    tokio::pin!(conversation);
    let mut stopping = false;
    loop {
        tokio::select! {
            // The client's manners are not our error.
            _ = conversation.as_mut() => return,
            () = connection.is_cut() => return,
            () = shutdown.cancelled(), if !stopping => {
                stopping = true;
                conversation.as_mut().graceful_shutdown();
            }
        }
    }
}

/// The router, with the connection added to every request.
#[derive(Clone)]
struct Serve {
    router: Router,
    connection: Connection,
}

impl<B> tower::Service<Request<B>> for Serve
where
    B: HttpBody<Data = Bytes> + Send + 'static,
    B::Error: Into<BoxError>,
{
    type Response = Response;
    type Error = Infallible;
    type Future = <Router as tower::Service<Request<B>>>::Future;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, mut request: Request<B>) -> Self::Future {
        request.extensions_mut().insert(self.connection.clone());
        tower::Service::call(&mut self.router, request)
    }
}
