//! What the run itself shows its gateway. It is worth nothing anywhere else, and random: a port of this machine can be
//! reached by whoever lives on it, and each call there spends this run's budget.

use http::HeaderMap;

/// Begins it, so that whoever meets one knows what it is.
const BEGIN: &str = "steward-placeholder-";
/// Random bytes in it.
const RANDOM: usize = 20;
/// Where clients put a key.
const PLACES: [&str; 4] = ["authorization", "x-api-key", "api-key", "x-goog-api-key"];

/// The placeholder of one run.
pub(super) struct Key(String);

/// What a request brought.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Shown {
    /// Whether it is the run's own.
    pub(super) own: bool,
    /// The header of one that is not.
    pub(super) strange: Option<&'static str>,
}

impl Key {
    pub(super) fn new() -> std::io::Result<Self> {
        let mut random = [0; RANDOM];
        aws_lc_rs::rand::fill(&mut random).map_err(|_none| std::io::Error::other("the system gives no randomness"))?;
        Ok(Self(format!("{BEGIN}{}", const_hex::encode(random))))
    }

    pub(super) fn as_str(&self) -> &str {
        &self.0
    }

    pub(super) fn shown(&self, headers: &HeaderMap) -> Shown {
        let mut shown = Shown {
            own: false,
            strange: None,
        };
        for place in PLACES {
            for value in headers.get_all(place) {
                if self.is(value.as_bytes()) {
                    shown.own = true;
                } else {
                    shown.strange = shown.strange.or(Some(place));
                }
            }
        }
        shown
    }

    /// With the scheme of the header before it or without; in the same time whatever is wrong with it.
    pub(super) fn is(&self, value: &[u8]) -> bool {
        let key = self.0.as_bytes();
        let begin = value.len().saturating_sub(key.len());
        let (scheme, shown) = value.split_at(begin);
        let scheme = scheme.is_empty() || scheme.ends_with(b" ");
        scheme & aws_lc_rs::constant_time::verify_slices_are_equal(shown, key).is_ok()
    }
}

impl std::fmt::Debug for Key {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.write_str("Key(…)")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_runs_own_is_taken_wherever_a_client_puts_it() {
        let (key, other) = (Key::new().unwrap(), Key::new().unwrap());
        assert!(key.as_str().starts_with(BEGIN) && key.as_str() != other.as_str());
        let shown = |headers: &[(&'static str, String)]| {
            let mut map = HeaderMap::new();
            for (name, value) in headers {
                map.append(*name, value.parse().unwrap());
            }
            key.shown(&map)
        };
        let own = key.as_str().to_owned();
        for (name, value) in [
            ("authorization", format!("Bearer {own}")),
            ("authorization", format!("bearer {own}")),
            ("x-api-key", own.clone()),
            ("api-key", own.clone()),
            ("x-goog-api-key", own.clone()),
        ] {
            let taken = Shown {
                own: true,
                strange: None,
            };
            assert_eq!(shown(&[(name, value)]), taken, "{name}");
        }
        for value in [other.as_str(), BEGIN, "", &own[1..], &format!("x{own}")] {
            assert!(!shown(&[("x-api-key", value.to_owned())]).own, "{value}");
        }
        assert!(!shown(&[]).own);
        let both = shown(&[("authorization", "Bearer stolen".to_owned()), ("x-api-key", own)]);
        assert_eq!((both.own, both.strange), (true, Some("authorization")));
    }
}
