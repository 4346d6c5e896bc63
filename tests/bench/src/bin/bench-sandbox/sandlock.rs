//! The sandbox of the Python package `sandlock`, where that is installed: Landlock and seccomp, without namespaces.
//!
//! It is a library of an interpreter, so one interpreter stands ready for all runs, and times them itself: neither its
//! own start nor the way to it counts.

use std::os::unix::process::CommandExt as _;
use std::path::Path;
use std::process::Stdio;
use std::time::Duration;

use anyhow::{Context as _, Result};
use tokio::io::{AsyncBufReadExt as _, AsyncWriteExt as _, BufReader, Lines};
use tokio::process::{Child, ChildStdin, ChildStdout, Command};
use tokio::sync::Mutex;

use crate::candidates::{AGENT, Taken};

/// A folder in, four figures out: seconds to start, to end, of processor time, and kilobytes of its own.
const HELPER: &str = r#"
import os, sys, time
from sandlock import Sandbox, StdioMode

def cpu():
    spent = os.times()
    return spent.user + spent.system + spent.children_user + spent.children_system

for line in sys.stdin:
    program, work = line.rstrip("\n").split("\t")
    spent, began = cpu(), time.monotonic()
    box = Sandbox(fs_readable=["/usr", "/lib", "/lib64", "/bin", "/etc/ssl/certs", "/proc", "/dev"], fs_writable=[work],
                  cwd=work, max_memory="512M", max_processes=512, clean_env=True)
    run = box.popen([program], stdin=StdioMode.NULL, stdout=StdioMode.PIPED)
    run.stdout.read(1)
    start, began = time.monotonic() - began, time.monotonic()
    run.kill()
    run.wait()
    run.stdout.close()
    end = time.monotonic() - began
    memory = next(int(line.split()[1]) for line in open("/proc/self/smaps_rollup") if line.startswith("Pss:"))
    print(start, end, cpu() - spent, memory, flush=True)
"#;

/// An interpreter that starts what it is told.
pub struct Sandlock {
    inside: Mutex<Inside>,
    _child: Child,
}

struct Inside {
    orders: ChildStdin,
    answers: Lines<BufReader<ChildStdout>>,
}

impl Sandlock {
    /// One of an interpreter that has the package; none where it has not.
    pub async fn find(python: &Path, uid: Option<u32>) -> Result<Option<Self>> {
        let mut check = Command::new(python);
        check.args(["-c", "import sandlock"]).stderr(Stdio::null());
        if !check.status().await.is_ok_and(|status| status.success()) {
            return Ok(None);
        }
        let mut command = std::process::Command::new(python);
        command
            .args(["-c", HELPER])
            .current_dir("/")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped());
        if let Some(uid) = uid {
            command.uid(uid).gid(uid);
        }
        let mut child = Command::from(command).kill_on_drop(true).spawn()?;
        let orders = child.stdin.take().context("talk to sandlock")?;
        let answers = BufReader::new(child.stdout.take().context("hear sandlock")?).lines();
        Ok(Some(Self {
            inside: Mutex::new(Inside { orders, answers }),
            _child: child,
        }))
    }

    /// Starts and ends the agent once.
    pub async fn once(&self, work: &Path) -> Result<Taken> {
        let order = format!("{AGENT}\t{}\n", work.display());
        let mut inside = self.inside.lock().await;
        inside.orders.write_all(order.as_bytes()).await?;
        let answer = inside.answers.next_line().await?.context("sandlock ended")?;
        let figures: Vec<f64> = answer
            .split_ascii_whitespace()
            .map(str::parse)
            .collect::<Result<_, _>>()
            .with_context(|| format!("understand {answer:?}"))?;
        let [start, end, cpu, kibibytes] = figures[..] else {
            anyhow::bail!("four figures were expected: {answer:?}");
        };
        let memory = Duration::try_from_secs_f64(kibibytes)?.as_secs() * 1024;
        Ok(Taken {
            start: Duration::try_from_secs_f64(start)?,
            end: Duration::try_from_secs_f64(end)?,
            memory,
            own_cpu: Duration::try_from_secs_f64(cpu)?,
        })
    }
}
