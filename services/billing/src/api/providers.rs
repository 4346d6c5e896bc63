//! Which providers are set up, and how they fare.

use rpc::{convert::timestamp, v1};
use store::{
    Store,
    provider_health::{self, Health},
};

use crate::error::Error;

/// Failures in a row that are more than bad luck: an official client makes three calls of one.
const OUTAGE: i32 = 3;

/// All of them, in the order they are asked.
pub(super) async fn list(store: &Store, providers: &[v1::Provider]) -> Result<v1::ListProvidersResponse, Error> {
    let known = provider_health::all(store).await?;
    let told = providers.iter().map(|provider| {
        let health = known.iter().find(|health| health.provider == provider.name);
        v1::Provider {
            outage: health.and_then(outage),
            ..provider.clone()
        }
    });
    Ok(v1::ListProvidersResponse {
        providers: told.collect(),
    })
}

fn outage(health: &Health) -> Option<v1::Outage> {
    let since = health.failing_since.filter(|_| health.failures >= OUTAGE)?;
    Some(v1::Outage {
        since: Some(timestamp(since)),
        failures: u32::try_from(health.failures).unwrap_or(0),
        last_at: health.last_failed_at.map(timestamp),
        error: health.last_error.clone().unwrap_or_default(),
    })
}
