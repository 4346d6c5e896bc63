//! The gate before a delivery or a bid is wished for: what the marketplace would refuse fails the attempt, which says why,
//! so that the next one can do better.

use domain::deliverable::{self, File, HEAD, Limits};
use domain::run::{Command, Kind};
use futures_util::TryStreamExt as _;
use serde_json::Value;
use store::artefacts::{self, Artefact};
use store::runs::{self, Note};
use uuid::Uuid;

use super::Floor;
use crate::bidding::writing;
use crate::error::Error;
use crate::objects::{self, Folder, Objects};

/// The word for it in a run's error.
const REASON: &str = "delivery";

/// What an outcome comes to: a result whose files may not go out is a failure.
///
/// # Errors
/// When the store or the object store is away.
pub(super) async fn judge(
    floor: &Floor,
    (run, token): (Uuid, Uuid),
    (command, note): (Command, Note),
) -> Result<(Command, Note), tonic::Status> {
    let names = note.result.as_ref().and_then(|result| result.get("files"));
    let names: Vec<&str> = names
        .and_then(Value::as_array)
        .into_iter()
        .flatten()
        .filter_map(Value::as_str)
        .collect();
    let may_be_a_bid = match command {
        Command::Wait(_) => true,
        Command::Succeed => names.is_empty(),
        _ => return Ok((command, note)),
    };
    if may_be_a_bid {
        let row = runs::get(&floor.desk.store, run).await.map_err(Error::from)?;
        return match row.kind {
            Kind::Propose => Ok(writing::judge(&floor.desk, &row, (command, note)).await?),
            _ => Ok((command, note)),
        };
    }
    let files = store::run_tx!(floor.desk.store, "delivery_rules", Error, |tx| {
        // Who holds it no more is told so where the completion is taken in.
        let row = match runs::held(tx, run, token).await {
            Ok(row) => row,
            Err(store::Error::Stale { .. }) => return Ok(Vec::new()),
            Err(error) => return Err(error.into()),
        };
        let attempt = i32::try_from(row.machine.attempt).unwrap_or(i32::MAX);
        Ok(artefacts::of_attempt(tx, run, attempt).await?)
    })?;
    let named: Vec<&Artefact> = files
        .iter()
        .filter(|file| names.contains(&file.name.as_str()))
        .collect();
    let mut heads = Vec::with_capacity(named.len());
    for file in &named {
        heads.push(head(&floor.objects, &file.sha256).await?);
    }
    let files = named.iter().zip(&heads).map(|(file, head)| File {
        name: &file.name,
        bytes: u64::try_from(file.bytes).unwrap_or(0),
        head,
    });
    let files: Vec<File<'_>> = files.collect();
    let limits = Limits {
        files: floor.desk.config.objects.delivery_files,
        bytes: floor.desk.config.objects.artefact_bytes,
    };
    let problems = deliverable::problems(&files, limits);
    if problems.is_empty() {
        return Ok((command, note));
    }
    let error: String = format!("{REASON}: {}", problems.join("; "))
        .chars()
        .take(super::complete::LONGEST_ERROR)
        .collect();
    let note = Note {
        error: Some(error),
        ..Note::default()
    };
    Ok((Command::Fail, note))
}

/// The beginning of a file.
async fn head(objects: &Objects, sha256: &str) -> Result<Vec<u8>, objects::Error> {
    let mut pieces = std::pin::pin!(objects.read(Folder::Artefacts, sha256).await?);
    let mut head = Vec::with_capacity(HEAD);
    while head.len() < HEAD
        && let Some(piece) = pieces.try_next().await?
    {
        head.extend(piece.iter().take(HEAD - head.len()));
    }
    Ok(head)
}
