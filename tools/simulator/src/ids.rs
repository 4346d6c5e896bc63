//! Identifiers and secrets in the platform's formats.

use uuid::Uuid;

use crate::rng::Rng;

/// Where ids and secrets come from.
#[derive(Clone, Debug)]
pub enum Ids {
    /// From the system: nobody can foretell them.
    Random,
    /// From a seed: the same in every run, and no secret at all.
    Seeded(Rng),
}

impl Ids {
    /// Seeded ones if `seed` is given; `stream` keeps two sources of one seed apart.
    pub fn new(seed: Option<u64>, stream: &str) -> Self {
        seed.map_or(Self::Random, |seed| {
            Self::Seeded(Rng::new(crate::rng::hash(&[&seed.to_le_bytes(), stream.as_bytes()])))
        })
    }

    /// A fresh platform id.
    #[expect(
        clippy::disallowed_methods,
        reason = "the platform's ids are version 4, ours are not"
    )]
    pub fn next(&mut self) -> Uuid {
        match self {
            Self::Random => Uuid::new_v4(),
            Self::Seeded(rng) => {
                let bits = u128::from(rng.next()) << 64 | u128::from(rng.next());
                uuid::Builder::from_random_bytes(bits.to_be_bytes()).into_uuid()
            }
        }
    }

    /// `cg_` and 32 hex digits.
    pub fn api_key(&mut self) -> String {
        format!("cg_{}", self.next().simple())
    }

    /// `whsec_` and 32 hex digits.
    pub fn webhook_secret(&mut self) -> String {
        format!("whsec_{}", self.next().simple())
    }

    /// A made-up chain signature.
    pub fn transaction(&mut self) -> String {
        format!("sim{}{}", self.next().simple(), self.next().simple())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_seed_gives_the_same_ids_and_none_gives_new_ones() {
        let first = |seed| Ids::new(seed, "world").next();
        assert_eq!(first(Some(7)), first(Some(7)));
        assert_ne!(first(Some(7)), first(Some(8)));
        assert_ne!(first(Some(7)), Ids::new(Some(7), "files").next());
        assert_ne!(first(None), first(None));
        assert_eq!(first(Some(7)).get_version_num(), 4);
    }
}
