//! What a stack consists of: which children, where they listen, what each is told.

use std::collections::BTreeMap;

use anyhow::{Context as _, Result};
use outbound::Url;
use secrecy::{ExposeSecret as _, SecretString};

use super::children::Spec;
use super::home::Home;
use super::ports::Ports;
use super::probe::Probe;
use super::{docker, postgres, programs, redis, services};
use crate::args::Replicas;
use crate::env;
use crate::secrets::{self, Places, Vault};

/// Services, in the order they are started.
pub const SERVICES: [&str; 5] = ["billing", "scheduler", "ingress", "executor", "console"];

/// How a stack is to be run.
#[derive(Debug, Clone)]
pub struct Settings {
    /// Against the simulator, or for real.
    pub simulated: bool,
    /// Agents are brought to the simulator by hand, and treated as live ones.
    pub rehearsed: bool,
    /// How many of a service, where not one.
    pub replicas: Vec<Replicas>,
    /// Requests a minute in simulated mode.
    pub rate_limit: u32,
    /// The simulator posts nothing by itself.
    pub quiet_market: bool,
    /// No webhook is expected: reads find everything.
    pub poll: bool,
    /// The simulator's seed.
    pub seed: u64,
    /// Where the door listens, if that is not chosen here.
    pub listen: Option<std::net::SocketAddr>,
    /// Where the console listens, if that is not chosen here.
    pub console_listen: Option<std::net::SocketAddr>,
}

impl Settings {
    /// The word for it in `stack.json`.
    #[must_use]
    pub fn mode(&self) -> &'static str {
        match (self.simulated, self.rehearsed) {
            (false, _) => "live",
            (true, true) => "rehearsal",
            (true, false) => "simulated",
        }
    }

    /// Where the first replica of a service listens, if the operator has said so.
    #[must_use]
    pub fn fixed(&self, service: &str, index: usize) -> Option<std::net::SocketAddr> {
        match service {
            "ingress" => self.listen,
            "console" => self.console_listen,
            _ => None,
        }
        .filter(|_| index == 0)
    }

    /// How many of a service.
    #[must_use]
    pub fn count(&self, service: &str) -> usize {
        let named = self.replicas.iter().rev().find(|replicas| replicas.service == service);
        named.map_or(1, |replicas| replicas.count)
    }
}

/// One process of one service.
#[derive(Debug, Clone)]
pub struct Instance {
    /// Its name in the stack.
    pub name: String,
    /// Addresses by what listens there: `url`, `admin`, `grpc`, `gateway`.
    pub addresses: BTreeMap<&'static str, String>,
    /// How it is run.
    pub spec: Spec,
}

/// A server the stack runs itself, or one it was given.
#[derive(Debug, Clone)]
pub struct Server {
    /// The owner's address.
    pub url: SecretString,
    /// How it is run; `None` for one that was given.
    pub spec: Option<Spec>,
}

/// A whole stack.
#[derive(Debug, Clone)]
pub struct Plan {
    /// How it is run.
    pub settings: Settings,
    /// Postgres.
    pub postgres: Server,
    /// Redis.
    pub redis: Server,
    /// The simulator, in simulated mode.
    pub simulator: Option<Instance>,
    /// Services by name, each with its replicas.
    pub services: BTreeMap<&'static str, Vec<Instance>>,
}

impl Plan {
    /// Plans a stack: chooses addresses, writes each service's secrets, finds the programs. Blocks.
    ///
    /// # Errors
    /// A program is missing or a file cannot be written.
    pub fn make(home: &Home, settings: Settings, ports: &mut Ports, vault: &Vault) -> Result<Self> {
        let postgres = plan_postgres(home, ports, vault)?;
        let redis = plan_redis(home, ports, vault)?;
        let places = Places {
            database: secrets::address(postgres.url.expose_secret()).context("read DATABASE_URL")?,
            redis: secrets::address(redis.url.expose_secret()).context("read REDIS_URL")?,
        };
        for service in SERVICES {
            vault.fill(service, &places, None, true)?;
        }
        let mut plan = Self {
            settings,
            postgres,
            redis,
            simulator: None,
            services: BTreeMap::new(),
        };
        services::add_all(&mut plan, home, ports, vault)?;
        ports.save()?;
        Ok(plan)
    }

    /// Every child's spec, in the order of starting.
    pub fn specs(&self) -> impl Iterator<Item = &Spec> {
        let servers = [&self.postgres, &self.redis]
            .into_iter()
            .filter_map(|server| server.spec.as_ref());
        servers.chain(self.instances().map(|instance| &instance.spec))
    }

    /// The simulator and every service's replicas, in the order of starting.
    pub fn instances(&self) -> impl Iterator<Item = &Instance> {
        let services = SERVICES.iter().flat_map(|service| self.of(service));
        self.simulator.iter().chain(services)
    }

    /// The replicas of a service.
    #[must_use]
    pub fn of(&self, service: &str) -> &[Instance] {
        self.services.get(service).map_or(&[], Vec::as_slice)
    }

    /// The addresses of one kind of all replicas of a service, separated by commas.
    #[must_use]
    pub fn all(&self, service: &str, kind: &str) -> String {
        let each = self
            .of(service)
            .iter()
            .filter_map(|instance| instance.addresses.get(kind));
        each.map(String::as_str).collect::<Vec<_>>().join(",")
    }

    /// The address of one kind of a service's replica of this number, or of another if there are fewer.
    #[must_use]
    pub fn one(&self, service: &str, kind: &str, index: usize) -> String {
        let replicas = self.of(service);
        let instance = replicas.get(index % replicas.len().max(1));
        instance
            .and_then(|instance| instance.addresses.get(kind))
            .cloned()
            .unwrap_or_default()
    }
}

fn plan_postgres(home: &Home, ports: &mut Ports, vault: &Vault) -> Result<Server> {
    if let Some(url) = env::variable("DATABASE_URL") {
        return Ok(Server {
            url: url.into(),
            spec: None,
        });
    }
    let port = ports.of("postgres")?;
    let cluster = postgres::Cluster::of(home, port, vault.origin("postgres_password"))?;
    let spec = match cluster.prepare()? {
        Some(spec) => Some(spec),
        None => {
            let anywhere: Url = secrets::address("redis://unused")?;
            let places = Places {
                database: anywhere.clone(),
                redis: anywhere,
            };
            vault.fill("postgres", &places, None, true)?;
            docker::postgres(home, vault, port, Probe::postgres(cluster.url())?)
        }
    };
    match spec {
        Some(spec) => Ok(Server {
            url: cluster.url(),
            spec: Some(spec),
        }),
        None => programs::missing("PostgreSQL 15 or newer", "DATABASE_URL"),
    }
}

fn plan_redis(home: &Home, ports: &mut Ports, vault: &Vault) -> Result<Server> {
    if let Some(url) = env::variable("REDIS_URL") {
        return Ok(Server {
            url: url.into(),
            spec: None,
        });
    }
    let port = ports.of("redis")?;
    let server = redis::Server::of(home, port, vault.origin("redis_password"))?;
    let spec = match server.prepare()? {
        Some(spec) => Some(spec),
        None => {
            let anywhere: Url = secrets::address("redis://unused")?;
            let places = Places {
                database: anywhere.clone(),
                redis: anywhere,
            };
            vault.fill("redis", &places, None, true)?;
            let probe = Probe::Redis {
                port,
                password: vault.origin("redis_password").to_owned().into(),
            };
            docker::redis(home, vault, port, probe)
        }
    };
    match spec {
        Some(spec) => Ok(Server {
            url: server.url(),
            spec: Some(spec),
        }),
        None => programs::missing("Redis 7 or newer", "REDIS_URL"),
    }
}
