//! Agents kept in place: at the start, and again whenever the simulator was started anew.

use std::collections::BTreeSet;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, Result};
use boot::CancellationToken;
use rpc::v1;

use super::{Desk, NAME, Registration};
use crate::failure;
use crate::out::Out;
use crate::up::board::Board;

/// Pauses between attempts.
const FIRST_PAUSE: Duration = Duration::from_millis(300);
const LONGEST_PAUSE: Duration = Duration::from_secs(10);

/// The agents to see to, and whom to tell of those that cannot be.
#[derive(Debug)]
pub struct Roster {
    /// Files named by the operator, who wants to know when one cannot be used.
    pub named: Vec<PathBuf>,
    /// For remarks.
    pub out: Out,
}

/// Sees to the agents until `stop`.
pub async fn keep(desk: Desk, mut roster: Roster, board: Arc<Board>, stop: CancellationToken) {
    let mut bell = board.bell();
    let mut settled: Option<u64> = None;
    let mut pause = FIRST_PAUSE;
    let mut skipped = BTreeSet::new();
    while !stop.is_cancelled() {
        let simulator = board.of("simulator");
        let reachable = board.of("scheduler").ready && (desk.simulator.is_none() || simulator.ready);
        if settled == Some(simulator.starts) {
            pause = FIRST_PAUSE;
        } else if reachable {
            match add_all(&desk, &roster, &mut skipped).await {
                Ok(()) => {
                    settled = Some(simulator.starts);
                    // They are remembered by now, until somebody removes them.
                    roster.named.clear();
                    board.change(NAME, |state| {
                        state.ready = true;
                        state.note.clear();
                        state.starts += 1;
                    });
                    continue;
                }
                Err(error) => {
                    let note = failure::sentence(&error);
                    board.change(NAME, |state| {
                        state.ready = false;
                        state.note = note;
                    });
                    tokio::select! {
                        () = tokio::time::sleep(pause) => {}
                        () = stop.cancelled() => return,
                    }
                    pause = (pause * 2).min(LONGEST_PAUSE);
                    continue;
                }
            }
        } else {
            board.change(NAME, |state| {
                state.ready = false;
                state.note = "the scheduler or the simulator is not ready".to_owned();
            });
        }
        tokio::select! {
            rung = bell.changed() => if rung.is_err() { return },
            () = stop.cancelled() => return,
        }
    }
}

/// Those named, and those remembered: a remembered one that cannot be used is named and skipped. `skipped` are those
/// that were told of already.
async fn add_all(desk: &Desk, roster: &Roster, skipped: &mut BTreeSet<String>) -> Result<()> {
    let mut seen = BTreeSet::new();
    for file in &roster.named {
        let added = desk.add(file, "", true).await;
        let (agent, stays) = added.with_context(|| format!("see to the agent of {}", file.display()))?;
        remark(roster, &agent, stays, skipped);
        seen.insert(agent.name);
    }
    for registration in Registration::all(&desk.home) {
        let (name, file) = (&registration.name, &registration.file);
        if seen.contains(name) || !file.is_file() {
            continue;
        }
        match desk.add(file, "", true).await {
            Ok((agent, stays)) => {
                remark(roster, &agent, stays, skipped);
                seen.insert(agent.name);
            }
            Err(error) if is_its_own(&error) => {
                if skipped.insert(name.clone()) {
                    roster.out.note(&skipping(name, &failure::sentence(&error)));
                }
            }
            Err(error) => return Err(error.context(format!("see to the agent of {}", file.display()))),
        }
    }
    desk.enlist_others(&seen).await
}

/// Says once that an agent is not what lies in its folder.
fn remark(roster: &Roster, agent: &v1::Agent, stays: bool, told: &mut BTreeSet<String>) {
    if stays && told.insert(agent.name.clone()) {
        let version: String = agent.version.chars().take(12).collect();
        roster.out.note(&format!(
            "the agent {} stays at version {version}, to which it was taken back; `steward agents add` gives it what lies in \
             its folder",
            agent.name
        ));
    }
}

/// Whether the agent's own files are at fault, and waiting cannot help.
fn is_its_own(error: &anyhow::Error) -> bool {
    matches!(failure::code(error), failure::USAGE | failure::REFUSED)
}

/// What is said of a remembered agent that is left out.
#[must_use]
pub fn skipping(name: &str, why: &str) -> String {
    format!(
        "the agent {name} keeps the version it has: {why}\n  mend it and `steward agents add` it again, or `steward \
         agents remove {name}`"
    )
}
