//! `[[network.credential]]`: a key of an agent's own that no run ever sees.

use serde::{Deserialize, Serialize};

use super::Adapter;
use crate::secret_scan;

/// Most of them in one file.
const MOST: usize = 8;
/// Longest format, in bytes.
const LONGEST_FORMAT: usize = 100;
/// Longest value of a secret, in bytes.
pub const LONGEST_VALUE: usize = 4096;
/// Where the value goes in a format.
const PLACE: &str = "{}";

/// Headers that say something else than who calls.
const NOT_FOR_KEYS: [&str; 21] = [
    "host",
    "content-length",
    "content-type",
    "content-encoding",
    "connection",
    "keep-alive",
    "proxy-authenticate",
    "proxy-authorization",
    "te",
    "trailer",
    "transfer-encoding",
    "upgrade",
    "expect",
    "range",
    "if-range",
    "accept",
    "accept-encoding",
    "user-agent",
    "forwarded",
    "traceparent",
    "tracestate",
];
/// Beginnings of such.
const NOT_BEGINNING: [&str; 2] = ["x-steward-", "x-forwarded-"];
/// Last labels of names that lead nowhere public.
const NOT_PUBLIC: [&str; 8] = [
    "localhost",
    "local",
    "localdomain",
    "internal",
    "intranet",
    "lan",
    "home",
    "corp",
];

/// One host, and the secret that is added to calls of it outside the sandbox.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Credential {
    /// A public name, such as "api.example.org", called by https at its usual port.
    pub host: String,
    /// The header that carries the key, such as "authorization".
    pub header: String,
    /// What the header says, with one `{}` for the value.
    #[serde(default = "as_it_is")]
    pub format: String,
    /// The name of the secret: `steward secrets set AGENT NAME`.
    pub secret: String,
}

impl Credential {
    /// Begin of the names of what a run finds about it: `STEWARD_EXT_SEARCH` for the secret `search`.
    #[must_use]
    pub fn variable(&self) -> String {
        variable(&self.secret)
    }

    /// What the header says with this value.
    #[must_use]
    pub fn filled(&self, value: &str) -> String {
        self.format.replacen(PLACE, value, 1)
    }
}

/// Begin of the names of what a run finds about a secret.
#[must_use]
pub fn variable(secret: &str) -> String {
    format!("STEWARD_EXT_{}", secret.to_ascii_uppercase().replace('-', "_"))
}

/// Whether this can name a secret.
#[must_use]
pub fn is_secret_name(name: &str) -> bool {
    super::check::is_slug(name)
}

/// Why this can be no secret's value; never repeats it.
///
/// # Errors
/// A sentence.
pub fn check_value(value: &str) -> Result<(), String> {
    let length = value.len();
    if !(secret_scan::SHORTEST..=LONGEST_VALUE).contains(&length) {
        return Err(format!(
            "a secret has {} to {LONGEST_VALUE} bytes, this one has {length}: a shorter one cannot be told from text",
            secret_scan::SHORTEST
        ));
    }
    if !value.bytes().all(|byte| (b' '..=b'~').contains(&byte)) || value.trim() != value {
        return Err("a secret is one line of ASCII without spaces around it: it goes into a header".to_owned());
    }
    Ok(())
}

/// What is wrong with these.
pub(super) fn problems(adapter: Adapter, credentials: &[Credential], found: &mut Vec<String>) {
    let mut wrong = |what: String| found.push(format!("network.credential: {what}"));
    if credentials.len() > MOST {
        wrong(format!("more than {MOST} of them"));
    }
    if !credentials.is_empty() && adapter != Adapter::Command {
        wrong(format!(
            "an agent of the adapter {:?} runs no program that could call a host",
            adapter.name()
        ));
    }
    for (at, credential) in credentials.iter().enumerate() {
        let Credential {
            host,
            header,
            format,
            secret,
        } = credential;
        let before = credentials.get(..at).unwrap_or_default();
        if !is_public_name(host) {
            wrong(format!(
                "host {host:?} is no public name in small letters: write it without scheme, port and path, such as \
                 \"api.example.org\""
            ));
        }
        if before.iter().any(|other| other.host == *host) {
            wrong(format!("host {host:?} is there twice: a host has one key"));
        }
        if !is_header_for_keys(header) {
            wrong(format!(
                "header {header:?} is none a key goes into: write e.g. \"authorization\" or \"x-api-key\""
            ));
        }
        let plain = format.bytes().all(|byte| (b' '..=b'~').contains(&byte)) && format.trim() == format;
        if format.matches(PLACE).count() != 1 || format.len() > LONGEST_FORMAT || !plain {
            wrong(format!(
                "format {format:?} needs {{}} once, for the value, on one line of at most {LONGEST_FORMAT} bytes: \
                 write e.g. \"Bearer {{}}\""
            ));
        }
        if !is_secret_name(secret) {
            wrong(format!(
                "secret {secret:?} is not a slug: write 2 to 40 of a-z, 0-9 and -, beginning with a letter; its value \
                 goes in with `steward secrets set`"
            ));
        }
        if before.iter().any(|other| other.secret == *secret) {
            wrong(format!(
                "secret {secret:?} is there twice: give each host a secret of its own, the values may be the same"
            ));
        }
    }
}

/// A name of the public DNS, in small letters.
fn is_public_name(host: &str) -> bool {
    let label = |label: &str| {
        (1..=63).contains(&label.len())
            && !label.starts_with('-')
            && !label.ends_with('-')
            && label
                .bytes()
                .all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-')
    };
    let Some((rest, last)) = host.rsplit_once('.') else {
        return false;
    };
    host.len() <= 253
        && rest.split('.').all(label)
        && label(last)
        && last.starts_with(|first: char| first.is_ascii_lowercase())
        && !NOT_PUBLIC.contains(&last)
}

fn is_header_for_keys(name: &str) -> bool {
    let token = |byte: u8| byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte);
    let lower = name.to_ascii_lowercase();
    (1..=64).contains(&name.len())
        && name.bytes().all(token)
        && !NOT_FOR_KEYS.contains(&lower.as_str())
        && !NOT_BEGINNING.iter().any(|begin| lower.starts_with(begin))
}

fn as_it_is() -> String {
    PLACE.to_owned()
}

#[cfg(test)]
mod tests {
    use crate::agent_file::AgentFile;

    use super::*;

    const MINIMAL: &str = "name = \"demo\"\n[run]\ncommand = [\"python3\", \"agent.py\"]\n";
    const GOOD: &str = "[[network.credential]]\nhost = \"api.search.example\"\nheader = \"Authorization\"\n\
                        format = \"Bearer {}\"\nsecret = \"search-api\"\n";

    #[test]
    fn a_credential_names_host_header_format_and_secret() {
        let file = AgentFile::parse(&format!("{MINIMAL}{GOOD}")).unwrap();
        let credential = &file.network.credential[0];
        assert_eq!(credential.variable(), "STEWARD_EXT_SEARCH_API");
        assert_eq!(credential.filled("abc"), "Bearer abc");
        let json = serde_json::to_value(&file).unwrap();
        assert_eq!(serde_json::from_value::<AgentFile>(json).unwrap(), file);
        let bare = AgentFile::parse(&format!("{MINIMAL}{}", GOOD.replace("format = \"Bearer {}\"\n", ""))).unwrap();
        assert_eq!(bare.network.credential[0].filled("abc"), "abc");
    }

    #[test]
    fn what_could_lead_elsewhere_or_say_something_else_is_refused() {
        for (from, to, word) in [
            ("api.search.example", "api.search.example:8443", "public name"),
            ("api.search.example", "https://api.search.example", "public name"),
            ("api.search.example", "api.search.example/v1", "public name"),
            ("api.search.example", "127.0.0.1", "public name"),
            ("api.search.example", "metadata.google.internal", "public name"),
            ("api.search.example", "localhost", "public name"),
            ("api.search.example", "API.search.example", "public name"),
            ("Authorization", "Host", "header"),
            ("Authorization", "content-length", "header"),
            ("Authorization", "Transfer-Encoding", "header"),
            ("Authorization", "x-steward-run", "header"),
            ("Authorization", "two words", "header"),
            ("Bearer {}", "Bearer", "format"),
            ("Bearer {}", "{} {}", "format"),
            ("Bearer {}", "a\\r\\nb: {}", "format"),
            ("search-api", "Search_Api", "slug"),
            ("search-api\"\n", "search-api\"\nvalue = \"abc\"\n", "value"),
        ] {
            let text = format!("{MINIMAL}{}", GOOD.replace(from, to));
            let error = AgentFile::parse(&text).unwrap_err().to_string();
            assert!(error.contains(word), "{to}: {error}");
        }
        let twice = AgentFile::parse(&format!("{MINIMAL}{GOOD}{GOOD}"))
            .unwrap_err()
            .to_string();
        assert!(twice.contains("host") && twice.contains("twice"), "{twice}");
        let many: String = (0..9)
            .map(|at| {
                GOOD.replace("api.", &format!("a{at}."))
                    .replace("search-api", &format!("s-{at}"))
            })
            .collect();
        assert!(AgentFile::parse(&format!("{MINIMAL}{many}")).is_err());
        let prompt = "name = \"demo\"\n[run]\nadapter = \"prompt\"\n[prompt]\ntemplate = \"p.txt\"\n";
        let error = AgentFile::parse(&format!("{prompt}{GOOD}")).unwrap_err().to_string();
        assert!(error.contains("no program"), "{error}");
    }

    #[test]
    fn a_value_fits_a_header_and_is_long_enough_to_be_told_from_text() {
        assert!(check_value("sk-0123456789").is_ok());
        for wrong in ["shrt", "0123456789\n012345", " 0123456789012", "ünicode-0123456"] {
            let why = check_value(wrong).unwrap_err();
            assert!(!why.contains(wrong), "{why}");
        }
        assert!(check_value(&"x".repeat(5000)).is_err());
    }
}
