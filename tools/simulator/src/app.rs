//! Everything the handlers share.

use std::{net::SocketAddr, sync::Mutex, time::Duration};

use anyhow::Context as _;
use tokio::sync::Semaphore;
use tokio_util::task::TaskTracker;

use crate::{
    clock::Clock,
    dialect::Dialect,
    faults::Faults,
    files::Files,
    ids::Ids,
    limits::Limits,
    llm::Books,
    options::Options,
    requests::Requests,
    rng::Rng,
    scenario::Scenario,
    settings::Settings,
    sync::lock,
    timers::{Action, Timers},
    webhooks::{self, Outbox},
    world::{Site, World},
};

/// Webhook attempts under way at once.
const WEBHOOKS_AT_ONCE: usize = 128;

/// The state of one simulator. Locks are taken one at a time and never held over an await.
#[derive(Debug)]
pub struct App {
    pub seed: u64,
    pub world: Mutex<World>,
    pub faults: Mutex<Faults>,
    pub limits: Mutex<Limits>,
    pub requests: Mutex<Requests>,
    pub files: Mutex<Files>,
    pub outbox: Mutex<Outbox>,
    pub books: Mutex<Books>,
    pub scenario: Mutex<Scenario>,
    /// What the hostile dialect rolls.
    pub dice: Mutex<Rng>,
    pub clock: Clock,
    pub timers: Timers,
    pub tasks: TaskTracker,
    pub senders: Semaphore,
    pub client: reqwest::Client,
    initial: Settings,
}

impl App {
    pub fn new(options: &Options, settings: Settings, addr: SocketAddr) -> anyhow::Result<Self> {
        let site = Site {
            base: options
                .public_url
                .as_deref()
                .map_or_else(|| format!("http://{addr}"), |url| url.trim_end_matches('/').to_owned()),
            base_given: options.public_url.is_some(),
            webhook_template: options.webhook_url.clone(),
        };
        // A second start in one process finds the provider installed, which is as good.
        let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
        let clock = if options.reproducible {
            Clock::frozen()
        } else {
            Clock::real()
        };
        let ids = |stream| Ids::new(options.reproducible.then_some(options.seed), stream);
        let world = World::new(options.seed, settings.clone(), site, clock.clone(), ids("world"));
        Ok(Self {
            seed: options.seed,
            world: Mutex::new(world),
            faults: Mutex::new(Faults::new(options.seed)),
            limits: Mutex::default(),
            requests: Mutex::default(),
            files: Mutex::new(Files::new(ids("files"))),
            outbox: Mutex::new(Outbox::new(ids("webhooks"))),
            books: Mutex::default(),
            scenario: Mutex::default(),
            dice: Mutex::new(dice(options.seed)),
            clock,
            timers: Timers::default(),
            tasks: TaskTracker::new(),
            senders: Semaphore::new(WEBHOOKS_AT_ONCE),
            client: client()?,
            initial: settings,
        })
    }

    /// Changes the world, then starts what follows from it: webhooks and planned steps.
    pub fn act<T>(&self, change: impl FnOnce(&mut World) -> T) -> T {
        let (result, events, plans) = {
            let mut world = lock(&self.world);
            let result = change(&mut world);
            let (events, plans) = world.consequences();
            (result, events, plans)
        };
        for event in events {
            webhooks::dispatch(self, event);
        }
        for (wait, action) in plans {
            self.after(wait, action);
        }
        result
    }

    /// Has `action` done in `wait`.
    pub fn after(&self, wait: Duration, action: Action) {
        self.timers.at(self.clock.elapsed().saturating_add(wait), action);
    }

    /// Reads the world.
    pub fn see<T>(&self, look: impl FnOnce(&World) -> T) -> T {
        look(&lock(&self.world))
    }

    /// The dialect spoken now.
    pub fn dialect(&self) -> Dialect {
        self.see(|world| world.settings().dialect)
    }

    /// Back to the start: no gigs, contracts, faults or records; registered agents stay unless
    /// `agents`.
    pub fn reset(&self, agents: bool) {
        self.timers.clear();
        lock(&self.faults).clear();
        lock(&self.scenario).clear();
        *lock(&self.limits) = Limits::default();
        *lock(&self.requests) = Requests::default();
        lock(&self.outbox).clear();
        *lock(&self.books) = Books::default();
        *lock(&self.dice) = dice(self.seed);
        lock(&self.files).clear();
        let settings = self.initial.clone();
        self.act(|world| world.reset(settings, agents));
    }
}

/// Other numbers than the world's, so that wording changes nothing in what happens.
fn dice(seed: u64) -> Rng {
    Rng::new(seed ^ 0x0005_ca1e_d1ce)
}

#[expect(
    clippy::disallowed_methods,
    reason = "plays the platform, whose manners are not those of our own outbound calls"
)]
fn client() -> anyhow::Result<reqwest::Client> {
    reqwest::Client::builder()
        .connect_timeout(Duration::from_secs(5))
        .pool_max_idle_per_host(WEBHOOKS_AT_ONCE)
        .redirect(reqwest::redirect::Policy::none())
        .no_proxy()
        .build()
        .context("building the client that sends webhooks; are CA certificates installed?")
}
