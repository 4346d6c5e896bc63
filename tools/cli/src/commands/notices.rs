//! `steward notices`.

use anyhow::Result;
use rpc::v1;

use crate::args::{Global, NoticesCommand};
use crate::context::Access;
use crate::out::Out;
use crate::render::{self, As, Column};
use crate::view;

const NOTICES: [Column; 5] = [
    ("Notice", "id", As::Text),
    ("Kind", "kind", As::Text),
    ("About", "key", As::Text),
    ("Since", "since", As::Time),
    ("Text", "text", As::Text),
];

pub(super) async fn run(global: &Global, command: NoticesCommand, out: &Out) -> Result<u8> {
    let peer = Access::find(global)?.scheduler().await?;
    let mut client = peer.operations();
    match command {
        NoticesCommand::List => {
            let request = v1::ListNoticesRequest {};
            let answer = peer.ask("list the notices", client.list_notices(request)).await?;
            out.result(&view::notices(&answer), |value| {
                render::listing(value, "notices", &NOTICES)
            })?;
        }
        NoticesCommand::Resolve { id, reason } => {
            let request = v1::ResolveNoticeRequest { id, reason };
            let notice = peer.ask("resolve the notice", client.resolve_notice(request)).await?;
            out.result(&view::notice(&notice), |_| {
                format!("notice {} is resolved", render::plain(&notice.id))
            })?;
        }
    }
    Ok(0)
}
