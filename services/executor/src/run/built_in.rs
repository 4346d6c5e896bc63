//! Agents played by this program: what they are told, and what they may reach.

use std::path::Path;
use std::sync::Arc;

use chrono::{DateTime, TimeDelta, Utc};
use domain::agent_file::Adapter;
use rpc::endpoint;
use secrecy::{ExposeSecret as _, SecretString};

use super::spec::Spec;
use super::{Activity, Run};
use crate::adapters::{self, Call, GatewayAccess, How, Task};
use crate::callbacks::{Addresses, Attempt, Door};
use crate::gateway::Gateway;
use crate::protocol::name::relative;
use crate::sandbox::Launch;
use crate::workspace::Workspace;

/// Where names are asked for when the answer does not fit a datagram.
const NAMES: u16 = 53;
/// How long a token outlives its attempt.
const AFTER_TIMEOUT: TimeDelta = TimeDelta::minutes(5);

/// The ports a run may connect to besides its own doors: its endpoint's, and that of names.
///
/// # Errors
/// An address without a port.
pub(super) fn ports(spec: &Spec) -> Result<Vec<u16>, String> {
    if spec.run.adapter != Adapter::Http {
        return Ok(Vec::new());
    }
    let port = spec.endpoint()?.port_or_known_default();
    Ok(vec![port.ok_or("http.url names no port")?, NAMES])
}

impl Run {
    /// Turns a launch into one of this program, when the agent has none of its own. The door for later answers of its
    /// endpoint has to live as long as the process.
    pub(super) async fn play(
        &self,
        spec: &Spec,
        space: &Workspace,
        bundle: &Path,
        gateway: &Gateway,
        activity: &Arc<Activity>,
        launch: &mut Launch,
    ) -> Result<Option<Door>, String> {
        let (door, addresses) = self.door(spec, space, activity)?.unzip();
        let lines = addresses.as_ref().map(|addresses| addresses.lines.clone());
        let Some(how) = self.how(spec, bundle, gateway, addresses)? else {
            return Ok(None);
        };
        let program = self.parts.runner.path(&self.parts.tasks).await;
        let program = program.map_err(|error| format!("put the program where the run can reach it: {error}"))?;
        let task = Task {
            job: space.job(),
            events: space.events(),
            work: space.work(),
            out: space.out(),
            how,
        };
        let path = space
            .task("task.json", &task)
            .map_err(|error| format!("write the run's task: {error}"))?;
        launch.command = [&program, Path::new(adapters::AGENT), &path]
            .map(|word| word.to_string_lossy().into_owned())
            .into();
        if let Some(files) = launch.policy.files.as_mut() {
            files.execute.push(program);
            files.read.push(path);
            files.read.extend(lines);
        }
        Ok(door)
    }

    /// Where its endpoint may answer later, if this executor can be reached.
    fn door(
        &self,
        spec: &Spec,
        space: &Workspace,
        activity: &Arc<Activity>,
    ) -> Result<Option<(Door, Addresses)>, String> {
        let (Adapter::Http, Some(callbacks)) = (spec.run.adapter, &self.parts.callbacks) else {
            return Ok(None);
        };
        let attempt = Attempt {
            run_id: &self.assignment.run_id,
            attempt: self.assignment.attempt,
            expires: self.expires(),
            space,
            inputs: self
                .assignment
                .inputs
                .iter()
                .filter_map(|input| relative(&input.path).ok())
                .collect(),
            activity: Arc::clone(activity),
        };
        let door = callbacks.admit(&attempt);
        door.map(Some)
            .map_err(|error| format!("open the run's door for later answers: {error}"))
    }

    /// When what is signed for this attempt runs out.
    fn expires(&self) -> DateTime<Utc> {
        Utc::now() + TimeDelta::seconds(i64::from(self.assignment.timeout_secs)) + AFTER_TIMEOUT
    }

    fn how(
        &self,
        spec: &Spec,
        bundle: &Path,
        gateway: &Gateway,
        callbacks: Option<Addresses>,
    ) -> Result<Option<How>, String> {
        match (spec.run.adapter, &spec.prompt) {
            (Adapter::Prompt, Some(prompt)) => {
                let address = format!("http://{}", gateway.address());
                Ok(Some(How::Prompt {
                    bundle: bundle.to_owned(),
                    base_url: address
                        .parse()
                        .map_err(|error| format!("the gateway's address: {error}"))?,
                    key: gateway.key().to_owned(),
                    model: prompt.model(&spec.models.default).to_owned(),
                    prompt: prompt.clone(),
                }))
            }
            (Adapter::Http, _) => self.call(spec, callbacks).map(|call| Some(How::Http(call))),
            (Adapter::Command | Adapter::Prompt, _) => Ok(None),
        }
    }

    fn call(&self, spec: &Spec, callbacks: Option<Addresses>) -> Result<Call, String> {
        let (config, assignment) = (&self.parts.config, &self.assignment);
        let root = SecretString::from(config.scheduler.token.expose());
        let key = endpoint::key(&root, &assignment.agent);
        let token = endpoint::token(&key, &assignment.run_id, assignment.attempt, self.expires());
        let gateway = config.endpoints.gateway().map_err(|error| error.to_string())?;
        Ok(Call {
            url: spec.endpoint()?,
            private: config.endpoints.private,
            token: token.expose_secret().to_owned(),
            key: format!("{}-{}", assignment.run_id, assignment.attempt),
            gateway: gateway.map(|url| GatewayAccess {
                url,
                token: assignment.gateway_credential.clone(),
            }),
            callbacks,
        })
    }
}
