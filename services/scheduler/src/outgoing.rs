//! Secrets in what is about to go out, whoever made it: what looks like one waits for a human.
//!
//! The rule is `domain::secret_scan`; here it is told which secrets there are.

use std::sync::Arc;

use domain::secret_scan::Scan;
use futures_util::TryStreamExt as _;
use secrecy::{ExposeSecret as _, SecretString};
use store::Tx;
use store::agents::Agent;
use uuid::Uuid;

use crate::desk::Desk;
use crate::known::Book;
use crate::objects::{self, Folder, Objects};

/// The kind of the notice that something is held back; its key is the effect.
const HELD_BACK: &str = "secret_held_back";
const OWN_KEY: &str = "the agent's marketplace key";

/// Looks through what is sent: for all secrets that are known, and for what looks like one.
#[derive(Debug)]
pub(crate) struct Guard {
    book: Arc<Book>,
    /// The agent's own, which is told as such.
    key: Option<SecretString>,
}

impl Guard {
    /// For what this agent made.
    ///
    /// # Errors
    /// When its key cannot be opened, or what is known cannot be read.
    pub async fn new(desk: &Desk, agent: &Agent) -> Result<Self, store::Error> {
        Ok(Self {
            book: desk.known.now(&desk.store).await?,
            key: agent.api_key(&desk.marketplace_sealer)?,
        })
    }

    /// The same inside a transaction.
    ///
    /// # Errors
    /// As [`Guard::new`].
    pub async fn within(desk: &Desk, tx: &mut Tx, agent: &Agent) -> Result<Self, store::Error> {
        Ok(Self {
            book: desk.known.within(tx).await?,
            key: agent.api_key(&desk.marketplace_sealer)?,
        })
    }

    /// Why a text is held back, if it is; `of` says what it is.
    pub fn text(&self, of: &str, text: &str) -> Option<String> {
        let known = self.own();
        let mut scan = Scan::with(&known).and(&*self.book);
        scan.feed(text.as_bytes());
        scan.end().map(|what| why(of, &what))
    }

    /// What a kept object holds that looks like a secret, in words.
    ///
    /// # Errors
    /// When it cannot be read.
    pub async fn object(&self, objects: &Objects, sha256: &str) -> Result<Option<String>, objects::Error> {
        let known = self.own();
        let mut scan = Scan::with(&known).and(&*self.book);
        let mut pieces = objects.read(Folder::Artefacts, sha256).await?;
        while let Some(piece) = pieces.try_next().await? {
            scan.feed(&piece);
        }
        Ok(scan.end())
    }

    fn own(&self) -> Vec<(&'static str, &[u8])> {
        let key = self.key.iter();
        key.map(|key| (OWN_KEY, key.expose_secret().as_bytes())).collect()
    }
}

/// Why something is held back.
pub(crate) fn why(of: &str, what: &str) -> String {
    format!("{of} holds what looks like {what}")
}

/// Tells a human that something waits, and why.
///
/// # Errors
/// When the notice cannot be kept.
pub(crate) async fn tell(tx: &mut Tx, agent: &str, effect: Uuid, why: &str) -> Result<(), store::Error> {
    let body = format!("something {agent} would send is held back: {why}. `steward approvals show {effect}` shows it");
    store::notices::raise(tx, HELD_BACK, &effect.to_string(), &body).await?;
    Ok(())
}

/// A human decided about it.
///
/// # Errors
/// When the notice cannot be ended.
pub(crate) async fn decided(tx: &mut Tx, effect: Uuid) -> Result<(), store::Error> {
    store::notices::resolve(tx, HELD_BACK, &effect.to_string()).await?;
    Ok(())
}
