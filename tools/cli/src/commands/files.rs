//! `steward runs files`: what a run made, listed or copied.
//!
//! Names come from agents, so each is written below one folder whatever it says; bytes are counted and their hash is
//! compared before a file gets its name.

use std::fs::{File, Permissions};
use std::io::Write as _;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Component, Path, PathBuf};

use anyhow::{Context as _, Result, bail};
use aws_lc_rs::digest;
use rpc::v1;

use crate::context::Peer;
use crate::failure::Failure;
use crate::out::Out;
use crate::render::{self, As, Column};
use crate::view;

/// The columns of a listing of files.
pub(super) const FILES: [Column; 4] = [
    ("File", "name", As::Text),
    ("Bytes", "bytes", As::Text),
    ("Type", "media_type", As::Text),
    ("SHA-256", "sha256", As::Text),
];
/// Files of one run that are copied, and the largest.
const MOST_FILES: usize = 1_000;
const LARGEST: u64 = 1 << 30;

/// Lists the files of a run, or copies them below a folder.
pub(super) async fn run(peer: &Peer, id: String, folder: Option<&Path>, out: &Out) -> Result<u8> {
    let mut client = peer.contracts();
    let answer = peer
        .ask("find the run", client.get_run(v1::GetRunRequest { id, after_seq: 0 }))
        .await?;
    let run = answer.run.as_ref().map(|run| run.id.clone()).unwrap_or_default();
    let Some(folder) = folder else {
        let shown = view::files(&run, &answer.artefacts);
        out.result(&shown, |value| render::listing(value, "files", &FILES))?;
        return Ok(0);
    };
    if answer.artefacts.len() > MOST_FILES {
        return Err(Failure::Refused(format!("the run made more than {MOST_FILES} files")).into());
    }
    // All names are judged before the first byte is written.
    let mut places = Vec::new();
    for file in &answer.artefacts {
        places.push(place(folder, &file.name)?);
    }
    for (file, place) in answer.artefacts.iter().zip(&places) {
        copy(peer, &run, file, folder, place).await?;
    }
    let shown = view::files(&run, &answer.artefacts);
    out.result(&shown, |value| {
        let list = render::listing(value, "files", &FILES);
        format!("{list}\n\n{} files are in {}", places.len(), folder.display())
    })?;
    Ok(0)
}

/// Where a file goes: below the folder, or nowhere.
fn place(folder: &Path, name: &str) -> Result<PathBuf> {
    let refused = |why: &str| Failure::Refused(format!("the file {}: {why}", render::plain(name)));
    let inner = Path::new(name);
    let plain = inner.components().all(|part| matches!(part, Component::Normal(_)));
    if !plain || name.is_empty() || name.chars().any(char::is_control) {
        return Err(refused("its name leads out of the folder").into());
    }
    let path = folder.join(inner);
    // What lies there already, be it a link, could lead elsewhere.
    let mut there = folder.to_path_buf();
    for part in inner.components() {
        there.push(part);
        match there.symlink_metadata() {
            Ok(found) if found.is_dir() && there != path => {}
            Ok(_) => return Err(refused("something of this name is there already: name an empty folder").into()),
            Err(_) => break,
        }
    }
    Ok(path)
}

async fn copy(peer: &Peer, run: &str, file: &v1::Artefact, folder: &Path, place: &Path) -> Result<()> {
    if file.bytes > LARGEST {
        return Err(Failure::Refused(format!("{} is larger than a gibibyte", render::plain(&file.name))).into());
    }
    let parent = place.parent().unwrap_or(folder);
    std::fs::create_dir_all(parent).with_context(|| format!("create {}", parent.display()))?;
    let mut draft = tempfile::Builder::new()
        .prefix(".draft-")
        .permissions(Permissions::from_mode(0o600))
        .tempfile_in(parent)
        .with_context(|| format!("write into {}", parent.display()))?;
    fetch(peer, run, file, draft.as_file_mut()).await?;
    draft
        .persist_noclobber(place)
        .with_context(|| format!("write {}", place.display()))?;
    Ok(())
}

/// Bytes as they were announced, no more, or an error.
async fn fetch(peer: &Peer, run: &str, file: &v1::Artefact, into: &mut File) -> Result<()> {
    let name = render::plain(&file.name);
    let request = v1::GetArtefactRequest {
        run_id: run.to_owned(),
        name: file.name.clone(),
    };
    let mut client = peer.contracts();
    let mut pieces = peer.ask("read the file", client.get_artefact(request)).await?;
    let mut hash = digest::Context::new(&digest::SHA256);
    let mut bytes = 0_u64;
    while let Some(piece) = peer.next("read the file", &mut pieces).await? {
        bytes += piece.data.len() as u64;
        if bytes > file.bytes {
            bail!("{name} has more bytes than its record says: nothing was kept of it");
        }
        hash.update(&piece.data);
        into.write_all(&piece.data).with_context(|| format!("write {name}"))?;
    }
    let found = const_hex::encode(hash.finish());
    if bytes != file.bytes || found != file.sha256 {
        bail!("{name} is not what the run made (its hash differs): nothing was kept of it");
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_name_leads_out_of_the_folder_and_nothing_is_overwritten() {
        let dir = tempfile::tempdir().unwrap();
        let outside = tempfile::tempdir().unwrap();
        std::os::unix::fs::symlink(outside.path(), dir.path().join("link")).unwrap();
        std::fs::write(dir.path().join("there.txt"), "mine").unwrap();
        for bad in [
            "",
            "../x",
            "/etc/passwd",
            "a/../../x",
            "./a",
            "link/x",
            "there.txt",
            "a\nb",
            "there.txt/x",
        ] {
            assert!(place(dir.path(), bad).is_err(), "{bad:?}");
        }
        for good in ["report.md", "deep/er/report.md", "..a"] {
            assert!(place(dir.path(), good).unwrap().starts_with(dir.path()), "{good}");
        }
    }
}
