//! A test's body with a stack around it.

use std::panic::{AssertUnwindSafe, resume_unwind};
use std::path::{Path, PathBuf};
use std::time::Instant;

use anyhow::Result;
use futures_util::FutureExt as _;

use crate::diagnosis;
use crate::stack::Stack;

/// How a stack is started.
#[derive(Debug, Clone, Default)]
pub struct Options {
    /// Its agents.
    pub agents: Vec<PathBuf>,
    /// How many of a service, where not one.
    pub replicas: Vec<(&'static str, usize)>,
    /// Requests a minute; the simulated default is too many to notice.
    pub rate_limit: Option<u32>,
    /// Without a public door.
    pub poll: bool,
    /// Agents are treated as live ones, and brought to the simulator by hand.
    pub rehearse: bool,
    /// Environment of the supervisor, such as another `REDIS_URL`.
    pub env: Vec<(String, String)>,
    /// An operator's own settings by service, as TOML.
    pub settings: Vec<(&'static str, String)>,
}

impl Options {
    /// One agent out of `agents/`.
    #[must_use]
    pub fn with_agent(name: &str) -> Self {
        Self {
            agents: vec![agent(name)],
            ..Self::default()
        }
    }

    /// With this much of a service.
    #[must_use]
    pub fn replicas(mut self, service: &'static str, count: usize) -> Self {
        self.replicas.push((service, count));
        self
    }

    /// With these settings of a service.
    #[must_use]
    pub fn settings(mut self, service: &'static str, settings: impl Into<String>) -> Self {
        self.settings.push((service, settings.into()));
        self
    }

    /// The arguments that say so.
    pub(crate) fn words(&self) -> Vec<String> {
        let agents = self
            .agents
            .iter()
            .flat_map(|file| ["--agent".to_owned(), file.display().to_string()]);
        let replicas = self.replicas.iter();
        let replicas = replicas.flat_map(|(service, count)| ["--replicas".to_owned(), format!("{service}={count}")]);
        let limit = self.rate_limit.iter();
        let limit = limit.flat_map(|limit| ["--rate-limit".to_owned(), limit.to_string()]);
        let poll = self.poll.then(|| "--poll".to_owned());
        let rehearse = self.rehearse.then(|| "--rehearse".to_owned());
        agents
            .chain(replicas)
            .chain(limit)
            .chain(poll)
            .chain(rehearse)
            .collect()
    }
}

/// The file of an agent in `agents/`.
#[must_use]
pub fn agent(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("agents")
        .join(name)
        .join("agent.toml")
}

/// Starts a stack, plays, stops it. When the play fails, everything that is known about the stack is printed first.
///
/// # Errors
/// When the stack cannot be started or stopped in order, or the play fails.
pub async fn run(options: Options, play: impl AsyncFnOnce(&mut Stack) -> Result<()>) -> Result<()> {
    let begun = Instant::now();
    let mut stack = Stack::up(&options).await?;
    let ready = begun.elapsed();
    let played = AssertUnwindSafe(play(&mut stack)).catch_unwind().await;
    if !matches!(played, Ok(Ok(()))) {
        diagnosis::everything(&stack).await;
    }
    let over = begun.elapsed();
    match played {
        Ok(Ok(())) => {
            stack.stop().await.inspect_err(|_| diagnosis::logs(&stack))?;
            let (played, stopped) = (over - ready, begun.elapsed() - over);
            drop(stack);
            let all = begun.elapsed();
            let parts = format!("ready after {ready:.1?}, played for {played:.1?}, stopped in {stopped:.1?}");
            diagnosis::print(&format!("{parts}, {all:.1?} in all\n"));
            Ok(())
        }
        Ok(Err(error)) => Err(error),
        Err(panic) => resume_unwind(panic),
    }
}
