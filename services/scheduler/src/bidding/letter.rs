//! Cover letters: a template, a gig, and the marketplace's bounds of 20 to 2,000 characters.
//!
//! The gig's text comes from strangers: it is only ever a value, never a template, and rendering is bounded by fuel.

use domain::bidding;
use domain::money::MicroUsdc;
use minijinja::{AutoEscape, Environment};
use serde::Serialize;
use store::gigs::NewGig;

use crate::error::Error;

/// The letter of agents that bring none.
pub const BUILT_IN: &str = include_str!("../../templates/cover_letter.txt");
/// What the marketplace takes, in characters.
pub const SHORTEST: usize = bidding::SHORTEST_LETTER;
/// What the marketplace takes, in characters.
pub const LONGEST: usize = bidding::LONGEST_LETTER;
/// Instructions one letter may use: thousands of lines, and no endless loop.
const FUEL: u64 = 50_000;
/// A template longer than this is no letter.
const LONGEST_TEMPLATE: usize = 64 * 1024;
/// Characters of a foreign line that are repeated.
const LONGEST_LINE: usize = 120;

/// What a letter is about.
#[derive(Debug, Clone, Copy)]
pub struct About<'a> {
    /// The gig.
    pub gig: &'a NewGig,
    /// What the agent can do.
    pub skills: &'a [String],
    /// The agent's public name; may be empty.
    pub name: &'a str,
    /// The price.
    pub amount: MicroUsdc,
    /// Hours named in the proposal.
    pub hours: u32,
}

/// What a template can name.
#[derive(Serialize)]
struct Values<'a> {
    gig: Brief<'a>,
    agent: Agent<'a>,
    fitting_skills: Vec<&'a String>,
    amount_usdc: String,
    hours: u32,
}

#[derive(Serialize)]
struct Brief<'a> {
    title: String,
    description: &'a str,
    category: &'a str,
    skills: &'a [String],
    client: Option<String>,
    deadline: Option<String>,
    deliverables: Option<&'a str>,
}

#[derive(Serialize)]
struct Agent<'a> {
    name: String,
    skills: &'a [String],
}

/// Renders a letter. Too long ones are cut at a word.
///
/// # Errors
/// [`Error::Template`] when the template is broken, runs for too long, or comes out too short.
pub fn write(template: &str, about: &About<'_>) -> Result<String, Error> {
    let failed = |why: String| Error::Template {
        what: "the cover letter".to_owned(),
        why,
    };
    if template.len() > LONGEST_TEMPLATE {
        return Err(failed(format!("the template is longer than {LONGEST_TEMPLATE} bytes")));
    }
    let mut environment = Environment::new();
    environment.set_fuel(Some(FUEL));
    environment.set_auto_escape_callback(|_| AutoEscape::None);
    let gig = about.gig;
    let values = Values {
        gig: Brief {
            title: line(&gig.title),
            description: &gig.description,
            category: &gig.category,
            skills: &gig.skills,
            client: gig.client_name.as_deref().map(line),
            deadline: gig
                .deadline
                .map(|deadline| deadline.format("%Y-%m-%d %H:%M UTC").to_string()),
            deliverables: gig.deliverables.as_deref(),
        },
        agent: Agent {
            name: line(about.name),
            skills: about.skills,
        },
        fitting_skills: gig.skills.iter().filter(|skill| has(about.skills, skill)).collect(),
        amount_usdc: about.amount.to_string(),
        hours: about.hours,
    };
    let text = environment
        .render_str(template, minijinja::value::Serde(values))
        .map_err(|error| failed(error.to_string()))?;
    let text = cut(text.trim());
    let length = text.chars().count();
    if length < SHORTEST {
        return Err(failed(format!(
            "it has {length} characters, the marketplace wants at least {SHORTEST}"
        )));
    }
    Ok(text)
}

/// Checks a template with a made-up gig.
///
/// # Errors
/// As [`write`].
pub fn check(template: &str) -> Result<(), Error> {
    let gig = NewGig {
        title: "Clean a spreadsheet".to_owned(),
        description: "Remove duplicates and normalise the dates.".to_owned(),
        category: "data".to_owned(),
        skills: vec!["python".to_owned()],
        ..NewGig::default()
    };
    let skills = ["python".to_owned()];
    let about = About {
        gig: &gig,
        skills: &skills,
        name: "Example",
        amount: MicroUsdc(12_500_000),
        hours: 1,
    };
    write(template, &about).map(|_text| ())
}

fn has(skills: &[String], wanted: &str) -> bool {
    skills
        .iter()
        .any(|skill| skill.trim().eq_ignore_ascii_case(wanted.trim()))
}

/// Foreign text as one short line without control characters.
fn line(text: &str) -> String {
    let flat: String = text
        .chars()
        .map(|letter| if letter.is_control() { ' ' } else { letter })
        .collect();
    flat.split_whitespace()
        .collect::<Vec<_>>()
        .join(" ")
        .chars()
        .take(LONGEST_LINE)
        .collect()
}

fn cut(text: &str) -> String {
    if text.chars().count() <= LONGEST {
        return text.to_owned();
    }
    let kept: String = text.chars().take(LONGEST - 2).collect();
    let end = kept.rfind(char::is_whitespace).unwrap_or(kept.len());
    format!("{} …", kept[..end].trim_end())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn about(gig: &NewGig) -> About<'_> {
        About {
            gig,
            skills: &[],
            name: "",
            amount: MicroUsdc(25_000_000),
            hours: 2,
        }
    }

    fn length(text: &str) -> usize {
        text.chars().count()
    }

    #[test]
    fn the_built_in_letter_fits_whatever_the_gig_says() {
        let empty = NewGig::default();
        let huge = NewGig {
            title: "x\n".repeat(5000),
            description: "y ".repeat(50_000),
            skills: (0..500).map(|number| format!("skill {number}")).collect(),
            client_name: Some("z".repeat(5000)),
            ..NewGig::default()
        };
        for gig in [&empty, &huge] {
            let letter = write(
                BUILT_IN,
                &About {
                    skills: &gig.skills,
                    ..about(gig)
                },
            )
            .unwrap();
            assert!(
                (SHORTEST..=LONGEST).contains(&length(&letter)),
                "{} characters",
                length(&letter)
            );
        }
    }

    #[test]
    fn a_clients_text_is_never_a_template() {
        let gig = NewGig {
            title: "{{ agent }} {% for x in range(9) %}".to_owned(),
            ..NewGig::default()
        };
        let letter = write("You ask for: {{ gig.title }} - we do it.", &about(&gig)).unwrap();
        assert!(letter.contains("{{ agent }} {% for"), "{letter}");
    }

    #[test]
    fn a_template_that_never_ends_or_says_nothing_is_refused_by_name() {
        let endless = "{% for a in range(10000) %}{% for b in range(10000) %}x{% endfor %}{% endfor %}";
        for bad in [endless, "too short", "{% if %}", &"x".repeat(LONGEST_TEMPLATE + 1)] {
            let error = check(bad).unwrap_err().to_string();
            assert!(error.contains("the cover letter"), "{error}");
        }
        assert!(check(BUILT_IN).is_ok());
    }

    #[test]
    fn a_long_letter_is_cut_at_a_word() {
        let gig = NewGig {
            description: "word ".repeat(1000),
            ..NewGig::default()
        };
        let letter = write("{{ gig.description }}", &about(&gig)).unwrap();
        assert!(length(&letter) <= LONGEST && letter.ends_with("word …"), "{letter}");
    }
}
