//! Which crate of ours may use which: strictly downward, service never on service.
//!
//! `docs/ARCHITECTURE.md` draws this table; change both.

use super::{BUILT, TESTED, dependencies};
use crate::workspace::Member;

struct Edges {
    from: &'static str,
    /// May be built from these.
    to: &'static [&'static str],
    /// Its tests may use these as well.
    tests: &'static [&'static str],
}

const EDGES: &[Edges] = &[
    // Rules only.
    Edges {
        from: "domain",
        to: &[],
        tests: &[],
    },
    // One outside technology each.
    Edges {
        from: "telemetry",
        to: &[],
        tests: &["testkit"],
    },
    Edges {
        from: "queue",
        to: &[],
        tests: &["testkit"],
    },
    Edges {
        from: "outbound",
        to: &[],
        tests: &["testkit"],
    },
    Edges {
        from: "store",
        to: &["domain"],
        tests: &["testkit"],
    },
    Edges {
        from: "clawgig",
        to: &["outbound"],
        tests: &["testkit", "simulator"],
    },
    Edges {
        from: "rpc",
        to: &["domain"],
        tests: &["testkit"],
    },
    Edges {
        from: "boot",
        to: &["telemetry"],
        tests: &["testkit"],
    },
    Edges {
        from: "testkit",
        to: &["store"],
        tests: &[],
    },
    // What runs in production.
    Edges {
        from: "ingress",
        to: &["boot", "telemetry", "store", "queue", "clawgig", "domain"],
        tests: &["testkit", "simulator"],
    },
    Edges {
        from: "scheduler",
        to: &[
            "boot",
            "telemetry",
            "store",
            "queue",
            "clawgig",
            "domain",
            "rpc",
            "outbound",
        ],
        tests: &["testkit", "simulator"],
    },
    Edges {
        from: "executor",
        to: &["boot", "telemetry", "rpc", "domain", "outbound"],
        tests: &["testkit"],
    },
    Edges {
        from: "billing",
        to: &["boot", "telemetry", "store", "rpc", "domain", "outbound"],
        tests: &["testkit", "simulator"],
    },
    Edges {
        from: "console",
        to: &["boot", "telemetry", "rpc", "domain"],
        tests: &["testkit"],
    },
    // What people and CI run. The simulator shares no line with the client it plays against.
    Edges {
        from: "simulator",
        to: &[],
        tests: &["testkit", "clawgig"],
    },
    Edges {
        from: "cli",
        to: &["boot", "telemetry", "rpc", "store", "domain", "outbound"],
        tests: &["testkit", "simulator"],
    },
    Edges {
        from: "xtask",
        to: &[],
        tests: &[],
    },
    // Measures processes from outside, as the marketplace and its agents see them; and the executor's sandbox by itself.
    Edges {
        from: "bench",
        to: &[
            "executor",
            "testkit",
            "e2e",
            "store",
            "clawgig",
            "simulator",
            "rpc",
            "domain",
            "outbound",
        ],
        tests: &[],
    },
    // Nothing but tests: it may look at everything.
    Edges {
        from: "e2e",
        to: &["testkit", "store", "rpc", "domain", "outbound", "simulator", "clawgig"],
        tests: &[
            "testkit",
            "store",
            "queue",
            "rpc",
            "domain",
            "boot",
            "telemetry",
            "outbound",
            "clawgig",
            "simulator",
            "ingress",
            "scheduler",
            "executor",
            "billing",
            "console",
            "cli",
        ],
    },
];

/// Every edge that is not in the table, every crate without a row, every row without a crate.
pub fn check(members: &[Member]) -> Vec<String> {
    let mut findings = Vec::new();
    for member in members {
        let from = member.name();
        let Some(edges) = EDGES.iter().find(|edges| edges.from == from) else {
            findings.push(format!("{}: no row in tools/xtask/src/tidy/edges.rs", member.folder));
            continue;
        };
        let ours = |name: &str| members.iter().any(|other| other.name() == name);
        for (to, _) in dependencies(member, BUILT).filter(|(name, _)| ours(name)) {
            if !edges.to.contains(&to) {
                findings.push(format!("{}: {from} may not depend on {to}", member.folder));
            }
        }
        for (to, _) in dependencies(member, TESTED).filter(|(name, _)| ours(name)) {
            if !edges.tests.contains(&to) && !edges.to.contains(&to) {
                findings.push(format!("{}: tests of {from} may not depend on {to}", member.folder));
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
    fn an_edge_upward_is_found() {
        let members = [
            fixture("libs/domain", "[dependencies]\nstore.workspace = true"),
            fixture("libs/store", "[dependencies]\ndomain.workspace = true"),
        ];
        assert_eq!(check(&members), ["libs/domain: domain may not depend on store"]);
    }

    #[test]
    fn a_service_may_not_use_another_even_in_its_tests() {
        let members = [
            fixture("services/ingress", "[dev-dependencies]\nscheduler.workspace = true"),
            fixture("services/scheduler", ""),
        ];
        assert_eq!(
            check(&members),
            ["services/ingress: tests of ingress may not depend on scheduler"]
        );
    }

    #[test]
    fn test_help_stays_out_of_production() {
        let members = [
            fixture("services/ingress", "[dependencies]\ntestkit.workspace = true"),
            fixture("libs/testkit", ""),
            fixture("libs/queue", "[dev-dependencies]\ntestkit.workspace = true"),
        ];
        assert_eq!(check(&members), ["services/ingress: ingress may not depend on testkit"]);
    }

    #[test]
    fn a_new_crate_needs_a_row() {
        let findings = check(&[fixture("libs/novelty", "")]);
        assert_eq!(findings.len(), 1);
        assert!(findings[0].contains("no row"), "{findings:?}");
    }

    #[test]
    fn the_table_has_no_way_round() {
        let built = |name: &str| EDGES.iter().find(|edges| edges.from == name).unwrap().to;
        for edges in EDGES {
            let mut seen = vec![edges.from];
            let mut open = edges.to.to_vec();
            while let Some(next) = open.pop() {
                assert_ne!(next, edges.from, "{} reaches itself", edges.from);
                if !seen.contains(&next) {
                    seen.push(next);
                    open.extend(built(next));
                }
            }
        }
    }
}
