//! Files between executors and the object store, in chunks.

use futures_util::{StreamExt as _, TryStreamExt as _};
use rpc::convert;
use rpc::error::{Code, status};
use rpc::v1::put_artefact_request::Kind;
use rpc::v1::{ArtefactHeader, FetchInputRequest, FileChunk, PutArtefactRequest, PutArtefactResponse};
use store::artefacts::{self, Artefact};
use store::runs;
use tonic::{Status, Streaming};

use super::{Chunks, Floor};
use crate::error::{Error, of_store};
use crate::jobs;
use crate::objects::{Folder, Objects};
use crate::outgoing::Guard;

/// Largest piece sent at once.
const CHUNK: usize = 256 * 1024;
/// Longest file name kept.
const NAME: usize = 512;

/// A bundle, in chunks.
pub(super) async fn bundle(floor: &Floor, sha256: &str) -> Result<Chunks, Status> {
    chunks(&floor.objects, Folder::Bundles, sha256).await
}

/// An input of a leased run, to its holder; no other object, whoever knows its hash.
pub(super) async fn input(floor: &Floor, request: FetchInputRequest) -> Result<Chunks, Status> {
    let run = convert::id("run_id", &request.run_id)?;
    let token = convert::id("lease_token", &request.lease_token)?;
    let row = store::run_tx!(floor.desk.store, "input_lease", |tx| runs::held(tx, run, token).await);
    let row = row.map_err(|error| match error {
        store::Error::Stale { .. } => status(Code::Forbidden, "LEASE_LOST", "the run's lease is not yours"),
        other => of_store(other),
    })?;
    let inputs = jobs::inputs(&floor.desk.store, &row).await?;
    let Some((folder, _)) = inputs.iter().find(|(_, input)| input.sha256 == request.sha256) else {
        let why = format!("{} is no input of run {run}", request.sha256);
        return Err(status(Code::NotFound, "NOT_AN_INPUT", why));
    };
    chunks(&floor.objects, *folder, &request.sha256).await
}

/// An object in pieces a message holds.
pub(crate) async fn chunks(objects: &Objects, folder: Folder, sha256: &str) -> Result<Chunks, Status> {
    let pieces = objects.read(folder, sha256).await?;
    let pieces = pieces.map_err(Status::from).flat_map(|piece| match piece {
        Ok(mut data) => {
            let mut parts = Vec::with_capacity(data.len() / CHUNK + 1);
            while !data.is_empty() {
                let part = data.split_to(data.len().min(CHUNK));
                parts.push(Ok(FileChunk { data: part }));
            }
            futures_util::stream::iter(parts)
        }
        Err(status) => futures_util::stream::iter(vec![Err(status)]),
    });
    Ok(Box::pin(pieces))
}

/// Takes one file of out/ in.
pub(super) async fn put(floor: &Floor, mut said: Streaming<PutArtefactRequest>) -> Result<PutArtefactResponse, Status> {
    let header = match said.message().await? {
        Some(PutArtefactRequest {
            kind: Some(Kind::Header(header)),
        }) => header,
        _ => {
            return Err(status(
                Code::Invalid,
                "NO_HEADER",
                "the first message must be the header",
            ));
        }
    };
    let run = convert::id("run_id", &header.run_id)?;
    let token = convert::id("lease_token", &header.lease_token)?;
    check_name(&header.name)?;
    let limit = floor.desk.config.objects.artefact_bytes;
    if header.bytes > limit {
        let why = format!("{} has {} bytes; at most {limit} are taken", header.name, header.bytes);
        return Err(status(Code::Invalid, "TOO_LARGE", why));
    }
    let hash = [header.sha256.clone()];
    let held = store::run_tx!(floor.desk.store, "artefact_lease", |tx| {
        let agent = runs::held(tx, run, token).await?.agent;
        Ok((agent, artefacts::sent_up(tx, run, &hash).await?))
    });
    let (agent, own) = held.map_err(lease_lost)?;
    let agent = store::agents::get(&floor.desk.store, &agent).await.map_err(of_store)?;
    let guard = Guard::new(&floor.desk, &agent).await.map_err(of_store)?;
    // Only what this run sent up before need not come again: a hash alone must not make somebody's object its own.
    if own.is_empty() || !floor.objects.is_fresh(Folder::Artefacts, &header.sha256).await? {
        let mut writer = floor
            .objects
            .writer(Folder::Artefacts, &header.sha256, header.bytes)
            .await?;
        while let Some(request) = said.message().await? {
            if let Some(Kind::Data(data)) = request.kind {
                writer.write(&data)?;
            }
        }
        writer.finish().await?;
    }
    let (mut artefact, attempt) = row(&header);
    artefact.secret = guard.object(&floor.objects, &header.sha256).await?;
    store::run_tx!(floor.desk.store, "artefact_put", Error, |tx| {
        runs::held(tx, run, token).await?;
        Ok(artefacts::put(tx, run, attempt, &artefact).await?)
    })
    .map_err(|error| match error {
        Error::Store(error) => lease_lost(error),
        other => other.into(),
    })?;
    Ok(PutArtefactResponse {
        sha256: header.sha256,
        bytes: header.bytes,
    })
}

fn lease_lost(error: store::Error) -> Status {
    match error {
        store::Error::Stale { .. } => status(Code::Refused, "LEASE_LOST", "the run's lease is no longer yours"),
        other => of_store(other),
    }
}

fn check_name(name: &str) -> Result<(), Status> {
    let plain = |part: &str| !part.is_empty() && part != "." && part != ".." && !part.contains(['\\', '\0']);
    if name.len() > NAME || !name.split('/').all(plain) {
        return Err(status(
            Code::Invalid,
            "BAD_NAME",
            format!("{name:?} is not a path below out/"),
        ));
    }
    Ok(())
}

fn row(header: &ArtefactHeader) -> (Artefact, i32) {
    let artefact = Artefact {
        name: header.name.clone(),
        sha256: header.sha256.clone(),
        bytes: i64::try_from(header.bytes).unwrap_or(i64::MAX),
        media_type: header.media_type.clone(),
        url: None,
        secret: None,
    };
    (artefact, i32::try_from(header.attempt).unwrap_or(i32::MAX))
}
