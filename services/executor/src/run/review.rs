//! The model's review: after the checks, a model looks at what was asked for and what was made, through the run's own
//! gateway and within its budget.
//!
//! It is asked by this program, started once more in the run's sandbox, where it may read the workspace and reach the
//! gateway, and nothing else. What comes to no verdict waits for a human: nothing passes because nobody judged it.

use std::net::{Ipv4Addr, SocketAddr};

use domain::agent_file::{OnReject, Review};

use super::ending::{Ending, Reason};
use super::prepare::cpu_secs;
use super::spec::Spec;
use super::{Run, aside, stopped};
use crate::adapters::{self, How, Task, Verdict};
use crate::bundles::Bundle;
use crate::gateway::Gateway;
use crate::leases::Stop;
use crate::protocol::Answer;
use crate::sandbox::{Calls, Files, GATEWAY_PORT, Launch, Limits, Policy};
use crate::workspace::Workspace;

impl Run {
    /// Has the delivery judged, and holds it or fails the attempt if need be. A drain waits for it as long as it can, as
    /// the work is done.
    pub(super) async fn review(
        &self,
        space: &Workspace,
        (spec, review): (&Spec, &Review),
        bundle: &Bundle,
        gateway: &Gateway,
        answer: &mut Answer,
    ) -> Result<(), Ending> {
        let model = review.model(&spec.models.default).to_owned();
        let judging = self.judge(space, (spec, review), bundle, gateway, answer);
        let verdict = tokio::select! {
            verdict = judging => verdict,
            why = stopped(self.stop.clone(), &Stop::GENTLE) => return Err(Ending::HandedBack(why.reason())),
        };
        match verdict.unwrap_or_else(|why| Verdict::None(format!("it {why}"))) {
            Verdict::Accept => self.output.note(&format!("the review by {model} accepts it")),
            Verdict::Reject(reasons) => {
                let why = format!("the review by {model} rejects it: {}", reasons.join("; "));
                self.output.note(&why);
                if review.on_reject == OnReject::Fail {
                    return Err(Ending::failed(Reason::Review, why));
                }
                answer.hold(&why);
            }
            Verdict::None(why) => {
                let why = format!("the review by {model} came to no verdict: {why}");
                self.output.note(&why);
                answer.hold(&why);
            }
        }
        Ok(())
    }

    async fn judge(
        &self,
        space: &Workspace,
        (spec, review): (&Spec, &Review),
        bundle: &Bundle,
        gateway: &Gateway,
        answer: &Answer,
    ) -> Result<Verdict, String> {
        let spaces = self.spaces(&[]);
        // Inside a network of its own it stands where every run's does, also beside an agent that shared the machine's.
        let door = if spaces {
            SocketAddr::from((Ipv4Addr::LOCALHOST, GATEWAY_PORT))
        } else {
            gateway.address()
        };
        let base_url = format!("http://{door}").parse();
        let task = Task {
            job: space.job(),
            events: space.events(),
            work: space.work(),
            out: space.out(),
            how: How::Review(adapters::Review {
                bundle: bundle.path().to_owned(),
                base_url: base_url.map_err(|error| format!("found no gateway: {error}"))?,
                key: gateway.key().to_owned(),
                model: review.model(&spec.models.default).to_owned(),
                prompt: review.prompt.clone(),
                notes: answer.notes().to_owned(),
                files: answer.files().to_vec(),
            }),
        };
        let failed = |error: std::io::Error| format!("could not be started: {error}");
        let task = space.task("review.json", &task).map_err(failed)?;
        let program = self.parts.runner.path(&self.parts.tasks).await.map_err(failed)?;
        let command = [&program, std::path::Path::new(adapters::AGENT), &task];
        let launch = Launch {
            command: command.map(|word| word.to_string_lossy().into_owned()).into(),
            env: Vec::new(),
            policy: Policy {
                parent: 0,
                uid: space.uid(),
                cwd: space.work(),
                limits: Limits {
                    memory: Some(spec.limits.memory),
                    pids: Some(u64::from(spec.limits.pids)),
                    cpu_secs: Some(cpu_secs(self.parts.config.work.check_timeout.as_secs())),
                    ..Limits::default()
                },
                files: Some(Files {
                    execute: vec![program, bundle.path().to_owned()],
                    read: vec![space.job(), task, space.work()],
                    ..Files::default()
                }),
                connect: Some(vec![door.port()]),
                calls: Some(Calls {
                    shared: spaces,
                    ..Calls::default()
                }),
                spaces,
            },
            marker: space.folder().display().to_string(),
        };
        let done = self.aside(space, launch, Some(gateway)).await?;
        match done.end {
            // The only thing that program prints.
            aside::End::Exited(status) if status.success() => serde_json::from_str(&done.printed.last_line())
                .map_err(|_error| "ended without a word that can be read".to_owned()),
            aside::End::Exited(_) => Err(match done.complained.last_line().as_str() {
                "" => "failed and said nothing".to_owned(),
                line => format!("failed: {line}"),
            }),
            aside::End::Lost(error) => Err(format!("could not be waited for: {error}")),
            aside::End::Late(limit) => Err(format!("took longer than {}", humantime::format_duration(limit))),
            aside::End::TooMuch(what) => Err(format!("was ended: {what}")),
            aside::End::Flooded => Err("printed more than is allowed".to_owned()),
        }
    }
}
