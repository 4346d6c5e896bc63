//! The whole environment of an agent: nothing is inherited.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::Path;

use super::spec::Spec;
use crate::workspace::Workspace;

/// Names the decoy key.
const DECOY: &str = "INTERNAL_API_KEY";

/// Where a run's doors are, and what is laid out beside them.
pub(super) struct Ways<'a> {
    pub(super) gateway: SocketAddr,
    /// Stands where SDKs want a key. The run's gateway knows it, and adds the real one.
    pub(super) key: &'a str,
    pub(super) proxy: Option<SocketAddr>,
    pub(super) decoy: &'a str,
}

/// What the process of a run finds. The agent file's own values come first, ours win.
pub(super) fn of_run(
    spec: &Spec,
    space: &Workspace,
    bundle: &Path,
    ways: &Ways<'_>,
    path: &str,
) -> Vec<(String, String)> {
    let gateway = ways.gateway;
    let mut env = basic(spec, &space.work(), bundle, path);
    let mut set = |name: &str, value: String| drop(env.insert(name.to_owned(), value));
    set("STEWARD_JOB", text(&space.job()));
    set("STEWARD_OUT", text(&space.out()));
    set("STEWARD_EVENTS", text(&space.events()));
    set("STEWARD_MODEL", spec.models.default.clone());
    set("OPENAI_BASE_URL", format!("http://{gateway}/v1"));
    set("ANTHROPIC_BASE_URL", format!("http://{gateway}"));
    set("OPENAI_API_KEY", ways.key.to_owned());
    set("ANTHROPIC_API_KEY", ways.key.to_owned());
    set(DECOY, ways.decoy.to_owned());
    for credential in &spec.network.credential {
        let variable = credential.variable();
        set(
            &format!("{variable}_URL"),
            format!("http://{gateway}/ext/{}/{}", ways.key, credential.host),
        );
        set(&format!("{variable}_KEY"), ways.key.to_owned());
    }
    if let Some(proxy) = ways.proxy {
        lead_through(&mut env, proxy);
    }
    env.into_iter().collect()
}

/// Names the proxy as programs of all kinds look for it.
fn lead_through(env: &mut BTreeMap<String, String>, proxy: SocketAddr) {
    let mut set = |name: &str, value: String| drop(env.insert(name.to_owned(), value));
    for name in ["HTTPS_PROXY", "https_proxy", "HTTP_PROXY", "http_proxy"] {
        set(name, format!("http://{proxy}"));
    }
    // A run's gateway is nearer.
    for name in ["NO_PROXY", "no_proxy"] {
        set(name, "127.0.0.1,localhost".to_owned());
    }
    // Node looks at the others only when told to.
    set("NODE_USE_ENV_PROXY", "1".to_owned());
}

/// What a check of the operator's finds: as the agent, without models and events.
pub(super) fn of_check(spec: &Spec, space: &Workspace, bundle: &Path, path: &str) -> Vec<(String, String)> {
    let mut env = basic(spec, &space.work(), bundle, path);
    drop(env.insert("STEWARD_JOB".to_owned(), text(&space.job())));
    drop(env.insert("STEWARD_OUT".to_owned(), text(&space.out())));
    env.into_iter().collect()
}

/// What `setup` finds: the bundle is its home, and there is no job.
pub(super) fn of_setup(
    spec: &Spec,
    home: &Path,
    bundle: &Path,
    proxy: Option<SocketAddr>,
    path: &str,
) -> Vec<(String, String)> {
    let mut env = basic(spec, home, bundle, path);
    if let Some(proxy) = proxy {
        lead_through(&mut env, proxy);
    }
    let mut usual = |name: &str, value: String| {
        env.entry(name.to_owned()).or_insert(value);
    };
    // An interpreter uv fetches must outlive `setup`, as a copy that does not lead into its home.
    usual("UV_PYTHON_INSTALL_DIR", text(&bundle.join(".uv-python")));
    usual("UV_LINK_MODE", "copy".to_owned());
    // The machine's own settings may hold what is nobody's business, and cannot be read: pip would fail over that.
    usual("PIP_CONFIG_FILE", "/dev/null".to_owned());
    usual("PIP_DISABLE_PIP_VERSION_CHECK", "1".to_owned());
    usual("npm_config_update_notifier", "false".to_owned());
    env.into_iter().collect()
}

fn basic(spec: &Spec, home: &Path, bundle: &Path, path: &str) -> BTreeMap<String, String> {
    let mut env = spec.env.clone();
    // What an agent file may not set, it does not set by another name either.
    env.retain(|name, _| !name.starts_with("STEWARD_") && !name.starts_with("LD_"));
    let mut set = |name: &str, value: String| drop(env.insert(name.to_owned(), value));
    set("STEWARD_BUNDLE", text(bundle));
    set("HOME", text(home));
    set("TMPDIR", text(&home.join("tmp")));
    set("XDG_CACHE_HOME", text(&home.join(".cache")));
    set("XDG_CONFIG_HOME", text(&home.join(".config")));
    set("XDG_DATA_HOME", text(&home.join(".local/share")));
    set("XDG_STATE_HOME", text(&home.join(".local/state")));
    set("XDG_RUNTIME_DIR", text(&home.join(".run")));
    set("LANG", "C.UTF-8".to_owned());
    set("PYTHONUNBUFFERED", "1".to_owned());
    set("PYTHONDONTWRITEBYTECODE", "1".to_owned());
    set("PYTHONPATH", text(bundle));
    set("PATH", path.to_owned());
    if !spec.run.venv.is_empty() {
        let venv = bundle.join(&spec.run.venv);
        set("PATH", format!("{}:{path}", text(&venv.join("bin"))));
        set("VIRTUAL_ENV", text(&venv));
    }
    env
}

fn text(path: &Path) -> String {
    path.to_string_lossy().into_owned()
}
