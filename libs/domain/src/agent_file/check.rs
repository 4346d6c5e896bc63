//! What an agent file may not say, each with a sentence that tells what to write instead.

use std::time::Duration;

use super::{AgentFile, Write, adapters, credential};

/// Longest attempt.
const LONGEST_TIMEOUT: Duration = Duration::from_secs(24 * 3600);

/// The most slots one run may take.
const MOST_SLOTS: u32 = 64;
/// Most hosts an agent may reach.
const MOST_HOSTS: usize = 100;
/// Checks of one delivery.
const MOST_CHECKS: usize = 20;
/// Bytes of one's command line.
const LONGEST_CHECK: usize = 1000;

/// Everything wrong with the values, or `None`.
pub(super) fn problems(file: &AgentFile) -> Option<Vec<String>> {
    let mut found = Vec::new();
    if !is_slug(&file.name) {
        found.push(format!(
            "name: {:?} is not a slug: write 2 to 40 of a-z, 0-9 and -, beginning with a letter",
            file.name
        ));
    }
    run(file, &mut found);
    for (key, value) in &file.env {
        if looks_secret(key, value) {
            found.push(format!(
                "env.{key} looks like a secret: agents get none; name the host under [[network.credential]] and keep the \
                 value with `steward secrets set`"
            ));
        }
    }
    if !(1..=MOST_SLOTS).contains(&file.limits.slots) {
        found.push(format!("limits.slots must be from 1 to {MOST_SLOTS}"));
    }
    if file.limits.runs == Some(0) {
        found.push("limits.runs must be at least 1: `steward agents mode NAME off` ends its bids".to_owned());
    }
    for address in &file.network.allow {
        if !is_host_and_port(address) {
            found.push(format!(
                "network.allow: {address:?} is not host:port; write each host in full, such as \"api.example.org:443\""
            ));
        }
    }
    if file.network.allow.len() > MOST_HOSTS {
        found.push(format!("network.allow: more than {MOST_HOSTS} hosts"));
    }
    credential::problems(file.run.adapter, &file.network.credential, &mut found);
    checks(&file.delivery.checks, &mut found);
    review(file, &mut found);
    bids(file, &mut found);
    if file.models.default.is_empty() {
        found.push("models.default is empty: name a model".to_owned());
    }
    (!found.is_empty()).then_some(found)
}

/// One host, not a pattern, and one port.
fn is_host_and_port(text: &str) -> bool {
    let Some((host, port)) = text.rsplit_once(':') else {
        return false;
    };
    let address = host.strip_prefix('[').and_then(|host| host.strip_suffix(']'));
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.' | b'_');
    let named = !host.is_empty() && host.len() <= 253 && host.bytes().all(plain);
    let host_is_good = address.map_or(named, |address| address.parse::<std::net::Ipv6Addr>().is_ok());
    host_is_good && port.parse::<u16>().is_ok_and(|port| port > 0)
}

fn run(file: &AgentFile, found: &mut Vec<String>) {
    adapters::problems(file, found);
    if file.run.timeout.is_zero() || file.run.timeout > LONGEST_TIMEOUT {
        found.push("run.timeout must be between 1s and 24h".to_owned());
    }
    if file.run.idle.is_zero() || file.run.idle > file.run.timeout {
        found.push("run.idle must be above 0 and at most run.timeout".to_owned());
    }
}

fn bids(file: &AgentFile, found: &mut Vec<String>) {
    if file
        .bidding
        .max_price_usdc
        .is_some_and(|max| max < file.bidding.min_price_usdc)
    {
        found.push("bidding.max_price_usdc is below bidding.min_price_usdc".to_owned());
    }
    if file.bidding.min_price_usdc.0 <= 0 {
        found.push("bidding.min_price_usdc must be above 0".to_owned());
    }
    let (bid, day) = (file.budget.per_proposal_usd, file.budget.per_day_usd);
    if bid.0 < 0 || day.is_some_and(|day| bid > day) && file.bidding.write == Write::Agent {
        found.push("budget.per_proposal_usd must be at least 0 and at most budget.per_day_usd".to_owned());
    }
}

fn checks(checks: &[String], found: &mut Vec<String>) {
    if checks.len() > MOST_CHECKS {
        found.push(format!("delivery.checks: at most {MOST_CHECKS} commands are run"));
    }
    for check in checks {
        if check.trim().is_empty() || check.len() > LONGEST_CHECK || check.contains(char::is_control) {
            let shown: String = check.chars().take(80).collect();
            found.push(format!(
                "delivery.checks: {shown:?} is no command line of 1 to {LONGEST_CHECK} bytes: write e.g. \"test -s \
                 report.md\""
            ));
        }
    }
}

fn review(file: &AgentFile, found: &mut Vec<String>) {
    let Some(review) = &file.delivery.review else { return };
    if !review.prompt.is_empty() && !adapters::is_plain(&review.prompt) {
        found.push(format!(
            "delivery.review.prompt: {:?} is no file of the agent's folder: write e.g. \"review.txt\"",
            review.prompt
        ));
    }
    if !review.model.is_empty() && !file.allowed_models().contains(&review.model) {
        found.push(format!(
            "delivery.review.model: {:?} may not be named: add it to models.allow, or make it models.default",
            review.model
        ));
    }
}

pub(super) fn is_slug(name: &str) -> bool {
    (2..=40).contains(&name.len())
        && name.starts_with(|first: char| first.is_ascii_lowercase())
        && name
            .bytes()
            .all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-')
}

fn looks_secret(key: &str, value: &str) -> bool {
    let key = key.to_ascii_uppercase();
    let named = [
        "SECRET",
        "TOKEN",
        "PASSWORD",
        "PASSWD",
        "API_KEY",
        "PRIVATE_KEY",
        "CREDENTIAL",
    ];
    let shaped = ["sk-", "cg_", "whsec_", "ghp_", "xoxb-", "AKIA", "-----BEGIN"];
    named.iter().any(|word| key.contains(word)) || shaped.iter().any(|start| value.trim_start().starts_with(start))
}
