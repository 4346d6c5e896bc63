//! The agents of a local stack: packed, put to the scheduler and, in simulated mode, registered with the simulator.
//!
//! Registering happens once and is remembered in `agents/NAME.json`. The simulator forgets everything when it ends:
//! an agent it no longer knows is registered again, and the scheduler is told its new key and webhook secret.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, Result, bail};
use boot::CancellationToken;
use secrecy::SecretString;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::board::Board;
use super::home::Home;
use crate::bundle::{self, Packed};
use crate::commands::agents::put;
use crate::context::Peer;
use crate::http::Http;
use crate::private;

/// The name under which the board shows whether all agents are in place.
pub const NAME: &str = "agents";
/// Pauses between attempts.
const FIRST_PAUSE: Duration = Duration::from_millis(300);
const LONGEST_PAUSE: Duration = Duration::from_secs(10);
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
    /// Puts an agent to the scheduler and sees that it can work. Doing it again changes nothing.
    ///
    /// # Errors
    /// The folder cannot be packed, or somebody refuses or does not answer.
    pub async fn add(&self, file: &Path) -> Result<()> {
        let path = file.to_owned();
        let packed = tokio::task::spawn_blocking(move || bundle::pack(&path))
            .await
            .context("pack the agent's folder")??;
        let name = packed.agent.name.clone();
        let scheduler = Peer::open("scheduler", &self.scheduler, &self.token).await?;
        put(&scheduler, &packed, self.simulator.is_some()).await?;
        let mut registration = match &self.simulator {
            Some(simulator) => self.registered(simulator, &packed, file).await?,
            None => self.given(&packed, file)?,
        };
        if !registration.told {
            tell(&scheduler, &registration).await?;
            registration.told = true;
            registration.save(&self.home)?;
        }
        if let Some(simulator) = &self.simulator {
            let url = format!("{simulator}/control/agents/{}/ready", registration.marketplace_id);
            let what = format!("make {name} ready to bid");
            self.http.post(&url, None, None).await?.ok(&what)?;
        }
        Ok(())
    }

    /// The registration the simulator still knows, or a new one.
    async fn registered(&self, simulator: &str, packed: &Packed, file: &Path) -> Result<Registration> {
        let list = self
            .http
            .get(&format!("{simulator}/control/agents"))
            .await?
            .ok("list the simulator's agents")?;
        let known = |id: &str| {
            let rows = list["data"].as_array();
            rows.is_some_and(|rows| rows.iter().any(|row| row["id"] == id))
        };
        let name = &packed.agent.name;
        if let Some(mut earlier) = Registration::of(&self.home, name).filter(|one| known(&one.marketplace_id)) {
            if earlier.file != file {
                earlier.file = file.to_owned();
                earlier.save(&self.home)?;
            }
            return Ok(earlier);
        }
        let answer = self.register(simulator, packed).await?;
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

    async fn register(&self, simulator: &str, packed: &Packed) -> Result<Value> {
        let url = format!("{simulator}/api/v1/agents/register");
        let name = &packed.agent.name;
        for attempt in 1..=USERNAMES {
            let mut profile = profile(packed);
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

    /// In live mode the operator registers the agent and puts what came of it into files.
    fn given(&self, packed: &Packed, file: &Path) -> Result<Registration> {
        let name = &packed.agent.name;
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
        Ok(registration)
    }
}

/// Where the operator puts what registering a live agent gave.
#[must_use]
pub fn live_folder(home: &Home, name: &str) -> PathBuf {
    home.secrets().join("agents").join(name)
}

/// Names of the files in [`live_folder`].
pub const LIVE_FILES: [&str; 3] = ["marketplace_id", "api_key", "webhook_secret"];

fn profile(packed: &Packed) -> Value {
    let (agent, bidding) = (&packed.agent, &packed.agent.bidding);
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

async fn tell(scheduler: &Peer, registration: &Registration) -> Result<()> {
    use rpc::v1;
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
        retire_others_after_secs: None,
    };
    scheduler
        .ask("store the webhook secret", agents.add_webhook_secret(secret))
        .await?;
    Ok(())
}

/// Sees to the agents until `stop`: at the start, and again whenever the simulator was started anew.
pub async fn keep(desk: Desk, files: Vec<PathBuf>, board: Arc<Board>, stop: CancellationToken) {
    let mut bell = board.bell();
    let mut settled: Option<u64> = None;
    let mut pause = FIRST_PAUSE;
    while !stop.is_cancelled() {
        let simulator = board.of("simulator");
        let reachable = board.of("scheduler").ready && (desk.simulator.is_none() || simulator.ready);
        if settled == Some(simulator.starts) {
            pause = FIRST_PAUSE;
        } else if reachable {
            match add_all(&desk, &files).await {
                Ok(()) => {
                    settled = Some(simulator.starts);
                    board.change(NAME, |state| {
                        state.ready = true;
                        state.note.clear();
                        state.starts += 1;
                    });
                    continue;
                }
                Err(error) => {
                    let note = crate::failure::sentence(&error);
                    board.change(NAME, |state| {
                        state.ready = false;
                        state.note = note;
                    });
                    tokio::select! {
                        () = tokio::time::sleep(pause) => {}
                        () = stop.cancelled() => return,
                    }
                    pause = (pause * 2).min(LONGEST_PAUSE);
                    continue;
                }
            }
        } else {
            board.change(NAME, |state| state.ready = false);
        }
        tokio::select! {
            rung = bell.changed() => if rung.is_err() { return },
            () = stop.cancelled() => return,
        }
    }
}

async fn add_all(desk: &Desk, files: &[PathBuf]) -> Result<()> {
    // Those added to the running stack by `steward agents add` are remembered as well.
    let mut all = files.to_vec();
    for registration in Registration::all(&desk.home) {
        if !all.contains(&registration.file) && registration.file.is_file() {
            all.push(registration.file);
        }
    }
    for file in all {
        desk.add(&file)
            .await
            .with_context(|| format!("see to the agent of {}", file.display()))?;
    }
    Ok(())
}
