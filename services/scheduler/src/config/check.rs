//! What the types cannot say: relations between settings.

use std::time::Duration;

use boot::Checks;

use super::Config;

type Findings = Result<(), Vec<String>>;

/// Least length of a key or token.
const SHORTEST_KEY: usize = 32;
const SHORTEST_TOKEN: usize = 16;
/// Fetched files are held whole in memory, one at a time, and executors take this much for one run.
const LARGEST_INPUTS: u64 = 1 << 30;
/// Between the longest call and the end of the courier's lease.
const LEASE_MARGIN: Duration = Duration::from_secs(5);

/// Addresses and folders.
pub fn outside(config: &Config) -> Findings {
    Checks::new()
        .require(
            (2..=200).contains(&config.database.max_connections),
            "database.max_connections must lie between 2 and 200",
        )
        .require(
            config.database.max_connections as usize > config.intake.workers,
            "database.max_connections must be more than intake.workers: others need connections too",
        )
        .require(
            rpc::channel::check(&config.billing.url).is_ok(),
            "billing.url must be http://host:port, several separated by commas",
        )
        .require(
            config.billing.deadline >= Duration::from_secs(1),
            "billing.deadline must be at least 1s",
        )
        .require(config.objects.dir.is_absolute(), "objects.dir must be an absolute path")
        .require(
            config.objects.bundle_bytes > 0 && config.objects.artefact_bytes > 0,
            "objects.bundle_bytes and objects.artefact_bytes must be more than nothing",
        )
        .require(
            (1..=1000).contains(&config.objects.delivery_files),
            "objects.delivery_files must lie between 1 and 1000",
        )
        .require(
            (1..=config.attachments.contract_bytes).contains(&config.attachments.file_bytes)
                && config.attachments.contract_bytes <= LARGEST_INPUTS,
            "attachments.file_bytes must lie between 1 and attachments.contract_bytes, and that be at most 1 GiB",
        )
        .require(
            (1..=10).contains(&config.attachments.tries) && config.attachments.timeout >= Duration::from_secs(1),
            "attachments.tries must lie between 1 and 10, and attachments.timeout be at least 1s",
        )
        .require(
            config.attachments.timeout <= config.reconcile.deadline / 2,
            "attachments.timeout must be at most half of reconcile.deadline",
        )
        .require(
            config.grpc.max_connection_age >= Duration::from_secs(60),
            "grpc.max_connection_age must be at least 60s",
        )
        .done()
}

/// Tokens and keys are long, and none is another one.
pub fn secrets(config: &Config) -> Findings {
    let tokens = [
        ("grpc.executor_token", &config.grpc.executor_token),
        ("grpc.operator_token", &config.grpc.operator_token),
        ("grpc.viewer_token", &config.grpc.viewer_token),
    ];
    let keys = [
        ("keys.webhook", &config.keys.webhook),
        ("keys.marketplace", &config.keys.marketplace),
    ];
    let mut checks = Checks::new();
    for (name, token) in tokens {
        checks = checks.require(
            token.expose().len() >= SHORTEST_TOKEN,
            format!("{name} must have at least {SHORTEST_TOKEN} characters"),
        );
    }
    for (name, key) in keys {
        checks = checks.require(
            key.expose().len() >= SHORTEST_KEY,
            format!("{name} must have at least {SHORTEST_KEY} characters"),
        );
    }
    let all: Vec<_> = tokens.iter().chain(&keys).collect();
    for (place, (name, secret)) in all.iter().enumerate() {
        for (other, same) in &all[place + 1..] {
            checks = checks.require(
                secret.expose() != same.expose(),
                format!("{name} and {other} are the same; each needs a value of its own"),
            );
        }
    }
    checks.done()
}

/// Calls to the marketplace and what follows from how long they may take.
pub fn marketplace(config: &Config) -> Findings {
    let market = &config.marketplace;
    let scheme = market.base_url.scheme();
    Checks::new()
        .require(
            scheme == "https" || (scheme == "http" && !market.live),
            "marketplace.base_url must be https (http only with marketplace.live = false)",
        )
        .require(
            (1..=600_000).contains(&market.rate_limit_per_minute),
            "marketplace.rate_limit_per_minute must lie between 1 and 600000",
        )
        .require(
            !market.live || market.rate_limit_per_minute <= 28,
            "marketplace.rate_limit_per_minute must be at most 28 with marketplace.live = true",
        )
        .require(
            market.fee_permille <= 1000,
            "marketplace.fee_permille must be at most 1000",
        )
        .require(
            market.request_timeout >= Duration::from_millis(100),
            "marketplace.request_timeout must be at least 100ms",
        )
        .require(
            market.settle > market.request_timeout,
            "marketplace.settle must be longer than marketplace.request_timeout: a call may take effect until then",
        )
        .require(
            config.courier.lease >= market.request_timeout + LEASE_MARGIN,
            format!(
                "courier.lease must be at least marketplace.request_timeout + {}s: it outlives every call",
                LEASE_MARGIN.as_secs()
            ),
        )
        .done()
}

/// Bounds and paces.
pub fn paces(config: &Config) -> Findings {
    let (intake, courier, runs) = (&config.intake, &config.courier, &config.runs);
    let positive = |every: Duration| every >= Duration::from_millis(100);
    Checks::new()
        .require(
            (1..=64).contains(&intake.workers),
            "intake.workers must lie between 1 and 64",
        )
        .require(
            config.breaker.failures > 0 && (1..=1000).contains(&config.breaker.share_permille),
            "breaker.failures must be more than nothing, breaker.share_permille between 1 and 1000",
        )
        .require(
            positive(config.breaker.first_pause)
                && config.breaker.first_pause <= config.breaker.longest_pause
                && config.breaker.longest_pause <= Duration::from_secs(3600),
            "breaker.first_pause must be at least 100ms, and breaker.longest_pause between it and 1h",
        )
        .require(
            (1..=256).contains(&courier.concurrency),
            "courier.concurrency must lie between 1 and 256",
        )
        .require(
            intake.max_attempts > 0 && courier.max_attempts > 0,
            "intake.max_attempts and courier.max_attempts must be more than nothing",
        )
        .require(
            courier.patience >= courier.longest_pause,
            "courier.patience must not be shorter than courier.longest_pause",
        )
        .require(
            intake.first_pause <= intake.longest_pause
                && courier.first_pause <= courier.longest_pause
                && runs.first_pause <= runs.longest_pause,
            "first_pause must not be longer than longest_pause in [intake], [courier] and [runs]",
        )
        .require(
            runs.heartbeat >= Duration::from_secs(1) && runs.lease >= runs.heartbeat * 3,
            "runs.heartbeat must be at least 1s, and runs.lease at least three of them",
        )
        .require(
            runs.max_per_session > 0 && runs.max_events > 0 && positive(runs.sweep),
            "runs.max_per_session, runs.max_events and runs.sweep must be more than nothing",
        )
        .require(
            runs.value_classes
                .is_sorted_by(|low, high| low.below_usdc < high.below_usdc)
                && runs.value_classes.iter().all(|class| class.at_most > 0),
            "runs.value_classes must rise in below_usdc, and at_most be at least 1",
        )
        .require(
            runs.pause_bidding_after <= 1000,
            "runs.pause_bidding_after must be at most 1000; 0 switches it off",
        )
        .require(
            positive(config.reconcile.contracts_every)
                && positive(config.reconcile.contracts_idle_every)
                && positive(config.reconcile.proposals_every)
                && positive(config.reconcile.gigs_every)
                && positive(config.reconcile.deliveries_every)
                && positive(config.reconcile.wakeful_every)
                && positive(config.reconcile.deadline),
            "every time in [reconcile] must be at least 100ms",
        )
        .require(
            config.canary.every.is_zero() || config.canary.every >= Duration::from_secs(1),
            "canary.every must be 0s, or at least 1s",
        )
        .require(
            positive(config.retention.every) && (100..=100_000).contains(&config.retention.batch),
            "retention.every must be at least 100ms and retention.batch between 100 and 100000",
        )
        .require(
            config.retention.content >= Duration::from_secs(7 * 24 * 3600),
            "retention.content must be at least 7days",
        )
        .require(
            config.retention.inbox >= Duration::from_secs(3 * 24 * 3600),
            "retention.inbox must be at least 3days: the marketplace may repeat a webhook that long",
        )
        .done()
}
