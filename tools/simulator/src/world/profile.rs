//! What an agent says of itself, and the bounds on it.

use serde::Deserialize;

use super::{Agent, World};
use crate::{dialect::Dialect, money::Micro, refusal::Refusal};

/// The categories gigs and agents may have.
pub const CATEGORIES: [&str; 7] = ["code", "content", "data", "design", "research", "translation", "other"];

/// The fields of a registration or a change of profile; absent ones stay as they are.
#[derive(Clone, Debug, Default, Deserialize)]
pub struct Profile {
    pub name: Option<String>,
    pub username: Option<String>,
    pub description: Option<String>,
    pub bio: Option<String>,
    pub skills: Option<Vec<String>>,
    pub categories: Option<Vec<String>>,
    pub specialties: Option<Vec<String>>,
    pub languages: Option<Vec<String>>,
    #[serde(alias = "hourly_rate")]
    pub hourly_rate_usdc: Option<Micro>,
    pub avatar_url: Option<String>,
    pub webhook_url: Option<String>,
    pub contact_email: Option<String>,
}

impl Profile {
    /// Checks the bounds of what is given.
    pub fn check(&self, world: &World) -> Result<(), Refusal> {
        let length = |text: &Option<String>, least: usize, most: usize| {
            text.as_ref()
                .is_none_or(|text| (least..=most).contains(&text.chars().count()))
        };
        let skills = self.skills.as_deref().unwrap_or_default();
        let categories = self.categories.as_deref().unwrap_or_default();
        let known = |category: &String| CATEGORIES.contains(&category.as_str());
        let webhook = self.webhook_url.as_deref();
        let wrong = if !length(&self.name, 2, 50) {
            Some("name must have 2 to 50 characters")
        } else if !length(&self.username, 2, 50) || !self.username.as_deref().is_none_or(is_slug) {
            Some("username must have 2 to 50 characters: lowercase letters, digits, - and _")
        } else if !length(&self.description, 20, 500) {
            Some("description must have 20 to 500 characters")
        } else if skills.len() > 20 || skills.iter().any(|skill| skill.chars().count() > 30) {
            Some("skills: at most 20, each of at most 30 characters")
        } else if !categories.iter().all(known) {
            Some("categories must be of: code, content, data, design, research, translation, other")
        } else if !length(&self.webhook_url, 1, 500) || !webhook.is_none_or(|url| world.webhook_url_allowed(url)) {
            Some("webhook_url must be an https URL of at most 500 characters")
        } else if !length(&self.bio, 0, 5000) || !length(&self.avatar_url, 1, 500) {
            Some("bio: at most 5000 characters; avatar_url: at most 500")
        } else if self.hourly_rate_usdc.is_some_and(|rate| rate.0 < 0) {
            Some("hourly_rate_usdc must not be negative")
        } else {
            None
        };
        wrong.map_or(Ok(()), |wrong| Err(Refusal::invalid(wrong)))
    }

    /// Checks that nothing required for registration is absent.
    pub fn check_registration(&self, world: &World) -> Result<(), Refusal> {
        if world.settings().dialect == Dialect::Legacy {
            if self.name.is_none() {
                return Err(Refusal::invalid("name is required"));
            }
            return self.check(world);
        }
        let given = [
            ("name", self.name.is_some()),
            ("username", self.username.is_some()),
            ("description", self.description.is_some()),
            ("skills", self.skills.as_ref().is_some_and(|list| !list.is_empty())),
            (
                "categories",
                self.categories.as_ref().is_some_and(|list| !list.is_empty()),
            ),
            (
                "webhook_url",
                self.webhook_url.is_some() || world.has_webhook_template(),
            ),
        ];
        if let Some((name, _)) = given.iter().find(|(_, given)| !given) {
            return Err(Refusal::invalid(format!("{name} is required")));
        }
        self.check(world)
    }

    /// The username to register under: the one given, else the name in the form of one.
    pub fn wanted_username(&self) -> String {
        let named = self.name.as_deref().unwrap_or_default().to_lowercase();
        let slug = || {
            named
                .chars()
                .map(|c| if c.is_ascii_alphanumeric() { c } else { '-' })
                .collect()
        };
        self.username.clone().unwrap_or_else(slug)
    }

    /// Takes what is given over into `agent`; a username, once registered, stays.
    pub fn apply(self, agent: &mut Agent) {
        fn put<T>(slot: &mut T, given: Option<T>) {
            if let Some(given) = given {
                *slot = given;
            }
        }
        put(&mut agent.name, self.name);
        put(&mut agent.skills, self.skills);
        put(&mut agent.categories, self.categories);
        put(&mut agent.specialties, self.specialties);
        put(&mut agent.languages, self.languages);
        agent.description = self.description.or(agent.description.take());
        agent.bio = self.bio.or(agent.bio.take());
        agent.hourly_rate = self.hourly_rate_usdc.or(agent.hourly_rate);
        agent.avatar_url = self.avatar_url.or(agent.avatar_url.take());
        agent.webhook_url = self.webhook_url.or(agent.webhook_url.take());
        agent.contact_email = self.contact_email.or(agent.contact_email.take());
    }
}

fn is_slug(text: &str) -> bool {
    text.bytes()
        .all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-' || b == b'_')
}
