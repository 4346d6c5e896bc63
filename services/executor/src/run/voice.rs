//! Tells the scheduler what a run says, numbered, and keeps what must not get lost.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use rpc::v1::ClientMessage;
use rpc::v1::run_event::Kind;

use crate::hash;
use crate::parts::Parts;
use crate::protocol::event::{MAX_PROGRESS, cut};

/// The voice of one run.
pub(super) struct Voice {
    parts: Arc<Parts>,
    run_id: String,
    lease_token: String,
    seq: AtomicU64,
}

impl Voice {
    pub(super) fn new(parts: &Arc<Parts>, run_id: &str, lease_token: &str) -> Self {
        Self {
            parts: Arc::clone(parts),
            run_id: run_id.to_owned(),
            lease_token: lease_token.to_owned(),
            seq: AtomicU64::new(0),
        }
    }

    pub(super) fn progress(&self, text: String) {
        self.tell(Kind::Progress(text), false);
    }

    pub(super) fn warning(&self, text: &str) {
        self.tell(Kind::Log(cut(text, MAX_PROGRESS).to_owned()), false);
    }

    pub(super) fn alarm(&self, text: &str) {
        self.tell(Kind::Alarm(cut(text, MAX_PROGRESS).to_owned()), true);
    }

    pub(super) fn output(&self, text: String) {
        self.tell(Kind::Output(text), false);
    }

    pub(super) fn message(&self, text: String, key: Option<String>) {
        let key = key.unwrap_or_else(|| hash::of(text.as_bytes()));
        self.tell(Kind::Message(ClientMessage { text, key }), true);
    }

    pub(super) fn checkpoint(&self, json: String) {
        self.tell(Kind::CheckpointJson(json), true);
    }

    /// When the session cannot take it, what is kept goes with the next session and with the completion; the rest is
    /// for people watching, and is dropped.
    fn tell(&self, kind: Kind, keep: bool) {
        let seq = self.seq.fetch_add(1, Ordering::Relaxed) + 1;
        let event = crate::session::event(&self.run_id, &self.lease_token, seq, kind);
        if keep {
            self.parts.leases.remember(&self.lease_token, event.clone());
        }
        if self.parts.events.try_send(event).is_err() {
            tracing::debug!(seq, kept = keep, "the session takes no more events for now");
        }
    }
}
