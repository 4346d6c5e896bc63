//! The operator's checks: command lines of the agent file, run on `out/` once a result is there, before anything of it
//! goes up. They are locked in as the agent was, with no network at all.

use std::os::unix::process::ExitStatusExt as _;
use std::process::ExitStatus;
use std::sync::Arc;

use super::ending::{Ending, Reason};
use super::output::Output;
use super::spec::Spec;
use super::{Activity, Run, env, stopped};
use crate::bundles::Bundle;
use crate::folders;
use crate::leases::Stop;
use crate::sandbox::{Calls, Files, Launch, Limits, Policy};
use crate::workspace::Workspace;

/// What reads a command line.
const SHELL: &str = "/bin/sh";

impl Run {
    /// Runs them one after the other; the first that does not end with 0 is the attempt's failure. A drain waits for
    /// them as long as it can, as the work is done.
    pub(super) async fn check(&self, space: &Workspace, spec: &Spec, bundle: &Bundle) -> Result<(), Ending> {
        let all = spec.delivery.checks.len();
        for (at, command) in spec.delivery.checks.iter().enumerate() {
            self.output.note(&format!("check {} of {all}: {command}", at + 1));
            let checking = self.run_check(space, self.check_launch(spec, space, bundle, command));
            let passed = tokio::select! {
                passed = checking => passed,
                why = stopped(self.stop.clone(), &Stop::GENTLE) => return Err(Ending::HandedBack(why.reason())),
            };
            passed.map_err(|why| Ending::failed(Reason::Check, format!("the check {command:?} {why}")))?;
        }
        Ok(())
    }

    fn check_launch(&self, spec: &Spec, space: &Workspace, bundle: &Bundle, command: &str) -> Launch {
        let limits = &spec.limits;
        let spaces = self.spaces(&[]);
        Launch {
            command: [SHELL, "-c", command].map(str::to_owned).to_vec(),
            env: env::of_check(spec, space, bundle.path(), &self.parts.config.isolation.path),
            policy: Policy {
                parent: 0,
                uid: space.uid(),
                cwd: space.out(),
                limits: Limits {
                    memory: Some(limits.memory),
                    pids: Some(u64::from(limits.pids)),
                    file_size: Some(limits.disk),
                    cpu_secs: Some(super::prepare::cpu_secs(self.parts.config.work.check_timeout.as_secs())),
                    ..Limits::default()
                },
                files: Some(Files {
                    execute: self.executable(spec, bundle),
                    read: vec![space.job()],
                    write: vec![space.work()],
                    ..Files::default()
                }),
                connect: Some(Vec::new()),
                calls: Some(Calls {
                    shared: spaces,
                    ..Calls::default()
                }),
                spaces,
            },
            marker: space.folder().display().to_string(),
        }
    }

    /// Why it did not pass, as the end of a sentence. What it printed stands in the run's log.
    async fn run_check(&self, space: &Workspace, launch: Launch) -> Result<(), String> {
        let failed = |error: String| format!("could not be started: {error}");
        let note = |pid| folders::record(space.folder(), pid, space.uid()).map_err(|error| failed(error.to_string()));
        note(None)?;
        let started = self.parts.sandbox.start(launch).await;
        let mut process = started.map_err(|error| failed(error.to_string()))?;
        note(process.footprint().leader())?;
        // Nothing is behind the gateway of a check.
        drop(process.listeners());
        let cap = self.parts.config.caps.output_bytes;
        let (printed, complained) = (Arc::new(Output::new(cap)), Arc::new(Output::new(cap)));
        let (stdout, stderr) = (process.stdout(), process.stderr());
        let listen = async {
            let (out, err) = (Arc::clone(&printed), Arc::clone(&complained));
            let out = async move {
                if let Some(pipe) = stdout {
                    out.listen(pipe, false, Activity::new()).await;
                }
            };
            let err = async move {
                if let Some(pipe) = stderr {
                    err.listen(pipe, false, Activity::new()).await;
                }
            };
            tokio::join!(out, err);
        };
        let limit = self.parts.config.work.check_timeout;
        let end = async {
            let ended = tokio::select! {
                ended = tokio::time::timeout(limit, process.wait()) => Some(ended),
                () = printed.flooded.cancelled() => None,
                () = complained.flooded.cancelled() => None,
            };
            process.kill();
            let _none_left = self.parts.tasks.spawn_blocking("end", process.end_all()).await;
            ended
        };
        let (ended, ()) = tokio::join!(end, listen);
        self.output.append(&printed);
        self.output.append(&complained);
        // Two pipes have no order between them: a complaint says more.
        let last = [&complained, &printed].map(|output| output.last_line());
        let last = last.iter().find(|line| !line.is_empty()).map_or("", String::as_str);
        match ended {
            Some(Ok(Ok(status))) if status.success() => Ok(()),
            Some(Ok(Ok(status))) => Err(told(status, last)),
            Some(Ok(Err(error))) => Err(format!("could not be waited for: {error}")),
            Some(Err(_elapsed)) => Err(format!("took longer than {}", humantime::format_duration(limit))),
            None => Err("printed more than is allowed".to_owned()),
        }
    }
}

fn told(status: ExitStatus, last_line: &str) -> String {
    let ended = match (status.code(), status.signal()) {
        (Some(code), _) => format!("ended with {code}"),
        (None, signal) => format!("was killed by signal {}", signal.unwrap_or(0)),
    };
    if last_line.is_empty() {
        format!("{ended} and printed nothing")
    } else {
        format!("{ended}: {last_line}")
    }
}
