//! Each outside technology has an owner; nobody else names it.

use super::{BUILT, TESTED, dependencies};
use crate::workspace::Member;

struct Owned {
    technology: &'static [&'static str],
    by: &'static [&'static str],
    /// Whether tests of any crate may use it.
    tests: bool,
}

const OWNED: &[Owned] = &[
    Owned {
        technology: &["sqlx"],
        by: &["store", "testkit", "bench"],
        tests: false,
    },
    Owned {
        technology: &["redis", "deadpool-redis"],
        by: &["queue", "testkit"],
        tests: false,
    },
    Owned {
        technology: &[
            "opentelemetry",
            "opentelemetry_sdk",
            "opentelemetry-otlp",
            "tracing-opentelemetry",
            "metrics-exporter-prometheus",
        ],
        by: &["telemetry"],
        tests: false,
    },
    // Clients are made by outbound; clawgig names the types of requests and answers.
    Owned {
        technology: &["reqwest"],
        by: &["outbound", "clawgig", "simulator", "cli", "e2e"],
        tests: true,
    },
    Owned {
        technology: &["landlock", "rustix", "seccompiler"],
        by: &["executor"],
        tests: false,
    },
    Owned {
        technology: &["nix"],
        by: &["executor", "cli", "testkit", "e2e", "bench"],
        tests: true,
    },
    Owned {
        technology: &["config"],
        by: &["boot"],
        tests: false,
    },
    Owned {
        technology: &["object_store"],
        by: &["scheduler"],
        tests: false,
    },
    Owned {
        technology: &["minijinja"],
        by: &["domain", "scheduler"],
        tests: false,
    },
    Owned {
        technology: &["sse-stream"],
        by: &["billing"],
        tests: false,
    },
    Owned {
        technology: &["askama"],
        by: &["console", "simulator"],
        tests: false,
    },
    Owned {
        technology: &[
            "tonic-prost",
            "tonic-prost-build",
            "tonic-health",
            "tonic-reflection",
            "tonic-types",
            "protox",
        ],
        by: &["rpc"],
        // A test asks health and reflection as any client would.
        tests: true,
    },
    Owned {
        technology: &["comfy-table", "clap_complete"],
        by: &["cli"],
        tests: false,
    },
];

/// Every use of a technology by a crate that does not own it.
pub fn check(members: &[Member]) -> Vec<String> {
    let mut findings = Vec::new();
    for member in members {
        for (kinds, in_tests) in [(BUILT, false), (TESTED, true)] {
            for (name, _) in dependencies(member, kinds) {
                let Some(owned) = OWNED.iter().find(|owned| owned.technology.contains(&name)) else {
                    continue;
                };
                let allowed = owned.by.contains(&member.name()) || (in_tests && owned.tests);
                if !allowed {
                    let owners = owned.by.join(", ");
                    findings.push(format!("{}: {name} belongs to {owners}", member.folder));
                }
            }
        }
    }
    findings
}

#[cfg(test)]
mod tests {
    use super::super::fixture;
    use super::*;

    #[test]
    fn a_second_owner_is_found_also_in_tests() {
        let members = [
            fixture("libs/store", "[dependencies]\nsqlx.workspace = true"),
            fixture("services/ingress", "[dev-dependencies]\nsqlx.workspace = true"),
            fixture("services/billing", "[build-dependencies]\nprotox.workspace = true"),
        ];
        assert_eq!(
            check(&members),
            [
                "services/ingress: sqlx belongs to store, testkit, bench",
                "services/billing: protox belongs to rpc"
            ]
        );
    }

    #[test]
    fn tests_may_speak_http_without_asking_outbound() {
        let members = [fixture(
            "services/ingress",
            "[dev-dependencies]\nreqwest.workspace = true",
        )];
        assert!(check(&members).is_empty());
    }
}
