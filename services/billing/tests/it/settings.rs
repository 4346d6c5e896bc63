//! The settings billing ships and refuses.

use std::collections::BTreeMap;

use billing::Config;
use boot::{ConfigError, load, redacted};

use crate::stack::{PROVIDER_KEY, Ports, environment};

fn all() -> BTreeMap<String, String> {
    let ports = Ports {
        grpc: "[::]:1".to_owned(),
        gateway: "[::]:2".to_owned(),
        admin: "[::]:3".to_owned(),
    };
    environment(&ports, "postgres://billing:canary@x/y", "http://x/v1")
}

fn read(more: &[(&str, &str)]) -> Result<Config, ConfigError> {
    let mut env = all();
    for (key, value) in more {
        env.insert(format!("STEWARD__{key}"), (*value).to_owned());
    }
    load(billing::DEFAULTS, None, &env)
}

#[test]
fn the_defaults_need_only_secrets_and_a_provider() {
    let config = read(&[]).unwrap();
    let shown = redacted(&config).unwrap();
    for secret in [
        PROVIDER_KEY,
        "canary",
        "token-scheduler",
        "token-operator",
        "token-viewer",
    ] {
        assert!(
            !shown.contains(secret) && !format!("{config:?}").contains(secret),
            "{shown}"
        );
    }
}

#[test]
fn a_provider_of_two_protocols_is_written_down_twice() {
    let both = "[{name=\"a\", base_url=\"http://x\", api_key=\"k\", models=[\"*\"]}, \
                 {name=\"a\", api=\"anthropic\", base_url=\"http://x\", api_key=\"k\", models=[\"*\"]}]";
    assert_eq!(read(&[("UPSTREAMS", both)]).unwrap().upstreams.len(), 2);
}

#[test]
fn a_missing_or_empty_secret_is_named() {
    for (key, path) in [
        ("DATABASE__URL", "database.url"),
        ("GRPC__SCHEDULER_TOKEN", "grpc.scheduler_token"),
        ("GRPC__OPERATOR_TOKEN", "grpc.operator_token"),
    ] {
        let empty = read(&[(key, "")]).unwrap_err().to_string();
        assert!(empty.contains(path) || empty.contains(key), "{empty}");
        let mut env = all();
        env.remove(&format!("STEWARD__{key}"));
        let missing = load::<Config>(billing::DEFAULTS, None, &env).unwrap_err().to_string();
        assert!(missing.contains(path), "{missing}");
    }
}

#[test]
fn settings_that_contradict_each_other_are_refused_by_name() {
    for (key, value, told) in [
        ("UPSTREAMS", "[]", "upstreams is empty"),
        (
            "UPSTREAMS",
            "[{name=\"A b\", base_url=\"http://x\", api_key=\"k\", models=[\"*\"]}]",
            "upstreams.0.name",
        ),
        (
            "UPSTREAMS",
            "[{name=\"a\", base_url=\"ftp://x\", api_key=\"k\", models=[\"*\"]}]",
            "upstreams.0.base_url",
        ),
        (
            "UPSTREAMS",
            "[{name=\"a\", base_url=\"http://x\", api_key=\"k\", models=[]}]",
            "upstreams.0.models",
        ),
        (
            "UPSTREAMS",
            "[{name=\"a\", base_url=\"http://x\", api_key=\"k\", models=[\"g*t\"]}]",
            "upstreams.0.models",
        ),
        (
            "UPSTREAMS",
            "[{name=\"a\", base_url=\"http://x\", models=[\"*\"]}]",
            "api_key",
        ),
        (
            "UPSTREAMS",
            "[{name=\"a\", base_url=\"http://x\", api_key=\"k\", models=[\"*\"]}, \
              {name=\"a\", base_url=\"http://y\", api_key=\"k\", models=[\"*\"]}]",
            "used twice",
        ),
        (
            "UPSTREAMS",
            "[{name=\"a\", api=\"smtp\", base_url=\"http://x\", api_key=\"k\", models=[\"*\"]}]",
            "api",
        ),
        ("GRPC__VIEWER_TOKEN", "token-operator", "must differ"),
        ("GATEWAY__HOLD_MARGIN", "1s", "gateway.hold_margin"),
        ("GATEWAY__HOLD_LEASE", "1s", "gateway.hold_lease"),
        ("GATEWAY__CLIENT_STALL", "10m", "gateway.client_stall"),
        ("GATEWAY__IDLE_TIMEOUT", "11m", "gateway.idle_timeout"),
        ("GATEWAY__CONNECT_TIMEOUT", "10m", "gateway.connect_timeout"),
        ("GATEWAY__MAX_CALLS_PER_RUN", "257", "gateway.max_calls_per_run"),
        ("GATEWAY__MAX_BODY", "1", "max_body_bytes"),
        ("GATEWAY__ANTHROPIC_BETAS", "[\"a*b\"]", "gateway.anthropic_betas"),
        ("BOOKS__SWEEP_EVERY", "0s", "books.sweep_every"),
    ] {
        let refused = read(&[(key, value)]).unwrap_err().to_string();
        assert!(refused.contains(told), "{key}={value}: {refused}");
    }
}
