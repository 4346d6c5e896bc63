//! `cargo xtask setup`: installs what is missing, or says the line to type.

use crate::{programs, run};
use anyhow::{Result, bail};
use std::path::Path;
use std::process::Command;

/// Something the demo and the tests need.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Need {
    Postgres,
    Redis,
    Python,
    Certificates,
}

/// How this system gets programs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Installer {
    Apt,
    Brew,
    None,
}

/// Installs what is missing; does nothing and says nothing when all is there.
///
/// # Errors
/// When something is still missing afterwards; the message says what to type.
pub fn run() -> Result<()> {
    let missing = missing();
    if missing.is_empty() {
        return Ok(());
    }
    let installer = installer();
    let packages: Vec<&str> = missing.iter().map(|need| package(*need, installer)).collect();
    eprintln!("── set-up: installing {}", packages.join(" "));
    match installer {
        Installer::Apt => apt(&packages)?,
        Installer::Brew => run::step("brew", Command::new("brew").arg("install").args(&packages))?,
        Installer::None => bail!(
            "this system is neither Debian-like nor macOS with Homebrew: install {}",
            wanted(&missing)
        ),
    }
    let still = self::missing();
    if still.is_empty() {
        return Ok(());
    }
    bail!(
        "still missing after the installation: {}\n{}",
        wanted(&still),
        newer(&still, installer)
    )
}

/// Installs the test runner when it is absent.
///
/// # Errors
/// When the installation fails.
pub fn nextest(root: &Path) -> Result<()> {
    if programs::on_path("cargo-nextest") {
        return Ok(());
    }
    run::step(
        "install cargo-nextest",
        run::cargo(root).args(["install", "--locked", "cargo-nextest"]),
    )
}

/// Installs bubblewrap where there is apt and none yet: what the sandbox is measured beside. Elsewhere it is left out.
///
/// # Errors
/// When the installation fails.
pub fn bubblewrap() -> Result<()> {
    if installer() != Installer::Apt || programs::on_path("bwrap") {
        return Ok(());
    }
    eprintln!("── set-up: installing bubblewrap");
    apt(&["bubblewrap"])
}

fn missing() -> Vec<Need> {
    let mut missing = Vec::new();
    if programs::postgres().is_none_or(|found| found.major < programs::POSTGRES) {
        missing.push(Need::Postgres);
    }
    if programs::redis().is_none_or(|(_, major)| major < programs::REDIS) {
        missing.push(Need::Redis);
    }
    if !programs::on_path("python3") {
        missing.push(Need::Python);
    }
    let bundles = [
        "/etc/ssl/certs/ca-certificates.crt",
        "/etc/ssl/cert.pem",
        "/etc/pki/tls/certs/ca-bundle.crt",
    ];
    if !bundles.iter().any(|bundle| Path::new(bundle).exists()) {
        missing.push(Need::Certificates);
    }
    missing
}

fn installer() -> Installer {
    if cfg!(target_os = "macos") {
        if programs::on_path("brew") {
            Installer::Brew
        } else {
            Installer::None
        }
    } else if programs::on_path("apt-get") {
        Installer::Apt
    } else {
        Installer::None
    }
}

fn package(need: Need, installer: Installer) -> &'static str {
    match (need, installer) {
        (Need::Postgres, Installer::Brew) => "postgresql@17",
        (Need::Postgres, _) => "postgresql",
        (Need::Redis, Installer::Brew) => "redis",
        (Need::Redis, _) => "redis-server",
        (Need::Python, _) => "python3",
        (Need::Certificates, _) => "ca-certificates",
    }
}

fn apt(packages: &[&str]) -> Result<()> {
    let line = format!("apt-get install -y --no-install-recommends {}", packages.join(" "));
    let mut prefix = vec!["env", "DEBIAN_FRONTEND=noninteractive"];
    if !crate::services::is_root() {
        if !programs::on_path("sudo") {
            bail!("not root and no sudo here; as root: apt-get update && {line}");
        }
        prefix.insert(0, "sudo");
    }
    let as_root = |words: &str| {
        let mut command = Command::new(prefix[0]);
        command.args(&prefix[1..]).args(words.split(' '));
        command
    };
    let told = |error: anyhow::Error| error.context(format!("by hand: sudo apt-get update && sudo {line}"));
    run::step("apt-get update", &mut as_root("apt-get update -q")).map_err(told)?;
    run::step("apt-get install", &mut as_root(&line)).map_err(told)
}

fn wanted(needs: &[Need]) -> String {
    let name = |need: &Need| match need {
        Need::Postgres => format!("PostgreSQL {} or newer (server, initdb, psql)", programs::POSTGRES),
        Need::Redis => format!("Redis {} or newer, or Valkey", programs::REDIS),
        Need::Python => "python3".to_owned(),
        Need::Certificates => "the bundle of root certificates".to_owned(),
    };
    needs.iter().map(name).collect::<Vec<_>>().join(", ")
}

/// Where newer packages come from when the distribution's own are too old.
fn newer(needs: &[Need], installer: Installer) -> String {
    if installer != Installer::Apt {
        return String::new();
    }
    let mut lines = Vec::new();
    if needs.contains(&Need::Postgres) {
        lines.push(
            "sudo apt-get install -y postgresql-common && \
             sudo /usr/share/postgresql-common/pgdg/apt.postgresql.org.sh -y && \
             sudo apt-get install -y postgresql-17",
        );
    }
    if needs.contains(&Need::Redis) {
        lines.push("a newer Redis for this release: https://redis.io/docs/latest/operate/oss_and_stack/install/");
    }
    lines.join("\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_need_has_a_package_and_a_name() {
        let all = [Need::Postgres, Need::Redis, Need::Python, Need::Certificates];
        for installer in [Installer::Apt, Installer::Brew, Installer::None] {
            let packages = all.map(|need| package(need, installer));
            assert!(packages.iter().all(|name| !name.is_empty() && !name.contains(' ')));
        }
        let message = wanted(&all);
        for word in ["PostgreSQL 15", "Redis 7", "python3", "certificates"] {
            assert!(message.contains(word), "{message}");
        }
    }

    #[test]
    fn a_release_that_is_too_old_is_told_where_newer_ones_are() {
        assert!(newer(&[Need::Postgres], Installer::Apt).contains("apt.postgresql.org.sh"));
        assert!(newer(&[Need::Redis], Installer::Apt).contains("redis.io"));
        assert_eq!(newer(&[Need::Postgres], Installer::Brew), "");
    }
}
