//! The executor's process: also the launcher that locks an agent in, and an agent without code, when started by itself.

use std::process::ExitCode;

fn main() -> ExitCode {
    if let Some(code) = executor::sandbox::launched() {
        return code;
    }
    if let Some(code) = executor::doctor::asked() {
        return code;
    }
    if let Some(code) = executor::adapters::started() {
        return code;
    }
    let service = boot::Service {
        name: "executor",
        defaults: executor::DEFAULTS,
        build: boot::build_info!(),
    };
    boot::main(service, executor::run)
}
