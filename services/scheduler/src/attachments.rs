//! Files clients send with messages: fetched once from where the platform keeps them, kept as inputs of every attempt.
//!
//! An address comes from a stranger, through the platform: only public ones are called, by https, without any
//! credential; the marketplace's own is called besides where it is simulated. What cannot be fetched is given up after
//! a few tries, the job says so, and a human is told.

use std::sync::Arc;
use std::time::{Duration, Instant};

use aws_lc_rs::digest;
use bytes::Bytes;
use futures_util::{StreamExt as _, TryStreamExt as _};
use outbound::{Client, Guard, Method, Redirects, StatusCode, Url};
use store::inputs::{self, Sent};
use store::{Tx, contracts as rows, run_tx};
use uuid::Uuid;

use crate::contracts;
use crate::desk::Desk;
use crate::error::Error;
use crate::metrics::FETCHED;
use crate::objects::{self, Folder, Objects};
use crate::payload::{self, Attachment};
use crate::reconcile;

mod name;

/// The duty of fetching what came with an agent's messages.
pub const FILES: &str = "files";
/// Where files of clients lie, below the workspace.
const INPUTS: &str = "inputs";
/// Pause after the first try of a file that failed; doubles with each.
const FIRST_PAUSE: Duration = Duration::from_secs(5);
/// Contracts whose files are fetched at once.
const AT_ONCE: usize = 4;
/// Redirects that are followed.
const REDIRECTS: usize = 3;
/// Names of lost files that are told.
const MOST_NAMED: usize = 10;

/// Fetches files.
#[derive(Debug)]
pub struct Fetcher {
    desk: Arc<Desk>,
    objects: Objects,
    /// For everybody's addresses.
    public: Client,
    /// For the simulated marketplace's own.
    simulated: Option<Client>,
}

/// Why a file did not come.
#[derive(Debug)]
enum Miss {
    /// Another try may bring it.
    Passing(String),
    /// Nothing will.
    Lost(String),
}

/// What was asked for and is taken of a contract already.
#[derive(Debug, Default)]
struct Taken {
    files: usize,
    bytes: u64,
    paths: Vec<String>,
}

impl Fetcher {
    /// Prepares the HTTP clients; calls nobody.
    ///
    /// # Errors
    /// When the machine has no usable TLS roots.
    pub fn new(desk: Arc<Desk>, objects: Objects) -> anyhow::Result<Self> {
        let timeout = desk.config.attachments.timeout;
        let client = || Client::builder("attachments").total_timeout(Some(timeout));
        let public = client().guard(Guard::Public).https_only(true);
        let public = public.redirects(Redirects::Guarded(REDIRECTS)).build()?;
        let simulated = if desk.config.marketplace.live {
            None
        } else {
            // The operator wrote the address that is compared with; what it redirects to is not followed.
            Some(client().guard(Guard::Any).build()?)
        };
        Ok(Self {
            desk,
            objects,
            public,
            simulated,
        })
    }

    /// Fetches what came with an agent's messages and is not here, of a few contracts at once, those first whose files
    /// were tried least: a client whose addresses never answer keeps nobody else's files away. Answers when to look
    /// again.
    ///
    /// # Errors
    /// When the store or the object store is away; what was fetched before counts.
    pub async fn look(&self, agent: &str) -> Result<Duration, reconcile::Error> {
        let settings = &self.desk.config.reconcile;
        let end = Instant::now() + settings.deadline / 2;
        let mut contracts: Vec<(Uuid, Vec<Sent>)> = Vec::new();
        for sent in inputs::to_fetch(&self.desk.store, agent).await? {
            match contracts.iter_mut().find(|(id, _)| *id == sent.contract_id) {
                Some((_, messages)) => messages.push(sent),
                None => contracts.push((sent.contract_id, vec![sent])),
            }
        }
        let looks = contracts
            .into_iter()
            .map(|(_, messages)| self.of_contract(messages, end));
        let again = futures_util::stream::iter(looks)
            .buffer_unordered(AT_ONCE)
            .try_fold(settings.contracts_idle_every, async |soonest, pause| {
                Ok(soonest.min(pause.unwrap_or(soonest)))
            });
        again.await
    }

    /// Tries what is due of one contract. Answers when something of it is due next.
    async fn of_contract(&self, messages: Vec<Sent>, end: Instant) -> Result<Option<Duration>, reconcile::Error> {
        let mut again: Option<Duration> = None;
        for sent in messages {
            for place in 0..payload::attachments(Some(&sent.attachments)).len() {
                if self.desk.soft.is_cancelled() || Instant::now() >= end {
                    return Ok(Some(Duration::ZERO));
                }
                if let Some(pause) = self.settle(&sent, place).await? {
                    again = Some(again.map_or(pause, |other| other.min(pause)));
                }
            }
        }
        Ok(again)
    }

    /// Tries one file of a message, if it is still awaited, and keeps what came of it. Answers the pause before the next
    /// try.
    async fn settle(&self, sent: &Sent, place: usize) -> Result<Option<Duration>, reconcile::Error> {
        let known = inputs::of_contract(&self.desk.store, sent.contract_id).await?;
        // As it is by now: files before it in the list may have come.
        let Some(row) = known.iter().find(|row| row.id == sent.id) else {
            return Ok(None);
        };
        let mut files = payload::attachments(Some(&row.attachments));
        let Some(file) = files.get_mut(place).filter(|file| file.is_awaited()) else {
            return Ok(None);
        };
        let now = store::observations::clock(&self.desk.store).await?;
        if let Some(wait) = file.again_at.and_then(|due| (due - now).to_std().ok()) {
            return Ok(Some(wait));
        }
        let taken = taken(&known);
        let mut pause = None;
        let outcome = match self.fetch(file, &taken).await {
            Ok(body) => {
                file.sha256 = self.store(&body).await.map_err(unusable)?;
                file.bytes = body.len() as u64;
                file.path = format!("{INPUTS}/{}", name::unique(&name::safe(file), &taken.paths));
                "ok"
            }
            Err(Miss::Passing(why)) => {
                file.tries += 1;
                if file.tries >= self.desk.config.attachments.tries {
                    file.error = why;
                } else {
                    let doublings = u32::try_from(file.tries - 1).unwrap_or(u32::MAX).min(8);
                    let wait = FIRST_PAUSE * 2_u32.saturating_pow(doublings);
                    file.again_at = Some(now + wait);
                    pause = Some(wait);
                }
                "later"
            }
            Err(Miss::Lost(why)) => {
                file.tries += 1;
                file.error = why;
                "lost"
            }
        };
        let lost = !file.error.is_empty();
        metrics::counter!(FETCHED, "outcome" => if lost { "lost" } else { outcome }).increment(1);
        tracing::info!(contract.id = %sent.contract_id, outcome, error = file.error, "a file of the client was asked for");
        let told = payload::to_value(&files);
        run_tx!(self.desk.store, "attachment_fetched", Error, |tx| {
            if inputs::keep(tx, row, &told).await? && lost {
                tell_of_lost(tx, row.contract_id).await?;
            }
            Ok(())
        })?;
        Ok(pause)
    }

    async fn fetch(&self, file: &Attachment, taken: &Taken) -> Result<Bytes, Miss> {
        let settings = &self.desk.config.attachments;
        if file.tries == 0 && taken.files >= settings.files {
            let why = format!("more than {} files came with this contract's messages", settings.files);
            return Err(Miss::Lost(why));
        }
        let room = settings.contract_bytes.saturating_sub(taken.bytes);
        let limit = settings.file_bytes.min(room);
        let too_large = || {
            Miss::Lost(if limit < settings.file_bytes {
                format!(
                    "the files of this contract have more than {} bytes",
                    settings.contract_bytes
                )
            } else {
                format!("it has more than {limit} bytes")
            })
        };
        if file.size > limit {
            return Err(too_large());
        }
        let url = Url::parse(&file.url).map_err(|_| Miss::Lost("its address cannot be read".to_owned()))?;
        let client = self.client(&url)?;
        let answer = client.send(client.request(Method::GET, url)).await.map_err(miss)?;
        let status = answer.status();
        if status != StatusCode::OK {
            return Err(refused(status));
        }
        let limit = usize::try_from(limit).unwrap_or(usize::MAX);
        match outbound::read_limited(answer, limit).await {
            Err(outbound::Error::TooLarge { .. }) => Err(too_large()),
            read => read.map_err(miss),
        }
    }

    fn client(&self, url: &Url) -> Result<&Client, Miss> {
        let own = url.origin() == self.desk.config.marketplace.base_url.origin();
        match &self.simulated {
            Some(client) if own => Ok(client),
            _ if url.scheme() == "https" => Ok(&self.public),
            _ => Err(Miss::Lost("its address is not https".to_owned())),
        }
    }

    /// Keeps the bytes; answers their name.
    async fn store(&self, body: &Bytes) -> Result<String, objects::Error> {
        let sha256 = const_hex::encode(digest::digest(&digest::SHA256, body).as_ref());
        if !self.objects.is_fresh(Folder::Inputs, &sha256).await? {
            let mut writer = self.objects.writer(Folder::Inputs, &sha256, body.len() as u64).await?;
            writer.write(body)?;
            writer.finish().await?;
        }
        Ok(sha256)
    }
}

/// Tells a human of files nobody can fetch; when the contract is over nobody needs them.
///
/// # Errors
/// When a row cannot be read or saved.
pub(crate) async fn tell_of_lost(tx: &mut Tx, contract: Uuid) -> Result<(), Error> {
    if rows::lock(tx, contract).await?.machine.state.is_final() {
        return Ok(());
    }
    let sent = store::messages::attached(tx, contract).await?;
    let files = || sent.iter().flat_map(|list| payload::attachments(Some(list)));
    let shown = |file: &Attachment| {
        if file.name.is_empty() {
            "a file".to_owned()
        } else {
            file.name.clone()
        }
    };
    let nowhere = files().filter(|file| !file.is_readable());
    let nowhere: Vec<String> = nowhere.map(|file| shown(&file)).take(MOST_NAMED).collect();
    let lost = files().filter(|file| !file.error.is_empty());
    let lost = lost.map(|file| format!("{} ({})", shown(&file), file.error));
    let lost: Vec<String> = lost.take(MOST_NAMED).collect();
    let mut reasons = Vec::new();
    if !nowhere.is_empty() {
        reasons.push(format!(
            "files the platform gives no address of: {}",
            nowhere.join(", ")
        ));
    }
    if !lost.is_empty() {
        reasons.push(format!("files that cannot be fetched: {}", lost.join(", ")));
    }
    let reason = format!(
        "the client sent {}; the agent works without them",
        reasons.join("; and ")
    );
    contracts::attention(tx, contract, contracts::ATTACHMENTS, &reason).await
}

/// Why a file is not in the workspace, for the agent.
pub(crate) fn missing(file: &Attachment) -> String {
    match (file.error.as_str(), file.is_readable()) {
        ("", true) => "it was not here in time".to_owned(),
        ("", false) => "the platform gives no address of it".to_owned(),
        (error, _) => error.to_owned(),
    }
}

fn taken(known: &[Sent]) -> Taken {
    let mut taken = Taken::default();
    let files = known
        .iter()
        .flat_map(|sent| payload::attachments(Some(&sent.attachments)));
    for file in files.filter(|file| file.is_here() || file.tries > 0) {
        // One that was asked for counts, whether or not it came: addresses cost time as well.
        taken.files += 1;
        taken.bytes = taken.bytes.saturating_add(file.bytes);
        taken
            .paths
            .extend(file.path.rsplit_once('/').map(|(_, name)| name.to_owned()));
    }
    taken
}

/// An answer that is not the file. One that may change is asked for again.
fn refused(status: StatusCode) -> Miss {
    let why = format!("its address answers {}", status.as_u16());
    match status.as_u16() {
        408 | 425 | 429 | 500.. => Miss::Passing(why),
        _ => Miss::Lost(why),
    }
}

fn miss(error: outbound::Error) -> Miss {
    match error {
        outbound::Error::Refused(_) => Miss::Lost("its address is not a public one".to_owned()),
        // A name is looked up when it is connected to, and the guard refuses what it finds there.
        outbound::Error::Connect { .. } => Miss::Passing("nobody answers at its address".to_owned()),
        outbound::Error::Timeout { .. } | outbound::Error::Body { timed_out: true, .. } => {
            Miss::Passing("it did not come in time".to_owned())
        }
        outbound::Error::Reset { .. } | outbound::Error::Body { .. } => {
            Miss::Passing("the connection broke".to_owned())
        }
        outbound::Error::Redirect { .. } => Miss::Lost("its address leads elsewhere".to_owned()),
        outbound::Error::TooLarge { limit } => Miss::Lost(format!("it has more than {limit} bytes")),
        outbound::Error::Build { .. } | outbound::Error::Invalid(_) => {
            Miss::Lost("its address cannot be called".to_owned())
        }
    }
}

fn unusable(error: objects::Error) -> reconcile::Error {
    reconcile::Error::Read {
        what: "objects",
        why: error.to_string(),
    }
}
