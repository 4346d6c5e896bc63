//! The job file of the agent contract, version 1: everything an agent is told about its work.

use chrono::{DateTime, Utc};
use domain::agent_file::AgentFile;
use domain::money::MicroUsdc;
use domain::run::Kind;
use rpc::v1::InputFile;
use serde_json::{Value, json};
use store::Store;
use store::artefacts::{Artefact, Delivery};
use store::contracts::Contract;
use store::gigs::Gig;
use store::messages::Message;
use store::runs::Run;
use uuid::Uuid;

use crate::attachments;
use crate::error::Error;
use crate::objects::Folder;
use crate::payload::{self, Attachment};
use crate::work::Floor;

/// Messages an agent is shown, the newest ones.
const MESSAGES: usize = 100;
/// Where the files of the delivery before lie, below the workspace.
const PREVIOUS: &str = "previous";
/// The type of a file whose sender told none.
const UNKNOWN_TYPE: &str = "application/octet-stream";
/// Where files of a checkpoint lie again: an agent keeps what lies in its folder of deliverables.
const OUT: &str = "out";

/// What a job is made of.
#[derive(Debug)]
pub struct Job {
    /// The agent file of the run's version.
    pub spec: AgentFile,
    contract: Option<Contract>,
    gig: Option<Gig>,
    messages: Vec<Message>,
    files: Vec<Attachment>,
    previous: Option<Delivery>,
    run_id: Uuid,
}

impl Job {
    /// Reads it together.
    ///
    /// # Errors
    /// When a row is missing or the store is away.
    pub async fn load(floor: &Floor, run: &Run) -> Result<Self, Error> {
        let store = &floor.desk().store;
        let bundle = store::bundles::get(store, &run.version).await?;
        let spec = serde_json::from_value(bundle.spec)
            .map_err(|error| Error::Invalid(format!("the agent file of this version cannot be read: {error}")))?;
        let contract = match run.contract_id {
            Some(id) => Some(store::run_tx!(store, "job_contract", Error, |tx| {
                Ok(store::contracts::lock(tx, id).await?)
            })?),
            None => None,
        };
        let gig_id = run.gig_id.or(contract.as_ref().and_then(|contract| contract.gig_id));
        let gig = match gig_id {
            Some(id) => Some(store::gigs::get(store, id).await?),
            None => None,
        };
        let messages = match run.contract_id {
            Some(id) => store::messages::list(store, id).await?,
            None => Vec::new(),
        };
        let files = sent(store, run).await?;
        let previous = previous(store, run).await?;
        Ok(Self {
            spec,
            contract,
            gig,
            messages,
            files,
            previous,
            run_id: run.id,
        })
    }

    /// What the cost is attributed to.
    #[must_use]
    pub fn subject(&self) -> Uuid {
        let contract = self.contract.as_ref().map(|contract| contract.id);
        contract.or(self.gig.as_ref().map(|gig| gig.id)).unwrap_or(self.run_id)
    }

    /// The files to place in the workspace before the agent starts.
    #[must_use]
    pub fn inputs(&self, run: &Run) -> Vec<InputFile> {
        let placed = placed(self.previous.as_ref(), &self.files, run);
        placed.into_iter().map(|(_, input)| input).collect()
    }

    /// What a bid may ask for.
    fn bid(&self) -> Value {
        let budget = self.gig.as_ref().and_then(|gig| gig.budget_micro).map(MicroUsdc);
        match domain::bidding::bounds(budget, &self.spec.bidding) {
            Some((least, most)) => json!({ "min_usdc": least.to_string(), "max_usdc": most.to_string() }),
            None => Value::Null,
        }
    }

    /// What it pays: the contract's amount, or the gig's budget.
    #[must_use]
    pub fn amount(&self) -> MicroUsdc {
        match (&self.contract, &self.gig) {
            (Some(contract), _) => contract.amount,
            (None, Some(gig)) => MicroUsdc(gig.budget_micro.unwrap_or(0)),
            (None, None) => MicroUsdc::ZERO,
        }
    }
}

/// The inputs of a run and where their bytes are kept, and nothing else: what its holder may read.
///
/// # Errors
/// When the store is away.
pub async fn inputs(store: &Store, run: &Run) -> Result<Vec<(Folder, InputFile)>, Error> {
    let (previous, files) = (previous(store, run).await?, sent(store, run).await?);
    Ok(placed(previous.as_ref(), &files, run))
}

/// The job as JSON. `budget` and `remaining` are micro US dollars for model calls.
///
/// # Errors
/// When it cannot be serialised.
pub fn write(run: &Run, job: &Job, budget: i64, remaining: i64) -> anyhow::Result<String> {
    let mut value = json!({
        "version": 1,
        "run_id": run.id,
        "kind": run.kind.name(),
        "attempt": run.machine.attempt,
        "deadline": run.deadline.map(time),
        "contract": job.contract.as_ref().map(contract),
        "gig": job.gig.as_ref().map(gig),
        "messages": job.messages.iter().rev().take(MESSAGES).rev().map(message).collect::<Vec<_>>(),
        "attachments": job.files.iter().map(attachment).collect::<Vec<_>>(),
        "budget": { "llm_micro_usd": budget, "remaining_micro_usd": remaining },
    });
    if run.kind == Kind::Revise {
        let before = job.previous.as_ref();
        value["previous"] = json!({
            "revision_no": before.map_or(run.revision_no - 1, |delivery| delivery.revision_no),
            "notes": before.map_or("", |delivery| delivery.notes.as_str()),
            "files": before.into_iter().flat_map(|delivery| &delivery.files).map(delivered).collect::<Vec<_>>(),
            "request": run.request,
        });
    } else if let Some(request) = &run.request {
        value["request"] = request.clone().into();
    }
    if run.kind == Kind::Propose {
        value["bid"] = job.bid();
    }
    if run.machine.failures > 0
        && let Some(error) = &run.error
    {
        value["failure"] = error.clone().into();
    }
    if let Some(checkpoint) = &run.checkpoint {
        let files = kept(run).map(|(name, sha256, bytes)| {
            json!({ "path": format!("{OUT}/{name}"), "name": name, "sha256": sha256, "bytes": bytes })
        });
        value["checkpoint"] = json!({ "data": checkpoint["data"], "files": files.collect::<Vec<_>>() });
    }
    Ok(serde_json::to_string(&value)?)
}

async fn previous(store: &Store, run: &Run) -> Result<Option<Delivery>, Error> {
    match run.contract_id {
        Some(id) if run.kind == Kind::Revise => {
            Ok(store::artefacts::delivered_before(store, id, run.revision_no).await?)
        }
        _ => Ok(None),
    }
}

/// What came with messages of a run's contract, oldest first.
async fn sent(store: &Store, run: &Run) -> Result<Vec<Attachment>, Error> {
    let Some(contract) = run.contract_id else {
        return Ok(Vec::new());
    };
    let messages = store::inputs::of_contract(store, contract).await?;
    let files = messages
        .iter()
        .flat_map(|message| payload::attachments(Some(&message.attachments)));
    Ok(files.collect())
}

fn placed(previous: Option<&Delivery>, files: &[Attachment], run: &Run) -> Vec<(Folder, InputFile)> {
    let input = |folder, path, sha256: &str, bytes| {
        let sha256 = sha256.to_owned();
        (folder, InputFile { path, sha256, bytes })
    };
    let delivered = previous.into_iter().flat_map(|delivery| &delivery.files);
    let delivered = delivered.map(|file| {
        let (path, bytes) = (
            format!("{PREVIOUS}/{}", file.name),
            u64::try_from(file.bytes).unwrap_or(0),
        );
        input(Folder::Artefacts, path, &file.sha256, bytes)
    });
    let kept = kept(run).map(|(name, sha256, bytes)| input(Folder::Artefacts, format!("{OUT}/{name}"), sha256, bytes));
    let sent = files.iter().filter(|file| file.is_here());
    let sent = sent.map(|file| input(Folder::Inputs, file.path.clone(), &file.sha256, file.bytes));
    delivered.chain(kept).chain(sent).collect()
}

/// Files of the last checkpoint, as the executor that sent them up told: name below out/, hash and size.
fn kept(run: &Run) -> impl Iterator<Item = (&str, &str, u64)> {
    let files = run.checkpoint.as_ref().and_then(|kept| kept["files"].as_array());
    files.into_iter().flatten().filter_map(|file| {
        Some((
            file["name"].as_str()?,
            file["sha256"].as_str()?,
            file["bytes"].as_u64()?,
        ))
    })
}

fn delivered(file: &Artefact) -> Value {
    json!({
        "path": format!("{PREVIOUS}/{}", file.name),
        "name": file.name,
        "type": file.media_type,
        "bytes": file.bytes,
        "sha256": file.sha256,
    })
}

fn contract(contract: &Contract) -> Value {
    json!({
        "id": contract.id,
        "external_id": contract.external_id,
        "title": contract.title,
        "amount_usdc": contract.amount.to_string(),
        "amount_micro_usdc": contract.amount.0,
        "revision_no": contract.machine.revision_no,
    })
}

fn gig(gig: &Gig) -> Value {
    json!({
        "id": gig.external_id,
        "title": gig.title,
        "description": gig.description,
        "category": gig.category,
        "skills": gig.skills,
        "budget_usdc": gig.budget_micro.map(|micro| MicroUsdc(micro).to_string()),
        "deadline": gig.deadline.map(time),
        "deliverables": gig.deliverables,
        "client_name": gig.client_name,
    })
}

fn message(message: &Message) -> Value {
    json!({
        "id": message.id,
        "from": message.side,
        "text": message.body,
        "at": time(message.at),
        "attachments": payload::attachments(message.attachments.as_ref()).iter().map(told).collect::<Vec<_>>(),
    })
}

/// What the platform tells of a file, and where it lies if it is here.
fn told(file: &Attachment) -> Value {
    let mut value = json!({ "url": file.url, "name": file.name, "mime": file.mime, "size": file.size });
    if file.is_here() {
        value["path"] = file.path.clone().into();
    }
    value
}

/// A file in the workspace, or why it is missing there.
fn attachment(file: &Attachment) -> Value {
    let mut value = json!({
        "path": file.path,
        "name": file.name,
        "type": if file.mime.is_empty() { UNKNOWN_TYPE } else { &file.mime },
        "bytes": file.bytes,
        "sha256": file.sha256,
    });
    if !file.is_here() {
        for unknown in ["path", "sha256"] {
            value[unknown] = Value::Null;
        }
        value["bytes"] = file.size.into();
        value["error"] = attachments::missing(file).into();
    }
    value
}

fn time(at: DateTime<Utc>) -> String {
    at.to_rfc3339()
}
