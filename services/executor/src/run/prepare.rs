//! Everything before an agent's first instruction: bundle, inputs, gateway, policy.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use rpc::v1::{FetchInputRequest, InputFile};
use secrecy::SecretString;

use super::ending::{Ending, Reason};
use super::env::Ways;
use super::spec::Spec;
use super::{Activity, Run, built_in, env, interpreter, stopped};
use crate::bundles::{self, Bundle};
use crate::callbacks::Door;
use crate::gateway::{Gateway, Place, Watched};
use crate::proxy::{Hosts, Proxy};
use crate::sandbox::{Calls, Files, GATEWAY_PORT, Launch, Level, Limits, PROXY_PORT, Policy};
use crate::scheduler::{FetchError, pauses};
use crate::workspace::Workspace;

/// How often something is fetched again before the attempt fails.
const FETCHES: usize = 8;
/// Where the decoy key stands in a workspace.
const DECOY_FILE: &str = ".config/internal/credentials";
/// Seconds beyond a run's time, so that the executor ends it and not the kernel.
const CPU_RESERVE: u64 = 60;

/// What a start needs, and what has to live as long as the process.
pub(super) struct Prepared {
    pub(super) launch: Launch,
    pub(super) gateway: Gateway,
    pub(super) proxy: Option<Proxy>,
    /// Where its endpoint answers later.
    pub(super) door: Option<Door>,
    pub(super) bundle: Bundle,
    pub(super) spec: Spec,
}

impl Run {
    /// Prepares, unless the run is stopped meanwhile.
    pub(super) async fn prepare(&self, space: &Workspace, activity: &Arc<Activity>) -> Result<Prepared, Ending> {
        let preparing = self.prepare_all(space, activity);
        tokio::select! {
            prepared = preparing => prepared,
            why = stopped(self.stop.clone(), &[]) => Err(Ending::HandedBack(why.reason())),
        }
    }

    async fn prepare_all(&self, space: &Workspace, activity: &Arc<Activity>) -> Result<Prepared, Ending> {
        let start = |reason| Ending::failed(Reason::Start, reason);
        let spec = Spec::read(&self.assignment.agent_spec_json).map_err(start)?;
        let ports = built_in::ports(&spec).map_err(start)?;
        let spaces = self.spaces(&ports);
        let bundle = self.bundle(&spec).await?;
        self.inputs(space).await?;
        let credential = SecretString::from(self.assignment.gateway_credential.clone());
        let traceparent = telemetry::current_traceparent()
            .or_else(|| Some(self.assignment.traceparent.clone()).filter(|parent| !parent.is_empty()));
        let at = |port| if spaces { Place::Inside(port) } else { Place::Machine };
        let watch = self.watched(activity);
        let tasks = &self.parts.tasks;
        let (named, place) = (&spec.network.credential, at(GATEWAY_PORT));
        let way = &self.parts.gateway;
        let opening = way.open(tasks, &credential, traceparent, watch.clone(), named, place);
        let gateway = opening
            .await
            .map_err(|error| start(format!("open the run's gateway: {error}")))?;
        let (settings, hosts) = (&self.parts.config.network, &spec.network.allow);
        let proxy = if hosts.is_empty() {
            None
        } else {
            let opening = Proxy::open(tasks, settings, Hosts::Listed(hosts), at(PROXY_PORT), watch).await;
            Some(opening.map_err(|error| start(format!("open the run's way to other hosts: {error}")))?)
        };
        self.lay_out_decoy(space)
            .map_err(|error| start(format!("lay out the decoy: {error}")))?;
        let mut launch = self
            .launch(&spec, space, &bundle, &gateway, proxy.as_ref())
            .map_err(start)?;
        open_to(&mut launch, &ports);
        let playing = self.play(&spec, space, bundle.path(), &gateway, activity, &mut launch);
        let door = playing.await.map_err(start)?;
        launch.policy.spaces = spaces;
        if let Some(calls) = launch.policy.calls.as_mut() {
            calls.shared = spaces;
        }
        Ok(Prepared {
            launch,
            gateway,
            proxy,
            door,
            bundle,
            spec,
        })
    }

    /// What is looked at on its ways out.
    pub(super) fn watched(&self, activity: &Arc<Activity>) -> Watched {
        Watched {
            activity: Arc::clone(activity),
            denials: Arc::clone(&self.denials),
            decoy: Arc::clone(&self.decoy),
        }
    }

    /// Where who looks for keys finds one.
    fn lay_out_decoy(&self, space: &Workspace) -> std::io::Result<()> {
        let path = space.place(DECOY_FILE)?;
        std::fs::write(&path, format!("[default]\napi_key = {}\n", self.decoy.key()))?;
        space.give(&path)
    }

    fn launch(
        &self,
        spec: &Spec,
        space: &Workspace,
        bundle: &Bundle,
        gateway: &Gateway,
        proxy: Option<&Proxy>,
    ) -> Result<Launch, String> {
        let isolation = &self.parts.config.isolation;
        let ways = Ways {
            gateway: gateway.address(),
            key: gateway.key(),
            proxy: proxy.map(Proxy::address),
            decoy: self.decoy.key(),
        };
        let mut connect = vec![ways.gateway.port()];
        connect.extend(ways.proxy.map(|address| address.port()));
        let limits = &spec.limits;
        Ok(Launch {
            command: spec.command(bundle.path()),
            env: env::of_run(spec, space, bundle.path(), &ways, &isolation.path),
            policy: Policy {
                parent: 0,
                uid: space.uid(),
                cwd: space.work(),
                limits: Limits {
                    memory: Some(limits.memory),
                    pids: Some(u64::from(limits.pids)),
                    file_size: Some(limits.disk),
                    cpu_secs: Some(cpu_secs(u64::from(self.assignment.timeout_secs))),
                    ..Limits::default()
                },
                files: Some(Files {
                    execute: self.executable(spec, bundle)?,
                    read: vec![space.job()],
                    write: vec![space.work()],
                    append: vec![space.events()],
                }),
                connect: Some(connect),
                calls: Some(Calls::default()),
                spaces: false,
            },
            marker: space.folder().display().to_string(),
        })
    }

    /// A run of an endpoint needs the machine's network, and so the machine's namespaces.
    pub(super) fn spaces(&self, ports: &[u16]) -> bool {
        let there = self.parts.sandbox.level() >= Level::Namespaces;
        if there && !ports.is_empty() {
            tracing::info!("the agent is an endpoint: this run shares the machine's network, at level landlock");
        }
        there && ports.is_empty()
    }

    /// Folders besides the system's whose programs may be run.
    pub(super) fn executable(&self, spec: &Spec, bundle: &Bundle) -> Result<Vec<PathBuf>, String> {
        let mut execute = vec![bundle.path().to_owned()];
        let readable = &self.parts.config.isolation.readable;
        execute.extend(readable.iter().filter(|path| path.exists()).cloned());
        let ours = self.parts.folders.roots();
        let more = interpreter::folders(bundle.path(), &spec.run.venv, readable, &ours)?;
        execute.extend(more);
        Ok(execute)
    }

    async fn bundle(&self, spec: &Spec) -> Result<Bundle, Ending> {
        let (sha256, key) = (&self.assignment.bundle_sha256, spec.setup_key());
        let mut pauses = pauses().take(FETCHES);
        loop {
            let setup = |folder: PathBuf| self.set_up(spec, folder);
            let got = self.parts.bundles.get(&self.parts.scheduler, sha256, &key, setup).await;
            match (got, pauses.next()) {
                (Ok(bundle), _) => return Ok(bundle),
                (Err(bundles::Error::Fetch(error)), Some(pause)) if error.passes() => self.again(&error, pause).await,
                (Err(bundles::Error::Fetch(error)), None) if error.is_outage() => return Err(unreachable()),
                (Err(error), _) => return Err(Ending::failed(Reason::Start, error.to_string())),
            }
        }
    }

    async fn inputs(&self, space: &Workspace) -> Result<(), Ending> {
        let mut left = self.parts.config.caps.input_bytes;
        for input in &self.assignment.inputs {
            let name = crate::protocol::name::relative(&input.path)
                .map_err(|reason| Ending::failed(Reason::Start, format!("an input of the job: {reason}")))?;
            left = left.checked_sub(input.bytes).ok_or_else(|| {
                let limit = self.parts.config.caps.input_bytes;
                Ending::failed(
                    Reason::Start,
                    format!("the inputs of the job are longer than {limit} bytes"),
                )
            })?;
            let io = |error: std::io::Error| Ending::failed(Reason::Start, format!("place the input {name}: {error}"));
            let path = space.place(&name).map_err(io)?;
            self.input(input, &path).await?;
            space.give(&path).map_err(io)?;
        }
        Ok(())
    }

    async fn input(&self, input: &InputFile, path: &Path) -> Result<(), Ending> {
        let mut pauses = pauses().take(FETCHES);
        loop {
            let request = FetchInputRequest {
                run_id: self.assignment.run_id.clone(),
                lease_token: self.assignment.lease_token.clone(),
                sha256: input.sha256.clone(),
            };
            match (
                self.parts.scheduler.fetch_input(request, path, input.bytes).await,
                pauses.next(),
            ) {
                (Ok(_), _) => return Ok(()),
                (Err(error), _) if error.lease_lost() => return Err(Ending::HandedBack("lease_lost".to_owned())),
                (Err(error), Some(pause)) if error.passes() => self.again(&error, pause).await,
                (Err(error), None) if error.is_outage() => return Err(unreachable()),
                (Err(error), _) => return Err(Ending::failed(Reason::Start, format!("get an input: {error}"))),
            }
        }
    }

    async fn again(&self, error: &FetchError, pause: Duration) {
        tracing::debug!(%error, "fetching failed; it is tried again");
        tokio::time::sleep(pause).await;
    }
}

/// Lets a launch connect to these ports too, and ask for names.
fn open_to(launch: &mut Launch, ports: &[u16]) {
    if let Some(connect) = launch.policy.connect.as_mut() {
        connect.extend(ports);
    }
    if let Some(calls) = launch.policy.calls.as_mut() {
        calls.datagrams = !ports.is_empty();
    }
}

/// What all processors can give one process until its time is up, and a little for its end.
pub(super) fn cpu_secs(timeout_secs: u64) -> u64 {
    let processors = std::thread::available_parallelism().map_or(1, std::num::NonZero::get) as u64;
    (timeout_secs + CPU_RESERVE).saturating_mul(processors)
}

/// It is not the agent's failure that nobody answers.
fn unreachable() -> Ending {
    Ending::HandedBack("unreachable".to_owned())
}
