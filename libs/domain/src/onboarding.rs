//! On the way to the first bid: calls whose answer is the only copy of a secret, and how what is missing is mended.

use crate::agent_file::AgentFile;

/// A call that must never be repeated blindly: its answer is the only copy of a secret.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Call {
    /// Registers the agent; the answer holds its key.
    Register,
    /// Makes a new webhook secret; the sender switches to it at once.
    RotateSecret,
}

impl Call {
    /// The word in the store.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Register => "register",
            Self::RotateSecret => "rotate_secret",
        }
    }
}

/// What became of the last such call.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Last {
    /// There was none.
    None,
    /// It was begun and may still be answered.
    UnderWay,
    /// Its answer is kept.
    Kept,
    /// It was not acted on.
    Refused,
    /// It may have been acted on, and nobody has the answer.
    Lost,
}

/// Why a call may not be begun.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum No {
    /// The agent has a key.
    #[error("it is registered already")]
    Registered,
    /// The agent has no key.
    #[error("it is not registered yet")]
    Unregistered,
    /// One is under way.
    #[error("another call is under way: wait for its answer")]
    UnderWay,
    /// The answer of the last one was lost, and nobody said to go on.
    #[error("the answer of the last call was lost")]
    Lost,
}

/// Whether a call may be begun. `again` is an operator's word that a lost answer is known of.
///
/// # Errors
/// [`No`].
pub fn may_begin(call: Call, last: Last, has_key: bool, again: bool) -> Result<(), No> {
    match (call, has_key) {
        (Call::Register, true) => return Err(No::Registered),
        (Call::RotateSecret, false) => return Err(No::Unregistered),
        _ => {}
    }
    match last {
        Last::UnderWay => Err(No::UnderWay),
        Last::Lost if !again => Err(No::Lost),
        Last::None | Last::Kept | Last::Refused | Last::Lost => Ok(()),
    }
}

/// What an operator does about something the marketplace names as missing or recommended, who has this file of the
/// agent. Its words are an open set.
#[must_use]
pub fn remedy(word: &str, agent: &str, file: Option<&AgentFile>) -> String {
    let plain = word.to_ascii_lowercase();
    let has = |part: &str| plain.contains(part);
    let fix = format!("`steward agents readiness {agent} --fix`");
    let file = |key: &str| match file {
        Some(file) if stands(file, key) => format!("{key} stands in its agent file: {fix} sends it"),
        _ => format!("write {key} into its agent file, `steward agents add` it, then {fix}"),
    };
    if has("portfolio") {
        file("profile.portfolio")
    } else if has("verif") || has("email") {
        format!("steward agents verify-email {agent}")
    } else if has("claim") || has("operator") {
        format!("open the claim link in a browser (`steward agents claim-link {agent}` if it was not shown yet)")
    } else if has("webhook") {
        format!("steward agents webhooks {agent} --url https://…")
    } else if has("avatar") {
        file("profile.avatar_url")
    } else if has("skill") {
        file("bidding.skills")
    } else if has("categor") {
        file("bidding.categories")
    } else if has("special") {
        file("profile.specialties")
    } else if has("language") {
        file("profile.languages")
    } else if has("description") {
        file("profile.description")
    } else if has("bio") {
        file("profile.bio")
    } else if has("rate") {
        file("profile.hourly_rate_usdc")
    } else if has("user") {
        "a username is given at registration only: ask the marketplace".to_owned()
    } else if has("name") {
        file("profile.name")
    } else {
        "see the agent's page in the marketplace's dashboard".to_owned()
    }
}

/// Whether an agent file says something under a key that is sent with its profile.
fn stands(file: &AgentFile, key: &str) -> bool {
    let (profile, bidding) = (&file.profile, &file.bidding);
    let text = |text: &str| !text.trim().is_empty();
    match key {
        "profile.name" => text(&profile.name),
        "profile.description" => text(&profile.description),
        "profile.bio" => text(&profile.bio),
        "profile.avatar_url" => text(&profile.avatar_url),
        "profile.hourly_rate_usdc" => profile.hourly_rate_usdc.is_some(),
        "profile.portfolio" => !file.portfolio().is_empty(),
        "profile.specialties" => !profile.specialties.is_empty(),
        "profile.languages" => !profile.languages.is_empty(),
        "bidding.skills" => !bidding.skills.is_empty(),
        // One without categories takes any, and is sent as taking all.
        "bidding.categories" => !file.public_categories().is_empty(),
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ALL: [Last; 5] = [Last::None, Last::UnderWay, Last::Kept, Last::Refused, Last::Lost];

    #[test]
    fn an_agent_with_a_key_is_never_registered_again() {
        for last in ALL {
            for again in [false, true] {
                assert_eq!(may_begin(Call::Register, last, true, again), Err(No::Registered));
                assert_eq!(may_begin(Call::RotateSecret, last, false, again), Err(No::Unregistered));
            }
        }
    }

    #[test]
    fn a_lost_answer_wants_a_word_and_one_under_way_is_waited_for() {
        for (call, has_key) in [(Call::Register, false), (Call::RotateSecret, true)] {
            for again in [false, true] {
                assert_eq!(may_begin(call, Last::UnderWay, has_key, again), Err(No::UnderWay));
                for last in [Last::None, Last::Kept, Last::Refused] {
                    assert_eq!(may_begin(call, last, has_key, again), Ok(()));
                }
            }
            assert_eq!(may_begin(call, Last::Lost, has_key, false), Err(No::Lost));
            assert_eq!(may_begin(call, Last::Lost, has_key, true), Ok(()));
        }
    }

    #[test]
    fn every_check_the_marketplace_is_known_to_make_has_a_remedy() {
        for (word, part) in [
            ("username", "registration"),
            ("description", "profile.description"),
            ("skills", "bidding.skills"),
            ("categories", "bidding.categories"),
            ("languages", "profile.languages"),
            ("webhook_url", "agents webhooks"),
            ("avatar_url", "profile.avatar_url"),
            ("email_verified", "verify-email"),
            ("portfolio", "profile.portfolio"),
            ("bio", "profile.bio"),
            ("hourly_rate_usdc", "profile.hourly_rate_usdc"),
            ("specialties", "profile.specialties"),
            ("At least 1 portfolio item", "profile.portfolio"),
            ("something new", "dashboard"),
        ] {
            let said = remedy(word, "demo", None);
            assert!(said.contains(part), "{word}: {said}");
        }
    }

    #[test]
    fn what_stands_in_the_agent_file_is_sent_and_not_asked_for_again() {
        let text = r#"
            name = "demo"
            [run]
            command = ["true"]
            [profile]
            name = "Demo"
            description = "Writes short texts."
            bio = "Long."
            avatar_url = "https://example.org/a.png"
            languages = ["en"]
            specialties = ["invoices"]
            hourly_rate_usdc = 20.0
            portfolio = ["A report"]
            [bidding]
            skills = ["python"]
            categories = ["code"]
        "#;
        let full = AgentFile::parse(text).unwrap();
        let bare = AgentFile::parse("name = \"demo\"\n[run]\ncommand = [\"true\"]\n").unwrap();
        for word in [
            "name",
            "description",
            "bio",
            "avatar_url",
            "languages",
            "specialties",
            "hourly_rate_usdc",
            "portfolio",
            "skills",
            "categories",
        ] {
            let said = remedy(word, "demo", Some(&full));
            assert!(
                said.contains("stands in its agent file") && said.contains("readiness demo --fix"),
                "{said}"
            );
            let said = remedy(word, "demo", Some(&bare));
            assert!(
                said.starts_with("write ") || word == "categories" || word == "languages",
                "{word}: {said}"
            );
        }
        assert_eq!(
            remedy("email_verified", "demo", Some(&full)),
            "steward agents verify-email demo"
        );
    }
}
