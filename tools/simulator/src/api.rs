//! The marketplace's public API, as its documentation shows it, under `/api/v1`.
//!
//! Both families of paths (`/agents/me/…` and `/agent/…`) lead to the same handlers.

use std::sync::Arc;

use axum::{
    Router,
    extract::{DefaultBodyLimit, Path, State},
    http::header,
    middleware,
    response::{IntoResponse, Response},
    routing::{delete, get, patch, post},
};
use http::StatusCode;

use crate::{app::App, files, refusal::Refusal, sync::lock};

mod agents;
mod contracts;
mod gigs;
mod guard;
mod hiring;
pub mod reply;
mod services;
mod uploads;
mod webhooks;

/// Routes below `/api/v1`.
pub fn router(app: &Arc<App>) -> Router {
    Router::new()
        .merge(family("/agents/me"))
        .merge(family("/agent"))
        .route("/agents/register", post(agents::register))
        .route("/agents/register/autonomous", post(hiring::register))
        .route("/agents/claim/{token}", get(agents::claim))
        .route("/agents", get(agents::directory))
        .route("/agents/me/balance", get(hiring::balance))
        .route("/agents/me/deposit", post(hiring::deposit))
        .route("/agents/me/withdraw", post(hiring::withdraw))
        .route("/agents/me/gigs", post(hiring::post_gig))
        .route("/agents/me/gigs/{id}/accept-proposal", post(hiring::accept))
        .route("/agents/me/contracts/{id}/{step}", post(hiring::step))
        .route("/agents/me/hiring", get(hiring::list))
        .route("/services", get(services::list))
        .route("/services/{id}", get(services::show))
        .route("/agents/{id}/regenerate-key", post(agents::regenerate_key))
        .route("/agents/me", get(agents::profile).patch(agents::change))
        .route("/agent/profile", get(agents::profile).patch(agents::change))
        .route("/agents/status", get(agents::status))
        .route("/agents/me/verify-email/confirm", post(agents::confirm_email))
        .route("/agent/confirm-email", post(agents::confirm_email))
        .route("/webhooks/secret/rotate", post(webhooks::rotate))
        .route("/gigs", get(gigs::list))
        .route("/gigs/{id}", get(gigs::show))
        .route(
            "/gigs/{id}/proposals",
            post(gigs::propose).delete(gigs::withdraw_by_query),
        )
        .route("/gigs/{id}/proposals/{proposal}", delete(gigs::withdraw))
        .route("/contracts/{id}/deliver", post(contracts::deliver))
        .route(
            "/contracts/{id}/messages",
            get(contracts::thread).post(contracts::write),
        )
        .route("/upload", post(uploads::upload))
        .fallback(|| async { Refusal::missing("Endpoint") })
        .method_not_allowed_fallback(|| async {
            let text = "Method not allowed";
            Refusal::new(StatusCode::METHOD_NOT_ALLOWED, "method_not_allowed", text)
        })
        .layer(middleware::from_fn_with_state(Arc::clone(app), guard::guard))
        .layer(DefaultBodyLimit::disable())
        .with_state(Arc::clone(app))
}

/// The routes that exist in both families.
fn family(base: &str) -> Router<Arc<App>> {
    let at = |rest: &str| format!("{base}{rest}");
    Router::new()
        .route(&at("/status"), get(agents::status))
        .route(&at("/readiness"), get(agents::readiness))
        .route(&at("/verify-email"), post(agents::verify_email))
        .route(&at("/portfolio"), get(agents::portfolio).post(agents::add_portfolio))
        .route(
            &at("/portfolio/{id}"),
            patch(agents::change_portfolio).delete(agents::remove_portfolio),
        )
        .route(&at("/proposals"), get(gigs::own_proposals))
        .route(
            &at("/proposals/{id}"),
            get(gigs::own_proposal).merge(patch(gigs::change_proposal)),
        )
        .route(&at("/contracts"), get(contracts::list))
        .route(&at("/messages"), get(contracts::inbox))
        .route(&at("/webhooks"), get(webhooks::config).patch(webhooks::configure))
        .route(&at("/webhooks/rotate-secret"), post(webhooks::rotate))
        .route(&at("/webhooks/deliveries"), get(webhooks::deliveries))
        .route(&at("/webhooks/deliveries/{id}/retry"), post(webhooks::retry))
        .route(&at("/webhooks/test"), post(webhooks::test))
}

/// Uploaded files, at the URLs the platform gave them.
pub fn public_files(app: &Arc<App>) -> Router {
    Router::new()
        .route(&format!("{}{{*path}}", files::FOLDER), get(file))
        .with_state(Arc::clone(app))
}

async fn file(State(app): State<Arc<App>>, Path(path): Path<String>) -> Response {
    match lock(&app.files).get(&path) {
        Some(file) => {
            let headers = [
                (header::CONTENT_TYPE, file.content_type),
                (header::X_CONTENT_TYPE_OPTIONS, "nosniff".to_owned()),
            ];
            (headers, file.content).into_response()
        }
        None => Refusal::missing("File").into_response(),
    }
}
