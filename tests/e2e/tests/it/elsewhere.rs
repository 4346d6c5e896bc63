//! An agent behind an endpoint that answers later, and dies in between.

use std::path::{Path, PathBuf};
use std::process::Stdio;

use anyhow::{Context as _, Result, ensure};
use e2e::{Options, array, number, run, text};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde_json::json;
use testkit::eventually;
use tokio::process::{Child, Command};

use crate::LATER;

/// Takes what the worker takes, and does not wait long for a dead endpoint.
const AGENT: &str = r#"
name = "elsewhere"
[run]
adapter = "http"
timeout = "2m"
idle = "6s"
[http]
url = "http://127.0.0.1:PORT/jobs"
[bidding]
skills = ["python", "api", "writing", "data"]
min_score = 0.0
[models]
default = "gpt-4o-mini"
"#;

/// A folder with the agent and the sample's endpoint.
fn folder(root: &Path, port: u16) -> Result<PathBuf> {
    let sample = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../examples/agents/http");
    std::fs::write(root.join("agent.toml"), AGENT.replace("PORT", &port.to_string()))?;
    std::fs::copy(sample.join("server.py"), root.join("server.py")).context("copy the sample")?;
    Ok(root.join("agent.toml"))
}

async fn serve(root: &Path, port: u16) -> Result<Child> {
    let child = Command::new("python3")
        .arg(root.join("server.py"))
        .env("PORT", port.to_string())
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .kill_on_drop(true)
        .spawn()
        .context("start the endpoint")?;
    eventually(LATER, "the endpoint listens", || async {
        tokio::net::TcpStream::connect(("127.0.0.1", port)).await?;
        anyhow::Ok(())
    })
    .await?;
    Ok(child)
}

#[tokio::test]
async fn an_endpoint_that_dies_with_a_job_gets_it_again_with_files_by_address_and_it_is_paid_once() -> Result<()> {
    let root = tempfile::tempdir()?;
    let port = std::net::TcpListener::bind("127.0.0.1:0")?.local_addr()?.port();
    let options = Options {
        agents: vec![folder(root.path(), port)?],
        ..Options::default()
    };
    run(options, async |stack| {
        let market = stack.market()?.clone();
        let endpoint = serve(root.path(), port).await?;
        // The model takes its time, so the job is in the endpoint's hands.
        market
            .break_with(json!([{"on": "llm", "kind": "slow", "args": {"ms": 20_000}}]))
            .await?;
        let gig = market
            .post(json!({"title": "Please write a report", "auto": true}))
            .await?
            .remove(0);
        let began =
            "SELECT run_id FROM scheduler.run_events WHERE kind = 'progress' AND body LIKE '%asking the model%'";
        eventually(LATER, "the endpoint began", || async {
            ensure!(!stack.rows(began).await?.is_empty(), "not yet");
            Ok(())
        })
        .await?;
        let pid = endpoint.id().context("the endpoint ended by itself")?;
        kill(Pid::from_raw(i32::try_from(pid)?), Signal::SIGKILL)?;
        drop(endpoint);
        let contract = market.contract_of(&gig).await?;
        let with =
            json!({"content": "See the notes.", "attachment_text": "hello world", "attachment_name": "notes.txt"});
        market.step(text(&contract, "id"), "message", with).await?;
        market.break_with(json!([])).await?;
        let fetched = "SELECT id FROM scheduler.messages WHERE attachments::text LIKE '%sha256%'";
        eventually(LATER, "the client's file came", || async {
            ensure!(!stack.rows(fetched).await?.is_empty(), "not yet");
            Ok(())
        })
        .await?;
        let _endpoint = serve(root.path(), port).await?;
        stack.settled(1, LATER).await?;
        stack.check_all_delivered_once(1).await?;
        let steward = stack.steward()?;
        let shown = steward.json(&["contracts", "show", text(&contract, "id")]).await?;
        let file = &array(&array(&shown, "messages")[0], "attachments")[0];
        ensure!(
            text(file, "path") == "inputs/notes.txt" && number(file, "fetched_bytes") == 11,
            "{shown}"
        );
        let work = array(&shown, "runs").iter().find(|run| text(run, "kind") == "work");
        let work = work.with_context(|| format!("find the run in {shown}"))?;
        let out = root.path().join("delivered");
        let place = out.display().to_string();
        let got = steward
            .run(&["runs", "files", text(work, "id"), "--out", &place])
            .await?;
        ensure!(got.code == 0, "{got:?}");
        let report = std::fs::read_to_string(out.join("report.md"))?;
        ensure!(report.contains("Read notes.txt: 11 bytes."), "{report}");
        stack.check_books().await
    })
    .await
}
