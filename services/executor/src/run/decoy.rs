//! A key that opens nothing, laid out in every workspace and environment: whoever carries it out was told to steal.
//!
//! Its shape is known to the scan of everything that goes to the marketplace, which holds it like a real key. Here it
//! is looked for on the other ways out: model calls, names of hosts, events.

use std::sync::atomic::{AtomicBool, Ordering};

use crate::metrics;

/// Random bytes in it.
const RANDOM: usize = 20;

/// The decoy of one run.
#[derive(Debug)]
pub struct Decoy {
    key: String,
    /// Where it was seen, each told once.
    seen: [AtomicBool; WAYS.len()],
}

/// A way out.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Way {
    /// A request to a model.
    ModelCall,
    /// A request to a host the agent's file names.
    HostCall,
    /// The name of a host.
    HostName,
    /// A message, a note, a checkpoint or any other event.
    Event,
}

const WAYS: [Way; 4] = [Way::ModelCall, Way::HostCall, Way::HostName, Way::Event];

/// A search through bytes that come in pieces.
#[derive(Debug, Default)]
pub struct Search {
    /// The end of what was looked at: the key may lie across two pieces.
    kept: Vec<u8>,
}

impl Decoy {
    /// A new one.
    #[must_use]
    pub fn new() -> Self {
        let mut random = [0; RANDOM];
        // Without randomness it is a decoy all the same: a run's own is only easier to tell from another's.
        let _weak = aws_lc_rs::rand::fill(&mut random);
        Self {
            key: format!("{}{}a1", domain::secret_scan::DECOY, const_hex::encode(random)),
            seen: Default::default(),
        }
    }

    /// The key.
    #[must_use]
    pub fn key(&self) -> &str {
        &self.key
    }

    /// Whether a text holds it, and nobody was told of this way out before.
    pub fn leaves(&self, way: Way, text: &[u8]) -> bool {
        holds(text, self.key.as_bytes()) && self.tell(way)
    }

    /// The same of the next piece of something longer.
    pub fn leaves_in(&self, search: &mut Search, way: Way, piece: &[u8]) -> bool {
        let key = self.key.as_bytes();
        let around = piece.get(..key.len().min(piece.len())).unwrap_or_default();
        search.kept.extend_from_slice(around);
        let found = holds(&search.kept, key) || holds(piece, key);
        if piece.len() >= key.len() {
            search.kept.clear();
            search
                .kept
                .extend_from_slice(piece.get(piece.len() + 1 - key.len()..).unwrap_or_default());
        } else {
            let over = search.kept.len().saturating_sub(key.len() - 1);
            search.kept.drain(..over);
        }
        found && self.tell(way)
    }

    fn tell(&self, way: Way) -> bool {
        let news = self
            .seen
            .get(way as usize)
            .is_some_and(|seen| !seen.swap(true, Ordering::Relaxed));
        if news {
            ::metrics::counter!(metrics::DECOYS, "by" => way.as_str()).increment(1);
        }
        news
    }
}

impl Default for Decoy {
    fn default() -> Self {
        Self::new()
    }
}

impl Way {
    fn as_str(self) -> &'static str {
        match self {
            Self::ModelCall => "model_call",
            Self::HostCall => "host_call",
            Self::HostName => "host_name",
            Self::Event => "event",
        }
    }

    /// What the run's log says.
    #[must_use]
    pub fn alarm(self) -> String {
        let by = match self {
            Self::ModelCall => "a model call",
            Self::HostCall => "a call of a host its agent's file names",
            Self::HostName => "the name of a host",
            Self::Event => "an event",
        };
        format!("ALARM: the decoy key laid out for this run was carried out by {by}: look at what the run was told")
    }
}

/// Shows each way out from the start.
pub(crate) fn describe() {
    for way in WAYS {
        ::metrics::counter!(metrics::DECOYS, "by" => way.as_str()).increment(0);
    }
}

fn holds(text: &[u8], key: &[u8]) -> bool {
    text.windows(key.len()).any(|part| part == key)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_is_seen_however_it_is_cut_and_told_once() {
        for cut in 1..60 {
            let decoy = Decoy::new();
            let text = format!("before {} after", decoy.key());
            let mut search = Search::default();
            let found = text
                .as_bytes()
                .chunks(cut)
                .filter(|piece| decoy.leaves_in(&mut search, Way::ModelCall, piece));
            assert_eq!(found.count(), 1, "in pieces of {cut}");
            assert!(decoy.leaves(Way::Event, text.as_bytes()));
            assert!(!decoy.leaves(Way::Event, text.as_bytes()));
        }
        assert!(
            !Decoy::new().leaves(Way::Event, Decoy::new().key().as_bytes()),
            "another run's"
        );
    }

    #[test]
    fn the_scan_of_what_goes_out_knows_its_shape() {
        let decoy = Decoy::new();
        let found = domain::secret_scan::text(&format!("the key is {}.", decoy.key()), &[]);
        assert!(found.as_deref().is_some_and(|what| what.contains("decoy")), "{found:?}");
    }
}
