//! One file of a run, to be saved and never shown: what an agent made is no page of ours.

use std::sync::Arc;

use axum::body::Body;
use axum::extract::{Path, Query, State};
use axum::http::{HeaderValue, header};
use axum::response::{IntoResponse, Response};
use futures_util::stream;
use rpc::v1;
use tonic::Streaming;

use crate::Console;
use crate::error::Error;

/// More than any scheduler lets an agent deliver.
const LARGEST: u64 = 256 * 1024 * 1024;
/// Letters of a name that is suggested.
const LONGEST_NAME: usize = 120;

/// What stands behind the `?`.
#[derive(Debug, Default, serde::Deserialize)]
#[serde(default)]
pub(crate) struct Named {
    name: String,
}

/// `GET /runs/{id}/file?name=`
pub(crate) async fn download(
    State(console): State<Arc<Console>>,
    Path(run_id): Path<String>,
    Query(Named { name }): Query<Named>,
) -> Result<Response, Error> {
    let saved = disposition(&name);
    let mut contracts = console.upstream.contracts();
    let call = contracts.get_artefact(v1::GetArtefactRequest { run_id, name });
    let pieces = console.upstream.ask_scheduler("file", call).await?;
    let headers = [
        (
            header::CONTENT_TYPE,
            HeaderValue::from_static("application/octet-stream"),
        ),
        (header::CONTENT_DISPOSITION, saved),
    ];
    Ok((headers, body(pieces)).into_response())
}

/// The bytes as they come, at most so many; an answer that breaks off is seen to be broken by whoever reads it.
fn body(pieces: Streaming<v1::FileChunk>) -> Body {
    let next = |(mut pieces, sent): (Streaming<v1::FileChunk>, u64)| async move {
        let data = match pieces.message().await {
            Ok(piece) => piece?.data,
            Err(status) => return Some((Err(std::io::Error::other(status)), (pieces, sent))),
        };
        let sent = sent + data.len() as u64;
        if sent > LARGEST {
            return Some((Err(std::io::Error::other("the file is too large")), (pieces, sent)));
        }
        Some((Ok(data), (pieces, sent)))
    };
    Body::from_stream(stream::unfold((pieces, 0), next))
}

/// To be saved under the last part of its name, of plain letters only.
fn disposition(name: &str) -> HeaderValue {
    let last = name.rsplit('/').next().unwrap_or_default();
    let plain = |letter: char| {
        if letter.is_ascii_alphanumeric() || matches!(letter, '.' | '-' | '_') {
            letter
        } else {
            '_'
        }
    };
    let last: String = last.chars().take(LONGEST_NAME).map(plain).collect();
    let last = last.trim_start_matches('.');
    let shown = if last.is_empty() { "file" } else { last };
    HeaderValue::from_str(&format!("attachment; filename=\"{shown}\""))
        .unwrap_or(HeaderValue::from_static("attachment"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_cannot_leave_its_header_or_hide() {
        for (name, saved) in [
            ("deep/report.md", "attachment; filename=\"report.md\""),
            ("a\"\r\nSet-Cookie: x", "attachment; filename=\"a___Set-Cookie__x\""),
            ("..", "attachment; filename=\"file\""),
            ("", "attachment; filename=\"file\""),
        ] {
            assert_eq!(disposition(name), saved);
        }
    }
}
