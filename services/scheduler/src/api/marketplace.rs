//! What operators ask about the marketplace.

use rpc::convert::timestamp;
use rpc::v1::marketplace_server::Marketplace;
use rpc::v1::{Drift, ListDriftRequest, ListDriftResponse};
use store::drift;
use tonic::{Request, Response, Status};

use super::{Api, looks};
use crate::error::of_store;

#[tonic::async_trait]
impl Marketplace for Api {
    async fn list_drift(&self, request: Request<ListDriftRequest>) -> Result<Response<ListDriftResponse>, Status> {
        looks(&request)?;
        let found = drift::list(&self.desk.store).await.map_err(of_store)?;
        let shown = found.into_iter().map(|one| Drift {
            what: one.what,
            place: one.place,
            name: one.name,
            seen: one.seen,
            first_at: Some(timestamp(one.first_at)),
            last_at: Some(timestamp(one.last_at)),
        });
        Ok(Response::new(ListDriftResponse { drift: shown.collect() }))
    }
}
