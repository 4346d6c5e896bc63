//! `bench-simulator`: requests a second of the simulated marketplace, so that nobody measures it and takes it for us.
//!
//! It is started with one worker thread: the figures are those of one core. The load is one thread of this process.
#![expect(clippy::print_stdout, reason = "a command-line tool talks")]

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use bench::figures::{Round, Summary};
use bench::load::{self, Load};
use bench::{table, usage};
use clap::Parser;
use serde_json::{Value, json};

#[derive(Parser)]
#[command(about = "Requests a second of the simulator on one core")]
struct Args {
    /// Rounds of each call; medians are over these.
    #[arg(long, default_value_t = 3)]
    rounds: usize,
    /// Seconds of one round.
    #[arg(long, default_value_t = 3)]
    seconds: u64,
    /// Connections at once.
    #[arg(long, default_value_t = 16)]
    connections: usize,
    /// Print one JSON object as the last line.
    #[arg(long)]
    json: bool,
}

/// Gigs that are listed while they are read.
const GIGS: usize = 500;
/// Contracts the agent has while they are read.
const CONTRACTS: usize = 50;
/// Gigs one round of proposals can use up.
const BIDS: usize = 40_000;
/// Gigs one order may post.
const AT_ONCE: usize = 10_000;

fn main() -> Result<()> {
    let args = Args::parse();
    let mut summaries = Vec::new();
    for name in [
        "GET /gigs (20 of 500)",
        "GET /agents/me/contracts",
        "POST /gigs/{id}/proposals",
    ] {
        let mut rounds = Vec::new();
        for _ in 0..args.rounds {
            rounds.push(round(&args, name)?);
        }
        summaries.push(Summary::of(name, &rounds));
    }
    println!("{}", shown(&summaries));
    if args.json {
        let calls: Vec<Value> = summaries.iter().map(|summary| summary.json(1.0)).collect();
        println!("{}", json!({ "calls": calls }));
    }
    Ok(())
}

/// One round against a simulator of its own.
fn round(args: &Args, name: &str) -> Result<Round> {
    let market = Market::start()?;
    let registered = market.call(
        "POST",
        "/api/v1/agents/register",
        &json!({
            "name": "Bench", "username": "bench", "description": "Asks for the same thing again and again.",
            "skills": ["python"], "categories": ["other"], "webhook_url": "https://bench.example/hook",
        }),
    )?;
    let key = registered["api_key"].as_str().context("read the API key")?.to_owned();
    market.call("POST", "/control/agents/bench/ready", &json!({}))?;
    let (requests, repeat) = if name.starts_with("POST") {
        let mut requests = Vec::new();
        while requests.len() < BIDS {
            for gig in market.post(AT_ONCE)? {
                let body = json!({
                    "proposed_amount_usdc": 12.5,
                    "cover_letter": "I have done this before and can start at once.",
                });
                let path = format!("/api/v1/gigs/{gig}/proposals");
                requests.push(request("POST", &path, &key, &body.to_string()));
            }
        }
        (requests, false)
    } else if name.contains("contracts") {
        for gig in market.post(CONTRACTS)? {
            market.call("POST", &format!("/control/gigs/{gig}/hire"), &json!({"agent": "bench"}))?;
        }
        (vec![request("GET", "/api/v1/agents/me/contracts", &key, "")], true)
    } else {
        market.post(GIGS)?;
        (vec![request("GET", "/api/v1/gigs", &key, "")], true)
    };
    let load = Load {
        to: market.address,
        requests: Arc::new(requests),
        repeat,
        connections: args.connections,
        time: Duration::from_secs(args.seconds),
    };
    let before = usage::cpu(market.child.id(), false);
    let mut round = load::send(&load).context("send the load")?;
    let after = usage::cpu(market.child.id(), false);
    round.server_cpu = after.zip(before).map(|(after, before)| after.saturating_sub(before));
    round.rss_bytes = usage::rss(market.child.id());
    ensure!(round.failed == 0, "{name}: {} calls failed", round.failed);
    Ok(round)
}

/// A request as it goes over the wire.
fn request(method: &str, path: &str, key: &str, body: &str) -> Vec<u8> {
    format!(
        "{method} {path} HTTP/1.1\r\nHost: bench\r\nAuthorization: Bearer {key}\r\nContent-Type: application/json\r\n\
         Content-Length: {}\r\n\r\n{body}",
        body.len()
    )
    .into_bytes()
}

fn shown(summaries: &[Summary]) -> String {
    let rows: Vec<Vec<String>> = summaries
        .iter()
        .map(|summary| {
            vec![
                summary.name.clone(),
                format!("{:.0}", summary.per_second),
                format!("{:.0}-{:.0}", summary.range.0, summary.range.1),
                format!("{:.1}", summary.p50_ms),
                format!("{:.1}", summary.p99_ms),
                table::number(summary.server_cpu_us),
                table::number(summary.rss_mib),
            ]
        })
        .collect();
    let headings = ["call", "per second", "range", "p50 ms", "p99 ms", "server µs", "MiB"];
    table::render(&headings, &rows)
}

/// A simulator of its own, ended with this value.
struct Market {
    child: Child,
    address: SocketAddr,
}

impl Market {
    fn start() -> Result<Self> {
        let program = std::env::current_exe()
            .context("find the path of this program")?
            .with_file_name("simulator");
        let mut child = Command::new(&program)
            .args(["--rate-limit", "1000000", "--seed", "1"])
            .env("TOKIO_WORKER_THREADS", "1")
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .spawn()
            .with_context(|| format!("start {}; it is built beside this program", program.display()))?;
        let mut line = String::new();
        if let Some(out) = child.stdout.take() {
            BufReader::new(out).read_line(&mut line)?;
        }
        let said: Value = serde_json::from_str(&line).context("read where the simulator listens")?;
        let address = said["address"].as_str().unwrap_or_default().parse();
        let address = address.context("read where the simulator listens")?;
        Ok(Self { child, address })
    }

    /// Posts gigs of a category no agent is told of.
    fn post(&self, count: usize) -> Result<Vec<String>> {
        let posted = self.call("POST", "/control/gigs", &json!({"count": count, "category": "code"}))?;
        let ids = posted["gig_ids"].as_array().context("read the ids of the gigs")?;
        Ok(ids.iter().filter_map(|id| id.as_str().map(str::to_owned)).collect())
    }

    fn call(&self, method: &str, path: &str, body: &Value) -> Result<Value> {
        let body = body.to_string();
        let mut stream = TcpStream::connect(self.address).context("reach the simulator")?;
        write!(
            stream,
            "{method} {path} HTTP/1.1\r\nHost: bench\r\nConnection: close\r\nContent-Length: {}\r\n\r\n{body}",
            body.len()
        )?;
        let mut answer = String::new();
        stream
            .read_to_string(&mut answer)
            .context("read the simulator's answer")?;
        let (head, body) = answer.split_once("\r\n\r\n").context("read the simulator's answer")?;
        ensure!(head.starts_with("HTTP/1.1 20"), "{method} {path}: {body}");
        serde_json::from_str(body).context("read the simulator's answer")
    }
}

impl Drop for Market {
    fn drop(&mut self) {
        // It keeps nothing that an orderly end would save.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
