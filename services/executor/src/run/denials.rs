//! What a run tried and was refused, on its way into the run's log.

use std::sync::{Mutex, MutexGuard, PoisonError};

use tracing::Span;

use crate::metrics;

/// Refusals told of one run; more say nothing new.
const MOST: usize = 40;

/// Refusals nobody has been told yet.
#[derive(Debug)]
pub struct Denials {
    kept: Mutex<Kept>,
    /// The run's: what its doors do is done elsewhere.
    span: Span,
}

/// What is to be told.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Told {
    /// For whoever looks at the run.
    Warning(String),
    /// For a human, now.
    Alarm(String),
}

#[derive(Debug, Default)]
struct Kept {
    waiting: Vec<Told>,
    known: Vec<String>,
    more: u64,
}

impl Default for Denials {
    /// Those of the run this is called in.
    fn default() -> Self {
        Self {
            kept: Mutex::default(),
            span: Span::current(),
        }
    }
}

impl Denials {
    /// Where to log what concerns the run.
    #[must_use]
    pub fn span(&self) -> &Span {
        &self.span
    }

    /// Something was refused by this part of the sandbox. The same words are told once.
    pub fn refused(&self, by: &'static str, what: String) {
        ::metrics::counter!(metrics::DENIED, "by" => by).increment(1);
        let mut kept = self.lock();
        if kept.known.contains(&what) {
            return;
        }
        if kept.known.len() >= MOST {
            kept.more += 1;
            return;
        }
        self.span
            .in_scope(|| tracing::info!(by, what, "a run was refused something"));
        kept.known.push(what.clone());
        kept.waiting.push(Told::Warning(format!("refused ({by}): {what}")));
    }

    /// Something happened that a human must look at.
    pub fn alarm(&self, what: String) {
        self.span.in_scope(|| tracing::error!(what, "a run raised an alarm"));
        self.lock().waiting.push(Told::Alarm(what));
    }

    /// What is to be told now.
    pub(super) fn take(&self) -> Vec<Told> {
        std::mem::take(&mut self.lock().waiting)
    }

    /// What is to be told when the run is over.
    pub(super) fn finish(&self) -> Vec<Told> {
        let mut last = self.take();
        let more = self.lock().more;
        if more > 0 {
            last.push(Told::Warning(format!("refused: {more} more things")));
        }
        last
    }

    fn lock(&self) -> MutexGuard<'_, Kept> {
        self.kept.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_same_is_told_once_and_a_flood_is_counted() {
        let denials = Denials::default();
        for number in 0..100 {
            denials.refused("network", format!("host-{number}:443"));
            denials.refused("network", "host-0:443".to_owned());
        }
        assert_eq!(denials.take().len(), MOST);
        assert_eq!(denials.finish(), [Told::Warning("refused: 60 more things".to_owned())]);
    }
}
