//! Names of the executor's metrics.

use metrics::{Unit, describe_counter, describe_gauge, describe_histogram};

/// Attempts that ended, by `kind` and `outcome`.
pub const RUNS: &str = "steward_executor_runs_total";
/// Seconds an attempt took from assignment to its completion on disk, by `kind`.
pub const RUN_SECONDS: &str = "steward_executor_run_seconds";
/// Seconds from assignment to the start of the agent's process.
pub const START_SECONDS: &str = "steward_executor_start_seconds";
/// The most memory a run's processes had at one time, bytes, by `kind`; only with control groups.
pub const RUN_MEMORY: &str = "steward_executor_run_memory_bytes";
/// Processor seconds of a run's processes, by `kind`; only with control groups.
pub const RUN_CPU: &str = "steward_executor_run_cpu_seconds";
/// Slots in all.
pub const SLOTS: &str = "steward_executor_slots";
/// Slots in use.
pub const SLOTS_BUSY: &str = "steward_executor_slots_busy";
/// Slots out of use because processes of a run in them could not be ended.
pub const SLOTS_STUCK: &str = "steward_executor_slots_stuck";
/// Whether a session with the scheduler stands (1) or not (0).
pub const SESSION: &str = "steward_executor_session";
/// Sessions that ended without being asked to.
pub const SESSIONS_LOST: &str = "steward_executor_sessions_lost_total";
/// Leases that could not be renewed in time, or were taken.
pub const LEASES_LOST: &str = "steward_executor_leases_lost_total";
/// Bytes free on the disk the executor works on.
pub const DISK_FREE: &str = "steward_executor_disk_free_bytes";
/// Why no run is taken now, by `cause`: 1 while it holds.
pub const HELD: &str = "steward_executor_held";
/// Completions on disk that the scheduler has not acknowledged.
pub const COMPLETIONS_PENDING: &str = "steward_executor_completions_pending";
/// What agents said, by `type`; `ignored` counts lines that were no event.
pub const EVENTS: &str = "steward_executor_events_total";
/// Requests to runs' gateways, by `class` of the answer.
pub const GATEWAY_REQUESTS: &str = "steward_executor_gateway_requests_total";
/// What runs tried and were refused, by the part that refused it.
pub const DENIED: &str = "steward_executor_denied_total";
/// Decoy keys carried out, by the way out: somebody talked an agent into stealing.
pub const DECOYS: &str = "steward_executor_decoys_total";
/// Connections of runs to allowed hosts, by `outcome`.
pub const CONNECTIONS: &str = "steward_executor_connections_total";
/// Bytes of such connections, by `direction`.
pub const CONNECTION_BYTES: &str = "steward_executor_connection_bytes_total";
/// Requests of endpoints that answer later, by `kind` and `outcome`.
pub const CALLBACKS: &str = "steward_executor_callbacks_total";
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
    describe_histogram!(RUN_MEMORY, Unit::Bytes, "The most memory a run had at one time");
    describe_histogram!(RUN_CPU, Unit::Seconds, "Processor time of a run's processes");
    describe_gauge!(SLOTS, "Slots in all");
    describe_gauge!(SLOTS_BUSY, "Slots in use");
    describe_gauge!(
        SLOTS_STUCK,
        "Slots out of use because processes in them could not be ended"
    );
    describe_gauge!(SESSION, "Whether a session with the scheduler stands");
    describe_counter!(SESSIONS_LOST, "Sessions that ended without being asked to");
    describe_counter!(LEASES_LOST, "Leases not renewed in time, or taken");
    describe_gauge!(DISK_FREE, Unit::Bytes, "Free on the disk the executor works on");
    describe_gauge!(HELD, "Why no run is taken now, by cause");
    describe_gauge!(COMPLETIONS_PENDING, "Completions the scheduler has not acknowledged");
    describe_counter!(EVENTS, "What agents said, by type");
    describe_counter!(GATEWAY_REQUESTS, "Requests to runs' gateways, by class of the answer");
    describe_counter!(DENIED, "What runs tried and were refused, by the part that refused it");
    describe_counter!(DECOYS, "Decoy keys carried out by runs, by the way out");
    describe_counter!(CONNECTIONS, "Connections of runs to other hosts, by outcome");
    describe_counter!(CONNECTION_BYTES, Unit::Bytes, "Bytes of such connections, by direction");
    describe_counter!(
        CALLBACKS,
        "Requests of endpoints that answer later, by kind and outcome"
    );
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
    for class in [
        "2xx",
        "3xx",
        "4xx",
        "5xx",
        "unreachable",
        "refused",
        "ext_ok",
        "ext_failed",
        "ext_refused",
    ] {
        metrics::counter!(GATEWAY_REQUESTS, "class" => class).increment(0);
    }
    for by in ["network", "gateway"] {
        metrics::counter!(DENIED, "by" => by).increment(0);
    }
    for outcome in ["opened", "refused", "unreachable"] {
        metrics::counter!(CONNECTIONS, "outcome" => outcome).increment(0);
    }
    for direction in ["sent", "received"] {
        metrics::counter!(CONNECTION_BYTES, "direction" => direction).increment(0);
    }
    crate::run::describe();
    for outcome in ["fetched", "failed"] {
        metrics::counter!(BUNDLES, "outcome" => outcome).increment(0);
    }
    for lost in [SESSIONS_LOST, LEASES_LOST] {
        metrics::counter!(lost).increment(0);
    }
    for cause in ["room", "starts"] {
        metrics::gauge!(HELD, "cause" => cause).set(0.0);
    }
    metrics::gauge!(SLOTS_STUCK).set(0.0);
    metrics::gauge!(SESSION).set(0.0);
    metrics::gauge!(COMPLETIONS_PENDING).set(0.0);
}
