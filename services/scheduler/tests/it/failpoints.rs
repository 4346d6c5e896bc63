//! A scheduler that dies between any two of its writes changes nothing: the next one ends the same story.
//!
//! The way to Postgres is a trap that counts commits. At the chosen one the scheduler is gone, with everything it was
//! doing: before the commit reached Postgres, so that what was done outside is not known, or right after it, so that
//! what should follow was not begun.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use boot::Context;
use futures_util::StreamExt as _;
use futures_util::stream;
use serde_json::{Value, json};
use testkit::{eventually, free_port};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{TcpListener, TcpStream};
use tokio::runtime::{Builder, Runtime};
use tokio::sync::{mpsc, watch};

use crate::desk::Bench;
use crate::hands;
use crate::ledger::Ledger;
use crate::webhooks::posted;

const PATIENCE: Duration = Duration::from_secs(60);
/// Stories told at once.
const AT_ONCE: usize = 3;
/// Deaths tried, spread over the story; all that are possible with [`ALL`] set.
const DEATHS: usize = 16;
const ALL: &str = "STEWARD_ALL_FAILPOINTS";
const COMMIT: &[u8] = b"COMMIT\0";
const EXECUTOR: &str = "executor-token-of-the-test";

/// Where the scheduler dies.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Death {
    Before(usize),
    After(usize),
    Never,
}

/// A way to Postgres that counts commits.
#[derive(Debug)]
struct Trap {
    address: String,
    commits: Arc<AtomicUsize>,
    sprung: watch::Receiver<bool>,
}

/// What its connections share.
#[derive(Debug, Clone)]
struct Spring {
    death: Death,
    commits: Arc<AtomicUsize>,
    sprung: Arc<watch::Sender<bool>>,
}

impl Spring {
    fn is_sprung(&self) -> bool {
        *self.sprung.borrow()
    }
}

impl Trap {
    async fn set(target: String, death: Death) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap().to_string();
        let (sprung, watched) = watch::channel(false);
        let spring = Spring {
            death,
            commits: Arc::default(),
            sprung: Arc::new(sprung),
        };
        let commits = Arc::clone(&spring.commits);
        tokio::task::spawn(async move {
            while let Ok((client, _)) = listener.accept().await {
                let server = TcpStream::connect(&target).await.unwrap();
                let (from_client, to_client) = client.into_split();
                let (from_server, to_server) = server.into_split();
                let last = Arc::new(AtomicBool::new(false));
                tokio::task::spawn(ask(from_client, to_server, spring.clone(), Arc::clone(&last)));
                tokio::task::spawn(answer(from_server, to_client, spring.clone(), last));
            }
        });
        Self {
            address,
            commits,
            sprung: watched,
        }
    }

    /// The same database, by way of the trap.
    fn url(&self, url: &str) -> String {
        let (login, rest) = url.rsplit_once('@').unwrap();
        let (_host, name) = rest.split_once('/').unwrap();
        format!("{login}@{}/{name}", self.address)
    }
}

async fn ask(mut from: OwnedReadHalf, mut to: OwnedWriteHalf, spring: Spring, last: Arc<AtomicBool>) {
    let mut piece = vec![0; 64 * 1024];
    while let Ok(length @ 1..) = from.read(&mut piece).await {
        let commits = piece[..length]
            .windows(COMMIT.len())
            .filter(|part| *part == COMMIT)
            .count();
        let sum = spring.commits.fetch_add(commits, Ordering::SeqCst) + commits;
        match spring.death {
            Death::Before(at) if commits > 0 && sum >= at => {
                spring.sprung.send_replace(true);
            }
            Death::After(at) if commits > 0 && sum == at => last.store(true, Ordering::SeqCst),
            _ => {}
        }
        if spring.is_sprung() || to.write_all(&piece[..length]).await.is_err() {
            break;
        }
    }
    // What is held open rolls back when the trap is dropped.
}

async fn answer(mut from: OwnedReadHalf, mut to: OwnedWriteHalf, spring: Spring, last: Arc<AtomicBool>) {
    let mut piece = vec![0; 64 * 1024];
    while let Ok(length @ 1..) = from.read(&mut piece).await {
        if last.load(Ordering::SeqCst) {
            spring.sprung.send_replace(true);
        }
        if spring.is_sprung() || to.write_all(&piece[..length]).await.is_err() {
            return;
        }
    }
}

/// A scheduler with its executor, on threads of its own: ended, it is gone in the midst of everything.
fn scheduler(bench: &Bench, database: String, books: &str) -> Runtime {
    let mut config = (*bench.desk.config).clone();
    let listen = format!("127.0.0.1:{}", free_port().unwrap());
    config.database.url = boot::Secret::new(database);
    config.grpc.listen = listen.clone();
    config.billing.url = books.to_owned();
    config.runs.lease = Duration::from_secs(3);
    config.runs.heartbeat = Duration::from_secs(1);
    config.courier.lease = Duration::from_secs(4);
    config.reconcile.contracts_every = Duration::from_millis(500);
    config.reconcile.contracts_idle_every = Duration::from_millis(500);
    config.reconcile.proposals_every = Duration::from_millis(500);
    config.reconcile.deadline = Duration::from_secs(3);
    let runtime = Builder::new_multi_thread()
        .worker_threads(1)
        .enable_all()
        .build()
        .unwrap();
    runtime.spawn(async move {
        let ctx = Context::new(&scheduler::service(boot::build_info!()), config);
        // It may die before it is up.
        if scheduler::run(ctx).await.is_err() {
            return;
        }
        let (jobs, _unseen) = mpsc::unbounded_channel();
        hands::work(format!("http://{listen}"), EXECUTOR, jobs).await;
    });
    runtime
}

/// One contract from the gig to the books, with a death in between. Answers how many commits it took the first
/// scheduler, and whether it died.
async fn story(death: Death) -> (usize, bool) {
    let bench = Bench::new().await;
    let ledger = Ledger::default();
    let books = ledger.serve(bench.desk.config.billing.token.expose()).await;
    let gig = json!({ "count": 1, "budget_usdc": 20, "category": "code", "skills_required": ["python"], "auto": true });
    let gig = bench.market.post("/control/gigs", gig).await;
    bench.webhook(posted(gig["gig_ids"][0].as_str().unwrap()), false).await;
    let url = bench.database.url_for("scheduler");
    let host = url.rsplit_once('@').unwrap().1.split_once('/').unwrap().0.to_owned();
    let trap = Trap::set(host, death).await;
    let mut sprung = trap.sprung.clone();
    let first = scheduler(&bench, trap.url(&url), &books);
    let over = tokio::select! {
        _ = sprung.wait_for(|sprung| *sprung) => None,
        over = settled(&bench) => Some(over),
    };
    first.shutdown_background();
    let commits = trap.commits.load(Ordering::SeqCst);
    let died = over.is_none();
    drop(trap);
    if died {
        let second = scheduler(&bench, url, &books);
        let over = settled(&bench).await;
        second.shutdown_background();
        assert!(over.is_ok(), "{death:?}: {over:?}\n{:#?}", left(&bench).await);
    }
    as_if_nothing_had_happened(&bench, &ledger, death).await;
    (commits, died)
}

async fn settled(bench: &Bench) -> anyhow::Result<()> {
    eventually(PATIENCE, "the contract is booked", async || {
        let booked = bench.count("scheduler.contracts WHERE settled_at IS NOT NULL").await;
        let open = "scheduler.effects WHERE state IN ('blocked', 'pending', 'sending', 'unknown')";
        booked == 1 && bench.count(open).await == 0
    })
    .await
}

async fn left(bench: &Bench) -> (Vec<Value>, Vec<Value>) {
    let effects = "SELECT kind, state, attempts, absent_reads, error, dead_reason FROM scheduler.effects ORDER BY id";
    let runs = "SELECT kind, state, attempt, error FROM scheduler.runs";
    (bench.rows(effects).await, bench.rows(runs).await)
}

async fn as_if_nothing_had_happened(bench: &Bench, ledger: &Ledger, death: Death) {
    let report = bench.market.get("/control/report").await;
    for (what, expected) in [
        ("proposals", 1),
        ("delivered", 1),
        ("delivered_twice", 0),
        ("approved", 1),
    ] {
        assert_eq!(report[what], json!(expected), "{death:?}: {what} in {report:#}");
    }
    assert_eq!(report["etiquette_breaches"], json!([]), "{death:?}: {report:#}");
    let dead = bench.count("scheduler.effects WHERE dead_reason IS NOT NULL").await;
    assert_eq!(dead, 0, "{death:?}: {:#?}", left(bench).await);
    let calls = ledger.0.lock().unwrap();
    let figures: Vec<_> = calls
        .settled
        .values()
        .flatten()
        .map(|one| (one.amount_micro_usdc, one.fee_micro_usdc))
        .collect();
    assert!(
        !figures.is_empty() && figures.iter().all(|one| *one == (20_000_000, 2_000_000)),
        "{death:?}: {figures:?}"
    );
}

#[expect(clippy::disallowed_methods, reason = "a test has no configuration")]
fn stride(commits: usize) -> usize {
    match std::env::var(ALL) {
        Ok(_) => 1,
        Err(_) => (commits * 2 / DEATHS).max(1),
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_death_between_any_two_writes_changes_nothing() {
    let (commits, died) = story(Death::Never).await;
    assert!(!died && commits > 20, "{commits} commits");
    let stride = stride(commits);
    let deaths = (1..=commits).flat_map(|at| [Death::Before(at), Death::After(at)]);
    let chosen = deaths
        .enumerate()
        .filter(|(place, _)| place % stride == place / stride % stride)
        .map(|(_, death)| death);
    let died: Vec<bool> = stream::iter(chosen)
        .map(|death| async move { story(death).await.1 })
        .buffer_unordered(AT_ONCE)
        .collect()
        .await;
    // The later ones are those of a story that took longer than this one.
    let deaths = died.iter().filter(|died| **died).count();
    assert!(deaths * 3 > died.len() * 2, "{deaths} deaths in {} stories", died.len());
}
