//! Names of the scheduler's metrics.

use metrics::{Unit, describe_counter, describe_gauge, describe_histogram};

/// Inbox rows acted on, by `event` and `outcome`.
pub const INTAKE_ROWS: &str = "steward_scheduler_intake_rows_total";
/// Seconds from a webhook's arrival to the commit that acted on it.
pub const INTAKE_LAG: &str = "steward_scheduler_intake_lag_seconds";
/// Inbox rows that failed, by `kind` of the error.
pub const INTAKE_FAILURES: &str = "steward_scheduler_intake_failures_total";
/// Contract steps that changed something, by `command` and `state` afterwards.
pub const STEPS: &str = "steward_scheduler_contract_steps_total";
/// Gigs decided on, by `decision`.
pub const BIDS: &str = "steward_scheduler_bids_total";
/// Duties done, by `duty` and `outcome`.
pub const DUTIES: &str = "steward_scheduler_duties_total";
/// Webhooks that never came and were taken from the marketplace's log.
pub const HEALED: &str = "steward_scheduler_webhooks_healed_total";
/// Tries to fetch a client's file, by `outcome`.
pub const FETCHED: &str = "steward_scheduler_attachments_total";
/// Rows removed by retention, by `table`.
pub const RETIRED: &str = "steward_scheduler_retired_rows_total";
/// Unprocessed inbox rows.
pub const INBOX_OPEN: &str = "steward_scheduler_inbox_open";
/// Age of the oldest unprocessed inbox row.
pub const INBOX_OLDEST: &str = "steward_scheduler_inbox_oldest_seconds";
/// Runs to be leased.
pub const RUNS_QUEUED: &str = "steward_scheduler_runs_queued";
/// Runs under a lease.
pub const RUNS_ACTIVE: &str = "steward_scheduler_runs_active";
/// Effects on their way.
pub const EFFECTS_OPEN: &str = "steward_scheduler_effects_open";
/// Dead letters of all kinds.
pub const DEAD_LETTERS: &str = "steward_scheduler_dead_letters";

/// Requests to the marketplace that were granted, by class.
pub const REQUESTS: &str = "steward_scheduler_marketplace_requests_total";
/// Requests of the last 60 seconds, by `key`.
pub const BUDGET_USED: &str = "steward_scheduler_marketplace_budget_used";
/// The breaker, by `key` (`@…` is the marketplace as a whole): 0 closed, 1 recovering, 2 probing, 3 open.
pub const BREAKER: &str = "steward_scheduler_marketplace_breaker";
/// Time an effect was worked on, by kind and outcome.
pub const EFFECT_SECONDS: &str = "steward_scheduler_effect_seconds";
/// Executors connected to this process.
pub const EXECUTORS: &str = "steward_scheduler_executors";
/// Slots they offer.
pub const SLOTS_FREE: &str = "steward_scheduler_slots_free";
/// Attempts that ended, by kind and the state of the run afterwards.
pub const RUNS_ENDED: &str = "steward_scheduler_attempts_total";

/// Tells the recorder what the names mean, and shows each label from the start.
pub(crate) fn describe() {
    describe_counter!(INTAKE_ROWS, "Inbox rows acted on, by event and outcome");
    describe_histogram!(
        INTAKE_LAG,
        Unit::Seconds,
        "Time from a webhook's arrival to the commit that acted on it"
    );
    describe_counter!(INTAKE_FAILURES, "Inbox rows that failed, by kind of the error");
    describe_counter!(STEPS, "Contract steps that changed something, by command and state");
    describe_counter!(BIDS, "Gigs decided on, by decision");
    describe_counter!(DUTIES, "Duties done, by duty and outcome");
    describe_counter!(
        HEALED,
        "Webhooks that never came and were taken from the marketplace's log"
    );
    describe_counter!(FETCHED, "Tries to fetch a client's file, by outcome");
    describe_counter!(RETIRED, "Rows removed by retention, by table");
    describe_gauge!(INBOX_OPEN, "Unprocessed inbox rows");
    describe_gauge!(INBOX_OLDEST, Unit::Seconds, "Age of the oldest unprocessed inbox row");
    describe_gauge!(RUNS_QUEUED, "Runs to be leased");
    describe_gauge!(RUNS_ACTIVE, "Runs under a lease");
    describe_gauge!(EFFECTS_OPEN, "Effects on their way");
    describe_gauge!(DEAD_LETTERS, "Dead letters of all kinds");
    describe_counter!(REQUESTS, "Requests to the marketplace that were granted, by class");
    describe_gauge!(
        BUDGET_USED,
        "Requests to the marketplace in the last 60 seconds, by key"
    );
    describe_gauge!(BREAKER, "The breaker: 0 closed, 1 recovering, 2 probing, 3 open");
    describe_histogram!(
        EFFECT_SECONDS,
        Unit::Seconds,
        "Time an effect was worked on, by kind and outcome"
    );
    describe_gauge!(EXECUTORS, "Executors connected to this process");
    describe_gauge!(SLOTS_FREE, "Slots they offer");
    describe_counter!(
        RUNS_ENDED,
        "Attempts that ended, by kind and the state of the run afterwards"
    );
    for class in ["search", "confirm", "propose", "upload", "message", "deliver"] {
        metrics::counter!(REQUESTS, "class" => class).increment(0);
    }
    for decision in ["asked", "bid", "held", "shadow", "skipped"] {
        metrics::counter!(BIDS, "decision" => decision).increment(0);
    }
    for kind in ["transient", "failed", "dead"] {
        metrics::counter!(INTAKE_FAILURES, "kind" => kind).increment(0);
    }
}
