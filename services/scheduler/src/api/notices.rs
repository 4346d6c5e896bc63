//! Notices: shown, and ended by whoever has read them.

use rpc::convert::timestamp;
use rpc::v1::{ListNoticesResponse, Notice};
use store::ids::Table;
use store::{audit, notices, run_tx};
use tonic::Status;

use super::Api;
use crate::error::{Error, of_store};
use crate::wake::Topic;

impl Api {
    /// Those that stand.
    ///
    /// # Errors
    /// When the store cannot be read.
    pub(super) async fn notices(&self) -> Result<ListNoticesResponse, Status> {
        let standing = notices::standing(&self.desk.store).await.map_err(of_store)?;
        Ok(ListNoticesResponse {
            notices: standing.into_iter().map(shown).collect(),
        })
    }

    /// Ends one. Answers it as it was.
    ///
    /// # Errors
    /// `NOT_FOUND` when it does not stand.
    pub(super) async fn resolve_notice(&self, id: &str, reason: &str, actor: &str) -> Result<Notice, Status> {
        let id = self.id(Table::Notices, id).await?;
        let notice = run_tx!(self.desk.store, "notice_resolve", Error, |tx| {
            let notice = notices::resolve_one(tx, id).await?;
            let detail = format!("{} of {}: {reason}", notice.kind, notice.key);
            audit::record(tx, actor, "notices.resolve", &id.to_string(), Some(&detail)).await?;
            Ok(notice)
        })?;
        self.desk.wake.wake(Topic::Overview);
        Ok(shown(notice))
    }
}

fn shown(row: notices::Notice) -> Notice {
    Notice {
        id: row.id.to_string(),
        kind: row.kind,
        key: row.key,
        text: row.body,
        since: Some(timestamp(row.raised_at)),
    }
}
