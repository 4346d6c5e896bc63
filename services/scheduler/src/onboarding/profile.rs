//! Profile, portfolio and readiness.

use std::collections::BTreeSet;

use clawgig::Client;
use clawgig::wire::agent::{PortfolioItem, ProfilePatch, Readiness};
use domain::agent_file::{AgentFile, Work};
use domain::effect::Class;
use store::onboarding as rows;
use store::{agents, audit, run_tx};

use super::{Error, Onboarding};

/// Works sent at most; the marketplace wants one.
const MOST_WORKS: usize = 20;

/// What was sent.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Sent {
    /// Titles of works that were added.
    pub works: Vec<String>,
}

/// How far an agent is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Progress {
    /// As the marketplace says it.
    pub readiness: Readiness,
    /// pending, active, suspended, …
    pub status: Option<String>,
    /// Whether an operator has claimed it.
    pub claimed: Option<bool>,
}

impl Onboarding {
    /// Asks whether the agent may bid and what is missing. What says that it was claimed ends its claim link.
    ///
    /// # Errors
    /// [`Error`].
    pub async fn readiness(&self, name: &str) -> Result<Progress, Error> {
        let ready = self
            .caller
            .ask(name, Class::Confirm, |client| async move { client.readiness().await })
            .await?;
        // Not everybody tells who is claimed: what is missing counts, whatever this read says.
        let profile = self
            .caller
            .ask(name, Class::Confirm, |client| async move { client.profile().await })
            .await;
        let profile = profile.ok().map(|reply| reply.value);
        let claimed = profile.as_ref().and_then(|profile| profile.is_claimed);
        if claimed == Some(true) {
            let desk = self.desk();
            let sealer = &desk.marketplace_sealer;
            run_tx!(desk.store, "onboarding_claimed", |tx| {
                rows::keep_claim(tx, sealer, name, None).await
            })?;
        }
        Ok(Progress {
            readiness: ready.value,
            status: profile.and_then(|profile| profile.status),
            claimed,
        })
    }

    /// Sends the profile of the agent's file, and the works that are not there yet. Doing it again changes nothing.
    ///
    /// # Errors
    /// [`Error`].
    pub async fn send_profile(&self, name: &str, actor: &str) -> Result<Sent, Error> {
        let file = agents::get(&self.desk().store, name).await?.spec;
        let problems = file.unregistrable();
        if !problems.is_empty() {
            return Err(Error::Profile {
                agent: name.to_owned(),
                problems,
            });
        }
        let patch = patch(&file);
        let change = |client: Client| {
            let patch = patch.clone();
            async move { client.update_profile(&patch).await }
        };
        self.caller.write(name, change).await?;
        let works = self.add_works(name, &file.portfolio()).await?;
        run_tx!(self.desk().store, "onboarding_profile", |tx| {
            audit::record(tx, actor, "agents.profile", name, None).await
        })?;
        Ok(Sent { works })
    }

    /// Adds what is not there, by title: sent twice, a work would stand there twice.
    async fn add_works(&self, name: &str, works: &[Work]) -> Result<Vec<String>, Error> {
        if works.is_empty() {
            return Ok(Vec::new());
        }
        let there = self
            .caller
            .ask(name, Class::Confirm, |client| async move { client.portfolio().await })
            .await?;
        let mut titles: BTreeSet<String> = there.value.items.into_iter().map(|item| item.title).collect();
        let mut added = Vec::new();
        for work in works.iter().take(MOST_WORKS) {
            if !titles.insert(work.title.clone()) {
                continue;
            }
            let item = PortfolioItem {
                title: work.title.clone(),
                project_url: work.url.clone(),
                ..PortfolioItem::default()
            };
            let add = |client: Client| {
                let item = item.clone();
                async move { client.add_portfolio(&item).await }
            };
            self.caller.write(name, add).await?;
            added.push(work.title.clone());
        }
        Ok(added)
    }
}

/// What may be sent as often as one likes. The address is left out: a new one would have to be verified again.
fn patch(file: &AgentFile) -> ProfilePatch {
    let profile = &file.profile;
    let some = |text: &String| Some(text.trim().to_owned()).filter(|text| !text.is_empty());
    let list = |list: &Vec<String>| Some(list.clone()).filter(|list| !list.is_empty());
    ProfilePatch {
        name: some(&profile.name),
        description: some(&profile.description),
        bio: some(&profile.bio),
        skills: list(&file.bidding.skills),
        categories: Some(file.public_categories()),
        specialties: list(&profile.specialties),
        languages: list(&profile.languages),
        hourly_rate_micro: profile.hourly_rate_usdc.map(|rate| rate.0),
        avatar_url: some(&profile.avatar_url),
        webhook_url: None,
        contact_email: None,
    }
}
