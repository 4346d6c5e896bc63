//! What the marketplace is told about an agent, and what it would refuse.

use super::AgentFile;

/// Categories the marketplace documents: what an agent that takes any is registered with.
const CATEGORIES: [&str; 7] = ["code", "content", "data", "design", "research", "translation", "other"];
/// Longest address.
const LONGEST_URL: usize = 500;
const LONGEST_BIO: usize = 5_000;
const MOST_SKILLS: usize = 20;
const LONGEST_SKILL: usize = 30;

/// A piece of past work.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Work {
    /// What it is called.
    pub title: String,
    /// Where it can be seen.
    pub url: Option<String>,
}

impl Work {
    /// Reads `title`, `title https://…` or only an address.
    fn parse(text: &str) -> Self {
        let is_link = |word: &&str| word.starts_with("https://") || word.starts_with("http://");
        let url = text.split_whitespace().find(is_link).map(str::to_owned);
        let words: Vec<_> = text.split_whitespace().filter(|word| !is_link(word)).collect();
        let title = words.join(" ");
        let title = title.trim_end_matches([':', '-', '–', '—', '(']).trim_end();
        Self {
            title: if title.is_empty() { text.trim() } else { title }.to_owned(),
            url,
        }
    }
}

impl AgentFile {
    /// Its handle on the marketplace.
    #[must_use]
    pub fn username(&self) -> &str {
        if self.profile.username.is_empty() {
            &self.name
        } else {
            &self.profile.username
        }
    }

    /// What it is registered for: the categories it takes, all documented ones where it takes any.
    #[must_use]
    pub fn public_categories(&self) -> Vec<String> {
        if self.bidding.categories.is_empty() {
            CATEGORIES.map(str::to_owned).to_vec()
        } else {
            self.bidding.categories.clone()
        }
    }

    /// Its past work.
    #[must_use]
    pub fn portfolio(&self) -> Vec<Work> {
        let texts = self.profile.portfolio.iter().filter(|text| !text.trim().is_empty());
        texts.map(|text| Work::parse(text)).collect()
    }

    /// What the marketplace would refuse to register: a sentence each, beginning with the key of the agent file.
    #[must_use]
    pub fn unregistrable(&self) -> Vec<String> {
        let (profile, bidding) = (&self.profile, &self.bidding);
        let mut found = Vec::new();
        let mut require = |met: bool, what: &str| {
            if !met {
                found.push(what.to_owned());
            }
        };
        require(
            within(&profile.name, 2, 50),
            "profile.name must have 2 to 50 characters",
        );
        require(
            within(self.username(), 2, 50) && is_handle(self.username()),
            "profile.username must have 2 to 50 of a-z, 0-9, - and _",
        );
        require(
            within(&profile.description, 20, 500),
            "profile.description must have 20 to 500 characters",
        );
        require(
            within(&profile.bio, 0, LONGEST_BIO),
            "profile.bio must have at most 5000 characters",
        );
        let skills = &bidding.skills;
        require(
            (1..=MOST_SKILLS).contains(&skills.len()) && skills.iter().all(|skill| within(skill, 1, LONGEST_SKILL)),
            "bidding.skills must name 1 to 20 skills of at most 30 characters each",
        );
        require(
            bidding.categories.iter().all(|category| within(category, 1, 50)),
            "bidding.categories must not hold an empty word",
        );
        require(
            !profile.languages.is_empty() && profile.languages.iter().all(|language| within(language, 1, 30)),
            "profile.languages must name at least one language, such as \"en\"",
        );
        require(
            profile.avatar_url.starts_with("https://") && within(&profile.avatar_url, 9, LONGEST_URL),
            "profile.avatar_url must be an https address of at most 500 characters",
        );
        require(
            is_address(&profile.contact_email),
            "profile.contact_email must be an e-mail address: a code is sent to it",
        );
        require(
            profile.hourly_rate_usdc.is_none_or(|rate| rate.0 >= 0),
            "profile.hourly_rate_usdc must not be below 0",
        );
        for (key, text) in self.public_texts() {
            if text.contains('<') && text.contains('>') {
                found.push(format!("{key} still holds a placeholder: {text:?}"));
            }
        }
        found
    }

    /// Everything people read, with its key.
    fn public_texts(&self) -> Vec<(&'static str, &str)> {
        let profile = &self.profile;
        let mut texts = vec![
            ("profile.name", profile.name.as_str()),
            ("profile.description", profile.description.as_str()),
            ("profile.avatar_url", profile.avatar_url.as_str()),
            ("profile.contact_email", profile.contact_email.as_str()),
        ];
        texts.extend(
            profile
                .portfolio
                .iter()
                .map(|text| ("profile.portfolio", text.as_str())),
        );
        texts
    }
}

fn within(text: &str, least: usize, most: usize) -> bool {
    (least..=most).contains(&text.trim().chars().count())
}

fn is_handle(text: &str) -> bool {
    let fits = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || matches!(byte, b'-' | b'_');
    text.bytes().all(fits)
}

/// Whether a text can be an e-mail address: what else is wrong with it the code that does not arrive tells.
#[must_use]
pub fn is_address(text: &str) -> bool {
    let parts = text.split_once('@');
    let plain = !text.chars().any(|letter| letter.is_whitespace() || letter.is_control());
    plain && text.len() <= 254 && parts.is_some_and(|(who, place)| !who.is_empty() && !place.is_empty())
}

#[cfg(test)]
mod tests {
    use super::*;

    const WHOLE: &str = r#"
name = "demo"
[run]
command = ["true"]
[profile]
name = "Demo"
description = "Writes short texts and small programs."
avatar_url = "https://example.org/a.png"
languages = ["en"]
contact_email = "demo@example.org"
portfolio = ["A parser of invoices https://example.org/parser", "A report", "https://example.org/only"]
[bidding]
skills = ["python"]
"#;

    fn file(text: &str) -> AgentFile {
        AgentFile::parse(text).unwrap()
    }

    #[test]
    fn a_whole_profile_is_registered_as_it_is() {
        let whole = file(WHOLE);
        assert_eq!(whole.unregistrable(), [""; 0]);
        assert_eq!((whole.username(), whole.public_categories().len()), ("demo", 7));
        let shown = whole.portfolio();
        let read: Vec<_> = shown
            .iter()
            .map(|work| (work.title.as_str(), work.url.as_deref()))
            .collect();
        assert_eq!(
            read,
            [
                ("A parser of invoices", Some("https://example.org/parser")),
                ("A report", None),
                ("https://example.org/only", Some("https://example.org/only")),
            ]
        );
    }

    #[test]
    fn every_bound_of_a_registration_names_the_key_to_change() {
        let long = "x".repeat(31);
        for (from, to, key) in [
            ("name = \"Demo\"", "name = \"D\"", "profile.name"),
            (
                "name = \"Demo\"",
                "name = \"Demo\"\nusername = \"De Mo\"",
                "profile.username",
            ),
            (
                "Writes short texts and small programs.",
                "Too short.",
                "profile.description",
            ),
            (
                "Writes short texts and small programs.",
                "<what it does and for whom>",
                "profile.description",
            ),
            (
                "https://example.org/a.png",
                "http://example.org/a.png",
                "profile.avatar_url",
            ),
            ("languages = [\"en\"]", "languages = []", "profile.languages"),
            ("demo@example.org", "nowhere", "profile.contact_email"),
            ("skills = [\"python\"]", "skills = []", "bidding.skills"),
            ("\"python\"", &format!("{long:?}"), "bidding.skills"),
        ] {
            let changed = WHOLE.replacen(from, to, 1);
            let refused = file(&changed).unregistrable();
            assert!(refused.len() == 1 && refused[0].starts_with(key), "{to}: {refused:?}");
        }
    }

    #[test]
    fn a_file_without_the_new_keys_is_stored_as_the_release_before_reads_it() {
        let stored = serde_json::to_value(file(WHOLE)).unwrap();
        for key in ["username", "bio", "specialties"] {
            assert!(stored["profile"].get(key).is_none(), "{key}");
        }
    }
}
