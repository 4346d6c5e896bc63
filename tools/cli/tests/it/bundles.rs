//! Packing agents.

use std::fs;
use std::os::unix::fs::{PermissionsExt as _, symlink};
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use cli::bundle::pack;
use cli::bundle::runnable::{self, Place};
use cli::failure::{self, Failure};
use tempfile::TempDir;

const AGENT: &str = "name = \"demo\"\n[run]\ncommand = [\"python3\", \"agent.py\"]\n";

fn folder(files: &[(&str, &str)]) -> TempDir {
    let dir = tempfile::tempdir().unwrap();
    fs::write(dir.path().join("agent.toml"), AGENT).unwrap();
    for (name, text) in files {
        let path = dir.path().join(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
    }
    dir
}

fn agent_file(dir: &TempDir) -> PathBuf {
    dir.path().join("agent.toml")
}

fn refusal(dir: &TempDir) -> String {
    let error = pack(&agent_file(dir)).unwrap_err();
    assert_eq!(failure::code(&error), failure::REFUSED, "{error:#}");
    error.to_string()
}

fn touch(path: &Path, age: Duration) {
    let file = fs::File::options().write(true).open(path).unwrap();
    file.set_modified(SystemTime::now() - age).unwrap();
}

#[test]
fn the_same_folder_gives_the_same_bundle_wherever_and_whenever() {
    let files = [
        ("agent.py", "print()"),
        ("lib/b.py", "b"),
        ("lib/a.py", "a"),
        ("z.txt", "z"),
    ];
    let (one, mut reversed) = (folder(&files), files);
    reversed.reverse();
    let other = folder(&reversed);
    touch(&other.path().join("agent.py"), Duration::from_secs(86_400));
    let (one, other) = (pack(&agent_file(&one)).unwrap(), pack(&agent_file(&other)).unwrap());
    assert_eq!(one.archive, other.archive);
    assert_eq!(one.sha256, other.sha256);
    assert_eq!(one.names, ["agent.py", "agent.toml", "lib/a.py", "lib/b.py", "z.txt"]);
}

#[test]
fn a_changed_byte_or_an_executable_bit_makes_another_version() {
    let dir = folder(&[("run.sh", "echo")]);
    let before = pack(&agent_file(&dir)).unwrap().sha256;
    fs::set_permissions(dir.path().join("run.sh"), fs::Permissions::from_mode(0o755)).unwrap();
    let executable = pack(&agent_file(&dir)).unwrap().sha256;
    fs::write(dir.path().join("run.sh"), "echo!").unwrap();
    let changed = pack(&agent_file(&dir)).unwrap().sha256;
    assert!(before != executable && executable != changed && before != changed);
}

#[test]
fn ignored_files_are_left_out_hidden_ones_are_not() {
    let dir = folder(&[
        (".gitignore", "secret/\n*.log\n"),
        (".stewardignore", "notes.md\n.env\n"),
        (".env", "API=1"),
        (".config/x", "x"),
        ("secret/key.pem", "k"),
        ("run.log", "l"),
        ("notes.md", "n"),
        ("__pycache__/a.pyc", "c"),
        ("agent.py", "p"),
    ]);
    let names = pack(&agent_file(&dir)).unwrap().names;
    assert_eq!(names, [".config/x", ".gitignore", "agent.py", "agent.toml"]);
}

#[test]
fn what_looks_like_a_secret_is_refused_by_name() {
    let key = "-----BEGIN OPENSSH PRIVATE KEY-----\nabc\n";
    for (name, text) in [
        (".env", "A=1"),
        ("deep/.env.production", "A=1"),
        ("server.pem", "x"),
        ("id_ed25519", "x"),
        ("harmless.txt", key),
    ] {
        let said = refusal(&folder(&[(name, text)]));
        assert!(said.contains(name), "{said}");
    }
    let example = folder(&[(".env.example", "A=")]);
    assert!(pack(&agent_file(&example)).is_ok());
}

#[test]
fn links_that_leave_the_folder_are_refused_and_others_kept() {
    for target in ["/etc/passwd", "../outside", "sub/../../outside"] {
        let dir = folder(&[]);
        symlink(target, dir.path().join("link")).unwrap();
        assert!(refusal(&dir).contains("link"), "{target}");
    }
    let dir = folder(&[("data/real.txt", "r")]);
    symlink("data/real.txt", dir.path().join("alias")).unwrap();
    assert!(pack(&agent_file(&dir)).unwrap().names.contains(&"alias".to_owned()));
}

#[test]
fn an_agent_file_that_cannot_be_used_is_a_usage_error_that_names_it() {
    let dir = folder(&[]);
    fs::write(agent_file(&dir), format!("{AGENT}[biding]\n")).unwrap();
    let error = pack(&agent_file(&dir)).unwrap_err();
    assert!(matches!(error.downcast_ref(), Some(Failure::Usage(_))), "{error:#}");
    assert!(error.to_string().contains("biding"), "{error:#}");
    let missing = pack(&dir.path().join("nowhere.toml")).unwrap_err();
    assert_eq!(failure::code(&missing), failure::USAGE);
}

/// Why the command cannot run on this machine, or elsewhere.
fn problems(command: &str, place: Place, files: &[(&str, &str)]) -> String {
    let dir = folder(files);
    fs::write(agent_file(&dir), format!("name = \"demo\"\n[run]\n{command}\n")).unwrap();
    let packed = pack(&agent_file(&dir)).unwrap();
    runnable::problems(&packed, place).join("; ")
}

#[test]
fn a_command_that_cannot_run_is_refused_with_what_to_do() {
    let script = [("run.sh", "#!/bin/sh\necho"), ("agent.py", "print()")];
    for (command, told) in [
        (
            "command = [\"no-such-program\", \"agent.py\"]",
            "no-such-program is not installed",
        ),
        (
            "command = [\"sh\", \"forgotten.sh\"]",
            "forgotten.sh, which is not in the folder",
        ),
        (
            "command = [\"sh\", \"forgotten\"]",
            "forgotten, which is not in the folder",
        ),
        ("command = [\"./run.sh\"]", "chmod +x run.sh"),
        ("command = [\"run.sh\"]", "write \"./run.sh\""),
        ("command = [\"./gone\"]", "gone, which is not in the folder"),
        ("command = [\"/no/such/program\"]", "/no/such/program is no program"),
        (
            "command = [\"sh\", \"run.sh\"]\nsetup = [\"no-such-setup\"]",
            "no-such-setup is not installed",
        ),
    ] {
        let said = problems(command, Place::Here, &script);
        assert!(said.contains(told), "{command}: {said:?}");
    }
    let ignored = [("agent.sh", "echo"), (".stewardignore", "agent.sh\n")];
    let said = problems("command = [\"sh\", \"agent.sh\"]", Place::Here, &ignored);
    assert!(said.contains("an ignore file leaves it out"), "{said:?}");
}

#[test]
fn a_prompt_whose_template_is_broken_or_not_packed_is_refused() {
    let prompt = "adapter = \"prompt\"\n[prompt]\ntemplate = \"prompt.txt\"";
    for (files, told) in [
        (
            &[(
                "prompt.txt",
                "Do {{ gig.title }}\n{% if previous %}{{ previous.request }}{% endif %}",
            )][..],
            "",
        ),
        (&[("prompt.txt", "Do\n  {{ gig.titel }}")], "prompt.txt:2:"),
        (&[("prompt.txt", "{% if %}")], "prompt.txt:1:"),
        (&[], "prompt.template names prompt.txt, which is not in the folder"),
        (
            &[("prompt.txt", "x"), (".stewardignore", "*.txt\n")],
            "an ignore file leaves it out",
        ),
    ] {
        let said = problems(prompt, Place::Elsewhere, files);
        assert!(
            said.contains(told) && said.is_empty() == told.is_empty(),
            "{told}: {said:?}"
        );
    }
}

#[test]
fn a_command_that_may_run_is_let_through() {
    let files = [
        ("agent.sh", "echo"),
        ("src/main.py", "print()"),
        ("run.sh", "#!/bin/sh\necho"),
    ];
    for command in [
        "command = [\"sh\", \"agent.sh\", \"--out\", \"report.md\"]",
        "command = [\"sh\", \"./agent.sh\"]",
        "command = [\"sh\", \"-c\", \"echo hello.py\"]",
        "command = [\"sh\", \"-e\", \"agent.sh\"]",
        "command = [\"true\"]",
        "command = [\"env\", \"src\"]",
        // What setup makes is not there yet.
        "command = [\".venv/bin/python\", \"agent.py\"]\nsetup = [\"sh\", \"run.sh\"]",
        "command = [\"python-of-venv\", \"agent.py\"]\nvenv = \".venv\"\nsetup = [\"sh\", \"run.sh\"]",
    ] {
        let said = problems(command, Place::Here, &files);
        assert!(said.is_empty(), "{command}: {said}");
    }
    let elsewhere = problems(
        "command = [\"no-such-program\", \"src/main.py\"]",
        Place::Elsewhere,
        &files,
    );
    assert!(
        elsewhere.is_empty(),
        "what is installed elsewhere is not known: {elsewhere}"
    );
}
