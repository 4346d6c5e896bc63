//! The listener and its routes.

use std::net::SocketAddr;
use std::sync::Arc;

use anyhow::Context as _;
use axum::Router;
use axum::extract::DefaultBodyLimit;
use axum::http::StatusCode;
use axum::middleware::from_fn_with_state;
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use boot::OnExit;
use hyper_util::rt::TokioTimer;
use tokio::net::TcpListener;
use tower_http::catch_panic::CatchPanicLayer;

use crate::error::Error;
use crate::{Console, actions, assets, door, guard, live, pages};

/// A request's line and headers.
const MAX_HEAD: usize = 32 * 1024;

/// Everything that can be asked.
pub(crate) fn router(console: &Arc<Console>) -> Router {
    let door = Arc::new(door::Door::new(&console.context.config.http));
    let behind = Router::new()
        .route("/", get(pages::overview::page))
        .route("/live", get(live::live))
        .route("/session", get(|| async { StatusCode::NO_CONTENT }))
        .route("/contracts", get(pages::contracts::list))
        .route("/contracts/{id}", get(pages::contracts::detail))
        .route("/contracts/{id}/retry", post(actions::retry_contract))
        .route("/gigs", get(pages::gigs::list))
        .route("/gigs/{id}", get(pages::gigs::detail))
        .route("/runs", get(pages::runs::list))
        .route("/runs/{id}", get(pages::runs::detail))
        .route("/runs/{id}/file", get(pages::files::download))
        .route("/runs/{id}/retry", post(actions::retry_run))
        .route("/system", get(pages::system::page))
        .route("/effects/{id}/decide", post(actions::decide_effect))
        .route("/dead-letters/{kind}/{id}/retry", post(actions::retry_dead_letter))
        .route("/dead-letters/{kind}/{id}/drop", post(actions::drop_dead_letter))
        .route("/logout", post(pages::login::sign_out))
        .route_layer(from_fn_with_state(Arc::clone(console), guard::signed_in));
    Router::new()
        .route("/login", get(pages::login::page).post(pages::login::sign_in))
        .route("/login/mint", post(pages::login::mint))
        .route("/assets/{name}", get(assets::serve))
        .merge(behind)
        .fallback(|| async { Error::NoPage })
        .layer(DefaultBodyLimit::max(guard::MAX_FORM))
        .layer(CatchPanicLayer::custom(|_| -> Response {
            tracing::error!("a handler panicked");
            Error::Broken.into_response()
        }))
        .layer(from_fn_with_state(door, door::pass))
        .with_state(Arc::clone(console))
}

/// Serves until the soft token is cancelled; streams end then, and what is open is finished.
///
/// # Errors
/// When the listener cannot be used.
pub(crate) fn spawn(console: &Arc<Console>, listener: TcpListener) -> anyhow::Result<()> {
    let context = &console.context;
    let handle = axum_server::Handle::<SocketAddr>::new();
    let mut server = axum_server::from_tcp(listener.into_std().context("take the listener")?)
        .context("take the listener")?
        .handle(handle.clone());
    server
        .http_builder()
        .http1()
        .timer(TokioTimer::new())
        .header_read_timeout(context.config.http.header_timeout)
        .max_buf_size(MAX_HEAD);
    let service = router(console).into_make_service_with_connect_info::<SocketAddr>();
    let (soft, grace) = (context.soft.clone(), context.config.shutdown.grace);
    context.tasks.spawn("stop_http", OnExit::Log, async move {
        soft.cancelled().await;
        handle.graceful_shutdown(Some(grace));
    });
    context
        .tasks
        .spawn("http", OnExit::StopService, async move { server.serve(service).await });
    Ok(())
}
