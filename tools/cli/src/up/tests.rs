//! The servers under supervision, for real.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use boot::CancellationToken;
use nix::sys::signal::Signal;
use secrecy::ExposeSecret as _;
use serde_json::Value;
use testkit::eventually;
use tokio::task::JoinHandle;

use super::board::Board;
use super::children::{self, Before, Shared, Spec};
use super::home::Home;
use super::plan::{Instance, Plan, Server, Settings};
use super::postgres::Cluster;
use super::probe::Probe;
use super::process::{self, records};
use super::redis;
use super::stack_file::Writer;
use super::user::{Runner, far};
use crate::http::Http;
use crate::out::Out;

const PATIENCE: Duration = Duration::from_secs(60);

struct Scene {
    dir: tempfile::TempDir,
    home: Home,
    board: Arc<Board>,
    stop: CancellationToken,
}

impl Scene {
    fn new() -> Self {
        let dir = tempfile::Builder::new()
            .prefix("steward-up-")
            .tempdir_in("/tmp")
            .unwrap();
        let home = Home::create(dir.path()).unwrap();
        Self {
            dir,
            home,
            board: Arc::default(),
            stop: CancellationToken::new(),
        }
    }

    #[expect(clippy::disallowed_methods, reason = "the test waits for the keeper it started")]
    fn keep(&self, spec: Spec, adopt: bool) -> JoinHandle<()> {
        let adopt = adopt.then(|| records(&self.home.run()).unwrap().pop()).flatten();
        let shared = Shared {
            home: self.home.clone(),
            board: Arc::clone(&self.board),
            http: Http::new(Duration::from_secs(5)).unwrap(),
            out: Out::new(false),
        };
        tokio::spawn(children::keep(spec, adopt, shared, self.stop.clone()))
    }

    async fn ready(&self, name: &str, not: Option<u32>) -> u32 {
        let what = format!("a ready {name}");
        let ready = eventually(PATIENCE, &what, || {
            let state = self.board.of(name);
            async move {
                state
                    .pid
                    .filter(|pid| state.ready && Some(*pid) != not)
                    .ok_or(state.note)
            }
        });
        ready.await.unwrap()
    }
}

impl Drop for Scene {
    fn drop(&mut self) {
        for record in records(&self.home.run()).unwrap_or_default() {
            process::kill_group(record.pid);
        }
        std::fs::remove_dir_all(far(&self.home)).ok();
        assert!(self.dir.path().exists());
    }
}

fn kill(pid: u32) {
    process::signal(i32::try_from(pid).unwrap(), Signal::SIGKILL);
}

#[tokio::test]
async fn a_killed_postgres_comes_back_with_its_data_and_stops_in_order() {
    let scene = Scene::new();
    let cluster = Cluster::of(&scene.home, testkit::free_port().unwrap(), "secret").unwrap();
    let spec = cluster.prepare().unwrap().unwrap();
    assert!(
        !spec
            .args
            .iter()
            .any(|word| word.contains("secret") || word.contains("fsync"))
    );
    let keeper = scene.keep(spec, false);
    let first = scene.ready("postgres", None).await;
    let roles = store::migrate::RolePasswords::default();
    store::migrate::run(&cluster.url(), &roles).await.unwrap();

    kill(first);
    let second = scene.ready("postgres", Some(first)).await;
    assert_ne!(first, second);
    let store = store::Store::new(&store::Options::new(cluster.url(), "test")).unwrap();
    store.check_schema().await.unwrap();
    store.close().await;

    let anonymous = cluster.url().expose_secret().replace("secret", "wrong");
    let refused = Probe::postgres(anonymous.into())
        .unwrap()
        .ask(&Http::new(PATIENCE).unwrap())
        .await;
    assert!(refused.is_err(), "a wrong password was accepted");

    scene.stop.cancel();
    keeper.await.unwrap();
    assert_eq!(scene.board.of("postgres").pid, None);
    assert!(records(&scene.home.run()).unwrap().is_empty());
}

#[tokio::test]
async fn a_child_whose_supervisor_was_killed_is_adopted_and_looked_after() {
    let scene = Scene::new();
    let server = redis::Server::of(&scene.home, testkit::free_port().unwrap(), "secret").unwrap();
    let spec = server.prepare().unwrap().unwrap();
    let killed = scene.keep(spec.clone(), false);
    let first = scene.ready("redis", None).await;
    // As SIGKILL would, this ends the keeper and leaves its child.
    killed.abort();
    killed.await.unwrap_err();

    let keeper = scene.keep(spec, true);
    assert_eq!(scene.ready("redis", None).await, first);
    kill(first);
    assert_ne!(scene.ready("redis", Some(first)).await, first);
    scene.stop.cancel();
    keeper.await.unwrap();
}

#[test]
fn the_stack_file_has_the_shape_scripts_read() {
    let scene = Scene::new();
    let instance = |name: &str, addresses: &[(&'static str, &str)]| Instance {
        name: name.to_owned(),
        addresses: addresses.iter().map(|(kind, url)| (*kind, (*url).to_owned())).collect(),
        spec: Spec {
            name: name.to_owned(),
            program: "/bin/true".into(),
            args: Vec::new(),
            env: BTreeMap::new(),
            runner: Runner::Caller,
            stop: (Signal::SIGTERM, Duration::from_secs(1)),
            probe: Probe::Http(String::new()),
            before: Before::Nothing,
        },
    };
    let given = |url: &str| Server {
        url: url.to_owned().into(),
        spec: None,
    };
    let plan = Plan {
        settings: Settings {
            rehearsed: false,
            simulated: true,
            replicas: Vec::new(),
            rate_limit: 6000,
            quiet_market: true,
            poll: false,
            seed: 1,
            listen: None,
            console_listen: None,
        },
        postgres: given("postgres://x"),
        redis: given("redis://x"),
        simulator: Some(instance("simulator", &[("url", "http://s")])),
        services: BTreeMap::from([(
            "scheduler",
            vec![
                instance("scheduler", &[("grpc", "http://a"), ("admin", "http://b")]),
                instance("scheduler-1", &[("grpc", "http://c"), ("admin", "http://d")]),
            ],
        )]),
    };
    let names = ["simulator", "scheduler", "scheduler-1"];
    names.iter().for_each(|name| scene.board.expect(name));
    let mut writer = Writer::new(
        &scene.home,
        Arc::new(plan),
        Arc::clone(&scene.board),
        "token".to_owned().into(),
    )
    .unwrap();
    let mut write = |stopping| {
        writer.write(stopping).unwrap();
        let path = scene.home.stack_file();
        assert_eq!(
            std::os::unix::fs::MetadataExt::mode(&path.metadata().unwrap()) & 0o777,
            0o600
        );
        serde_json::from_slice::<Value>(&std::fs::read(path).unwrap()).unwrap()
    };
    let down = write(false);
    assert_eq!(
        (&down["ready"], &down["generation"]),
        (&Value::from(false), &Value::from(1))
    );
    for name in names {
        scene.board.change(name, |state| {
            state.ready = true;
            state.pid = Some(7);
        });
    }
    let up = write(false);
    assert_eq!((&up["ready"], &up["generation"]), (&Value::from(true), &Value::from(2)));
    assert_eq!(up["waiting"], serde_json::json!([]));
    assert_eq!(write(false)["generation"], 2, "nothing changed");
    assert_eq!(up["services"]["scheduler"]["grpc"], "http://a");
    assert_eq!(up["services"]["scheduler"]["replicas"][1]["grpc"], "http://c");
    assert_eq!(up["services"]["simulator"]["url"], "http://s");
    assert_eq!(
        (&up["operator_token"], &up["postgres"]["url"]),
        (&"token".into(), &"postgres://x".into())
    );
    scene.board.change("scheduler-1", |state| {
        state.ready = false;
        state.note = "it has no database".to_owned();
    });
    assert_eq!(
        scene.board.still_waiting(),
        "still waiting for scheduler-1 (it has no database)"
    );
    let down = write(false);
    assert_eq!(
        (&down["ready"], &down["generation"]),
        (&Value::from(false), &Value::from(3))
    );
    let why = serde_json::json!([{ "name": "scheduler-1", "note": "it has no database" }]);
    assert_eq!(down["waiting"], why, "`steward status` tells it");
}
