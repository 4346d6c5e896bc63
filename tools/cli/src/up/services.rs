//! What each service of a local stack is told, in the words of its `config.default.toml`.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::Result;
use nix::sys::signal::Signal;

use super::children::{Before, Spec};
use super::home::Home;
use super::plan::{Instance, Plan};
use super::ports::Ports;
use super::probe::Probe;
use super::programs;
use super::providers;
use super::user::Runner;
use crate::failure::Failure;
use crate::private;
use crate::secrets::Vault;

/// How long services may take to stop: their own grace and a little.
const GRACE: Duration = Duration::from_secs(30);
const EXECUTOR_GRACE: Duration = Duration::from_secs(45);
/// The simulator's retries of a webhook come after 1.2, 6, 36 seconds instead of minutes.
const RETRY_SCALE: &str = "0.02";
/// Where a simulated marketplace sends the webhooks of those who have no door.
const NO_DOOR: &str = "http://127.0.0.1:9";

/// Adds the simulator and every service to a plan.
///
/// # Errors
/// A program is missing or no port is free.
pub fn add_all(plan: &mut Plan, home: &Home, ports: &mut Ports, vault: &Vault) -> Result<()> {
    let listeners = [
        ("billing", &["grpc", "gateway"][..]),
        ("scheduler", &["grpc"]),
        ("ingress", &["url"]),
        ("executor", &[]),
        ("console", &["url"]),
    ];
    // Addresses first: services are told each other's.
    for (service, kinds) in listeners {
        let mut replicas = Vec::new();
        for index in 0..plan.settings.count(service) {
            replicas.push(instance(home, ports, service, index, kinds)?);
        }
        if let (Some(fixed), Some(first)) = (plan.settings.fixed(service, 0), replicas.first_mut()) {
            first.addresses.insert("url", from_here(fixed));
        }
        plan.services.insert(service, replicas);
    }
    if plan.settings.simulated {
        plan.simulator = Some(simulator(plan, ports)?);
    }
    for (service, _) in listeners {
        let tell = match service {
            "billing" => billing,
            "scheduler" => scheduler,
            "ingress" => ingress,
            "executor" => executor,
            _ => console,
        };
        for index in 0..plan.of(service).len() {
            let told = tell(plan, home, vault, index);
            let told = told.under(&own_settings(home, service)?);
            if let Some(instance) = plan.services.get_mut(service).and_then(|all| all.get_mut(index)) {
                instance.spec.env.extend(told);
            }
        }
    }
    Ok(())
}

fn instance(
    home: &Home,
    ports: &mut Ports,
    service: &'static str,
    index: usize,
    kinds: &[&'static str],
) -> Result<Instance> {
    let name = if index == 0 {
        service.to_owned()
    } else {
        format!("{service}-{index}")
    };
    let mut addresses = BTreeMap::new();
    for kind in kinds.iter().copied().chain(["admin"]) {
        let port = ports.of(&format!("{name}.{kind}"))?;
        addresses.insert(kind, format!("http://127.0.0.1:{port}"));
    }
    let grace = if service == "executor" { EXECUTOR_GRACE } else { GRACE };
    let mut told = Told::default();
    told.set("ADMIN__LISTEN", &listen(&addresses, "admin"));
    told.set("SHUTDOWN__KILL_AFTER", &humantime::format_duration(grace).to_string());
    let own = own_file(home, service);
    if own.is_file() {
        told.all.insert("STEWARD_CONFIG".to_owned(), own.display().to_string());
    }
    let ready = format!("{}/ready", addresses.get("admin").map_or("", String::as_str));
    Ok(Instance {
        spec: Spec {
            name: name.clone(),
            program: programs::service(service)?,
            args: Vec::new(),
            env: told.all,
            runner: Runner::Caller,
            stop: (Signal::SIGTERM, grace),
            probe: Probe::Http(ready),
            before: Before::Nothing,
        },
        name,
        addresses,
    })
}

fn simulator(plan: &Plan, ports: &mut Ports) -> Result<Instance> {
    let address = format!("127.0.0.1:{}", ports.of("simulator")?);
    let settings = &plan.settings;
    let hooks = format!("{}/hooks/{{agent}}", door(plan));
    let mut args = vec![
        "--listen",
        &address,
        "--webhook-url",
        &hooks,
        "--webhook-retry-scale",
        RETRY_SCALE,
    ]
    .into_iter()
    .map(str::to_owned)
    .collect::<Vec<_>>();
    args.extend(["--seed".to_owned(), settings.seed.to_string()]);
    args.extend(["--rate-limit".to_owned(), settings.rate_limit.to_string()]);
    args.extend((!settings.quiet_market).then(|| "--auto-play".to_owned()));
    let url = format!("http://{address}");
    Ok(Instance {
        name: "simulator".to_owned(),
        spec: Spec {
            name: "simulator".to_owned(),
            program: programs::service("simulator")?,
            args,
            env: BTreeMap::new(),
            runner: Runner::Caller,
            stop: (Signal::SIGTERM, GRACE),
            probe: Probe::Http(format!("{url}/ready")),
            before: Before::Nothing,
        },
        addresses: BTreeMap::from([("url", url)]),
    })
}

/// Where webhooks go: the first replica of the door; the others are for those who put a balancer in front. Who has no
/// door still has to name one: nobody listens on that port.
pub(super) fn door(plan: &Plan) -> String {
    if plan.settings.poll {
        return NO_DOOR.to_owned();
    }
    plan.one("ingress", "url", 0)
}

/// An operator's own settings of a service. They win over paces, not over addresses and secrets.
fn own_file(home: &Home, service: &str) -> PathBuf {
    home.config().join(format!("{service}.toml"))
}

fn own_settings(home: &Home, service: &str) -> Result<toml::Table> {
    let path = own_file(home, service);
    let text = private::read(&path)?.unwrap_or_default();
    // Only the place is told: the text may hold a secret.
    let table = text.parse::<toml::Table>();
    table.map_err(|_| Failure::Usage(format!("{}: this is not valid TOML", path.display())).into())
}

/// Settings as environment variables.
#[derive(Default)]
struct Told {
    all: BTreeMap<String, String>,
    paces: Vec<(&'static str, &'static str)>,
}

impl Told {
    fn set(&mut self, key: &str, value: &str) {
        self.all.insert(format!("STEWARD__{key}"), value.to_owned());
    }

    /// With the paces the operator's own settings say nothing of.
    fn under(mut self, own: &toml::Table) -> BTreeMap<String, String> {
        let is_own = |key: &str| {
            let (section, name) = key.split_once("__").unwrap_or((key, ""));
            let section = own.get(&section.to_lowercase());
            section.and_then(|section| section.get(name.to_lowercase())).is_some()
        };
        for (key, value) in std::mem::take(&mut self.paces) {
            if !is_own(key) {
                self.set(key, value);
            }
        }
        self.all
    }

    fn file(&mut self, key: &str, path: &Path) {
        self.set(&format!("{key}__FILE"), &path.display().to_string());
    }
}

/// How a listener is called from this machine.
fn from_here(address: SocketAddr) -> String {
    match address.ip() {
        ip if ip.is_unspecified() => format!("http://127.0.0.1:{}", address.port()),
        _ => format!("http://{address}"),
    }
}

fn listen(addresses: &BTreeMap<&'static str, String>, kind: &str) -> String {
    let url = addresses.get(kind).map_or("", String::as_str);
    url.trim_start_matches("http://").to_owned()
}

fn own<'plan>(plan: &'plan Plan, service: &str, index: usize) -> &'plan BTreeMap<&'static str, String> {
    static NONE: BTreeMap<&'static str, String> = BTreeMap::new();
    plan.of(service)
        .get(index)
        .map_or(&NONE, |instance| &instance.addresses)
}

fn billing(plan: &Plan, _home: &Home, vault: &Vault, index: usize) -> Told {
    let mut told = Told::default();
    let file = |name: &str| vault.path("billing", name);
    let addresses = own(plan, "billing", index);
    told.file("DATABASE__URL", &file("database_url"));
    told.set("GRPC__LISTEN", &listen(addresses, "grpc"));
    told.set("GATEWAY__LISTEN", &listen(addresses, "gateway"));
    told.file("GRPC__SCHEDULER_TOKEN", &file("scheduler_token"));
    told.file("GRPC__OPERATOR_TOKEN", &file("operator_token"));
    told.file("GRPC__VIEWER_TOKEN", &file("viewer_token"));
    told.file("SECRETS__KEY", &file("secrets_key"));
    if plan.simulator.is_some() {
        // Simulated answers come at once: what a killed billing set aside need not wait for minutes.
        told.paces.extend([
            ("GATEWAY__IDLE_TIMEOUT", "30s"),
            ("GATEWAY__TOTAL_TIMEOUT", "60s"),
            ("GATEWAY__CLIENT_STALL", "10s"),
            ("GATEWAY__HOLD_LEASE", "10s"),
            ("GATEWAY__HOLD_MARGIN", "10s"),
        ]);
    }
    let simulator = plan.simulator.as_ref();
    let url = simulator.map(|simulator| simulator.addresses.get("url").map_or("", String::as_str));
    told.set("UPSTREAMS", &providers::upstreams(url, vault));
    told
}

fn scheduler(plan: &Plan, home: &Home, vault: &Vault, index: usize) -> Told {
    let mut told = Told::default();
    let file = |name: &str| vault.path("scheduler", name);
    told.file("DATABASE__URL", &file("database_url"));
    told.file("REDIS__URL", &file("redis_url"));
    told.set("GRPC__LISTEN", &listen(own(plan, "scheduler", index), "grpc"));
    told.file("GRPC__EXECUTOR_TOKEN", &file("executor_token"));
    told.file("GRPC__OPERATOR_TOKEN", &file("operator_token"));
    told.file("GRPC__VIEWER_TOKEN", &file("viewer_token"));
    told.set("BILLING__URL", &plan.all("billing", "grpc"));
    told.file("BILLING__TOKEN", &file("billing_token"));
    told.file("KEYS__WEBHOOK", &file("webhook_key"));
    told.file("KEYS__MARKETPLACE", &file("marketplace_key"));
    told.set("OBJECTS__DIR", &home.objects().display().to_string());
    if plan.settings.poll {
        told.set("RECONCILE__POLL", "true");
    }
    if let Some(simulator) = &plan.simulator {
        let url = simulator.addresses.get("url").map_or("", String::as_str);
        told.set("MARKETPLACE__BASE_URL", &format!("{url}/api/v1"));
        told.set("MARKETPLACE__LIVE", "false");
        // A little less than the limit: the window that counts here and the one that counts there begin apart.
        let ceiling = plan.settings.rate_limit.saturating_sub(2).max(1);
        told.set("MARKETPLACE__RATE_LIMIT_PER_MINUTE", &ceiling.to_string());
        // The simulator acts at once: what is lost can be looked for soon, and waits of live operation are shortened.
        told.paces.extend(SIMULATED_PACES);
    }
    told
}

/// Live defaults wait for a slow platform; nobody wants to wait for a simulated one.
const SIMULATED_PACES: [(&str, &str); 16] = [
    ("MARKETPLACE__REQUEST_TIMEOUT", "2s"),
    ("MARKETPLACE__SETTLE", "3s"),
    ("BREAKER__FIRST_PAUSE", "1s"),
    ("BREAKER__LONGEST_PAUSE", "10s"),
    ("COURIER__LEASE", "10s"),
    ("COURIER__FIRST_PAUSE", "300ms"),
    ("COURIER__LONGEST_PAUSE", "5s"),
    ("INTAKE__FIRST_PAUSE", "300ms"),
    ("INTAKE__LONGEST_PAUSE", "5s"),
    ("RUNS__LEASE", "12s"),
    ("RUNS__HEARTBEAT", "2s"),
    ("RUNS__FIRST_PAUSE", "1s"),
    ("RUNS__SWEEP", "1s"),
    ("RECONCILE__CONTRACTS_EVERY", "5s"),
    ("RECONCILE__DELIVERIES_EVERY", "30s"),
    ("RECONCILE__WAKEFUL_EVERY", "10s"),
];

fn ingress(plan: &Plan, _home: &Home, vault: &Vault, index: usize) -> Told {
    let mut told = Told::default();
    let file = |name: &str| vault.path("ingress", name);
    let chosen = listen(own(plan, "ingress", index), "url");
    let fixed = plan.settings.fixed("ingress", index);
    told.set("PUBLIC__LISTEN", &fixed.map_or(chosen, |address| address.to_string()));
    told.file("DATABASE__URL", &file("database_url"));
    told.file("REDIS__URL", &file("redis_url"));
    told.file("KEYS__WEBHOOK", &file("webhook_key"));
    told
}

fn executor(plan: &Plan, home: &Home, vault: &Vault, index: usize) -> Told {
    let mut told = Told::default();
    told.set("SCHEDULER__URL", &plan.all("scheduler", "grpc"));
    told.file("SCHEDULER__TOKEN", &vault.path("executor", "scheduler_token"));
    told.set("BILLING__GATEWAY_URL", &plan.one("billing", "gateway", index));
    told.set("WORK__DIR", &home.executor(index).display().to_string());
    if plan.settings.simulated {
        // Simulated work uses whatever isolation the machine has.
        told.paces.extend([
            ("WORK__SLOTS", "4"),
            ("WORK__LEASE_MARGIN", "2s"),
            ("ISOLATION__MINIMUM", "process"),
            ("ENDPOINTS__PRIVATE", "true"),
            ("ENDPOINTS__LISTEN", "127.0.0.1:0"),
        ]);
        told.set("ENDPOINTS__GATEWAY_URL", &plan.one("billing", "gateway", index));
    }
    told
}

fn console(plan: &Plan, _home: &Home, vault: &Vault, index: usize) -> Told {
    let mut told = Told::default();
    let token = vault.path("console", "operator_token");
    let chosen = listen(own(plan, "console", index), "url");
    let fixed = plan.settings.fixed("console", index);
    told.set("HTTP__LISTEN", &fixed.map_or(chosen, |address| address.to_string()));
    if fixed.is_some_and(|address| !address.ip().is_loopback()) {
        // Whoever reaches it comes through a tunnel, whose end is on the operator's own machine.
        told.set("HTTP__ALLOWED_HOSTS", "localhost,127.0.0.1");
    }
    told.set("SCHEDULER__URL", &plan.all("scheduler", "grpc"));
    told.file("SCHEDULER__TOKEN", &token);
    told.set("BILLING__URL", &plan.all("billing", "grpc"));
    told.file("BILLING__TOKEN", &token);
    told
}
