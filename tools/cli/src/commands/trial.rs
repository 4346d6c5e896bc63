//! `steward agents test` and `env`: no stack is needed.

use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result};
use rpc::v1::complete_request::Outcome;
use secrecy::SecretString;
use serde_json::{Value, json};

use crate::args::trial::Test;
use crate::bundle::runnable::Place;
use crate::bundle::{self, Packed};
use crate::failure::{self, Failure};
use crate::out::Out;
use crate::trial::{Brief, Errands, Kind, Models, Program, Report, Said, Trial};
use crate::{env, render};

/// Lines of the log that are shown when something went wrong.
const LOG_LINES: usize = 20;

/// Runs an agent once.
pub(super) async fn test(options: Test, out: &Out) -> Result<u8> {
    let packed = pack(&options.file).await?;
    bundle::runnable(&packed, Place::Here, "")?;
    let brief = Brief::read(options.gig.as_deref(), options.kind, options.message.as_deref())?;
    let models = models(options.model_url.as_deref())?;
    let name = packed.agent.name.clone();
    if !out.json() {
        let who = if matches!(models, Models::Simulated) {
            "played"
        } else {
            "real"
        };
        out.note(&format!(
            "{name}: one run of kind {}, {who} models",
            options.kind.name()
        ));
    }
    if options.shell {
        out.note("A shell where the agent would run; `exit` or Ctrl-D ends it.");
    }
    let errands = Errands::of(&packed.agent, &options.instead)?;
    let missing = errands.missing();
    if !missing.is_empty() {
        out.note(&format!(
            "without {}: calls that need such a secret are refused, as on a stack where it is not set",
            missing.join(", ")
        ));
    }
    let trial = Trial {
        packed,
        errands,
        brief,
        models,
        no_sandbox: options.no_sandbox,
        keep: options.keep,
        program: if options.shell { Program::Shell } else { Program::Agent },
    };
    let said = |said: Said| {
        // A reader that went away is told at the end.
        let _told = tell(out, &said);
    };
    let report = trial.run(said).await?;
    if options.shell {
        if let Some(kept) = &report.kept {
            out.note(&format!("Its workspace: {}", kept.display()));
        }
        return Ok(0);
    }
    if let Some(folder) = &options.out {
        write(folder, &report)?;
    }
    out.result(&shown(&name, &report), |_| text(&name, &report, options.out.as_deref()))?;
    Ok(if report.is_good() { 0 } else { failure::FAILED })
}

/// Prints the environment a run finds.
pub(super) async fn environment(file: PathBuf, out: &Out) -> Result<u8> {
    let packed = pack(&file).await?;
    let trial = Trial {
        errands: Errands::of(&packed.agent, &[])?,
        packed,
        brief: Brief::read(None, Kind::Work, None)?,
        models: Models::Simulated,
        no_sandbox: false,
        keep: false,
        program: Program::Environment,
    };
    let report = trial.run(|_said| {}).await?;
    let found = report.files.get("environment").with_context(|| {
        let log = render::plain(&report.log);
        format!("ask a run for its environment: {}; {log}", outcome(&report))
    })?;
    let text = String::from_utf8_lossy(found);
    let mut all: Vec<(&str, &str)> = text.split('\0').filter_map(|one| one.split_once('=')).collect();
    all.sort_unstable();
    let value: serde_json::Map<String, Value> = all
        .iter()
        .map(|(name, value)| ((*name).to_owned(), json!(value)))
        .collect();
    out.result(&Value::Object(value), |_| {
        all.iter().map(|(name, value)| format!("{name}={value}\n")).collect()
    })?;
    Ok(0)
}

async fn pack(file: &Path) -> Result<Packed> {
    let file = bundle::agent_file(file);
    let file = file.canonicalize().unwrap_or(file);
    tokio::task::spawn_blocking(move || bundle::pack(&file))
        .await
        .context("pack the folder")?
}

fn models(url: Option<&str>) -> Result<Models> {
    let Some(text) = url else { return Ok(Models::Simulated) };
    let url = text
        .parse()
        .map_err(|_error| Failure::Usage(format!("--model-url: {text} is no address")))?;
    let key = |name: &str| env::variable(name).map(SecretString::from);
    Ok(Models::Real {
        url,
        openai: key("OPENAI_API_KEY"),
        anthropic: key("ANTHROPIC_API_KEY"),
    })
}

fn tell(out: &Out, said: &Said) -> Result<()> {
    if out.json() {
        return out.line(&json!({ "event": said.kind, "text": said.text }).to_string());
    }
    out.line(&format!("{:>10}  {}", said.kind, render::plain(&said.text)))
}

/// Names were checked where they came from, but a folder is only written into.
fn write(folder: &Path, report: &Report) -> Result<()> {
    for (name, body) in &report.files {
        let path = folder.join(name);
        if let Some(parent) = path.parent() {
            std::fs::create_dir_all(parent).with_context(|| format!("make {}", parent.display()))?;
        }
        std::fs::write(&path, body).with_context(|| format!("write {}", path.display()))?;
    }
    Ok(())
}

/// What came of it, as a sentence.
fn outcome(report: &Report) -> String {
    match &report.outcome {
        Some(Outcome::ResultJson(_)) => report
            .held()
            .map_or("done".to_owned(), |why| format!("done, but waits for a human: {why}")),
        Some(Outcome::Failed(failed)) => format!("failed ({}): {}", failed.reason, failed.detail),
        Some(Outcome::Waiting(waiting)) => format!("waits for a message, {} s at most", waiting.timeout_secs),
        Some(Outcome::RetryLater(later)) => format!("wants to be started again after {} s", later.after_secs),
        Some(Outcome::CannotDo(cannot)) => format!("cannot do this: {}", cannot.reason),
        Some(Outcome::HandedBack(back)) => format!("was handed back: {}", back.reason),
        None => "ended in a way this release does not know".to_owned(),
    }
}

fn shown(name: &str, report: &Report) -> Value {
    let files = report
        .files
        .iter()
        .map(|(name, body)| json!({ "name": name, "bytes": body.len() }));
    json!({
        "agent": name,
        "good": report.is_good(),
        "outcome": outcome(report),
        "refused": report.verdict.refused,
        "held": report.verdict.held,
        "result": report.result(),
        "files": files.collect::<Vec<_>>(),
        "models": report.spent.json(),
        "calls": report.spent.calls(),
        "cost_micro_usd": report.spent.micro_usd(),
        "isolation": report.isolation,
        "milliseconds": u64::try_from(report.took.as_millis()).unwrap_or(u64::MAX),
        "workspace": report.kept,
        "log": report.log,
    })
}

fn text(name: &str, report: &Report, folder: Option<&Path>) -> String {
    let mut lines = vec![String::new(), format!("{name} {}", render::plain(&outcome(report)))];
    if let Some(result) = report.result() {
        for field in ["notes", "text", "cover_letter", "amount_usdc", "decline", "reason"] {
            if let Some(said) = result[field].as_str() {
                lines.push(format!("  {field}: {}", render::plain(said)));
            }
        }
    }
    for (file, body) in &report.files {
        let place = folder.map_or(String::new(), |folder| format!(" -> {}", folder.join(file).display()));
        lines.push(format!("  file {} ({} bytes){place}", render::plain(file), body.len()));
    }
    let stops = report.verdict.refused.iter().map(|why| ("refused", why));
    let stops = stops.chain(report.verdict.held.iter().map(|why| ("held for you", why)));
    lines.extend(stops.map(|(word, why)| format!("  on a stack it would be {word}: {}", render::plain(why))));
    for used in report.spent.json().as_array().into_iter().flatten() {
        let model = used["model"].as_str().unwrap_or_default();
        lines.push(format!(
            "  {}: {} calls, {} tokens in ({} cached), {} out",
            render::plain(model),
            used["calls"],
            used["input"],
            used["cached"],
            used["output"]
        ));
    }
    let micro = report.spent.micro_usd();
    lines.push(format!(
        "  cost ${}.{:06}, {:.1} s, isolation {}",
        micro / 1_000_000,
        micro % 1_000_000,
        report.took.as_secs_f64(),
        report.isolation
    ));
    let unpriced = report.spent.unpriced();
    if !unpriced.is_empty() {
        lines.push(format!(
            "  without a price, and not in the cost: {}",
            unpriced.join(", ")
        ));
    }
    if let Some(kept) = &report.kept {
        lines.push(format!("  workspace: {}", kept.display()));
    }
    if !report.is_good() && !report.log.trim().is_empty() {
        let log: Vec<&str> = report.log.lines().collect();
        lines.push("  the end of its log:".to_owned());
        lines.extend(
            log.iter()
                .skip(log.len().saturating_sub(LOG_LINES))
                .map(|line| format!("    {}", render::plain(line))),
        );
    }
    lines.join("\n").trim_start().to_owned()
}
