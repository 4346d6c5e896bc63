//! Processes beside the agent's own, once that has ended: the operator's checks, and a model's review.

use std::process::ExitStatus;
use std::sync::Arc;
use std::time::Duration;

use super::output::Output;
use super::scale::{Room, Scale};
use super::{Activity, Run};
use crate::folders;
use crate::gateway::Gateway;
use crate::sandbox::Launch;
use crate::workspace::Workspace;

/// What one printed, and how it ended.
pub(super) struct Aside {
    pub(super) printed: Arc<Output>,
    pub(super) complained: Arc<Output>,
    pub(super) end: End,
}

/// How one ended.
pub(super) enum End {
    Exited(ExitStatus),
    /// It could not be waited for.
    Lost(std::io::Error),
    /// It took longer than this.
    Late(Duration),
    /// It printed more than is allowed.
    Flooded,
    /// It held more than the run may.
    TooMuch(String),
}

impl Run {
    /// Runs one to its end, or its time's. What it printed goes to the run's log.
    ///
    /// # Errors
    /// Why it could not be started, as the end of a sentence.
    pub(super) async fn aside(
        &self,
        space: &Workspace,
        launch: Launch,
        gateway: Option<&Gateway>,
    ) -> Result<Aside, String> {
        let failed = |error: String| format!("could not be started: {error}");
        let note = |pid| folders::record(space.folder(), pid, space.uid()).map_err(|error| failed(error.to_string()));
        note(None)?;
        let limits = launch.policy.limits.clone();
        let started = self.parts.sandbox.start(launch).await;
        let mut process = started.map_err(|error| failed(error.to_string()))?;
        note(process.footprint().leader())?;
        // Without a gateway nothing answers there.
        if let (Some(listeners), Some(gateway)) = (process.listeners(), gateway) {
            gateway.serve(listeners.gateway);
        }
        let cap = self.parts.config.caps.output_bytes;
        let (printed, complained) = (Arc::new(Output::new(cap)), Arc::new(Output::new(cap)));
        let (stdout, stderr) = (process.stdout(), process.stderr());
        let listen = async {
            let (out, err) = (Arc::clone(&printed), Arc::clone(&complained));
            let out = async move {
                if let Some(pipe) = stdout {
                    out.listen(pipe, false, Activity::new()).await;
                }
            };
            let err = async move {
                if let Some(pipe) = stderr {
                    err.listen(pipe, false, Activity::new()).await;
                }
            };
            tokio::join!(out, err);
        };
        let disk = limits.file_size.unwrap_or(u64::MAX);
        let scale = Scale::new(&process, &limits, Room::Run(disk), vec![space.work()]);
        let limit = self.parts.config.work.check_timeout;
        let end = async {
            let end = tokio::select! {
                ended = tokio::time::timeout(limit, process.wait()) => match ended {
                    Ok(Ok(status)) => End::Exited(status),
                    Ok(Err(error)) => End::Lost(error),
                    Err(_elapsed) => End::Late(limit),
                },
                () = printed.flooded.cancelled() => End::Flooded,
                () = complained.flooded.cancelled() => End::Flooded,
                what = self.too_much(&scale) => End::TooMuch(what),
            };
            process.kill();
            let _used = self.end(&mut process).await;
            end
        };
        let (end, ()) = tokio::join!(end, listen);
        self.output.append(&printed);
        self.output.append(&complained);
        Ok(Aside {
            printed,
            complained,
            end,
        })
    }
}
