//! Names of the executor's metrics.

use metrics::{Unit, describe_counter, describe_gauge, describe_histogram};

/// Attempts that ended, by `kind` and `outcome`.
pub const RUNS: &str = "steward_executor_runs_total";
/// Seconds an attempt took from assignment to its completion on disk, by `kind`.
pub const RUN_SECONDS: &str = "steward_executor_run_seconds";
/// Seconds from assignment to the start of the agent's process.
pub const START_SECONDS: &str = "steward_executor_start_seconds";
/// Slots in all.
pub const SLOTS: &str = "steward_executor_slots";
/// Slots in use.
pub const SLOTS_BUSY: &str = "steward_executor_slots_busy";
/// Whether a session with the scheduler stands (1) or not (0).
pub const SESSION: &str = "steward_executor_session";
/// Sessions that ended without being asked to.
pub const SESSIONS_LOST: &str = "steward_executor_sessions_lost_total";
/// Leases that could not be renewed in time, or were taken.
pub const LEASES_LOST: &str = "steward_executor_leases_lost_total";
/// Completions on disk that the scheduler has not acknowledged.
pub const COMPLETIONS_PENDING: &str = "steward_executor_completions_pending";
/// What agents said, by `type`; `ignored` counts lines that were no event.
pub const EVENTS: &str = "steward_executor_events_total";
/// Requests to runs' gateways, by `class` of the answer.
pub const GATEWAY_REQUESTS: &str = "steward_executor_gateway_requests_total";
/// Bundles fetched, by `outcome`.
pub const BUNDLES: &str = "steward_executor_bundles_total";
/// What isolation this host gives: 1 for the `level` in force.
pub const ISOLATION: &str = "steward_executor_isolation";
/// What isolation is made of: 1 for each `layer` this host gives, 0 for each it does not.
pub const ISOLATION_LAYER: &str = "steward_executor_isolation_layer";

/// Tells the recorder what the names mean, and shows each label from the start.
pub(crate) fn describe() {
    describe_counter!(RUNS, "Attempts that ended, by kind and outcome");
    describe_histogram!(RUN_SECONDS, Unit::Seconds, "Time an attempt took, by kind");
    describe_histogram!(
        START_SECONDS,
        Unit::Seconds,
        "Time from assignment to the agent's start"
    );
    describe_gauge!(SLOTS, "Slots in all");
    describe_gauge!(SLOTS_BUSY, "Slots in use");
    describe_gauge!(SESSION, "Whether a session with the scheduler stands");
    describe_counter!(SESSIONS_LOST, "Sessions that ended without being asked to");
    describe_counter!(LEASES_LOST, "Leases not renewed in time, or taken");
    describe_gauge!(COMPLETIONS_PENDING, "Completions the scheduler has not acknowledged");
    describe_counter!(EVENTS, "What agents said, by type");
    describe_counter!(GATEWAY_REQUESTS, "Requests to runs' gateways, by class of the answer");
    describe_counter!(BUNDLES, "Bundles fetched, by outcome");
    describe_gauge!(ISOLATION, "Isolation in force, by level");
    describe_gauge!(ISOLATION_LAYER, "Layers of isolation this host gives");
    for kind in [
        "progress",
        "message",
        "checkpoint",
        "wait",
        "retry",
        "result",
        "ignored",
    ] {
        metrics::counter!(EVENTS, "type" => kind).increment(0);
    }
    for class in ["2xx", "3xx", "4xx", "5xx", "unreachable", "refused"] {
        metrics::counter!(GATEWAY_REQUESTS, "class" => class).increment(0);
    }
    for outcome in ["fetched", "failed"] {
        metrics::counter!(BUNDLES, "outcome" => outcome).increment(0);
    }
    for lost in [SESSIONS_LOST, LEASES_LOST] {
        metrics::counter!(lost).increment(0);
    }
    metrics::gauge!(SESSION).set(0.0);
    metrics::gauge!(COMPLETIONS_PENDING).set(0.0);
}
