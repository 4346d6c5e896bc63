//! Secrets in what is about to go out, whoever made it: what looks like one waits for a human.
//!
//! The rule is `domain::secret_scan`; here it is told which secret is the agent's own.

use domain::secret_scan::{self, Scan};
use futures_util::TryStreamExt as _;
use secrecy::{ExposeSecret as _, SecretString};
use store::Tx;
use store::agents::Agent;
use uuid::Uuid;

use crate::desk::Desk;
use crate::objects::{self, Folder, Objects};

/// The kind of the notice that something is held back; its key is the effect.
const HELD_BACK: &str = "secret_held_back";
const OWN_KEY: &str = "the agent's marketplace key";

/// Looks through what one agent sends. The default knows no secret of the agent's own: enough for what it never wrote.
#[derive(Debug, Default)]
pub(crate) struct Guard {
    key: Option<SecretString>,
}

impl Guard {
    /// For this agent.
    ///
    /// # Errors
    /// When its key cannot be opened.
    pub fn new(desk: &Desk, agent: &Agent) -> Result<Self, store::Error> {
        let key = agent.api_key(&desk.marketplace_sealer)?;
        Ok(Self { key })
    }

    /// Why a text is held back, if it is; `of` says what it is.
    pub fn text(&self, of: &str, text: &str) -> Option<String> {
        secret_scan::text(text, &self.known()).map(|what| why(of, what))
    }

    /// What a kept object holds that looks like a secret, in words.
    ///
    /// # Errors
    /// When it cannot be read.
    pub async fn object(&self, objects: &Objects, sha256: &str) -> Result<Option<&'static str>, objects::Error> {
        let known = self.known();
        let mut scan = Scan::with(&known);
        let mut pieces = objects.read(Folder::Artefacts, sha256).await?;
        while let Some(piece) = pieces.try_next().await? {
            scan.feed(&piece);
        }
        Ok(scan.end())
    }

    fn known(&self) -> Vec<(&'static str, &[u8])> {
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
