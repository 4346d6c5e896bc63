//! The marketplace itself: agents, gigs, proposals, contracts, and the rules between them.
//!
//! Rules only: a change answers at once, and leaves what follows from it (webhooks to send, steps
//! of played clients) as [`World::consequences`] for the caller to start.

use std::{collections::HashMap, time::Duration};

use chrono::{DateTime, Utc};
use serde_json::Value;
use url::Url;
use uuid::Uuid;

use crate::{
    clock::Clock,
    dialect::Dialect,
    etiquette::Etiquette,
    ids::Ids,
    refusal::Refusal,
    rng::{Rng, hash},
    settings::Settings,
    timers::Action,
};

pub use agents::Agent;
pub use contracts::{Contract, Delivered, Status};
pub use gigs::{Gig, GigSpec};
pub use hiring::{Autonomous, HiredGig};
pub use messages::Attachment;
pub use proposals::{Bid, Proposal};
pub use services::{Service, ServiceSpec};

pub mod agents;
pub mod client;
pub mod contracts;
pub mod gigs;
mod hiring;
pub mod market;
pub mod messages;
mod odd;
mod platform;
mod play;
mod portfolio;
pub mod profile;
pub mod proposals;
mod services;
mod templates;
pub mod views;

/// Gigs, proposals and contracts kept, each.
const MAX_ROWS: usize = 200_000;
/// Agents kept.
const MAX_AGENTS: usize = 1_000;

/// Where the platform and its agents are reached.
#[derive(Clone, Debug)]
pub struct Site {
    /// Origin of links to the platform.
    pub base: String,
    /// Whether that origin was given, not guessed from the bound address.
    pub base_given: bool,
    /// Where webhooks go by default; `{agent}` is the username.
    pub webhook_template: Option<String>,
}

/// A webhook to be sent.
#[derive(Clone, Debug)]
pub struct Event {
    pub agent: Uuid,
    pub name: &'static str,
    pub data: Value,
    pub url: String,
    pub secret: String,
    pub max_attempts: u32,
}

/// Rows in order of creation, found by id.
#[derive(Debug)]
pub struct Rows<T> {
    rows: Vec<T>,
    by_id: HashMap<Uuid, usize>,
}

impl<T> Default for Rows<T> {
    fn default() -> Self {
        Self {
            rows: Vec::new(),
            by_id: HashMap::new(),
        }
    }
}

impl<T> Rows<T> {
    pub fn push(&mut self, id: Uuid, row: T) {
        self.by_id.insert(id, self.rows.len());
        self.rows.push(row);
    }

    pub fn get(&self, id: Uuid) -> Option<&T> {
        self.by_id.get(&id).map(|at| &self.rows[*at])
    }

    pub fn get_mut(&mut self, id: Uuid) -> Option<&mut T> {
        self.by_id.get(&id).map(|at| &mut self.rows[*at])
    }

    pub fn iter(&self) -> std::slice::Iter<'_, T> {
        self.rows.iter()
    }

    pub fn iter_mut(&mut self) -> std::slice::IterMut<'_, T> {
        self.rows.iter_mut()
    }

    pub fn len(&self) -> usize {
        self.rows.len()
    }

    fn room(&self, what: &str) -> Result<(), Refusal> {
        if self.rows.len() < MAX_ROWS {
            return Ok(());
        }
        let full = format!("The simulator keeps at most {MAX_ROWS} {what}; reset it");
        let status = http::StatusCode::INSUFFICIENT_STORAGE;
        Err(Refusal::new(status, "storage_full", full))
    }
}

/// The whole marketplace.
#[derive(Debug)]
pub struct World {
    pub etiquette: Etiquette,
    pub agents: Rows<Agent>,
    pub gigs: Rows<Gig>,
    pub proposals: Rows<Proposal>,
    pub contracts: Rows<Contract>,
    pub services: Rows<Service>,
    keys: HashMap<String, Uuid>,
    settings: Settings,
    site: Site,
    clock: Clock,
    ids: Ids,
    rng: Rng,
    seed: u64,
    playing: bool,
    /// Whether the realistic market posts gigs, how many it did, and when it does.
    arriving: bool,
    arrived: u64,
    arrivals: Rng,
    events: Vec<Event>,
    plans: Vec<(Duration, Action)>,
}

impl World {
    pub fn new(seed: u64, settings: Settings, site: Site, clock: Clock, ids: Ids) -> Self {
        Self {
            etiquette: Etiquette::default(),
            agents: Rows::default(),
            gigs: Rows::default(),
            proposals: Rows::default(),
            contracts: Rows::default(),
            services: Rows::default(),
            keys: HashMap::new(),
            settings,
            site,
            clock,
            ids,
            rng: Rng::new(seed),
            seed,
            playing: false,
            arriving: false,
            arrived: 0,
            arrivals: arrivals(seed),
            events: Vec::new(),
            plans: Vec::new(),
        }
    }

    /// The time here.
    pub fn now(&self) -> DateTime<Utc> {
        self.clock.now()
    }

    pub fn settings(&self) -> &Settings {
        &self.settings
    }

    pub fn set_settings(&mut self, settings: Settings) {
        self.settings = settings;
        self.start_playing();
        self.start_market();
    }

    /// Origin of links to the platform.
    pub fn base(&self) -> &str {
        &self.site.base
    }

    /// Whether the origin of links was given at start.
    pub fn has_public_url(&self) -> bool {
        self.site.base_given
    }

    /// Takes what is to be done after the changes so far.
    pub fn consequences(&mut self) -> (Vec<Event>, Vec<(Duration, Action)>) {
        (std::mem::take(&mut self.events), std::mem::take(&mut self.plans))
    }

    /// Back to the start; see `App::reset`.
    pub fn reset(&mut self, settings: Settings, forget_agents: bool) {
        self.etiquette = Etiquette::default();
        self.gigs = Rows::default();
        self.proposals = Rows::default();
        self.contracts = Rows::default();
        self.services = Rows::default();
        self.rng = Rng::new(self.seed);
        self.playing = false;
        self.arriving = false;
        self.arrived = 0;
        self.arrivals = arrivals(self.seed);
        self.events.clear();
        self.plans.clear();
        if forget_agents {
            self.agents = Rows::default();
            self.keys.clear();
        }
        for agent in self.agents.iter_mut() {
            agent.forget_work();
        }
        self.set_settings(settings);
    }

    fn plan(&mut self, wait_ms: u64, action: Action) {
        self.plan_in(Duration::from_millis(wait_ms), action);
    }

    /// Plans what a client does; its time runs as fast as the settings say.
    fn plan_in(&mut self, wait: Duration, action: Action) {
        self.plans.push((self.settings.scaled(wait), action));
    }

    fn api(&self, path: &str) -> String {
        format!("{}/api/v1{path}", self.site.base)
    }

    /// Queues a webhook, unless the agent switched the event off or has no URL.
    fn tell(&mut self, agent: Uuid, name: &'static str, data: Value) {
        if let Some(agent) = self.agents.get(agent)
            && agent.listens_to(name)
            && let Some(event) = self.event(agent, name, data)
        {
            self.events.push(event);
        }
    }

    /// Queues an event that no documentation names; only the hostile dialect sends such.
    fn hint(&mut self, agent: Uuid, name: &'static str, data: Value) {
        if self.settings.dialect == Dialect::Hostile {
            self.tell(agent, name, data);
        }
    }

    fn event(&self, agent: &Agent, name: &'static str, data: Value) -> Option<Event> {
        Some(Event {
            agent: agent.id,
            name,
            data,
            url: self.webhook_url(agent)?,
            secret: agent.webhook_secret.clone(),
            max_attempts: self.settings.webhook_max_attempts,
        })
    }

    /// A webhook to send outside the order of events, such as a test.
    pub fn event_for(&self, agent: Uuid, name: &'static str) -> Option<Event> {
        self.event(self.agents.get(agent)?, name, Value::Null)
    }

    /// The agent's own URL, else the template with its username.
    pub fn webhook_url(&self, agent: &Agent) -> Option<String> {
        agent.webhook_url.clone().or_else(|| {
            let template = self.site.webhook_template.as_ref()?;
            Some(template.replace("{agent}", &agent.username))
        })
    }

    /// The secret that signs this agent's webhooks now.
    pub fn webhook_secret(&self, agent: Uuid) -> Option<String> {
        Some(self.agents.get(agent)?.webhook_secret.clone())
    }

    /// The secret before the last rotation, if there was one.
    pub fn old_secret(&self, agent: Uuid) -> Option<String> {
        self.agents.get(agent)?.old_secret.clone()
    }

    /// `https`; `http` only for this host, or for the place the process was told to send to.
    pub fn webhook_url_allowed(&self, text: &str) -> bool {
        let Ok(url) = Url::parse(text) else {
            return false;
        };
        let loopback = match url.host() {
            Some(url::Host::Domain(name)) => name == "localhost",
            Some(url::Host::Ipv4(address)) => address.is_loopback(),
            Some(url::Host::Ipv6(address)) => address.is_loopback(),
            None => false,
        };
        let template = self.site.webhook_template.as_deref();
        let told = template.and_then(|template| Url::parse(template).ok());
        match url.scheme() {
            "https" => true,
            "http" => loopback || told.is_some_and(|told| told.origin() == url.origin()),
            _ => false,
        }
    }

    /// Whether `webhook_url` may be left out, because every agent's is known.
    pub fn has_webhook_template(&self) -> bool {
        self.site.webhook_template.is_some()
    }

    fn client(&mut self) -> (Uuid, &'static str) {
        let at = self.rng.below(templates::CLIENTS.len() as u64) as usize;
        let id = uuid::Builder::from_u128((u128::from(self.seed) << 64) | at as u128)
            .with_version(uuid::Version::Random)
            .with_variant(uuid::Variant::RFC4122)
            .into_uuid();
        (id, templates::CLIENTS[at])
    }

    fn title_of(&self, gig: Uuid) -> String {
        self.gigs.get(gig).map(|gig| gig.title.clone()).unwrap_or_default()
    }
}

/// When gigs arrive depends on the seed alone.
fn arrivals(seed: u64) -> Rng {
    Rng::new(hash(&[&seed.to_le_bytes(), b"arrivals"]))
}
