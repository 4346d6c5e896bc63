//! The settings deployment files make, read by the very programs they are for.

use super::compose::{Service, Stack};
use super::dockerfile::program;
use super::fly::App;
use super::kubernetes::Pod;
use crate::run;
use std::collections::BTreeMap;
use std::path::PathBuf;
use std::process::Command;
use std::time::Duration;

/// Where containers see their secrets.
const SECRETS: &str = "/run/secrets";

/// The services' programs, and secrets to try them with.
pub struct Programs {
    folder: PathBuf,
    secrets: PathBuf,
}

/// What a service makes of its settings.
pub struct InForce {
    /// Time between the signal and the hard stop.
    pub grace: Duration,
    /// What it was told of the time between the platform's signal and its kill; nothing when it was not.
    pub kill_after: Duration,
    /// The admin port.
    pub admin: u16,
}

impl Programs {
    /// Programs in a folder; `secrets` is filled as the `init` of compose fills it.
    pub fn new(folder: PathBuf, secrets: PathBuf) -> Self {
        Self { folder, secrets }
    }

    /// Asks a service whether it accepts these settings, and what is then in force.
    ///
    /// # Errors
    /// What it complained about.
    fn ask(&self, service: &str, env: &BTreeMap<String, String>) -> Result<InForce, String> {
        let mut command = Command::new(self.folder.join(service));
        command.arg("--check-config").env_clear().envs(env);
        run::captured(&mut command).map_err(|error| error.to_string())?;
        let mut command = Command::new(self.folder.join(service));
        command.arg("--print-config").env_clear().envs(env);
        let printed = run::captured(&mut command).map_err(|error| error.to_string())?;
        let table: toml::Table = printed
            .parse()
            .map_err(|error| format!("what it prints is no TOML: {error}"))?;
        let admin = table["admin"]["listen"].as_str().unwrap_or_default();
        Ok(InForce {
            grace: span(&table, "grace")?,
            kill_after: span(&table, "kill_after")?,
            admin: port(admin).ok_or_else(|| format!("admin.listen {admin:?} has no port"))?,
        })
    }

    /// The environment of a service as its container has it, with its secrets where they are here.
    fn localized(&self, service: Service<'_>, findings: &mut Vec<String>) -> BTreeMap<String, String> {
        let own = self.secrets.join(service.secrets().unwrap_or(service.name));
        for name in named_files(service) {
            if !own.join(&name).is_file() {
                findings.push(format!(
                    "{}: reads {SECRETS}/{name}, which `steward init` does not make",
                    service.name
                ));
            }
        }
        let here = own.to_string_lossy();
        service
            .environment()
            .map(|(name, value)| (name.to_owned(), value.replace(SECRETS, &here)))
            .collect()
    }
}

/// A span of `[shutdown]`.
fn span(table: &toml::Table, key: &str) -> Result<Duration, String> {
    let text = table["shutdown"][key].as_str().unwrap_or_default();
    humantime::parse_duration(text).map_err(|error| format!("shutdown.{key} {text:?}: {error}"))
}

impl InForce {
    /// What is wrong with how long the platform waits for a stop, if anything is.
    fn stop(&self, setting: &str, platform: Option<Duration>) -> Option<String> {
        let platform = platform.unwrap_or_default();
        if platform <= self.grace {
            let grace = self.grace;
            return Some(format!(
                "{setting} is not longer than shutdown.grace ({grace:?}): a stop would be cut off"
            ));
        }
        (platform != self.kill_after).then(|| {
            let told = self.kill_after;
            format!(
                "{setting} is {platform:?}, but STEWARD__SHUTDOWN__KILL_AFTER says {told:?}: a grace too long would start"
            )
        })
    }
}

fn port(listen: &str) -> Option<u16> {
    listen.rsplit_once(':')?.1.parse().ok()
}

/// The files below [`SECRETS`] that a service's environment and command name.
fn named_files(service: Service<'_>) -> Vec<String> {
    let mut texts: Vec<String> = service.environment().map(|(_, value)| value).collect();
    texts.push(service.keys["command"].to_string());
    let start = format!("{SECRETS}/");
    let letters = |letter: char| letter.is_ascii_alphanumeric() || "_.-".contains(letter);
    texts
        .iter()
        .flat_map(|text| text.split(start.as_str()).skip(1))
        .map(|rest| {
            rest.split(|letter| !letters(letter))
                .next()
                .unwrap_or_default()
                .to_owned()
        })
        .filter(|name| !name.is_empty() && name != "passwords")
        .collect()
}

/// Checks the settings of every service of a stack.
pub fn of_compose(shown: &str, stack: &Stack, programs: &Programs) -> Vec<String> {
    let mut findings = Vec::new();
    for service in stack.services().filter(|service| service.name != "init") {
        let env = programs.localized(service, &mut findings);
        if program(service.name).is_none() {
            continue;
        }
        match programs.ask(service.name, &env) {
            Err(error) => findings.push(format!("{}: {error}", service.name)),
            Ok(known) => {
                let wrong = known.stop("stop_grace_period", service.stop_grace());
                findings.extend(wrong.map(|wrong| format!("{}: {wrong}", service.name)));
            }
        }
    }
    findings
        .into_iter()
        .map(|finding| format!("{shown}: {finding}"))
        .collect()
}

/// Checks the settings of an app of one service.
pub fn of_fly(app: &App, programs: &Programs) -> Vec<String> {
    let Some(service) = app.target().and_then(program) else {
        return Vec::new();
    };
    let mut env = app.environment();
    env.extend(app.secrets().into_iter().map(|name| {
        let value = stand_in(&name);
        (name, value)
    }));
    env.retain(|name, _| name.starts_with("STEWARD__"));
    let say = |what: String| vec![format!("{}: {what}", app.shown)];
    let known = match programs.ask(service, &env) {
        Ok(known) => known,
        Err(error) => return say(error),
    };
    let mut findings = Vec::new();
    findings.extend(known.stop("kill_timeout", app.kill_timeout()).into_iter().flat_map(say));
    for (what, port) in [("checks.ready", app.ready_port()), ("metrics", app.metrics_port())] {
        if port != Some(known.admin) {
            findings.extend(say(format!(
                "{what} asks port {port:?}, but the admin port is {}",
                known.admin
            )));
        }
    }
    findings
}

/// Checks the settings of a pod of one executor.
pub fn of_pod(shown: &str, pod: &Pod, programs: &Programs) -> Vec<String> {
    let mut env = pod.environment();
    let token = "STEWARD__SCHEDULER__TOKEN";
    env.insert(token.to_owned(), stand_in(token));
    let wrong = match programs.ask("executor", &env) {
        Ok(known) => known.stop("terminationGracePeriodSeconds", pod.stop_grace()),
        Err(error) => Some(error),
    };
    wrong.map(|wrong| format!("{shown}: {wrong}")).into_iter().collect()
}

/// A value of the right shape for a secret that only its owner knows.
fn stand_in(name: &str) -> String {
    match name {
        "STEWARD__DATABASE__URL" => "postgres://role:password@db.internal:5432/steward".into(),
        "STEWARD__REDIS__URL" => "rediss://:password@redis.internal:6379".into(),
        "STEWARD__UPSTREAMS" => {
            r#"[{name = "openai", base_url = "https://api.openai.com/v1", api_key = "k", models = ["*"]}]"#.into()
        }
        other => format!("{other}-0123456789abcdef0123456789abcdef"),
    }
}

#[cfg(test)]
mod tests {
    use super::super::compose::parse;
    use super::*;

    #[test]
    fn a_platform_that_kills_too_soon_or_otherwise_than_told_is_found() {
        let seconds = Duration::from_secs;
        let known = InForce {
            grace: seconds(40),
            kill_after: seconds(60),
            admin: 1,
        };
        let said = |platform| known.stop("kill_timeout", platform).unwrap_or_default();
        assert_eq!(said(Some(seconds(60))), "");
        for (platform, word) in [
            (None, "cut off"),
            (Some(seconds(40)), "cut off"),
            (Some(seconds(50)), "KILL_AFTER"),
        ] {
            assert!(said(platform).contains(word), "{}", said(platform));
        }
    }

    #[test]
    fn every_secret_file_a_service_names_is_found() {
        let text = "services: {a: {command: [x, --f=/run/secrets/one], environment: {A: /run/secrets/two.key, \
                    B: 'k = {file = \"/run/secrets/three\"}', C: /run/secretsfour}}}";
        let stack = parse(text).unwrap();
        let mut names = named_files(stack.service("a").unwrap());
        names.sort();
        assert_eq!(names, ["one", "three", "two.key"]);
    }
}
