//! The operator's command, run as an operator would.

use std::path::PathBuf;
use std::process::Stdio;
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use serde_json::Value;
use tokio::io::AsyncWriteExt as _;
use tokio::process::Command;

/// Longer than any command but `up` and `demo` takes.
const PATIENCE: Duration = Duration::from_secs(60);

/// `steward --dir …`.
#[derive(Debug, Clone)]
pub struct Steward {
    program: PathBuf,
    dir: PathBuf,
}

/// How a command ended.
#[derive(Debug, Clone)]
pub struct Answer {
    /// The exit code; -1 when a signal ended it.
    pub code: i32,
    /// What it printed.
    pub stdout: String,
    /// What it remarked.
    pub stderr: String,
}

impl Steward {
    /// The command for the stack in `dir`.
    ///
    /// # Errors
    /// When it has not been built.
    pub fn new(dir: PathBuf) -> Result<Self> {
        Ok(Self {
            program: testkit::bin("steward")?,
            dir,
        })
    }

    /// The same command as somebody elsewhere runs it: by address and token instead of the stack's folder.
    ///
    /// # Errors
    /// When the stack does not say them, or the command does not end.
    pub async fn from_elsewhere(&self, words: &[&str]) -> Result<Answer> {
        let text = std::fs::read(self.dir.join("stack.json")).context("read stack.json")?;
        let stack: Value = serde_json::from_slice(&text).context("understand stack.json")?;
        let said = |pointer: &str| stack.pointer(pointer).and_then(Value::as_str).unwrap_or_default();
        let mut command = clean(Command::new(&self.program));
        command
            .args(words)
            .env("STEWARD_ENDPOINT", said("/services/scheduler/replicas/0/grpc"))
            .env("STEWARD_TOKEN", said("/operator_token"))
            .stdin(Stdio::null())
            .kill_on_drop(true);
        let output = tokio::time::timeout(PATIENCE, command.output()).await;
        let what = || format!("steward {}", words.join(" "));
        answer(output.with_context(what)?.with_context(what)?)
    }

    /// Runs a command to its end.
    ///
    /// # Errors
    /// When it cannot be started or does not end within a minute.
    pub async fn run(&self, words: &[&str]) -> Result<Answer> {
        self.run_for(words, PATIENCE).await
    }

    /// Runs a command that may take this long.
    ///
    /// # Errors
    /// When it cannot be started or does not end in time.
    pub async fn run_for(&self, words: &[&str], patience: Duration) -> Result<Answer> {
        let what = || format!("steward {}", words.join(" "));
        let mut command = self.command(words);
        command.stdin(Stdio::null());
        let output = tokio::time::timeout(patience, command.output()).await;
        let output = output
            .with_context(|| format!("{}: took longer than {patience:?}", what()))?
            .with_context(what)?;
        answer(output)
    }

    /// Runs a command that reads this from its standard input.
    ///
    /// # Errors
    /// As [`Steward::run`].
    pub async fn run_with_input(&self, words: &[&str], input: &str) -> Result<Answer> {
        let what = || format!("steward {}", words.join(" "));
        let mut command = self.command(words);
        command
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        let mut child = command.spawn().with_context(what)?;
        if let Some(mut stdin) = child.stdin.take() {
            stdin.write_all(input.as_bytes()).await.with_context(what)?;
        }
        let output = tokio::time::timeout(PATIENCE, child.wait_with_output()).await;
        answer(output.with_context(what)?.with_context(what)?)
    }

    fn command(&self, words: &[&str]) -> Command {
        let mut command = clean(Command::new(&self.program));
        command.args(words).arg("--dir").arg(&self.dir).kill_on_drop(true);
        command
    }

    /// Runs a command with `--json` and reads its result.
    ///
    /// # Errors
    /// When it does not exit with 0 or prints something else.
    pub async fn json(&self, words: &[&str]) -> Result<Value> {
        let mut all = words.to_vec();
        all.push("--json");
        let answer = self.run(&all).await?;
        let shown = words.join(" ");
        ensure!(
            answer.code == 0,
            "steward {shown}: exit {}: {}{}",
            answer.code,
            answer.stdout,
            answer.stderr
        );
        answer
            .result()
            .with_context(|| format!("steward {shown}: read {:?}", answer.stdout))
    }
}

impl Answer {
    /// The last line of standard output as JSON.
    ///
    /// # Errors
    /// When it is none.
    pub fn result(&self) -> Result<Value> {
        let line = self.stdout.lines().last().unwrap_or_default();
        serde_json::from_str(line).context("read the last line as JSON")
    }
}

fn answer(output: std::process::Output) -> Result<Answer> {
    Ok(Answer {
        code: output.status.code().unwrap_or(-1),
        stdout: String::from_utf8_lossy(&output.stdout).into_owned(),
        stderr: String::from_utf8_lossy(&output.stderr).into_owned(),
    })
}

/// Without what the environment of the tests says about servers and stacks.
fn clean(mut command: Command) -> Command {
    for name in [
        "DATABASE_URL",
        "REDIS_URL",
        "STEWARD_ENDPOINT",
        "STEWARD_BILLING_ENDPOINT",
        "STEWARD_TOKEN",
    ] {
        command.env_remove(name);
    }
    command
}
