//! Why an executor could not start.

use crate::{folders, sandbox};

/// Why an executor could not start.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The work root.
    #[error(transparent)]
    Folders(#[from] folders::Error),
    /// The isolation of this host.
    #[error(transparent)]
    Sandbox(#[from] sandbox::Error),
    /// Stored completions.
    #[error("read stored completions: {0}")]
    Completions(#[source] std::io::Error),
    /// The scheduler's address.
    #[error("scheduler.url: {0}")]
    Address(#[from] rpc::channel::Error),
    /// The scheduler's token.
    #[error("scheduler.token holds characters a header cannot")]
    Token,
    /// The HTTP client.
    #[error("make the client of the model gateway: {0}")]
    Client(#[from] outbound::Error),
    /// The port for answers of endpoints.
    #[error("take the port of endpoints.listen: {0}")]
    Listen(#[source] std::io::Error),
    /// Work on a blocking thread was dropped.
    #[error("stopped while starting")]
    Stopped,
}
