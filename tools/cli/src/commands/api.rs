//! `steward api`: the marketplace as it speaks now.

use anyhow::Result;
use rpc::v1;

use crate::args::{ApiCommand, Global};
use crate::context::Access;
use crate::out::Out;
use crate::render::{self, As, Column};
use crate::view;

const DRIFT: [Column; 6] = [
    ("What", "what", As::Text),
    ("Where", "place", As::Text),
    ("Name", "name", As::Text),
    ("Seen", "seen", As::Text),
    ("First", "first_at", As::Time),
    ("Last", "last_at", As::Time),
];

pub(super) async fn run(global: &Global, command: ApiCommand, out: &Out) -> Result<u8> {
    let ApiCommand::Drift = command;
    let peer = Access::find(global)?.scheduler().await?;
    let mut client = peer.marketplace();
    let answer = peer
        .ask("list what is unknown", client.list_drift(v1::ListDriftRequest {}))
        .await?;
    out.result(&view::drift(&answer), |value| render::listing(value, "drift", &DRIFT))?;
    Ok(0)
}
