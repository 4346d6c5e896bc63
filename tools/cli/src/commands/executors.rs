//! `steward executors`.

use std::time::Duration;

use anyhow::{Result, bail};
use rpc::v1;
use serde_json::{Value, json};
use tokio::time::{Instant, sleep};

use crate::args::{ExecutorsCommand, Global};
use crate::context::{Access, Peer};
use crate::out::Out;
use crate::render::{self, As, Column};
use crate::view;

/// Between two looks at an executor that is drained.
const LOOK: Duration = Duration::from_secs(1);
/// What its runs get beyond their time, for their ends.
const RESERVE: Duration = Duration::from_secs(60);

const COLUMNS: [Column; 8] = [
    ("Executor", "id", As::Text),
    ("State", "state", As::Text),
    ("Slots", "slots", As::Text),
    ("Runs", "runs", As::Text),
    ("Isolation", "isolation", As::Text),
    ("Version", "version", As::Text),
    ("Came", "came_at", As::Time),
    ("Seen", "seen_at", As::Age),
];

pub(super) async fn run(global: &Global, command: ExecutorsCommand, out: &Out) -> Result<u8> {
    let peer = Access::find(global)?.scheduler().await?;
    match command {
        ExecutorsCommand::List => {
            let executors: Vec<Value> = list(&peer).await?.iter().map(shown).collect();
            out.result(&json!({ "executors": executors }), |value| {
                render::listing(value, "executors", &COLUMNS)
            })?;
            Ok(0)
        }
        ExecutorsCommand::Drain { id, wait, timeout } => {
            let mut client = peer.operations();
            let request = v1::DrainExecutorRequest { id };
            let mut executor = peer.ask("drain the executor", client.drain_executor(request)).await?;
            if wait {
                executor = until_drained(&peer, executor, timeout).await?;
            }
            out.result(&shown(&executor), |_| sentence(&executor))?;
            if !list(&peer).await?.iter().any(|other| other.state == "ready") {
                out.note(
                    "No other executor takes work: runs wait until one is started. This one takes work again only when its \
                     process is started anew.",
                );
            }
            Ok(0)
        }
    }
}

fn sentence(executor: &v1::ExecutorState) -> String {
    let id = render::plain(&executor.id);
    match executor.runs {
        0 => format!("{id} takes no more work and has none left: it can be stopped"),
        runs => format!(
            "{id} takes no more work; it finishes {runs} runs, which may take {} more: \
             `steward executors drain {id} --wait` waits for them",
            humantime::format_duration(Duration::from_secs(u64::from(executor.longest_secs)))
        ),
    }
}

async fn list(peer: &Peer) -> Result<Vec<v1::ExecutorState>> {
    let mut client = peer.operations();
    let answer = peer
        .ask("list the executors", client.list_executors(v1::ListExecutorsRequest {}))
        .await?;
    Ok(answer.executors)
}

async fn until_drained(
    peer: &Peer,
    mut executor: v1::ExecutorState,
    timeout: Option<Duration>,
) -> Result<v1::ExecutorState> {
    let longest = Duration::from_secs(u64::from(executor.longest_secs)) + RESERVE;
    let deadline = Instant::now() + timeout.unwrap_or(longest);
    while executor.runs > 0 && executor.state != "gone" {
        if Instant::now() >= deadline {
            let (id, runs) = (render::plain(&executor.id), executor.runs);
            bail!(
                "{id} still has {runs} runs. Stopped now, it asks them to end, and what they kept with a checkpoint goes \
                 on elsewhere"
            );
        }
        sleep(LOOK).await;
        let found = list(peer).await?.into_iter().find(|other| other.id == executor.id);
        executor = found.unwrap_or(executor);
    }
    Ok(executor)
}

fn shown(executor: &v1::ExecutorState) -> Value {
    json!({
        "id": executor.id,
        "state": executor.state,
        "slots": executor.slots,
        "runs": executor.runs,
        "longest_secs": executor.longest_secs,
        "isolation": executor.isolation,
        "version": executor.version,
        "came_at": view::time(executor.came_at.as_ref()),
        "seen_at": view::time(executor.seen_at.as_ref()),
    })
}
