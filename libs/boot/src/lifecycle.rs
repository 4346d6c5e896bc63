//! The life of a process once its configuration is known: telemetry, admin port, service, stop, drain, flush.

use std::io::Write as _;
use std::pin::pin;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Instant;

use telemetry::Telemetry;
use tokio::task::JoinHandle;
use tokio::time::timeout;

use crate::admin::{self, Admin};
use crate::backoff::ConnectError;
use crate::context::{Context, DRAINING_LATCH, SERVICE_LATCH};
use crate::entry::Service;
use crate::metric_names::{self, BUILD_INFO};
use crate::settings::Settings;
use crate::stop::Stop;
use crate::tasks::{self, AFTER_HARD, Tasks};

/// How a process ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Exit {
    /// Asked to stop, and did; or did what it was asked to print. Code 0.
    Clean,
    /// Could not start, or a part of it died. Code 1.
    Failed,
    /// The configuration or the arguments cannot be used. Code 64.
    Config,
}

impl Exit {
    /// The exit code.
    #[must_use]
    pub const fn code(self) -> u8 {
        match self {
            Self::Clean => 0,
            Self::Failed => 1,
            Self::Config => 64,
        }
    }
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> Self {
        Self::from(exit.code())
    }
}

/// What is known before anything is opened.
pub(crate) struct Start<C> {
    pub(crate) service: Service,
    pub(crate) config: C,
}

/// Runs a service from its telemetry to the end of its tasks. The telemetry is given back to be flushed.
pub(crate) async fn live<C, F, Fut>(start: Start<C>, stop: Stop, run: F) -> (Exit, Option<Telemetry>)
where
    C: Settings,
    F: FnOnce(Context<C>) -> Fut + Send + 'static,
    Fut: Future<Output = anyhow::Result<()>> + Send + 'static,
{
    let mut context = Context::new(&start.service, start.config);
    let telemetry = match telemetry::init(&options(&context)) {
        Ok(telemetry) => telemetry,
        Err(error) => {
            // There are no logs yet; if nobody reads this either, the exit code says it.
            let _nobody_reads = writeln!(std::io::stderr(), "{}: {error}", context.service);
            return (Exit::Failed, None);
        }
    };
    announce(&context);
    let exit = supervise(&mut context, &telemetry, stop, run).await;
    tracing::info!(code = exit.code(), "stopped");
    (exit, Some(telemetry))
}

/// Makes a panic anywhere one log line that names its place, instead of text in between the lines.
pub(crate) fn log_panics() {
    std::panic::set_hook(Box::new(|panic| {
        let place = panic.location().map(ToString::to_string).unwrap_or_default();
        let message = panic.payload_as_str().unwrap_or_default();
        tracing::error!(place, message, "a thread panicked");
    }));
}

fn options<C: Settings>(context: &Context<C>) -> telemetry::Options {
    let common = context.config.common();
    telemetry::Options {
        service: context.service.to_owned(),
        version: context.build.version.clone(),
        instance: context.instance.to_string(),
        log_filter: common.log.filter.clone(),
        log_format: common.log.format,
        otlp_endpoint: common.telemetry.otlp_endpoint.clone(),
        sample_ratio: common.telemetry.sample_ratio,
    }
}

/// Says what is running and how it is set, once.
fn announce<C: Settings>(context: &Context<C>) {
    metric_names::describe();
    let build = &context.build;
    let labels = [
        ("service", build.service.clone()),
        ("version", build.version.clone()),
        ("git_sha", build.git_sha.clone()),
        ("dirty", build.dirty.to_string()),
    ];
    metrics::gauge!(BUILD_INFO, &labels).set(1.0);
    let config = serde_json::to_string(&*context.config).unwrap_or_default();
    tracing::info!(
        git_sha = build.git_sha,
        built_at = build.built_at,
        dirty = build.dirty,
        config,
        "starting"
    );
}

/// Opens the admin port, starts the service, and waits for its end or the wish for it.
async fn supervise<C, F, Fut>(context: &mut Context<C>, telemetry: &Telemetry, mut stop: Stop, run: F) -> Exit
where
    C: Settings,
    F: FnOnce(Context<C>) -> Fut + Send + 'static,
    Fut: Future<Output = anyhow::Result<()>> + Send + 'static,
{
    let _closed_until_ready = context.readiness.latch(SERVICE_LATCH);
    let listener = match context.bind("admin", &context.config.common().admin.listen).await {
        Ok(listener) => listener,
        Err(error) => {
            tracing::error!(%error, "the admin port cannot be opened");
            return Exit::Failed;
        }
    };
    context.admin_address = listener.local_addr().ok();
    let context = &*context;
    let admin = Admin {
        readiness: context.readiness.clone(),
        build: Arc::clone(&context.build),
        facts: context.facts.clone(),
        telemetry: telemetry.clone(),
        started: Instant::now(),
    };
    let _serving = admin::serve(listener, admin);
    let service = tasks::spawn(run(context.clone()));
    let abort = service.abort_handle();
    let mut work = pin!(work(service, context.tasks.clone()));
    let early = tokio::select! {
        exit = &mut work => Some(exit),
        from = stop.asked() => {
            tracing::info!(from, "asked to stop: draining");
            None
        }
        () = context.soft.cancelled() => None,
    };
    context.soft.cancel();
    context.readiness.latch(DRAINING_LATCH).close();
    let rest = async {
        let exit = match early {
            Some(exit) => exit,
            None => work.await,
        };
        context.tasks.ended_all().await;
        exit
    };
    let drained = drain(context, stop, rest).await;
    abort.abort();
    match (drained, context.tasks.failure()) {
        (_, Some(failure)) => {
            tracing::error!(failure, "stopped because a task died");
            Exit::Failed
        }
        (Some(exit), None) => exit,
        (None, None) => Exit::Failed,
    }
}

/// Waits for the service: its own end, and when that is good, the end of its tasks.
async fn work(service: JoinHandle<anyhow::Result<()>>, tasks: Tasks) -> Exit {
    match service.await {
        Ok(Ok(())) => {
            tasks.ended_all().await;
            Exit::Clean
        }
        Ok(Err(error)) if error.chain().any(stopped_while_connecting) => {
            tracing::info!(reason = format!("{error:#}"), "stopped before the service was up");
            Exit::Clean
        }
        Ok(Err(error)) => {
            tracing::error!(error = format!("{error:#}"), "service failed");
            Exit::Failed
        }
        Err(error) => {
            tracing::error!(%error, "service died");
            Exit::Failed
        }
    }
}

fn stopped_while_connecting(cause: &(dyn std::error::Error + 'static)) -> bool {
    matches!(cause.downcast_ref(), Some(ConnectError::Stopped { .. }))
}

/// Waits for what is begun: until the grace is over or a second signal comes, then a moment longer after the hard stop.
/// `None` when something had to be dropped.
async fn drain<C: Settings>(context: &Context<C>, mut stop: Stop, rest: impl Future<Output = Exit>) -> Option<Exit> {
    let grace = context.config.common().shutdown.grace;
    let mut rest = pin!(rest);
    let reason = tokio::select! {
        exit = &mut rest => return Some(exit),
        from = stop.asked() => from,
        () = tokio::time::sleep(grace) => "the grace is over",
    };
    tracing::warn!(reason, left = context.tasks.len(), "stopping now");
    context.hard.cancel();
    if let Ok(exit) = timeout(AFTER_HARD, rest).await {
        return Some(exit);
    }
    tracing::error!(left = context.tasks.len(), "dropping what did not end");
    context.tasks.abort();
    None
}
