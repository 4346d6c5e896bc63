//! Agents played by this program: what they are told, and what they may reach.

use std::path::Path;

use domain::agent_file::Adapter;
use rpc::endpoint;
use secrecy::{ExposeSecret as _, SecretString};

use super::Run;
use super::spec::Spec;
use crate::adapters::{self, Call, GatewayAccess, How, Task};
use crate::gateway::Gateway;
use crate::sandbox::Launch;
use crate::workspace::Workspace;

/// Where names are asked for when the answer does not fit a datagram.
const NAMES: u16 = 53;
/// How long a token outlives its attempt.
const AFTER_TIMEOUT: chrono::TimeDelta = chrono::TimeDelta::minutes(5);

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
    /// Turns a launch into one of this program, when the agent has none of its own.
    pub(super) async fn play(
        &self,
        spec: &Spec,
        space: &Workspace,
        bundle: &Path,
        gateway: &Gateway,
        launch: &mut Launch,
    ) -> Result<(), String> {
        let Some(how) = self.how(spec, bundle, gateway)? else {
            return Ok(());
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
            .task(&task)
            .map_err(|error| format!("write the run's task: {error}"))?;
        launch.command = [&program, Path::new(adapters::AGENT), &path]
            .map(|word| word.to_string_lossy().into_owned())
            .into();
        if let Some(files) = launch.policy.files.as_mut() {
            files.execute.push(program);
            files.read.push(path);
        }
        Ok(())
    }

    fn how(&self, spec: &Spec, bundle: &Path, gateway: &Gateway) -> Result<Option<How>, String> {
        match (spec.run.adapter, &spec.prompt) {
            (Adapter::Prompt, Some(prompt)) => {
                let address = format!("http://{}", gateway.address());
                Ok(Some(How::Prompt {
                    bundle: bundle.to_owned(),
                    base_url: address
                        .parse()
                        .map_err(|error| format!("the gateway's address: {error}"))?,
                    model: prompt.model(&spec.models.default).to_owned(),
                    prompt: prompt.clone(),
                }))
            }
            (Adapter::Http, _) => self.call(spec).map(|call| Some(How::Http(call))),
            (Adapter::Command | Adapter::Prompt, _) => Ok(None),
        }
    }

    fn call(&self, spec: &Spec) -> Result<Call, String> {
        let (config, assignment) = (&self.parts.config, &self.assignment);
        let root = SecretString::from(config.scheduler.token.expose());
        let key = endpoint::key(&root, &assignment.agent);
        let lasts = chrono::TimeDelta::seconds(i64::from(assignment.timeout_secs)) + AFTER_TIMEOUT;
        let expires = chrono::Utc::now() + lasts;
        let token = endpoint::token(&key, &assignment.run_id, assignment.attempt, expires);
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
        })
    }
}
