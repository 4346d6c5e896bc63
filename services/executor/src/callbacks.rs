//! The executor's own door for agents that run elsewhere: where an endpoint that answers a job with 202 POSTs its lines,
//! PUTs files, and gets those of the job.
//!
//! What it promises:
//! - Every address is signed for one purpose of one attempt and runs out; whoever has one can do that and nothing else.
//!   What is not signed right is 404, whatever is wrong with it; what came too late is 410 with the reason.
//! - Lines go to the run through a pipe its adapter reads, and so the way all others go; a body is taken whole or not at
//!   all, and one with an `Idempotency-Key` once.
//! - Files arrive beside the workspace, and stand below `out/` whole or not at all; no link on the way is followed.
//! - Bodies, requests, connections, silence and what one attempt may send are bounded.
//!
//! What it does not do: speak TLS (a proxy in front does), know agents' keys, or judge a line.

mod door;
mod files;
mod server;
mod token;
mod wire;

use std::collections::BTreeMap;
use std::io;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;

use boot::{CancellationToken, Tasks};
use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};
use tokio::net::TcpListener;
use url::Url;

use crate::config::{Caps, Endpoints};
use crate::run::Activity;
use crate::workspace::Workspace;
pub(crate) use door::Door;
use door::{Doors, Shared};
use token::{Key, Purpose};

/// Where callbacks are taken, and who may send some.
pub(crate) struct Callbacks {
    base: Url,
    key: Arc<Key>,
    doors: Arc<Doors>,
    tasks: Tasks,
    uploads: Uploads,
}

/// What one attempt may send as files.
#[derive(Debug, Clone, Copy)]
struct Uploads {
    files: usize,
    bytes: u64,
}

/// Where an endpoint answers one attempt.
#[derive(Clone, Serialize, Deserialize)]
pub(crate) struct Addresses {
    /// Takes lines by POST.
    pub(crate) callback: String,
    /// Takes a file by PUT, with its name behind a slash.
    pub(crate) upload: String,
    /// Gives the files of the job, by their `path` in it.
    pub(crate) inputs: BTreeMap<String, String>,
    /// The pipe the lines come out of.
    pub(crate) lines: PathBuf,
}

/// Whose door is opened.
pub(crate) struct Attempt<'a> {
    pub(crate) run_id: &'a str,
    pub(crate) attempt: u32,
    pub(crate) expires: DateTime<Utc>,
    pub(crate) space: &'a Workspace,
    /// Files of the job, below the workspace.
    pub(crate) inputs: Vec<String>,
    pub(crate) activity: Arc<Activity>,
}

impl Callbacks {
    /// Takes the port, if the settings name one, and serves until `over`.
    ///
    /// # Errors
    /// The port is taken, or the system gives no randomness.
    pub(crate) async fn open(
        settings: &Endpoints,
        caps: &Caps,
        tasks: &Tasks,
        over: CancellationToken,
    ) -> io::Result<Option<Self>> {
        let bad = |error: String| io::Error::new(io::ErrorKind::InvalidInput, error);
        let Some(listen) = settings.listen().map_err(bad)? else {
            return Ok(None);
        };
        let listener = TcpListener::bind(listen).await?;
        let bound = listener.local_addr()?;
        let base = settings.public_url(bound).map_err(bad)?;
        let callbacks = Self {
            key: Arc::new(Key::random()?),
            doors: Arc::default(),
            tasks: tasks.clone(),
            uploads: Uploads {
                files: caps.files,
                bytes: caps.files_bytes,
            },
            base,
        };
        tracing::info!(listen = %bound, public_url = %callbacks.base, "endpoints may answer later");
        server::spawn(listener, &callbacks, over);
        Ok(Some(callbacks))
    }

    /// Opens the door of an attempt: from now on its addresses are answered.
    ///
    /// # Errors
    /// The pipe cannot be made.
    pub(crate) fn admit(&self, attempt: &Attempt<'_>) -> io::Result<(Door, Addresses)> {
        let lines = attempt.space.pipe("lines")?;
        let shared = Shared::open(attempt, &lines, self.uploads, &self.tasks)?;
        let addresses = Addresses {
            callback: self.address(attempt, &Purpose::Lines),
            upload: self.address(attempt, &Purpose::Upload),
            inputs: attempt
                .inputs
                .iter()
                .map(|path| (path.clone(), self.address(attempt, &Purpose::Input(path))))
                .collect(),
            lines,
        };
        Ok((self.doors.add(attempt.run_id, attempt.attempt, shared), addresses))
    }

    fn address(&self, attempt: &Attempt<'_>, purpose: &Purpose<'_>) -> String {
        let token = self
            .key
            .sign(purpose, attempt.run_id, attempt.attempt, attempt.expires.timestamp());
        let mut url = self.base.clone();
        if let Ok(mut parts) = url.path_segments_mut() {
            parts.clear().push("runs").push(&token);
            match purpose {
                Purpose::Lines => parts.push("events"),
                Purpose::Upload => parts.push("out"),
                Purpose::Input(path) => parts.push("in").extend(path.split('/')),
            };
        }
        url.into()
    }
}

impl Endpoints {
    /// Where callbacks are taken; nowhere by default.
    ///
    /// # Errors
    /// A sentence: it is no address.
    pub fn listen(&self) -> Result<Option<SocketAddr>, String> {
        match self.listen.as_str() {
            "" => Ok(None),
            text => text
                .parse()
                .map(Some)
                .map_err(|_error| "endpoints.listen must be ADDRESS:PORT, such as 0.0.0.0:8090, or empty".to_owned()),
        }
    }

    /// How endpoints reach that address.
    ///
    /// # Errors
    /// A sentence: it is no address, or one nobody else may read along on is missing.
    pub fn public_url(&self, bound: SocketAddr) -> Result<Url, String> {
        let wanted =
            "endpoints.public_url must be https://host[:port] without a path (http only with endpoints.private)";
        if self.public_url.is_empty() {
            if self.private && bound.ip().is_loopback() {
                return format!("http://{bound}/").parse().map_err(|_error| wanted.to_owned());
            }
            return Err(format!(
                "{wanted}: only on loopback with endpoints.private may it be left out"
            ));
        }
        let url: Url = self.public_url.parse().map_err(|_error| wanted.to_owned())?;
        let scheme = url.scheme() == "https" || (self.private && url.scheme() == "http");
        let plain = url.path() == "/" && url.query().is_none() && url.fragment().is_none();
        let nobody = url.username().is_empty() && url.password().is_none();
        if scheme && plain && nobody && url.has_host() {
            return Ok(url);
        }
        Err(wanted.to_owned())
    }

    /// All that is wrong with these settings.
    pub(crate) fn check_callbacks(&self) -> Result<(), String> {
        match self.listen()? {
            Some(listen) => self.public_url(listen).map(drop),
            None if !self.public_url.is_empty() => {
                Err("endpoints.public_url needs endpoints.listen: nothing would answer there".to_owned())
            }
            None => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn settings(private: bool, listen: &str, public_url: &str) -> Endpoints {
        Endpoints {
            private,
            gateway_url: String::new(),
            listen: listen.to_owned(),
            public_url: public_url.to_owned(),
        }
    }

    #[test]
    fn a_public_address_is_one_nobody_reads_along_on() {
        for (private, listen, url, good) in [
            (false, "", "", true),
            (false, "0.0.0.0:8090", "https://x.example.org", true),
            (false, "0.0.0.0:8090", "http://x.example.org", false),
            (true, "0.0.0.0:8090", "http://10.0.0.7:8090", true),
            (true, "127.0.0.1:0", "", true),
            (false, "127.0.0.1:0", "", false),
            (true, "0.0.0.0:8090", "", false),
            (false, "", "https://x.example.org", false),
            (false, "8090", "https://x.example.org", false),
            (false, "0.0.0.0:8090", "https://x.example.org/path", false),
            (false, "0.0.0.0:8090", "https://me:pw@x.example.org", false),
        ] {
            let told = settings(private, listen, url).check_callbacks();
            assert_eq!(told.is_ok(), good, "{private} {listen:?} {url:?}: {told:?}");
        }
    }
}
