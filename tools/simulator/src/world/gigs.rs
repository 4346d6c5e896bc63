//! Gigs: posting and listing.

use chrono::{DateTime, TimeDelta, Utc};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use uuid::Uuid;

use super::{World, agents::Standing, odd, profile::CATEGORIES, templates};
use crate::{dialect::Dialect, money::Micro, refusal::Refusal, rng::Rng, time::iso};

/// Most gigs posted by one order.
const MAX_COUNT: u64 = 10_000;
/// Proposals of a gig in the SDK's words, unless its client said otherwise.
const SDK_PROPOSALS: u64 = 50;

/// What the played client of a gig does by itself, each after so many milliseconds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Auto {
    pub accept: Option<u64>,
    pub fund: Option<u64>,
    pub approve: Option<u64>,
}

/// A gig as ordered; what is absent is made up.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct GigSpec {
    pub count: Option<u64>,
    pub template: Option<String>,
    pub title: Option<String>,
    pub description: Option<String>,
    pub category: Option<String>,
    pub budget_usdc: Option<Micro>,
    pub budget_type: Option<String>,
    pub skills_required: Option<Vec<String>>,
    pub deliverables: Option<Value>,
    pub max_proposals: Option<u64>,
    pub moderation_status: Option<String>,
    /// RFC 3339, or `"none"`; absent gives one within two weeks.
    pub deadline: Option<String>,
    /// `true`, or any of accept, fund, approve as true, false or milliseconds.
    pub auto: Option<Value>,
}

/// One gig.
#[derive(Clone, Debug)]
pub struct Gig {
    pub id: Uuid,
    pub client: Uuid,
    pub client_name: &'static str,
    /// The agent that posted it, if an agent did.
    pub poster: Option<Uuid>,
    pub title: String,
    pub description: String,
    pub category: String,
    pub skills: Vec<String>,
    pub budget: Micro,
    pub budget_type: String,
    pub status: &'static str,
    pub moderation: String,
    pub deadline: Option<String>,
    pub deliverables: Option<Value>,
    pub max_proposals: Option<u64>,
    pub proposals: Vec<Uuid>,
    pub auto: Auto,
    /// Of a gig of the realistic market: what decides about it.
    pub dice: Option<Rng>,
    /// Bids of agents that are not registered here.
    pub rivals: u64,
    pub created_at: DateTime<Utc>,
    pub updated_at: DateTime<Utc>,
}

impl Gig {
    /// Whether agents see it among open gigs.
    pub fn is_listed(&self) -> bool {
        self.moderation == "approved"
    }

    /// Moves it on.
    pub fn move_to(&mut self, status: &'static str, now: DateTime<Utc>) {
        self.status = status;
        self.updated_at = now;
    }
}

impl World {
    /// Posts the gigs ordered and tells the agents they concern.
    pub fn post_gigs(&mut self, spec: &GigSpec) -> Result<Vec<Uuid>, Refusal> {
        let count = spec.count.unwrap_or(1);
        if count > MAX_COUNT {
            return Err(Refusal::invalid(format!("count must be at most {MAX_COUNT}")));
        }
        self.check_gig(spec)?;
        let auto = self.auto(spec.auto.as_ref())?;
        (0..count).map(|_| self.post_gig(spec, auto, None)).collect()
    }

    pub(super) fn post_gig(&mut self, spec: &GigSpec, auto: Auto, poster: Option<Uuid>) -> Result<Uuid, Refusal> {
        self.gigs.room("gigs")?;
        let now = self.now();
        let (category, skills) = self.subject(spec);
        let template = spec.template.as_deref().unwrap_or(templates::for_category(&category));
        let mut made_up = templates::compose(&mut self.rng, template, &skills);
        if let Some((title, description)) = odd::brief(template) {
            made_up = templates::Composed {
                title,
                description,
                ..made_up
            };
        }
        let (client, client_name) = self.client();
        let days = 2 + self.rng.below(12);
        let deadline = match spec.deadline.as_deref() {
            Some("none") => None,
            Some(deadline) => Some(deadline.to_owned()),
            None => Some(iso(now + TimeDelta::days(days as i64))),
        };
        let gig = Gig {
            id: self.ids.next(),
            client,
            client_name,
            poster,
            title: spec.title.clone().unwrap_or(made_up.title),
            description: spec.description.clone().unwrap_or(made_up.description),
            category,
            skills,
            budget: spec.budget_usdc.unwrap_or(made_up.budget),
            budget_type: spec.budget_type.clone().unwrap_or_else(|| "fixed".to_owned()),
            status: "open",
            moderation: spec.moderation_status.clone().unwrap_or_else(|| "approved".to_owned()),
            deadline,
            deliverables: spec.deliverables.clone(),
            max_proposals: spec.max_proposals.or(self.usual_cap()),
            proposals: Vec::new(),
            auto,
            dice: None,
            rivals: 0,
            created_at: now,
            updated_at: now,
        };
        let id = gig.id;
        self.announce(&gig);
        self.gigs.push(id, gig);
        Ok(id)
    }

    /// The most proposals of a gig whose client named no number: the SDK knows no gig without one.
    fn usual_cap(&self) -> Option<u64> {
        (self.settings.dialect == Dialect::Sdk).then_some(SDK_PROPOSALS)
    }

    pub(super) fn announce(&mut self, gig: &Gig) {
        if !gig.is_listed() {
            return;
        }
        let data = json!({
            "gig_id": gig.id,
            "title": gig.title,
            "description": gig.description,
            "category": gig.category,
            "budget": gig.budget,
            "skills_required": gig.skills,
            "deadline": gig.deadline,
            "proposals_count": 0,
            "client_name": gig.client_name,
            "submit_proposal_url": self.api(&format!("/gigs/{}/proposals", gig.id)),
        });
        let broadcast = self.settings.broadcast;
        let concerned: Vec<Uuid> = self
            .agents
            .iter()
            .filter(|agent| agent.standing == Standing::Active)
            .filter(|agent| broadcast || agent.categories.contains(&gig.category))
            .map(|agent| agent.id)
            .collect();
        for agent in concerned {
            self.tell(agent, "gig.posted", data.clone());
        }
    }

    /// Category and skills: as ordered, else as the template has them, else as a ready agent does.
    fn subject(&self, spec: &GigSpec) -> (String, Vec<String>) {
        let fitting = self.agents.iter().find(|agent| {
            let category = spec.category.as_ref();
            self.may_bid(agent).is_ok() && category.is_none_or(|category| agent.categories.contains(category))
        });
        let (category, skills) = match (spec.template.as_deref(), fitting) {
            (Some(template), _) => templates::subject(template),
            (None, Some(agent)) => (
                agent.categories.first().cloned().unwrap_or_default(),
                agent.skills.iter().take(2).cloned().collect(),
            ),
            (None, None) => templates::subject("code"),
        };
        (
            spec.category.clone().unwrap_or(category),
            spec.skills_required.clone().unwrap_or(skills),
        )
    }

    pub(super) fn check_gig(&self, spec: &GigSpec) -> Result<(), Refusal> {
        let category = spec.category.as_deref();
        let template = spec.template.as_deref();
        let deadline = spec.deadline.as_deref().filter(|deadline| *deadline != "none");
        let known = || templates::NAMES.into_iter().chain(odd::NAMES);
        let wrong = if template.is_some_and(|name| known().all(|one| one != name)) {
            let all: Vec<&str> = known().collect();
            Some(format!("template must be of: {}", all.join(", ")))
        } else if category.is_some_and(|name| !CATEGORIES.contains(&name)) {
            Some(format!("category must be of: {}", CATEGORIES.join(", ")))
        } else if spec.budget_usdc.is_some_and(|budget| budget.0 <= 0) {
            Some("budget_usdc must be above 0".to_owned())
        } else if deadline.is_some_and(|text| DateTime::parse_from_rfc3339(text).is_err()) {
            Some("deadline must be RFC 3339 or \"none\"".to_owned())
        } else {
            None
        };
        wrong.map_or(Ok(()), |wrong| Err(Refusal::invalid(wrong)))
    }

    fn auto(&self, auto: Option<&Value>) -> Result<Auto, Refusal> {
        let usual = self.settings.auto_delay_ms;
        let delay = |value: Option<&Value>| match value {
            None | Some(Value::Null | Value::Bool(false)) => Ok(None),
            Some(Value::Bool(true)) => Ok(Some(usual)),
            Some(value) => value
                .as_u64()
                .map(Some)
                .ok_or_else(|| Refusal::invalid("auto: each of accept, fund, approve is true, false or milliseconds")),
        };
        let Some(Value::Object(steps)) = auto else {
            let each = delay(auto)?;
            return Ok(Auto {
                accept: each,
                fund: each,
                approve: each,
            });
        };
        let known = ["accept", "fund", "approve"];
        if let Some(unknown) = steps.keys().find(|step| !known.contains(&step.as_str())) {
            return Err(Refusal::invalid(format!("auto: unknown step {unknown:?}")));
        }
        Ok(Auto {
            accept: delay(steps.get("accept"))?,
            fund: delay(steps.get("fund"))?,
            approve: delay(steps.get("approve"))?,
        })
    }

    /// A gig agents can see.
    pub fn gig(&self, id: Uuid) -> Result<&Gig, Refusal> {
        self.gigs
            .get(id)
            .filter(|gig| gig.is_listed())
            .ok_or_else(|| Refusal::missing("Gig"))
    }
}
