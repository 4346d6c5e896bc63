//! Agents: registration, keys, readiness.

use chrono::{DateTime, Utc};
use serde_json::{Value, json};
use uuid::Uuid;

use super::{MAX_AGENTS, World, profile::Profile, templates};
use crate::{dialect::Dialect, money::Micro, refusal::Refusal};

/// The events an agent can listen to.
pub const EVENTS: [&str; 9] = [
    "gig.posted",
    "proposal.accepted",
    "contract.funded",
    "contract.delivered",
    "contract.approved",
    "contract.disputed",
    "contract.resolved",
    "message.received",
    "review.received",
];

/// Where an agent's account stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Standing {
    Pending,
    Active,
    Suspended,
}

impl Standing {
    pub fn name(self) -> &'static str {
        match self {
            Self::Pending => "pending",
            Self::Active => "active",
            Self::Suspended => "suspended",
        }
    }
}

/// What reviews and finished work add up to.
#[derive(Clone, Debug, Default)]
pub struct Stats {
    pub completed: u64,
    pub accepted: u64,
    pub earned: Micro,
    pub ratings: Vec<u8>,
    /// Seconds from posting to proposal, summed.
    pub response_secs: u64,
    pub proposals: u64,
}

/// One registered agent.
#[derive(Clone, Debug)]
pub struct Agent {
    pub id: Uuid,
    pub operator: Option<Uuid>,
    pub api_key: String,
    pub claim_token: Uuid,
    pub username: String,
    pub name: String,
    pub description: Option<String>,
    pub bio: Option<String>,
    pub avatar_url: Option<String>,
    pub skills: Vec<String>,
    pub categories: Vec<String>,
    pub specialties: Vec<String>,
    pub languages: Vec<String>,
    pub hourly_rate: Option<Micro>,
    pub contact_email: Option<String>,
    pub webhook_url: Option<String>,
    pub webhook_events: Vec<String>,
    pub webhook_secret: String,
    /// The one before, which some deliveries may still be signed with.
    pub old_secret: Option<String>,
    pub standing: Standing,
    pub email_verified: bool,
    pub email_code: Option<String>,
    pub portfolio: Vec<Value>,
    /// The wallet of an agent without an operator; only such hire.
    pub wallet: Option<String>,
    pub balance: Micro,
    pub stats: Stats,
    pub proposals: Vec<Uuid>,
    pub contracts: Vec<Uuid>,
    pub created_at: DateTime<Utc>,
    pub updated_at: DateTime<Utc>,
}

impl Agent {
    pub fn listens_to(&self, event: &str) -> bool {
        !EVENTS.contains(&event) || self.webhook_events.iter().any(|one| one == event)
    }

    pub fn is_suspended(&self) -> bool {
        self.standing == Standing::Suspended
    }

    /// Whether its claim link still waits for somebody; who hires has no operator and needs none.
    pub fn may_be_claimed(&self) -> bool {
        self.operator.is_none() && self.wallet.is_none()
    }

    /// Drops what belongs to gigs that are gone.
    pub fn forget_work(&mut self) {
        self.balance = Micro::default();
        self.stats = Stats::default();
        self.proposals.clear();
        self.contracts.clear();
    }

    /// The nine checks that stand between an agent and its first bid; eight where an avatar is only recommended.
    pub fn checks(&self, webhook: bool, dialect: Dialect) -> Vec<(&'static str, bool)> {
        let description = self.description.as_deref().unwrap_or_default();
        let all = [
            ("username", !self.username.is_empty()),
            ("description", description.chars().count() >= 20),
            ("skills", !self.skills.is_empty()),
            ("categories", !self.categories.is_empty()),
            ("languages", !self.languages.is_empty()),
            ("webhook_url", webhook),
            ("avatar_url", self.avatar_url.is_some()),
            ("email_verified", self.email_verified),
            ("portfolio", !self.portfolio.is_empty()),
        ];
        let only_recommended = |name: &str| dialect == Dialect::Sdk && name == "avatar_url";
        all.into_iter().filter(|(name, _)| !only_recommended(name)).collect()
    }
}

impl World {
    /// Registers an agent.
    pub fn register(&mut self, profile: Profile) -> Result<Value, Refusal> {
        profile.check_registration(self)?;
        if self.agents.len() >= MAX_AGENTS {
            return Err(Refusal::conflict("too_many_agents", "No more agents fit"));
        }
        let username = profile.wanted_username();
        if self.agents.iter().any(|agent| agent.username == username) {
            return Err(Refusal::conflict("username_taken", "Username is already taken"));
        }
        let now = self.now();
        let mut agent = Agent {
            id: self.ids.next(),
            operator: None,
            api_key: self.ids.api_key(),
            claim_token: self.ids.next(),
            username,
            name: String::new(),
            description: None,
            bio: None,
            avatar_url: None,
            skills: Vec::new(),
            categories: Vec::new(),
            specialties: Vec::new(),
            languages: Vec::new(),
            hourly_rate: None,
            contact_email: None,
            webhook_url: None,
            webhook_events: EVENTS.map(str::to_owned).to_vec(),
            webhook_secret: self.ids.webhook_secret(),
            old_secret: None,
            standing: Standing::Pending,
            email_verified: false,
            email_code: None,
            portfolio: Vec::new(),
            wallet: None,
            balance: Micro::default(),
            stats: Stats::default(),
            proposals: Vec::new(),
            contracts: Vec::new(),
            created_at: now,
            updated_at: now,
        };
        profile.apply(&mut agent);
        let answer = self.registered(&mut agent);
        self.keys.insert(agent.api_key.clone(), agent.id);
        self.agents.push(agent.id, agent);
        Ok(answer)
    }

    /// The answer to a registration, with the key and the claim link in the dialect's form.
    fn registered(&self, agent: &mut Agent) -> Value {
        let (base, token) = (&self.site.base, agent.claim_token.simple());
        let (claim_token, claim_url) = if self.settings.dialect == Dialect::Legacy {
            agent.api_key = format!("cg_live_{}", agent.api_key.trim_start_matches("cg_"));
            let token = format!("clm_{token}");
            (token.clone(), self.api(&format!("/agents/claim/{token}")))
        } else {
            let link = format!("{base}/dashboard/agents/claim/{}", agent.claim_token);
            (agent.claim_token.to_string(), link)
        };
        json!({
            "agent_id": agent.id,
            "api_key": agent.api_key,
            "claim_token": claim_token,
            "claim_url": claim_url,
        })
    }

    /// The agent an API key belongs to.
    pub fn agent_by_key(&self, key: &str) -> Option<Uuid> {
        self.keys.get(key).copied()
    }

    /// An agent by id or username.
    pub fn agent_by_name(&self, name: &str) -> Option<&Agent> {
        name.parse::<Uuid>()
            .ok()
            .and_then(|id| self.agents.get(id))
            .or_else(|| self.agents.iter().find(|agent| agent.username == name))
    }

    /// An agent that exists.
    pub fn agent(&self, id: Uuid) -> Result<&Agent, Refusal> {
        self.agents.get(id).ok_or_else(|| Refusal::missing("Agent"))
    }

    pub fn agent_mut(&mut self, id: Uuid) -> Result<&mut Agent, Refusal> {
        self.agents.get_mut(id).ok_or_else(|| Refusal::missing("Agent"))
    }

    /// A new key; the old one is refused from now on.
    pub fn regenerate_key(&mut self, caller: Uuid, id: Uuid) -> Result<Value, Refusal> {
        if caller != id {
            return Err(Refusal::forbidden("forbidden", "Not your agent"));
        }
        let key = self.ids.api_key();
        let agent = self.agent_mut(id)?;
        let old = std::mem::replace(&mut agent.api_key, key.clone());
        self.keys.remove(&old);
        self.keys.insert(key.clone(), id);
        Ok(json!({ "api_key": key }))
    }

    /// A new webhook secret, shown once.
    pub fn rotate_secret(&mut self, id: Uuid) -> Result<Value, Refusal> {
        let secret = self.ids.webhook_secret();
        let agent = self.agent_mut(id)?;
        agent.old_secret = Some(std::mem::replace(&mut agent.webhook_secret, secret));
        Ok(json!({ "webhook_secret": agent.webhook_secret }))
    }

    /// Changes a profile.
    pub fn change_profile(&mut self, id: Uuid, profile: Profile) -> Result<Value, Refusal> {
        profile.check(self)?;
        let now = self.now();
        let agent = self.agent_mut(id)?;
        profile.apply(agent);
        agent.updated_at = now;
        let shown = agent.shown();
        self.start_playing();
        Ok(shown)
    }

    /// Sends, in effect, a code to the address.
    pub fn verify_email(&mut self, id: Uuid, email: String) -> Result<Value, Refusal> {
        if !email.contains('@') || email.len() > 254 {
            return Err(Refusal::invalid("email must be an address"));
        }
        let code = format!("{:06}", self.rng.below(1_000_000));
        let agent = self.agent_mut(id)?;
        agent.contact_email = Some(email);
        agent.email_code = Some(code);
        Ok(json!({ "message": "Verification code sent" }))
    }

    pub fn confirm_email(&mut self, id: Uuid, code: &str) -> Result<Value, Refusal> {
        let agent = self.agent_mut(id)?;
        if agent.email_code.as_deref() != Some(code) {
            return Err(Refusal::new(
                http::StatusCode::BAD_REQUEST,
                "invalid_code",
                "Invalid or expired code",
            ));
        }
        agent.email_code = None;
        agent.email_verified = true;
        self.start_playing();
        Ok(json!({ "message": "Email verified" }))
    }

    /// The agent a claim link belongs to, whichever form its token has.
    pub fn agent_by_claim(&self, token: &str) -> Option<&Agent> {
        let token = claim_token(token);
        self.agents.iter().find(|agent| Some(agent.claim_token) == token)
    }

    /// Links an agent to its operator, as the browser does at the claim URL.
    pub fn claim(&mut self, token: &str) -> Result<Value, Refusal> {
        let operator = self.ids.next();
        let token = claim_token(token);
        let found = self.agents.iter_mut().find(|agent| Some(agent.claim_token) == token);
        let agent = found.ok_or_else(|| Refusal::missing("Claim"))?;
        agent.operator.get_or_insert(operator);
        agent.standing = Standing::Active;
        let claimed = json!({ "agent_id": agent.id, "message": "Agent claimed" });
        self.start_playing();
        Ok(claimed)
    }

    /// Claims, verifies and completes an agent, so that it may bid.
    pub fn make_ready(&mut self, name: &str) -> Result<Value, Refusal> {
        let id = self.agent_by_name(name).map(|agent| agent.id);
        let id = id.ok_or_else(|| Refusal::missing("Agent"))?;
        let (base, operator) = (self.site.base.clone(), self.ids.next());
        let agent = self.agent_mut(id)?;
        agent.operator.get_or_insert(operator);
        agent.standing = Standing::Active;
        agent.email_verified = true;
        agent
            .contact_email
            .get_or_insert_with(|| "operator@example.com".to_owned());
        let avatar = format!("{base}/avatar.png");
        agent.avatar_url.get_or_insert(avatar);
        let described = agent.description.as_deref().unwrap_or_default().chars().count() >= 20;
        if !described {
            agent.description = Some(templates::DESCRIPTION.to_owned());
        }
        for (list, word) in [
            (&mut agent.skills, "python"),
            (&mut agent.categories, "code"),
            (&mut agent.languages, "en"),
        ] {
            if list.is_empty() {
                list.push(word.to_owned());
            }
        }
        if agent.portfolio.is_empty() {
            self.add_portfolio(id, json!({ "title": "Sample of earlier work" }))?;
        }
        self.start_playing();
        let agent = self.agent(id)?;
        let missing = self.missing(agent);
        Ok(json!({
            "agent_id": id,
            "username": agent.username,
            "ready": missing.is_empty(),
            "missing": missing,
        }))
    }

    /// The checks an agent does not meet.
    pub fn missing(&self, agent: &Agent) -> Vec<&'static str> {
        let webhook = self.webhook_url(agent).is_some();
        let checks = agent.checks(webhook, self.settings.dialect);
        checks.iter().filter(|(_, met)| !met).map(|(name, _)| *name).collect()
    }

    /// Whether an agent may bid.
    pub fn may_bid(&self, agent: &Agent) -> Result<(), Refusal> {
        if agent.is_suspended() {
            return Err(suspended());
        }
        if agent.standing != Standing::Active {
            return Err(Refusal::forbidden(
                "agent_not_claimed",
                "Agent must be claimed by its operator before it can submit proposals",
            ));
        }
        let missing = self.missing(agent);
        if missing.is_empty() {
            return Ok(());
        }
        Err(Refusal::forbidden(
            "profile_incomplete",
            format!("Profile incomplete: {}", missing.join(", ")),
        ))
    }
}

fn claim_token(text: &str) -> Option<Uuid> {
    text.trim_start_matches("clm_").parse().ok()
}

/// The refusal of everything a suspended agent asks to be changed.
pub fn suspended() -> Refusal {
    Refusal::forbidden("agent_suspended", "Agent is suspended")
}
