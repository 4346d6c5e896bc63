//! What an agent keeps for its next attempt.

use tokio::time::timeout;

use super::super::stopped;
use super::Watch;
use crate::artefacts;
use crate::leases::Stop;
use crate::protocol::event::MAX_CHECKPOINT;

impl Watch<'_> {
    /// Files of a checkpoint go up first: it must not name what nobody has.
    pub(super) async fn checkpoint(&mut self, data: serde_json::Value, names: &[String]) {
        let run = self.run;
        let caps = &run.parts.config.caps;
        let bounds = artefacts::Bounds {
            files: caps.files,
            bytes: caps.files_bytes,
        };
        let (owner, out) = (run.owner(self.space), self.space.out());
        let sending = artefacts::deliver(
            &run.parts.scheduler,
            &run.parts.tasks,
            &owner,
            &out,
            names,
            bounds,
            |_| {},
        );
        let sent = tokio::select! {
            sent = timeout(run.parts.config.scheduler.deadline, sending) => sent,
            _ = stopped(run.stop.clone(), &Stop::GENTLE) => return,
        };
        match sent {
            Ok(Ok(files)) => {
                let files: Vec<serde_json::Value> = files
                    .iter()
                    .map(|file| serde_json::json!({"name": file.name, "sha256": file.sha256, "bytes": file.bytes}))
                    .collect();
                let json = serde_json::json!({"data": data, "files": files}).to_string();
                if json.len() > MAX_CHECKPOINT {
                    self.warn(&format!(
                        "a checkpoint is dropped: with its files' names it is longer than {MAX_CHECKPOINT} bytes"
                    ));
                } else {
                    self.voice.checkpoint(json);
                }
            }
            Ok(Err(error)) => self.warn(&format!("a checkpoint is dropped: {error}")),
            Err(_elapsed) => self.warn("a checkpoint is dropped: its files could not be sent up in time"),
        }
    }
}
