//! Agents without a program of their own: a prompt, or an endpoint somewhere else.
//!
//! Both are played by this program, started once more *in the run's own sandbox*, where it speaks the ordinary protocol:
//! it reads the job, opens the event pipe, writes below `out/` and exits. So limits, cancelling, the gateway and what
//! counts as a result are those of every other agent, and a template can do no more to the executor than a script.
//!
//! What it does not do: retry an attempt, judge a result, or know a key of a model's provider.

mod calls;
mod http;
mod later;
mod prompt;
mod review;
mod runner;
mod voice;

use std::ffi::OsString;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use domain::agent_file::Prompt;
use serde::{Deserialize, Serialize};
use serde_json::Value;

pub(crate) use review::{Review, Verdict};
pub(crate) use runner::Runner;

use crate::callbacks::Addresses;
use crate::protocol::{EXIT_CANNOT_DO, Kind};
use voice::Voice;

/// First argument that makes this program an agent.
pub(crate) const AGENT: &str = "__agent";
/// The largest job file.
const LONGEST_JOB: u64 = 32 * 1024 * 1024;

/// What is to be played, and where everything lies. Written beside the workspace, read by the run's user.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Task {
    pub(crate) job: PathBuf,
    pub(crate) events: PathBuf,
    pub(crate) work: PathBuf,
    pub(crate) out: PathBuf,
    pub(crate) how: How,
}

/// What is to be played.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) enum How {
    /// A template of the bundle and a model.
    Prompt {
        bundle: PathBuf,
        /// Of the run's gateway.
        base_url: url::Url,
        /// What it knows the run by.
        key: String,
        model: String,
        prompt: Prompt,
    },
    /// A call of an endpoint.
    Http(Call),
    /// A look at what another made.
    Review(Review),
}

/// A call of an endpoint.
#[derive(Clone, Serialize, Deserialize)]
pub(crate) struct Call {
    pub(crate) url: url::Url,
    /// Whether it may lie in a private network.
    pub(crate) private: bool,
    /// Signed, of this attempt.
    pub(crate) token: String,
    /// Of this attempt: whoever gets it twice works once.
    pub(crate) key: String,
    /// The way to the models, for whoever can reach it.
    pub(crate) gateway: Option<GatewayAccess>,
    /// Where it may answer later, if this executor can be reached.
    pub(crate) callbacks: Option<Addresses>,
}

/// The way to the models from elsewhere.
#[derive(Clone, Serialize, Deserialize)]
pub(crate) struct GatewayAccess {
    pub(crate) url: url::Url,
    pub(crate) token: String,
}

impl std::fmt::Debug for Call {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter
            .debug_struct("Call")
            .field("private", &self.private)
            .finish_non_exhaustive()
    }
}

/// How one ends that did not fail.
enum End {
    /// What decides the outcome is said.
    Said,
    /// A human has to look.
    CannotDo(String),
}

/// Plays an agent if this process was started as one. Call it after [`crate::sandbox::launched`], before anything else.
#[must_use]
pub fn started() -> Option<ExitCode> {
    let mut args = std::env::args_os().skip(1);
    if args.next()? != AGENT {
        return None;
    }
    let (code, reason) = match play(args.next()) {
        Ok(End::Said) => return Some(ExitCode::SUCCESS),
        Ok(End::CannotDo(reason)) => (u8::try_from(EXIT_CANNOT_DO).unwrap_or(1), reason),
        Err(reason) => (1, reason),
    };
    // The last line of the log is the reason of the outcome.
    let _nobody_reads = writeln!(std::io::stderr(), "{}", reason.replace('\n', " "));
    Some(ExitCode::from(code))
}

fn play(task: Option<OsString>) -> Result<End, String> {
    let path = task.ok_or("no task given")?;
    let text = read(Path::new(&path), LONGEST_JOB)?;
    let task: Task = serde_json::from_str(&text).map_err(|error| format!("read the task: {error}"))?;
    if let How::Review(review) = &task.how {
        return judge(&task, review);
    }
    // Before anything is printed: from here on only events speak.
    let mut voice = Voice::open(&task.events)?;
    let job: Value =
        serde_json::from_str(&read(&task.job, LONGEST_JOB)?).map_err(|error| format!("read the job: {error}"))?;
    let Some(kind) = job["kind"].as_str().and_then(Kind::parse) else {
        return Ok(End::CannotDo(format!(
            "it does not know what to do with a job of kind {}",
            job["kind"]
        )));
    };
    let runtime = runtime()?;
    let end = match &task.how {
        How::Prompt {
            bundle,
            base_url,
            key,
            model,
            prompt,
        } => {
            let asked = prompt::Asked {
                task: &task,
                bundle,
                base_url,
                key,
                model,
                prompt,
            };
            runtime.block_on(asked.answer(job, kind, &mut voice))
        }
        // It says nothing and has no pipe.
        How::Review(_) => Ok(End::Said),
        How::Http(call) => runtime.block_on(http::answer(&task, call, job, &mut voice)),
    };
    runtime.shutdown_background();
    end
}

/// A review speaks by what it prints, and by nothing else.
fn judge(task: &Task, asked: &Review) -> Result<End, String> {
    let job: Value =
        serde_json::from_str(&read(&task.job, LONGEST_JOB)?).map_err(|error| format!("read the job: {error}"))?;
    let runtime = runtime()?;
    let judged = runtime.block_on(review::judge(task, asked, &job));
    runtime.shutdown_background();
    judged.map(|()| End::Said)
}

fn runtime() -> Result<tokio::runtime::Runtime, String> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    runtime.map_err(|error| format!("start the runtime: {error}"))
}

/// A text file of bounded length.
fn read(path: &Path, limit: u64) -> Result<String, String> {
    use std::io::Read as _;

    let name = || path.file_name().unwrap_or_default().to_string_lossy().into_owned();
    let mut text = String::new();
    let file = std::fs::File::open(path).map_err(|error| format!("read {}: {error}", name()))?;
    let read = file.take(limit + 1).read_to_string(&mut text);
    let read = read.map_err(|error| format!("read {}: {error}", name()))?;
    if read as u64 > limit {
        return Err(format!("{} is longer than {limit} bytes", name()));
    }
    Ok(text)
}

/// The files a job tells of: (entry, path); no path where a file did not come.
fn files_of<'job>(job: &'job mut Value, work: &Path) -> Vec<(&'job mut Value, Option<PathBuf>)> {
    let Some(fields) = job.as_object_mut() else {
        return Vec::new();
    };
    let mut found = Vec::new();
    for (name, part) in fields {
        let list = match name.as_str() {
            "attachments" => Some(part),
            "previous" | "checkpoint" => part.get_mut("files"),
            _ => None,
        };
        for entry in list.and_then(Value::as_array_mut).into_iter().flatten() {
            let path = entry["path"]
                .as_str()
                .and_then(|path| crate::protocol::name::relative(path).ok());
            let path = path.map(|path| work.join(path));
            found.push((entry, path));
        }
    }
    found
}

/// Writes a file below `out/`, folders on the way made.
fn write(out: &Path, name: &str, bytes: &[u8], append: bool) -> Result<(), String> {
    let failed = |error: std::io::Error| format!("write out/{name}: {error}");
    let path = out.join(name);
    if let Some(folder) = path.parent() {
        std::fs::create_dir_all(folder).map_err(failed)?;
    }
    let mut file = std::fs::File::options()
        .create(true)
        .write(true)
        .append(append)
        .truncate(!append)
        .open(&path)
        .map_err(failed)?;
    file.write_all(bytes).map_err(failed)
}
