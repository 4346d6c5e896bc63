use std::collections::BTreeMap;

use super::*;

fn load(env: &[(&str, &str)]) -> Result<Config, boot::ConfigError> {
    let keys = ["w".repeat(32), "m".repeat(32)];
    let needed = [
        ("DATABASE__URL", "postgres://scheduler@localhost/steward"),
        ("REDIS__URL", "redis://localhost"),
        ("GRPC__EXECUTOR_TOKEN", "executor-canary-token"),
        ("GRPC__OPERATOR_TOKEN", "operator-canary-token"),
        ("GRPC__VIEWER_TOKEN", "viewer-canary-token"),
        ("BILLING__TOKEN", "billing-canary-token"),
        ("KEYS__WEBHOOK", &keys[0]),
        ("KEYS__MARKETPLACE", &keys[1]),
    ];
    let all = needed.iter().chain(env);
    let env: BTreeMap<String, String> = all
        .map(|(name, value)| (format!("STEWARD__{name}"), (*value).to_owned()))
        .collect();
    boot::load(crate::DEFAULTS, None, &env)
}

fn refused(env: &[(&str, &str)]) -> String {
    load(env).unwrap_err().to_string()
}

#[test]
fn the_defaults_are_live_and_print_no_secret() {
    let config = load(&[]).unwrap();
    assert!(config.marketplace.live);
    let shown = format!("{config:?}{}", boot::redacted(&config).unwrap());
    assert!(!shown.contains("-canary-token") && !shown.contains("wwww"), "{shown}");
}

#[test]
fn a_missing_or_empty_secret_is_named() {
    let missing = boot::load::<Config>(crate::DEFAULTS, None, &BTreeMap::new()).unwrap_err();
    assert!(missing.to_string().contains("STEWARD__"), "{missing}");
    for name in [
        "DATABASE__URL",
        "GRPC__OPERATOR_TOKEN",
        "BILLING__TOKEN",
        "KEYS__MARKETPLACE",
    ] {
        let error = refused(&[(name, "")]);
        let key = name.to_lowercase().replace("__", ".");
        assert!(error.contains(&key), "{key}: {error}");
    }
}

#[test]
fn a_settle_time_or_lease_shorter_than_a_call_is_refused() {
    let error = refused(&[("MARKETPLACE__SETTLE", "30s"), ("COURIER__LEASE", "31s")]);
    assert!(
        error.contains("marketplace.settle") && error.contains("courier.lease"),
        "{error}"
    );
}

#[test]
fn live_mode_refuses_plain_http_and_a_higher_limit() {
    let loose = [
        ("MARKETPLACE__BASE_URL", "http://127.0.0.1:9/api/v1"),
        ("MARKETPLACE__RATE_LIMIT_PER_MINUTE", "6000"),
    ];
    let error = refused(&loose);
    assert!(
        error.contains("base_url") && error.contains("rate_limit_per_minute"),
        "{error}"
    );
    let simulated = [loose[0], loose[1], ("MARKETPLACE__LIVE", "false")];
    assert!(load(&simulated).is_ok());
}

#[test]
fn short_or_repeated_secrets_are_refused_by_name() {
    let error = refused(&[
        ("KEYS__WEBHOOK", "short"),
        ("GRPC__VIEWER_TOKEN", "operator-canary-token"),
    ]);
    assert!(
        error.contains("keys.webhook") && error.contains("are the same"),
        "{error}"
    );
    assert!(!error.contains("canary"), "{error}");
}

#[test]
fn a_lease_must_outlast_three_heartbeats() {
    assert!(refused(&[("RUNS__LEASE", "10s")]).contains("runs.lease"));
}
