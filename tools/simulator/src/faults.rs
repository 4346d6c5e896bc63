//! Faults: what goes wrong, where, how often.

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use crate::rng::Rng;

pub mod inject;

/// Faults armed at once.
const MAX_ARMED: usize = 100;

/// Where a fault strikes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum On {
    Deliver,
    Propose,
    Message,
    Upload,
    Rotate,
    /// Every read of the marketplace.
    List,
    /// Webhooks the platform sends.
    Webhook,
    /// Calls to the model providers.
    Llm,
    /// Everywhere its kind makes sense, other marketplace calls included.
    Any,
    /// A marketplace call with no name here; reached by `any` only.
    #[serde(skip)]
    Other,
}

/// What goes wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Kind {
    /// 429; `args.retry_after` seconds (default 1), `"none"` or `"http_date"` (with `args.secs`).
    #[serde(rename = "http_429")]
    Http429,
    /// 500 in the platform's own form, nothing done.
    #[serde(rename = "http_500")]
    Http500,
    /// 502 with an HTML page, nothing done.
    #[serde(rename = "http_502_html")]
    Http502Html,
    /// 402 as a suspended host answers, nothing done.
    #[serde(rename = "http_402")]
    Http402,
    /// The answer comes `args.ms` late (default 30000); with `args.when` = `"before"` the effect
    /// itself is that late, and happens even if the caller has left.
    Slow,
    /// The connection is cut before anything is done.
    ResetBefore,
    /// It is done, then the connection is cut instead of an answer.
    ResetAfterCommit,
    /// It is done, and answered 200 with something that is not JSON.
    Garbage,
    /// The answer stops halfway and the connection is cut.
    StopMidstream,
    /// The webhook is sent `args.copies` times at once (default 2).
    Duplicate,
    /// The webhook is sent after the agent's next one, or after `args.ms` (default 1000).
    Reorder,
    /// The webhook is sent `args.ms` late (default 2000).
    Delay,
    /// The webhook is never sent.
    Drop,
    /// One attempt is signed wrongly.
    BadSignature,
    /// One attempt is signed with the secret before the last rotation, as one queued before it may be.
    OldSecret,
    /// The amounts of a contract.approved are rounded against each other to `args.places` decimals (default 2).
    OddRounding,
    /// The gig is closed between the agent's look at it and its proposal.
    GigClosed,
    /// Others made the gig's last proposals meanwhile.
    ProposalCap,
    /// One attempt's timestamp is `args.secs` old (default 3600).
    StaleTimestamp,
}

impl Kind {
    /// Whether this can happen at `place`.
    fn applies(self, place: On) -> bool {
        match self {
            Self::Duplicate
            | Self::Reorder
            | Self::Delay
            | Self::Drop
            | Self::BadSignature
            | Self::OldSecret
            | Self::OddRounding
            | Self::StaleTimestamp => place == On::Webhook,
            Self::GigClosed | Self::ProposalCap => place == On::Propose,
            _ => place != On::Webhook,
        }
    }

    /// Its name on the wire.
    pub fn name(self) -> &'static str {
        match self {
            Self::Http429 => "http_429",
            Self::Http500 => "http_500",
            Self::Http502Html => "http_502_html",
            Self::Http402 => "http_402",
            Self::Slow => "slow",
            Self::ResetBefore => "reset_before",
            Self::ResetAfterCommit => "reset_after_commit",
            Self::Garbage => "garbage",
            Self::StopMidstream => "stop_midstream",
            Self::Duplicate => "duplicate",
            Self::Reorder => "reorder",
            Self::Delay => "delay",
            Self::Drop => "drop",
            Self::BadSignature => "bad_signature",
            Self::OldSecret => "old_secret",
            Self::OddRounding => "odd_rounding",
            Self::GigClosed => "gig_closed",
            Self::ProposalCap => "proposal_cap",
            Self::StaleTimestamp => "stale_timestamp",
        }
    }
}

/// One fault as ordered through `PUT /control/faults`.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Spec {
    /// Where.
    pub on: On,
    /// What.
    pub kind: Kind,
    /// How likely at each chance, 0 to 1.
    #[serde(default = "always")]
    pub rate: f64,
    /// How many times, then never again; none for ever.
    #[serde(default)]
    pub count: Option<u64>,
    /// Seed of its dice; by default the process's seed and its place in the list.
    #[serde(default)]
    pub seed: Option<u64>,
    /// Particulars, by kind. `event` restricts a webhook fault to one event.
    #[serde(default)]
    pub args: Map<String, Value>,
}

fn always() -> f64 {
    1.0
}

/// A fault that struck.
#[derive(Clone, Debug)]
pub struct Fault {
    pub kind: Kind,
    args: Map<String, Value>,
}

impl Fault {
    /// A whole number among the particulars.
    pub fn number(&self, name: &str, default: u64) -> u64 {
        self.args.get(name).and_then(Value::as_u64).unwrap_or(default)
    }

    /// A word among the particulars.
    pub fn word(&self, name: &str) -> Option<&str> {
        self.args.get(name).and_then(Value::as_str)
    }
}

#[derive(Debug)]
struct Armed {
    spec: Spec,
    dice: Rng,
    left: Option<u64>,
    struck: u64,
}

/// The armed faults.
#[derive(Debug)]
pub struct Faults {
    seed: u64,
    armed: Vec<Armed>,
}

impl Faults {
    pub fn new(seed: u64) -> Self {
        Self {
            seed,
            armed: Vec::new(),
        }
    }

    pub fn clear(&mut self) {
        self.armed.clear();
    }

    /// Replaces all faults.
    ///
    /// # Errors
    /// A sentence naming the fault that cannot be, by its place in the list.
    pub fn arm(&mut self, specs: Vec<Spec>) -> Result<(), String> {
        if specs.len() > MAX_ARMED {
            return Err(format!("at most {MAX_ARMED} faults at once"));
        }
        for (place, spec) in specs.iter().enumerate() {
            if !(0.0..=1.0).contains(&spec.rate) {
                return Err(format!("fault {place}: rate must lie between 0 and 1"));
            }
            if spec.on != On::Any && !spec.kind.applies(spec.on) {
                let kind = spec.kind.name();
                return Err(format!("fault {place}: {kind} cannot happen there"));
            }
        }
        let seed = self.seed;
        self.armed = specs
            .into_iter()
            .zip(1..)
            .map(|(spec, place)| Armed {
                dice: Rng::new(spec.seed.unwrap_or(seed.wrapping_add(place))),
                left: spec.count,
                struck: 0,
                spec,
            })
            .collect();
        Ok(())
    }

    /// Rolls for a marketplace or model call.
    pub fn strike(&mut self, place: On) -> Option<Fault> {
        self.roll(|spec| spec.kind.applies(place) && (spec.on == place || spec.on == On::Any))
    }

    /// Rolls for a webhook of `event`, among `kinds`.
    pub fn strike_webhook(&mut self, event: &str, kinds: &[Kind]) -> Option<Fault> {
        self.roll(|spec| {
            matches!(spec.on, On::Webhook | On::Any)
                && kinds.contains(&spec.kind)
                && spec
                    .args
                    .get("event")
                    .and_then(Value::as_str)
                    .is_none_or(|only| only == event)
        })
    }

    /// The armed faults with how often each struck.
    pub fn list(&self) -> Vec<Value> {
        self.armed
            .iter()
            .map(|armed| {
                let mut shown = serde_json::to_value(&armed.spec).unwrap_or_default();
                shown["struck"] = armed.struck.into();
                shown
            })
            .collect()
    }

    fn roll(&mut self, fits: impl Fn(&Spec) -> bool) -> Option<Fault> {
        let armed = self.armed.iter_mut().find_map(|armed| {
            let struck = fits(&armed.spec) && armed.left != Some(0) && armed.dice.chance(armed.spec.rate);
            struck.then_some(armed)
        })?;
        armed.left = armed.left.map(|left| left - 1);
        armed.struck += 1;
        Some(Fault {
            kind: armed.spec.kind,
            args: armed.spec.args.clone(),
        })
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn armed(specs: Value) -> Faults {
        let mut faults = Faults::new(1);
        faults.arm(serde_json::from_value(specs).unwrap()).unwrap();
        faults
    }

    #[test]
    fn a_counted_fault_strikes_that_often_and_no_more() {
        let mut faults = armed(json!([{"on": "deliver", "kind": "http_500", "count": 2}]));
        assert!(faults.strike(On::Propose).is_none());
        assert!(faults.strike(On::Deliver).is_some());
        assert!(faults.strike(On::Deliver).is_some());
        assert!(faults.strike(On::Deliver).is_none());
    }

    #[test]
    fn the_same_seed_strikes_at_the_same_calls() {
        let run = || {
            let mut faults = armed(json!([{"on": "any", "kind": "reset_before", "rate": 0.3, "seed": 9}]));
            (0..100).map(|_| faults.strike(On::List).is_some()).collect::<Vec<_>>()
        };
        let struck = run();
        assert_eq!(struck, run());
        let times = struck.iter().filter(|struck| **struck).count();
        assert!((10..60).contains(&times), "{times}");
    }

    #[test]
    fn a_fault_that_cannot_happen_there_is_refused() {
        let mut faults = Faults::new(1);
        let specs = serde_json::from_value(json!([{"on": "deliver", "kind": "drop"}])).unwrap();
        assert!(faults.arm(specs).unwrap_err().contains("drop"));
    }
}
