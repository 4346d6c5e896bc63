//! The operator's checks: command lines of the agent file, run on `out/` once a result is there, before anything of it
//! goes up. They are locked in as the agent was, with no network at all.

use std::os::unix::process::ExitStatusExt as _;
use std::process::ExitStatus;

use super::aside::End;
use super::ending::{Ending, Reason};
use super::spec::Spec;
use super::{Run, env, stopped};
use crate::bundles::Bundle;
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
            let launch = self.check_launch(spec, space, bundle, command);
            let launch = launch.map_err(|why| Ending::failed(Reason::Start, why))?;
            let checking = self.run_check(space, launch);
            let passed = tokio::select! {
                passed = checking => passed,
                why = stopped(self.stop.clone(), &Stop::GENTLE) => return Err(Ending::HandedBack(why.reason())),
            };
            passed.map_err(|why| Ending::failed(Reason::Check, format!("the check {command:?} {why}")))?;
        }
        Ok(())
    }

    fn check_launch(&self, spec: &Spec, space: &Workspace, bundle: &Bundle, command: &str) -> Result<Launch, String> {
        let limits = &spec.limits;
        let spaces = self.spaces(&[]);
        Ok(Launch {
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
                    execute: self.executable(spec, bundle)?,
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
        })
    }

    /// Why it did not pass, as the end of a sentence. What it printed stands in the run's log.
    async fn run_check(&self, space: &Workspace, launch: Launch) -> Result<(), String> {
        let done = self.aside(space, launch, None).await?;
        // Two pipes have no order between them: a complaint says more.
        let last = [&done.complained, &done.printed].map(|output| output.last_line());
        let last = last.iter().find(|line| !line.is_empty()).map_or("", String::as_str);
        match done.end {
            End::Exited(status) if status.success() => Ok(()),
            End::Exited(status) => Err(told(status, last)),
            End::Lost(error) => Err(format!("could not be waited for: {error}")),
            End::Late(limit) => Err(format!("took longer than {}", humantime::format_duration(limit))),
            End::Flooded => Err("printed more than is allowed".to_owned()),
            End::TooMuch(what) => Err(format!("was ended: {what}")),
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
