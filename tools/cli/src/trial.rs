//! One run of an agent without a stack: the real executor beside this program, between a scheduler and a model gateway
//! that are played here. So the sandbox, the limits, the events and what counts as a result are those of the real thing.

mod errands;
mod floor;
mod gate;
mod job;
mod meter;
mod parts;
mod shell;
mod usage;

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, anyhow};
use domain::agent_file::{Adapter, Run};
use outbound::Url;
use rpc::v1::complete_request::Outcome;
use serde_json::{Value, json};

pub(crate) use errands::Errands;
pub(crate) use gate::Verdict;
pub(crate) use job::{Brief, Kind};
pub(crate) use meter::Models;
pub(crate) use usage::Spent;

use crate::bundle::Packed;
use floor::Floor;
use meter::Meter;
use parts::Place;

/// How long a program may take to start.
const START: Duration = Duration::from_secs(30);
/// How long the end of an attempt may take after its time is up.
const END: Duration = Duration::from_secs(120);
/// Nobody looks at the clock in a shell.
const A_DAY: Duration = Duration::from_secs(24 * 3600);
/// What a shell is: it is led by two pipes, since a terminal stays outside.
const SHELL: &str = "mkfifo \"$HOME/.shell-in\" \"$HOME/.shell-out\" && \
    exec sh -i < \"$HOME/.shell-in\" > \"$HOME/.shell-out\" 2>&1";
/// Hands the first environment of its process on.
const ENVIRONMENT: &str = "exec 3< /proc/self/environ; cat <&3 > \"$STEWARD_OUT/environment\"; \
    echo '{\"type\":\"result\",\"notes\":\"x\",\"files\":[\"environment\"]}' > \"$STEWARD_EVENTS\"";

/// What is tried.
pub(crate) struct Trial {
    pub(crate) packed: Packed,
    pub(crate) brief: Brief,
    pub(crate) models: Models,
    /// Hosts that are called with secrets.
    pub(crate) errands: Errands,
    /// With the weakest level there is: no rules but user, limits and a clean environment.
    pub(crate) no_sandbox: bool,
    /// The workspace stays.
    pub(crate) keep: bool,
    pub(crate) program: Program,
}

/// What runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Program {
    /// The agent.
    Agent,
    /// A shell in its place.
    Shell,
    /// Something that tells its environment.
    Environment,
    /// The agent's interpreter, with nothing to do.
    Interpreter,
}

/// What an agent said on its way.
pub(crate) struct Said {
    pub(crate) kind: &'static str,
    pub(crate) text: String,
}

/// What came of it.
pub(crate) struct Report {
    pub(crate) outcome: Option<Outcome>,
    /// Files of the result by name.
    pub(crate) files: BTreeMap<String, Vec<u8>>,
    pub(crate) log: String,
    pub(crate) took: Duration,
    pub(crate) isolation: String,
    pub(crate) spent: Spent,
    /// The workspace, if it was kept.
    pub(crate) kept: Option<PathBuf>,
    /// What a stack would make of it.
    pub(crate) verdict: Verdict,
}

impl Report {
    /// Whether the agent gave a result that would go out.
    pub(crate) fn is_good(&self) -> bool {
        matches!(self.outcome, Some(Outcome::ResultJson(_))) && self.verdict.passes() && self.held().is_none()
    }

    /// Why a human would have to see the delivery first.
    pub(crate) fn held(&self) -> Option<String> {
        self.result()?["hold"].as_str().map(str::to_owned)
    }

    /// The result.
    pub(crate) fn result(&self) -> Option<Value> {
        match &self.outcome {
            Some(Outcome::ResultJson(text)) => serde_json::from_str(text).ok(),
            _ => None,
        }
    }
}

impl Trial {
    /// Runs it; what is said is passed on as it comes.
    pub(crate) async fn run(self, mut hear: impl FnMut(Said)) -> Result<Report> {
        let began = Instant::now();
        let agent = &self.packed.agent;
        let place = Place::new(self.keep)?;
        let simulator = match self.models {
            Models::Simulated => Some(parts::simulator(&place).await?),
            Models::Real { .. } | Models::None => None,
        };
        let simulated = simulator.as_ref().map(|(_, url)| url.clone());
        let spec = self.spec()?;
        let budget = self.brief.budget(agent);
        let meter = Meter::start(&self.models, simulated.as_ref(), agent, budget, self.errands).await?;
        let run = agent.run.clone();
        let (timeout, idle) = match self.program {
            Program::Shell => (A_DAY, A_DAY),
            Program::Agent | Program::Environment | Program::Interpreter => (run.timeout, run.idle),
        };
        let floor = Floor::start(&self.packed, &self.brief, spec, (timeout, idle)).await?;
        let isolation = if self.no_sandbox { "process" } else { "namespaces" };
        let mut executor = parts::executor(&place, &floor, meter.url(), isolation).await?;
        let mut messages = Vec::new();
        let shell = (self.program == Program::Shell).then(|| shell::lead(place.runs()));
        let end = async {
            let limit = timeout + run_setup(&run) + START + END;
            let mut hear = |said: Said| {
                if said.kind == "message" {
                    messages.push(said.text.clone());
                }
                hear(said);
            };
            tokio::time::timeout(limit, floor.end(&mut hear)).await
        };
        let ended = tokio::select! {
            ended = end => ended.context("the executor did not tell an end in time").flatten(),
            status = executor.wait() => {
                let status = status.map_or("unknown".to_owned(), |status| status.to_string());
                Err(anyhow!("the executor ended by itself ({status}): {}", place.log_tail()))
            }
            _ = tokio::signal::ctrl_c() => Err(anyhow!("interrupted")),
        };
        if let Some(shell) = shell {
            shell.end().await;
        }
        // With everything it runs, before its folder goes; also when nobody waits for the end any more.
        parts::stop(&mut executor).await;
        let ended = ended?;
        let mut report = Report {
            outcome: self.brief.judged(agent, ended.request.outcome),
            files: ended.files,
            log: ended.request.log_tail,
            took: began.elapsed(),
            isolation: ended.isolation,
            spent: meter.spent(),
            kept: place.kept(),
            verdict: Verdict::default(),
        };
        report.verdict = Verdict::of(report.result().as_ref(), &report.files, &messages);
        Ok(report)
    }

    /// The agent as the executor is told of it.
    fn spec(&self) -> Result<Value> {
        let agent = &self.packed.agent;
        let mut spec = serde_json::to_value(agent).context("write the agent's settings")?;
        let script = match self.program {
            Program::Agent => return Ok(spec),
            Program::Interpreter => {
                let program = agent.run.command.first().cloned().unwrap_or_default();
                let words = idle(&program).into_iter().map(str::to_owned);
                spec["run"]["command"] = std::iter::once(program.clone()).chain(words).collect();
                return Ok(spec);
            }
            Program::Shell => SHELL,
            Program::Environment => ENVIRONMENT,
        };
        spec["run"]["adapter"] = json!(Adapter::Command);
        spec["run"]["command"] = json!(["/bin/sh", "-c", script]);
        if self.program == Program::Environment {
            spec["run"]["setup"] = json!([]);
        }
        Ok(spec)
    }
}

/// What an interpreter is asked so that it starts and does nothing; nothing for what is none.
fn idle(program: &str) -> Vec<&'static str> {
    let name = program.rsplit('/').next().unwrap_or(program);
    match name {
        "sh" | "bash" => vec!["-c", ":"],
        "node" | "ruby" | "perl" => vec!["-e", "0"],
        python if python.starts_with("python") => vec!["-c", "import json, os, ssl"],
        _ => Vec::new(),
    }
}

/// Whether the agent's interpreter starts in the sandbox, after its `setup`; else why not, with its own last words.
/// What is no interpreter is not started.
pub(crate) async fn interpreter(packed: &Packed) -> Result<Option<String>> {
    let run = &packed.agent.run;
    let none = run.command.first().is_none_or(|program| idle(program).is_empty());
    if run.adapter != Adapter::Command || none {
        return Ok(None);
    }
    let trial = Trial {
        errands: Errands::of(&packed.agent, &[])?,
        packed: packed.clone(),
        brief: Brief::read(None, Kind::Work, None)?,
        models: Models::None,
        no_sandbox: false,
        keep: false,
        program: Program::Interpreter,
    };
    let report = trial.run(|_said| {}).await?;
    Ok(match report.outcome {
        // It ran, and had nothing to say.
        Some(Outcome::Failed(failed)) if failed.reason == "no_result" => None,
        Some(Outcome::Failed(failed)) => {
            let last: Vec<&str> = report.log.lines().filter(|line| !line.trim().is_empty()).collect();
            let last = last.get(last.len().saturating_sub(3)..).unwrap_or_default().join(" | ");
            Some(match last.as_str() {
                "" => failed.detail,
                last => format!("{} ({last})", failed.detail),
            })
        }
        _ => Some("it did not end as expected".to_owned()),
    })
}

/// What `setup` may take beside the attempt.
fn run_setup(run: &Run) -> Duration {
    if run.setup.is_empty() {
        Duration::ZERO
    } else {
        Duration::from_secs(10 * 60)
    }
}

/// An address of this machine.
fn local(port: u16) -> Result<Url> {
    Ok(format!("http://127.0.0.1:{port}").parse()?)
}
