//! Whether an agent's command can run as it is written: judged by what is packed and, where it will run on this
//! machine, by what is installed here. What `run.setup` may still make is not judged.

use std::fs::File;
use std::io::Read as _;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Component, Path, PathBuf};

use domain::agent_file::Adapter;

use super::Packed;

/// Where agents look for programs, as the executor's defaults say.
const PATH: [&str; 3] = ["/usr/local/bin", "/usr/bin", "/bin"];
/// Programs whose first plain argument is a script.
const INTERPRETERS: [&str; 9] = ["python", "python3", "node", "ruby", "perl", "sh", "bash", "php", "lua"];
/// How scripts end.
const SCRIPTS: [&str; 12] = [
    "py", "sh", "bash", "js", "mjs", "cjs", "ts", "rb", "pl", "php", "lua", "jar",
];
/// Arguments after which no script is named.
const INLINE: [&str; 5] = ["-c", "-m", "-e", "-r", "-p"];
/// The first line of a script.
const LONGEST_HEAD: u64 = 256;

/// Where the agent is going to run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Place {
    /// On this machine.
    Here,
    /// On another, of which only the bundle is known.
    Elsewhere,
}

/// Why the agent's commands cannot run as given, each with what to do; empty when nothing is known against them.
#[must_use]
pub fn problems(packed: &Packed, place: Place) -> Vec<String> {
    let judge = Judge { packed, place };
    let run = &packed.agent.run;
    let mut found: Vec<String> = judge.review().into_iter().collect();
    match run.adapter {
        Adapter::Command => {}
        Adapter::Prompt => {
            found.extend(judge.prompt());
            return found;
        }
        Adapter::Http => return found,
    }
    found.extend(judge.program(&run.setup, false));
    found.extend(judge.program(&run.command, true));
    found.extend(judge.script(&run.command));
    found
}

struct Judge<'a> {
    packed: &'a Packed,
    place: Place,
}

impl Judge<'_> {
    /// The instructions of a review are packed.
    fn review(&self) -> Option<String> {
        let name = &self.packed.agent.delivery.review.as_ref()?.prompt;
        let there = name.is_empty() || self.is_packed(&plain(name));
        (!there).then(|| self.absent("delivery.review.prompt", &plain(name)))
    }

    /// The files of a prompt are packed, and its template makes a prompt of every kind of job.
    fn prompt(&self) -> Vec<String> {
        let Some(prompt) = &self.packed.agent.prompt else {
            return Vec::new();
        };
        let names = [("prompt.template", &prompt.template), ("prompt.system", &prompt.system)];
        let named = names.into_iter().filter(|(_, name)| !name.is_empty());
        let missing: Vec<String> = named
            .filter(|(_, name)| !self.is_packed(&plain(name)))
            .map(|(key, name)| self.absent(key, &plain(name)))
            .collect();
        if !missing.is_empty() {
            return missing;
        }
        let text = match std::fs::read_to_string(self.packed.folder.join(&prompt.template)) {
            Ok(text) => text,
            Err(error) => return vec![format!("read {}: {error}", prompt.template)],
        };
        let checked = domain::prompt::check(&prompt.template, &text);
        checked.err().map(|error| error.to_string()).into_iter().collect()
    }

    fn program(&self, command: &[String], after_setup: bool) -> Option<String> {
        let program = command.first()?;
        if !program.contains('/') {
            return self.on_path(program, after_setup);
        }
        if program.starts_with('/') {
            let wrong = self.place == Place::Here && !is_program(Path::new(program));
            return wrong
                .then(|| format!("{program} is no program of this machine: install it, or write another path"));
        }
        let name = plain(program);
        if !self.is_packed(&name) {
            return (!after_setup || self.packed.agent.run.setup.is_empty()).then(|| self.missing(&name));
        }
        self.own_program(&name)
    }

    fn on_path(&self, program: &str, after_setup: bool) -> Option<String> {
        let run = &self.packed.agent.run;
        let in_venv = !run.venv.is_empty()
            && ((after_setup && !run.setup.is_empty())
                || self.is_packed(&plain(&format!("{}/bin/{program}", run.venv))));
        if self.place == Place::Elsewhere || in_venv || installed(program) {
            return None;
        }
        if self.is_packed(program) {
            return Some(format!(
                "{program} is looked for among the system's programs: write \"./{program}\" for the one in the folder"
            ));
        }
        let path = PATH.join(":");
        Some(format!(
            "the program {program} is not installed where agents look for it ({path}): install it, or name another"
        ))
    }

    /// A program of the bundle: it must be executable, and its interpreter there.
    fn own_program(&self, name: &str) -> Option<String> {
        let path = self.packed.folder.join(name);
        if !path.is_file() {
            return None;
        }
        let mode = path.metadata().map_or(0, |file| file.permissions().mode());
        if mode & 0o111 == 0 {
            return Some(format!(
                "{name} is not executable: `chmod +x {name}`, or write its interpreter before it in run.command"
            ));
        }
        let mut head = Vec::new();
        File::open(&path).ok()?.take(LONGEST_HEAD).read_to_end(&mut head).ok()?;
        let text = std::str::from_utf8(&head).ok()?;
        let Some(line) = text.strip_prefix("#!").and_then(|rest| rest.lines().next()) else {
            return Some(format!(
                "{name} does not say what runs it: begin it with a line such as #!/bin/sh, or write its interpreter \
                 before it in run.command"
            ));
        };
        let mut words = line.split_whitespace();
        let interpreter = words.next().unwrap_or_default();
        let missing = if interpreter.ends_with("/env") {
            let wanted = words.find(|word| !word.starts_with('-')).unwrap_or_default();
            !installed(wanted) && self.packed.agent.run.venv.is_empty()
        } else {
            !is_program(Path::new(interpreter))
        };
        (missing && self.place == Place::Here).then(|| {
            format!(
                "{name} wants to be run by {:?}, which is not installed here",
                line.trim()
            )
        })
    }

    /// The script the command names.
    fn script(&self, command: &[String]) -> Option<String> {
        let (program, words) = command.split_first()?;
        if words.iter().any(|word| INLINE.contains(&word.as_str())) || !self.packed.agent.run.setup.is_empty() {
            return None;
        }
        let candidates = || words.iter().filter(|word| !word.starts_with('-'));
        if candidates().any(|word| self.is_there(word)) {
            return None;
        }
        let is_script = |word: &&String| {
            let kind = Path::new(word.as_str()).extension().and_then(|kind| kind.to_str());
            kind.is_some_and(|kind| SCRIPTS.contains(&kind))
        };
        let last = program.rsplit('/').next().unwrap_or(program);
        let interpreted = INTERPRETERS.contains(&last) || last.starts_with("python3.");
        let named = candidates().find(is_script);
        let named = named.or_else(|| candidates().next().filter(|_| interpreted));
        named.map(|name| self.missing(&plain(name)))
    }

    fn is_there(&self, word: &str) -> bool {
        if word.starts_with('/') {
            return self.place == Place::Elsewhere || Path::new(word).exists();
        }
        self.is_packed(&plain(word))
    }

    /// A file of the bundle, or a folder in it.
    fn is_packed(&self, name: &str) -> bool {
        let below = format!("{name}/");
        let names = &self.packed.names;
        names.iter().any(|packed| packed == name || packed.starts_with(&below))
    }

    fn missing(&self, name: &str) -> String {
        self.absent("run.command", name)
    }

    fn absent(&self, key: &str, name: &str) -> String {
        if self.packed.folder.join(name).exists() {
            format!("{name} lies in the folder but is not packed: an ignore file leaves it out")
        } else {
            format!("{key} names {name}, which is not in the folder: add the file, or correct {key}")
        }
    }
}

/// A relative path without its dots.
fn plain(word: &str) -> String {
    let parts = Path::new(word).components().filter(|part| *part != Component::CurDir);
    parts.collect::<PathBuf>().to_string_lossy().into_owned()
}

fn installed(program: &str) -> bool {
    PATH.iter().any(|folder| is_program(&Path::new(folder).join(program)))
}

fn is_program(path: &Path) -> bool {
    path.metadata()
        .is_ok_and(|file| file.is_file() && file.permissions().mode() & 0o111 != 0)
}
