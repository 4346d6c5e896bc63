//! `stack.json`: what scripts read to find the stack.

use std::path::PathBuf;
use std::sync::Arc;

use anyhow::{Context as _, Result};
use secrecy::{ExposeSecret as _, SecretString};
use serde_json::{Map, Value, json};

use super::agents::Registration;
use super::board::Board;
use super::home::Home;
use super::plan::{Instance, Plan, SERVICES, Server};
use crate::private;

/// Writes the file whenever something in it changes.
#[derive(Debug)]
pub struct Writer {
    path: PathBuf,
    plan: Arc<Plan>,
    board: Arc<Board>,
    home: Home,
    operator_token: SecretString,
    generation: u64,
    last: Value,
}

impl Writer {
    /// A writer that goes on counting where the file stopped.
    ///
    /// # Errors
    /// The file cannot be read.
    pub fn new(home: &Home, plan: Arc<Plan>, board: Arc<Board>, operator_token: SecretString) -> Result<Self> {
        let earlier = read(home)?;
        let generation = earlier
            .as_ref()
            .and_then(|stack| stack["generation"].as_u64())
            .unwrap_or(0);
        Ok(Self {
            path: home.stack_file(),
            plan,
            board,
            home: home.clone(),
            operator_token,
            generation,
            last: Value::Null,
        })
    }

    /// Writes the file if it says something new; `stopping` is never ready.
    ///
    /// # Errors
    /// It cannot be written.
    pub fn write(&mut self, stopping: bool) -> Result<()> {
        let ready = !stopping && self.board.waiting().is_empty();
        let mut stack = self.describe(ready);
        if stack == self.last {
            return Ok(());
        }
        self.last = stack.clone();
        self.generation += 1;
        stack["generation"] = json!(self.generation);
        private::write(&self.path, serde_json::to_string_pretty(&stack)?.as_bytes(), 0o600)
    }

    fn describe(&self, ready: bool) -> Value {
        let mut services = Map::new();
        let simulator = self.plan.simulator.as_ref().map(std::slice::from_ref);
        let rows = SERVICES.iter().map(|service| (*service, self.plan.of(service)));
        for (service, replicas) in rows.chain(simulator.map(|one| ("simulator", one))) {
            let all: Vec<Value> = replicas.iter().map(|instance| self.instance(instance)).collect();
            let mut first = all.first().cloned().unwrap_or_else(|| json!({}));
            first["replicas"] = Value::Array(all);
            services.insert(service.to_owned(), first);
        }
        let door = self.plan.one("ingress", "url", 0);
        let agents: Vec<Value> = Registration::all(&self.home)
            .iter()
            .map(|agent| {
                let mut shown = json!({ "name": agent.name, "hook": format!("{door}/hooks/{}", agent.name) });
                if self.plan.settings.simulated {
                    shown["webhook_secret"] = json!(agent.webhook_secret);
                }
                shown
            })
            .collect();
        json!({
            "ready": ready,
            "mode": self.plan.settings.mode(),
            "supervisor": { "pid": std::process::id() },
            "services": services,
            "postgres": self.server("postgres", &self.plan.postgres),
            "redis": self.server("redis", &self.plan.redis),
            "operator_token": self.operator_token.expose_secret(),
            "agents": agents,
            "waiting": self.waiting(),
        })
    }

    /// What is not ready, and why.
    fn waiting(&self) -> Value {
        let each = self.board.waiting().into_iter();
        each.map(|name| json!({ "note": self.board.of(&name).note, "name": name }))
            .collect()
    }

    fn instance(&self, instance: &Instance) -> Value {
        let state = self.board.of(&instance.name);
        let mut shown = json!({
            "name": instance.name,
            "pid": state.pid,
            "ready": state.ready,
            "starts": state.starts,
        });
        for (kind, address) in &instance.addresses {
            shown[*kind] = json!(address);
        }
        shown
    }

    fn server(&self, name: &str, server: &Server) -> Value {
        let state = self.board.of(name);
        let ready = server.spec.is_none() || state.ready;
        json!({ "pid": state.pid, "url": server.url.expose_secret(), "ready": ready })
    }
}

/// Reads the file of a folder; `None` when there is none.
///
/// # Errors
/// It cannot be read or is no JSON.
pub fn read(home: &Home) -> Result<Option<Value>> {
    let path = home.stack_file();
    let text = private::read(&path)?;
    text.map(|text| serde_json::from_str(&text).with_context(|| format!("read {}", path.display())))
        .transpose()
}
