//! A scheduler's desk over a database of its own, with the simulated marketplace beside it.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use boot::{CancellationToken, Context};
use domain::agent_file::{AgentFile, Mode};
use domain::money::MicroUsdc;
use outbound::Method;
use scheduler::billing::Billing;
use scheduler::courier::Courier;
use scheduler::desk::Desk;
use scheduler::marketplace::Marketplace;
use scheduler::objects::Objects;
use scheduler::wake::Wake;
use secrecy::SecretString;
use serde_json::{Value, json};
use store::contracts::NewContract;
use store::gigs::NewGig;
use store::{Store, run_tx};
use testkit::Database;
use uuid::Uuid;

/// Everything one test needs. Dropping it stops all of it.
pub struct Bench {
    pub desk: Arc<Desk>,
    pub courier: Arc<Courier>,
    pub market: Market,
    pub database: Database,
    _folder: tempfile::TempDir,
    stop: CancellationToken,
}

impl Drop for Bench {
    fn drop(&mut self) {
        self.stop.cancel();
    }
}

/// The simulator and its control surface.
pub struct Market {
    pub url: String,
    http: outbound::Client,
}

impl Market {
    pub async fn start(stop: &CancellationToken) -> Self {
        let mut options = simulator::Options::local();
        options.rate_limit = 6000;
        options.webhook_url = Some("http://127.0.0.1:9/hooks/{agent}".to_owned());
        let server = simulator::bind(options).await.unwrap();
        let url = server.url();
        tokio::task::spawn(server.serve(stop.clone()));
        let http = outbound::Client::builder("control")
            .guard(outbound::Guard::AllowLoopback)
            .build()
            .unwrap();
        Self { url, http }
    }

    pub async fn post(&self, path: &str, body: Value) -> Value {
        self.call(Method::POST, path, Some(body)).await
    }

    pub async fn put(&self, path: &str, body: Value) -> Value {
        self.call(Method::PUT, path, Some(body)).await
    }

    pub async fn get(&self, path: &str) -> Value {
        self.call(Method::GET, path, None).await
    }

    async fn call(&self, method: Method, path: &str, body: Option<Value>) -> Value {
        let url = format!("{}{path}", self.url).parse().unwrap();
        let mut request = self.http.request(method, url);
        if let Some(body) = body {
            request = request.json(&body);
        }
        let answer = self.http.send(request).await.unwrap();
        let status = answer.status();
        let body = outbound::read_limited(answer, 1 << 20).await.unwrap();
        assert!(
            status.is_success(),
            "{path}: {status} {}",
            String::from_utf8_lossy(&body)
        );
        serde_json::from_slice(&body).unwrap_or(Value::Null)
    }
}

impl Bench {
    pub async fn new() -> Self {
        Self::with(&[]).await
    }

    /// One with settings of its own.
    pub async fn with(settings: &[(&str, &str)]) -> Self {
        let stop = CancellationToken::new();
        let market = Market::start(&stop).await;
        let database = Database::create().await.unwrap();
        let folder = tempfile::tempdir().unwrap();
        let config = config(&database, &market, folder.path(), settings);
        let service = scheduler::service(boot::build_info!());
        let ctx = Context::new(&service, config);
        let store = Store::new(&store::Options::new(database.url_for("scheduler").into(), "test")).unwrap();
        let desk = Arc::new(Desk::new(&ctx, store, Wake::new(None)).unwrap());
        let objects = Objects::open(&desk.config.objects.dir).await.unwrap();
        let (billing, _addresses) = Billing::open(&desk.config.billing).unwrap();
        let marketplace = Arc::new(Marketplace::new(Arc::clone(&desk)).unwrap());
        let courier = Courier::new(Arc::clone(&desk), marketplace, objects, billing);
        let bench = Self {
            desk,
            courier,
            market,
            database,
            _folder: folder,
            stop: stop.clone(),
        };
        bench.register().await;
        let soft = bench.desk.soft.clone();
        tokio::task::spawn(async move {
            stop.cancelled().await;
            soft.cancel();
        });
        bench
    }

    /// Lets the courier work, and the sweeper with it.
    pub fn work(&self) {
        tokio::task::spawn(Arc::clone(&self.courier).run());
        tokio::task::spawn(scheduler::sweeper::run(Arc::clone(&self.desk)));
    }

    /// Registers the agent `demo` with the marketplace and here.
    async fn register(&self) {
        let profile = json!({
            "name": "Demo", "username": "demo", "description": "Writes short texts and small programs.",
            "skills": ["python"], "categories": ["code"], "languages": ["en"],
            "avatar_url": "https://example.org/a.png", "contact_email": "demo@example.org",
            "webhook_url": "http://127.0.0.1:9/hooks/demo",
        });
        let answer = self.market.post("/api/v1/agents/register", profile).await;
        self.market.post("/control/agents/demo/ready", json!({})).await;
        let spec = AgentFile::parse("name = \"demo\"\n[run]\ncommand = [\"true\"]\n[bidding]\nskills = [\"python\"]\n")
            .unwrap()
            .with_defaults(true);
        let key = SecretString::from(answer["api_key"].as_str().unwrap());
        let id = answer["agent_id"].as_str().unwrap();
        let sealer = &self.desk.marketplace_sealer;
        run_tx!(self.desk.store, "fixture", |tx| {
            store::agents::put(tx, &spec, Mode::Auto, "v1", None).await?;
            let file = serde_json::to_value(&spec).unwrap();
            store::bundles::put(tx, "v1", "demo", 1, &file, None).await?;
            store::agents::set_credentials(tx, sealer, "demo", id, &key).await
        })
        .unwrap();
    }

    /// A gig on the marketplace, and here.
    pub async fn gig(&self) -> (String, Uuid) {
        let posted = self
            .market
            .post("/control/gigs", json!({ "count": 1, "budget_usdc": 20 }))
            .await;
        let external_id = posted["gig_ids"][0].as_str().unwrap().to_owned();
        let gig = NewGig {
            agent: "demo".to_owned(),
            external_id: external_id.clone(),
            title: "a gig".to_owned(),
            category: "code".to_owned(),
            budget: Some(MicroUsdc(20_000_000)),
            ..NewGig::default()
        };
        let id = run_tx!(self.desk.store, "fixture", |tx| store::gigs::put(tx, &gig).await)
            .unwrap()
            .0;
        (external_id, id)
    }

    /// A funded contract on the marketplace, known here as accepted.
    pub async fn contract(&self) -> (String, Uuid) {
        let posted = self
            .market
            .post("/control/gigs", json!({ "count": 1, "budget_usdc": 20 }))
            .await;
        let gig = posted["gig_ids"][0].as_str().unwrap();
        let hired = self
            .market
            .post(&format!("/control/gigs/{gig}/hire"), json!({ "agent": "demo" }))
            .await;
        let external_id = hired["id"].as_str().unwrap().to_owned();
        self.market
            .post(&format!("/control/contracts/{external_id}/fund"), json!({}))
            .await;
        let new = NewContract {
            agent: "demo".to_owned(),
            external_id: external_id.clone(),
            gig_id: None,
            proposal_id: None,
            title: "a gig".to_owned(),
            amount: MicroUsdc(0),
            deadline: None,
            traceparent: None,
        };
        let id = run_tx!(self.desk.store, "fixture", |tx| store::contracts::put(tx, &new).await)
            .unwrap()
            .0;
        (external_id, id)
    }
}

fn config(
    database: &Database,
    market: &Market,
    folder: &std::path::Path,
    settings: &[(&str, &str)],
) -> scheduler::Config {
    let set = [
        ("ADMIN__LISTEN", "127.0.0.1:0".to_owned()),
        ("DATABASE__URL", database.url_for("scheduler")),
        ("REDIS__URL", "redis://127.0.0.1:9".to_owned()),
        ("GRPC__LISTEN", "127.0.0.1:0".to_owned()),
        ("GRPC__EXECUTOR_TOKEN", "executor-token-of-the-test".to_owned()),
        ("GRPC__OPERATOR_TOKEN", "operator-token-of-the-test".to_owned()),
        ("GRPC__VIEWER_TOKEN", "viewer-token-of-the-test".to_owned()),
        ("BILLING__TOKEN", "billing-token-of-the-test".to_owned()),
        ("BILLING__URL", "http://127.0.0.1:9".to_owned()),
        ("KEYS__WEBHOOK", "w".repeat(40)),
        ("KEYS__MARKETPLACE", "m".repeat(40)),
        ("MARKETPLACE__BASE_URL", format!("{}/api/v1", market.url)),
        ("MARKETPLACE__LIVE", "false".to_owned()),
        ("MARKETPLACE__RATE_LIMIT_PER_MINUTE", "5000".to_owned()),
        ("MARKETPLACE__REQUEST_TIMEOUT", "1s".to_owned()),
        ("MARKETPLACE__SETTLE", "2s".to_owned()),
        ("BREAKER__FIRST_PAUSE", "200ms".to_owned()),
        ("BREAKER__LONGEST_PAUSE", "1s".to_owned()),
        ("COURIER__LEASE", "10s".to_owned()),
        ("COURIER__FIRST_PAUSE", "100ms".to_owned()),
        ("RUNS__SWEEP", "200ms".to_owned()),
        // Nobody reads threads unless the test does.
        ("ATTACHMENTS__UNREAD", "0s".to_owned()),
        ("OBJECTS__DIR", folder.join("objects").display().to_string()),
    ];
    let env: BTreeMap<String, String> = set
        .into_iter()
        .chain(settings.iter().map(|(key, value)| (*key, (*value).to_owned())))
        .map(|(key, value)| (format!("STEWARD__{key}"), value))
        .collect();
    boot::load(scheduler::DEFAULTS, None, &env).unwrap()
}

/// Waits for a condition on the store.
pub const PATIENCE: Duration = Duration::from_secs(20);
