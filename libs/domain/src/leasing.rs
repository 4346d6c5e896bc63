//! Which runs an executor gets, of those that wait: the most important first, none beyond its caps.

use std::collections::HashMap;
use std::hash::Hash;

/// A run that waits.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Candidate<I> {
    /// Which.
    pub id: I,
    /// Slots it takes.
    pub slots: i64,
    /// What it counts against.
    pub claims: Vec<Claim>,
}

/// One cap a run counts against.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Claim {
    /// Whose runs are counted together.
    pub group: Group,
    /// Runs of the group at once.
    pub most: i64,
    /// Runs of the group that are leased already.
    pub leased: i64,
}

/// Runs that are counted together.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Group {
    /// Of one agent.
    Agent(String),
    /// For one client.
    Client(String),
    /// For contracts of one class of value.
    Class(i64),
}

/// Chooses among `waiting`, the most important first, what fits into `free` slots.
///
/// One that a cap refuses is passed over and counts against nothing, so that it keeps nobody waiting. One there is no
/// room for holds back those behind it, so that light runs never starve a heavy one: leave out what can never fit.
pub fn choose<I: Clone + Eq + Hash>(waiting: &[Candidate<I>], free: i64) -> Vec<I> {
    let mut taken: HashMap<&Group, i64> = HashMap::new();
    let mut left = free;
    let mut chosen = Vec::new();
    for candidate in waiting {
        let refused = candidate
            .claims
            .iter()
            .any(|claim| claim.leased + taken.get(&claim.group).copied().unwrap_or_default() >= claim.most);
        if refused {
            continue;
        }
        if candidate.slots > left {
            break;
        }
        left -= candidate.slots;
        for claim in &candidate.claims {
            *taken.entry(&claim.group).or_default() += 1;
        }
        chosen.push(candidate.id.clone());
    }
    chosen
}

#[cfg(test)]
mod tests;
