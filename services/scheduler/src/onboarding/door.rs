//! The agent's door as the marketplace reaches it.

use url::Url;

use super::Error;

/// The longest address the marketplace takes.
const LONGEST: usize = 500;

/// The whole address of an agent's door: `https://host` gets the agent's path, a whole address must end with it.
///
/// # Errors
/// [`Error::Invalid`] with what is wrong.
pub(super) fn address(agent: &str, text: &str, live: bool) -> Result<String, Error> {
    let invalid = |why: String| Error::Invalid(format!("the webhook URL {text:?} {why}"));
    let mut url = Url::parse(text.trim()).map_err(|_| invalid("is no address: write https://…".to_owned()))?;
    let plain = url.query().is_none() && url.fragment().is_none() && url.username().is_empty();
    if !plain || url.password().is_some() || url.host_str().is_none_or(str::is_empty) {
        return Err(invalid(
            "must be https://host, or https://host/path, and nothing more".to_owned(),
        ));
    }
    if url.scheme() != "https" && (live || url.scheme() != "http") {
        return Err(invalid(
            "must begin with https://: the marketplace sends to nothing else".to_owned(),
        ));
    }
    let path = format!("/hooks/{agent}");
    if url.path() == "/" {
        url.set_path(&path);
    }
    if !is_door(agent, url.as_str()) {
        return Err(invalid(format!("must end with {path}, the agent's door")));
    }
    if url.as_str().chars().count() > LONGEST {
        return Err(invalid(format!("is longer than {LONGEST} characters")));
    }
    Ok(url.to_string())
}

/// Whether an address can be an agent's door.
pub(super) fn is_door(agent: &str, url: &str) -> bool {
    Url::parse(url).is_ok_and(|url| url.path().ends_with(&format!("/hooks/{agent}")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_host_gets_the_agents_path_and_another_agents_door_is_refused() {
        for (given, whole) in [
            ("https://hooks.example.com", "https://hooks.example.com/hooks/demo"),
            (" https://hooks.example.com/ ", "https://hooks.example.com/hooks/demo"),
            ("https://example.com/x/hooks/demo", "https://example.com/x/hooks/demo"),
        ] {
            assert_eq!(address("demo", given, true).unwrap(), whole);
        }
        for bad in [
            "",
            "hooks.example.com",
            "http://hooks.example.com",
            "ftp://example.com",
            "https://example.com/hooks/other",
            "https://example.com/hooks/demo?x=1",
            "https://user:word@example.com",
            &format!("https://example.com/{}/hooks/demo", "x".repeat(500)),
        ] {
            assert!(address("demo", bad, true).is_err(), "{bad}");
        }
        assert!(
            address("demo", "http://127.0.0.1:8080", false).is_ok(),
            "a simulated market sends to loopback"
        );
    }
}
