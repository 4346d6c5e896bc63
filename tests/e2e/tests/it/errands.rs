//! An agent calls another host with a key of its own that it never sees.

use std::path::Path;
use std::sync::{Arc, Mutex};

use anyhow::{Result, ensure};
use axum::Router;
use axum::extract::State;
use axum::http::HeaderMap;
use e2e::{Options, Stack, run, text};
use serde_json::{Value, json};
use testkit::eventually;
use tokio::net::TcpListener;
use tokio::task::JoinSet;

use crate::LATER;

const KEY: &str = "errand-key-4f8a1c6e9d2b7035";
/// What people are told of missing secrets.
const TOLD: &str = "SELECT body AS found FROM scheduler.notices WHERE kind = 'secrets' AND resolved_at IS NULL";

type Heard = Arc<Mutex<Vec<String>>>;

/// A host that repeats the key it was called with.
async fn host(heard: &Heard) -> Result<(String, JoinSet<()>)> {
    let answer = async |State(heard): State<Heard>, headers: HeaderMap, body: String| {
        let said = headers.get("authorization").and_then(|said| said.to_str().ok());
        let said = said.unwrap_or_default().to_owned();
        if let Ok(mut heard) = heard.lock() {
            heard.push(format!("{said}: {body}"));
        }
        ([("x-said", said.clone())], format!("the answer for {said}"))
    };
    let router = Router::new().fallback(answer).with_state(Arc::clone(heard));
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    let url = format!("http://{}", listener.local_addr()?);
    let mut serving = JoinSet::new();
    serving.spawn(async move {
        // Until the test is over.
        let _ended = axum::serve(listener, router).await;
    });
    Ok((url, serving))
}

#[tokio::test]
async fn a_key_of_an_agents_own_reaches_its_host_and_nothing_the_agent_or_the_stack_leaves_behind() -> Result<()> {
    let heard = Heard::default();
    let (url, _serving) = host(&heard).await?;
    let instead = format!("[[ext.instead]]\nhost = \"api.search.example\"\nurl = \"{url}\"\n");
    let options = Options::with_agent("errand")
        .settings("billing", instead)
        .settings("executor", "[work]\nkeep_all = true\n");
    run(options, async |stack| {
        let steward = stack.steward()?;
        let doctor = steward.run(&["doctor", "live", "errand"]).await?;
        ensure!(
            doctor.stdout.contains("steward secrets set errand search-api"),
            "the doctor names what is missing: {}",
            doctor.stdout
        );
        until(
            stack,
            "the missing secret to be told",
            TOLD,
            "secrets set errand search-api",
        )
        .await?;
        let gig = ask(stack).await?;
        let bids = "SELECT error AS found FROM scheduler.effects WHERE kind = 'propose'";
        until(
            stack,
            "its bid to be held",
            bids,
            "a secret the agent file names is not set",
        )
        .await?;

        let set = steward
            .run_with_input(&["secrets", "set", "errand", "search-api"], &format!("{KEY}\n"))
            .await?;
        ensure!(set.code == 0, "{set:?}");
        let listed = steward.run(&["secrets", "list"]).await?;
        ensure!(
            listed.stdout.contains("search-api") && !listed.stdout.contains(KEY),
            "{listed:?}"
        );

        stack.settled(1, LATER).await?;
        let contract: Value = stack.market()?.contract_of(&gig).await?;
        let after = text(&contract, "delivery_notes");
        let stars = "*".repeat(KEY.len());
        ensure!(
            after.starts_with(&format!("200 the answer for Bearer {stars}")) && !after.contains(KEY),
            "{after}"
        );
        let heard = heard.lock().map_or_else(|_| Vec::new(), |heard| heard.clone());
        ensure!(heard == [format!("Bearer {KEY}: a question")], "{heard:?}");

        let log = stack.rows("SELECT body FROM scheduler.run_events").await?;
        let log = serde_json::to_string(&log)?;
        ensure!(
            log.contains("called api.search.example once with the secret search-api"),
            "the run's log counts the calls: {log}"
        );
        ensure!(!log.contains(KEY), "the key is in a run's log");
        let jobs = stack.rows("SELECT runs::TEXT AS run FROM scheduler.runs").await?;
        ensure!(
            !serde_json::to_string(&jobs)?.contains(KEY),
            "the key is in a run's row"
        );
        let found = holding(stack.dir(), KEY.as_bytes());
        ensure!(found.is_empty(), "the key lies in {found:?}");
        stack.check_books().await
    })
    .await
}

/// A gig that is accepted, funded and approved by itself.
async fn ask(stack: &Stack) -> Result<String> {
    let gig =
        json!({"title": "Please ask", "description": "Ask the host, and tell what it says, please.", "auto": true});
    Ok(stack.market()?.post(gig).await?.remove(0))
}

/// Waits until something `found` by the query contains this.
async fn until(stack: &Stack, what: &str, query: &str, wanted: &str) -> Result<()> {
    eventually(LATER, what, || async {
        let rows = stack.rows(query).await?;
        let found = rows.iter().any(|row| text(row, "found").contains(wanted));
        ensure!(found, "{rows:?}");
        Ok(())
    })
    .await
}

/// Files below a folder that hold these bytes: workspaces, logs, objects, the database.
fn holding(folder: &Path, bytes: &[u8]) -> Vec<String> {
    let mut found = Vec::new();
    let mut folders = vec![folder.to_owned()];
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(folder).into_iter().flatten().flatten() {
            let path = entry.path();
            match entry.file_type() {
                Ok(kind) if kind.is_dir() => folders.push(path),
                Ok(kind) if kind.is_file() => {
                    let text = std::fs::read(&path).unwrap_or_default();
                    if text.windows(bytes.len()).any(|part| part == bytes) {
                        found.push(path.display().to_string());
                    }
                }
                _ => {}
            }
        }
    }
    found
}
