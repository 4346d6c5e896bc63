//! The runs, in turns, and what they say.

use std::process::ExitCode;
use std::time::{Duration, Instant};

use anyhow::Result;
use bench::figures::median;
use bench::table;
use executor::sandbox::{Groups, Where};
use nix::sys::resource::{UsageWho, getrusage};
use serde_json::{Value, json};

use crate::Args;
use crate::candidates::{Candidate, Site, Taken};
use crate::leaks::{self, Count};

/// Runs before anything counts: what every later run finds in the caches.
const WARM_UP: usize = 3;
/// After the warm-up.
const SETTLED: Duration = Duration::from_millis(500);
/// Time for what is ended to be gone.
const PATIENCE: Duration = Duration::from_secs(10);

/// What was measured of one candidate.
struct Record {
    candidate: Candidate,
    taken: Vec<Taken>,
    cpu: Duration,
    failed: usize,
}

/// What it says.
struct Summary {
    name: String,
    start: Tail,
    end: Tail,
    cpu_ms: f64,
    memory_mib: f64,
    failed: usize,
}

/// Milliseconds.
struct Tail {
    p50: f64,
    p99: f64,
    most: f64,
}

/// Measures and reports.
pub async fn run(args: &Args) -> Result<ExitCode> {
    let site = Site::new()?;
    let wanted = |candidate: &Candidate| args.only.as_ref().is_none_or(|part| candidate.name().contains(part));
    let groups = Groups::open(&Where::Own);
    match &groups {
        Ok(groups) => eprintln!("with control groups ({})", groups.version().as_str()),
        Err(reason) => eprintln!("without control groups: {reason}"),
    }
    let all = Candidate::all(&site, args, &groups).await?;
    let folders = groups.map(|groups| groups.folders()).unwrap_or_default();
    let mut records: Vec<Record> = all.into_iter().filter(wanted).map(Record::new).collect();
    for number in 0..WARM_UP {
        for record in &mut records {
            record.candidate.once(&site, number).await?;
        }
    }
    let count = || Count::now(site.runs.path(), site.uid(), &folders);
    // For launchers that were taken to be replaced.
    tokio::time::sleep(SETTLED).await;
    let before = count();
    for number in 0..args.runs {
        for record in &mut records {
            record.once(&site, number).await;
        }
        if (number + 1) % 1000 == 0 {
            eprintln!("{} of {} runs", number + 1, args.runs);
        }
    }
    // The kernel ends what bubblewrap and the launcher leave in its own time.
    let patience = Instant::now() + PATIENCE;
    let mut left = count().since(&before);
    while left.iter().any(|(_, count)| *count > 0) && Instant::now() < patience {
        tokio::time::sleep(Duration::from_millis(50)).await;
        left = count().since(&before);
    }
    let summaries: Vec<Summary> = records.iter().map(Record::summary).collect();
    show(&summaries, &left, args);
    let clean = left.iter().all(|(_, count)| *count == 0) && summaries.iter().all(|summary| summary.failed == 0);
    Ok(if clean { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

fn show(summaries: &[Summary], left: &[(&'static str, usize)], args: &Args) {
    let number = |value: f64| table::number(Some(value));
    let rows: Vec<Vec<String>> = summaries
        .iter()
        .map(|summary| {
            vec![
                summary.name.clone(),
                number(summary.start.p50),
                number(summary.start.p99),
                number(summary.start.most),
                number(summary.end.p50),
                number(summary.end.p99),
                number(summary.cpu_ms),
                number(summary.memory_mib),
                summary.failed.to_string(),
            ]
        })
        .collect();
    let headings = [
        "candidate",
        "start p50 ms",
        "p99",
        "max",
        "end p50 ms",
        "p99",
        "cpu ms",
        "MiB",
        "failed",
    ];
    println!("{}", table::render(&headings, &rows));
    let ratios = ratios(summaries);
    for (name, ratio) in &ratios {
        println!("{name}: start {ratio:.2} times bubblewrap's");
    }
    let left_in_words: Vec<String> = left.iter().map(|(what, count)| format!("{count} {what}")).collect();
    println!("left after {} runs of each: {}", args.runs, left_in_words.join(", "));
    if args.json {
        let all: Vec<Value> = summaries.iter().map(Summary::json).collect();
        let ratios: Value = ratios
            .into_iter()
            .map(|(name, ratio)| (name, json!(ratio)))
            .collect::<serde_json::Map<_, _>>()
            .into();
        let object = json!({
            "runs": args.runs, "candidates": all, "left": leaks::json(left), "start_over_bubblewrap": ratios,
        });
        println!("{object}");
    }
}

/// How many times bubblewrap's median start each of ours takes.
fn ratios(summaries: &[Summary]) -> Vec<(String, f64)> {
    let Some(peer) = summaries.iter().find(|summary| summary.name == "bubblewrap") else {
        return Vec::new();
    };
    let ours = summaries.iter().filter(|summary| summary.name.starts_with("steward"));
    ours.map(|summary| {
        (
            summary.name.clone(),
            summary.start.p50 / peer.start.p50.max(f64::EPSILON),
        )
    })
    .collect()
}

impl Record {
    fn new(candidate: Candidate) -> Self {
        Self {
            candidate,
            taken: Vec::new(),
            cpu: Duration::ZERO,
            failed: 0,
        }
    }

    async fn once(&mut self, site: &Site, number: usize) {
        let before = children_cpu();
        match self.candidate.once(site, number).await {
            Ok(taken) => {
                self.cpu += taken.own_cpu;
                self.taken.push(taken);
            }
            Err(error) => {
                self.failed += 1;
                eprintln!("{}: {error:#}", self.candidate.name());
            }
        }
        self.cpu += children_cpu().saturating_sub(before);
    }

    fn summary(&self) -> Summary {
        let runs = u32::try_from(self.taken.len().max(1)).unwrap_or(u32::MAX);
        Summary {
            name: self.candidate.name(),
            start: Tail::of(self.taken.iter().map(|taken| taken.start)),
            end: Tail::of(self.taken.iter().map(|taken| taken.end)),
            cpu_ms: self.cpu.as_secs_f64() * 1000.0 / f64::from(runs),
            memory_mib: median(self.taken.iter().map(|taken| mebibytes(taken.memory)).collect()),
            failed: self.failed,
        }
    }
}

impl Summary {
    fn json(&self) -> Value {
        json!({
            "name": self.name,
            "start_p50_ms": self.start.p50, "start_p99_ms": self.start.p99, "start_max_ms": self.start.most,
            "end_p50_ms": self.end.p50, "end_p99_ms": self.end.p99, "end_max_ms": self.end.most,
            "cpu_ms": self.cpu_ms, "memory_mib": self.memory_mib, "failed": self.failed,
        })
    }
}

impl Tail {
    fn of(times: impl Iterator<Item = Duration>) -> Self {
        let mut times: Vec<f64> = times.map(|time| time.as_secs_f64() * 1000.0).collect();
        times.sort_by(f64::total_cmp);
        let at = |percent: usize| {
            let place = times.len().saturating_sub(1) * percent / 100;
            times.get(place).copied().unwrap_or_default()
        };
        Self {
            p50: at(50),
            p99: at(99),
            most: at(100),
        }
    }
}

fn mebibytes(bytes: u64) -> f64 {
    u32::try_from(bytes / 1024).map_or(f64::INFINITY, |kib| f64::from(kib) / 1024.0)
}

/// Processor time of all children that ended.
fn children_cpu() -> Duration {
    let Ok(usage) = getrusage(UsageWho::RUSAGE_CHILDREN) else {
        return Duration::ZERO;
    };
    [usage.user_time(), usage.system_time()]
        .iter()
        .map(|time| {
            let seconds = Duration::from_secs(u64::try_from(time.tv_sec()).unwrap_or_default());
            seconds + Duration::from_micros(u64::try_from(time.tv_usec()).unwrap_or_default())
        })
        .sum()
}
