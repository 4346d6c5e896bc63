//! `steward agents`.

mod show;

use std::collections::BTreeSet;
use std::path::Path;
use std::time::Duration;

use anyhow::{Context as _, Result};
use bytes::Bytes;
use domain::agent_file::{AgentFile, Mode};
use domain::metering::serves;
use rpc::v1;
use rpc::v1::put_bundle_request::Kind;
use serde_json::json;

use super::secrets::unset;
use super::{endpoint, onboarding, rest, setup, trial, versions};
use crate::args::{AgentsCommand, Global, Link, SimulatedMarket};
use crate::bundle::runnable::Place;
use crate::bundle::{self, Packed};
use crate::context::{Access, Peer};
use crate::failure::Failure;
use crate::http::Http;
use crate::out::Out;
use crate::private;
use crate::render::{self, As, Column};
use crate::starter;
use crate::up::agents::{Desk, Registration};
use crate::up::home::Home;
use crate::view;

/// How long one call of the simulator may take.
const CALL: Duration = Duration::from_secs(20);
/// The way out of a refusal.
const ANYWAY: &str = "\n`steward agents add --force` adds it all the same";
/// Bytes of one message of an upload.
const PIECE: usize = 256 * 1024;

const COLUMNS: [Column; 6] = [
    ("Name", "name", As::Text),
    ("Mode", "mode", As::Text),
    ("State", "activity", As::Text),
    ("Key", "has_key", As::Text),
    ("Secrets", "webhook_secrets", As::Text),
    ("Version", "version", As::Text),
];

pub(crate) async fn run(global: &Global, command: AgentsCommand, out: &Out) -> Result<u8> {
    if let AgentsCommand::EndpointKey {
        name,
        executor_token_file,
    } = &command
    {
        return endpoint::key(global, name, executor_token_file.as_deref(), out);
    }
    let command = match command {
        AgentsCommand::Init { folder, template } => {
            let name = starter::name_of(&folder);
            return setup::scaffold(&folder, &name, template, out);
        }
        AgentsCommand::Test(options) => return trial::test(options, out).await,
        AgentsCommand::Env { file } => return trial::environment(file, out).await,
        command => command,
    };
    let access = Access::find(global)?;
    match command {
        AgentsCommand::Add {
            file,
            force,
            simulated,
            label,
            market,
        } => {
            let asked = Asked {
                force,
                simulated,
                label,
            };
            add(&access, &file, &asked, market, out).await?;
        }
        AgentsCommand::Link(options) => link(&access, &options, out).await?,
        AgentsCommand::Register(options) => return onboarding::register(&access, options, out).await,
        AgentsCommand::Readiness { name, fix } => return onboarding::readiness(&access, name, fix, out).await,
        AgentsCommand::VerifyEmail(options) => onboarding::verify_email(&access, options, out).await?,
        AgentsCommand::Webhooks(options) => onboarding::webhooks(&access, options, out).await?,
        AgentsCommand::ClaimLink { name } => onboarding::claim_link(&access, name, out).await?,
        AgentsCommand::Pause { name, now, reason } => rest::pause(&access, name, now, reason, out).await?,
        AgentsCommand::Resume { name, reason } => rest::resume(&access, name, reason, out).await?,
        AgentsCommand::WindDown { name, reason } => rest::wind_down(&access, name, reason, out).await?,
        AgentsCommand::List => {
            let peer = access.scheduler().await?;
            let mut agents = peer.agents();
            let answer = peer
                .ask("list the agents", agents.list_agents(v1::ListAgentsRequest {}))
                .await?;
            out.result(&view::agents(&answer), |value| {
                render::listing(value, "agents", &COLUMNS)
            })?;
        }
        AgentsCommand::Show { name } => show::print(&access, name, out).await?,
        AgentsCommand::Versions { name } => versions::list(&access, name, out).await?,
        AgentsCommand::Rollback { name, version } => versions::rollback(&access, name, version, out).await?,
        AgentsCommand::EndpointKey { .. }
        | AgentsCommand::Init { .. }
        | AgentsCommand::Test(_)
        | AgentsCommand::Env { .. } => {}
        AgentsCommand::Remove { name } => remove(&access, name, out).await?,
        AgentsCommand::Mode { name, mode } => {
            let peer = access.scheduler().await?;
            let mut agents = peer.agents();
            let request = v1::SetAgentModeRequest {
                name,
                mode: mode.name().to_owned(),
            };
            let agent = peer.ask("set the mode", agents.set_agent_mode(request)).await?;
            out.result(&view::agent(&agent), |_| {
                format!(
                    "{} is now in mode {}",
                    render::plain(&agent.name),
                    render::plain(&agent.mode)
                )
            })?;
        }
    }
    Ok(0)
}

/// How an agent is added.
struct Asked {
    force: bool,
    simulated: bool,
    label: String,
}

async fn add(access: &Access, file: &Path, asked: &Asked, market: Option<SimulatedMarket>, out: &Out) -> Result<()> {
    let file = bundle::agent_file(file);
    let file = file.canonicalize().unwrap_or(file);
    let path = file.clone();
    let packed = tokio::task::spawn_blocking(move || bundle::pack(&path))
        .await
        .context("pack the folder")??;
    if !asked.force {
        let place = access.local.as_ref().map_or(Place::Elsewhere, |_| Place::Here);
        bundle::runnable(&packed, place, ANYWAY)?;
        if place == Place::Here {
            if !packed.agent.run.setup.is_empty() {
                out.note("setting it up once, in the sandbox");
            }
            starts(&packed).await?;
        }
    }
    let desk = desk(access, market)?;
    let simulated = asked.simulated || access.simulated().unwrap_or(desk.is_some());
    if !simulated {
        starter::refuse_placeholders(&packed.agent)?;
    }
    let agent = match desk {
        // On a local simulated stack an agent without a registration could not work.
        Some(desk) => desk.add(&file, &asked.label, false).await?.0,
        None => put(&access.scheduler().await?, &packed, simulated, &asked.label, false).await?,
    };
    if let Ok(billing) = access.billing().await {
        let unpriced = unpriced(&billing, &packed.agent).await;
        for warning in unpriced.into_iter().chain(unset(&billing, &packed.agent).await) {
            out.note(&warning);
        }
    }
    let shown = json!({
        "name": packed.agent.name,
        "version": packed.sha256,
        "mode": agent.mode,
        "bytes": packed.archive.len(),
        "files": packed.names,
    });
    out.result(&shown, |_| {
        let (name, files) = (&packed.agent.name, packed.names.len());
        let (version, mode) = (&packed.sha256[..12], Said::of(&packed.agent, &agent.mode));
        format!(
            "{name} is now at version {version} ({files} files)\n{}",
            mode.sentence()
        )
    })
}

/// Refuses an agent whose `setup` or interpreter fails where runs live: better now than with a funded contract.
async fn starts(packed: &Packed) -> Result<()> {
    let Some(why) = crate::trial::interpreter(packed).await? else {
        return Ok(());
    };
    let (name, why) = (&packed.agent.name, render::plain(&why));
    Err(Failure::Refused(format!("{name} could not start in its sandbox: {why}{ANYWAY}")).into())
}

/// What is said of an agent's mode, which its file only proposes.
#[derive(Debug)]
pub(crate) struct Said<'agent> {
    name: &'agent str,
    mode: &'agent str,
    /// What its file wants.
    wanted: Option<&'static str>,
}

impl<'agent> Said<'agent> {
    /// Of the agent of this file, which is in this mode.
    pub(crate) fn of(file: &'agent AgentFile, mode: &'agent str) -> Self {
        Self {
            name: &file.name,
            mode,
            wanted: file.bidding.mode.map(Mode::name),
        }
    }

    /// Whether its file wants another.
    pub(crate) fn is_overruled(&self) -> bool {
        self.wanted.is_some_and(|wanted| wanted != self.mode)
    }

    /// The mode, what it means, and what changes it.
    pub(crate) fn sentence(&self) -> String {
        let (name, mode) = (self.name, render::plain(self.mode));
        let bids = match self.mode {
            "auto" => "its bids go out",
            "ask" => "each bid waits in `steward approvals list`",
            "off" => "it looks at no gig",
            _ => "it scores and prices gigs, and no bid goes out",
        };
        let (file, other) = match self.wanted {
            Some(wanted) if self.is_overruled() => (
                format!(
                    ", not {wanted} as its file says (live agents begin in shadow; later the last word set counts)"
                ),
                wanted,
            ),
            _ => (String::new(), if self.mode == "auto" { "ask" } else { "auto" }),
        };
        format!("{name} is in mode {mode}{file}: {bids}; `steward agents mode {name} {other}` changes it")
    }
}

/// What to say about models without a price; nothing when all have one, or nobody can be asked.
pub(crate) async fn unpriced(billing: &Peer, agent: &AgentFile) -> Option<String> {
    let mut client = billing.billing();
    let answer = billing.ask("list the prices", client.list_prices(v1::ListPricesRequest {}));
    let priced: BTreeSet<String> = answer.await.ok()?.prices.into_iter().map(|price| price.model).collect();
    let unknown: Vec<_> = agent.allowed_models();
    let unknown: Vec<_> = unknown
        .iter()
        .filter(|pattern| !priced.iter().any(|model| serves(pattern, model)))
        .cloned()
        .collect();
    if unknown.is_empty() || priced.is_empty() {
        return None;
    }
    let name = &agent.name;
    let (unknown, priced) = (unknown.join(", "), priced.into_iter().collect::<Vec<_>>().join(", "));
    Some(format!(
        "warning: {name} names a model without a price: {unknown}. Its calls count as much as the dearest model known \
         costs. Models with a price: {priced}"
    ))
}

async fn remove(access: &Access, name: String, out: &Out) -> Result<()> {
    let peer = access.scheduler().await?;
    let mut agents = peer.agents();
    let request = v1::RemoveAgentRequest { name: name.clone() };
    let answer = peer.ask("remove the agent", agents.remove_agent(request)).await?;
    if let Some((home, _)) = &access.local {
        Registration::forget(home, &name)?;
    }
    out.result(&json!({ "name": name, "open_bids": answer.open_bids }), |_| {
        let bids = match answer.open_bids {
            0 => String::new(),
            bids => format!("; {bids} bids still lie with clients, and what comes of them is not seen here"),
        };
        format!("{} is removed, its history is kept{bids}", render::plain(&name))
    })
}

/// The desk of a local simulated stack, or of one elsewhere with the simulator that was named.
fn desk(access: &Access, market: Option<SimulatedMarket>) -> Result<Option<Desk>> {
    if let Some(market) = market {
        return Ok(Some(Desk {
            home: Home::create(&market.records)?,
            http: Http::new(CALL)?,
            simulator: Some(market.simulator),
            door: market.door,
            scheduler: access.scheduler.clone(),
            token: access.token.clone(),
        }));
    }
    let Some((home, stack)) = access.local.as_ref().filter(|_| access.simulated() == Some(true)) else {
        return Ok(None);
    };
    let url = |service: &str| stack["services"][service]["url"].as_str().map(str::to_owned);
    Ok(Some(Desk {
        home: home.clone(),
        http: Http::new(CALL)?,
        simulator: url("simulator"),
        door: url("ingress").unwrap_or_default(),
        scheduler: access.scheduler.clone(),
        token: access.token.clone(),
    }))
}

async fn link(access: &Access, options: &Link, out: &Out) -> Result<()> {
    // Both are read before either is sent: half a link would be stopped at its first call.
    let api_key = secret(&options.key_file)?;
    let webhook_secret = options.webhook_secret_file.as_deref().map(secret).transpose()?;
    let peer = access.scheduler().await?;
    let credentials = v1::SetCredentialsRequest {
        name: options.name.clone(),
        marketplace_id: options.marketplace_id.clone(),
        api_key,
    };
    let mut agents = peer.agents();
    let mut agent = peer.ask("store the key", agents.set_credentials(credentials)).await?;
    if let Some(secret) = webhook_secret {
        let name = options.name.clone();
        let request = v1::AddWebhookSecretRequest {
            name,
            secret,
            retire_others_after_secs: None,
        };
        peer.ask("store the webhook secret", agents.add_webhook_secret(request))
            .await?;
        agent.webhook_secrets += 1;
    }
    out.result(&view::agent(&agent), |_| {
        format!(
            "{} is linked to {}",
            render::plain(&agent.name),
            render::plain(&agent.marketplace_id)
        )
    })
}

/// A secret from a file that must hold one.
fn secret(path: &Path) -> Result<String> {
    let text = private::read(path)?.map(|text| text.trim().to_owned());
    let missing = || Failure::Usage(format!("{} is missing or empty", path.display()));
    Ok(text.filter(|text| !text.is_empty()).ok_or_else(missing)?)
}

/// Puts a bundle and the agent that runs from it.
pub(crate) async fn put(
    scheduler: &Peer,
    packed: &Packed,
    simulated: bool,
    label: &str,
    keep_rollback: bool,
) -> Result<v1::Agent> {
    let header = v1::BundleHeader {
        agent: packed.agent.name.clone(),
        sha256: packed.sha256.clone(),
        bytes: packed.archive.len() as u64,
    };
    let archive = Bytes::from(packed.archive.clone());
    let pieces = (0..archive.len()).step_by(PIECE).map(move |from| {
        let piece = archive.slice(from..archive.len().min(from + PIECE));
        Kind::Data(piece)
    });
    let messages = std::iter::once(Kind::Header(header)).chain(pieces);
    let stream = tokio_stream::iter(
        messages
            .map(|kind| v1::PutBundleRequest { kind: Some(kind) })
            .collect::<Vec<_>>(),
    );
    let mut agents = scheduler.agents();
    scheduler.ask("put the bundle", agents.put_bundle(stream)).await?;
    let request = v1::PutAgentRequest {
        file: packed.text.clone(),
        bundle_sha256: packed.sha256.clone(),
        simulated,
        label: label.to_owned(),
        keep_rollback,
    };
    scheduler.ask("register the agent", agents.put_agent(request)).await
}
