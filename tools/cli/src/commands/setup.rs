//! `steward init` and `migrate`.

use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result};
use secrecy::SecretString;
use serde_json::json;

use crate::args::{Global, Init, Migrate};
use crate::failure::Failure;
use crate::out::Out;
use crate::{env, private, secrets, starter};

pub(super) fn init(global: &Global, options: &Init, out: &Out) -> Result<u8> {
    if let Some(folder) = &options.compose {
        let written = secrets::fill_for_compose(folder, options.owner)?;
        let shown = json!({ "dir": folder, "written": written });
        out.result(&shown, |_| match written.len() {
            0 => format!("{}: everything is there already", folder.display()),
            count => format!("{}: {count} files written", folder.display()),
        })?;
        return Ok(0);
    }
    let given = options.folder.as_ref().or(global.dir.as_ref());
    let folder = given.cloned().unwrap_or_else(|| PathBuf::from(starter::USUAL));
    let name = starter::name_of(&folder);
    scaffold(&folder, &name, starter::Template::default(), out)
}

/// Writes a starter folder.
pub(super) fn scaffold(folder: &Path, name: &str, template: starter::Template, out: &Out) -> Result<u8> {
    let written = starter::write(folder, name, template)?;
    out.result(&json!({ "dir": folder, "name": name, "written": written }), |_| {
        let shown = quoted(folder);
        format!(
            "A starter agent named {name} lies in {shown}.\n\
             Try it on a gig: steward agents test {shown} --gig {gig}\n\
             Run it on a simulated marketplace: steward up --agent {shown}\n\
             Its bids wait for you: steward approvals list, steward approvals approve ID\n\
             Before live work fill in what stands in <...> in its agent.toml",
            gig = quoted(&folder.join("gig.json"))
        )
    })?;
    Ok(0)
}

/// A path as a shell takes it.
fn quoted(path: &Path) -> String {
    let text = path.display().to_string();
    let plain = |letter: char| letter.is_ascii_alphanumeric() || "/._-".contains(letter);
    if !text.is_empty() && text.chars().all(plain) {
        return text;
    }
    format!("'{}'", text.replace('\'', r"'\''"))
}

pub(super) async fn migrate(options: &Migrate, out: &Out) -> Result<u8> {
    let url = match &options.database_url_file {
        Some(path) => required(path)?,
        None => env::variable("DATABASE_URL")
            .map(SecretString::from)
            .ok_or_else(|| Failure::Usage("set DATABASE_URL, or name a file with --database-url-file".to_owned()))?,
    };
    let mut roles = store::migrate::RolePasswords::default();
    if let Some(folder) = &options.passwords_dir {
        for role in store::migrate::ROLES {
            roles.passwords.push((role, required(&folder.join(role))?));
        }
    }
    let outcome = store::migrate::run(&url, &roles).await.context("migrate")?;
    let (version, changed) = match outcome {
        store::migrate::Outcome::Migrated(version) => (version, true),
        store::migrate::Outcome::NewerAndCompatible(version) => (version, false),
    };
    out.result(&json!({ "schema": version, "newer_and_compatible": !changed }), |_| {
        if changed {
            format!("the schema is at version {version}")
        } else {
            format!("the schema is at version {version}, newer than this release and compatible: nothing was done")
        }
    })?;
    Ok(0)
}

/// A secret from a file that must hold one.
fn required(path: &Path) -> Result<SecretString> {
    let text = private::read(path)?
        .map(|text| text.trim().to_owned())
        .filter(|text| !text.is_empty());
    let missing = || Failure::Usage(format!("{} is missing or empty", path.display()));
    Ok(text.ok_or_else(missing)?.into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_suggested_command_can_be_typed_as_it_stands() {
        for (path, typed) in [
            ("my-agent", "my-agent"),
            ("My Agent!", "'My Agent!'"),
            ("it's", r"'it'\''s'"),
        ] {
            assert_eq!(quoted(Path::new(path)), typed);
        }
    }
}
