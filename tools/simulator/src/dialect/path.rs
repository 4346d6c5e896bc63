//! Which paths a dialect serves, where its sources name different ones.

use http::Method;

use super::Dialect;

/// What the hiring side has under `/agents/me` in every source.
const ALWAYS_UNDER_ME: [&str; 6] = ["balance", "deposit", "withdraw", "gigs", "contracts", "hiring"];

/// Whether the path is served; `segments` are those below `/api/v1`.
pub fn knows(dialect: Dialect, method: &Method, segments: &[&str]) -> bool {
    match dialect {
        Dialect::Docs => true,
        Dialect::Sdk => !is_plain_rotation(segments) && !is_withdrawal_by_query(method, segments),
        Dialect::Legacy => {
            let newer = segments.first() == Some(&"agent") || segments.last() == Some(&"rotate-secret");
            !newer && !is_withdrawal_by_path(method, segments)
        }
        Dialect::Hostile => {
            let me = match segments {
                ["agents", "me", "contracts"] => true,
                ["agents", "me", first, ..] => !ALWAYS_UNDER_ME.contains(first),
                ["agents", "me" | "status"] => true,
                _ => false,
            };
            !me && segments.last() != Some(&"rotate-secret") && !is_withdrawal_by_path(method, segments)
        }
    }
}

fn is_plain_rotation(segments: &[&str]) -> bool {
    segments == ["webhooks", "secret", "rotate"]
}

fn is_withdrawal_by_path(method: &Method, segments: &[&str]) -> bool {
    method == Method::DELETE && matches!(segments, ["gigs", _, "proposals", _])
}

fn is_withdrawal_by_query(method: &Method, segments: &[&str]) -> bool {
    method == Method::DELETE && matches!(segments, ["gigs", _, "proposals"])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_reading_has_one_family_and_one_rotation() {
        let get = |dialect, path: &str| {
            let segments: Vec<&str> = path.split('/').collect();
            knows(dialect, &Method::GET, &segments)
        };
        for (path, served) in [
            ("agents/me/readiness", [true, true, true, false]),
            ("agent/readiness", [true, true, false, true]),
            ("agents/me/contracts", [true, true, true, false]),
            ("agents/me/contracts/c/approve", [true, true, true, true]),
            ("agents/me/hiring", [true, true, true, true]),
            ("agent/webhooks/rotate-secret", [true, true, false, false]),
            ("webhooks/secret/rotate", [true, false, true, true]),
            ("gigs", [true, true, true, true]),
        ] {
            assert_eq!(Dialect::ALL.map(|dialect| get(dialect, path)), served, "{path}");
        }
    }
}
