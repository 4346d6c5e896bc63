//! What an agent can see and reach.

use rpc::v1::complete_request::Outcome;
use serde_json::{Value, json};

use crate::harness::executor::is_root;
use crate::harness::scheduler::CREDENTIAL;
use crate::harness::{Agent, Job, Options, Stack, eventually};

/// What a Python agent tells in its notes, as JSON.
pub async fn notes(stack: &Stack, program: &str) -> Value {
    told(stack, &Agent::python(program)).await
}

/// The same of any agent.
pub async fn told(stack: &Stack, agent: &Agent) -> Value {
    let end = stack.run(agent, Job::work()).await;
    let Some(Outcome::ResultJson(result)) = &end.outcome else {
        panic!("{:?}\n{}", end.outcome, end.log_tail)
    };
    let result: Value = serde_json::from_str(result).unwrap();
    serde_json::from_str(result["notes"].as_str().unwrap()).unwrap()
}

/// Names what this machine gives, with commas between (levels, and `cgroups`): what is not there is a failure then.
const PROMISED: &str = "STEWARD_TEST_ISOLATION";

/// Whether somebody says that this machine gives it.
#[expect(clippy::disallowed_methods, reason = "it is the machine's word to the tests")]
pub fn promised(what: &str) -> bool {
    let promised = std::env::var(PROMISED).unwrap_or_default();
    promised.split(',').any(|promise| promise.trim() == what)
}

/// A stack at this level; none when the machine cannot give it and nobody says that it does.
pub async fn at_level(level: &str, mut options: Options) -> Option<Stack> {
    // What the machine gives instead is told here, unless the test wants to know.
    let least = ("STEWARD__ISOLATION__MINIMUM".to_owned(), "process".to_owned());
    options.env.insert(0, least);
    let stack = Stack::with(options.set("ISOLATION__MAXIMUM", level)).await;
    let given = stack.scheduler.state().hellos[0].isolation.clone();
    if given == level {
        return Some(stack);
    }
    assert!(
        !promised(level),
        "{PROMISED} promises {level}, and this is {given}:\n{}",
        stack.executor.log()
    );
    None
}

pub fn unprivileged() -> Options {
    Options {
        unprivileged: true,
        ..Options::default()
    }
}

async fn agents_are_kept_apart(level: &str, options: Options) {
    let Some(stack) = at_level(level, options.set("WORK__SLOTS", "2")).await else {
        return;
    };
    let secret = stack.executor.dir.join("stack.json");
    std::fs::write(&secret, "secret").unwrap();
    let outside = tempfile::Builder::new().prefix("steward-outside-").tempdir().unwrap();
    let readable = outside.path().join("readable");
    std::fs::write(&readable, "x").unwrap();
    use std::os::unix::fs::PermissionsExt as _;
    std::fs::set_permissions(outside.path(), std::fs::Permissions::from_mode(0o777)).unwrap();
    // Another run, whose workspace and process must stay out of reach.
    let other =
        Agent::python("import steward, time\nopen('private', 'w').write('x')\nsteward.progress('up')\ntime.sleep(600)");
    let other = stack.scheduler.assign(&other, Job::work()).await;
    eventually("the other runs", || {
        (!stack.scheduler.progress(&other).is_empty()).then_some(())
    })
    .await;
    let space = stack
        .executor
        .dir
        .join("runs")
        .join(format!("{}-1", other.trim_start_matches("token-")));
    let executor = stack.executor.pid();
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    let socket = outside.path().join("socket");
    let _by_path = std::os::unix::net::UnixListener::bind(&socket).unwrap();
    std::fs::set_permissions(&socket, std::fs::Permissions::from_mode(0o777)).unwrap();
    let name = format!("steward-outside-{port}");
    #[cfg(target_os = "linux")]
    let _by_name = {
        use std::os::linux::net::SocketAddrExt as _;
        let address = std::os::unix::net::SocketAddr::from_abstract_name(&name).unwrap();
        std::os::unix::net::UnixListener::bind_addr(&address).unwrap()
    };
    let program = format!(
        r#"
import json, os, signal, socket, steward
def fails(action):
    try:
        action()
        return False
    except OSError:
        return True
denied = {{
    "stack": lambda: open("{secret}"),
    "other workspace": lambda: open(os.path.join("{space}", "work", "private")),
    "other job": lambda: open("{space}/job.json"),
    "other pipe": lambda: os.open("{space}/events", os.O_WRONLY | os.O_NONBLOCK),
    "executor environment": lambda: open("/proc/{executor}/environ", "rb").read(),
    "parent environment": lambda: open("/proc/%d/environ" % os.getppid(), "rb").read(),
    "home": lambda: os.listdir("/root"),
    "shadow": lambda: open("/etc/shadow"),
    "anybody's file": lambda: open("{readable}"),
    "writing outside": lambda: open("{outside}/new", "w"),
    "writing the bundle": lambda: open(os.environ["STEWARD_BUNDLE"] + "/agent.py", "a"),
    "replacing the pipe": lambda: os.unlink(os.environ["STEWARD_EVENTS"]),
    "replacing the job": lambda: os.rename(os.environ["STEWARD_JOB"], "job"),
    "another port": lambda: socket.create_connection(("127.0.0.1", {port}), 1),
    "socket without a path": lambda: socket.socket(socket.AF_UNIX).connect("\0{name}"),
    "name of a host": lambda: socket.getaddrinfo("example.org", 443),
    "internet": lambda: socket.create_connection(("1.1.1.1", 443), 1),
    "metadata": lambda: socket.create_connection(("169.254.169.254", 80), 1),
    "kernel": lambda: os.listdir("/sys/kernel"),
    "listening": lambda: socket.create_server(("127.0.0.1", 0)),
    "signalling the executor": lambda: os.kill({executor}, 0),
}}
if "{level}" == "landlock":
    # Before Landlock 9 nothing keeps it from a socket by path.
    denied["work root"] = lambda: os.listdir("{dir}")
    denied["processes"] = lambda: os.listdir("/proc")
    denied["writing /tmp"] = lambda: open("/tmp/steward-agent-was-here", "w")
else:
    denied["socket by path"] = lambda: socket.socket(socket.AF_UNIX).connect("{socket}")
allowed = {{
    "job": lambda: open(os.environ["STEWARD_JOB"]).read(),
    "workspace": lambda: open("mine", "w").write("x"),
    "temporary": lambda: __import__("tempfile").TemporaryFile(),
    "null": lambda: open("/dev/null", "w").write("x"),
    "program": lambda: __import__("subprocess").run(["ls", "/usr"], check=True, stdout=-3),
    "certificates": lambda: __import__("ssl").create_default_context(),
    "bundle": lambda: open(os.environ["STEWARD_BUNDLE"] + "/agent.py").read(),
    "own figures": lambda: open("/proc/self/stat").read(),
}}
steward.result(notes=json.dumps({{
    "open": [name for name, action in denied.items() if not fails(action)],
    "closed": [name for name, action in allowed.items() if fails(action)],
}}))
"#,
        secret = secret.display(),
        dir = stack.executor.dir.display(),
        space = space.display(),
        readable = readable.display(),
        socket = socket.display(),
        outside = outside.path().display(),
    );
    let found = notes(&stack, &program).await;
    assert_eq!(found["open"], json!([]), "what must be out of reach is not");
    assert_eq!(found["closed"], json!([]), "what every agent needs is out of reach");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_agent_reaches_its_own_things_and_nothing_else() {
    agents_are_kept_apart("landlock", Options::default()).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn in_namespaces_neither() {
    agents_are_kept_apart("namespaces", Options::default()).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn in_namespaces_neither_without_root() {
    agents_are_kept_apart("namespaces", unprivileged()).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn without_root_the_kernels_rules_alone_keep_agents_apart() {
    agents_are_kept_apart("landlock", unprivileged()).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_agents_environment_is_exactly_the_contracts() {
    let stack = Stack::start().await;
    let agent = "import json, os, steward\nsteward.result(notes=json.dumps(dict(os.environ)))";
    let env = notes(&stack, agent).await;
    let names: Vec<&str> = env.as_object().unwrap().keys().map(String::as_str).collect();
    let mut expected = vec![
        "ANTHROPIC_API_KEY",
        "ANTHROPIC_BASE_URL",
        "HOME",
        "INTERNAL_API_KEY",
        "LANG",
        "OPENAI_API_KEY",
        "OPENAI_BASE_URL",
        "PATH",
        "PYTHONDONTWRITEBYTECODE",
        "PYTHONPATH",
        "PYTHONUNBUFFERED",
        "STEWARD_BUNDLE",
        "STEWARD_EVENTS",
        "STEWARD_JOB",
        "STEWARD_MODEL",
        "STEWARD_OUT",
        "TMPDIR",
        "XDG_CACHE_HOME",
        "XDG_CONFIG_HOME",
        "XDG_DATA_HOME",
        "XDG_RUNTIME_DIR",
        "XDG_STATE_HOME",
    ];
    // Python adds it to itself in the C locale only.
    expected.retain(|name| names.contains(name) || *name != "LC_CTYPE");
    assert_eq!(names, expected);
    let text = env.to_string();
    for secret in [CREDENTIAL, "environment-canary", "executor-token"] {
        assert!(!text.contains(secret), "{secret} is in the environment");
    }
    assert!(env["OPENAI_BASE_URL"].as_str().unwrap().ends_with("/v1"));
    assert!(!env["ANTHROPIC_BASE_URL"].as_str().unwrap().ends_with("/v1"));
}

#[tokio::test(flavor = "multi_thread")]
async fn an_agents_own_values_are_set_but_never_over_ours() {
    let stack = Stack::start().await;
    let agent = Agent::python(
        "import json, os, steward\nsteward.result(notes=json.dumps([os.environ.get(n) for n in ('TONE', 'HOME', 'STEWARD_X', 'LD_PRELOAD')]))",
    )
    .with("env", json!({"TONE": "kind", "HOME": "/root", "STEWARD_X": "1", "LD_PRELOAD": "/x.so"}));
    let end = stack.run(&agent, Job::work()).await;
    let Some(Outcome::ResultJson(result)) = end.outcome else {
        panic!("{:?}", end.outcome)
    };
    assert!(
        result.contains(r#"[\"kind\", \"/"#) && !result.contains("/root"),
        "{result}"
    );
    assert!(result.contains("null, null]"), "{result}");
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_is_inherited_and_rights_are_gone() {
    let stack = Stack::start().await;
    let program = r#"
import json, os, resource, steward
open_fds = []
for fd in range(3, 256):
    try:
        os.fstat(fd)
        open_fds.append(fd)
    except OSError:
        pass
def escalates():
    try:
        os.setuid(0)
        return True
    except OSError:
        return False
steward.result(notes=json.dumps({
    "fds": open_fds, "uid": os.getuid(), "gid": os.getgid(), "groups": os.getgroups(), "root": escalates(),
    "session": os.getsid(0) in (1, os.getpid()), "group": os.getpgid(0) == os.getpid(), "core": resource.getrlimit(resource.RLIMIT_CORE)[1],
    "umask": os.umask(0), "stdin": os.read(0, 1).decode(),
}))
"#;
    let found = notes(&stack, program).await;
    assert_eq!(
        found["fds"].as_array().unwrap().len(),
        1,
        "its own event pipe and nothing else: {found}"
    );
    // In namespaces the session is the first process's.
    assert_eq!((&found["session"], &found["group"]), (&json!(true), &json!(true)));
    assert_eq!(found["core"], json!(0));
    assert_eq!(found["umask"], json!(0o077));
    assert_eq!(found["stdin"], json!(""));
    if is_root() {
        assert!(found["uid"].as_u64().unwrap() >= 1_960_000_000, "{found}");
        assert_eq!(found["uid"], found["gid"]);
        assert_eq!(found["groups"], json!([]));
        assert_eq!(found["root"], json!(false));
    } else {
        assert_eq!(found["uid"], json!(nix::unistd::geteuid().as_raw()));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn two_executors_of_one_machine_never_share_a_user_id() {
    let (first, second) = (Stack::start().await, Stack::start().await);
    let program = "import json, os, steward, time\ntime.sleep(0.3)\nsteward.result(notes=json.dumps(os.getuid()))";
    let (one, two) = tokio::join!(notes(&first, program), notes(&second, program));
    if is_root() {
        assert_ne!(one, two);
    } else {
        assert_eq!(one, two, "without root there is only one");
    }
}
