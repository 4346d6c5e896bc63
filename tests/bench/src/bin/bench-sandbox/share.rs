//! What busy runs get of the processors when there are more of them than processors, one of them greedy.

use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use bench::table;
use executor::sandbox::{Groups, Level, Process, Sandbox, Where};
use executor::workspace::Workspace;
use serde_json::{Value, json};

use crate::Args;
use crate::candidates::{Site, launch_of};

/// Runs at once; the last is greedy.
const RUNS: usize = 100;
/// Processes of the greedy one.
const GREED: usize = 8;
/// How long they are watched.
const WATCHED: Duration = Duration::from_secs(20);
/// Before that, for all to begin.
const SETTLED: Duration = Duration::from_secs(1);
/// What the kernel counts processor time in, a second.
const TICKS: f64 = 100.0;

/// Processor seconds while they were watched.
struct Shares {
    name: &'static str,
    ordinary: Vec<f64>,
    greedy: f64,
}

/// Measures with and without control groups, and reports.
pub async fn run(args: &Args) -> Result<ExitCode> {
    let mut all = Vec::new();
    match Groups::open(&Where::Own) {
        Ok(groups) => all.push(measure(args, "with control groups", Ok(groups)).await?),
        Err(reason) => eprintln!("this machine gives no control groups: {reason}"),
    }
    all.push(measure(args, "without", Err("not asked for".to_owned())).await?);
    let processors = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
    println!(
        "{RUNS} busy runs on {processors} processors for {} s, {} of one process and one of {GREED}; processor seconds",
        WATCHED.as_secs(),
        RUNS - 1
    );
    let rows: Vec<Vec<String>> = all.iter().map(Shares::row).collect();
    let headings = ["", "least", "median", "most", "spread", "greedy"];
    println!("{}", table::render(&headings, &rows));
    if args.json {
        let all: Vec<Value> = all.iter().map(Shares::json).collect();
        println!("{}", json!({ "share": all }));
    }
    Ok(ExitCode::SUCCESS)
}

async fn measure(args: &Args, name: &'static str, groups: Result<Groups, String>) -> Result<Shares> {
    let site = Site::with_users(u32::try_from(RUNS)?)?;
    let beside = std::env::current_exe()?.with_file_name("executor");
    let launcher: PathBuf = args.executor.clone().unwrap_or(beside);
    let levels = Level::Process..=Level::Namespaces;
    let sandbox = Sandbox::probe(launcher, levels, site.uid())
        .await?
        .with_groups(groups)?;
    let mut busy = Vec::with_capacity(RUNS);
    for number in 0..RUNS {
        let space = Workspace::create(site.runs.path(), &format!("{name}-{number}"), site.uid_of(number), "{}")?;
        let processes = if number + 1 == RUNS { GREED } else { 1 };
        let one = "while :; do :; done";
        let script = format!("for _ in $(seq {processes}); do ({one}) & done; wait");
        let command = ["/bin/sh", "-c", &script].map(ToOwned::to_owned);
        busy.push((sandbox.start(launch_of(command.to_vec(), &space)).await?, space));
    }
    tokio::time::sleep(SETTLED).await;
    let before: Vec<f64> = busy.iter().map(|(process, _)| used(process)).collect();
    tokio::time::sleep(WATCHED).await;
    let after: Vec<f64> = busy.iter().map(|(process, _)| used(process)).collect();
    for (mut process, space) in busy {
        process.kill();
        process.wait().await?;
        let ended = tokio::task::spawn_blocking(process.end_all()).await?;
        ensure!(ended.none_left, "some processes are left");
        space.remove()?;
    }
    sandbox.close().await;
    let mut each: Vec<f64> = before.iter().zip(after).map(|(before, after)| after - before).collect();
    let greedy = each.pop().context("nothing ran")?;
    each.sort_by(f64::total_cmp);
    Ok(Shares {
        name,
        ordinary: each,
        greedy,
    })
}

impl Shares {
    fn figures(&self) -> (f64, f64, f64) {
        let at = |place: usize| self.ordinary.get(place).copied().unwrap_or_default();
        let last = self.ordinary.len().saturating_sub(1);
        (at(0), at(last / 2), at(last))
    }

    /// How far the most and the least lie apart, in parts of the median.
    fn spread(&self) -> f64 {
        let (least, median, most) = self.figures();
        (most - least) / median.max(0.01)
    }

    fn row(&self) -> Vec<String> {
        let (least, median, most) = self.figures();
        let figures = [least, median, most, self.spread(), self.greedy];
        let figures = figures.into_iter().map(|figure| table::number(Some(figure)));
        std::iter::once(self.name.to_owned()).chain(figures).collect()
    }

    fn json(&self) -> Value {
        json!({ "name": self.name, "ordinary_s": self.ordinary, "greedy_s": self.greedy, "spread": self.spread() })
    }
}

/// Processor seconds of a run's processes so far.
fn used(process: &Process) -> f64 {
    let leader = process.footprint().leader().and_then(|pid| u32::try_from(pid).ok());
    leader.map_or(0.0, below)
}

fn below(pid: u32) -> f64 {
    let folder = PathBuf::from(format!("/proc/{pid}"));
    let children = std::fs::read_to_string(folder.join(format!("task/{pid}/children"))).unwrap_or_default();
    let children = children.split_ascii_whitespace().filter_map(|child| child.parse().ok());
    let stat = std::fs::read_to_string(folder.join("stat")).unwrap_or_default();
    // Behind the name, which may hold anything: state is the first, user and system time are the 12th and 13th.
    let fields = stat.rsplit_once(") ").map_or("", |(_, rest)| rest);
    let ticks: f64 = fields
        .split_ascii_whitespace()
        .skip(11)
        .take(2)
        .filter_map(|field| field.parse::<f64>().ok())
        .sum();
    ticks / TICKS + children.map(below).sum::<f64>()
}
