//! The agents of a local stack: packed, put to the scheduler and, in simulated mode, registered with the simulator.
//!
//! Registering happens once and is remembered in `agents/NAME.json`. The simulator forgets everything when it ends:
//! an agent it no longer knows is registered again, and the scheduler is told its new key and webhook secret.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result, bail};
use domain::agent_file::AgentFile;
use rpc::v1;
use secrecy::SecretString;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::home::Home;
use crate::bundle::{self, Packed};
use crate::commands::agents::put;
use crate::context::Peer;
use crate::http::Http;
use crate::private;

mod keeping;

pub use keeping::{Roster, keep, skipping};

/// The name under which the board shows whether all agents are in place.
pub const NAME: &str = "agents";
/// Seconds for which a secret that was replaced is still accepted in live operation: two days of repeats.
const OLD_SECRETS: u32 = 2 * 24 * 3600;
/// Usernames tried when the first is taken.
const USERNAMES: usize = 20;
/// What registration needs when the agent file says nothing.
const DESCRIPTION: &str = "An agent run by Steward on a simulated marketplace.";
/// Categories of the simulated marketplace, for agents that take any.
const CATEGORIES: [&str; 7] = ["code", "content", "data", "design", "research", "translation", "other"];

/// What is remembered of an agent.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Registration {
    /// Its name: the door is `/hooks/NAME`.
    pub name: String,
    /// Its agent file.
    pub file: PathBuf,
    /// Its id on the marketplace.
    pub marketplace_id: String,
    /// Its key there.
    pub api_key: String,
    /// What its webhooks are signed with.
    pub webhook_secret: String,
    /// The scheduler knows key and secret.
    pub told: bool,
}

impl Registration {
    /// Everything remembered in a folder, by name.
    #[must_use]
    pub fn all(home: &Home) -> Vec<Self> {
        let entries = std::fs::read_dir(home.agents()).into_iter().flatten().flatten();
        let files = entries.map(|entry| entry.path());
        let records = files.filter(|path| path.extension().is_some_and(|kind| kind == "json"));
        let mut all: Vec<Self> = records
            .filter_map(|path| serde_json::from_str(&private::read(&path).ok()??).ok())
            .collect();
        all.sort_by(|a, b| a.name.cmp(&b.name));
        all
    }

    fn of(home: &Home, name: &str) -> Option<Self> {
        Self::all(home)
            .into_iter()
            .find(|registration| registration.name == name)
    }

    /// Remembers an agent no more.
    ///
    /// # Errors
    /// Its file cannot be removed.
    pub fn forget(home: &Home, name: &str) -> Result<()> {
        if Self::of(home, name).is_none() {
            return Ok(());
        }
        let path = home.agents().join(format!("{name}.json"));
        std::fs::remove_file(&path).with_context(|| format!("remove {}", path.display()))
    }

    fn save(&self, home: &Home) -> Result<()> {
        let path = home.agents().join(format!("{}.json", self.name));
        private::write(&path, &serde_json::to_vec_pretty(self)?, 0o600)
    }
}

/// Whoever sees to the agents of a stack.
#[derive(Debug, Clone)]
pub struct Desk {
    /// Where registrations are kept.
    pub home: Home,
    /// For the simulator.
    pub http: Http,
    /// The simulator's address, in simulated mode.
    pub simulator: Option<String>,
    /// The door's address.
    pub door: String,
    /// The scheduler's addresses.
    pub scheduler: String,
    /// The operator's token.
    pub token: SecretString,
}

impl Desk {
    /// Puts an agent to the scheduler and sees that it can work. Doing it again changes nothing. With `keep_rollback` an
    /// agent that was taken back from what lies in its folder stays where it is; whether it did is answered too.
    ///
    /// # Errors
    /// The folder cannot be packed, or somebody refuses or does not answer.
    pub async fn add(&self, file: &Path, label: &str, keep_rollback: bool) -> Result<(v1::Agent, bool)> {
        let path = file.to_owned();
        let packed = tokio::task::spawn_blocking(move || bundle::pack(&path))
            .await
            .context("pack the agent's folder")??;
        let scheduler = Peer::open("scheduler", &self.scheduler, &self.token).await?;
        let agent = put(&scheduler, &packed, self.simulator.is_some(), label, keep_rollback).await?;
        match &self.simulator {
            Some(simulator) => self.enlist(simulator, &scheduler, &packed.agent, file).await?,
            None => {
                if let Some(given) = self.given(&packed, file)? {
                    self.introduce(&scheduler, given).await?;
                }
            }
        }
        let stays = agent.version != packed.sha256;
        Ok((agent, stays))
    }

    /// Registers agents the scheduler knows and this folder has no usable file of: a simulator that was started anew
    /// knows nobody, and contracts of theirs may be under way. `seen` are those that were seen to.
    ///
    /// # Errors
    /// Somebody refuses or does not answer.
    async fn enlist_others(&self, seen: &BTreeSet<String>) -> Result<()> {
        let Some(simulator) = &self.simulator else {
            return Ok(());
        };
        let scheduler = Peer::open("scheduler", &self.scheduler, &self.token).await?;
        let mut agents = scheduler.agents();
        let known = scheduler
            .ask("list the agents", agents.list_agents(v1::ListAgentsRequest {}))
            .await?;
        for agent in known.agents.iter().filter(|agent| !seen.contains(&agent.name)) {
            // Of its file only the name is left; that is enough to be found by clients again.
            let text = format!("name = {:?}\n[run]\ncommand = [\"true\"]\n", agent.name);
            let bare = AgentFile::parse(&text).with_context(|| format!("describe {}", agent.name))?;
            let file = Registration::of(&self.home, &agent.name).map_or_else(PathBuf::new, |one| one.file);
            self.enlist(simulator, &scheduler, &bare, &file).await?;
        }
        Ok(())
    }

    /// Sees that the simulator knows an agent and that the scheduler has its key.
    async fn enlist(&self, simulator: &str, scheduler: &Peer, agent: &AgentFile, file: &Path) -> Result<()> {
        let registration = self.registered(simulator, agent, file).await?;
        let url = format!("{simulator}/control/agents/{}/ready", registration.marketplace_id);
        self.introduce(scheduler, registration).await?;
        let what = format!("make {} ready to bid", agent.name);
        self.http.post(&url, None, None).await?.ok(&what)?;
        Ok(())
    }

    /// Gives the scheduler an agent's key and secret, once.
    async fn introduce(&self, scheduler: &Peer, mut registration: Registration) -> Result<()> {
        if !registration.told {
            tell(scheduler, &registration, self.simulator.is_some()).await?;
            registration.told = true;
            registration.save(&self.home)?;
        }
        Ok(())
    }

    /// The registration the simulator still knows, or a new one.
    async fn registered(&self, simulator: &str, agent: &AgentFile, file: &Path) -> Result<Registration> {
        let list = self
            .http
            .get(&format!("{simulator}/control/agents"))
            .await?
            .ok("list the simulator's agents")?;
        let known = |id: &str| {
            let rows = list["data"].as_array();
            rows.is_some_and(|rows| rows.iter().any(|row| row["id"] == id))
        };
        let name = &agent.name;
        if let Some(mut earlier) = Registration::of(&self.home, name).filter(|one| known(&one.marketplace_id)) {
            if earlier.file != file {
                earlier.file = file.to_owned();
                earlier.save(&self.home)?;
            }
            return Ok(earlier);
        }
        let answer = self.register(simulator, agent).await?;
        let text = |key: &str| {
            let value = answer[key].as_str().map(str::to_owned);
            value.with_context(|| format!("the simulator's answer to a registration has no {key}"))
        };
        let (marketplace_id, api_key) = (text("agent_id")?, text("api_key")?);
        // The secret made at registration is never shown: one rotation brings one that is.
        let rotate = format!("{simulator}/api/v1/agents/me/webhooks/rotate-secret");
        let rotated = self
            .http
            .post(&rotate, Some(&api_key), None)
            .await?
            .ok("rotate the webhook secret")?;
        let registration = Registration {
            name: name.clone(),
            file: file.to_owned(),
            marketplace_id,
            api_key,
            webhook_secret: rotated["webhook_secret"]
                .as_str()
                .context("the simulator's answer to a rotation has no webhook_secret")?
                .to_owned(),
            told: false,
        };
        registration.save(&self.home)?;
        Ok(registration)
    }

    async fn register(&self, simulator: &str, agent: &AgentFile) -> Result<Value> {
        let url = format!("{simulator}/api/v1/agents/register");
        let name = &agent.name;
        for attempt in 1..=USERNAMES {
            let mut profile = profile(agent);
            profile["username"] = json!(name);
            if attempt > 1 {
                // An interrupted registration keeps its username; the door stays the same.
                profile["username"] = json!(format!("{name}-{attempt}"));
                profile["webhook_url"] = json!(format!("{}/hooks/{name}", self.door));
            }
            let answer = self.http.post(&url, None, Some(&profile)).await?;
            if answer.status != 409 {
                return answer.ok(&format!("register {name} with the simulator"));
            }
        }
        bail!("register {name} with the simulator: its username and {USERNAMES} like it are taken")
    }

    /// What an operator who registered the agent elsewhere put into files; without any of them `steward agents register`
    /// does it here.
    fn given(&self, packed: &Packed, file: &Path) -> Result<Option<Registration>> {
        let name = &packed.agent.name;
        if missing_files(&self.home, name)?.len() == LIVE_FILES.len() {
            return Ok(None);
        }
        let folder = live_folder(&self.home, name);
        let text = |what: &str| {
            let path = folder.join(what);
            let text = private::read(&path)?.map(|text| text.trim().to_owned());
            text.filter(|text| !text.is_empty())
                .with_context(|| format!("put the {} of {name} into {}", what.replace('_', " "), path.display()))
        };
        let earlier = Registration::of(&self.home, name);
        let mut registration = Registration {
            name: name.clone(),
            file: file.to_owned(),
            marketplace_id: text("marketplace_id")?,
            api_key: text("api_key")?,
            webhook_secret: text("webhook_secret")?,
            told: true,
        };
        registration.told = earlier.as_ref() == Some(&registration);
        if earlier.is_none_or(|earlier| earlier != registration) {
            registration.save(&self.home)?;
        }
        Ok(Some(registration))
    }
}

/// Which of the files are missing or empty, and where they belong.
///
/// # Errors
/// One of them cannot be read.
pub fn missing_files(home: &Home, name: &str) -> Result<Vec<(&'static str, PathBuf)>> {
    let mut missing = Vec::new();
    for what in LIVE_FILES {
        let path = live_folder(home, name).join(what);
        if private::read(&path)?.is_none_or(|text| text.trim().is_empty()) {
            missing.push((what, path));
        }
    }
    Ok(missing)
}

/// Where the operator puts what registering a live agent gave.
#[must_use]
pub fn live_folder(home: &Home, name: &str) -> PathBuf {
    home.secrets().join("agents").join(name)
}

/// Names of the files in [`live_folder`].
pub const LIVE_FILES: [&str; 3] = ["marketplace_id", "api_key", "webhook_secret"];

fn profile(agent: &AgentFile) -> Value {
    let bidding = &agent.bidding;
    let shown = &agent.profile;
    let or = |text: &str, other: &str| {
        if text.trim().is_empty() {
            other.to_owned()
        } else {
            text.to_owned()
        }
    };
    let some = |list: &[String], other: &[&str]| -> Vec<String> {
        if list.is_empty() {
            other.iter().map(|word| (*word).to_owned()).collect()
        } else {
            list.iter().take(20).cloned().collect()
        }
    };
    let mut profile = json!({
        "name": or(&shown.name, &agent.name),
        "description": or(&shown.description, DESCRIPTION),
        "skills": some(&bidding.skills, &["python"]),
        "categories": some(&bidding.categories, &CATEGORIES),
        "languages": some(&shown.languages, &["en"]),
    });
    for (key, value) in [
        ("avatar_url", &shown.avatar_url),
        ("contact_email", &shown.contact_email),
    ] {
        if !value.is_empty() {
            profile[key] = json!(value);
        }
    }
    profile
}

/// A simulator that was started anew signs with new secrets only; a marketplace may still send what it signed before.
async fn tell(scheduler: &Peer, registration: &Registration, simulated: bool) -> Result<()> {
    let name = registration.name.clone();
    let credentials = v1::SetCredentialsRequest {
        name: name.clone(),
        marketplace_id: registration.marketplace_id.clone(),
        api_key: registration.api_key.clone(),
    };
    let mut agents = scheduler.agents();
    scheduler
        .ask("store the marketplace key", agents.set_credentials(credentials))
        .await?;
    let secret = v1::AddWebhookSecretRequest {
        name,
        secret: registration.webhook_secret.clone(),
        retire_others_after_secs: Some(if simulated { 0 } else { OLD_SECRETS }),
    };
    scheduler
        .ask("store the webhook secret", agents.add_webhook_secret(secret))
        .await?;
    Ok(())
}
