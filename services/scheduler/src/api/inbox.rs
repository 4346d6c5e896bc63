//! Webhooks as they came, for operators.

use rpc::v1::inbox_server::Inbox;
use rpc::v1::{GetInboxRequest, InboxDetail, InboxRow, ListInboxRequest, ListInboxResponse};
use store::ids::Table;
use store::{audit, intake, run_tx};
use tonic::{Request, Response, Status};

use super::page::Asked;
use super::{Api, acts, looks, optional, shapes};
use crate::error::of_store;
use crate::wake::Topic;

#[tonic::async_trait]
impl Inbox for Api {
    async fn list_inbox(&self, request: Request<ListInboxRequest>) -> Result<Response<ListInboxResponse>, Status> {
        looks(&request)?;
        let request = request.into_inner();
        let page = Asked::read(request.page)?;
        let filter = intake::Filter {
            agent: optional(request.agent),
            unprocessed_only: request.unprocessed_only,
            before: page.before,
        };
        let mut found = intake::list(&self.desk.store, &filter, page.rows())
            .await
            .map_err(of_store)?;
        let next = page.cut(&mut found, |row| row.id);
        let rows = found.into_iter().map(shapes::inbox).collect();
        Ok(Response::new(ListInboxResponse { rows, next }))
    }

    async fn get_inbox(&self, request: Request<GetInboxRequest>) -> Result<Response<InboxDetail>, Status> {
        // Bodies are clients' words.
        let _actor = acts(&request)?;
        let id = self.id(Table::Inbox, &request.into_inner().id).await?;
        let (row, body) = intake::get(&self.desk.store, id).await.map_err(of_store)?;
        Ok(Response::new(InboxDetail {
            row: Some(shapes::inbox(row)),
            body,
        }))
    }

    async fn replay_inbox(&self, request: Request<GetInboxRequest>) -> Result<Response<InboxRow>, Status> {
        let actor = acts(&request)?;
        let id = self.id(Table::Inbox, &request.into_inner().id).await?;
        run_tx!(self.desk.store, "inbox_replay", |tx| {
            intake::replay(tx, id).await?;
            audit::record(tx, actor, "inbox.replay", &id.to_string(), None).await
        })
        .map_err(of_store)?;
        self.desk.wake.wake(Topic::Intake);
        let (row, _body) = intake::get(&self.desk.store, id).await.map_err(of_store)?;
        Ok(Response::new(shapes::inbox(row)))
    }
}
