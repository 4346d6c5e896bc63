//! Names of the metrics billing writes.

use crate::config::Upstream;

/// Model calls that reached a provider, by `provider` and `outcome`.
pub const CALLS: &str = "steward_gateway_calls_total";
/// Seconds from a call's first byte to its settlement, by `provider` and `outcome`.
pub const CALL_SECONDS: &str = "steward_gateway_call_seconds";
/// Seconds from the request's arrival to the provider's headers, by `provider`.
pub const HEADERS_SECONDS: &str = "steward_gateway_headers_seconds";
/// Calls under way.
pub const OPEN_CALLS: &str = "steward_gateway_open_calls";
/// Calls of other hosts with agents' own secrets, by `class` of the answer (2xx to 5xx, refused).
pub const EXT_CALLS: &str = "steward_gateway_ext_calls_total";
/// Such calls under way.
pub const OPEN_EXT_CALLS: &str = "steward_gateway_open_ext_calls";
/// Tokens by `provider` and `kind` (input, cached, stored, output).
pub const TOKENS: &str = "steward_gateway_tokens_total";
/// Cost in pico-dollars, by `provider`.
pub const COST: &str = "steward_gateway_cost_pico_usd_total";
/// Unusual settlements by `flag`.
pub const FLAGS: &str = "steward_gateway_flags_total";
/// Requests the gateway refused itself, by `code`.
pub const REFUSALS: &str = "steward_gateway_refusals_total";
/// Holds by `end` (settled, released, swept).
pub const HOLDS: &str = "steward_billing_holds_total";
/// Settlements of contracts by `outcome` (booked, duplicate, differs).
pub const SETTLEMENTS: &str = "steward_billing_settlements_total";
/// Seconds of gRPC calls by `method` and `code`.
pub const RPC_SECONDS: &str = "steward_billing_rpc_seconds";
/// What the last ledger check could not explain, in micro.
pub const UNEXPLAINED: &str = "steward_ledger_unexplained_micro";

/// How a call that reached a provider can end.
pub const OUTCOMES: [&str; 7] = [
    "ok",
    "provider_error",
    "unreachable",
    "timeout",
    "garbage",
    "cut",
    "stopped",
];

/// Describes every metric and shows every label value from the start, so that a rate can be taken of the first event.
pub fn describe(upstreams: &[Upstream]) {
    metrics::describe_counter!(CALLS, "Model calls that reached a provider, by provider and outcome.");
    metrics::describe_histogram!(CALL_SECONDS, "From a call's first byte to its settlement.");
    metrics::describe_histogram!(HEADERS_SECONDS, "From a call's arrival to the provider's headers.");
    metrics::describe_gauge!(OPEN_CALLS, "Model calls under way.");
    metrics::describe_counter!(TOKENS, "Tokens, by provider and kind.");
    metrics::describe_counter!(COST, "Cost of model calls in 10^-12 dollars, by provider.");
    metrics::describe_counter!(FLAGS, "Unusual settlements of model calls, by flag.");
    metrics::describe_counter!(REFUSALS, "Requests the gateway refused itself, by code.");
    metrics::describe_counter!(HOLDS, "Holds that ended, by how.");
    metrics::describe_counter!(SETTLEMENTS, "Settlements of contracts, by outcome.");
    metrics::describe_histogram!(RPC_SECONDS, "gRPC calls, by method and code.");
    metrics::describe_gauge!(UNEXPLAINED, "What the last ledger check could not explain, in micro.");
    metrics::describe_counter!(
        EXT_CALLS,
        "Calls of other hosts with agents' own secrets, by class of the answer."
    );
    metrics::describe_gauge!(OPEN_EXT_CALLS, "Calls of other hosts under way.");
    for class in ["2xx", "3xx", "4xx", "5xx", "refused"] {
        metrics::counter!(EXT_CALLS, "class" => class).increment(0);
    }
    metrics::gauge!(OPEN_EXT_CALLS).set(0.0);
    metrics::gauge!(OPEN_CALLS).set(0.0);
    metrics::gauge!(UNEXPLAINED).set(0.0);
    for upstream in upstreams {
        for outcome in OUTCOMES {
            metrics::counter!(CALLS, "provider" => upstream.name.clone(), "outcome" => outcome).increment(0);
        }
        for kind in ["input", "cached", "stored", "output"] {
            metrics::counter!(TOKENS, "provider" => upstream.name.clone(), "kind" => kind).increment(0);
        }
        metrics::counter!(COST, "provider" => upstream.name.clone()).increment(0);
    }
    for flag in store::usage::Flag::ALL {
        metrics::counter!(FLAGS, "flag" => flag.as_str()).increment(0);
    }
    for code in crate::gateway::CODES {
        metrics::counter!(REFUSALS, "code" => code).increment(0);
    }
    for end in ["settled", "released", "swept"] {
        metrics::counter!(HOLDS, "end" => end).increment(0);
    }
    for outcome in ["booked", "duplicate", "differs"] {
        metrics::counter!(SETTLEMENTS, "outcome" => outcome).increment(0);
    }
}
