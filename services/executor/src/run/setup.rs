//! `setup` of a bundle: run once per version, in the unpacked bundle at its place, before it becomes read-only.

use std::os::unix::fs::{PermissionsExt as _, lchown};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use uuid::Uuid;

use super::denials::Told;
use super::output::Output;
use super::prepare::cpu_secs;
use super::scale::{Room, Scale};
use super::spec::Spec;
use super::{Activity, Run, env};
use crate::config::Network;
use crate::folders;
use crate::gateway::Place;
use crate::proxy::{Hosts, Proxy};
use crate::sandbox::{Calls, Files, Launch, Limits, PROXY_PORT, Policy};

/// Lines of a failed one that are told.
const LAST_LINES: usize = 8;
/// Memory of a process of `setup`, which may compile things.
const MEMORY: u64 = 4 << 30;
/// Connections at once: installers open many, and keep them.
const CONNECTIONS: usize = 128;

impl Run {
    /// Runs it under the run's user id, with a way to what it installs and no job.
    pub(super) async fn set_up(&self, spec: &Spec, bundle: PathBuf) -> Result<(), String> {
        if spec.run.setup.is_empty() {
            return Ok(());
        }
        let uid = self.slot.uid();
        // Beside the workspaces, so that the next start finds what a killed executor left.
        let desk = self.parts.folders.runs().join(format!("setup-{}", Uuid::now_v7()));
        let home = desk.join("home");
        let (own, given) = (home.clone(), bundle.clone());
        let handing = self.parts.tasks.spawn_blocking("hand_over", move || {
            std::fs::create_dir_all(own.join("tmp"))?;
            let outer = own.parent().unwrap_or(&own);
            std::fs::set_permissions(outer, std::fs::Permissions::from_mode(0o711))?;
            [own, given].iter().try_for_each(|path| hand_over(path, uid))
        });
        let handed = handing.await.unwrap_or_else(|| Err(std::io::Error::other("stopped")));
        let outcome = match handed {
            Ok(()) => match self.setup_way().await {
                Ok(way) => {
                    let launch = self.setup_launch(spec, &desk, &home, bundle, way.as_ref());
                    self.run_setup(&desk, launch, way).await
                }
                Err(error) => Err(format!("open its way to other hosts: {error}")),
            },
            Err(error) => Err(error.to_string()),
        };
        let removing = self
            .parts
            .tasks
            .spawn_blocking("remove_setup", move || crate::tree::remove(&desk));
        // If not now, then at the next start.
        let _removed = removing.await;
        outcome.map_err(|reason| self.with_refusals(reason))
    }

    /// The reason of a failure, with what was refused on the way to it: nothing else of the attempt is told.
    fn with_refusals(&self, mut reason: String) -> String {
        for told in self.denials.take() {
            match told {
                Told::Warning(what) => reason = format!("{reason}; {what}"),
                Told::Alarm(what) => self.denials.alarm(what),
            }
        }
        reason
    }

    /// Its proxy, unless it has the machine's network.
    async fn setup_way(&self) -> std::io::Result<Option<Proxy>> {
        let config = &self.parts.config;
        let Some(guard) = config.network.setup.guard() else {
            return Ok(None);
        };
        let settings = Network {
            connections: CONNECTIONS,
            bytes: config.caps.setup_bytes,
            ..config.network.clone()
        };
        let place = if self.spaces(&[]) {
            Place::Inside(PROXY_PORT)
        } else {
            Place::Machine
        };
        let watched = self.watched(&Activity::new());
        let opening = Proxy::open(&self.parts.tasks, &settings, Hosts::At(guard), place, watched);
        opening.await.map(Some)
    }

    fn setup_launch(&self, spec: &Spec, desk: &Path, home: &Path, bundle: PathBuf, way: Option<&Proxy>) -> Launch {
        let isolation = &self.parts.config.isolation;
        let mut execute = isolation.readable.clone();
        execute.retain(|path| path.exists());
        let proxy = way.map(Proxy::address);
        let spaces = way.is_some() && self.spaces(&[]);
        Launch {
            command: spec.run.setup.clone(),
            env: env::of_setup(spec, home, &bundle, proxy, &isolation.path),
            policy: Policy {
                parent: 0,
                uid: self.slot.uid(),
                cwd: bundle.clone(),
                limits: Limits {
                    memory: Some(MEMORY),
                    pids: Some(u64::from(spec.limits.pids)),
                    file_size: Some(self.parts.config.caps.setup_bytes),
                    cpu_secs: Some(cpu_secs(self.parts.config.work.setup_timeout.as_secs())),
                    ..Limits::default()
                },
                files: Some(Files {
                    execute,
                    write: vec![bundle, home.to_owned()],
                    ..Files::default()
                }),
                connect: proxy.map(|address| vec![address.port()]),
                calls: Some(Calls {
                    datagrams: proxy.is_none(),
                    shared: spaces,
                }),
                spaces,
            },
            marker: desk.display().to_string(),
        }
    }

    async fn run_setup(&self, desk: &Path, launch: Launch, way: Option<Proxy>) -> Result<(), String> {
        let note =
            |pid| folders::record(desk, pid, self.slot.uid()).map_err(|error| format!("note its process: {error}"));
        note(None)?;
        let limits = launch.policy.limits.clone();
        let folders = vec![launch.policy.cwd.clone(), desk.to_owned()];
        let mut process = self
            .parts
            .sandbox
            .start(launch)
            .await
            .map_err(|error| error.to_string())?;
        note(process.footprint().leader())?;
        if let (Some(listeners), Some(proxy)) = (process.listeners(), &way) {
            proxy.serve(listeners.proxy);
        }
        let output = Arc::new(Output::new(self.parts.config.caps.output_bytes));
        let (stdout, stderr) = (process.stdout(), process.stderr());
        let listen = async {
            let (out, err) = (Arc::clone(&output), Arc::clone(&output));
            let out = async move {
                if let Some(pipe) = stdout {
                    out.listen(pipe, false, Activity::new()).await
                }
            };
            let err = async move {
                if let Some(pipe) = stderr {
                    err.listen(pipe, false, Activity::new()).await
                }
            };
            tokio::join!(out, err);
        };
        let room = Room::Setup(self.parts.config.caps.setup_bytes);
        let scale = Scale::new(&process, &limits, room, folders);
        let limit = self.parts.config.work.setup_timeout;
        let end = async {
            let ended = tokio::select! {
                ended = tokio::time::timeout(limit, process.wait()) => Ok(ended),
                () = output.flooded.cancelled() => Err("it printed more than is allowed".to_owned()),
                what = self.too_much(&scale) => Err(what),
            };
            process.kill();
            let _used = self.end(&mut process).await;
            ended
        };
        let (ended, ()) = tokio::join!(end, listen);
        match ended {
            Ok(Ok(Ok(status))) if status.success() => Ok(()),
            Ok(Ok(Ok(status))) => Err(format!("{status}: {}", output.last_lines(LAST_LINES))),
            Ok(Ok(Err(error))) => Err(error.to_string()),
            Ok(Err(_elapsed)) => Err(format!("it took longer than {}", humantime::format_duration(limit))),
            Err(too_much) => Err(too_much),
        }
    }
}

/// Gives a tree to a user. Links are given, never followed.
fn hand_over(path: &Path, uid: Option<u32>) -> std::io::Result<()> {
    let Some(uid) = uid else { return Ok(()) };
    lchown(path, Some(uid), Some(uid))?;
    if path.symlink_metadata()?.is_dir() {
        for entry in std::fs::read_dir(path)? {
            hand_over(&entry?.path(), Some(uid))?;
        }
    }
    Ok(())
}
