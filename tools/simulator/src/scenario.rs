//! Scenarios: what happens on the market, and when, written down in TOML.
//!
//! Times count from the moment the scenario is loaded, and run as fast as `time_scale` says.

use std::{collections::HashSet, sync::Arc, time::Duration};

use serde::Deserialize;
use serde_json::{Map, Value, json};
use toml::Spanned;
use uuid::Uuid;

use crate::{
    acts::{Act, Echo, Hire, Message, Moderate, Names, Resolve, Review, Words, perform},
    app::App,
    faults::{Faults, Spec},
    refusal::Refusal,
    settings::Settings,
    sync::lock,
    time::iso,
    timers::Action,
    world::GigSpec,
};

/// Steps of one scenario.
const MAX_STEPS: usize = 10_000;
/// Shortest wait before a step that is not possible yet is tried again.
const AGAIN: Duration = Duration::from_secs(1);
/// The longest wait.
const LONGEST: Duration = Duration::from_secs(366 * 86_400);
/// How often it is tried at most.
const TRIES: u32 = 200;

/// A scenario as it is written.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    /// Settings put in force before the first step.
    settings: Option<Spanned<Map<String, Value>>>,
    #[serde(default)]
    step: Vec<Spanned<Step>>,
}

/// One step as it is written: when, and exactly one act.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Step {
    at: String,
    /// How long it is tried if it is not possible at once; by default only once.
    within: Option<String>,
    /// What later steps call the gig that is posted.
    name: Option<String>,
    post: Option<Box<GigSpec>>,
    accept: Option<String>,
    hire: Option<Hire>,
    fund: Option<String>,
    approve: Option<String>,
    cancel: Option<String>,
    close: Option<String>,
    dispute: Option<Words>,
    resolve: Option<Resolve>,
    revise: Option<Words>,
    review: Option<Review>,
    message: Option<Message>,
    moderate: Option<Moderate>,
    echo: Option<Echo>,
    suspend: Option<String>,
    activate: Option<String>,
    regenerate_key: Option<String>,
    faults: Option<Vec<Spec>>,
    settings: Option<Map<String, Value>>,
}

/// One step, ready to be done.
#[derive(Clone, Debug)]
struct Planned {
    line: usize,
    at: Duration,
    /// How long it is tried still.
    within: Duration,
    /// The wait between two tries.
    again: Duration,
    name: Option<String>,
    act: Act,
    fate: Fate,
}

#[derive(Clone, Debug)]
enum Fate {
    Waiting,
    Done { at: String },
    Failed { why: String },
}

/// The scenario that runs, if one does.
#[derive(Debug, Default)]
pub struct Scenario {
    /// Counts loads, so that timers of an earlier scenario do nothing.
    load: u64,
    steps: Vec<Planned>,
    names: Names,
}

impl Scenario {
    /// Forgets the steps.
    pub fn clear(&mut self) {
        self.steps.clear();
        self.names.clear();
    }

    /// Every step with what became of it.
    pub fn shown(&self) -> Value {
        let rows: Vec<Value> = self
            .steps
            .iter()
            .map(|step| {
                let (state, detail) = match &step.fate {
                    Fate::Waiting => ("waiting", None),
                    Fate::Done { at } => ("done", Some(at)),
                    Fate::Failed { why } => ("failed", Some(why)),
                };
                json!({ "line": step.line, "at_seconds": step.at.as_secs_f64(), "state": state, "detail": detail })
            })
            .collect();
        let count = |state: &str| rows.iter().filter(|row| row["state"] == state).count();
        json!({
            "steps": rows.len(),
            "waiting": count("waiting"),
            "done": count("done"),
            "failed": count("failed"),
            "data": rows,
        })
    }
}

/// Replaces the running scenario by what `text` says, and starts it.
///
/// # Errors
/// A sentence with the line of what is not understood; then nothing is changed.
pub fn load(app: &App, text: &str) -> Result<(), String> {
    let file: File = toml::from_str(text).map_err(|error| format!("scenario not loaded: {error}"))?;
    let line = |at: usize| {
        1 + text.as_bytes()[..at.min(text.len())]
            .iter()
            .filter(|b| **b == b'\n')
            .count()
    };
    let wrong = |at: usize, why: String| format!("scenario not loaded: line {}: {why}", line(at));
    let now = app.see(|world| world.settings().clone());
    let settings = match file.settings {
        Some(patch) => {
            let at = patch.span().start;
            now.patched(patch.into_inner()).map_err(|why| wrong(at, why))?
        }
        None => now,
    };
    if file.step.len() > MAX_STEPS {
        return Err(format!("scenario not loaded: at most {MAX_STEPS} steps"));
    }
    let mut steps = Vec::new();
    let mut known = HashSet::new();
    for step in file.step {
        let at = step.span().start;
        let step = planned(step.into_inner(), line(at), &settings, &mut known).map_err(|why| wrong(at, why))?;
        steps.push(step);
    }
    app.act(|world| world.set_settings(settings.clone()));
    let waits: Vec<Duration> = steps.iter().map(|step| settings.scaled(step.at)).collect();
    let load = {
        let mut scenario = lock(&app.scenario);
        scenario.clear();
        scenario.load += 1;
        scenario.steps = steps;
        scenario.load
    };
    for (wait, step) in waits.into_iter().zip(0..) {
        app.after(wait, Action::Step { load, step });
    }
    Ok(())
}

fn planned(step: Step, line: usize, settings: &Settings, known: &mut HashSet<String>) -> Result<Planned, String> {
    let duration = |text: &str| match humantime::parse_duration(text) {
        Ok(found) if found <= LONGEST => Ok(found),
        _ => Err(format!("{text:?} is no duration such as \"10m\", of at most 366 days")),
    };
    let (at, within) = (
        duration(&step.at)?,
        step.within.as_deref().map_or(Ok(Duration::ZERO), duration)?,
    );
    let name = step.name.clone();
    let act = act(step)?;
    match (&name, &act) {
        (Some(name), Act::Post(_)) => {
            known.insert(name.clone());
        }
        (Some(_), _) => return Err("name belongs to a step that posts".to_owned()),
        (None, _) => {}
    }
    if let Some(of) = act.of()
        && !known.contains(of)
        && of.parse::<Uuid>().is_err()
    {
        return Err(format!("no earlier step posts a gig named {of:?}"));
    }
    match &act {
        Act::Faults(specs) => Faults::new(0).arm(specs.clone())?,
        Act::Settings(patch) => settings.patched(patch.clone()).map(drop)?,
        _ => {}
    }
    Ok(Planned {
        line,
        at,
        within,
        again: (within / TRIES).max(AGAIN),
        name,
        act,
        fate: Fate::Waiting,
    })
}

/// The one act of a step.
fn act(step: Step) -> Result<Act, String> {
    let acts = [
        step.post.map(Act::Post),
        step.accept.map(Act::Accept),
        step.hire.map(Act::Hire),
        step.fund.map(Act::Fund),
        step.approve.map(Act::Approve),
        step.cancel.map(Act::Cancel),
        step.close.map(Act::Close),
        step.dispute.map(Act::Dispute),
        step.resolve.map(Act::Resolve),
        step.revise.map(Act::Revise),
        step.review.map(Act::Review),
        step.message.map(Act::Message),
        step.moderate.map(Act::Moderate),
        step.echo.map(Act::Echo),
        step.suspend.map(Act::Suspend),
        step.activate.map(Act::Activate),
        step.regenerate_key.map(Act::ReplaceKey),
        step.faults.map(Act::Faults),
        step.settings.map(Act::Settings),
    ];
    let mut acts = acts.into_iter().flatten();
    match (acts.next(), acts.next()) {
        (Some(act), None) => Ok(act),
        (None, _) => Err("a step needs an act, such as post or accept".to_owned()),
        (Some(_), Some(_)) => Err("a step has one act; write another [[step]]".to_owned()),
    }
}

/// Does a step, or plans to try it again.
pub fn step(app: &Arc<App>, load: u64, step: u64) {
    let place = step as usize;
    let found = {
        let scenario = lock(&app.scenario);
        let current = scenario.load == load;
        let step = scenario.steps.get(place).filter(|_| current).cloned();
        step.map(|step| (step, scenario.names.clone()))
    };
    let Some((planned, names)) = found else {
        return;
    };
    let outcome = perform(app, &names, &planned.act);
    let now = iso(app.clock.now());
    let again = {
        let mut scenario = lock(&app.scenario);
        let current = scenario.load == load;
        current
            .then(|| settle(&mut scenario, place, planned, outcome, now))
            .flatten()
    };
    if let Some(again) = again {
        let wait = app.see(|world| world.settings().scaled(again));
        app.after(wait, Action::Step { load, step });
    }
}

/// Writes down how a step ended; how long to wait before it is tried again, if it is.
fn settle(
    scenario: &mut Scenario,
    place: usize,
    planned: Planned,
    outcome: Result<Value, Refusal>,
    now: String,
) -> Option<Duration> {
    let step = scenario.steps.get_mut(place)?;
    match outcome {
        Ok(answer) => {
            step.fate = Fate::Done { at: now };
            let posted = answer["gig_ids"][0].as_str().and_then(|id| id.parse::<Uuid>().ok());
            scenario.names.extend(planned.name.zip(posted));
            None
        }
        Err(_) if step.within >= step.again => {
            step.within -= step.again;
            Some(step.again)
        }
        Err(refusal) => {
            step.fate = Fate::Failed { why: refusal.message };
            None
        }
    }
}
