//! The contract machine: who owes whom what.
//!
//! `accepted → funded → delivered → approved`; `delivered → revision_requested → delivered`;
//! `disputed → approved | cancelled`; `cancelled`; `unknown` holds everything until a read says something we know.
//! Events are hints: money is believed only when a read of ours confirmed it. Late and repeated events never regress.

use chrono::{DateTime, Utc};

mod state;

pub use state::State;

/// What the machine knows of one contract.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Contract {
    /// Where it stands.
    pub state: State,
    /// Where it stood before the platform used a word we do not know; there it goes on from when that is over.
    pub held_from: Option<State>,
    /// Rises with each confirmed revision; part of a delivery's natural key.
    pub revision_no: u32,
    /// A read of ours saw the money.
    pub funding_confirmed: bool,
    /// We delivered at least once.
    pub delivered: bool,
    /// Reads in a row that said "changes wanted" after our delivery.
    pub revision_reads: u32,
    /// Observations whose request was sent before this are dropped: it is the time our last write was proven.
    pub confirmed_at: Option<DateTime<Utc>>,
}

impl Contract {
    /// A contract nobody has told us anything about but its existence.
    #[must_use]
    pub fn new() -> Self {
        Self {
            state: State::Accepted,
            held_from: None,
            revision_no: 0,
            funding_confirmed: false,
            delivered: false,
            revision_reads: 0,
            confirmed_at: None,
        }
    }

    /// Whether model money may be spent on it: funded for sure, and nobody disputes it.
    #[must_use]
    pub fn may_spend(&self) -> bool {
        self.funding_confirmed && matches!(self.state, State::Funded | State::RevisionRequested)
    }

    /// Whether the agent may be asked for an answer to the client: while there is money for it, also once it has
    /// delivered and is not paid yet.
    #[must_use]
    pub fn may_answer(&self) -> bool {
        self.may_spend() || self.funding_confirmed && self.state == State::Delivered
    }

    /// Whether a delivery of this revision may be sent.
    #[must_use]
    pub fn may_deliver(&self, revision_no: u32) -> bool {
        self.may_spend() && self.revision_no == revision_no
    }
}

impl Default for Contract {
    fn default() -> Self {
        Self::new()
    }
}

/// What a read of the platform said.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Status {
    /// Accepted, no escrow seen.
    Unfunded,
    /// Escrow seen.
    Funded,
    /// Delivered.
    Delivered,
    /// The platform says in so many words that changes are wanted.
    RevisionRequested,
    /// In dispute.
    Disputed,
    /// Paid.
    Approved,
    /// Called off or refunded.
    Cancelled,
    /// Some other word.
    Unknown(String),
}

/// Something that happened or was seen.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Command {
    /// Event: our proposal was accepted.
    AcceptedEvent,
    /// Event: the client funded it.
    FundedEvent,
    /// Event: it was delivered (an echo of our own call).
    DeliveredEvent,
    /// Event: the client approved it.
    ApprovedEvent,
    /// Event: a dispute was opened.
    DisputedEvent,
    /// Event: a dispute was decided; how, a read will tell.
    ResolvedEvent,
    /// A read of ours.
    Observed {
        /// What it said.
        status: Status,
        /// When its request was sent.
        sent_at: DateTime<Utc>,
    },
    /// Our delivery call was proven: answered, or found by a read.
    DeliveryProven {
        /// Of which revision.
        revision_no: u32,
        /// When the proof was stored.
        at: DateTime<Utc>,
    },
}

impl Command {
    /// A word for the timeline.
    #[must_use]
    pub fn name(&self) -> &'static str {
        match self {
            Self::AcceptedEvent => "accepted_event",
            Self::FundedEvent => "funded_event",
            Self::DeliveredEvent => "delivered_event",
            Self::ApprovedEvent => "approved_event",
            Self::DisputedEvent => "disputed_event",
            Self::ResolvedEvent => "resolved_event",
            Self::Observed { .. } => "observed",
            Self::DeliveryProven { .. } => "delivery_proven",
        }
    }
}

/// What is to be done because of a step. Each has a natural key, so that a repeat changes nothing.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Wish {
    /// Read the contract before anything is believed or spent.
    Confirm,
    /// Queue the work run: key (contract, 0).
    StartWork,
    /// Queue a revise run: key (contract, `revision_no`).
    StartRevision {
        /// The new revision.
        revision_no: u32,
    },
    /// Book revenue, fee and cost: key (contract).
    Settle,
    /// Stop runs and unsent effects of this contract.
    StopWork {
        /// For the record.
        reason: &'static str,
    },
    /// Tell a human.
    Attention {
        /// What about.
        reason: String,
    },
}

/// A step taken.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Step {
    /// The contract afterwards.
    pub contract: Contract,
    /// What to do now.
    pub wishes: Vec<Wish>,
    /// False for late, repeated or outdated commands: nothing is to be saved.
    pub changed: bool,
}

/// Takes one command. Every command is valid in every state: what does not fit is late or repeated and changes nothing.
#[must_use]
pub fn apply(contract: &Contract, command: &Command) -> Step {
    let mut next = contract.clone();
    let wishes = match command {
        _ if contract.state.is_final() => Vec::new(),
        Command::AcceptedEvent => Vec::new(),
        Command::FundedEvent => funded_event(&mut next),
        Command::DeliveredEvent => Vec::new(),
        Command::ApprovedEvent => finish(&mut next, State::Approved),
        Command::DisputedEvent => dispute(&mut next),
        Command::ResolvedEvent => vec![Wish::Confirm],
        Command::DeliveryProven { revision_no, at } => delivery_proven(&mut next, *revision_no, *at),
        Command::Observed { status, sent_at } => {
            if contract.confirmed_at.is_some_and(|confirmed| *sent_at < confirmed) {
                Vec::new()
            } else {
                observe(&mut next, status)
            }
        }
    };
    let changed = next != *contract || !wishes.is_empty();
    Step {
        contract: next,
        wishes,
        changed,
    }
}

fn funded_event(next: &mut Contract) -> Vec<Wish> {
    match next.state {
        State::Accepted => {
            next.state = State::Funded;
            vec![Wish::Confirm]
        }
        State::Unknown(_) => vec![Wish::Confirm],
        _ => Vec::new(),
    }
}

fn dispute(next: &mut Contract) -> Vec<Wish> {
    if next.state == State::Disputed {
        return Vec::new();
    }
    go(next, State::Disputed);
    vec![
        Wish::StopWork { reason: "disputed" },
        Wish::Attention {
            reason: "a dispute was opened: answer it on the platform".to_owned(),
        },
    ]
}

/// Moves to a known state: what was held is held no longer.
fn go(next: &mut Contract, state: State) {
    next.state = state;
    next.held_from = None;
}

fn finish(next: &mut Contract, state: State) -> Vec<Wish> {
    go(next, state);
    if next.state == State::Approved {
        vec![Wish::StopWork { reason: "approved" }, Wish::Settle]
    } else {
        vec![Wish::StopWork { reason: "cancelled" }]
    }
}

fn delivery_proven(next: &mut Contract, revision_no: u32, at: DateTime<Utc>) -> Vec<Wish> {
    if revision_no != next.revision_no {
        return Vec::new();
    }
    next.delivered = true;
    next.revision_reads = 0;
    next.confirmed_at = Some(next.confirmed_at.map_or(at, |known| known.max(at)));
    if next.state != State::Disputed {
        go(next, State::Delivered);
    }
    Vec::new()
}

fn observe(next: &mut Contract, status: &Status) -> Vec<Wish> {
    match status {
        Status::Approved => finish(next, State::Approved),
        Status::Cancelled => finish(next, State::Cancelled),
        Status::Disputed => dispute(next),
        // A dispute ends only in approved or cancelled; other words, known or not, are the status beneath it.
        _ if next.state == State::Disputed => Vec::new(),
        Status::Unknown(raw) => hold(next, raw),
        Status::Delivered => {
            resume(next);
            next.delivered = true;
            next.revision_reads = 0;
            if next.state.rank() < State::Delivered.rank() && next.state != State::RevisionRequested {
                next.state = State::Delivered;
            }
            Vec::new()
        }
        Status::Unfunded => {
            resume(next);
            if next.state == State::Delivered {
                changes_wanted(next)
            } else {
                Vec::new()
            }
        }
        Status::Funded | Status::RevisionRequested => {
            let was_held = resume(next);
            let first = !next.funding_confirmed;
            next.funding_confirmed = true;
            if next.delivered && next.state != State::RevisionRequested {
                return changes_wanted(next);
            }
            if matches!(next.state, State::Accepted | State::Funded) {
                next.state = State::Funded;
                if first || was_held {
                    return vec![Wish::StartWork];
                }
            }
            Vec::new()
        }
    }
}

/// After our delivery the platform says the contract is open again. One read may be a stale replica: it takes two.
fn changes_wanted(next: &mut Contract) -> Vec<Wish> {
    next.state = State::Delivered;
    next.revision_reads += 1;
    if next.revision_reads < 2 {
        return vec![Wish::Confirm];
    }
    next.revision_reads = 0;
    next.revision_no += 1;
    next.state = State::RevisionRequested;
    vec![Wish::StartRevision {
        revision_no: next.revision_no,
    }]
}

/// Keeps hands off until a read says a word we know. Reads before and after are not "in a row".
fn hold(next: &mut Contract, raw: &str) -> Vec<Wish> {
    let unknown = State::Unknown(raw.to_owned());
    if next.state == unknown {
        return Vec::new();
    }
    let before = std::mem::replace(&mut next.state, unknown);
    if !matches!(before, State::Unknown(_)) {
        next.held_from = Some(before);
    }
    next.revision_reads = 0;
    vec![Wish::Attention {
        reason: format!("the platform says {raw:?}, which is not known here: everything is held"),
    }]
}

/// Ends a hold where it began; answers whether there was one. A state a newer release wrote has no beginning: then it
/// is what was proven since.
fn resume(next: &mut Contract) -> bool {
    if !matches!(next.state, State::Unknown(_)) {
        return false;
    }
    let proven = if next.delivered {
        State::Delivered
    } else {
        State::Accepted
    };
    next.state = next.held_from.take().unwrap_or(proven);
    true
}

#[cfg(test)]
mod tests;
