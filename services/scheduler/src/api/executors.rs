//! Executors: who is there, and who shall take no more work.

use rpc::convert::timestamp;
use rpc::error::{Code, status};
use rpc::v1::ExecutorState;
use store::executors::{self, Known};
use store::{audit, run_tx};
use tonic::Status;

use super::{Api, shapes};
use crate::error::of_store;

impl Api {
    /// Those heard of in the last day.
    pub(super) async fn executors(&self) -> Result<Vec<ExecutorState>, Status> {
        let known = executors::list(&self.desk.store).await.map_err(of_store)?;
        Ok(known.into_iter().map(shown).collect())
    }

    /// Lets one take no more work. Its session learns of it within seconds, whichever replica holds it.
    pub(super) async fn drain(&self, id: &str, actor: &str) -> Result<ExecutorState, Status> {
        let id = self.executor_id(id).await?;
        run_tx!(self.desk.store, "executor_drain", |tx| {
            executors::drain(tx, &id).await?;
            audit::record(tx, actor, "executors.drain", &id, None).await
        })
        .map_err(of_store)?;
        let known = executors::list(&self.desk.store).await.map_err(of_store)?;
        let drained = known.into_iter().find(|known| known.executor.id == id);
        drained.map(shown).ok_or_else(|| unknown(&id))
    }

    async fn executor_id(&self, beginning: &str) -> Result<String, Status> {
        let known = executors::list(&self.desk.store).await.map_err(of_store)?;
        let here = known
            .into_iter()
            .filter(|known| !known.gone)
            .map(|known| known.executor.id);
        let fits: Vec<String> = here
            .filter(|id| !beginning.is_empty() && id.starts_with(beginning))
            .collect();
        match fits.as_slice() {
            [id] => Ok(id.clone()),
            [] => Err(unknown(beginning)),
            several => {
                let why = format!("several executors begin with {beginning}: {}", several.join(", "));
                Err(status(Code::Invalid, "AMBIGUOUS_ID", why))
            }
        }
    }
}

fn unknown(id: &str) -> Status {
    let why = format!("no executor that is here begins with {id:?}: see `steward executors list`");
    status(Code::NotFound, "NOT_FOUND", why)
}

fn shown(known: Known) -> ExecutorState {
    let state = match (known.gone, known.draining, known.runs) {
        (true, _, _) => "gone",
        (false, true, 0) => "drained",
        (false, true, _) => "draining",
        (false, false, _) => "ready",
    };
    ExecutorState {
        id: known.executor.id,
        slots: shapes::count(known.executor.slots),
        runs: shapes::count(known.runs),
        longest_secs: shapes::count(known.longest_secs),
        isolation: known.executor.isolation,
        version: known.executor.version,
        state: state.to_owned(),
        came_at: Some(timestamp(known.came_at)),
        seen_at: Some(timestamp(known.seen_at)),
    }
}
