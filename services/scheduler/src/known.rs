//! Secrets that must not go out, known by their digests: every agent's key and webhook secrets, the operator's keys at
//! providers, agents' own. Whoever keeps one notes it; here they are read, and ours are noted.

use std::collections::HashMap;
use std::sync::{Arc, PoisonError, RwLock};
use std::time::{Duration, Instant};

use domain::secret_scan::{Known as Recognised, Prints};
use secrecy::{ExposeSecret as _, SecretString};
use store::known_secrets::{self, Kind, Known, ScanKey, Which};
use store::{Store, Tx, run_tx};
use uuid::Uuid;

use crate::desk::Desk;

/// How old what was read may be when nothing seems new: a number can be taken long before it is seen.
const FRESH: Duration = Duration::from_secs(30);
/// How long a marketplace key that was replaced is still looked for.
const STILL_KNOWN: Duration = Duration::from_secs(7 * 24 * 3600);

/// What is known in this process.
#[derive(Debug)]
pub struct Registry {
    key: Arc<ScanKey>,
    read: RwLock<Option<Read>>,
}

#[derive(Debug, Clone)]
struct Read {
    at: Instant,
    last: i64,
    book: Arc<Book>,
}

/// All known secrets at one time.
#[derive(Debug)]
pub struct Book {
    key: Arc<ScanKey>,
    prints: Prints,
    whose: HashMap<[u8; 32], String>,
}

impl Recognised for Book {
    fn prints(&self) -> &Prints {
        &self.prints
    }

    fn name(&self, text: &[u8]) -> Option<String> {
        self.whose.get(&self.key.digest(text)).cloned()
    }
}

impl Registry {
    /// With the key of those who share billing's token.
    #[must_use]
    pub fn new(token: &str) -> Self {
        Self {
            key: Arc::new(ScanKey::of_token(token)),
            read: RwLock::new(None),
        }
    }

    /// Everything known now.
    ///
    /// # Errors
    /// When it cannot be read: then nothing may go out unseen.
    pub async fn now(&self, store: &Store) -> Result<Arc<Book>, store::Error> {
        let last = known_secrets::last(store).await?;
        if let Some(book) = self.kept(last) {
            return Ok(book);
        }
        Ok(self.keep(last, known_secrets::all(store, &self.key).await?))
    }

    /// The same inside a transaction, on its connection.
    ///
    /// # Errors
    /// As [`Registry::now`].
    pub async fn within(&self, tx: &mut Tx) -> Result<Arc<Book>, store::Error> {
        let last = known_secrets::last_within(tx).await?;
        if let Some(book) = self.kept(last) {
            return Ok(book);
        }
        Ok(self.keep(last, known_secrets::all_within(tx, &self.key).await?))
    }

    fn kept(&self, last: i64) -> Option<Arc<Book>> {
        let read = self.read.read().unwrap_or_else(PoisonError::into_inner).clone()?;
        (read.last == last && read.at.elapsed() < FRESH).then_some(read.book)
    }

    fn keep(&self, last: i64, all: Vec<Known>) -> Arc<Book> {
        let prints = all.iter().map(|known| (known.length, known.print));
        let book = Arc::new(Book {
            key: Arc::clone(&self.key),
            prints: Prints::new(self.key.roll(), prints),
            whose: all.iter().map(|known| (known.digest, whose(known))).collect(),
        });
        let read = Read {
            at: Instant::now(),
            last,
            book: Arc::clone(&book),
        };
        *self.read.write().unwrap_or_else(PoisonError::into_inner) = Some(read);
        book
    }
}

fn whose(known: &Known) -> String {
    let (owner, name) = (&known.owner, &known.name);
    match known.kind {
        Kind::Marketplace => format!("the marketplace key of {owner}"),
        Kind::Webhook => format!("a webhook secret of {owner}"),
        Kind::Provider => format!("the operator's key at {owner}"),
        Kind::Agent => format!("the secret {name} of {owner}"),
    }
}

/// Notes an agent's marketplace key, in the place of an earlier one.
///
/// # Errors
/// When the row cannot be written.
pub(crate) async fn marketplace_key(
    tx: &mut Tx,
    desk: &Desk,
    agent: &str,
    key: &SecretString,
) -> Result<(), store::Error> {
    let which = of_marketplace(agent);
    known_secrets::note(tx, &desk.known.key, which, key.expose_secret(), Some(STILL_KNOWN)).await
}

/// Notes a webhook secret, beside the others. Those that are retired are forgotten when they are accepted no more.
///
/// # Errors
/// When the row cannot be written.
pub(crate) async fn webhook_secret(
    tx: &mut Tx,
    desk: &Desk,
    agent: &str,
    (id, secret): (Uuid, &SecretString),
    others: Option<Duration>,
) -> Result<(), store::Error> {
    let id = id.to_string();
    if let Some(keep) = others {
        known_secrets::forget_others(tx, Kind::Webhook, agent, &id, keep).await?;
    }
    let which = of_webhook(agent, &id);
    known_secrets::note(tx, &desk.known.key, which, secret.expose_secret(), None).await
}

/// Notes what was kept before this release, or while another token was in use.
///
/// # Errors
/// When the rows cannot be read or written. What cannot be opened is told and left out.
pub(crate) async fn note_all(desk: &Desk) -> Result<(), store::Error> {
    let noted = known_secrets::all(&desk.store, &desk.known.key).await?;
    let noted: HashMap<[u8; 32], Known> = noted.into_iter().map(|known| (known.digest, known)).collect();
    let is_noted = |which: &Which<'_>, secret: &SecretString| {
        let digest = desk.known.key.digest(known_secrets::looked_at(secret.expose_secret()));
        noted
            .get(&digest)
            .is_some_and(|known| known.kind == which.kind && known.owner == which.owner)
    };
    let note = async |which: Which<'_>, secret: &SecretString| {
        if is_noted(&which, secret) {
            return Ok(());
        }
        run_tx!(desk.store, "note_secret", |tx| {
            known_secrets::note(tx, &desk.known.key, which, secret.expose_secret(), None).await
        })
    };
    for agent in store::agents::list(&desk.store).await? {
        match agent.api_key(&desk.marketplace_sealer) {
            Ok(Some(key)) => note(of_marketplace(&agent.name), &key).await?,
            Ok(None) => {}
            Err(error) => tracing::error!(agent = agent.name, %error, "a marketplace key cannot be opened"),
        }
    }
    for door in store::doors::list(&desk.store).await? {
        for sealed in &door.secrets {
            match sealed.open(&desk.webhook_sealer, &door.agent) {
                Ok(secret) => note(of_webhook(&door.agent, &sealed.id.to_string()), &secret).await?,
                Err(error) => tracing::error!(agent = door.agent, %error, "a webhook secret cannot be opened"),
            }
        }
    }
    Ok(())
}

fn of_marketplace(agent: &str) -> Which<'_> {
    Which {
        kind: Kind::Marketplace,
        owner: agent,
        name: "",
    }
}

fn of_webhook<'a>(agent: &'a str, id: &'a str) -> Which<'a> {
    Which {
        kind: Kind::Webhook,
        owner: agent,
        name: id,
    }
}
