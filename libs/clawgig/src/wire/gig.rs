//! Gigs and proposals.

use chrono::{DateTime, Utc};
use serde_json::{Value, json};

use crate::fields::{self, Fields};
use crate::money;
use crate::status::{BudgetType, GigStatus, ProposalStatus};
use crate::wire::Read;

/// A gig, as listed or read alone.
#[derive(Clone, Debug, PartialEq)]
pub struct Gig {
    /// The gig.
    pub id: String,
    /// Who posted it.
    pub client_id: Option<String>,
    /// The agent that posted it, if an agent did.
    pub created_by_agent_id: Option<String>,
    /// The client's name, where given.
    pub client_name: Option<String>,
    /// 5 to 120 characters, foreign text.
    pub title: String,
    /// The brief, foreign text.
    pub description: String,
    /// One of an open set: code, content, data, design, research, translation, other, …
    pub category: Option<String>,
    /// Skills asked for.
    pub skills: Vec<String>,
    /// Budget in micro-USDC.
    pub budget_micro: Option<i64>,
    /// How it pays.
    pub budget_type: Option<BudgetType>,
    /// Its state; absent in some lists, which hold open gigs only.
    pub status: Option<GigStatus>,
    /// `pending`, `approved`, `rejected`, …
    pub moderation_status: Option<String>,
    /// When it is due.
    pub deadline: Option<DateTime<Utc>>,
    /// What is to be delivered, foreign text.
    pub deliverables: Option<String>,
    /// How many proposals it takes; unlimited when absent.
    pub max_proposals: Option<u64>,
    /// How many it has.
    pub proposal_count: Option<u64>,
    /// When it was posted.
    pub created_at: Option<DateTime<Utc>>,
}

impl Gig {
    pub(crate) fn from_fields(f: &mut Fields<'_>) -> Option<Self> {
        let client_name = f.text(&["client_name"]);
        let nested_name = f
            .object("client", "gig_client")
            .and_then(|mut client| client.text(&["name", "username"]));
        Some(Self {
            id: f.id(&["id", "gig_id"])?,
            client_id: f.id_or_nested(&["client_id"], "client"),
            created_by_agent_id: f.id(&["created_by_agent_id"]),
            client_name: client_name.or(nested_name),
            title: f.text(&["title", "gig_title"]).unwrap_or_default(),
            description: f.text(&["description"]).unwrap_or_default(),
            category: f.text(&["category"]),
            skills: f.words(&["skills_required", "skills"]),
            budget_micro: f.micro(&["budget_usdc", "budget", "budget_amount"]),
            budget_type: f.text(&["budget_type"]).map(|text| BudgetType::read(&text)),
            status: f.text(&["status"]).map(|text| GigStatus::read(&text)),
            moderation_status: f.text(&["moderation_status"]),
            deadline: f.time(&["deadline"]),
            deliverables: deliverables(f),
            max_proposals: f.count(&["max_proposals"]),
            proposal_count: f.count(&["proposal_count", "proposals_count"]),
            created_at: f.time(&["created_at"]),
        })
    }
}

fn deliverables(f: &mut Fields<'_>) -> Option<String> {
    let words = match f.get(&["deliverables"])? {
        Value::Array(_) => f.words(&["deliverables"]).join("\n"),
        other => fields::text_of(other)?,
    };
    (!words.is_empty()).then_some(words)
}

impl Read for Gig {
    fn read(value: &Value) -> Option<Self> {
        let mut f = Fields::of("gig", value)?;
        let gig = Self::from_fields(&mut f)?;
        f.get(&["updated_at", "submit_proposal_url"]);
        f.finish();
        Some(gig)
    }

    fn id(&self) -> &str {
        &self.id
    }
}

/// One of our proposals.
#[derive(Clone, Debug, PartialEq)]
pub struct Proposal {
    /// The proposal.
    pub id: String,
    /// The gig it is for.
    pub gig_id: Option<String>,
    /// Who made it.
    pub agent_id: Option<String>,
    /// What it said.
    pub cover_letter: Option<String>,
    /// The price asked, micro-USDC.
    pub amount_micro: Option<i64>,
    /// Its state.
    pub status: ProposalStatus,
    /// When it was made.
    pub created_at: Option<DateTime<Utc>>,
}

impl Read for Proposal {
    fn read(value: &Value) -> Option<Self> {
        let mut f = Fields::of("proposal", value)?;
        let proposal = Self {
            id: f.id(&["id", "proposal_id"])?,
            gig_id: f.id_or_nested(&["gig_id"], "gig"),
            agent_id: f.id_or_nested(&["agent_id"], "agent"),
            cover_letter: f.text(&["cover_letter"]),
            amount_micro: f.micro(&["proposed_amount_usdc", "proposed_amount", "amount_usdc", "amount"]),
            status: f
                .text(&["status"])
                .map_or(ProposalStatus::Pending, |text| ProposalStatus::read(&text)),
            created_at: f.time(&["created_at"]),
        };
        f.get(&["estimated_hours", "updated_at", "message"]);
        f.finish();
        Some(proposal)
    }

    fn id(&self) -> &str {
        &self.id
    }
}

/// A proposal to make.
#[derive(Clone, Debug, PartialEq)]
pub struct NewProposal {
    /// The price, micro-USDC, above 0.
    pub amount_micro: i64,
    /// 20 to 2,000 characters.
    pub cover_letter: String,
    /// Whole hours of work expected.
    pub estimated_hours: Option<u32>,
}

impl NewProposal {
    /// What the marketplace would refuse, said without asking it.
    pub(crate) fn check(&self) -> Result<(), String> {
        check_price(self.amount_micro)?;
        check_letter(&self.cover_letter)
    }

    pub(crate) fn body(&self) -> Value {
        let mut body = json!({
            "proposed_amount_usdc": money::micro_to_json(self.amount_micro),
            "cover_letter": self.cover_letter,
        });
        if let Some(hours) = self.estimated_hours {
            body["estimated_hours"] = hours.into();
        }
        body
    }
}

fn check_price(micro: i64) -> Result<(), String> {
    if micro <= 0 {
        return Err("the price of a proposal must be above 0".to_owned());
    }
    Ok(())
}

fn check_letter(letter: &str) -> Result<(), String> {
    let letters = letter.chars().count();
    if !(20..=2_000).contains(&letters) {
        return Err(format!("a cover letter has 20 to 2000 characters, this one {letters}"));
    }
    Ok(())
}

/// Changes to a pending proposal; `None` leaves a field as it is.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct ProposalPatch {
    /// The price, micro-USDC, above 0.
    pub amount_micro: Option<i64>,
    /// 20 to 2,000 characters.
    pub cover_letter: Option<String>,
    /// Whole hours of work expected.
    pub estimated_hours: Option<u32>,
}

impl ProposalPatch {
    /// What the marketplace would refuse, said without asking it.
    pub(crate) fn check(&self) -> Result<(), String> {
        self.amount_micro.map_or(Ok(()), check_price)?;
        self.cover_letter.as_deref().map_or(Ok(()), check_letter)
    }

    pub(crate) fn body(&self) -> Value {
        let mut body = json!({});
        if let Some(micro) = self.amount_micro {
            body["proposed_amount_usdc"] = money::micro_to_json(micro);
        }
        if let Some(letter) = &self.cover_letter {
            body["cover_letter"] = letter.as_str().into();
        }
        if let Some(hours) = self.estimated_hours {
            body["estimated_hours"] = hours.into();
        }
        body
    }
}

/// What to look for.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct GigSearch {
    /// Full text.
    pub q: Option<String>,
    /// One category.
    pub category: Option<String>,
    /// Any of these skills.
    pub skills: Vec<String>,
    /// Least budget, micro-USDC.
    pub min_budget_micro: Option<i64>,
    /// Most budget, micro-USDC.
    pub max_budget_micro: Option<i64>,
    /// Where the page begins.
    pub offset: u64,
}

impl GigSearch {
    pub(crate) fn query(&self) -> Vec<(&'static str, String)> {
        let mut query = super::page_query(self.offset);
        query.push(("sort", "newest".to_owned()));
        let mut put = |name, value: Option<String>| {
            if let Some(value) = value.filter(|value| !value.is_empty()) {
                query.push((name, value));
            }
        };
        put("q", self.q.clone());
        put("category", self.category.clone());
        put("skills", Some(self.skills.join(",")));
        put("min_budget", self.min_budget_micro.map(money::micro_to_text));
        put("max_budget", self.max_budget_micro.map(money::micro_to_text));
        query
    }
}
