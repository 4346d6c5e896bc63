//! The job of a trial: a recorded gig, or a made-up one.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result};
use domain::agent_file::AgentFile;
use domain::bidding::{self, Answer};
use domain::money::MicroUsdc;
use rpc::v1::complete_request::Outcome;
use rpc::v1::{Failed, InputFile};
use serde_json::{Value, json};

use crate::failure::Failure;
use crate::private::sha256;

/// The gig when none is named.
const SAMPLE: &str = include_str!("../../../../examples/gigs/summary.json");
/// The longest file of a gig.
const LONGEST: u64 = 64 * 1024 * 1024;
/// What the platform keeps, in thousandths.
const FEE: u32 = 100;
/// Where files of the client lie, as on a stack.
const INPUTS: &str = "inputs";
/// What a gig may say.
const GIG: [&str; 10] = [
    "id",
    "title",
    "description",
    "category",
    "skills",
    "budget_usdc",
    "budget_micro_usdc",
    "deadline",
    "deliverables",
    "client_name",
];
/// And what may stand beside it.
const BESIDE: [&str; 5] = ["gig", "amount_usdc", "messages", "previous", "files"];
/// The price when a gig names none.
const USUAL_PRICE: &str = "40.00";

/// What for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub enum Kind {
    /// Do the work
    Work,
    /// Do it again after the client asked for changes
    Revise,
    /// Answer a message
    Reply,
    /// Write a proposal
    Propose,
}

/// A job without its run.
pub(crate) struct Brief {
    pub(crate) kind: Kind,
    gig: Value,
    messages: Vec<Value>,
    /// What the client asks for, with a revision.
    request: String,
    previous_notes: String,
    attachments: BTreeMap<String, Vec<u8>>,
    previous: BTreeMap<String, Vec<u8>>,
    price: String,
}

impl Kind {
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Work => "work",
            Self::Revise => "revise",
            Self::Reply => "reply",
            Self::Propose => "propose",
        }
    }
}

impl Brief {
    /// Reads a gig: a file of `examples/gigs`, or what `steward gigs show ID --json` prints.
    pub(crate) fn read(path: Option<&Path>, kind: Kind, message: Option<&str>) -> Result<Self> {
        let (text, folder) = match path {
            Some(path) => {
                let text = std::fs::read_to_string(path)
                    .map_err(|error| Failure::Usage(format!("read the gig {}: {error}", path.display())))?;
                (text, path.parent().unwrap_or(Path::new("")).to_owned())
            }
            None => (SAMPLE.to_owned(), PathBuf::new()),
        };
        let shown = path.map_or("the built-in gig".to_owned(), |path| path.display().to_string());
        let all: Value =
            serde_json::from_str(&text).map_err(|error| Failure::Usage(format!("{shown} is not JSON: {error}")))?;
        let gig = all.get("gig").filter(|gig| gig.is_object()).unwrap_or(&all);
        if gig["title"].as_str().is_none() {
            return Err(Failure::Usage(format!(
                "{shown} is no gig: it needs at least a `title`, as in examples/gigs or `steward gigs show ID --json`"
            ))
            .into());
        }
        known_only(&all, gig).map_err(|key| {
            Failure::Usage(format!(
                "{shown}: `{key}` is no key of a gig; it has {}, and beside them {} (`files`: names of files the client sends, \
                 beside this file)",
                GIG.join(", "),
                BESIDE.join(", ")
            ))
        })?;
        let gig = as_in_a_job(gig);
        let price = all["amount_usdc"]
            .as_str()
            .or(gig["budget_usdc"].as_str())
            .unwrap_or(USUAL_PRICE)
            .to_owned();
        let mut messages = all["messages"].as_array().cloned().unwrap_or_default();
        let said = message.filter(|_| kind != Kind::Revise);
        let usual = (kind == Kind::Reply && messages.is_empty()).then_some("How far are you?");
        messages.extend(said.or(usual).map(|text| json!({ "from": "client", "text": text })));
        let messages = messages.iter().enumerate().map(whole_message).collect();
        let asked = all["previous"]["request"].as_str();
        let previous = &all["previous"];
        let mut delivered = files(&previous["files"], &folder)?;
        if kind == Kind::Revise && delivered.is_empty() {
            delivered.insert(
                "answer.md".to_owned(),
                b"A first answer, without an example.\n".to_vec(),
            );
        }
        Ok(Self {
            kind,
            gig,
            messages,
            request: message.or(asked).unwrap_or("Please add an example.").to_owned(),
            previous_notes: previous["notes"].as_str().unwrap_or("Done as asked.").to_owned(),
            attachments: files(&all["files"], &folder)?,
            previous: if kind == Kind::Revise {
                delivered
            } else {
                BTreeMap::new()
            },
            price,
        })
    }

    /// What model calls may cost: the agent's share of the net price, or what it has for a bid.
    pub(crate) fn budget(&self, agent: &AgentFile) -> i64 {
        if self.kind == Kind::Propose {
            return agent.budget.per_proposal_usd.0;
        }
        let price = self.amount();
        price.permille(1000 - FEE).permille(agent.budget.share_of_net).0
    }

    /// The job file of this agent.
    pub(crate) fn job_for(&self, agent: &AgentFile, run_id: &str, budget: i64) -> Value {
        let mut job = self.job(run_id, budget);
        if self.kind == Kind::Propose {
            job["bid"] = match bidding::bounds(self.client_budget(), &agent.bidding) {
                Some((least, most)) => json!({ "min_usdc": least.to_string(), "max_usdc": most.to_string() }),
                None => Value::Null,
            };
        }
        job
    }

    /// What came of it, as a scheduler sees it: a bid that could not go out is none.
    pub(crate) fn judged(&self, agent: &AgentFile, outcome: Option<Outcome>) -> Option<Outcome> {
        let Some(Outcome::ResultJson(text)) = &outcome else {
            return outcome;
        };
        if self.kind != Kind::Propose {
            return outcome;
        }
        let result: Value = serde_json::from_str(text).unwrap_or_default();
        let problems = match Answer::read(&result) {
            Ok(Answer::Offer(offer)) => offer.problems(self.client_budget(), &agent.bidding),
            Ok(Answer::Decline(_)) => Vec::new(),
            Err(why) => vec![why],
        };
        if problems.is_empty() {
            return outcome;
        }
        Some(Outcome::Failed(Failed {
            reason: "bid".to_owned(),
            detail: problems.join("; "),
        }))
    }

    fn client_budget(&self) -> Option<MicroUsdc> {
        self.gig["budget_usdc"].as_str()?.parse().ok()
    }

    /// The job file, and what lies in the workspace.
    fn job(&self, run_id: &str, budget: i64) -> Value {
        let amount = self.amount();
        let contract = json!({
            "id": "0198f3a2-1111-7c3e-9d52-5a8f0c1e2b3d", "external_id": "trial", "title": self.gig["title"],
            "amount_usdc": self.price, "amount_micro_usdc": amount.0, "revision_no": u8::from(self.kind == Kind::Revise),
        });
        let listed = |folder: &str, files: &BTreeMap<String, Vec<u8>>| -> Vec<Value> {
            let one = |(name, body): (&String, &Vec<u8>)| {
                json!({
                    "path": format!("{folder}/{name}"), "name": name, "type": "application/octet-stream",
                    "bytes": body.len(), "sha256": sha256(body),
                })
            };
            files.iter().map(one).collect()
        };
        let mut job = json!({
            "version": 1, "run_id": run_id, "kind": self.kind.name(), "attempt": 1, "deadline": null,
            "contract": if self.kind == Kind::Propose { Value::Null } else { contract },
            "gig": self.gig, "messages": self.messages,
            "attachments": listed(INPUTS, &self.attachments),
            "budget": { "llm_micro_usd": budget, "remaining_micro_usd": budget },
        });
        if self.kind == Kind::Revise {
            job["previous"] = json!({
                "revision_no": 0, "notes": self.previous_notes, "files": listed("previous", &self.previous),
                "request": self.request,
            });
        }
        job
    }

    /// What is placed in the workspace.
    pub(crate) fn inputs(&self) -> Vec<(InputFile, Vec<u8>)> {
        let all = [(INPUTS, &self.attachments), ("previous", &self.previous)];
        let each = all
            .into_iter()
            .flat_map(|(folder, files)| files.iter().map(move |(name, body)| (folder, name, body)));
        each.map(|(folder, name, body)| {
            let input = InputFile {
                path: format!("{folder}/{name}"),
                sha256: sha256(body),
                bytes: body.len() as u64,
            };
            (input, body.clone())
        })
        .collect()
    }

    fn amount(&self) -> MicroUsdc {
        self.price.parse().unwrap_or(MicroUsdc(40_000_000))
    }
}

/// Refuses a word nobody would read, unless a listing of ours wrote the file: that says more than a job needs.
fn known_only<'a>(all: &'a Value, gig: &'a Value) -> Result<(), &'a str> {
    if gig.get("external_id").is_some() {
        return Ok(());
    }
    let nested = !std::ptr::eq(all, gig);
    let keys = |value: &'a Value| value.as_object().into_iter().flatten().map(|(key, _)| key.as_str());
    let unknown_beside = keys(all).find(|key| !BESIDE.contains(key) && (nested || !GIG.contains(key)));
    let unknown_in = keys(gig).find(|key| nested && !GIG.contains(key));
    unknown_beside.or(unknown_in).map_or(Ok(()), Err)
}

/// A gig as jobs have it, also from what `gigs show` prints.
fn as_in_a_job(gig: &Value) -> Value {
    let mut found = gig.clone();
    if let (None, Some(micro)) = (gig.get("budget_usdc"), gig["budget_micro_usdc"].as_i64()) {
        found["budget_usdc"] = MicroUsdc(micro).to_string().into();
    }
    if let Some(external) = gig["external_id"].as_str() {
        found["id"] = external.into();
    }
    if let Some(fields) = found.as_object_mut() {
        fields.retain(|name, value| GIG.contains(&name.as_str()) && !value.is_null());
    }
    if let Some(number) = found["budget_usdc"].as_number() {
        found["budget_usdc"] = number.to_string().into();
    }
    found
}

fn whole_message((at, message): (usize, &Value)) -> Value {
    json!({
        "id": message["id"].as_str().map_or(format!("m-{at}"), str::to_owned),
        "from": message["from"].as_str().unwrap_or("client"),
        "text": message["text"],
        "at": message["at"].as_str().unwrap_or("2030-01-01T10:00:00Z"),
        "attachments": [],
    })
}

/// Files named beside the gig.
fn files(names: &Value, folder: &Path) -> Result<BTreeMap<String, Vec<u8>>> {
    let mut found = BTreeMap::new();
    for name in names.as_array().into_iter().flatten().filter_map(Value::as_str) {
        let path = folder.join(name);
        let about = || format!("read {}, which the gig names", path.display());
        if path.metadata().with_context(about)?.len() > LONGEST {
            return Err(Failure::Usage(format!("{} is longer than {LONGEST} bytes", path.display())).into());
        }
        let body = std::fs::read(&path).with_context(about)?;
        let last = path.file_name().and_then(|name| name.to_str()).unwrap_or("file");
        found.insert(last.to_owned(), body);
    }
    Ok(found)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_gig_is_taken_as_it_is_written_and_as_the_console_prints_it() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("gig.json");
        std::fs::write(folder.path().join("notes.txt"), "notes").unwrap();
        std::fs::write(
            &path,
            r#"{"gig": {"title": "T", "budget_usdc": 12.5}, "files": ["notes.txt"]}"#,
        )
        .unwrap();
        let brief = Brief::read(Some(&path), Kind::Work, Some("hello")).unwrap();
        let job = brief.job("r", 5);
        assert_eq!(job["gig"]["budget_usdc"], "12.5");
        assert_eq!(job["attachments"][0]["path"], "inputs/notes.txt");
        assert_eq!(job["messages"][0]["text"], "hello");
        assert_eq!(brief.inputs().len(), 1);
        let shown = r#"{"id": "0198", "external_id": "gig-7", "title": "T", "budget_micro_usdc": 20000000, "score_permille": 800}"#;
        std::fs::write(&path, shown).unwrap();
        let brief = Brief::read(Some(&path), Kind::Revise, Some("shorter")).unwrap();
        let job = brief.job("r", 5);
        assert_eq!(
            (job["gig"]["id"].as_str(), job["gig"]["score_permille"].as_str()),
            (Some("gig-7"), None)
        );
        assert_eq!(job["contract"]["amount_micro_usdc"], 20_000_000);
        assert_eq!(job["previous"]["request"], "shorter");
        for typo in [
            r#"{"title": "T", "attachments": []}"#,
            r#"{"gig": {"title": "T", "descripton": "x"}}"#,
        ] {
            std::fs::write(&path, typo).unwrap();
            let refused = Brief::read(Some(&path), Kind::Work, None).err().unwrap().to_string();
            assert!(refused.contains("is no key of a gig"), "{refused}");
        }
        std::fs::write(&path, "{}").unwrap();
        assert!(Brief::read(Some(&path), Kind::Work, None).is_err());
        assert!(Brief::read(None, Kind::Reply, None).is_ok(), "the built-in one");
    }
}
