//! `steward agents test`, `env` and `init`: the real executor and the simulator beside the command, and no stack.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use axum::extract::{Request, State};
use axum::response::IntoResponse as _;
use serde_json::Value;
use tempfile::TempDir;
use tokio::task::JoinSet;

pub fn examples() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("../../examples")
        .canonicalize()
        .unwrap()
}

/// Whether agents find this program.
pub fn is_installed(program: &str) -> bool {
    let found = ["/usr/local/bin", "/usr/bin", "/bin"]
        .iter()
        .any(|folder| Path::new(folder).join(program).is_file());
    if !found {
        println!("skipped: {program} is not installed where agents look for it");
    }
    found
}

pub fn steward(args: &[&str], env: &[(&str, &str)]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_steward"));
    command
        .args(args)
        .envs(env.iter().copied())
        .env_remove("STEWARD_ENDPOINT");
    command.output().unwrap()
}

/// The last line of what a trial printed as JSON, and its exit code.
pub fn report(output: &Output) -> (Value, i32) {
    let text = String::from_utf8_lossy(&output.stdout);
    let last = text.lines().last().unwrap_or_default();
    let said = String::from_utf8_lossy(&output.stderr);
    let report = serde_json::from_str(last).unwrap_or_else(|error| panic!("{error}: {text}\n{said}"));
    (report, output.status.code().unwrap())
}

fn tried(folder: &Path, more: &[&str]) -> (Value, i32) {
    let folder = folder.to_str().unwrap();
    report(&steward(&[&["agents", "test", folder, "--json"], more].concat(), &[]))
}

fn shell(script: &str) -> TempDir {
    let dir = tempfile::tempdir().unwrap();
    fs::write(
        dir.path().join("agent.toml"),
        "name = \"tried\"\n[run]\ncommand = [\"sh\", \"agent.sh\"]\n",
    )
    .unwrap();
    fs::write(dir.path().join("agent.sh"), script).unwrap();
    dir
}

#[test]
fn an_agent_is_tried_without_a_stack_and_its_cost_is_told() {
    let out = tempfile::tempdir().unwrap();
    let folder = examples().join("agents/python");
    let gig = examples().join("gigs/data.json");
    let (report, code) = tried(
        &folder,
        &["--gig", gig.to_str().unwrap(), "--out", out.path().to_str().unwrap()],
    );
    assert_eq!((code, &report["good"]), (0, &true.into()), "{report}");
    assert_eq!(report["models"][0]["model"], "gpt-4o-mini");
    assert!(report["cost_micro_usd"].as_i64().unwrap() > 0 && report["models"][0]["input"].as_i64().unwrap() > 0);
    assert!(
        fs::read_to_string(out.path().join("report.md"))
            .unwrap()
            .contains("sales"),
        "about the gig"
    );
    for kind in ["revise", "reply", "propose"] {
        let (report, code) = tried(&folder, &["--kind", kind, "--message", "Shorter, please"]);
        assert_eq!(code, 0, "{kind}: {report}");
    }
}

#[test]
fn only_a_good_result_exits_with_0_and_nothing_is_left_behind() {
    for (script, told) in [
        ("echo broken >&2; exit 3", "exit"),
        ("exit 0", "no_result"),
        ("exit 77", "cannot do"),
        (
            "echo '{\"type\":\"result\",\"notes\":\"n\",\"files\":[\"missing\"]}' > \"$STEWARD_EVENTS\"",
            "does not exist",
        ),
    ] {
        let (report, code) = tried(shell(script).path(), &[]);
        assert_eq!(code, 1, "{script}: {report}");
        assert!(report["outcome"].as_str().unwrap().contains(told), "{script}: {report}");
    }
    let kept = shell(
        "echo x > \"$STEWARD_OUT/a\"; echo '{\"type\":\"result\",\"notes\":\"n\",\"files\":[\"a\"]}' > \"$STEWARD_EVENTS\"",
    );
    let (report, _) = tried(kept.path(), &["--keep"]);
    let workspace = PathBuf::from(report["workspace"].as_str().unwrap());
    assert_eq!(fs::read_to_string(workspace.join("out/a")).unwrap(), "x\n");
    let place = workspace.ancestors().nth(4).unwrap();
    assert!(
        place
            .file_name()
            .unwrap()
            .to_str()
            .unwrap()
            .starts_with("steward-trial-")
    );
    fs::remove_dir_all(place).unwrap();
    let (report, _) = tried(kept.path(), &[]);
    assert!(report["workspace"].is_null());
}

#[test]
fn an_agent_finds_its_own_environment_and_nothing_of_ours() {
    let agent = shell("true");
    let folder = agent.path().to_str().unwrap();
    let output = steward(&["agents", "env", folder], &[("CANARY", "of-the-caller")]);
    let text = String::from_utf8_lossy(&output.stdout);
    for name in [
        "STEWARD_JOB=",
        "STEWARD_EVENTS=",
        "OPENAI_BASE_URL=http://127.0.0.1:",
        "HOME=",
        "LANG=C.UTF-8",
    ] {
        assert!(
            text.lines().any(|line| line.starts_with(name)),
            "{name} is missing in {text}"
        );
    }
    assert!(!text.contains("of-the-caller"));
    let json = steward(&["agents", "env", folder, "--json"], &[]);
    assert_eq!(report(&json).0["PYTHONUNBUFFERED"], "1");
}

#[test]
fn a_shell_runs_where_the_agent_would() {
    let agent = shell("true");
    let mut child = Command::new(env!("CARGO_BIN_EXE_steward"))
        .args(["agents", "test", agent.path().to_str().unwrap(), "--shell"])
        .stdin(std::process::Stdio::piped())
        .stdout(std::process::Stdio::piped())
        .spawn()
        .unwrap();
    let typed = b"test -s \"$STEWARD_JOB\" && echo job-is-there\ncat /etc/shadow || echo no-secrets\nexit\n";
    std::io::Write::write_all(&mut child.stdin.take().unwrap(), typed).unwrap();
    let output = child.wait_with_output().unwrap();
    let text = String::from_utf8_lossy(&output.stdout);
    assert!(text.contains("job-is-there") && text.contains("no-secrets"), "{text}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_real_models_key_is_attached_outside_of_the_sandbox() {
    let seen = std::sync::Arc::new(std::sync::Mutex::new(Vec::new()));
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}/v1", listener.local_addr().unwrap());
    let answer = |State(seen): State<std::sync::Arc<std::sync::Mutex<Vec<String>>>>, request: Request| async move {
        let key = request
            .headers()
            .get("authorization")
            .and_then(|key| key.to_str().ok())
            .unwrap_or_default();
        seen.lock().unwrap().push(format!("{} {key}", request.uri().path()));
        let body = r#"{"choices":[{"finish_reason":"stop","message":{"content":"real words"}}],"usage":{"prompt_tokens":1000,"completion_tokens":10}}"#;
        ([("content-type", "application/json")], body).into_response()
    };
    let router = axum::Router::new()
        .fallback(answer)
        .with_state(std::sync::Arc::clone(&seen));
    let mut serving = JoinSet::new();
    serving.spawn(async move { axum::serve(listener, router).await.unwrap() });
    let folder = examples().join("agents/prompt");
    let output = tokio::task::spawn_blocking(move || {
        let args = [
            "agents",
            "test",
            folder.to_str().unwrap(),
            "--json",
            "--model-url",
            &url,
        ];
        steward(&args, &[("OPENAI_API_KEY", "sk-of-the-operator")])
    });
    let (report, code) = report(&output.await.unwrap());
    assert_eq!(code, 0, "{report}");
    assert_eq!(report["models"][0]["input"], 1000);
    assert_eq!(
        *seen.lock().unwrap(),
        ["/v1/chat/completions Bearer sk-of-the-operator"]
    );
}

#[test]
fn every_starter_without_a_compiler_works_as_it_is_written() {
    let root = tempfile::tempdir().unwrap();
    for template in ["python", "node", "shell", "prompt"] {
        if template == "node" && !is_installed("node") {
            continue;
        }
        let folder = root.path().join(template);
        let shown = folder.to_str().unwrap();
        let made = steward(&["agents", "init", shown, "--template", template], &[]);
        assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
        assert!(folder.join(".github/workflows/agent.yml").is_file());
        let gig = folder.join("gig.json");
        for kind in ["work", "reply"] {
            let (report, code) = tried(&folder, &["--gig", gig.to_str().unwrap(), "--kind", kind]);
            assert_eq!(code, 0, "{template} {kind}: {report}");
        }
    }
    let again = steward(&["agents", "init", root.path().join("python").to_str().unwrap()], &[]);
    assert_eq!(again.status.code(), Some(4), "what is there is never overwritten");
}

#[test]
fn the_endpoint_of_its_starter_takes_signed_jobs_only() {
    let root = tempfile::tempdir().unwrap();
    let folder = root.path().join("http");
    steward(&["agents", "init", folder.to_str().unwrap(), "--template", "http"], &[]);
    let port = std::net::TcpListener::bind("127.0.0.1:0")
        .unwrap()
        .local_addr()
        .unwrap()
        .port();
    let file = folder.join("agent.toml");
    let text = fs::read_to_string(&file).unwrap().replace(":8000", &format!(":{port}"));
    fs::write(&file, text).unwrap();
    let serve = |key: &str, stream: &str| {
        let mut server = Command::new("python3");
        server
            .arg(folder.join("server.py"))
            .env("PORT", port.to_string())
            .env("STREAM", stream)
            .env("AGENT_KEY", key);
        let server = server.stderr(std::process::Stdio::null()).spawn().unwrap();
        let end = std::time::Instant::now() + std::time::Duration::from_secs(20);
        while std::net::TcpStream::connect(("127.0.0.1", port)).is_err() {
            assert!(std::time::Instant::now() < end, "the endpoint did not start");
            std::thread::yield_now();
        }
        server
    };
    // Both ways to answer: later, and streamed.
    for stream in ["", "1"] {
        let mut open = serve("", stream);
        let (report, code) = tried(&folder, &[]);
        open.kill().unwrap();
        open.wait().unwrap();
        assert_eq!(
            (code, report["calls"].as_i64()),
            (0, Some(1)),
            "metered by the run's own gateway: {report}"
        );
        let files = report["files"].to_string();
        assert!(files.contains("report.md"), "{stream:?}: {report}");
    }
    let mut closed = serve("another-key", "");
    let (report, code) = tried(&folder, &[]);
    closed.kill().unwrap();
    closed.wait().unwrap();
    assert_eq!(code, 1);
    assert!(report["outcome"].as_str().unwrap().contains("401"), "{report}");
}
