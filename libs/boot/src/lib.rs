//! What every process does before and after its work.
//!
//! One start order for all: arguments, configuration (embedded defaults, file, environment; validated, printed
//! redacted), telemetry, admin port (live, not ready), service, ready, signal, drain, flush, exit code.
//!
//! What it promises:
//! - A configuration error ends the process with 64 before anything is opened, and names key and source. Unknown keys
//!   are errors, whether the configuration's types refuse them or not.
//! - A [`Secret`] never appears in a log line, a `Debug`, or a printed configuration.
//! - `/ready` answers 503 until every latch is open ([`Readiness`]), and again from the moment a stop is asked for.
//! - The first SIGTERM or SIGINT cancels the soft token (finish what is begun), the second, or the end of
//!   `shutdown.grace`, the hard one (drop it). A supervised task that dies stops the service.
//! - Exit codes: 0 clean stop, 1 start-up failure or a task that died, 64 configuration or usage error.
//!
//! What it does not do: it opens no database and no stream; services bring those, under [`Context::connect`]. It
//! defines no setting of any service.
//!
//! A service is a library with `run(ctx)` and a `main.rs` like this:
//!
//! ```text
//! fn main() -> std::process::ExitCode {
//!     let service = boot::Service {
//!         name: "ingress",
//!         defaults: include_str!("../config.default.toml"),
//!         build: boot::build_info!(),
//!     };
//!     boot::main(service, ingress::run)
//! }
//! ```
//!
//! `run` binds its listeners, connects, spawns its tasks under [`Context::tasks`], calls [`Context::ready`], and
//! returns at once or after the soft token is cancelled; the process lives until all tasks have ended.
//!
//! To add one more thing every process needs, give it a section in `sections.rs` and a step in `lifecycle.rs`.

mod admin;
mod args;
mod backoff;
mod build_info;
mod checks;
mod context;
mod entry;
mod lifecycle;
mod metric_names;
mod ports;
mod probe;
mod readiness;
mod secret;
mod sections;
mod settings;
mod stop;
mod tasks;

pub use tokio_util::sync::CancellationToken;

pub use backoff::{ConnectError, connect_with_backoff};
pub use build_info::{Build, BuildInfo, Facts};
pub use checks::Checks;
pub use context::Context;
pub use entry::{Invocation, Service, main, run_with};
pub use lifecycle::Exit;
pub use ports::{BindError, bind};
pub use readiness::{Latch, Readiness};
pub use secret::Secret;
pub use sections::{Admin, Common, Log, Runtime, Shutdown, Telemetry};
pub use settings::{ConfigError, ENV_PREFIX, Settings, load, redacted};
pub use stop::{Stop, StopHandle};
pub use tasks::{Job, OnExit, Outcome, Restart, Tasks};
