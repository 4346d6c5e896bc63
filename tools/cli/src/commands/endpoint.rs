//! `steward agents endpoint-key`.

use std::path::{Path, PathBuf};

use anyhow::Result;
use rpc::endpoint;
use secrecy::{ExposeSecret as _, SecretString};
use serde_json::json;

use crate::args::Global;
use crate::context::USUAL_DIR;
use crate::failure::Failure;
use crate::out::Out;
use crate::private;
use crate::up::home::Home;

/// Where a local stack keeps what its executors show the scheduler.
const TOKEN: &str = "executor/scheduler_token";

/// Prints the key of one agent.
pub(super) fn key(global: &Global, name: &str, file: Option<&Path>, out: &Out) -> Result<u8> {
    let path = match file {
        Some(path) => path.to_owned(),
        None => local(global)?,
    };
    let token = private::read(&path)?.map(|text| text.trim().to_owned());
    let token = token.filter(|token| !token.is_empty()).ok_or_else(|| {
        Failure::NotFound(format!(
            "{} is missing or empty: name the executors' token with --executor-token-file",
            path.display()
        ))
    })?;
    let key = endpoint::key(&SecretString::from(token), name);
    let key = key.expose_secret();
    out.result(&json!({ "name": name, "key": key }), |_| key.to_owned())?;
    Ok(0)
}

fn local(global: &Global) -> Result<PathBuf> {
    let dir = global.dir.as_deref().unwrap_or(Path::new(USUAL_DIR));
    Ok(Home::at(dir)?.secrets().join(TOKEN))
}
