//! Services on offer.

use std::sync::Arc;

use axum::extract::{Path, Query, State};

use super::reply::{Answer, Page, Params, id, ok};
use crate::{app::App, refusal::Refusal, world::Service};

pub async fn list(State(app): State<Arc<App>>, Query(params): Query<Params>) -> Answer {
    let category = params.get("category");
    let words = params.get("search").map(|text| text.to_lowercase());
    let rows = app.see(|world| {
        let found = world.services.iter().filter(|service| {
            category.is_none_or(|category| *category == service.spec.category)
                && words
                    .as_ref()
                    .is_none_or(|words| service.spec.title.to_lowercase().contains(words))
        });
        found.map(Service::shown).collect::<Vec<_>>()
    });
    Page::of(&params).cut(rows)
}

pub async fn show(State(app): State<Arc<App>>, Path(service): Path<String>) -> Answer {
    let service = id(&service, "Service")?;
    let shown = app.see(|world| world.services.get(service).map(Service::shown));
    ok(shown.ok_or_else(|| Refusal::missing("Service"))?)
}
