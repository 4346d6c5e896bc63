//! Redis for tests: a corner of the shared one, or a private one to break.

use crate::ports::free_port;
use crate::process::Process;
use crate::{eventually, programs, redis_url};
use anyhow::{Context, Result, bail};
use nix::sys::signal::Signal;
use redis::Client;
use std::process::Command;
use std::time::Duration;
use tempfile::TempDir;

const START: Duration = Duration::from_secs(20);
const ATTEMPTS: usize = 5;

/// A key prefix no other test uses; its keys are deleted when it is dropped.
#[derive(Debug)]
pub struct RedisPrefix(String);

impl RedisPrefix {
    /// A fresh prefix, without a separator at its end.
    #[must_use]
    pub fn unique() -> RedisPrefix {
        RedisPrefix(format!("test-{}", uuid::Uuid::now_v7().simple()))
    }

    /// The prefix.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    fn delete_keys(&self) -> Result<()> {
        let mut connection = Client::open(redis_url()?)?.get_connection_with_timeout(START)?;
        let mut cursor = 0_u64;
        loop {
            let mut scan = redis::cmd("SCAN");
            scan.arg(cursor)
                .arg("MATCH")
                .arg(format!("{}*", self.0))
                .arg("COUNT")
                .arg(1000);
            let (next, keys): (u64, Vec<String>) = scan.query(&mut connection)?;
            if !keys.is_empty() {
                redis::cmd("UNLINK").arg(keys).exec(&mut connection)?;
            }
            cursor = next;
            if cursor == 0 {
                return Ok(());
            }
        }
    }
}

impl Drop for RedisPrefix {
    fn drop(&mut self) {
        // The shared test Redis keeps nothing across its own restart: a leftover costs little.
        self.delete_keys().ok();
    }
}

/// A Redis of the test's own, on a port that stays the same.
#[derive(Debug)]
pub struct PrivateRedis {
    process: Process,
    port: u16,
    durable: bool,
    folder: TempDir,
}

impl PrivateRedis {
    /// Starts one that loses everything when it ends.
    ///
    /// # Errors
    /// When no Redis is installed or it does not answer in time.
    pub async fn start() -> Result<PrivateRedis> {
        Self::start_with(false).await
    }

    /// Starts one that writes every command to disk before it answers.
    ///
    /// # Errors
    /// As [`start`](Self::start).
    pub async fn start_durable() -> Result<PrivateRedis> {
        Self::start_with(true).await
    }

    async fn start_with(durable: bool) -> Result<PrivateRedis> {
        let folder = tempfile::tempdir().context("make a folder for Redis")?;
        let mut last = None;
        for _ in 0..ATTEMPTS {
            let port = free_port()?;
            let mut process = spawn(port, durable, &folder)?;
            // Somebody else may have taken the port meanwhile: then the process ends at once.
            match answers(port, &mut process).await {
                Ok(()) => {
                    return Ok(PrivateRedis {
                        process,
                        port,
                        durable,
                        folder,
                    });
                }
                Err(error) => last = Some(error.context(process.last_words())),
            }
        }
        bail!("start a private Redis: {last:?}")
    }

    /// Its address.
    pub fn url(&self) -> String {
        url(self.port)
    }

    /// Its process id.
    pub fn pid(&self) -> u32 {
        self.process.pid()
    }

    /// Ends it at once. Connections to it break, new ones are refused.
    ///
    /// # Errors
    /// When it cannot be waited for.
    pub fn kill(&mut self) -> Result<()> {
        self.process.kill()
    }

    /// Starts it again on the same port, after ending it when it still runs.
    ///
    /// # Errors
    /// When it does not answer in time.
    pub async fn restart(&mut self) -> Result<()> {
        self.kill()?;
        self.process = spawn(self.port, self.durable, &self.folder)?;
        answers(self.port, &mut self.process).await
    }

    /// Deletes everything in it.
    ///
    /// # Errors
    /// When it does not answer.
    pub fn flush(&self) -> Result<()> {
        let mut connection = Client::open(self.url())?.get_connection_with_timeout(START)?;
        redis::cmd("FLUSHALL")
            .exec(&mut connection)
            .context("empty the private Redis")
    }

    /// Makes it hang: connections stay open and nothing is answered.
    ///
    /// # Errors
    /// When the signal is refused.
    pub fn pause(&mut self) -> Result<()> {
        self.process.signal(Signal::SIGSTOP)
    }

    /// Lets it go on after [`pause`](Self::pause).
    ///
    /// # Errors
    /// When the signal is refused.
    pub fn resume(&mut self) -> Result<()> {
        self.process.signal(Signal::SIGCONT)
    }
}

fn url(port: u16) -> String {
    format!("redis://127.0.0.1:{port}")
}

fn spawn(port: u16, durable: bool, folder: &TempDir) -> Result<Process> {
    let mut command = Command::new(programs::redis()?);
    command.args(["--bind", "127.0.0.1", "--port", &port.to_string(), "--save", ""]);
    command.args([
        "--appendonly",
        if durable { "yes" } else { "no" },
        "--appendfsync",
        "always",
    ]);
    command.arg("--dir").arg(folder.path());
    Process::spawn("redis-server", &mut command, &folder.path().join("log"))
}

async fn answers(port: u16, process: &mut Process) -> Result<()> {
    let client = Client::open(url(port))?;
    let pid = process.pid();
    let answer = eventually(START, "a private Redis", || {
        let alive = process.is_running();
        let pong = ping(&client, pid);
        async move { if alive { pong } else { Ok(false) } }
    });
    if answer.await? {
        Ok(())
    } else {
        bail!("the private Redis ended")
    }
}

/// Whether it is this very process that answers, rather than another server on the same port, and has read its data.
fn ping(client: &Client, pid: u32) -> redis::RedisResult<bool> {
    let mut connection = client.get_connection_with_timeout(Duration::from_secs(1))?;
    let about: String = redis::cmd("INFO").arg("server").query(&mut connection)?;
    // Refused while it reads.
    redis::cmd("PING").exec(&mut connection)?;
    Ok(about.contains(&format!("process_id:{pid}\r\n")))
}
