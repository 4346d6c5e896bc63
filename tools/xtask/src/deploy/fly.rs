//! The Fly files: one app for everything, and one app per service.

use super::dockerfile::Dockerfile;
use crate::workspace;
use anyhow::{Context, Result};
use std::collections::{BTreeMap, BTreeSet};
use std::path::{Component, Path, PathBuf};
use std::time::Duration;
use toml::Value;

/// The app that is everything.
const WHOLE: &str = "fly.toml";
/// The service whose release brings the database to its schema.
const MIGRATES: &str = "scheduler";
/// The apps with a port for everybody.
const PUBLIC: [&str; 2] = ["ingress", "machine"];
/// The longest the platform waits for a stop.
const LONGEST_KILL: Duration = Duration::from_secs(300);

/// One Fly file.
pub struct App {
    /// Its path, as people name it.
    pub shown: String,
    text: String,
    table: toml::Table,
}

impl App {
    /// Reads a file below the root.
    ///
    /// # Errors
    /// When it is missing or no TOML.
    pub fn read(root: &Path, shown: &str) -> Result<Self> {
        Self::parse(shown, &workspace::read(&root.join(shown))?)
    }

    fn parse(shown: &str, text: &str) -> Result<Self> {
        Ok(Self {
            shown: shown.to_owned(),
            text: text.to_owned(),
            table: text.parse().with_context(|| format!("parse {shown}"))?,
        })
    }

    fn at(&self, path: &str) -> Option<&Value> {
        let mut keys = path.split('.');
        let first = self.table.get(keys.next()?)?;
        keys.try_fold(first, |value, key| value.get(key))
    }

    fn text_at(&self, path: &str) -> &str {
        self.at(path).and_then(Value::as_str).unwrap_or_default()
    }

    /// The image it runs.
    pub fn target(&self) -> Option<&str> {
        self.at("build.build-target")?.as_str()
    }

    /// `[env]`.
    pub fn environment(&self) -> BTreeMap<String, String> {
        let table = self.at("env").and_then(Value::as_table).into_iter().flatten();
        let text = |value: &Value| value.as_str().map_or_else(|| value.to_string(), str::to_owned);
        table.map(|(name, value)| (name.clone(), text(value))).collect()
    }

    /// The secrets its comments tell the operator to set: words in capitals at the begin of a comment. A setting that is
    /// commented out is none.
    pub fn secrets(&self) -> BTreeSet<String> {
        let comments = self.text.lines().filter_map(|line| line.strip_prefix("# "));
        let name = |line: &str| {
            let mut words = line.split_whitespace();
            let word = words.next().filter(|_| words.next() != Some("="))?;
            let capitals = word.len() > 8 && word.chars().all(|letter| letter.is_ascii_uppercase() || letter == '_');
            capitals.then(|| word.to_owned())
        };
        comments.filter_map(name).collect()
    }

    /// Time between the signal and the end.
    pub fn kill_timeout(&self) -> Option<Duration> {
        match self.at("kill_timeout")? {
            Value::Integer(seconds) => Some(Duration::from_secs(u64::try_from(*seconds).ok()?)),
            other => humantime::parse_duration(other.as_str()?).ok(),
        }
    }

    /// The port that is asked whether the service is ready.
    pub fn ready_port(&self) -> Option<u16> {
        u16::try_from(self.at("checks.ready.port")?.as_integer()?).ok()
    }

    /// The port that is scraped.
    pub fn metrics_port(&self) -> Option<u16> {
        u16::try_from(self.at("metrics.port")?.as_integer()?).ok()
    }

    /// The Dockerfile, which is named from the file's own folder.
    fn dockerfile(&self) -> PathBuf {
        let folder = Path::new(&self.shown).parent().unwrap_or(Path::new(""));
        let mut path = PathBuf::new();
        for part in folder.join(self.text_at("build.dockerfile")).components() {
            match part {
                Component::ParentDir => drop(path.pop()),
                other => path.push(other),
            }
        }
        path
    }
}

/// Checks all apps; `exists` tells whether a path below the root is there.
pub fn check_all(apps: &[App], recipe: &Dockerfile, exists: impl Fn(&str) -> bool) -> Vec<String> {
    let mut findings: Vec<String> = apps
        .iter()
        .flat_map(|app| {
            problems(app, recipe, &exists)
                .into_iter()
                .map(|problem| format!("{}: {problem}", app.shown))
        })
        .collect();
    let names: BTreeSet<&str> = apps.iter().map(|app| app.text_at("app")).collect();
    for app in apps {
        findings.extend(unknown_peers(app, &names));
    }
    for service in ["ingress", "scheduler", "executor", "billing", "console"] {
        if !apps
            .iter()
            .any(|app| app.shown != WHOLE && app.target() == Some(service))
        {
            findings.push(format!("docker/fly: no app for {service}"));
        }
    }
    findings
}

fn problems(app: &App, recipe: &Dockerfile, exists: impl Fn(&str) -> bool) -> Vec<String> {
    let mut problems = Vec::new();
    let mut want = |kept: bool, rule: &str| {
        if !kept {
            problems.push(rule.to_owned());
        }
    };
    let target = app.target().unwrap_or_default();
    let dockerfile = app.dockerfile();
    want(
        recipe.has(target),
        &format!("builds `{target}`, which the Dockerfile has not"),
    );
    want(
        exists(&dockerfile.to_string_lossy()),
        &format!("names {}, which does not exist", dockerfile.display()),
    );
    want(
        app.text_at("kill_signal") == "SIGTERM",
        "must be stopped by SIGTERM (kill_signal)",
    );
    want(
        app.kill_timeout().is_some_and(|timeout| timeout <= LONGEST_KILL),
        "kill_timeout is missing, or longer than the 300s the platform allows",
    );
    want(
        app.text_at("deploy.strategy") == "rolling",
        "must be updated one by one (deploy.strategy)",
    );
    want(
        app.at("deploy.release_command").is_some() == (target == MIGRATES),
        "only the scheduler has a release command",
    );
    let release = app.text_at("deploy.release_command");
    want(
        target != MIGRATES || release.split(' ').next() == Some("steward"),
        "its release command is `steward …`, which its image has",
    );
    let public = ["http_service", "services"].iter().any(|key| app.at(key).is_some());
    want(public == PUBLIC.contains(&target), "only the door has a public port");
    want(
        !public || app.at("http_service.force_https") == Some(&Value::Boolean(true)),
        "must force https",
    );
    let stops = app.text_at("http_service.auto_stop_machines");
    want(
        !public || stops == "off",
        "must not be put to sleep: webhooks come at any time",
    );
    want(
        !public
            || app
                .at("http_service.checks")
                .and_then(Value::as_array)
                .is_some_and(|checks| !checks.is_empty()),
        "its public port is not checked",
    );
    if app.shown == WHOLE {
        want(app.at("mounts.destination").is_some(), "has no volume");
        want(target == "machine", "must run everything (build-target machine)");
        let command = app.text_at("processes.app");
        let kept = app.text_at("mounts.destination");
        want(
            command.contains("up --live") && command.contains(&format!("--dir {kept}/")),
            "must run `steward up --live` in a folder of its volume",
        );
    } else {
        want(
            app.text_at("checks.ready.path") == "/ready",
            "is not asked whether it is ready",
        );
        want(app.text_at("metrics.path") == "/metrics", "is not scraped");
    }
    problems
}

/// Addresses on the private network are names of apps.
fn unknown_peers(app: &App, names: &BTreeSet<&str>) -> Vec<String> {
    let environment = app.environment();
    let hosts = environment.values().filter_map(|value| {
        let (_, rest) = value.split_once("://")?;
        rest.split([':', '/']).next()?.strip_suffix(".internal")
    });
    hosts
        .filter(|host| !names.contains(host))
        .map(|host| format!("{}: calls {host}.internal, but no app here has that name", app.shown))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    const RECIPE: &str = include_str!("../../../../docker/Dockerfile");
    const SCHEDULER: &str = include_str!("../../../../docker/fly/scheduler.toml");
    const DOOR: &str = include_str!("../../../../docker/fly/ingress.toml");
    const ALL: &str = include_str!("../../../../fly.toml");

    fn found(shown: &str, text: &str) -> String {
        let app = App::parse(shown, text).unwrap();
        problems(&app, &Dockerfile::parse(RECIPE), |path| path == "docker/Dockerfile").join("\n")
    }

    #[test]
    fn the_shipped_apps_keep_every_rule() {
        assert_eq!(found("docker/fly/scheduler.toml", SCHEDULER), "");
        assert_eq!(found("docker/fly/ingress.toml", DOOR), "");
        assert_eq!(found("fly.toml", ALL), "");
    }

    #[test]
    fn every_rule_is_missed_when_it_is_broken() {
        let scheduler = ("docker/fly/scheduler.toml", SCHEDULER);
        let door = ("docker/fly/ingress.toml", DOOR);
        let all = ("fly.toml", ALL);
        for ((shown, text), from, to, word) in [
            (
                scheduler,
                "build-target = \"scheduler\"",
                "build-target = \"planner\"",
                "planner",
            ),
            (scheduler, "../Dockerfile", "Dockerfile", "docker/fly/Dockerfile"),
            (scheduler, "SIGTERM", "SIGINT", "SIGTERM"),
            (scheduler, "kill_timeout = \"40s\"", "kill_timeout = 400", "300s"),
            (scheduler, "rolling", "immediate", "one by one"),
            (
                scheduler,
                "release_command = \"steward",
                "release_command = \"scheduler",
                "which its image has",
            ),
            (scheduler, "path = \"/ready\"", "path = \"/\"", "ready"),
            (scheduler, "[metrics]", "[[services]]\n[metrics]", "public port"),
            (scheduler, "path = \"/metrics\"", "", "scraped"),
            (
                door,
                "[deploy]",
                "[deploy]\nrelease_command = \"steward migrate\"",
                "only the scheduler",
            ),
            (door, "force_https = true", "", "https"),
            (
                door,
                "auto_stop_machines = \"off\"",
                "auto_stop_machines = \"stop\"",
                "sleep",
            ),
            (all, "up --live", "up", "up --live"),
            (
                all,
                "destination = \"/data\"",
                "destination = \"/other\"",
                "folder of its volume",
            ),
        ] {
            assert!(text.contains(from), "{from} is no longer in {shown}");
            let found = found(shown, &text.replace(from, to));
            assert!(found.contains(word), "{from}: {found}");
        }
    }

    #[test]
    fn secrets_are_read_from_the_comments_and_peers_must_be_apps() {
        let app = App::parse("docker/fly/scheduler.toml", SCHEDULER).unwrap();
        assert!(
            app.secrets().contains("STEWARD__KEYS__MARKETPLACE"),
            "{:?}",
            app.secrets()
        );
        assert!(app.secrets().contains("DATABASE_URL"));
        let commented = App::parse("x", &format!("# STEWARD__ADMIN__LISTEN = \"[::]:1\"\n{SCHEDULER}")).unwrap();
        assert_eq!(commented.secrets(), app.secrets());
        let alone = unknown_peers(&app, &BTreeSet::from(["steward-scheduler"]));
        assert_eq!(alone.len(), 1, "{alone:?}");
        assert_eq!(
            unknown_peers(&app, &BTreeSet::from(["steward-billing"])),
            Vec::<String>::new()
        );
    }
}
