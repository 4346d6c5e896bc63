//! Everything before an agent's first instruction: bundle, inputs, gateway, policy.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use rpc::v1::{FetchInputRequest, InputFile};
use secrecy::SecretString;

use super::ending::{Ending, Reason};
use super::spec::Spec;
use super::{Activity, Run, env, stopped};
use crate::bundles::{self, Bundle};
use crate::gateway::{Gateway, Place};
use crate::sandbox::{Calls, Files, GATEWAY_PORT, Launch, Level, Limits, Policy, Spaces};
use crate::scheduler::{FetchError, pauses};
use crate::workspace::Workspace;

/// How often something is fetched again before the attempt fails.
const FETCHES: usize = 8;
/// Seconds beyond a run's time, so that the executor ends it and not the kernel.
const CPU_RESERVE: u64 = 60;

/// What a start needs, and what has to live as long as the process.
pub(super) struct Prepared {
    pub(super) launch: Launch,
    pub(super) gateway: Gateway,
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
        let ports = spec.ports().map_err(start)?;
        let spaces = self.spaces(&ports);
        let bundle = self.bundle(&spec).await?;
        self.inputs(space).await?;
        let credential = SecretString::from(self.assignment.gateway_credential.clone());
        let traceparent = telemetry::current_traceparent()
            .or_else(|| Some(self.assignment.traceparent.clone()).filter(|parent| !parent.is_empty()));
        let place = spaces.map_or(Place::Machine, |spaces| Place::Inside(spaces.gateway_port));
        let opening = self
            .parts
            .gateway
            .open(&self.parts.tasks, &credential, traceparent, Arc::clone(activity), place);
        let gateway = opening
            .await
            .map_err(|error| start(format!("open the run's gateway: {error}")))?;
        let mut launch = self.launch(&spec, space, &bundle, &gateway, ports);
        launch.policy.spaces = spaces;
        if let Some(calls) = launch.policy.calls.as_mut() {
            calls.shared = spaces.is_some();
        }
        Ok(Prepared {
            launch,
            gateway,
            bundle,
            spec,
        })
    }

    fn launch(&self, spec: &Spec, space: &Workspace, bundle: &Bundle, gateway: &Gateway, ports: Vec<u16>) -> Launch {
        let isolation = &self.parts.config.isolation;
        let mut execute = vec![bundle.path().to_owned()];
        execute.extend(isolation.readable.iter().filter(|path| path.exists()).cloned());
        execute.extend(base_interpreter(bundle.path(), &spec.run.venv));
        let calls = Calls {
            // The hosts it may reach have names.
            datagrams: !ports.is_empty(),
            ..Calls::default()
        };
        let mut connect = ports;
        connect.push(gateway.address().port());
        let limits = &spec.limits;
        Launch {
            command: spec.command(bundle.path()),
            env: env::of_run(spec, space, bundle.path(), gateway.address(), &isolation.path),
            policy: Policy {
                parent: 0,
                uid: space.uid(),
                cwd: space.work(),
                limits: Limits {
                    memory: Some(limits.memory),
                    pids: Some(u64::from(limits.pids)),
                    file_size: Some(limits.disk),
                    cpu_secs: Some(self.cpu_secs()),
                    ..Limits::default()
                },
                files: Some(Files {
                    execute,
                    read: vec![space.job()],
                    write: vec![space.work()],
                    append: vec![space.events()],
                }),
                connect: Some(connect),
                calls: Some(calls),
                spaces: None,
            },
            folder: space.folder().to_owned(),
            marker: space.folder().display().to_string(),
        }
    }

    /// A run that may reach hosts needs the machine's network, and so the machine's namespaces.
    fn spaces(&self, ports: &[u16]) -> Option<Spaces> {
        if self.parts.sandbox.level() < Level::Namespaces {
            return None;
        }
        if !ports.is_empty() {
            tracing::info!("the agent's file allows hosts: this run shares the machine's network, at level landlock");
            return None;
        }
        let gateway_port = GATEWAY_PORT;
        Some(Spaces { gateway_port })
    }

    /// What all processors can give one process until the run's time is up, and a little for its end.
    fn cpu_secs(&self) -> u64 {
        let processors = std::thread::available_parallelism().map_or(1, std::num::NonZero::get) as u64;
        (u64::from(self.assignment.timeout_secs) + CPU_RESERVE).saturating_mul(processors)
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

/// It is not the agent's failure that nobody answers.
fn unreachable() -> Ending {
    Ending::HandedBack("unreachable".to_owned())
}

/// The interpreter a virtual environment was made from lies elsewhere; its `pyvenv.cfg` says where.
fn base_interpreter(bundle: &Path, venv: &str) -> Option<PathBuf> {
    if venv.is_empty() {
        return None;
    }
    let config = std::fs::read_to_string(bundle.join(venv).join("pyvenv.cfg")).ok()?;
    let home = config
        .lines()
        .find_map(|line| line.strip_prefix("home")?.trim_start().strip_prefix('='))?;
    // `home` is the folder of the program; its libraries lie beside that folder.
    let prefix = Path::new(home.trim()).parent()?.to_owned();
    (prefix.is_absolute() && prefix.parent().is_some() && prefix.is_dir()).then_some(prefix)
}
