//! Files of runs, for operators: what is approved can be looked at before.

use rpc::error::{Code, status};
use rpc::v1::{Effect, GetArtefactRequest};
use store::effects::Effect as Row;
use store::ids::Table;
use store::{artefacts, effects};
use tonic::Status;

use super::{Api, shapes};
use crate::error::of_store;
use crate::objects::Folder;
use crate::work::{self, Chunks};

impl Api {
    /// The bytes of one file of a run.
    pub(super) async fn file(&self, request: &GetArtefactRequest) -> Result<Chunks, Status> {
        let run = self.id(Table::Runs, &request.run_id).await?;
        let files = artefacts::of_run(&self.desk.store, run).await.map_err(of_store)?;
        let file = files.into_iter().find(|file| file.name == request.name);
        let missing = || {
            let why = format!("run {run} has no file {:?}", request.name);
            status(Code::NotFound, "NO_FILE", why)
        };
        work::chunks(&self.objects, Folder::Artefacts, &file.ok_or_else(missing)?.sha256).await
    }

    /// Effects with what they are about.
    pub(super) async fn explained(&self, rows: Vec<Row>) -> Result<Vec<Effect>, Status> {
        let store = &self.desk.store;
        let ids: Vec<_> = rows.iter().map(|row| row.id).collect();
        let runs: Vec<_> = rows
            .iter()
            .filter(|row| carries_files(row))
            .filter_map(|row| row.run_id)
            .collect();
        let abouts = effects::about(store, &ids).await.map_err(of_store)?;
        let files = artefacts::delivered(store, &runs).await.map_err(of_store)?;
        let explain = |row: Row| {
            let about = abouts.iter().find(|about| about.id == row.id).cloned();
            let of_it = |(run, _): &&(uuid::Uuid, artefacts::Artefact)| carries_files(&row) && Some(*run) == row.run_id;
            let files = files
                .iter()
                .filter(of_it)
                .map(|(_, file)| shapes::artefact(file.clone()))
                .collect();
            let deadline = about.as_ref().and_then(|about| about.deadline);
            let (title, amount_micro_usdc) = about.map(|about| (about.title, about.amount_micro)).unwrap_or_default();
            Effect {
                title,
                amount_micro_usdc,
                deadline: shapes::at(deadline),
                files,
                ..shapes::effect(row)
            }
        };
        Ok(rows.into_iter().map(explain).collect())
    }

    /// One effect with what it is about and what it sends.
    pub(super) async fn effect(&self, id: &str) -> Result<Effect, Status> {
        let id = self.id(Table::Effects, id).await?;
        let row = effects::get(&self.desk.store, id).await.map_err(of_store)?;
        let payload_json = row.payload.to_string();
        let mut explained = self.explained(vec![row]).await?;
        let effect = explained.pop().unwrap_or_default();
        Ok(Effect { payload_json, ..effect })
    }
}

/// Releasing the first upload releases the whole delivery.
fn carries_files(row: &Row) -> bool {
    matches!(row.kind_name.as_str(), "upload" | "deliver")
}
